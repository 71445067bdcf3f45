"""An experiment: complete when made, equal exactly where the run is the same, and refused where it cannot be."""

import json
import pickle
import re

import pytest
from pydantic import ValidationError
from torch import nn

from labelreg import methods, networks, papers
from labelreg.experiment import PROFILES, Experiment
from labelreg.methods import LabelSmoothing
from labelreg.options import Options

# one other value for every setting that stands alone
OTHERS = (
    {"epochs": 30, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.2, "momentum": 0.8, "nesterov": False}
    | {"weight_decay": 1e-4, "schedule": "cosine", "milestones": (60, 120), "decay": 0.2, "precision": "bfloat16"}
    | {"sequence_length": 20, "clip_norm": 0.25, "dataset": "cifar10", "network": "resnet20", "augmentation": "none"}
    | {"method": "label_smoothing", "subset": 200, "holdout": 0.1, "label_noise": 0.3, "seed": 1}
    | {"observe": ("class_distributions",)}
)
# and for those that need another to be set
TOGETHER = (
    {"network_options": {"hidden": (64,)}},
    {"method": "deep_mutual_learning"},
    {"method": "deep_mutual_learning", "auxiliary_options": {"hidden": (32,)}},
    {"method": "deep_mutual_learning", "options": {"peer": "resnet20"}},
    {"method": "born_again", "teacher": Experiment()},
    {"method": "born_again", "teacher": Experiment(seed=1)},
    {"method": "label_smoothing", "options": {"epsilon": 0.2}},
    {"method": "mixup", "options": {"method": "label_smoothing"}},
    {"method": "mixup", "options": {"method": "label_smoothing", "method.epsilon": 0.2}},
)


def teaches(method, **teacher):
    """The teacher that a method needs, if it needs one."""
    needs = "teacher" in methods.network_roles(method, {})
    return {"teacher": Experiment(**teacher)} if needs else {}


def every():
    """Every method with every network, and every printed row."""
    for network in networks.names():
        for method in methods.names():
            yield Experiment(method=method, network=network, **teaches(method, network="resnet8"))
    for collection in papers.COLLECTIONS.values():
        for item in collection.items.values():
            yield from item


class TestComplete:
    @pytest.mark.parametrize("method", methods.names())
    def test_names_every_option_of_the_method(self, method):
        """Those with a default at it; a network beside the target is of its kind; the teacher is no option."""
        chosen = Experiment(method=method, **teaches(method)).options
        for name, option in methods.options(method).items():
            if name == "teacher":
                assert name not in chosen
            elif option.annotation is nn.Module:
                assert chosen[name] == ""
            elif option.default in (option.empty, None) and "Method" in str(option.annotation):
                assert chosen[name] == "cross_entropy"
            else:
                assert chosen[name] == option.default

    @pytest.mark.parametrize("network", networks.names())
    def test_names_every_option_of_the_network_and_of_one_beside_it(self, network):
        defaults = networks.complete_options(network, {})
        alone, beside = Experiment(network=network), Experiment(network=network, method="deep_mutual_learning")
        assert alone.network_options == beside.network_options == beside.auxiliary_options == defaults
        assert alone.auxiliary_options == {}

    def test_goes_inside_methods_inside_methods(self):
        options = {"method": "mixup", "method.method": "network_as_regularization", "method.method.lam": 0.3}
        inside = methods.complete_options("network_as_regularization", {"lam": 0.3})
        assert Experiment(method="batch_augmentation", options=options).options == (
            options | {"copies": 10, "method.alpha": 1.0} | {f"method.method.{name}": inside[name] for name in inside}
        )

    def test_a_network_beside_the_target_has_the_targets_options_where_it_is_of_its_kind(self):
        same = Experiment(network_options={"hidden": (8,)}, method="mixup", options={"method": "deep_mutual_learning"})
        assert same.auxiliary_options == {"hidden": (8,)}
        assert same.but(auxiliary_options={"hidden": (4,)}).auxiliary_options == {"hidden": (4,)}
        other = same.but(options={"method": "deep_mutual_learning", "method.peer": "wrn28_10"}, auxiliary_options={})
        assert other.auxiliary_options == {"dropout": 0.0}
        named = same.but(options={"method": "deep_mutual_learning", "method.peer": "mlp"})
        assert named.auxiliary_options == {"hidden": (8,)}

    def test_of_a_network_that_only_a_paper_has_nothing_is_known(self):
        assert Experiment(network="bert", network_options={"wide": 3}).network_options == {"wide": 3}

    def test_every_experiment_is_the_same_through_json_and_through_a_copy(self):
        """What is written to a file is complete, so that defaults may change."""
        for experiment in every():
            plain = json.loads(json.dumps(experiment.as_dict()))
            again = Experiment.from_recorded(plain)
            assert again == experiment == experiment.but()
            assert again.key == experiment.key == experiment.but().key
            assert again.as_dict() == plain == experiment.as_dict()
            assert Experiment(**plain) == experiment


