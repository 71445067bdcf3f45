"""The protocol of CS-KD, as the paper prints it."""

import pytest

from labelreg.assignments import command, parse
from labelreg.experiments import Experiment
from labelreg.papers import cskd, papers, reported

PAPER = papers["cskd"]
EVERY = [experiment for item in PAPER.items.values() for experiment in item]
FINE_GRAINED = {"cub200", "stanford_dogs", "mit67"}


def settings(experiments, *names):
    return {tuple(getattr(experiment, name) for name in names) for experiment in experiments}


def test_one_experiment_a_printed_row():
    assert dict(reported("cskd").groupby("item").size()) == {"table1": 50, "table2": 20, "table3": 20, "table4": 100}
    assert {name: len(item) for name, item in PAPER.items.items()} == {
        "table1": 50,
        "table2": 20,
        "table3": 20,
        "table4": 25,
        "figure2": 6,
        "figure3": 5,
    }
    assert PAPER.seeds == 3


def test_one_recipe_for_all():
    assert settings(EVERY, "epochs", "milestones", "decay", "schedule") == {(200, (100, 150), 0.1, "multi_step")}
    recipe = settings(EVERY, "optimizer", "learning_rate", "momentum", "nesterov", "weight_decay")
    assert recipe == {("sgd", 0.1, 0.9, False, 1e-4)}
    assert settings(EVERY, "augmentation", "subset", "label_noise", "seed") == {("standard", None, 0.0, 0)}


def test_photographs_in_batches_of_32_and_without_a_validation_split():
    photographs = [experiment for experiment in EVERY if experiment.dataset in FINE_GRAINED]
    small = [experiment for experiment in EVERY if experiment.dataset not in FINE_GRAINED]
    assert settings(photographs, "batch_size", "holdout") == {(32, 0.0)}
    assert settings(small, "batch_size", "holdout") == {(128, 0.1)}
    assert all(experiment.network.startswith("imagenet_") for experiment in photographs)
    assert settings(small, "dataset") == {("cifar100",), ("tinyimagenet",)}


def test_the_sample_wise_term_is_for_photographs():
    for item in PAPER.items.values():
        for row in item.rows:
            options = dict(row.experiment.options)
            # beside a label and a teacher that have half the weight each
            weight = {"CS-KD": 1.0, "KD + CS-KD": 0.5}.get(row.method)
            assert options.get("sample_weight") == (weight if row.dataset in FINE_GRAINED else None)
            assert options.get("class_weight") == (0.5 if row.method == "KD + CS-KD" else None)
            assert not {"temperature", "t_squared"} & options.keys()  # the defaults


@pytest.mark.parametrize(
    ("label", "method", "inside"),
    [
        ("Cross-entropy", "cross_entropy", None),
        ("AdaCos", "ada_cos", None),
        ("Virtual-softmax", "virtual_softmax", None),
        ("Maximum-entropy", "confidence_penalty", None),
        ("CS-KD", "class_wise_self_distillation", None),
        ("Mixup", "mixup", None),
        ("Mixup + CS-KD", "mixup", "class_wise_self_distillation"),
        ("KD", "knowledge_distillation", None),
        ("KD + CS-KD", "class_wise_self_distillation", "knowledge_distillation"),
    ],
)
def test_methods_under_their_printed_names(label, method, inside):
    rows = [row for item in PAPER.items.values() for row in item.rows if row.method == label]
    assert rows
    assert {(row.experiment.method, dict(row.experiment.options).get("method")) for row in rows} == {(method, inside)}
    assert label in cskd.METHODS


def test_the_teacher_of_table_3_is_a_row_of_table_1():
    teachers = {row.dataset: row.experiment for row in PAPER.tables["table1"].rows if "densenet121" in row.network}
    taught = [row for row in PAPER.tables["table3"].rows if row.method.startswith("KD")]
    assert len(taught) == 10
    for row in taught:
        assert row.experiment.teacher == teachers[row.dataset]
        assert row.experiment.teacher.method == "class_wise_self_distillation"
        assert row.experiment.with_seeds(2)[1].teacher.seed == 1


def test_one_run_serves_every_table_and_figure_it_stands_in():
    of_table1 = {experiment.key for experiment in PAPER.tables["table1"]}
    for name in ("table4", "figure3"):
        assert {experiment.key for experiment in PAPER.items[name]} <= of_table1
    assert {each.key for each in PAPER.figures["figure2"]} <= of_table1 | {each.key for each in PAPER.tables["table2"]}
    assert {experiment.observe for experiment in EVERY} == {("embedding", "reliability")}


def test_commands_say_all_of_it():
    for experiment in EVERY:
        assignments = command(experiment, 3).split(" ")
        assert assignments[:4] == ["labelreg", "run", "--profile=paper", "--seeds=3"]
        assert Experiment().at("paper", **parse(assignments[4:])) == experiment


def test_quick_versions_are_small():
    for experiment in EVERY:
        quick = experiment.at("quick")
        assert (quick.dataset, quick.network, quick.subset) == ("digits", "mlp", 200)
        assert quick.teacher is None or quick.teacher.network == "mlp"


def test_table_4_repeats_table_1():
    names = ["dataset", "network", "method"]
    tables = reported("cskd").query("metric == 'top1_error'")
    first, fourth = (
        tables[(tables.item == item) & tables.network.str.endswith("resnet18")].set_index(names).value
        for item in ("table1", "table4")
    )
    assert first.sort_index().to_dict() == fourth.sort_index().to_dict()
