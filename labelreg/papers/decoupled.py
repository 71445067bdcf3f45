"""The protocol that the ALR and KR papers share, down to the layout of their four tables.

Both papers leave open, and we chose: weight decay (5e-4 on CIFAR, 1e-4 on ImageNet, 0 for text), length and steps on
ImageNet (90 epochs with batches of 256, the learning rate multiplied by 0.1 every 30 epochs), the length of table 4
(200 epochs, as in deep mutual learning), and the weight and temperature of knowledge distillation. On ImageNet both
papers train in mixed precision, with float16 in the work that they cite; here it is bfloat16. The ImageNet networks
are torchvision's, with the stride in the 3 x 3 convolutions, as ALR says; KR names the original ones. KR gives no
optimizer for text, so ALR's is used. ALR takes the numbers of the rivals in its table 4 from elsewhere; KR says that
it ran them.
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
TEXTS = ("ag_news", "yahoo_answers", "yelp_review_full")
SUBSETS = {"ag_news": 15_000}  # of the training samples, on which the benchmark has recorded runs
TEXT_NETWORKS = ("fasttext", "textrnn", "charcnn", "transformer")
# the protocol of deep mutual learning: smaller batches, a step every 60 epochs
MUTUAL = {"dataset": "cifar100", "batch_size": 64, "milestones": (60, 120, 180)}
SEEDS = 5  # of tables 1 and 4; the others do not say

Methods = Mapping[str, tuple[str, Mapping[str, Any]]]


def experiments(methods: Methods, epochs: int, dataset: str, network: str) -> dict[str, Experiment]:
    """Return the methods on a data set and network of the tables, by printed names; arguments as in :func:`tables`."""
    if network == "resnet32":
        recipe = MUTUAL
    else:
        recipe = {"imagenet": IMAGENET, **dict.fromkeys(TEXTS, TEXT)}.get(dataset, {"epochs": epochs})
    baseline = Experiment(**{"dataset": dataset, "network": network} | recipe)
    return {label: baseline.but(method=method, options=options) for label, (method, options) in methods.items()}


def tables(methods: Methods, epochs: int, rivals: str, distillation: str) -> dict[str, Item]:
    """Return the four tables of a paper.

    Args:
        methods: printed name to method and options: the baseline, label smoothing, the paper's method without and with
            smoothed labels.
        epochs: on CIFAR.
        rivals, distillation: title of table 4, and the printed name of knowledge distillation.
    """
    baseline, _, _, own = methods
    method, options = methods[own]

    def row(label: str, network: str, dataset: str) -> Row:
        experiment = experiments(methods, epochs, dataset, network)[label]
        return Row(label, experiment, subset=SUBSETS.get(dataset, 0))

    def rival(label: str, method: str, network: str, **settings: Any) -> Row:
        return Row(label, Experiment(network=network, method=method, **MUTUAL | settings))

    cifar = [
        row(label, network, dataset)
        for network in ("preact_resnet18", "wrn28_10")
        for label in methods
        for dataset in ("cifar10", "cifar100")
    ]
    imagenet = [
        row(label, network, "imagenet")
        for label in methods
        for network in ("imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152")
    ]
    text = [row(label, network, dataset) for dataset in TEXTS for network in TEXT_NETWORKS for label in (baseline, own)]
    teacher = Experiment(network="wrn28_10", **MUTUAL)
    mutual = [
        rival("Baseline", "cross_entropy", "resnet32"),
        rival(distillation, "knowledge_distillation", "resnet32", teacher=teacher),
        rival("DML", "deep_mutual_learning", "resnet32"),
        rival(own, method, "resnet32", options=options),
        rival("Baseline", "cross_entropy", "wrn28_10"),
        rival("DML", "deep_mutual_learning", "wrn28_10"),
        rival(own, method, "wrn28_10", options=options),
    ]
    return {
        "table1": Item("CIFAR-10 and CIFAR-100", tuple(cifar), SEEDS),
        "table2": Item("ImageNet-12", tuple(imagenet)),
        "table3": Item("Text classification", tuple(text)),
        "table4": Item(rivals, tuple(mutual), SEEDS),
    }
