"""Methods by name: what there is, what can be set, what a method says of itself, and what is said to a wrong choice."""

import inspect
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import labelreg
from labelreg import methods
from labelreg.methods import LabelSmoothing, Method

every_method = pytest.mark.parametrize("name", methods.names())
PAPERS = {
    "network_as_regularization": "nar",
    "adaptive_label_regularization": "alr",
    "knowledge_refinery": "kr",
    "class_wise_self_distillation": "cskd",
    "stochastic_batch_augmentation": "sba",
}


def no_network(role, chosen):
    raise AssertionError(f"no network was to be built, but {role} was")


class TestNames:
    @every_method
    def test_a_method_is_exported_and_goes_by_the_snake_case_of_its_class(self, name):
        kind = methods.find(name)
        assert kind.__name__.lower() == name.replace("_", "")
        assert issubclass(kind, Method)
        assert not inspect.isabstract(kind)
        assert getattr(methods, kind.__name__) is kind
        assert kind.__name__ in methods.__all__

    def test_a_module_dropped_into_a_copy_of_the_package_is_found(self, tmp_path):
        shutil.copytree(Path(labelreg.__file__).parent, tmp_path / "labelreg")
        (tmp_path / "labelreg" / "methods" / "new.py").write_text(
            "from labelreg.methods.baselines import CrossEntropy\n\n\n"
            "class NewIdea(CrossEntropy):\n    def __init__(self, strength: float = 2.0):\n        super().__init__()\n"
        )
        script = "from labelreg import methods; print(methods.complete_options('new_idea', {}), methods.NewIdea)"
        printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert printed.stdout == "{'strength': 2.0} <class 'labelreg.methods.new.NewIdea'>\n"


class TestFacts:
    @every_method
    def test_are_complete(self, name):
        kind = methods.find(name)
        assert kind.title
        assert re.fullmatch("#[0-9A-F]{6}", kind.colour)
        assert kind.paper == PAPERS.get(name, "")
        assert bool(kind.capturable) == (name != "forest_as_regularization")
        assert kind.added == {}
        whose, when = kind.place
        assert when in ("before training", "slowly, over epochs", "anew at every step", "")
        assert whose or name == "forest_as_regularization"  # no method of its own, but a kind of NaR
        for options in kind.benchmark.values():
            methods.complete_options(name, options)

    def test_tell_methods_apart(self):
        kinds = [methods.find(name) for name in methods.names()]
        assert len({kind.colour for kind in kinds}) == len(kinds)
        called = [each for kind in kinds for each in (kind.title, *kind.aliases)]
        assert len(set(called)) == len(called)
        assert list(methods.names()) == sorted(methods.names())

    @pytest.mark.parametrize(
        ("name", "printed", "shown"),
        [
            ("label_smoothing", "LSR", "LSR (label smoothing)"),
            ("label_smoothing", "Label smoothing", "Label smoothing"),
            ("virtual_softmax", "Virtual-softmax", "Virtual-softmax"),
            ("born_again", "BAN-2", "BAN-2 (born again)"),
            ("cross_entropy", "Cutout", "Cutout"),
            ("mixup", "Mixup + CS-KD", "Mixup + CS-KD"),
        ],
    )
    def test_say_what_a_printed_name_means(self, name, printed, shown):
        assert methods.find(name).called(printed) == shown

    def test_name_the_rows_of_the_benchmarks(self):
        rows = {row: name for name in methods.names() for row in methods.find(name).benchmark}
        assert PAPERS.keys() <= set(rows.values())
        assert rows["KR-LS"] == "knowledge_refinery"
        assert len(rows) == sum(len(methods.find(name).benchmark) for name in methods.names())
        on_text = {name for name in methods.names() if methods.find(name).on_text}
        assert {"cross_entropy", "network_as_regularization"} <= on_text


