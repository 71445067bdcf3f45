"""Methods by name: what there is, what can be set, and what is said to a wrong name or value."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import labelreg.methods
from labelreg import methods
from labelreg.methods import Criterion, KnowledgeRefinery, LabelSmoothing, Method


def no_network(role, chosen):
    raise AssertionError(f"no network was to be built, but {role} was")


def test_every_method_goes_by_the_snake_case_of_its_class():
    expected = {
        "ada_cos": "AdaCos",
        "adaptive_label_regularization": "AdaptiveLabelRegularization",
        "adversarial_training": "AdversarialTraining",
        "born_again": "BornAgain",
        "class_wise_self_distillation": "ClassWiseSelfDistillation",
        "confidence_penalty": "ConfidencePenalty",
        "cross_entropy": "CrossEntropy",
        "deep_mutual_learning": "DeepMutualLearning",
        "disturb_label": "DisturbLabel",
        "knowledge_distillation": "KnowledgeDistillation",
        "knowledge_refinery": "KnowledgeRefinery",
        "label_smoothing": "LabelSmoothing",
        "mixup": "Mixup",
        "network_as_regularization": "NetworkAsRegularization",
        "snapshot_regularization": "SnapshotRegularization",
        "virtual_softmax": "VirtualSoftmax",
    }
    assert expected.items() <= {name: methods.find(name).__name__ for name in methods.names()}.items()
    assert list(methods.names()) == sorted(methods.names())
    assert not [name for name in methods.names() if name.startswith("_")]


@pytest.mark.parametrize("name", methods.names())
def test_every_method_is_exported_and_concrete(name):
    kind = methods.find(name)
    assert issubclass(kind, Method)
    assert not inspect.isabstract(kind)
    assert getattr(labelreg.methods, kind.__name__) is kind
    assert kind.__name__ in labelreg.methods.__all__


@pytest.mark.parametrize("name", methods.names())
def test_every_option_can_be_set_by_name_and_has_a_type(name):
    for option in methods.options(name).values():
        assert option.kind in (option.POSITIONAL_OR_KEYWORD, option.KEYWORD_ONLY)
        assert option.annotation in (int, float, str, bool, nn.Module, Method, Method | None)
        assert (option.default is option.empty) == (option.annotation in (nn.Module, Method))


def test_what_the_data_decides_is_no_option():
    assert "num_classes" not in methods.options("knowledge_refinery")
    assert set(methods.options("adversarial_training")) == {"method", "epsilon"}
    assert methods.options("cross_entropy") == {}


class TestCheckOptions:
    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("knowledge_refinary", {}, "no method is called 'knowledge_refinary'; did you mean knowledge_refinery"),
            ("knowledge_refinery", {"gama": 0.9}, "no option of knowledge_refinery is called 'gama'; did you mean gam"),
            ("knowledge_refinery", {"num_classes": 3}, "no option of knowledge_refinery is called 'num_classes'"),
            ("cross_entropy", {"epsilon": 0.1}, "no option of cross_entropy is called 'epsilon'; there is none"),
            ("knowledge_refinery", {"gamma": "0.9"}, "option gamma must be a finite number, not '0.9'"),
            ("knowledge_refinery", {"gamma": True}, "option gamma must be a finite number, not True"),
            ("knowledge_refinery", {"truncate": 2.0}, "option truncate must be a whole number, not 2.0"),
            ("label_smoothing", {"convention": 1}, "option convention must be a text, not 1"),
            ("deep_mutual_learning", {"peer": 8}, "option peer must be a text, not 8"),
            ("mixup", {"method": "mix"}, "no method is called 'mix'; did you mean mixup"),
            ("mixup", {"method": 8}, "mixup's option method must be a text, not 8"),
            ("mixup", {"lam": 0.3}, "no option of mixup is called 'lam'"),
            ("mixup", {"method.lam": 0.3}, "no option of cross_entropy is called 'lam'"),
            ("mixup", {"methods.lam": 0.3}, "no option of mixup is called 'methods.lam'; did you mean method"),
            ("class_wise_self_distillation", {"method": 8}, "self_distillation's option method must be a text, not 8"),
            ("class_wise_self_distillation", {"method.lam": 0.3}, "no option of cross_entropy is called 'lam'"),
            ("mixup", {"alpha.lam": 0.3}, "no option of mixup is called 'alpha.lam'"),
            ("mixup", {"method": "label_smoothing", "method.epsilon": "a"}, "label_smoothing's option epsilon must be"),
        ],
    )
    def test_says_what_is_wrong_and_what_would_be_right(self, name, options, message):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            methods.check_options(name, options)

    @pytest.mark.parametrize("name", methods.names())
    def test_all_options_are_what_the_method_is_made_with(self, name):
        def network(role, chosen):
            roles.append((role, chosen))
            return nn.Linear(2, 3)

        roles = []
        made = [methods.create(name, 3, options, network) for options in ({}, methods.all_options(name, {}))]
        assert repr(made[0]) == repr(made[1])
        assert {role for role, _ in roles} == methods.network_roles(name, {})
        assert {chosen for _, chosen in roles} <= {None}
        assert methods.all_options(name, methods.all_options(name, {})) == methods.all_options(name, {})

    def test_all_options_of_a_method_inside_a_method(self):
        chosen = {"method": "deep_mutual_learning", "method.peer": "resnet8"}
        assert methods.all_options("mixup", chosen) == chosen | {"alpha": 1.0, "method.weight": 1.0}
        assert methods.network_roles("mixup", chosen) == {"method.peer"}
        assert methods.network_roles("mixup", {}) == set()
        assert methods.all_options("class_wise_self_distillation", {})["method"] == "cross_entropy"
        with pytest.raises(ValueError, match="no option of deep_mutual_learning is called 'wait'"):
            methods.all_options("mixup", chosen | {"method.wait": 1})

    def test_a_whole_number_is_welcome_as_a_number(self):
        settled = methods.check_options("knowledge_refinery", {"gamma": 1, "truncate": 20})
        assert settled == {"gamma": 1.0, "truncate": 20}
        assert [type(value) for value in settled.values()] == [float, int]

    def test_settles_the_options_of_a_method_inside_a_method(self):
        chosen = {
            "method.method": "network_as_regularization",
            "method.method.lam": 0,
            "method": "adversarial_training",
            "alpha": 2,
        }
        settled = methods.check_options("mixup", chosen)
        assert settled == chosen
        assert {key: type(value) for key, value in settled.items()} == {
            "method.method": str,
            "method.method.lam": float,
            "method": str,
            "alpha": float,
        }
        assert methods.check_options("mixup", settled) == settled

    @given(st.dictionaries(st.sampled_from(["gamma", "smoothing", "lr_mult"]), st.integers(0, 1) | st.floats(0, 1)))
    def test_is_idempotent(self, options):
        settled = methods.check_options("knowledge_refinery", options)
        assert settled == options
        assert methods.check_options("knowledge_refinery", settled) == settled


class TestCreate:
    def test_gives_classes_and_options(self):
        made = methods.create("knowledge_refinery", 7, {"gamma": 1, "smoothing": 0.1}, no_network)
        assert isinstance(made, KnowledgeRefinery)
        assert made.matrix.shape == (7, 7)
        assert (made.gamma, made.smoothing) == (1.0, 0.1)

    def test_leaves_classes_out_where_nobody_asks(self):
        made = methods.create("label_smoothing", 7, {}, no_network)
        assert isinstance(made, LabelSmoothing)
        assert made.epsilon == 0.1

    @pytest.mark.parametrize("chosen", [{}, {"peer": "resnet8"}])
    def test_asks_for_networks_by_role(self, chosen):
        asked, network = [], nn.Linear(3, 4)
        made = methods.create("deep_mutual_learning", 4, chosen, lambda *call: asked.append(call) or network)
        assert made.peer is network
        assert asked == [("peer", chosen.get("peer"))]

    @pytest.mark.parametrize("name", ["mixup", "class_wise_self_distillation"])
    def test_makes_a_method_inside_a_method_cross_entropy_where_none_is_chosen(self, name):
        assert type(methods.create(name, 4, {}, no_network).method) is methods.CrossEntropy

    def test_makes_a_method_inside_one_that_can_do_without(self):
        chosen = {"method": "label_smoothing", "method.epsilon": 0.3, "partners": "batch"}
        assert methods.check_options("class_wise_self_distillation", chosen) == chosen
        made = methods.create("class_wise_self_distillation", 4, chosen, no_network)
        assert (type(made.method), made.method.epsilon, made.partners) == (LabelSmoothing, 0.3, "batch")

    def test_makes_a_method_inside_a_method_with_its_networks_and_options(self):
        asked, network, std = [], nn.Linear(3, 4), torch.tensor([0.2, 0.3])
        chosen = {
            "alpha": 0.2,
            "method": "adversarial_training",
            "method.epsilon": 0.5,
            "method.method": "network_as_regularization",
            "method.method.lam": 0.3,
            "method.method.auxiliary": "resnet8",
        }
        made = methods.create("mixup", 4, chosen, lambda *call: asked.append(call) or network, pixel_std=std)
        attack, inner = made.method, made.method.method
        assert (made.alpha, made.num_classes, attack.epsilon, inner.lam, inner.alpha) == (0.2, 4, 0.5, 0.3, 0.1)
        assert asked == [("auxiliary", "resnet8")]
        assert inner.auxiliary is network
        assert torch.equal(attack.pixel_std, std)

    def test_gives_classes_to_the_method_inside(self):
        made = methods.create("adversarial_training", 7, {"method": "knowledge_refinery"}, no_network)
        assert made.method.matrix.shape == (7, 7)

    def test_passes_the_constructor_errors_on(self):
        with pytest.raises(ValueError, match=r"gamma decays alpha and lies in \[0, 1\], not 2.0"):
            methods.create("knowledge_refinery", 4, {"gamma": 2}, no_network)

    @pytest.mark.parametrize("name", methods.names())
    def test_makes_every_method_at_its_defaults(self, name):
        made = methods.create(name, 4, {}, lambda role, chosen: nn.Linear(3, 4))
        assert isinstance(made, methods.find(name))
        if isinstance(made, Criterion):
            assert made(torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])).shape == ()
