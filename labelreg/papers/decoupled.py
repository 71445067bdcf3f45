"""The protocol that the ALR and KR papers share, down to the layout of their four tables.

Left open by both and chosen here: weight decay (5e-4 on CIFAR, 1e-4 on ImageNet, 0 for text), length and steps on
ImageNet (90 epochs of batches of 256, the learning rate times 0.1 every 30), and the weight and temperature of
knowledge distillation. On ImageNet both train in mixed precision: bfloat16 here, float16 there. KR gives no optimizer
for text: it is ALR's.
"""

from collections.abc import Mapping
from typing import Any

from labelreg.experiment import Experiment
from labelreg.papers.paper import Item, Row

BASELINE = ("cross_entropy", {})
SMOOTHED = ("label_smoothing", {"epsilon": 0.1, "convention": "others"})
IMAGENET = {"epochs": 90, "batch_size": 256, "milestones": (30, 60), "weight_decay": 1e-4, "precision": "bfloat16"}
ADAM = {"optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0}
TEXT = ADAM | {"epochs": 30, "milestones": (10, 20), "decay": 0.5}
# the protocol of deep mutual learning: smaller batches, a step every 60 epochs
MUTUAL = {"dataset": "cifar100", "batch_size": 64, "milestones": (60, 120, 180)}


def tables(
    methods: Mapping[str, tuple[str, Mapping[str, Any]]], epochs: int, rivals: str, distillation: str, quoted: bool
) -> dict[str, Item]:
    """Return the four tables of a paper.

    Args:
        methods: printed name to method and options: the baseline, label smoothing, the paper's method without and with
            smoothed labels.
        epochs: on CIFAR.
        rivals, distillation: title of table 4, and the printed name of knowledge distillation.
        quoted: whether the paper says that the rivals' numbers in table 4 are taken from elsewhere.
    """
    baseline, _, _, own = methods

    def row(label: str, network: str, **settings: Any) -> Row:
        method, options = methods[label]
        return Row(label, Experiment(network=network, method=method, options=options, **settings))

    def rival(label: str, method: str, network: str, **settings: Any) -> Row:
        return Row(label, Experiment(network=network, method=method, **MUTUAL | settings), quoted)

    cifar = [
        row(label, network, dataset=dataset, epochs=epochs)
        for network in ("preact_resnet18", "wrn28_10")
        for label in methods
        for dataset in ("cifar10", "cifar100")
    ]
    imagenet = [
        row(label, network, dataset="imagenet", **IMAGENET)
        for label in methods
        for network in ("imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152")
    ]
    text = [
        row(label, network, dataset=dataset, **TEXT)
        for dataset in ("ag_news", "yahoo_answers", "yelp_review_full")
        for network in ("fasttext", "textrnn", "charcnn", "transformer")
        for label in (baseline, own)
    ]
    teacher = Experiment(network="wrn28_10", **MUTUAL)
    mutual = [
        rival("Baseline", "cross_entropy", "resnet32"),
        rival(distillation, "knowledge_distillation", "resnet32", teacher=teacher),
        rival("DML", "deep_mutual_learning", "resnet32"),
        row(own, "resnet32", **MUTUAL),
        rival("Baseline", "cross_entropy", "wrn28_10"),
        rival("DML", "deep_mutual_learning", "wrn28_10"),
        row(own, "wrn28_10", **MUTUAL),
    ]
    return {
        "table1": Item("CIFAR-10 and CIFAR-100", tuple(cifar)),
        "table2": Item("ImageNet-12", tuple(imagenet)),
        "table3": Item("Text classification", tuple(text)),
        "table4": Item(rivals, tuple(mutual)),
    }
