"""The protocols of ALR and KR, as the two papers print them."""

import pytest

from labelreg.papers import papers, reported

TABLES = {key: papers[key].tables for key in ("alr", "kr")}
both = pytest.mark.parametrize("key", TABLES)


def settings(experiments, *names):
    return {tuple(getattr(experiment, name) for name in names) for experiment in experiments}


@both
def test_prints_71_numbers_in_four_tables(key):
    assert dict(reported(key).groupby("item").size()) == {"table1": 16, "table2": 24, "table3": 24, "table4": 7}
    assert [len(item) for item in TABLES[key].values()] == [16, 12, 24, 7]
    assert papers[key].seeds == 5


@pytest.mark.parametrize(("key", "epochs"), [("alr", 300), ("kr", 200)])
def test_table_1_is_cifar_with_nesterov(key, epochs):
    table = TABLES[key]["table1"]
    assert settings(table, "epochs", "milestones", "decay", "schedule") == {(epochs, (60, 120, 160), 0.1, "multi_step")}
    recipe = settings(table, "optimizer", "learning_rate", "momentum", "nesterov", "batch_size", "precision")
    assert recipe == {("sgd", 0.1, 0.9, True, 128, "float32")}
    assert settings(table, "network") == {("preact_resnet18",), ("wrn28_10",)}
    assert settings(table, "dataset") == {("cifar10",), ("cifar100",)}
    assert settings(table, "augmentation", "subset", "holdout", "label_noise") == {("standard", None, 0.0, 0.0)}


@both
def test_table_2_is_imagenet(key):
    table = TABLES[key]["table2"]
    assert settings(table, "dataset") == {("imagenet",)}
    assert settings(table, "network") == {(f"imagenet_resnet{depth}",) for depth in (50, 101, 152)}
    assert set(reported(key).query("item == 'table2'").metric.str.split("_").str[0]) == {"top1", "top5"}


@both
def test_table_3_is_text_with_adam(key):
    table = TABLES[key]["table3"]
    recipe = settings(table, "optimizer", "learning_rate", "batch_size", "epochs", "milestones", "decay", "schedule")
    assert recipe == {("adam", 1e-4, 128, 30, (10, 20), 0.5, "multi_step")}
    assert settings(table, "dataset") == {("ag_news",), ("yahoo_answers",), ("yelp_review_full",)}
    assert settings(table, "network") == {("fasttext",), ("textrnn",), ("charcnn",), ("transformer",)}


@both
def test_the_fast_profile_leaves_adam_a_rate_that_adam_can_use(key):
    assert all(experiment.at("fast").learning_rate <= 1e-2 for experiment in TABLES[key]["table3"])


@both
def test_table_4_is_the_protocol_of_mutual_learning(key):
    table = TABLES[key]["table4"]
    teachers = [experiment.teacher for experiment in table if experiment.teacher]
    recipe = settings([*table, *teachers], "dataset", "batch_size", "epochs", "milestones", "decay", "learning_rate")
    assert recipe == {("cifar100", 64, 200, (60, 120, 180), 0.1, 0.1)}
    (distilled,) = [experiment for experiment in table if experiment.method == "knowledge_distillation"]
    assert distilled.network == "resnet32"
    assert (distilled.teacher.network, distilled.teacher.method) == ("wrn28_10", "cross_entropy")
    mutual = [experiment for experiment in table if experiment.method == "deep_mutual_learning"]
    # a peer that is not named has the same architecture
    assert {experiment.network for experiment in mutual} == {"resnet32", "wrn28_10"}
    assert {experiment.options for experiment in mutual} == {()}


def test_alr_quotes_its_rivals_and_kr_says_it_ran_them():
    assert {row.method for row in TABLES["alr"]["table4"].rows if row.quoted} == {
        "Baseline",
        "Knowledge Distillation",
        "DML",
    }
    rows = [
        row
        for key in TABLES
        for name, item in TABLES[key].items()
        if (key, name) != ("alr", "table4")
        for row in item.rows
    ]
    assert not any(row.quoted for row in rows)


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
def test_methods_under_their_printed_names(key, label, method, options):
    rows = [row for item in TABLES[key].values() for row in item.rows if row.method == label]
    assert rows
    assert {(row.experiment.method, row.experiment.options) for row in rows} == {
        (method, tuple(sorted(options.items())))
    }


def test_the_two_papers_print_the_same_baselines():
    """KR's errors are the complements of ALR's accuracies."""
    names = ["item", "dataset", "network"]
    accuracies = reported("alr").query("method == 'Baseline' and item in ('table1', 'table3')").set_index(names).value
    errors = reported("kr").query("method == 'Baseline' and item in ('table1', 'table3')").set_index(names).value
    assert len(errors) == 16
    assert (100 - accuracies).sort_index().to_dict() == pytest.approx(errors.sort_index().to_dict())


def test_a_few_numbers_as_printed():
    printed = {
        tuple(row[:-2]): row[-2:] for row in reported("kr").itertuples(index=False) if row.item in ("table1", "table4")
    }
    assert printed["table1", "cifar100", "preact_resnet18", "KR-LS", "error"] == (20.42, 0.21)
    assert printed["table4", "cifar100", "wrn28_10", "KR-LS", "error"] == (19.31, 0.18)


class TestFigures:
    def test_alr_3_watches_the_residual_labels(self):
        (matrix,) = papers["alr"].figures["figure3"]
        assert (matrix.dataset, matrix.method, matrix.epochs) == ("cifar10", "adaptive_label_regularization", 300)
        assert matrix.observe == ("residual_labels",)

    def test_kr_2_watches_the_soft_labels_of_the_baseline(self):
        (soft,) = papers["kr"].figures["figure2"]
        assert (soft.dataset, soft.method, soft.epochs) == ("cifar10", "cross_entropy", 300)
        assert soft.observe == ("class_distributions",)

    def test_kr_4_watches_the_divergence_where_there_is_a_matrix(self):
        curves = papers["kr"].figures["figure4"]
        assert settings(curves, "dataset", "network", "epochs") == {("cifar100", "preact_resnet18", 200)}
        assert [row.method for row in curves.rows] == ["Baseline", "LS", "KR", "KR-LS"]
        assert [experiment.observe for experiment in curves] == [(), (), *[("residual_divergence",)] * 2]

    def test_kr_5_sweeps_gamma(self):
        sweep = papers["kr"].figures["figure5"]
        assert settings(sweep, "dataset", "network", "method", "epochs") == {
            ("cifar100", "preact_resnet18", "knowledge_refinery", 200)
        }
        gammas = {row.method: dict(row.experiment.options) for row in sweep.rows}
        assert gammas.pop("gamma = 1*") == {"gamma": 1.0, "truncate": 20}
        assert gammas == {f"gamma = {gamma:g}": {"gamma": gamma} for gamma in (0.0, 0.9, 0.99, 0.995, 0.999)}
