"""Samples, and what happens to their labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from labelreg.data import Split


def as_images(inputs: Tensor) -> list[np.ndarray]:
    """Images (N, C, H, W), as a data set holds them, ready to draw: (H, W) or (H, W, 3) each."""
    images = inputs.permute(0, 2, 3, 1).cpu().numpy()
    return [image[..., 0] if image.shape[-1] == 1 else image for image in images]


def sample_grid(split: Split, classes: Sequence[str], columns: int = 10, rows: int = 3) -> Figure:
    """Draw the first samples of the first classes, a class a column."""
    shown = range(min(columns, len(classes)))
    figure = Figure(figsize=(0.72 * len(shown), 0.72 * rows + 0.25), layout="constrained")
    for column, axes in zip(shown, figure.subplots(rows, len(shown), squeeze=False).T, strict=True):
        samples = as_images(split.inputs[split.targets == column][:rows])
        for place, image in itertools.zip_longest(axes, samples):
            place.axis("off")
            if image is not None:
                place.imshow(image, cmap="gray_r")
        axes[0].set_title(classes[column], fontsize=8)
    return figure


def label_heatmaps(rows: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str], classes: Sequence[str]) -> Figure:
    """Draw matrices of labels, a true class a row, as heatmaps.

    Args:
        rows: what a row of heatmaps shows, to its matrices (K, K) of probabilities.
        columns: the title of each column.
        classes: names of the K classes.
    """
    figure = Figure(figsize=(1.95 * len(columns) + 0.9, 2.05 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    ticks = range(len(classes)) if len(classes) <= 12 else []
    for line, (name, matrices) in zip(grid, rows.items(), strict=True):
        highest = max(matrix.max() for matrix in matrices)
        for axes, matrix in zip(line, matrices, strict=True):
            image = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=highest)
            axes.set_xticks(ticks, [classes[tick] for tick in ticks], fontsize=7)
            axes.set_yticks(ticks, [classes[tick] for tick in ticks], fontsize=7)
        line[0].set_ylabel(f"{name}\ntrue class", fontsize=8)
        figure.colorbar(image, ax=list(line), shrink=0.85).ax.tick_params(labelsize=7)
    for top, bottom, title in zip(grid[0], grid[-1], columns, strict=True):
        top.set_title(title, fontsize=9)
        bottom.set_xlabel("probability of class", fontsize=8)
    return figure


def label_bars(
    images: Sequence[np.ndarray],
    targets: Sequence[int],
    labels: Mapping[str, Sequence[np.ndarray]],
    colours: Mapping[str, str],
    classes: Sequence[str],
) -> Figure:
    """Draw samples, and beside each the labels that methods give it, as bars over the classes.

    Args:
        images: (H, W) or (H, W, 3), one a sample.
        targets: true class of each.
        labels: what the label is called, to one distribution (K,) a sample.
        colours: for each kind of label.
        classes: names of the K classes.
    """
    figure = Figure(figsize=(1.4 + 2.0 * len(labels), 1.15 * len(images) + 0.4), layout="constrained")
    grid = figure.subplots(len(images), 1 + len(labels), squeeze=False, width_ratios=[0.7] + [2] * len(labels))
    ticks = range(len(classes)) if len(classes) <= 12 else []
    for line, image, target in zip(grid, images, targets, strict=True):
        line[0].imshow(image, cmap="gray_r")
        line[0].set_title(classes[target], fontsize=8)
        line[0].axis("off")
    for column, (name, distributions) in zip(grid.T[1:], labels.items(), strict=True):
        for axes, distribution in zip(column, distributions, strict=True):
            axes.bar(range(len(classes)), distribution, color=colours[name])
            axes.set_xticks(ticks, [classes[tick] for tick in ticks], fontsize=7)
            axes.set_ylim(0, max(np.max(each) for each in distributions) * 1.05)
            axes.tick_params(axis="y", labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        column[0].set_title(name, fontsize=9)
    return figure


def label_histories(
    images: Sequence[np.ndarray], histories: Sequence[np.ndarray], classes: Sequence[str], shown: int = 3
) -> Figure:
    """Draw how the labels of samples change over training: the largest classes as lines, the rest in grey.

    Args:
        images: (H, W) or (H, W, 3), one a sample.
        histories: (epochs, K) probabilities, one a sample.
        classes: names of the K classes.
        shown: how many classes of a sample are drawn in colour.
    """
    figure = Figure(figsize=(1.9 * len(images), 2.9), layout="constrained")
    grid = figure.subplots(2, len(images), squeeze=False, height_ratios=[1, 2.2], sharey="row")
    for (top, bottom), image, history in zip(grid.T, images, histories, strict=True):
        top.imshow(image, cmap="gray_r")
        top.axis("off")
        epochs = range(1, len(history) + 1)
        leading = np.argsort(-history.max(0))
        bottom.plot(epochs, history[:, leading[shown:]], color="#DDDDDD", linewidth=0.8)
        for place, label in enumerate(leading[:shown]):
            bottom.plot(
                epochs, history[:, label], color=("#E69F00", "#0072B2", "#009E73")[place % 3], label=classes[label]
            )
        bottom.legend(frameon=False, fontsize=7, loc="center right")
        bottom.set_xlabel("epoch", fontsize=8)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.tick_params(labelsize=7)
        bottom.spines[["top", "right"]].set_visible(False)
    grid[1, 0].set_ylabel("label", fontsize=8)
    return figure
