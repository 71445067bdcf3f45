"""Every method under one protocol: the same network, schedule, weight decay and seeds, which no two papers have.

The protocol is the package's default, that of the KR paper: SGD with Nesterov's momentum, batches of 128, 200
epochs, a weight decay of 5e-4; or 30 epochs of one cycle at the ``fast`` profile. All methods are at their defaults, so
none was tuned to it; the peak of the cycle, twice the usual learning rate, is the one thing that was chosen.

The small ones are for machines without a GPU: ResNet-8 sees all of CIFAR-100 in eight epochs of one cycle, and a
language model of 200 units learns Penn Treebank as PyTorch's word-level example does at its defaults (six epochs, with
a dropout of 0.2), with the methods of NaR's table 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labelreg.experiments import PROFILES, Experiment
from labelreg.papers import Item, Paper, Row, papers

BASELINE = "Cross-entropy"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    BASELINE: ("cross_entropy", {}),
    "Label smoothing": ("label_smoothing", {}),
    "Confidence penalty": ("confidence_penalty", {}),
    "ALR": ("adaptive_label_regularization", {}),
    "ALR-S": ("adaptive_label_regularization", {"smoothing": 0.1}),
    "KR": ("knowledge_refinery", {}),
    "KR-LS": ("knowledge_refinery", {"smoothing": 0.1}),
    "NaR": ("network_as_regularization", {}),
    "CS-KD": ("class_wise_self_distillation", {}),
    "AdaCos": ("ada_cos", {}),
    "Virtual softmax": ("virtual_softmax", {}),
    "Mixup": ("mixup", {}),
    "Mixup + NaR": ("mixup", {"method": "network_as_regularization"}),
    "Mixup + CS-KD": ("mixup", {"method": "class_wise_self_distillation"}),
    "SBA": ("stochastic_batch_augmentation", {}),
    "BAN-2": ("born_again", {}),
    "DML": ("deep_mutual_learning", {}),
}


# what a text of many words allows, beside the methods above: a mean label a class would take V x V numbers
TEXT_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{label: METHODS[label] for label in (BASELINE, "Label smoothing", "Confidence penalty", "NaR", "BAN-2")},
    "DisturbLabel": ("disturb_label", {}),
}


def compared(baseline: Experiment, methods: Mapping[str, tuple[str, dict[str, Any]]]) -> Item:
    """Return methods, each at its defaults, under the protocol of a baseline.

    Args:
        baseline: whose method is replaced.
        methods: label to name and options.
    """
    rows = []
    for label, (method, options) in methods.items():
        teacher = baseline if method == "born_again" else None
        each = replace(baseline, method=method, options=options, teacher=teacher)
        rows.append(Row(each.dataset, each.network, label, each))
    return Item(f"Methods on {baseline.dataset}, {baseline.network}", tuple(rows))


def language_models(baseline: Experiment) -> Item:
    """Return the methods of NaR's table 4; NaR with an auxiliary like the target, and with one half as wide."""
    item = compared(baseline, TEXT_METHODS)
    like = item.find(baseline.dataset, baseline.network, "NaR")
    half = {"hidden": dict(baseline.network_options)["hidden"] // 2}
    narrow = replace(like, method="NaR, half as wide", experiment=replace(like.experiment, auxiliary_options=half))
    return replace(item, rows=(*item.rows, narrow))


SMALL = Experiment(dataset="cifar100", network="resnet8", epochs=8, learning_rate=0.2, schedule="one_cycle")
SMALL_LANGUAGE_MODEL = replace(
    papers["nar"].tables["table4"][0],
    epochs=6,
    network_options={"hidden": 200, "dropout": 0.2, "init_range": 0.1},
)

BENCHMARK = Paper(
    key="shared",
    title="All methods under one protocol",
    authors=(),
    venue="",
    seeds=PROFILES["fast"].seeds,
    baseline=BASELINE,
    tables={
        "resnet8": compared(SMALL, METHODS),
        "lstm": language_models(SMALL_LANGUAGE_MODEL),
        **{
            network: compared(Experiment(dataset="cifar100", network=network), METHODS)
            for network in ("resnet18", "resnet32", "plaincnn6")
        },
    },
)
