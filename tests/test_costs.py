"""Counted operations: against counts made by hand."""

import pytest
import torch
from torch import nn

from labelreg.costs import forward_operations, share_behind, step_operations
from labelreg.data import Batch
from labelreg.methods import CrossEntropy, Method, Step
from labelreg.networks import build, names

BATCH = Batch(torch.randn(8, 1, 2, 2), torch.arange(8) % 3, torch.arange(8))


def linear_layers() -> nn.Sequential:
    return build("mlp", 3, (1, 2, 2), hidden=(5,))


class Curious(Method):
    """Examines the network in its first step."""

    looked = False

    def step(self, network, batch):
        if not self.looked:
            network(batch.inputs)
            self.looked = True
        return CrossEntropy().step(network, batch)


class Twice(Method):
    def step(self, network, batch):
        steps = [CrossEntropy().step(network, batch) for _ in range(2)]
        return Step(steps[0].loss + steps[1].loss, steps[0].logits, {})


@pytest.mark.parametrize(("method", "times"), [(CrossEntropy, 1), (Curious, 1), (Twice, 2)])
def test_a_step_of_two_linear_layers(method, times):
    # 2 B (in * out) forward, the same for the weights' gradients, and for the inputs' but those of the first layer
    first, second = 2 * 8 * 4 * 5, 2 * 8 * 5 * 3
    assert step_operations(method(), linear_layers(), BATCH) == times * (2 * first + 3 * second)


def test_share_behind_each_layer():
    shares = {"": 1, "features": 1, "head": 15 / (20 + 15), "classifier": 0}
    for layer, share in shares.items():
        assert share_behind(linear_layers(), BATCH.inputs, layer) == pytest.approx(share)


class TestForwardOperations:
    @pytest.mark.parametrize(
        ("network", "options", "expected"),
        [
            ("mlp", {}, 2 * (64 * 256 + 256 * 256 + 256 * 10)),
            ("mlp", {"num_classes": 100, "hidden": 32}, 2 * (64 * 32 + 32 * 100)),
            ("mlp", {"hidden": [32, 16]}, 2 * (64 * 32 + 32 * 16 + 16 * 10)),
            ("lstm", {"num_classes": 10_000}, 2 * (2 * 2 * 1500 * 4 * 1500 + 1500 * 10_000)),
            (
                "plaincnn6",
                {},
                2 * (1024 * 9 * (3 + 64) * 64 + 256 * 9 * (64 + 128) * 128)
                + 2 * (64 * 9 * (128 + 256) * 256 + 4096 * 256 + 256 * 10),
            ),
        ],
    )
    def test_by_hand(self, network, options, expected):
        assert forward_operations(network, **options) == expected

    @pytest.mark.parametrize(
        ("name", "billions"),
        [("resnet18", 1.81), ("resnet50", 4.09), ("resnet101", 7.80), ("resnet152", 11.51), ("densenet121", 2.83),
         ("vgg16", 15.47), ("alexnet", 0.71)],
    )  # fmt: skip
    def test_as_torchvision_prints_them(self, name, billions):
        """Multiply-accumulates, of two operations each."""
        assert forward_operations(f"imagenet_{name}", 1000) / 2e9 == pytest.approx(billions, abs=0.006)

    def test_nothing_is_drawn_and_every_network_can_be_counted(self):
        drawn = torch.get_rng_state()
        assert all(forward_operations(name) > 0 for name in names())
        assert torch.equal(torch.get_rng_state(), drawn)

    def test_options_are_checked(self):
        with pytest.raises(ValueError, match=r"mlp's option hidden\.0 should be greater than 0"):
            forward_operations("mlp", hidden=-1)
