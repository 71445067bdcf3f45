"""The protocol that ALR and KR share, as the two papers print it."""

import pytest

from labelreg.experiment import Experiment
from labelreg.papers import papers
from labelreg.paths import project_root

TABLES = {key: papers[key].tables for key in ("alr", "kr")}
FIGURES = {key: papers[key].figures for key in ("alr", "kr")}


@pytest.mark.parametrize("key", TABLES)
def test_table_4_is_the_protocol_of_mutual_learning(key, protocol):
    table = TABLES[key]["table4"]
    every = [*table, *(each.teacher for each in table if each.teacher)]
    recipe = protocol.values(every, "dataset", "batch_size", "epochs", "milestones", "decay", "learning_rate")
    assert recipe == {("cifar100", 64, 200, (60, 120, 180), 0.1, 0.1)}
    (distilled,) = [experiment for experiment in table if experiment.method == "knowledge_distillation"]
    assert distilled.network == "resnet32"
    assert (distilled.teacher.network, distilled.teacher.method) == ("wrn28_10", "cross_entropy")
    mutual = {each.network: each.options["peer"] for each in table if each.method == "deep_mutual_learning"}
    assert mutual == {"resnet32": "", "wrn28_10": ""}  # a peer of the same architecture


@pytest.mark.parametrize(
    ("key", "label", "method", "options"),
    [
        ("alr", "Baseline", "cross_entropy", {}),
        ("alr", "SLR", "label_smoothing", {"epsilon": 0.1, "convention": "others"}),
        ("alr", "ALR", "adaptive_label_regularization", {}),
        ("alr", "ALR-S", "adaptive_label_regularization", {"smoothing": 0.1}),
        ("kr", "Baseline", "cross_entropy", {}),
        ("kr", "LS", "label_smoothing", {"epsilon": 0.1, "convention": "others"}),
        ("kr", "KR", "knowledge_refinery", {}),
        ("kr", "KR-LS", "knowledge_refinery", {"smoothing": 0.1}),
    ],
)
def test_methods_under_their_printed_names(key, label, method, options, protocol):
    expected = Experiment(method=method, options=options).options
    assert protocol.methods_of(TABLES[key].values(), label) == {(method, expected)}


def test_kr_4_watches_the_divergence_where_there_is_a_matrix():
    rows = FIGURES["kr"]["figure4"].rows
    watched = {row.method: row.experiment.observe for row in rows}
    assert watched == {"Baseline": (), "LS": ()} | dict.fromkeys(("KR", "KR-LS"), ("residual_divergence",))
    for row in rows:
        own = TABLES["kr"]["table1"].find("cifar100", "preact_resnet18", row.method)
        assert row.experiment.but(observe=()) == own.experiment


def test_kr_5_sweeps_gamma():
    sweep = FIGURES["kr"]["figure5"]
    swept = {row.method: (row.experiment.options["gamma"], row.experiment.options["truncate"]) for row in sweep.rows}
    constant = {f"gamma = {gamma:g}": (gamma, 0) for gamma in (0.0, 0.9, 0.99, 0.995, 0.999)}
    assert swept == constant | {"gamma = 1*": (1.0, 20)}


@pytest.mark.parametrize("key", FIGURES)
def test_every_figure_is_drawn_by_the_chapter_where_it_is_recorded(key):
    chapter = (project_root() / "notebooks" / f"{key}.ipynb").read_text()
    assert [name for name in FIGURES[key] if rf"recorded(\"{key}\", \"{name}\"" not in chapter] == []
