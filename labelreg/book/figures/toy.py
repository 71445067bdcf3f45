"""The toy regression."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from labelreg.book.toy_regression import DisturbedRegression
from labelreg.data import Dataset


def disturbed_regression(dataset: Dataset, runs: DisturbedRegression, panels: Sequence[int]) -> Figure:
    """Draw the disturbed targets of a regression over training: mean and three standard deviations over runs.

    Above as they are, below as distances from the observations, each panel to its own scale.

    Args:
        dataset: the regression; its test split is the curve without noise.
        runs: what was recorded.
        panels: positions of the recorded epochs to draw.
    """
    figure = Figure(figsize=(1.75 * len(panels), 4.2), layout="constrained")
    grid = figure.subplots(2, len(panels), sharex=True, squeeze=False)
    inputs, observed = dataset.train.inputs.squeeze(1), dataset.train.targets.squeeze(1)
    bars = {"fmt": "o", "color": "grey", "markersize": 2.5, "linewidth": 2.5, "alpha": 0.6}
    for (top, bottom), panel in zip(grid.T, panels, strict=True):
        targets = runs.targets[panel]
        top.plot(dataset.test.inputs.squeeze(1), dataset.test.targets.squeeze(1), color="#0072B2", linewidth=1)
        top.errorbar(inputs, targets.mean(0), 3 * targets.std(0), **bars)
        top.plot(inputs, observed, "o", color="#D55E00", markersize=3)
        top.set(title=f"epoch {runs.epochs[panel]}", ylim=(1.5 * observed.min(), 1.5 * observed.max()))
        bottom.errorbar(inputs, (targets - observed).mean(0), 3 * targets.std(0), **bars)
        bottom.axhline(0, color="#D55E00", linewidth=1)
        bottom.set_xlabel("x")
    grid[0, 0].set_ylabel("y")
    grid[1, 0].set_ylabel("disturbed minus observed")
    return figure
