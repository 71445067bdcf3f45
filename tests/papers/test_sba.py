"""The protocol of SBA, as far as the paper prints it."""

import pytest
import torch

from labelreg import networks
from labelreg.papers import papers, sba
from labelreg.running import train

PAPER = papers["sba"]
TABLE = PAPER.tables["table1"]


@pytest.mark.parametrize(("label", "option"), [("SBA", "virtual"), ("Cutout + BA", "copies")])
def test_as_many_virtual_points_as_copies(label, option, protocol):
    folds = {(row.network, row.experiment.options[option]) for row in protocol.find(TABLE, method=label)}
    small = {("resnet44", 40), ("vgg16", 32), ("alexnet", 32)}
    assert folds == small | {("imagenet_resnet50", 4), ("imagenet_vgg16", 4), ("imagenet_alexnet", 8)}


@pytest.mark.parametrize(
    ("dataset", "network", "eta"),
    [
        *(("cifar10", "resnet44", 0.01), ("cifar10", "alexnet", 0.01), ("cifar10", "vgg16", 0.1)),
        *(("cifar100", "resnet44", 0.1), ("cifar100", "vgg16", 0.1)),
    ],
)
def test_eta_is_the_best_of_figure_2(dataset, network, eta, protocol):
    adopted = TABLE.find(dataset, network, "SBA").experiment
    assert adopted.options["eta"] == eta
    swept = protocol.find(PAPER.figures["figure2"], dataset=dataset, network=network)
    etas = {"0": 0, "0.0001": 1e-4, "0.001": 1e-3, "0.01": 0.01, "0.1": 0.1, "1": 1, "10": 10}
    assert {row.method: row.experiment.options["eta"] for row in swept} == {f"eta = {k}": v for k, v in etas.items()}
    assert adopted in [row.experiment for row in swept]


@pytest.mark.parametrize(("dataset", "squares"), [("cifar10", 16), ("cifar100", 8), ("imagenet", None)])
def test_columns_differ_in_augmentation_and_method_alone(dataset, squares, protocol):
    for row in protocol.find(TABLE, dataset=dataset):
        baseline = TABLE.find(dataset, row.network, "Baseline").experiment
        cutout = row.method.startswith("Cutout") and squares
        assert row.experiment.augmentation == (f"crop_flip_cutout{squares}" if cutout else "standard")
        assert row.experiment.observe == (("vote",) if row.method == "SBA" else ())
        own = {name: getattr(row.experiment, name) for name in ("augmentation", "method", "options", "observe")}
        assert baseline.but(**own) == row.experiment
    assert bool(protocol.find(TABLE, dataset=dataset, method="Cutout")) == (squares is not None)


def test_the_recipes_of_batch_augmentation(protocol):
    recipes = protocol.values(TABLE, "network", "learning_rate", "milestones", "decay", "weight_decay")
    assert {recipe for recipe in recipes if "alexnet" not in recipe[0] and recipe[0] != "imagenet_vgg16"} == {
        ("resnet44", 0.1, (81, 122, 164), 0.1, 1e-4),
        ("vgg16", 0.1, (60, 120, 160), 0.2, 5e-4),
        ("imagenet_resnet50", 0.1, (30, 60, 80), 0.1, 1e-4),
    }


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_figure_3_has_both_methods_at_the_same_layers(dataset, protocol):
    adopted = TABLE.find(dataset, "vgg16", "SBA").experiment
    rows = protocol.find(PAPER.figures["figure3"], dataset=dataset)
    own = ("label", "omega", "eta")
    for method, values in {"BA": ("hard", 0.0, 1.0), "SBA": ("soft", adopted.options["omega"], 0.1)}.items():
        found = {row.method.removeprefix(f"{method} "): row.experiment for row in rows if row.method.startswith(method)}
        assert {place: each.options["layers"] for place, each in found.items()} == sba.LAYERS
        for each in found.values():
            assert tuple(each.options[name] for name in own) == values
            like_adopted = {name: adopted.options[name] for name in (*own, "layers")}
            assert each.but(options={**each.options, **like_adopted}) == adopted


def test_vgg16_has_the_layers_of_figure_3():
    vgg16 = networks.build("vgg16", 10, hidden=(8, 8)).eval()  # names do not depend on widths
    known = networks.injectable(vgg16, torch.zeros(1, 3, 32, 32))
    assert {layer for layer in sba.LAYERS.values() if layer} <= known.keys()


@pytest.mark.parametrize("label", ["SBA", "Cutout + BA"])
def test_quick_versions_run(label):
    quick = TABLE.find("cifar10", "vgg16", label).experiment.at("quick", augmentation="cutout3", epochs=2)
    assert len(train(quick).result.history["test_error"]) == 2
