"""Knowledge Refinery: Learning from Decoupled Label (AAAI 2021): tables and figures as experiments."""

from __future__ import annotations

from dataclasses import replace

from labelreg.experiment import Experiment
from labelreg.papers import decoupled
from labelreg.papers.paper import Item, Paper, Row

EPOCHS = 200
METHODS = {
    "Baseline": decoupled.BASELINE,
    "LS": decoupled.SMOOTHED,
    "KR": ("knowledge_refinery", {}),
    "KR-LS": ("knowledge_refinery", {"smoothing": 0.1}),
}
# the text lists 0, 0.9, 0.99 and 0.995, the discussion 0.999, 0.99, 0.9 and 1*: all of them
GAMMAS = {
    "gamma = 0": {"gamma": 0.0},
    "gamma = 0.9": {"gamma": 0.9},
    "gamma = 0.99": {"gamma": 0.99},
    "gamma = 0.995": {"gamma": 0.995},
    "gamma = 0.999": {"gamma": 0.999},
    "gamma = 1*": {"gamma": 1.0, "truncate": 20},
}
TABLE1 = decoupled.cifar_rows(METHODS, EPOCHS)
RESNET18 = Experiment(dataset="cifar100", network="preact_resnet18", epochs=EPOCHS)
# figure 2 shows epochs up to 300, though the paper trains for 200
SOFT_LABELS = Experiment(dataset="cifar10", network="preact_resnet18", epochs=300, observe=("class_distributions",))


def _curves() -> tuple[Row, ...]:
    """Figure 4: the divergence is watched where there is a residual matrix."""
    rows = (row for row in TABLE1 if (row.dataset, row.network) == ("cifar100", "preact_resnet18"))
    return tuple(
        replace(row, experiment=row.experiment.but(observe=("residual_divergence",)))
        if row.experiment.method == "knowledge_refinery"
        else row
        for row in rows
    )


PAPER = Paper(
    key="kr",
    title="Knowledge Refinery: Learning from Decoupled Label",
    authors=("Ding", "Wu", "Dai", "Sun", "Guo", "Fu", "Xia"),
    venue="AAAI, 2021",
    seeds=5,
    tables={
        "table1": Item("CIFAR-10 and CIFAR-100", TABLE1),
        "table2": Item("ImageNet-12", decoupled.imagenet_rows(METHODS)),
        "table3": Item(
            "Text classification", decoupled.text_rows({name: METHODS[name] for name in ("Baseline", "KR-LS")})
        ),
        "table4": Item(
            "Against mutual learning and distillation",
            decoupled.mutual_rows("KD", "KR-LS", "knowledge_refinery", quoted=False),
        ),
    },
    figures={
        "figure2": Item(
            "Soft and residual labels over training", (Row("cifar10", "preact_resnet18", "Baseline", SOFT_LABELS),)
        ),
        "figure4": Item("Divergence and test accuracy over training", _curves()),
        "figure5": Item(
            "The decay of alpha",
            tuple(
                Row(
                    "cifar100",
                    "preact_resnet18",
                    label,
                    RESNET18.but(method="knowledge_refinery", options=options),
                )
                for label, options in GAMMAS.items()
            ),
        ),
    },
)