class TestCompleteOptions:
    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("knowledge_refinary", {}, "no method is called 'knowledge_refinary'; did you mean knowledge_refinery"),
            ("knowledge_refinery", {"gama": 0.9}, "no option of knowledge_refinery is called 'gama'; did you mean gam"),
            ("knowledge_refinery", {"num_classes": 3}, "no option of knowledge_refinery is called 'num_classes'"),
            ("knowledge_refinery", {"gamma": "0.9"}, "option gamma should be a valid number, got '0.9'"),
            ("knowledge_refinery", {"truncate": 2.0}, "option truncate should be a valid integer, got 2.0"),
            ("label_smoothing", {"convention": "some"}, "option convention should be 'all' or 'others', got 'some'"),
            ("deep_mutual_learning", {"peer": 8}, "option peer should be a valid string, got 8"),
            ("mixup", {"method": "mix"}, "no method is called 'mix'; did you mean mixup"),
            ("mixup", {"method.lam": 0.3}, "no option of cross_entropy is called 'lam'"),
            ("mixup", {"methods.lam": 0.3}, "no option of mixup is called 'methods.lam'; did you mean method"),
            ("mixup", {"method": "label_smoothing", "method.epsilon": "a"}, "label_smoothing's option epsilon"),
            ("born_again", {"teacher": "resnet18"}, "the teacher is an experiment, not the name of a network"),
            ("mixup", {"method": "born_again", "method.teacher": "mlp"}, "set teacher, not an option"),
            # options that exclude each other, found without training
            ("knowledge_refinery", {"direction": "literal", "kind": "cross_entropy"}, "'literal' needs kind 'kl'"),
            ("mixup", {"method": "adaptive_label_regularization", "method.direction": "literal"}, "needs kind 'kl'"),
        ],
    )
    def test_say_what_is_wrong_and_what_would_be_right(self, name, options, message):
        with pytest.raises(ValueError, match=message):
            methods.complete_options(name, options)

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("adaptive_label_regularization", {"smoothing": 1.5, "tracking": "batch", "kind": "js", "lr_mult": -1.0}),
            ("knowledge_refinery", {"gamma": 1.01, "smoothing": -0.1, "truncate": -1, "direction": "both"}),
            ("network_as_regularization", {"lam": 1.0, "alpha": -0.1, "variant": "code", "warm_up": -1}),
            ("network_as_regularization", {"auxiliary_smoothing": 1.5}),
            ("snapshot_regularization", {"lam": -0.1, "alpha": 1.0, "interval": 0, "direction": "past"}),
            ("forest_as_regularization", {"lam": 1.0, "alpha": 1.0, "trees": 0}),
            ("class_wise_self_distillation", {"temperature": 0.0, "class_weight": -1.0, "sample_weight": -1.0}),
            ("class_wise_self_distillation", {"temperature": math.nan, "partners": "class", "bn": "none"}),
            ("stochastic_batch_augmentation", {"virtual": -1, "eta": -0.1, "omega": 2.0, "granularity": "step"}),
            ("stochastic_batch_augmentation", {"sigma": -1.0, "tau": -1.0, "drop_rate": 1.0, "basis": "random"}),
            ("stochastic_batch_augmentation", {"eta": math.nan, "omega": -0.1}),
            ("label_smoothing", {"epsilon": 1.1}),
            ("confidence_penalty", {"weight": -0.1}),
            ("disturb_label", {"rate": math.nan}),
            ("knowledge_distillation", {"temperature": math.nan, "alpha": 1.1}),
            ("born_again", {"beta": -0.1}),
            ("deep_mutual_learning", {"weight": -1.0}),
            ("mixup", {"alpha": -0.1}),
            ("stochastic_batch_augmentation", {"virtual": 100_000_000}),
            ("forest_as_regularization", {"trees": 100_000_000}),
            ("batch_augmentation", {"copies": 100_000_000}),
            ("adversarial_training", {"epsilon": -0.1}),
            ("batch_augmentation", {"copies": 0}),
        ],
    )
    def test_are_in_range_here_and_in_the_constructor(self, name, options):
        filled = {"num_classes": 4, "method": methods.CrossEntropy()}
        for key, value in options.items():
            with pytest.raises(ValueError, match=f"^{name}'s option {key} "):
                methods.complete_options(name, {key: value})
            parameters = inspect.signature(methods.find(name)).parameters
            given = {each: filled.get(each, nn.Identity()) for each, p in parameters.items() if p.default is p.empty}
            with pytest.raises(ValueError, match=f"^{key} "):
                methods.find(name)(**given, **{key: value})

    @every_method
    def test_are_what_the_method_is_made_with(self, name):
        def network(role, chosen):
            roles.append((role, chosen))
            return nn.Linear(2, 3)

        roles, completed = [], methods.complete_options(name, {})
        made = [methods.create(name, 3, options, network) for options in ({}, completed)]
        assert repr(made[0]) == repr(made[1])
        assert isinstance(made[0], methods.find(name))
        numbers = {key: value for key, value in completed.items() if "." not in key and isinstance(value, int | float)}
        assert {key: getattr(made[0], key) for key in numbers} == numbers
        assert {role for role, _ in roles} == methods.network_roles(name, {})
        assert {chosen for _, chosen in roles} <= {None}
        assert methods.complete_options(name, completed) == completed
        # all options but the teacher, and those of the method inside
        assert {key for key in completed if "." not in key} == set(methods.options(name)) - {"teacher"}

    def test_name_those_of_methods_inside(self):
        chosen = {"method": "deep_mutual_learning", "method.peer": "resnet8"}
        assert methods.complete_options("mixup", chosen) == chosen | {"alpha": 1.0, "method.weight": 1.0}
        assert methods.network_roles("mixup", chosen) == {"method.peer"}
        assert methods.network_roles("mixup", {}) == set()
        assert methods.network_roles("mixup", {"method": "born_again"}) == {"method.teacher"}
        assert methods.complete_options("class_wise_self_distillation", {})["method"] == "cross_entropy"
        assert methods.complete_options("network_as_regularization", {})["auxiliary"] == ""

    @given(st.dictionaries(st.sampled_from(["gamma", "smoothing", "lr_mult"]), st.integers(0, 1) | st.floats(0, 1)))
    def test_take_a_whole_number_for_a_number(self, options):
        completed = methods.complete_options("knowledge_refinery", options)
        assert completed == methods.complete_options("knowledge_refinery", {}) | options
        assert all(type(completed[key]) is float for key in options)

    def test_of_a_recorded_run_are_what_it_was_run_with(self, monkeypatch):
        monkeypatch.setattr(LabelSmoothing, "added", {"convention": "others"})
        assert methods.complete_options("label_smoothing", {})["convention"] == "all"
        assert methods.complete_options("label_smoothing", {}, recorded=True)["convention"] == "others"
        assert methods.complete_options("label_smoothing", {"convention": "all"}, recorded=True)["convention"] == "all"
        inside = methods.complete_options("mixup", {"method": "label_smoothing"}, recorded=True)
        assert inside["method.convention"] == "others"

    def test_draw_nothing(self):
        before = torch.get_rng_state()
        for name in methods.names():
            methods.complete_options(name, {})
        assert torch.equal(torch.get_rng_state(), before)


