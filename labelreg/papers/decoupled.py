"""The protocol that the ALR and KR papers share, down to the layout of their four tables.

What both leave open and is chosen here: weight decay (5e-4 on CIFAR, 1e-4 on ImageNet, 0 for text), the length and step
sizes of the ImageNet runs (90 epochs of batches of 256, the learning rate times 0.1 every 30), and the weight and
temperature of knowledge distillation. On ImageNet both train in mixed precision: bfloat16 here, float16 there. KR gives
no optimizer for text: it is ALR's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelreg.experiment import Experiment
from labelreg.papers.paper import Row

Methods = Mapping[str, tuple[str, Mapping[str, Any]]]  # printed name to method and options

SMOOTHED = ("label_smoothing", {"epsilon": 0.1, "convention": "others"})
BASELINE = ("cross_entropy", {})

IMAGENET = {
    "dataset": "imagenet",
    "epochs": 90,
    "batch_size": 256,
    "milestones": (30, 60),
    "weight_decay": 1e-4,
    "precision": "bfloat16",
}
TEXT = {"optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0, "epochs": 30, "milestones": (10, 20)}
# the protocol of deep mutual learning: smaller batches, a step every 60 epochs
MUTUAL = {"dataset": "cifar100", "batch_size": 64, "milestones": (60, 120, 180)}


def cifar_rows(methods: Methods, epochs: int) -> tuple[Row, ...]:
    """Table 1: both CIFAR data sets, ResNet-18 with pre-activation and WRN-28-10."""
    return tuple(
        _row(label, method, options, dataset=dataset, network=network, epochs=epochs)
        for network in ("preact_resnet18", "wrn28_10")
        for label, (method, options) in methods.items()
        for dataset in ("cifar10", "cifar100")
    )


def imagenet_rows(methods: Methods) -> tuple[Row, ...]:
    """Table 2: ImageNet, three ResNets."""
    return tuple(
        _row(label, method, options, network=network, **IMAGENET)
        for label, (method, options) in methods.items()
        for network in ("imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152")
    )


def text_rows(methods: Methods) -> tuple[Row, ...]:
    """Table 3: three text data sets, four networks."""
    return tuple(
        _row(label, method, options, dataset=dataset, network=network, decay=0.5, **TEXT)
        for dataset in ("ag_news", "yahoo_answers", "yelp_review_full")
        for network in ("fasttext", "textrnn", "charcnn", "transformer")
        for label, (method, options) in methods.items()
    )


def mutual_rows(distillation: str, label: str, method: str, quoted: bool) -> tuple[Row, ...]:
    """Table 4: against knowledge distillation and deep mutual learning, on CIFAR-100.

    Args:
        distillation: the printed name of knowledge distillation.
        label: the printed name of the paper's own method.
        method: the paper's own method.
        quoted: whether the paper says that the rivals' numbers are taken from elsewhere.
    """
    teacher = Experiment(network="wrn28_10", **MUTUAL)
    methods = {"Baseline": BASELINE, "DML": ("deep_mutual_learning", {}), label: (method, {"smoothing": 0.1})}
    rows = [
        _row(name, *choice, network=network, quoted=quoted and name != label, **MUTUAL)
        for network in ("resnet32", "wrn28_10")
        for name, choice in methods.items()
    ]
    distilled = _row(
        distillation, "knowledge_distillation", {}, network="resnet32", teacher=teacher, quoted=quoted, **MUTUAL
    )
    return (rows[0], distilled, *rows[1:])


def _row(label: str, method: str, options: Mapping[str, Any], quoted: bool = False, **settings: Any) -> Row:
    experiment = Experiment(method=method, options=options, **settings)
    return Row(experiment.dataset, experiment.network, label, experiment, quoted)
