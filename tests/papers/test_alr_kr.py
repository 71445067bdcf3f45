"""The protocol that ALR and KR share, as the two papers print it."""

import pytest

from labelreg.experiment import Experiment
from labelreg.papers import papers

TABLES = {key: papers[key].tables for key in ("alr", "kr")}
FIGURES = {key: papers[key].figures for key in ("alr", "kr")}
both = pytest.mark.parametrize("key", TABLES)


@both
def test_counts(key):
    assert [len(item) for item in TABLES[key].values()] == [16, 12, 24, 7]
    assert papers[key].seeds == 5


@pytest.mark.parametrize(("key", "epochs"), [("alr", 300), ("kr", 200)])
def test_table_1_is_cifar_with_nesterov(key, epochs, protocol):
    table = TABLES[key]["table1"]
    schedule = protocol.values(table, "epochs", "milestones", "decay", "schedule")
    assert schedule == {(epochs, (60, 120, 160), 0.1, "multi_step")}
    recipe = protocol.values(table, "optimizer", "learning_rate", "momentum", "nesterov", "batch_size", "precision")
    assert recipe == {("sgd", 0.1, 0.9, True, 128, "float32")}
    assert protocol.values(table, "network") == {("preact_resnet18",), ("wrn28_10",)}
    assert protocol.values(table, "dataset") == {("cifar10",), ("cifar100",)}
    data = protocol.values(table, "augmentation", "subset", "holdout", "label_noise", "weight_decay")
    assert data == {("standard", None, 0.0, 0.0, 5e-4)}


@both
def test_table_2_is_imagenet_in_mixed_precision(key, protocol):
    recipe = protocol.values(
        TABLES[key]["table2"], "dataset", "epochs", "batch_size", "milestones", "weight_decay", "precision"
    )
    assert recipe == {("imagenet", 90, 256, (30, 60), 1e-4, "bfloat16")}
    networks = {(f"imagenet_resnet{depth}",) for depth in (50, 101, 152)}
    assert protocol.values(TABLES[key]["table2"], "network") == networks


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
    teachers = [experiment.teacher for experiment in table if experiment.teacher]
    recipe = protocol.values(
        [*table, *teachers], "dataset", "batch_size", "epochs", "milestones", "decay", "learning_rate"
    )
    assert recipe == {("cifar100", 64, 200, (60, 120, 180), 0.1, 0.1)}
    (distilled,) = [experiment for experiment in table if experiment.method == "knowledge_distillation"]
    assert distilled.network == "resnet32"
    assert (distilled.teacher.network, distilled.teacher.method) == ("wrn28_10", "cross_entropy")
    mutual = {each.network: each.options["peer"] for each in table if each.method == "deep_mutual_learning"}
    assert mutual == {"resnet32": "", "wrn28_10": ""}  # a peer of the same architecture


def test_alr_quotes_its_rivals_and_kr_says_it_ran_them():
    quoted = {
        (key, name): {row.method for row in item.rows if row.quoted}
        for key, tables in TABLES.items()
        for name, item in tables.items()
    }
    rivals = {"Baseline", "Knowledge Distillation", "DML"}
    assert {names: rows for names, rows in quoted.items() if rows} == {("alr", "table4"): rivals}


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


class TestFigures:
    def test_alr_3_watches_the_residual_labels(self, protocol):
        seen = protocol.values(FIGURES["alr"]["figure3"], "dataset", "method", "epochs", "observe")
        assert seen == {("cifar10", "adaptive_label_regularization", 300, ("residual_labels",))}

    def test_kr_2_watches_the_soft_labels_of_the_baseline(self, protocol):
        seen = protocol.values(FIGURES["kr"]["figure2"], "dataset", "method", "epochs", "observe")
        assert seen == {("cifar10", "cross_entropy", 300, ("class_distributions",))}

    def test_kr_4_watches_the_divergence_where_there_is_a_matrix(self, protocol):
        curves = FIGURES["kr"]["figure4"]
        assert protocol.values(curves, "dataset", "network", "epochs") == {("cifar100", "preact_resnet18", 200)}
        watched = {row.method: row.experiment.observe for row in curves.rows}
        divergence = ("residual_divergence",)
        assert watched == {"Baseline": (), "LS": (), "KR": divergence, "KR-LS": divergence}
        for row in curves.rows:
            (own,) = protocol.find(
                TABLES["kr"]["table1"], dataset="cifar100", network="preact_resnet18", method=row.method
            )
            assert row.experiment.but(observe=()) == own.experiment

    def test_kr_5_sweeps_gamma(self, protocol):
        sweep = FIGURES["kr"]["figure5"]
        recipe = protocol.values(sweep, "dataset", "network", "method", "epochs")
        assert recipe == {("cifar100", "preact_resnet18", "knowledge_refinery", 200)}
        swept = {
            row.method: (row.experiment.options["gamma"], row.experiment.options["truncate"]) for row in sweep.rows
        }
        constant = {f"gamma = {gamma:g}": (gamma, 0) for gamma in (0.0, 0.9, 0.99, 0.995, 0.999)}
        assert swept == constant | {"gamma = 1*": (1.0, 20)}
