"""Stochastic Batch Augmentation (SBA; Li et al., IJCAI 2020): tables and figures as experiments.

The paper takes each network's recipe from earlier work that trained the network, and the number of copies from Batch
Augmentation (BA). On CIFAR, ResNet-44 and VGG-16 have the recipes of BA's code, and VGG-16 also its hidden layers.
(Weight decay is on all parameters here; in that code it is not on the biases and normalisations of the ResNets.) On
ImageNet, ResNet-50 has the recipe of that code, and VGG-16 and AlexNet have torchvision's. SBA uses the usual
augmentation, which the paper leaves as it is. BA is built upon Cutout, as the heading of the table says, except on
ImageNet, where the paper has no Cutout.

The paper leaves open, and we chose: batch normalisation in VGG-16 on CIFAR (a learning rate of 0.1 calls for it);
batches of 64 and 200 epochs on CIFAR; AlexNet's recipe on CIFAR (a learning rate of 0.01, multiplied by 0.1 after 100
and 150 epochs) and its hidden layers (the original's); eta on ImageNet (0.1, as on CIFAR-100); the probability of an
augmented step (1/2); and the layer (the input of the fully connected layers). Errors are those of the plain prediction;
the error of the majority vote is observed too. The number of runs is not stated. Figure 3 compares with BA at the same
layers, which the text does not describe. Here it uses the same virtual points, at every step, with the labels of their
samples (equation 9); all virtual points together weigh as much as the samples.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from labelreg.experiment import Experiment
from labelreg.papers.paper import Item, Paper, Row

SBA = "stochastic_batch_augmentation"
CIFAR: dict[str, Any] = {"batch_size": 64, "nesterov": False}
IMAGENET: dict[str, Any] = {"batch_size": 256, "nesterov": False, "epochs": 90, "weight_decay": 1e-4}
HIDDEN = {"network_options": {"hidden": (4096, 4096)}}
# by network: what differs from the package's defaults (200 epochs, learning rate 0.1, weight decay 5e-4)
RECIPES: dict[str, dict[str, Any]] = {
    "resnet44": CIFAR | {"weight_decay": 1e-4, "milestones": (81, 122, 164)},
    "vgg16": CIFAR | HIDDEN | {"decay": 0.2},
    "alexnet": CIFAR | HIDDEN | {"learning_rate": 0.01, "milestones": (100, 150)},
    "imagenet_resnet50": IMAGENET | {"milestones": (30, 60, 80)},
    "imagenet_vgg16": IMAGENET | {"learning_rate": 0.01, "milestones": (30, 60)},
    "imagenet_alexnet": IMAGENET | {"learning_rate": 0.01, "milestones": (30, 60)},
}
# M, of virtual points and of BA's copies alike
FOLDS = {"resnet44": 40, "vgg16": 32, "alexnet": 32}
FOLDS |= {"imagenet_resnet50": 4, "imagenet_vgg16": 4, "imagenet_alexnet": 8}
CUTOUT = {"cifar10": "crop_flip_cutout16", "cifar100": "crop_flip_cutout8"}
NETWORKS = {
    "cifar10": ("resnet44", "vgg16", "alexnet"),
    "cifar100": ("resnet44", "vgg16"),
    "imagenet": ("imagenet_resnet50", "imagenet_vgg16", "imagenet_alexnet"),
}
ETAS = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
BA_AT_A_LAYER = {"label": "hard", "omega": 0.0, "eta": 1.0}  # what differs from SBA
# of VGG-16, from the input to the output; the empty name stands for the input of the fully connected layers
LAYERS = {
    **{f"after stage {stage}": f"features.stage{stage}" for stage in range(1, 5)},
    "before the first hidden layer": "",
    "after the first hidden layer": "head.2",
    "after the second hidden layer": "head.5",
}


def experiments(dataset: str, network: str) -> dict[str, Experiment]:
    """Return what table 1 compares on a data set and network, by printed names."""
    folds = FOLDS[network]
    eta = 0.01 if dataset == "cifar10" and network != "vgg16" else 0.1  # as the paper adopts from figure 2
    baseline = Experiment(dataset=dataset, network=network, **RECIPES[network])
    cutout = baseline.but(augmentation=CUTOUT.get(dataset, "standard"))
    return {
        "Baseline": baseline,
        **({"Cutout": cutout} if dataset in CUTOUT else {}),
        "Cutout + BA": cutout.but(method="batch_augmentation", options={"copies": folds}),
        "SBA": baseline.but(method=SBA, options={"virtual": folds, "eta": eta}, observe=("vote",)),
    }


def _etas() -> Iterator[Row]:
    """Figure 2: the weight of the divergence."""
    for dataset in CUTOUT:
        for network in NETWORKS[dataset]:
            adopted = experiments(dataset, network)["SBA"]
            for value in ETAS:
                yield Row(f"eta = {value:g}", adopted.but(options={**adopted.options, "eta": value}))


def at_layers(adopted: Experiment, layers: Mapping[str, str]) -> list[Row]:
    """Return BA and SBA at layers, given by the names of their places, as rows such as ``"BA after stage 1"``."""
    return [
        Row(f"{method} {place}", adopted.but(options={**adopted.options, **differs, "layers": layer}))
        for place, layer in layers.items()
        for method, differs in (("BA", BA_AT_A_LAYER), ("SBA", {}))
    ]


TABLE = tuple(
    Row(*named)
    for dataset, networks in NETWORKS.items()
    for network in networks
    for named in experiments(dataset, network).items()
)
LAYERED = tuple(row for dataset in CUTOUT for row in at_layers(experiments(dataset, "vgg16")["SBA"], LAYERS))
PAPER = Paper(
    key="sba",
    last_epochs=5,
    tables={"table1": Item("CIFAR-10, CIFAR-100 and ImageNet", TABLE)},
    figures={
        "figure2": Item("The weight of the divergence", tuple(_etas())),
        "figure3": Item("Where the virtual points are", LAYERED),
    },
    experiments=experiments,
)
