"""The data sets that need no file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, uniform
from sklearn.datasets import load_digits

from labelreg.data import load
from labelreg.data.embedded import toy


@pytest.fixture(scope="module")
def digits():
    return load("digits")


class TestDigits:
    def test_sizes_and_range(self, digits):
        assert (len(digits.train), len(digits.test), digits.input_shape) == (1097, 700, (1, 8, 8))
        assert (digits.train.inputs.dtype, digits.train.targets.dtype) == (torch.float32, torch.int64)
        assert digits.train.inputs.aminmax() == (0, 1)
        assert (digits.num_classes, digits.task, digits.augmentation) == (10, "classification", "none")

    def test_is_scikit_learns_divided_in_proportion_to_the_classes_without_loss_or_overlap(self, digits):
        def rows(inputs, targets):
            return sorted((*row, label) for row, label in zip(inputs, targets, strict=True))

        bunch = load_digits()
        inputs = torch.cat((digits.train.inputs, digits.test.inputs)).flatten(1).double() * 16
        targets = torch.cat((digits.train.targets, digits.test.targets))
        assert rows(inputs.tolist(), targets.tolist()) == rows(bunch.data.tolist(), bunch.target.tolist())
        share = np.bincount(bunch.target) * 700 / 1797
        assert (np.abs(np.bincount(digits.test.targets) - share) < 1).all()

    def test_split_never_changes(self, digits):
        torch.manual_seed(5)
        again = load("digits")
        assert torch.equal(digits.train.inputs, again.train.inputs)
        assert torch.equal(digits.test.targets, again.test.targets)
        # recorded runs rest on these very splits
        assert digits.train.targets[:16].tolist() == [8, 3, 9, 4, 0, 0, 0, 9, 9, 1, 8, 8, 5, 5, 9, 7]
        assert digits.test.targets[:16].tolist() == [9, 3, 5, 1, 6, 8, 0, 4, 0, 3, 9, 3, 5, 9, 3, 7]


class TestToy:
    def test_is_a_regression_whose_test_points_lie_on_the_curve(self):
        dataset = load("toy")
        assert (dataset.task, dataset.num_classes, dataset.classes) == ("regression", 0, ())
        assert dataset.train.inputs.shape == dataset.train.targets.shape == (20, 1)
        assert dataset.train.targets.dtype == torch.float32
        x, y = dataset.test.inputs, dataset.test.targets
        assert x.shape == y.shape == (200, 1)
        np.testing.assert_allclose(x.flatten(), np.linspace(-4, 4, 200), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y, x.double() ** 3, rtol=1e-5, atol=1e-6)

    def test_training_points_follow_the_stated_distribution(self):
        trains = [toy(Path(), seed=seed).train for seed in range(500)]
        x = torch.cat([train.inputs for train in trains]).double()
        noise = torch.cat([train.targets for train in trains]).double() - x**3
        assert kstest(x.flatten(), uniform(-4, 8).cdf).pvalue > 1e-3
        assert kstest(noise.flatten(), norm(0, 3).cdf).pvalue > 1e-3
        assert (x * noise).mean().abs() < 4 * (16 / 3) ** 0.5 * 3 / len(x) ** 0.5

    def test_points_are_fixed_unless_a_seed_is_given(self):
        first = load("toy").train.targets
        torch.manual_seed(5)
        assert torch.equal(first, load("toy").train.targets)
        assert not torch.equal(first, toy(Path(), seed=1).train.targets)
