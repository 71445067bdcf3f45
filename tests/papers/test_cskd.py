"""The protocol of CS-KD, as the paper prints it."""

import pytest

from labelreg.papers import cskd, papers

PAPER = papers["cskd"]
EVERY = [experiment for item in PAPER.items.values() for experiment in item]
FINE_GRAINED = {"cub200", "stanford_dogs", "mit67"}


def test_photographs_in_batches_of_32_and_without_a_validation_split(protocol):
    photographs = [experiment for experiment in EVERY if experiment.dataset in FINE_GRAINED]
    small = [experiment for experiment in EVERY if experiment.dataset not in FINE_GRAINED]
    assert protocol.values(photographs, "batch_size", "holdout") == {(32, 0.0)}
    assert protocol.values(small, "batch_size", "holdout") == {(128, 0.1)}
    assert all(experiment.network.startswith("imagenet_") for experiment in photographs)
    assert protocol.values(small, "dataset") == {("cifar100",), ("tinyimagenet",)}


def test_the_sample_wise_term_is_for_photographs():
    for row in (row for item in PAPER.items.values() for row in item.rows if row.method in ("CS-KD", "KD + CS-KD")):
        # beside a label and a teacher that have half the weight each
        weight = 0.5 if row.method == "KD + CS-KD" else 1.0
        options = row.experiment.options
        assert options["class_weight"] == weight
        assert options["sample_weight"] == (weight if row.dataset in FINE_GRAINED else 0)
        assert (options["temperature"], options["t_squared"]) == (4.0, True)


@pytest.mark.parametrize(
    ("label", "method", "inside"),
    [
        ("Cross-entropy", "cross_entropy", None),
        ("AdaCos", "ada_cos", None),
        ("Virtual-softmax", "virtual_softmax", None),
        ("Maximum-entropy", "confidence_penalty", None),
        ("CS-KD", "class_wise_self_distillation", "cross_entropy"),
        ("Mixup", "mixup", "cross_entropy"),
        ("Mixup + CS-KD", "mixup", "class_wise_self_distillation"),
        ("KD", "knowledge_distillation", None),
        ("KD + CS-KD", "class_wise_self_distillation", "knowledge_distillation"),
    ],
)
def test_methods_under_their_printed_names(label, method, inside, protocol):
    found = protocol.methods_of(PAPER.items.values(), label)
    assert {(name, options.get("method")) for name, options in found} == {(method, inside)}
    assert label in cskd.METHODS


def test_the_teacher_of_table_3_is_a_row_of_table_1():
    first = [row for row in PAPER.tables["table1"].rows if row.method == "CS-KD" and "densenet121" in row.network]
    teachers = {row.dataset: row.experiment for row in first}
    taught = [row.experiment for row in PAPER.tables["table3"].rows if row.method.startswith("KD")]
    assert len(taught) == 10
    for each in taught:
        assert each.teacher == teachers[each.dataset]
        assert each.with_seeds(2)[1].teacher.seed == 1


def test_one_run_serves_every_table_and_figure_it_stands_in():
    first = set(PAPER.tables["table1"])
    assert set(PAPER.tables["table4"]) | set(PAPER.figures["figure3"]) <= first
    assert set(PAPER.figures["figure2"]) <= first | set(PAPER.tables["table2"])
