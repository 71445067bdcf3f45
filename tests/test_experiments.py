"""Experiments as data: what makes two the same, what profiles change, and what equal seeds share."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelreg import data, methods, networks, papers
from labelreg.experiments import PROFILES, Experiment, prepare_data, resolve_device, running, train
from labelreg.training import Trainer

SHORT = {"subset": 100, "epochs": 3, "batch_size": 32, "schedule": "one_cycle"}
# one other value for every setting
OTHERS = {
    "epochs": 30,
    "batch_size": 64,
    "optimizer": "adam",
    "learning_rate": 0.2,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "milestones": (60, 120),
    "decay": 0.2,
    "precision": "bfloat16",
    "sequence_length": 20,
    "clip_norm": 0.25,
    "dataset": "cifar10",
    "network": "resnet20",
    "method": "label_smoothing",
    "network_options": {"hidden": (64,)},
    "auxiliary_options": {"hidden": (32,)},
    "augmentation": "none",
    "subset": 200,
    "holdout": 0.1,
    "label_noise": 0.3,
    "seed": 1,
    "teacher": Experiment(),
    "observe": ("class_distributions",),
}


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


class TestKey:
    def test_stays_what_it_was(self):
        """Recorded runs are found by their key: a change here disowns them all."""
        assert Experiment().key == "44136fa355b3"
        refined = Experiment(
            dataset="cifar100",
            network="preact_resnet18",
            method="knowledge_refinery",
            options={"smoothing": 0.1, "gamma": 1},
            milestones=(60, 120),
            seed=3,
            teacher=Experiment(network="wrn28_10", epochs=30),
        )
        assert refined.key == "0f05b7ab217b"

    def test_differs_for_every_setting(self):
        changed = [Experiment(**{name: value}) for name, value in OTHERS.items()]
        smoothed = [Experiment(method="label_smoothing", options={"epsilon": value}) for value in (0.1, 0.2)]
        every = [Experiment(), *changed, *smoothed]
        assert len({each.key for each in every}) == len(every) == len(set(every))

    def test_does_not_depend_on_how_settings_are_written(self):
        one = Experiment(
            method="knowledge_refinery", options={"gamma": 1, "smoothing": 0.1}, learning_rate=1, milestones=[60]
        )
        other = Experiment(
            method="knowledge_refinery",
            options=(("smoothing", 0.1), ("gamma", 1.0)),
            learning_rate=1.0,
            milestones=(60,),
        )
        assert one == other
        assert hash(one) == hash(other)
        assert one.key == other.key

    def test_of_network_options_that_come_from_json(self):
        one, other = (Experiment(network_options={"hidden": hidden}) for hidden in ([64, 32], (64, 32)))
        assert one == other
        assert hash(one) == hash(other)
        assert one.key == other.key

    @given(
        st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in OTHERS.items()}),
        st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in OTHERS.items()}),
    )
    @settings(deadline=None)
    def test_is_equal_exactly_where_the_settings_are(self, one, other):
        assert (Experiment(**one).key == Experiment(**other).key) == (one == other)
        assert (Experiment(**one) == Experiment(**other)) == (one == other)

    def test_survives_pickling_and_json(self):
        experiment = Experiment(**OTHERS)
        again = pickle.loads(pickle.dumps(experiment))
        assert again == experiment
        assert again.key == experiment.key
        plain = json.loads(json.dumps(experiment.as_dict()))
        teacher = Experiment(**plain.pop("teacher"))
        assert Experiment(**plain, teacher=teacher) == experiment

    def test_the_name_is_readable(self):
        assert Experiment(method="label_smoothing", seed=4).name == "digits-mlp-label_smoothing-s4"


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"epochs": 2.0}, "epochs must be a whole number, not 2.0"),
            ({"epochs": True}, "epochs must be a whole number, not True"),
            ({"learning_rate": "0.1"}, "learning_rate must be a finite number, not '0.1'"),
            ({"nesterov": 1}, "nesterov must be true or false, not 1"),
            ({"dataset": None}, "dataset must be a text, not None"),
            ({"subset": "200"}, "subset must be a whole number, not '200'"),
            ({"seed": -1}, r"seed must lie in \[0, 2\^31\), not -1"),
            ({"seed": 10**22}, r"seed must lie in \[0, 2\^31\), not 10000000000000000000000"),
            ({"learning_rate": float("inf")}, "learning_rate must be a finite number, not inf"),
            ({"clip_norm": float("nan")}, "clip_norm must be a finite number, not nan"),
            ({"decay": -1.0}, "decay must be positive, not -1.0"),
            ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), not 1.0"),
            ({"schedule": "plateau", "decay": 1.5}, "schedule 'plateau' needs a decay below 1, not 1.5"),
            ({"holdout": 1.0}, r"holdout is a fraction in \[0, 1\), not 1.0"),
            ({"label_noise": -0.1}, r"label_noise is a fraction in \[0, 1\), not -0.1"),
            (
                {"method": "knowledge_refinary"},
                "no method is called 'knowledge_refinary'; did you mean knowledge_refin",
            ),
            ({"options": {"gamma": 0.5}}, "no option of cross_entropy is called 'gamma'"),
            ({"observe": ("residual_label",)}, "no observer is called 'residual_label'; did you mean residual_labels"),
            ({"teacher": "resnet18"}, "the teacher is an experiment, not the name of a network"),
            (
                {"method": "knowledge_distillation", "options": {"teacher": "resnet18"}},
                "the teacher is an experiment, not the name of a network",
            ),
            (
                {"method": "mixup", "options": {"method": "born_again", "method.teacher": "resnet18"}},
                "the teacher is an experiment, not the name of a network",
            ),
            ({"schedule": "step"}, "schedule must be one of multi_step, one_cycle, cosine, constant.*, not 'step'"),
        ],
    )
    def test_refuses_what_cannot_be(self, setting, message):
        with pytest.raises(ValueError, match=message):
            Experiment(**setting)

    def test_refuses_an_unknown_name(self):
        with pytest.raises(TypeError, match="epoch"):
            Experiment(epoch=3)

    def test_one_observer_needs_no_tuple(self):
        assert Experiment(observe="residual_labels").observe == ("residual_labels",)

    def test_changes_are_what_differs(self):
        assert Experiment().changes() == {}
        experiment = Experiment(
            seed=2, method="label_smoothing", options={"epsilon": 0.2}, teacher=Experiment(epochs=3)
        )
        expected = {"seed": 2, "method": "label_smoothing", "options": {"epsilon": 0.2}, "teacher": {"epochs": 3}}
        assert experiment.changes() == expected


class TestResolved:
    """Defaults may change: what a run was made with is told in full."""

    EVERY = [  # noqa: RUF012
        Experiment(method=method, network=network, **teacher)
        for network in networks.names()
        for method in methods.names()
        for teacher in ([{"teacher": Experiment(network="resnet8")}] if "teacher" in methods.options(method) else [{}])
    ]

    @pytest.mark.parametrize("method", methods.names())
    def test_names_every_option_of_the_method(self, method):
        named = dict(Experiment(method=method).resolved().options)
        for name, option in methods.options(method).items():
            if option.default not in (option.empty, None):
                assert named[name] == option.default
            elif option.annotation is torch.nn.Module:
                assert name not in named  # a network: another of the target's kind, or the teacher
            else:
                assert named[name] == "cross_entropy"

    @pytest.mark.parametrize("network", networks.names())
    def test_names_every_option_of_the_network_and_of_one_beside_it(self, network):
        defaults = {name: option.default for name, option in networks.options(network).items()}
        alone, beside = Experiment(network=network), Experiment(network=network, method="deep_mutual_learning")
        assert dict(alone.resolved().network_options) == dict(beside.resolved().network_options) == defaults
        assert dict(beside.resolved().auxiliary_options) == defaults
        assert alone.resolved().auxiliary_options == ()

    def test_goes_inside(self):
        options = {"method": "mixup", "method.method": "network_as_regularization", "method.method.lam": 0.3}
        named = dict(Experiment(method="batch_augmentation", options=options).resolved().options)
        assert named == options | {
            "copies": 10,
            "method.alpha": 1.0,
            "method.method.alpha": 0.1,
            "method.method.variant": "paper",
            "method.method.warm_up": 20,
            "method.method.auxiliary_smoothing": 0.0,
        }

    def test_a_network_beside_the_target_has_what_it_is_built_with(self):
        settings = {"network": "mlp", "network_options": {"hidden": (8,)}, "method": "mixup"}
        inner = {"method": "deep_mutual_learning"}
        same = Experiment(**settings, options=inner)
        assert dict(same.resolved().auxiliary_options) == {"hidden": (8,)}
        chosen = replace(same, auxiliary_options={"hidden": (4,)})
        assert dict(chosen.resolved().auxiliary_options) == {"hidden": (4,)}
        other = replace(same, options=inner | {"method.peer": "wrn28_10"})
        assert dict(other.resolved().auxiliary_options) == {"dropout": 0.0}

    def test_a_teacher_is_resolved_too(self):
        teacher = Experiment(method="knowledge_distillation", teacher=Experiment(method="label_smoothing"))
        resolved = Experiment(teacher=teacher).resolved()
        assert resolved.teacher == teacher.resolved()
        assert dict(resolved.teacher.teacher.options) == {"epsilon": 0.1, "convention": "all"}

    def test_what_is_named_is_the_same_run_as_what_is_the_default(self):
        one, other = (Experiment(method="label_smoothing", options=named) for named in ({}, {"epsilon": 0.1}))
        assert one.resolved() == other.resolved()
        assert one.resolved() != replace(one, options={"epsilon": 0.2}).resolved()

    def test_twice_is_once_and_so_it_is_through_json(self):
        printed = [each for paper in papers.papers.values() for item in paper.items.values() for each in item]
        for experiment in [*printed, *self.EVERY]:
            resolved = experiment.resolved()
            assert resolved.resolved() == resolved
            assert Experiment(**json.loads(json.dumps(resolved.as_dict()))) == resolved

    @pytest.mark.parametrize(
        "experiment",
        [
            Experiment(**SHORT, method="mixup", options={"method": "deep_mutual_learning", "alpha": 0.3}),
            Experiment(**SHORT, method="network_as_regularization", auxiliary_options={"hidden": (16,)}),
        ],
        ids=lambda experiment: experiment.method,
    )
    def test_trains_bit_by_bit_the_same(self, experiment):
        one, other = train(experiment), train(experiment.resolved())
        torch.testing.assert_close(weights(one.network), weights(other.network), rtol=0, atol=0)
        assert one.result.experiment == other.result.experiment


class TestProfiles:
    PAPER = Experiment(dataset="cifar100", network="resnet32", method="knowledge_refinery", options={"gamma": 0.9})

    def test_paper_changes_nothing(self):
        assert self.PAPER.at("paper") == self.PAPER

    def test_quick_keeps_the_method_only(self):
        quick = self.PAPER.at("quick")
        assert (quick.dataset, quick.network, quick.epochs, quick.subset) == ("digits", "mlp", 40, 200)
        assert (quick.method, quick.options) == (self.PAPER.method, self.PAPER.options)

    def test_fast_keeps_data_and_network(self):
        fast = self.PAPER.at("fast")
        assert (fast.dataset, fast.network, fast.subset) == ("cifar100", "resnet32", None)
        assert (fast.epochs, fast.schedule, fast.precision) == (30, "one_cycle", "bfloat16")

    @pytest.mark.parametrize("schedule", ["multi_step", "cosine", "constant"])
    @pytest.mark.parametrize(("own", "peak"), [(0.1, 0.2), (0.01, 0.02)])
    def test_fast_goes_up_to_twice_the_learning_rate(self, schedule, own, peak):
        fast = Experiment(learning_rate=own, schedule=schedule).at("fast")
        assert (fast.schedule, fast.learning_rate) == ("one_cycle", peak)

    def test_fast_leaves_a_cycle_its_peak_and_adam_its_learning_rate(self):
        cycle = Experiment(learning_rate=0.3, schedule="one_cycle").at("fast")
        assert (cycle.epochs, cycle.schedule, cycle.learning_rate) == (30, "one_cycle", 0.3)
        adam = Experiment(learning_rate=1e-4, optimizer="adam").at("fast")
        assert (adam.schedule, adam.learning_rate) == ("one_cycle", 1e-4)

    def test_fast_is_short_for_a_plateau_and_nothing_else(self):
        """A language model's learning rate is 20, and falls where the validation loss does not."""
        for model in papers.papers["nar"].tables["table4"]:
            fast = model.at("fast")
            assert fast == replace(model, epochs=30, precision="bfloat16", teacher=fast.teacher)
            assert (fast.schedule, fast.learning_rate) == ("plateau", 20.0)
            assert fast.epochs < model.epochs
            assert model.teacher is None or fast.teacher == model.teacher.at("fast")

    def test_fast_leaves_networks_without_batch_normalisation_a_rate_they_can_use(self):
        rates = {each.network: each.at("fast").learning_rate for each in papers.papers["sba"].tables["table1"]}
        assert rates.pop("alexnet") == rates.pop("imagenet_vgg16") == rates.pop("imagenet_alexnet") == 0.02
        assert set(rates.values()) == {0.2}

    @pytest.mark.parametrize(
        ("overrides", "schedule", "learning_rate"),
        [
            ({"learning_rate": 0.03}, "one_cycle", 0.03),
            ({"schedule": "cosine"}, "cosine", 0.1),
            ({"schedule": "one_cycle"}, "one_cycle", 0.1),
            ({"schedule": "plateau", "learning_rate": 2.0}, "plateau", 2.0),
            ({"optimizer": "adam"}, "one_cycle", 0.1),
            ({"optimizer": "adam", "learning_rate": 1e-3}, "one_cycle", 1e-3),
        ],
    )
    def test_what_overrides_mean_for_the_learning_rate(self, overrides, schedule, learning_rate):
        fast = self.PAPER.at("fast", **overrides)
        assert (fast.schedule, fast.learning_rate) == (schedule, learning_rate)
        assert fast.at("fast", **overrides) == fast

    @pytest.mark.parametrize("profile", PROFILES)
    def test_overrides_win_and_twice_is_once(self, profile):
        changed = self.PAPER.at(profile, epochs=2, seed=7, options={"gamma": 0.5})
        assert (changed.epochs, changed.seed, dict(changed.options)) == (2, 7, {"gamma": 0.5})
        assert changed.at(profile, epochs=2) == changed

    def test_errors(self):
        with pytest.raises(ValueError, match="no profile is called 'qick'; did you mean quick"):
            Experiment().at("qick")
        with pytest.raises(ValueError, match="no setting is called 'epoch'; did you mean epochs"):
            Experiment().at("quick", epoch=2)
        with pytest.raises(ValueError, match="epochs must be a whole number"):
            Experiment().at("quick", epochs="2")

    def test_a_teacher_goes_along_but_stays_another_experiment(self):
        teacher = Experiment(dataset="cifar100", network="wrn28_10")
        student = replace(self.PAPER, method="knowledge_distillation", options={}, teacher=teacher)
        moved = student.at(
            "fast",
            epochs=2,
            network="resnet8",
            options={"alpha": 0.3},
            network_options={},
            observe="class_distributions",
        )
        assert moved.teacher == teacher.at("fast", epochs=2)
        resized = student.at("paper", network="mlp", network_options={"hidden": (8,)})
        assert resized.teacher == teacher
        assert student.at("fast", teacher=teacher).teacher == teacher

    def test_seeds_are_consecutive_and_shared_with_the_teacher(self):
        student = Experiment(seed=3, teacher=Experiment(seed=10))
        assert [(each.seed, each.teacher.seed) for each in student.with_seeds(3)] == [(3, 10), (4, 11), (5, 12)]
        assert student.with_seeds(1) == [student]


