"""What a step costs beside plain cross-entropy: counted floating-point operations, forward and backward."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from labelreg import methods, networks
from labelreg.data import Batch

K = 10
# a forward pass is a third of a step, a teacher's is one more
RATIOS = {
    "label_smoothing": 1.0,
    "confidence_penalty": 1.0,
    "disturb_label": 1.0,
    "adaptive_label_regularization": 1.0,
    "knowledge_refinery": 1.0,
    "ada_cos": 1.0,
    "virtual_softmax": 1.0,
    "knowledge_distillation": 4 / 3,
    "class_wise_self_distillation": 4 / 3,
    "deep_mutual_learning": 2.0,
}


def resnet8(role="", chosen=None):
    return networks.build("resnet8", K)


def operations_of_a_step(name):
    network, method = resnet8(), methods.create(name, K, {}, resnet8)
    inputs, partner = torch.randn(2, 128, 3, 32, 32)
    batch = Batch(inputs, torch.arange(128) % K, torch.arange(128), partner)
    with FlopCounterMode(display=False) as counter:
        method.step(network, batch).loss.backward()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def plain():
    return operations_of_a_step("cross_entropy")


@pytest.mark.parametrize(("name", "ratio"), RATIOS.items())
def test_ratio_to_cross_entropy(name, ratio, plain):
    assert operations_of_a_step(name) / plain == pytest.approx(ratio, rel=0.01)
