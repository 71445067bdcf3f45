"""Experiments as text: what is written is read back, through a shell too."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from labelreg import cli, methods, sweeps
from labelreg.assignments import parse, render
from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS

numbers = st.floats(1e-6, 1e6)
SETTINGS = {
    "epochs": st.integers(1, 500),
    "batch_size": st.integers(1, 512),
    "optimizer": st.sampled_from(["sgd", "adam"]),
    "learning_rate": numbers,
    "momentum": st.floats(0, 0.999),
    "nesterov": st.booleans(),
    "weight_decay": st.floats(0, 0.1),
    "schedule": st.sampled_from(["multi_step", "one_cycle", "cosine", "constant", "plateau"]),
    "milestones": st.sets(st.integers(1, 500), max_size=4).map(sorted),
    "decay": st.floats(0.01, 0.99),
    "precision": st.sampled_from(["float32", "bfloat16"]),
    "sequence_length": st.integers(1, 100),
    "clip_norm": st.floats(0, 10),
    "dataset": st.sampled_from(["digits", "cifar10", "20news"]),
    "augmentation": st.sampled_from(["standard", "none", "crop_flip"]),
    "subset": st.none() | st.integers(1, 50_000),
    "holdout": st.floats(0, 0.9),
    "label_noise": st.floats(0, 0.9),
    "seed": st.integers(0, 10_000),
    "observe": st.sets(st.sampled_from(["residual_labels", "class_distributions", "residual_divergence"])).map(tuple),
}
# values of options, by name; of a method those that it has are set
OPTIONS = {
    "smoothing": st.floats(0, 1),
    "tracking": st.just("ema"),
    "lr_mult": numbers,
    "gamma": st.floats(0, 1),
    "truncate": st.integers(0, 99),
    "kind": st.sampled_from(["kl", "cross_entropy"]),
    "epsilon": st.floats(0, 1),
    "temperature": numbers,
    "t_squared": st.booleans(),
    "lam": st.floats(0, 0.9),
    "interval": st.integers(1, 9),
    "copies": st.integers(1, 9),
    "virtual": st.integers(0, 9),
    "layers": st.sampled_from(["features", ",features.stage3"]),
}
hidden = st.lists(st.integers(1, 512), min_size=1, max_size=3).map(tuple)
NETWORKS = {
    "mlp": {"hidden": hidden},
    "wrn28_10": {"dropout": st.floats(0, 0.9)},
    "lstm": {"hidden": st.integers(1, 9), "dropout": st.floats(0, 0.9)},
    "resnet32": {},
}


@st.composite
def options(draw, method):
    """Options of a method, and of another inside it."""
    named = {name: OPTIONS[name] for name in methods.options(method) if name in OPTIONS}
    chosen = draw(st.fixed_dictionaries({}, optional=named))
    if "method" in methods.options(method):
        inner = ["label_smoothing", "network_as_regularization", "mixup"]
        if method in ("adversarial_training", "class_wise_self_distillation"):
            inner.remove("mixup")  # which they refuse
        chosen["method"] = draw(st.sampled_from(inner))
        chosen |= {f"method.{name}": value for name, value in draw(options(chosen["method"])).items()}
    elif "peer" in methods.options(method):
        chosen["peer"] = draw(st.sampled_from(["", "lstm"]))
    return chosen


@st.composite
def experiments(draw, taught=True):
    """Experiments with any settings, of any method and some networks; a teacher is drawn like them."""
    chosen = draw(st.fixed_dictionaries({}, optional=SETTINGS))
    known = [name for name in methods.names() if taught or "teacher" not in methods.network_roles(name, {})]
    chosen["method"], chosen["network"] = draw(st.sampled_from(known)), draw(st.sampled_from([*NETWORKS]))
    chosen["network_options"] = draw(st.fixed_dictionaries({}, optional=NETWORKS[chosen["network"]]))
    chosen["options"] = draw(options(chosen["method"]))
    roles = methods.network_roles(chosen["method"], chosen["options"])
    if "teacher" in roles:
        chosen["teacher"] = draw(experiments(taught=False)).but(dataset=chosen.get("dataset", "digits"))
    elif roles:
        kind = chosen["options"].get("peer") or chosen["network"]
        chosen["auxiliary_options"] = draw(st.fixed_dictionaries({}, optional=NETWORKS[kind]))
    return Experiment(**chosen)


@given(experiments())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read_back(experiment):
    written = list(render(experiment.changes()))
    assert Experiment(**parse(written)) == experiment
    assert Experiment().at("paper", **parse(written)).key == experiment.key
    assert Experiment(**experiment.changes()) == experiment


@given(experiments())
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_as_little_as_it_can_be(experiment):
    settings = [*render(experiment.changes())]
    # without these others may not fit: options, and a teacher of the same data set
    tied = ("method=", "network=", "dataset=")
    for each in (each for each in settings if "." not in each and not each.startswith(tied)):
        assert Experiment(**parse(other for other in settings if other != each)) != experiment


@pytest.mark.parametrize("paper", COLLECTIONS.values(), ids=COLLECTIONS)
def test_the_commands_of_a_paper_run_its_rows(paper, monkeypatch):
    monkeypatch.setattr(sweeps, "run_all", lambda experiments, **options: ran.extend(experiments) or {})
    for item in paper.items.values():
        for experiment in item:
            ran = []
            outcome = CliRunner().invoke(
                cli.app, ["run", "--profile=paper", "--seeds=3", *render(experiment.changes())]
            )
            assert outcome.exit_code == 0, outcome.output
            assert ran == experiment.with_seeds(3)


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("epochs=30", {"epochs": 30}),
            ("learning_rate=1e-3", {"learning_rate": 0.001}),
            ("nesterov=false", {"nesterov": False}),
            ("subset=None", {"subset": None}),
            ("augmentation=none", {"augmentation": "none"}),
            ("milestones=60,120", {"milestones": (60, 120)}),
            ("milestones=60", {"milestones": 60}),
            ("milestones=()", {"milestones": ()}),
            ("network_options.hidden=128,", {"network_options": {"hidden": (128,)}}),
            ("options.layers='features,head'", {"options": {"layers": "features,head"}}),
            ("milestones=a,2", {"milestones": ("a", 2)}),
            ("nesterov=None", {"nesterov": "None"}),
            ("teacher.options.alpha=0.5", {"teacher": {"options": {"alpha": 0.5}}}),
            ("teacher.teacher.network=mlp", {"teacher": {"teacher": {"network": "mlp"}}}),
        ],
    )
    def test_reads(self, text, expected):
        assert parse([text]) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("epochs", "settings are given as NAME=VALUE, not 'epochs'"),
            ("=3", "settings are given as NAME=VALUE, not '=3'"),
            ("epoch=3", "no setting is called 'epoch'; did you mean epochs"),
            ("options=0.1", r"no setting is called 'options'; did you mean options\.NAME"),
            ("epochs.long=3", r"no setting is called 'epochs\.long'; did you mean epochs"),
            ("teacher=resnet18", r"no setting is called 'teacher'; did you mean teacher\.NAME"),
            ("teacher.epoch=3", "no setting is called 'epoch'; did you mean epochs"),
        ],
    )
    def test_refuses(self, text, message):
        with pytest.raises(ValueError, match=message):
            parse([text])