class TestData:
    def test_subset_hold_out_and_label_noise(self):
        plain, _ = prepare_data(Experiment())
        noisy, validation = prepare_data(Experiment(subset=300, holdout=0.2, label_noise=0.5, seed=1))
        assert (len(noisy.train), len(validation)) == (240, 60)
        clean, _ = prepare_data(Experiment(subset=300, holdout=0.2, seed=1))
        assert torch.equal(clean.train.inputs, noisy.train.inputs)
        # of the redrawn half, a tenth keeps its label
        assert 0.3 < (clean.train.targets != noisy.train.targets).double().mean() < 0.6
        assert torch.equal(noisy.test.targets, plain.test.targets)
        assert set(validation.targets.tolist()) == set(range(10))

    def test_reports_the_validation_split(self):
        result = train(Experiment(**SHORT, holdout=0.2)).result
        assert {"validation_error", "validation_nll", "validation_ece"} <= result.history.keys()

    @pytest.mark.parametrize(("augmentation", "expected"), [("standard", "none"), ("crop_flip", "crop_flip")])
    def test_standard_augmentation_is_that_of_the_data(self, augmentation, expected, monkeypatch):
        seen = []
        monkeypatch.setattr(
            running,
            "Trainer",
            lambda *args, **options: seen.append(options["augmentation"]) or Trainer(*args, **options),
        )
        train(Experiment(**SHORT | {"epochs": 1}, augmentation=augmentation))
        assert seen == [expected]

    def test_device(self):
        assert resolve_device("cpu") == torch.device("cpu")
        assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
        with pytest.raises(ValueError, match="device 'gpu' cannot be used here"):
            resolve_device("gpu")
        with pytest.raises(ValueError, match="device 'cuda:63' cannot be used here"):
            resolve_device("cuda:63")


