"""Stochastic Batch Augmentation and Batch Augmentation in training: where it must change nothing, and resuming."""

import math

import pytest
import torch
from methods.small import train_on_digits
from torch import nn

from labelreg.data import Batch, Dataset, Split
from labelreg.methods import BatchAugmentation, CrossEntropy, LabelSmoothing, Mixup, StochasticBatchAugmentation
from labelreg.networks import build
from labelreg.recipe import Recipe
from labelreg.training import Trainer

K = 10


def noise_images(count=20):
    draws = torch.Generator().manual_seed(0)
    split = Split(torch.rand(count, 3, 32, 32, generator=draws), torch.randint(K, (count,), generator=draws))
    return Dataset("noise", split, split, classes=tuple("abcdefghij"))


def fitted(method, epochs=2, network=None, **options):
    torch.manual_seed(0)
    network = network or build("alexnet", K, hidden=(8,))
    recipe = Recipe(epochs=epochs, batch_size=8, schedule="constant", learning_rate=0.05)
    trainer = Trainer(network, method(), noise_images(), recipe)
    trainer.fit(**options)
    return trainer


def assert_same_weights(one, other, same=True):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) == same


class TestTraining:
    def test_without_augmentation_is_that_with_cross_entropy_bit_by_bit(self):
        """Dropout draws the same, too."""
        plain = fitted(CrossEntropy).network
        for options in ({"omega": math.pi / 2}, {"eta": 0.0, "vote": True}, {"virtual": 0}):
            assert_same_weights(plain, fitted(lambda options=options: StochasticBatchAugmentation(**options)).network)
        assert_same_weights(plain, fitted(lambda: StochasticBatchAugmentation(omega=0.0)).network, same=False)

    @pytest.mark.parametrize("granularity", ["iteration", "epoch"])
    def test_resumes_exactly(self, granularity, tmp_path):
        def make():
            return StochasticBatchAugmentation(4, eta=5.0, granularity=granularity, layers=",features.stage3")

        def make_after_another_seed():
            torch.manual_seed(17)
            return make()

        whole = fitted(make, 6)
        fitted(make, 3, checkpoint=tmp_path / "checkpoint")
        resumed = fitted(make_after_another_seed, 6, checkpoint=tmp_path / "checkpoint")
        assert_same_weights(whole.network, resumed.network)
        decisions = [row["loss_vicinity"] > 0 for row in whole.history]
        assert any(decisions[3:])
        assert granularity == "iteration" or not all(decisions)

    def test_digits_are_learnt(self):
        train_on_digits(StochasticBatchAugmentation(8, eta=1.0, vote=True))


class TestBatchAugmentation:
    def test_asks_for_copies_and_leaves_the_rest_to_the_method_inside(self):
        inner = LabelSmoothing(0.2)
        method, network = BatchAugmentation(inner, 4), nn.Linear(3, K)
        batch = Batch(torch.randn(8, 3), torch.arange(8), torch.arange(2).repeat(4))
        assert method.copies == 4
        assert BatchAugmentation(method, 3).copies == 12
        assert Mixup(method, K).copies == 4
        assert torch.equal(method.step(network, batch).loss, inner.step(network, batch).loss)

    def test_trains_on_that_many_times_the_samples(self):
        network, rows = nn.Sequential(nn.Flatten(), nn.Linear(3072, K)), []
        network.register_forward_hook(
            lambda module, arguments, output: rows.append(len(output)) if module.training else None
        )
        fitted(lambda: BatchAugmentation(CrossEntropy(), 3), 1, network)
        assert rows == [24, 24, 12]
