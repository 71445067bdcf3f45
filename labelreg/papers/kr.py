"""Knowledge Refinery: Learning from Decoupled Label (Ding et al., AAAI 2021): tables and figures as experiments."""

from functools import partial

from labelreg.experiment import Experiment
from labelreg.papers.decoupled import BASELINE, SMOOTHED, experiments, tables
from labelreg.papers.paper import Item, Paper, Row

KR = "knowledge_refinery"
EPOCHS = 200
METHODS = {"Baseline": BASELINE, "LS": SMOOTHED, "KR": (KR, {}), "KR-LS": (KR, {"smoothing": 0.1})}
# the text lists 0, 0.9, 0.99 and 0.995, the discussion 0.999, 0.99, 0.9 and 1*: all of them
GAMMAS = {f"gamma = {gamma:g}": {"gamma": gamma} for gamma in (0.0, 0.9, 0.99, 0.995, 0.999)}
GAMMAS["gamma = 1*"] = {"gamma": 1.0, "truncate": 20}
# the paper names no network for figures 2 and 4, and ResNet-18 for figure 5
RESNET18 = Experiment(dataset="cifar100", network="preact_resnet18", epochs=EPOCHS)
# figure 2 shows epochs up to 300, though the paper trains for 200
SOFT_LABELS = RESNET18.but(dataset="cifar10", epochs=300, observe="class_distributions")
# the divergence is watched where there is a residual matrix
CURVES = tuple(
    Row(label, RESNET18.but(method=method, options=options, observe="residual_divergence" if method == KR else ()))
    for label, (method, options) in METHODS.items()
)
DECAYS = tuple(Row(label, RESNET18.but(method=KR, options=options)) for label, options in GAMMAS.items())

PAPER = Paper(
    key="kr",
    tables=tables(METHODS, EPOCHS, "Against mutual learning and distillation", "KD"),
    figures={
        "figure2": Item("Soft and residual labels over training", (Row("Baseline", SOFT_LABELS),)),
        "figure4": Item("Divergence and test accuracy over training", CURVES),
        "figure5": Item("The decay of alpha", DECAYS),
    },
    experiments=partial(experiments, METHODS, EPOCHS),
)