class TestIdentity:
    SAME = (
        ({}, {"method": "cross_entropy", "network_options": {"hidden": (256, 256)}}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        ({"milestones": [60]}, {"milestones": (60,)}),
        ({"milestones": 60}, {"milestones": (60,)}),
        ({"observe": "embedding"}, {"observe": ["embedding"]}),
        ({"network_options": {"hidden": [64, 32]}}, {"network_options": {"hidden": (64, 32)}}),
        ({"network_options": {"hidden": 64}}, {"network_options": {"hidden": (64,)}}),
        ({"method": "label_smoothing"}, {"method": "label_smoothing", "options": {"epsilon": 0.1}}),
        (
            {"method": "knowledge_refinery", "options": {"gamma": 1, "smoothing": 0.1}},
            {"method": "knowledge_refinery", "options": (("smoothing", 0.1), ("gamma", 1.0))},
        ),
        ({"method": "mixup"}, {"method": "mixup", "options": {"method": "cross_entropy"}}),
        ({"method": "deep_mutual_learning"}, {"method": "deep_mutual_learning", "options": {"peer": "mlp"}}),
        (
            {"method": "network_as_regularization"},
            {"method": "network_as_regularization", "auxiliary_options": {"hidden": [256, 256]}},
        ),
        (
            {"method": "born_again", "teacher": Experiment(method="label_smoothing")},
            {"method": "born_again", "teacher": {"method": "label_smoothing", "options": {"epsilon": 0.1}}},
        ),
    )

    @pytest.mark.parametrize(("one", "other"), SAME)
    def test_two_ways_to_say_the_same_run(self, one, other):
        one, other = Experiment(**one), Experiment(**other)
        assert one == other
        assert hash(one) == hash(other)
        assert one.key == other.key
        assert one.as_dict() == other.as_dict()

    def test_every_setting_makes_another_run_and_survives_pickling(self):
        every = [Experiment(), *(Experiment(**{name: value}) for name, value in OTHERS.items())]
        every += [Experiment(**each) for each in TOGETHER]
        assert len({each.key for each in every}) == len(every) == len(set(every))
        assert OTHERS.keys() | {name for each in TOGETHER for name in each} == Experiment.model_fields.keys()
        again = pickle.loads(pickle.dumps(every))
        assert again == every
        assert [each.key for each in again] == [each.key for each in every]

    def test_cannot_be_changed(self):
        experiment = Experiment(network_options={"hidden": [8]})
        with pytest.raises(ValidationError, match="frozen"):
            experiment.seed = 3
        with pytest.raises(TypeError, match="item assignment"):
            experiment.network_options["hidden"] = (9,)
        assert isinstance(experiment.options, Options)

    def test_the_name_is_readable_and_the_key_short(self):
        experiment = Experiment(method="label_smoothing", seed=4)
        assert experiment.name == "digits-mlp-label_smoothing-s4"
        assert re.fullmatch("[0-9a-f]{12}", experiment.key)


class TestBut:
    """A copy with other settings: what starts over, and what stays."""

    NARROW = Experiment(network_options={"hidden": (8,)}, method="network_as_regularization", options={"lam": 0.3})
    TAUGHT = Experiment(method="born_again", options={"beta": 0.3}, teacher=Experiment(seed=5), seed=3)

    def test_another_method_starts_over_with_its_options_and_without_a_teacher(self):
        assert self.NARROW.but(method="cross_entropy") == Experiment(network_options={"hidden": (8,)})
        assert self.TAUGHT.but(method="label_smoothing") == Experiment(method="label_smoothing", seed=3)
        with pytest.raises(ValueError, match="knowledge_distillation learns from a teacher"):
            self.TAUGHT.but(method="knowledge_distillation")

    def test_the_same_method_keeps_them_and_those_that_are_given_replace_all(self):
        assert self.NARROW.but(method="network_as_regularization") == self.NARROW
        assert self.TAUGHT.but(method="born_again", seed=4).teacher == Experiment(seed=5)
        assert self.TAUGHT.but(seed=4).options == self.TAUGHT.options
        changed = self.NARROW.but(options={"alpha": 0.2}).options
        assert (changed["lam"], changed["alpha"]) == (0.5, 0.2)
        assert self.NARROW.but(method="label_smoothing", options={"epsilon": 0.3}).options["epsilon"] == 0.3
        with pytest.raises(ValueError, match="epochs should be greater than 0"):
            self.NARROW.but(epochs=0)

    def test_another_network_starts_over_and_so_does_the_one_beside_it(self):
        other = self.NARROW.but(network="wrn28_10")
        assert other.network_options == other.auxiliary_options == {"dropout": 0.0}
        assert other.options["lam"] == 0.3
        assert self.NARROW.but(network="wrn28_10", network_options={"dropout": 0.1}).auxiliary_options["dropout"] == 0.1
        wider = self.NARROW.but(network_options={"hidden": (9,)})
        assert wider.network_options == wider.auxiliary_options == {"hidden": (9,)}
        assert wider.but(auxiliary_options={"hidden": (4,)}).but(seed=1).auxiliary_options == {"hidden": (4,)}

    def test_changes_are_what_differs_from_the_defaults(self):
        assert Experiment().changes() == {}
        narrow = {"network_options": {"hidden": (8,)}, "method": "network_as_regularization", "options": {"lam": 0.3}}
        assert self.NARROW.changes() == narrow
        taught = {"method": "born_again", "options": {"beta": 0.3}, "seed": 3, "teacher": {"seed": 5}}
        assert self.TAUGHT.changes() == taught
        wider = self.NARROW.but(auxiliary_options={"hidden": (9,)}).changes()
        assert wider["auxiliary_options"] == {"hidden": (9,)}
        # the defaults of a method inside another are its own
        inside = {"method": "mixup", "method.method": "label_smoothing", "method.method.epsilon": 0.2}
        assert Experiment(method="batch_augmentation", options=inside).changes()["options"] == inside


class TestRecorded:
    """The experiment of recorded settings, also where options were added since."""

    @pytest.fixture
    def grown(self, monkeypatch):
        """A method that got an option since, whose default is another than what was run before."""

        class Grown(LabelSmoothing):
            added = {"sharpness": 1.0}  # noqa: RUF012

            def __init__(self, epsilon: float = 0.1, sharpness: float = 2.0):
                super().__init__(epsilon)
                self.sharpness = sharpness

        monkeypatch.setitem(methods._CLASSES, "grown", Grown)

    @pytest.mark.parametrize("inside", [False, True])
    def test_an_option_that_was_added_has_the_value_of_then(self, grown, inside):
        prefix = "method." if inside else ""
        chosen = {"method": "mixup", "options": {"method": "grown"}} if inside else {"method": "grown"}
        today = Experiment(**chosen)
        assert today.options[f"{prefix}sharpness"] == 2.0
        settings = json.loads(json.dumps(today.as_dict()))
        assert Experiment.from_recorded(settings) == today
        del settings["options"][f"{prefix}sharpness"]
        then = Experiment.from_recorded(settings)
        assert then.options[f"{prefix}sharpness"] == 1.0
        assert then == today.but(options={**today.options, f"{prefix}sharpness": 1.0}) != today
        # a teacher was made then, too
        taught = Experiment(method="born_again", teacher=today)
        assert Experiment.from_recorded(taught.as_dict() | {"teacher": settings}).teacher == then

    def test_a_setting_that_was_added_has_its_default(self):
        settings = Experiment(method="label_smoothing").as_dict()
        for name in ("clip_norm", "auxiliary_options"):
            del settings[name]
        del settings["options"]["convention"]
        assert Experiment.from_recorded(settings) == Experiment(method="label_smoothing")

    @pytest.mark.parametrize("group", ["options", "network_options", None])
    def test_what_does_not_exist_any_more_is_refused(self, group):
        gone = {"warmth": 3}
        with pytest.raises(ValueError, match="is called 'warmth'"):
            Experiment.from_recorded(Experiment().as_dict() | ({group: gone} if group else gone))


CP, VGG = {"method": "confidence_penalty"}, {"network": "vgg16"}
KD = {"method": "knowledge_distillation"}
TEACHER = {"teacher": Experiment()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "no setting is called 'epoch'; did you mean epochs"),
        ({"seed": 2**31}, "seed should be less than 2147483648, got 2147483648"),
        ({"holdout": 1.0}, "holdout should be less than 1, got 1.0"),
        ({"label_noise": -0.1}, "label_noise should be greater than or equal to 0, got -0.1"),
        ({"augmentation": "crop_flp"}, "no augmentation is called 'crop_flp'; did you mean crop_flip"),
        ({"observe": "residual_label"}, "no observer is called 'residual_label'; did you mean residual_labels"),
        ({"observe": ("vote", "vote")}, "observe names an observer twice: vote, vote"),
        ({"network_options": {"hiden": 3}}, "no option of mlp is called 'hiden'; did you mean hidden"),
        ({"network_options": {"hidden": -3}}, "mlp's option hidden.0 should be greater than 0, got -3"),
        ({"method": "knowledge_refinary"}, "no method is called 'knowledge_refinary'; did you mean knowledge_refin"),
        ({"options": {"gamma": 0.5}}, "no option of cross_entropy is called 'gamma'"),
        ({"method": "label_smoothing", "options": {"epsilon": "x"}}, "label_smoothing's option epsilon should be "),
        ({"method": "mixup", "options": {"method.gamma": 1}}, "no option of cross_entropy is called 'gamma'"),
        ({"auxiliary_options": {"hidden": 3}}, "auxiliary_options must be empty: cross_entropy trains no network"),
        ({"method": "deep_mutual_learning", "auxiliary_options": {"hiden": 3}}, "no option of mlp is called 'hiden'"),
        (
            {"method": "deep_mutual_learning", "options": {"peer": "resnet8"}, "auxiliary_options": {"hidden": 3}},
            "no option of resnet8 is called 'hidden'",
        ),
        ({"method": "mixup", "options": {"method": "ada_cos"}}, "mixed labels are probabilities, and AdaCos with its"),
        ({"network_options": {"hidden": (64, 10**12)}}, "mlp's option hidden.1 should be less than or equal to 10000"),
        ({"network": "lstm", "network_options": {"layers": 10**9}}, "lstm's option layers should be less than or "),
        (
            {"network": "lstm", "network_options": {"init_range": 1e308}},
            r"init_range should be at most 3.4e\+38 in size",
        ),
        ({"decay": 1e300}, r"decay should be at most 3.4e\+38 in size, got 1e\+300"),
        (KD, "knowledge_distillation learns from a teacher: name another experiment as teacher"),
        ({"method": "mixup", "options": {"method": "born_again"}}, "mixup learns from a teacher: name another exper"),
        (TEACHER, "cross_entropy learns from no teacher, and digits-mlp-cross_entropy-s0 is given as one"),
        (KD | {"teacher": Experiment(dataset="cifar10")}, "the teacher learns cifar10, the student digits"),
        (KD | {"teacher": {"epochs": -1}}, "the teacher: epochs should be greater than 0, got -1"),
        ({"network": "../../n"}, "network string should match pattern"),
        ({"dataset": "a/b"}, "dataset string should match pattern"),
        (KD | {"teacher": "resnet18"}, "teacher should be a valid dictionary or instance of Experiment"),
        (KD | TEACHER | {"options": {"teacher": "mlp"}}, "the teacher is an experiment, not the name of a network"),
    ],
)
def test_refuses_what_cannot_be_in_one_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        Experiment(**settings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"weight_decay": -0.0}, {"weight_decay": 0.0}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        (CP | {"options": {"weight": -0.0}}, CP | {"options": {"weight": 0.0}}),
        (CP | {"options": {"weight": 1}}, CP | {"options": {"weight": 1.0}}),
        (VGG | {"network_options": {"dropout": -0.0}}, VGG | {"network_options": {"dropout": 0.0}}),
    ],
)
def test_equal_numbers_are_the_same_run(one, other):
    assert Experiment(**one) == Experiment(**other)
    assert Experiment(**one).key == Experiment(**other).key


