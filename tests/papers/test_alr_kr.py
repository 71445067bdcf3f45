"""The protocol that ALR and KR share, as the two papers print it."""

import pytest

from labelreg.experiment import Experiment
from labelreg.papers import papers

TABLES = {key: papers[key].tables for key in ("alr", "kr")}
FIGURES = {key: papers[key].figures for key in ("alr", "kr")}
both = pytest.mark.parametrize("key", TABLES)


@pytest.mark.parametrize(("key", "epochs"), [("alr", 300), ("kr", 200)])
def test_table_1_is_cifar_with_nesterov(key, epochs, protocol):
    table = TABLES[key]["table1"]
    schedule = protocol.values(table, "epochs", "milestones", "decay", "schedule")
    assert schedule == {(epochs, (60, 120, 160), 0.1, "multi_step")}
    recipe = protocol.values(table, "optimizer", "learning_rate", "momentum", "nesterov", "batch_size", "precision")
    assert recipe == {("sgd", 0.1, 0.9, True, 128, "float32")}
    kinds = {(dataset, network) for dataset in ("cifar10", "cifar100") for network in ("preact_resnet18", "wrn28_10")}
    assert protocol.values(table, "dataset", "network") == kinds
    data = protocol.values(table, "augmentation", "subset", "holdout", "label_noise", "weight_decay")
    assert data == {("standard", None, 0.0, 0.0, 5e-4)}


@both
def test_table_2_is_imagenet_in_mixed_precision(key, protocol):
    table = TABLES[key]["table2"]
    recipe = protocol.values(table, "dataset", "epochs", "batch_size", "milestones", "weight_decay", "precision")
    assert recipe == {("imagenet", 90, 256, (30, 60), 1e-4, "bfloat16")}
    assert protocol.values(table, "network") == {(f"imagenet_resnet{depth}",) for depth in (50, 101, 152)}


@both
def test_table_3_is_text_with_adam(key, protocol):
    table = TABLES[key]["table3"]
    recipe = protocol.values(table, "optimizer", "learning_rate", "batch_size", "epochs", "milestones", "decay")
    assert recipe == {("adam", 1e-4, 128, 30, (10, 20), 0.5)}
    assert protocol.values(table, "weight_decay", "schedule") == {(0.0, "multi_step")}
    assert protocol.values(table, "dataset") == {("ag_news",), ("yahoo_answers",), ("yelp_review_full",)}
    assert protocol.values(table, "network") == {("fasttext",), ("textrnn",), ("charcnn",), ("transformer",)}
    assert {each.at("fast").learning_rate for each in table} == {1e-4}  # a peak of SGD would be too much


@both
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


def test_alr_quotes_its_rivals_and_kr_says_it_ran_them():
    rows = [(key, name, row) for key, tables in TABLES.items() for name, item in tables.items() for row in item.rows]
    quoted = {(key, name, row.method) for key, name, row in rows if row.quoted}
    assert quoted == {("alr", "table4", rival) for rival in ("Baseline", "Knowledge Distillation", "DML")}


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


@pytest.mark.parametrize(
    ("key", "figure", "expected"),
    [
        ("alr", "figure3", ("cifar10", "adaptive_label_regularization", 300, ("residual_labels",))),
        ("kr", "figure2", ("cifar10", "cross_entropy", 300, ("class_distributions",))),
    ],
)
def test_labels_are_watched_over_300_epochs(key, figure, expected, protocol):
    assert protocol.values(FIGURES[key][figure], "dataset", "method", "epochs", "observe") == {expected}


def test_kr_4_watches_the_divergence_where_there_is_a_matrix():
    rows = FIGURES["kr"]["figure4"].rows
    divergence = ("residual_divergence",)
    watched = {row.method: row.experiment.observe for row in rows}
    assert watched == {"Baseline": (), "LS": (), "KR": divergence, "KR-LS": divergence}
    for row in rows:
        own = TABLES["kr"]["table1"].find("cifar100", "preact_resnet18", row.method)
        assert row.experiment.but(observe=()) == own.experiment


def test_kr_5_sweeps_gamma(protocol):
    sweep = FIGURES["kr"]["figure5"]
    recipe = protocol.values(sweep, "dataset", "network", "method", "epochs")
    assert recipe == {("cifar100", "preact_resnet18", "knowledge_refinery", 200)}
    swept = {row.method: (row.experiment.options["gamma"], row.experiment.options["truncate"]) for row in sweep.rows}
    constant = {f"gamma = {gamma:g}": (gamma, 0) for gamma in (0.0, 0.9, 0.99, 0.995, 0.999)}
    assert swept == constant | {"gamma = 1*": (1.0, 20)}
