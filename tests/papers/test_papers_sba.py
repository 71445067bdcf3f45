"""The protocol of SBA, as far as the paper prints it."""

import pytest
import torch

from labelreg import networks
from labelreg.assignments import command, parse
from labelreg.experiments import Experiment, train
from labelreg.papers import papers, sba

PAPER = papers["sba"]
TABLE = PAPER.tables["table1"]
EVERY = [experiment for item in PAPER.items.values() for experiment in item]


def rows(**names):
    return [row for row in TABLE.rows if all(getattr(row, name) == value for name, value in names.items())]


def options(experiment):
    return dict(experiment.options)


def test_counts():
    assert {name: len(item) for name, item in PAPER.items.items()} == {"table1": 29, "figure2": 35, "figure3": 16}
    assert PAPER.last_epochs == 5


@pytest.mark.parametrize(
    ("network", "folds"),
    [
        ("resnet44", 40),
        ("vgg16", 32),
        ("alexnet", 32),
        ("imagenet_resnet50", 4),
        ("imagenet_vgg16", 4),
        ("imagenet_alexnet", 8),
    ],
)
def test_as_many_virtual_points_as_copies(network, folds):
    assert {options(row.experiment)["virtual"] for row in rows(network=network, method="SBA")} == {folds}
    assert {options(row.experiment)["copies"] for row in rows(network=network, method="Cutout + BA")} == {folds}


@pytest.mark.parametrize(
    ("dataset", "network", "eta"),
    [
        ("cifar10", "resnet44", 0.01),
        ("cifar10", "alexnet", 0.01),
        ("cifar10", "vgg16", 0.1),
        ("cifar100", "resnet44", 0.1),
        ("cifar100", "vgg16", 0.1),
    ],
)
def test_eta_is_the_best_of_figure_2(dataset, network, eta):
    (row,) = rows(dataset=dataset, network=network, method="SBA")
    assert options(row.experiment)["eta"] == eta
    swept = [each for each in PAPER.figures["figure2"].rows if (each.dataset, each.network) == (dataset, network)]
    assert [options(each.experiment)["eta"] for each in swept] == [0, 0.0001, 0.001, 0.01, 0.1, 1, 10]
    assert [each.method for each in swept][::3] == ["eta = 0", "eta = 0.01", "eta = 10"]
    assert row.experiment in [each.experiment for each in swept]


def test_columns_differ_in_augmentation_and_method_alone():
    for dataset, squares in (("cifar10", 16), ("cifar100", 8), ("imagenet", None)):
        for row in rows(dataset=dataset):
            (baseline,) = (each.experiment for each in rows(dataset=dataset, network=row.network, method="Baseline"))
            cutout = row.method.startswith("Cutout") and squares
            assert row.experiment.augmentation == (f"crop_flip_cutout{squares}" if cutout else "standard")
            changed = {"augmentation", "method", "options", "observe"}
            ours, theirs = row.experiment.as_dict(), baseline.as_dict()
            assert {name for name in ours if ours[name] != theirs[name]} <= changed
    assert not rows(dataset="imagenet", method="Cutout")
    assert {row.experiment.observe for row in rows(method="SBA")} == {("vote",)}


def test_no_nesterov_and_the_recipes_of_batch_augmentation():
    assert {experiment.nesterov for experiment in EVERY} == {False}
    recipes = {
        row.network: (row.experiment.learning_rate, row.experiment.milestones, row.experiment.decay)
        for row in TABLE.rows
    }
    assert recipes["resnet44"] == (0.1, (81, 122, 164), 0.1)
    assert recipes["vgg16"] == (0.1, (60, 120, 160), 0.2)
    assert recipes["imagenet_resnet50"] == (0.1, (30, 60, 80), 0.1)
    decay = {row.network: row.experiment.weight_decay for row in TABLE.rows}
    assert (decay["resnet44"], decay["vgg16"], decay["imagenet_resnet50"]) == (1e-4, 5e-4, 1e-4)


def test_figure_3_names_layers_that_vgg16_has_and_the_adopted_one():
    for dataset in ("cifar10", "cifar100"):
        own = [row for row in PAPER.figures["figure3"].rows if row.dataset == dataset]
        adopted = {row.experiment for row in rows(dataset=dataset, network="vgg16")}
        assert sum(row.experiment in adopted for row in own) == 2  # BA, and SBA at the default layer
        assert [options(row.experiment).get("layers", "") for row in own[1:]] == list(sba.LAYERS.values())
    vgg16 = networks.build("vgg16", 10, hidden=(4096, 4096)).eval()
    known = networks.injectable(vgg16, torch.zeros(1, 3, 32, 32))
    assert {layer for layer in sba.LAYERS.values() if layer} <= known.keys()


def test_commands_say_all_of_it():
    for experiment in EVERY:
        assignments = command(experiment).split(" ")
        assert Experiment().at("paper", **parse(assignments[4:])) == experiment


@pytest.mark.parametrize("label", ["SBA", "Cutout + BA"])
def test_quick_versions_run(label):
    (row,) = rows(dataset="cifar10", network="vgg16", method=label)
    quick = row.experiment.at("quick", augmentation="cutout3", epochs=2)
    assert len(train(quick).result.history["test_error"]) == 2
