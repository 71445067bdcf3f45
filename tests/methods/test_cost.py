"""What a step costs beside plain cross-entropy: counted floating-point operations, forward and backward."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from labelreg import methods, networks
from labelreg.data import Batch

K = 10
KD, CSKD, NAR = "knowledge_distillation", "class_wise_self_distillation", "network_as_regularization"
# a step is three passes: a forward pass of another network or input is a third of it, a backward pass two thirds
RATIOS = [
    ("label_smoothing", {}, 1),
    ("confidence_penalty", {}, 1),
    ("disturb_label", {}, 1),
    ("adaptive_label_regularization", {}, 1),
    ("knowledge_refinery", {}, 1),
    ("ada_cos", {}, 1),
    ("virtual_softmax", {}, 1),
    ("mixup", {}, 1),
    (KD, {}, 4 / 3),
    ("born_again", {}, 4 / 3),
    (CSKD, {}, 4 / 3),
    (CSKD, {"sample_weight": 1.0}, 5 / 3),
    (CSKD, {"partners": "batch"}, 1),
    (CSKD, {"class_weight": 0.0}, 1),
    ("deep_mutual_learning", {}, 2),
    (NAR, {}, 2),
    ("snapshot_regularization", {}, 7 / 3),
    ("adversarial_training", {}, 7 / 3),
]


def resnet8(role="", chosen=None):
    return networks.build("resnet8", K)


def operations_of_a_step(name, options=None):
    network, method = resnet8(), methods.create(name, K, options or {}, resnet8)
    inputs, partner, source = torch.randn(3, 16, 3, 32, 32)
    batch = Batch(inputs, torch.arange(16) % K, torch.arange(16), partner, source)
    with FlopCounterMode(display=False) as counter:
        method.step(network, batch).loss.backward()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def plain():
    return operations_of_a_step("cross_entropy")


@pytest.mark.parametrize(("name", "options", "ratio"), RATIOS)
def test_ratio_to_cross_entropy(name, options, ratio, plain):
    assert operations_of_a_step(name, options) / plain == pytest.approx(ratio, rel=0.02)