class TestProfiles:
    PAPER = Experiment(dataset="cifar100", network="resnet32", method="knowledge_refinery", options={"gamma": 0.9})

    def test_paper_changes_nothing_and_fast_keeps_data_and_network(self):
        assert self.PAPER.at("paper") == self.PAPER
        short = {"epochs": 30, "schedule": "one_cycle", "precision": "bfloat16", "learning_rate": 0.2}
        assert self.PAPER.at("fast") == self.PAPER.but(**short)

    def test_quick_keeps_the_method_only(self):
        kept = {"method": self.PAPER.method, "options": self.PAPER.options}
        small = {"epochs": 40, "subset": 200, "batch_size": 64, "schedule": "one_cycle"}
        assert self.PAPER.at("quick") == Experiment(dataset="digits", network="mlp", **small, **kept)
        text = papers.papers["nar"].tables["table4"][-1].at("quick")
        assert (text.network_options, text.optimizer, text.learning_rate) == ({"hidden": (256, 256)}, "sgd", 0.1)

    @pytest.mark.parametrize(
        ("settings", "overrides", "schedule", "learning_rate"),
        [
            ({"schedule": "cosine", "learning_rate": 0.01}, {}, "one_cycle", 0.02),
            ({"schedule": "constant"}, {}, "one_cycle", 0.2),
            ({"schedule": "one_cycle", "learning_rate": 0.3}, {}, "one_cycle", 0.3),
            ({}, {"learning_rate": 0.03}, "one_cycle", 0.03),
            ({}, {"schedule": "cosine"}, "cosine", 0.1),
            ({}, {"schedule": "one_cycle"}, "one_cycle", 0.1),
            ({}, {"schedule": "plateau", "learning_rate": 2.0}, "plateau", 2.0),
        ],
    )
    def test_fast_goes_up_to_twice_the_learning_rate_of_sgd_unless_told_otherwise(
        self, settings, overrides, schedule, learning_rate
    ):
        fast = Experiment(**settings).at("fast", **overrides)
        assert (fast.epochs, fast.schedule, fast.learning_rate) == (30, schedule, learning_rate)
        assert fast.at("fast", **overrides) == fast

    @pytest.mark.parametrize(
        ("settings", "overrides", "epochs", "schedule", "learning_rate"),
        [
            ({"optimizer": "adam", "learning_rate": 1e-4}, {}, 10, "one_cycle", 1e-3),
            ({}, {"optimizer": "adam"}, 10, "one_cycle", 1e-3),
            ({"optimizer": "adam"}, {"learning_rate": 3e-3, "epochs": 5}, 5, "one_cycle", 3e-3),
            ({"optimizer": "adam"}, {"schedule": "constant"}, 10, "constant", 1e-3),
            ({"optimizer": "adam"}, {"optimizer": "sgd"}, 30, "one_cycle", 0.2),
        ],
    )
    def test_fast_has_settings_of_its_own_for_adam(self, settings, overrides, epochs, schedule, learning_rate):
        fast = Experiment(**settings).at("fast", **overrides)
        assert (fast.epochs, fast.schedule, fast.learning_rate) == (epochs, schedule, learning_rate)
        assert fast.precision == ("float32" if fast.optimizer == "adam" else "bfloat16")
        assert fast.at("fast", **overrides) == fast

    def test_fast_is_short_for_a_plateau_and_nothing_else(self):
        """A language model's learning rate is 35, and falls where the validation loss does not."""
        for model in papers.papers["nar"].tables["table4"]:
            fast = model.at("fast")
            assert fast == model.but(epochs=30, precision="bfloat16", teacher=fast.teacher)
            assert (fast.schedule, fast.learning_rate) == ("plateau", 35.0)
            assert fast.epochs < model.epochs
            assert model.teacher is None or fast.teacher == model.teacher.at("fast")

    def test_fast_leaves_networks_without_batch_normalisation_a_rate_they_can_use(self):
        rates = {each.network: each.at("fast").learning_rate for each in papers.papers["sba"].tables["table1"]}
        assert rates.pop("alexnet") == rates.pop("imagenet_vgg16") == rates.pop("imagenet_alexnet") == 0.02
        assert set(rates.values()) == {0.2}

    @pytest.mark.parametrize("profile", PROFILES)
    def test_overrides_win_and_twice_is_once(self, profile):
        changed = self.PAPER.at(profile, epochs=2, seed=7, options={"gamma": 0.5})
        assert (changed.epochs, changed.seed, changed.options["gamma"]) == (2, 7, 0.5)
        assert changed.at(profile, epochs=2) == changed
        assert self.PAPER.at(profile, method="label_smoothing").options == {"epsilon": 0.1, "convention": "all"}


