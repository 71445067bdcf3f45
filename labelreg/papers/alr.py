"""Adaptive Regularization of Labels (Ding et al., 2019): tables and figures as experiments."""

from functools import partial

from labelreg.experiment import Experiment
from labelreg.papers.decoupled import BASELINE, SMOOTHED, experiments, tables
from labelreg.papers.paper import Item, Paper, Row

ALR = "adaptive_label_regularization"
EPOCHS = 300
METHODS = {"Baseline": BASELINE, "SLR": SMOOTHED, "ALR": (ALR, {}), "ALR-S": (ALR, {"smoothing": 0.1})}
# the paper names no network for figure 3
MATRIX = Experiment(dataset="cifar10", network="preact_resnet18", method=ALR, epochs=EPOCHS, observe="residual_labels")

PAPER = Paper(
    key="alr",
    tables=tables(METHODS, EPOCHS, "Against deep mutual learning", "Knowledge Distillation"),
    figures={"figure3": Item("The residual labels over training", (Row("ALR", MATRIX),))},
    experiments=partial(experiments, METHODS, EPOCHS),
)