class TestCreate:
    def test_gives_the_method_inside_its_networks_and_options_and_what_the_data_decides(self):
        asked, network, std = [], nn.Linear(3, 4), torch.tensor([0.2, 0.3])
        chosen = {"alpha": 0.2, "method": "adversarial_training", "method.epsilon": 0.5}
        inside = {"method": "network_as_regularization", "method.lam": 0.3, "method.auxiliary": "resnet8"}
        chosen |= {f"method.{name}": value for name, value in inside.items()}
        made = methods.create("mixup", 4, chosen, lambda *call: asked.append(call) or network, pixel_std=std)
        attack, inner = made.method, made.method.method
        assert (made.alpha, made.num_classes, attack.epsilon, inner.lam, inner.alpha) == (0.2, 4, 0.5, 0.3, 0.1)
        assert asked == [("auxiliary", "resnet8")]
        assert inner.auxiliary is network
        assert torch.equal(attack.pixel_std, std)

    @pytest.mark.parametrize(
        ("name", "chosen", "error", "message"),
        [
            ("label_smoothing", {"epsilon": "a"}, ValueError, "epsilon should be a valid number, got 'a'"),
            ("label_smoothing", {"epsilon.lam": 0.1}, TypeError, r"there is no argument epsilon\.lam"),
            ("knowledge_refinery", {"num_classes": 4}, TypeError, "multiple values .* 'num_classes'"),
            ("mixup", {"methods.epsilon": 0.1}, TypeError, r"there is no argument methods\.epsilon"),
            ("mixup", {"method": "label_smoothing", "method.eps": 0.1}, TypeError, "there is no argument eps"),
            ("mixup", {"method": "mix"}, ValueError, "no method is called 'mix'; did you mean mixup"),
        ],
    )
    def test_leaves_nothing_wrong_or_unknown_to_itself(self, name, chosen, error, message):
        with pytest.raises(error, match=message):
            methods.create(name, 3, chosen, no_network)

    def test_a_constructor_names_an_argument_that_it_does_not_have(self):
        with pytest.raises(TypeError, match="there is one argument too many, 3"):
            LabelSmoothing(0.1, "all", 3)
        with pytest.raises(TypeError, match="epsilon got multiple values"):
            LabelSmoothing(0.1, epsilon=0.1)

    def test_refuses_a_parameter_without_an_annotation(self, monkeypatch):
        class Untyped(LabelSmoothing):
            def __init__(self, epsilon=0.1):
                super().__init__(epsilon)

        monkeypatch.setitem(methods._CLASSES, "untyped", Untyped)
        with pytest.raises(TypeError, match="Untyped's parameter epsilon is an option"):
            methods.options("untyped")
