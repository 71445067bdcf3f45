"""Class-wise self-knowledge distillation (CS-KD), as submitted to ICLR 2020: tables and figures as experiments.

The paper leaves open, and we chose: mixup's alpha (1, as its authors take for CIFAR); the weight of maximum entropy (1,
at which a perfectly fitted sample of 100 classes keeps a confidence of 28 %; the printed calibration error implies 20 %
on test images); the temperature of knowledge distillation (4, that of CS-KD) and the weight of its teacher (that of the
labels). Mixup with CS-KD lacks the sample-wise term: the text speaks of the class-wise one alone. KD + CS-KD sums the
losses of the labels, the teacher and the class-wise term with equal weights (and of the sample-wise term on the
fine-grained sets). Knowledge distillation here halves the first two, so the others are halved too. AdaCos is evaluated
with scaled cosines, as it is trained. The teacher of table 3 is the DenseNet-121 of table 1 trained by CS-KD.
ResNet-18 for 32 px is the standard network, as the paper says; in CS-KD's code it has pre-activation.

On CIFAR-100 and TinyImageNet a tenth of the training samples is held out, and the test error is that of the epoch that
is best on them; on the other data sets the paper reports the epoch that is best on the test set itself. On CIFAR-100
crops are taken from the padded image, as in CS-KD's code; the paper speaks of random resized crops
(``augmentation="resized_crop_flip"``). Every run observes features and calibration. With the data set and network of
figure 2 it also records the feature map, so that one run serves all tables and figures in which it appears.
"""

from collections.abc import Sequence
from typing import Any

from labelreg.experiment import Experiment
from labelreg.papers.paper import Item, Paper, Row

CS_KD = "class_wise_self_distillation"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Cross-entropy": ("cross_entropy", {}),
    "AdaCos": ("ada_cos", {}),
    "Virtual-softmax": ("virtual_softmax", {}),
    "Maximum-entropy": ("confidence_penalty", {"weight": 1.0}),
    "CS-KD": (CS_KD, {}),
    "Mixup": ("mixup", {}),
    "Mixup + CS-KD": ("mixup", {"method": CS_KD}),
    "KD": ("knowledge_distillation", {}),
    "KD + CS-KD": (CS_KD, {"method": "knowledge_distillation", "class_weight": 0.5}),
}
RIVALS = ("Cross-entropy", "AdaCos", "Virtual-softmax", "Maximum-entropy", "CS-KD")
FINE_GRAINED = ("cub200", "stanford_dogs", "mit67")
DATASETS = ("cifar100", "tinyimagenet", *FINE_GRAINED)
RECIPE: dict[str, Any] = {"nesterov": False, "weight_decay": 1e-4, "milestones": (100, 150)}
WATCHED = ("embedding", "reliability", "temperature_scaling", "noise_detection")
MAPPED = ("cifar100", "resnet18")  # figure 2


def experiment(dataset: str, architecture: str, label: str) -> Experiment:
    """Return the experiment of a label of :data:`METHODS`; photographs take the architecture's form for 224 px."""
    method, options = METHODS[label]
    fine_grained = dataset in FINE_GRAINED
    settings = {"batch_size": 32} if fine_grained else {"batch_size": 128, "holdout": 0.1}
    if fine_grained and method == CS_KD:
        options = options | {"sample_weight": options.get("class_weight", 1.0)}
    return Experiment(
        dataset=dataset,
        network=f"imagenet_{architecture}" if fine_grained else architecture,
        method=method,
        options=options,
        teacher=experiment(dataset, "densenet121", "CS-KD") if label.startswith("KD") else None,
        observe=(*WATCHED, "feature_map") if (dataset, architecture) == MAPPED else WATCHED,
        **RECIPE | settings,
    )


def experiments(dataset: str, network: str) -> dict[str, Experiment]:
    """Return all of :data:`METHODS` on a data set and network of the tables, by printed names."""
    return {label: experiment(dataset, network.removeprefix("imagenet_"), label) for label in METHODS}


def _item(title: str, architectures: Sequence[str], labels: Sequence[str], datasets: Sequence[str] = DATASETS) -> Item:
    rows = (
        Row(label, experiment(dataset, architecture, label))
        for dataset in datasets
        for architecture in architectures
        for label in labels
    )
    return Item(title, tuple(rows), seeds=3)


PAPER = Paper(
    key="cskd",
    last_epochs=0,
    baseline="Cross-entropy",
    tables={
        "table1": _item("Against other regularisers of predictions", ("resnet18", "densenet121"), RIVALS),
        "table2": _item("With mixup", ("resnet18",), ("Cross-entropy", "CS-KD", "Mixup", "Mixup + CS-KD")),
        "table3": _item("With knowledge distillation", ("resnet10",), ("Cross-entropy", "CS-KD", "KD", "KD + CS-KD")),
        "table4": _item("Error, calibration and nearest neighbours", ("resnet18",), RIVALS),
    },
    figures={
        "figure2": _item("Penultimate features", ("resnet18",), (*RIVALS, "Mixup"), ("cifar100",)),
        "figure3": _item("Reliability", ("resnet18",), RIVALS, ("cifar100",)),
    },
    experiments=experiments,
)
