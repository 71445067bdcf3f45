"""Adaptive Regularization of Labels (2019): tables and figures as experiments."""

from __future__ import annotations

from labelreg.experiment import Experiment
from labelreg.papers import decoupled
from labelreg.papers.paper import Item, Paper, Row

EPOCHS = 300
METHODS = {
    "Baseline": decoupled.BASELINE,
    "SLR": decoupled.SMOOTHED,
    "ALR": ("adaptive_label_regularization", {}),
    "ALR-S": ("adaptive_label_regularization", {"smoothing": 0.1}),
}
# the paper names no network for figure 3
MATRIX = Experiment(
    dataset="cifar10",
    network="preact_resnet18",
    method="adaptive_label_regularization",
    epochs=EPOCHS,
    observe=("residual_labels",),
)

PAPER = Paper(
    key="alr",
    title="Adaptive Regularization of Labels",
    authors=("Ding", "Wu", "Sun", "Guo", "Xia"),
    venue="arXiv, 2019",
    seeds=5,
    tables={
        "table1": Item("CIFAR-10 and CIFAR-100", decoupled.cifar_rows(METHODS, EPOCHS)),
        "table2": Item("ImageNet-12", decoupled.imagenet_rows(METHODS)),
        "table3": Item(
            "Text classification", decoupled.text_rows({name: METHODS[name] for name in ("Baseline", "ALR-S")})
        ),
        "table4": Item(
            "Against deep mutual learning",
            decoupled.mutual_rows("Knowledge Distillation", "ALR-S", "adaptive_label_regularization", quoted=True),
        ),
    },
    figures={
        "figure3": Item("The residual labels over training", (Row("cifar10", "preact_resnet18", "ALR", MATRIX),)),
    },
)