class TestTeacher:
    TEACHER = Experiment(dataset="cifar100", network="wrn28_10")
    STUDENT = Experiment(dataset="cifar100", network="resnet32", **KD, teacher=TEACHER)

    def test_goes_along_to_a_profile_but_stays_another_experiment(self):
        own = {"network": "resnet8", "options": {"alpha": 0.3}, "observe": "class_distributions"}
        moved = self.STUDENT.at("fast", epochs=2, seed=4, **own)
        assert moved.teacher == self.TEACHER.at("fast", epochs=2, seed=4)
        assert (moved.network, moved.options["alpha"], moved.epochs) == ("resnet8", 0.3, 2)
        resized = self.STUDENT.at("paper", network="mlp", network_options={"hidden": (8,)})
        assert resized.teacher == self.TEACHER
        assert self.STUDENT.at("quick").teacher == self.TEACHER.at("quick")
        assert self.STUDENT.at("fast", method="label_smoothing").teacher is None

    def test_that_is_given_stays_as_it_is_and_its_settings_are_at_the_profile(self):
        assert self.STUDENT.at("fast", teacher=self.TEACHER).teacher == self.TEACHER
        taught = Experiment().at("quick", **KD, teacher={"seed": 3}, epochs=5)
        assert taught.teacher == Experiment(seed=3).at("quick")
        assert taught.epochs == 5

    def test_can_be_taught_itself(self):
        chain = Experiment(**KD, teacher=Experiment(**KD, teacher=Experiment(seed=5)))
        assert chain.at("quick").teacher.teacher == Experiment(seed=5).at("quick")
        assert Experiment.from_recorded(chain.as_dict()) == chain == Experiment(**chain.changes())

    def test_seeds_are_consecutive_and_go_along(self):
        student = Experiment(seed=3, **KD, teacher=Experiment(seed=10))
        assert [(each.seed, each.teacher.seed) for each in student.with_seeds(3)] == [(3, 10), (4, 11), (5, 12)]
        assert student.with_seeds(0) == []
        assert student.with_seeds(2) == [student, student.but(seed=4, teacher=Experiment(seed=11))]
        last = Experiment(seed=2**31 - 2)
        assert last.with_seeds(2)[1].seed == 2**31 - 1
        for each in (last, Experiment(**KD, teacher=last)):
            with pytest.raises(ValueError, match="seed should be less than 2147483648"):
                each.with_seeds(3)
        for count in (-1, 10**9, "3", 2.0, None):
            with pytest.raises(ValueError, match="the number of seeds must be an integer from 0 to 10000, got"):
                student.with_seeds(count)
