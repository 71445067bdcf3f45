"""Data sets without files: scikit-learn's digits and the toy regression."""

from functools import cache
from pathlib import Path

import torch

from labelreg.data.dataset import Dataset, Split, hold_out
from labelreg.data.randomness import Stream, generator
from labelreg.data.registry import register


@register("digits")
@cache  # to parse scikit-learn's file takes a tenth of the time of a live run
def digits(root: Path) -> Dataset:
    """Handwritten digits of scikit-learn: 1,097 training and 700 test images, (N, 1, 8, 8) float32 in [0, 1].

    The split is random in proportion to the 10 classes, and always the same.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    inputs = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16  # a pixel counts the dark ones of 4 x 4
    targets = torch.from_numpy(bunch.target).long()
    shuffled = torch.randperm(len(targets), generator=generator(0, Stream.DATASET), device="cpu")
    train, test = hold_out(Split(inputs, targets).select(shuffled), 700, seed=0)
    return Dataset("digits", train, test, classes=tuple(str(name) for name in bunch.target_names))


@register("toy")
def toy(root: Path, seed: int = 0) -> Dataset:
    """The regression of NaR's figure 3: y = x^3 plus noise from N(0, 3^2), 20 training points.

    x is uniform over [-4, 4], as in Hernández-Lobato and Adams (2015), where the task comes from; NaR does not give its
    range. The test split is 200 evenly spaced points without noise. Inputs and targets are (N, 1) float32.
    """
    draws = generator(seed, Stream.DATASET)
    x = 8 * torch.rand(20, 1, generator=draws, device="cpu") - 4
    y = x**3 + 3 * torch.randn(20, 1, generator=draws, device="cpu")
    grid = torch.linspace(-4, 4, 200, device="cpu").unsqueeze(1)
    return Dataset("toy", Split(x, y), Split(grid, grid**3), classes=(), task="regression")