class TestPairedComparison:
    """Equal seeds start every method from the same network, on the same batches, with the same draws ahead.

    Where a batch holds copies of its samples, the first is that batch.
    """

    @pytest.fixture
    def starts(self, monkeypatch):
        class Watched(Trainer):
            def fit(self, *arguments):
                state = torch.get_rng_state()
                start["network"], start["draws"] = weights(self.network), torch.rand(4)
                torch.set_rng_state(state)
                start["peer"] = weights(self.method.peer) if hasattr(self.method, "peer") else None
                start["batches"] = [
                    [values.chunk(self.method.copies)[0] for values in (batch.inputs, batch.targets, batch.indices)]
                    for batch in self.loader.epoch(0)
                ]
                super().fit(*arguments)

        def of(**settings):
            start.clear()
            train(Experiment(**SHORT | {"epochs": 1} | settings))
            return dict(start)

        start = {}
        monkeypatch.setattr(running, "Trainer", Watched)
        return of

    @pytest.mark.parametrize("method", methods.names())
    def test_same_network_same_batches_same_draws(self, method, starts):
        teacher = {"teacher": Experiment(**SHORT | {"epochs": 1})} if "teacher" in methods.options(method) else {}
        plain, other = starts(augmentation="crop_flip"), starts(augmentation="crop_flip", method=method, **teacher)
        for name in ("batches", "draws") if teacher else ("network", "batches", "draws"):
            torch.testing.assert_close(other[name], plain[name], rtol=0, atol=0)

    def test_another_seed_changes_all_of_it(self, starts):
        one, other = starts(seed=0), starts(seed=1)
        assert not torch.equal(one["network"]["classifier.weight"], other["network"]["classifier.weight"])
        assert not torch.equal(one["batches"][0][2], other["batches"][0][2])
        assert not torch.equal(one["draws"], other["draws"])

    def test_a_peer_starts_from_elsewhere(self, starts):
        start = starts(method="deep_mutual_learning")
        assert start["peer"].keys() == start["network"].keys()
        assert not torch.equal(start["peer"]["classifier.weight"], start["network"]["classifier.weight"])

    def test_a_peer_can_be_another_network(self, starts):
        start = starts(method="deep_mutual_learning", options={"peer": "resnet8"}, subset=40)
        torch.manual_seed(0)
        assert start["peer"].keys() == networks.build("resnet8", 10, input_shape=(1, 8, 8)).state_dict().keys()

    def test_training_draws_are_no_repetition_of_the_initial_weights(self, starts):
        torch.manual_seed(0)
        initial = torch.rand(4)
        assert not torch.equal(starts(seed=0)["draws"], initial)


def test_every_data_set_and_network_of_the_profiles_exists():
    for profile in PROFILES.values():
        assert profile.settings.get("dataset", "digits") in data.names()
        assert profile.settings.get("network", "mlp") in networks.names()
        assert profile.seeds > 1
