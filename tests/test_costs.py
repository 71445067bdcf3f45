"""Counted operations: against counts made by hand."""

import pytest
import torch
from torch import nn

from labelreg.costs import share_behind, step_operations
from labelreg.data import Batch
from labelreg.methods import CrossEntropy, Method, Step
from labelreg.networks import build


def batch() -> Batch:
    return Batch(torch.randn(8, 1, 2, 2), torch.arange(8) % 3, torch.arange(8))


def linear_layers() -> nn.Sequential:
    return build("mlp", 3, (1, 2, 2), hidden=(5,))


def test_step_of_two_linear_layers():
    # 2 B (in * out) forward, the same for the weights' gradients, and for the inputs' but those of the first layer
    first, second = 2 * 8 * 4 * 5, 2 * 8 * 5 * 3
    assert step_operations(CrossEntropy(), linear_layers(), batch()) == 2 * first + 3 * second


def test_first_step_is_not_counted():
    class Curious(Method):
        looked = False

        def step(self, network, batch):
            if not self.looked:
                network(batch.inputs)
                self.looked = True
            return CrossEntropy().step(network, batch)

    plain = step_operations(CrossEntropy(), linear_layers(), batch())
    assert step_operations(Curious(), linear_layers(), batch()) == plain


def test_a_method_that_does_more_counts_more():
    class Twice(Method):
        def step(self, network, batch):
            steps = [CrossEntropy().step(network, batch) for _ in range(2)]
            return Step(steps[0].loss + steps[1].loss, steps[0].logits, {})

    plain = step_operations(CrossEntropy(), linear_layers(), batch())
    assert step_operations(Twice(), linear_layers(), batch()) == 2 * plain


def test_share_behind_each_layer():
    network, inputs = linear_layers(), batch().inputs
    assert share_behind(network, inputs, "") == 1
    assert share_behind(network, inputs, "features") == 1
    assert share_behind(network, inputs, "head") == pytest.approx(15 / (20 + 15))
    assert share_behind(network, inputs, "classifier") == 0
