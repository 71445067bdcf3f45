"""Samples, and what happens to their labels."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from labelreg import methods
from labelreg.book.figures.curves import Runs
from labelreg.book.figures.style import hues, leftmost, subplots, wrapped
from labelreg.book.toy_regression import DisturbedRegression
from labelreg.data import Dataset, Split

FEW = 12  # the largest number of classes whose names have room
NAMES = 0.7  # inches for long names below a figure
NAR = methods.NetworkAsRegularization.colour


def as_images(inputs: Tensor) -> list[np.ndarray]:
    """Return inputs (N, C, H, W) of a data set as images."""
    images = inputs.permute(0, 2, 3, 1).cpu().numpy()
    return [image[..., 0] if image.shape[-1] == 1 else image for image in images]


def image_grid(rows: Sequence[Sequence[np.ndarray]], titles: Mapping[int, str] | None = None) -> Figure:
    """Draw rows of images; ``titles`` are by position of the column, and a row may be shorter than the others."""
    columns = max(map(len, rows))
    figure, grid = subplots(len(rows), columns, 0.72 * columns, 0.72 * len(rows) + 0.25 * bool(titles))
    for line, images in zip(grid, rows, strict=True):
        for axes, image in itertools.zip_longest(line, images):
            _show(axes, image)
    for column, title in (titles or {}).items():
        slanted = {"rotation": 45, "ha": "left"} if len(title) > 8 and column + 1 in titles else {}
        grid[0, column].set_title(title, **slanted)
    return figure


def sample_grid(split: Split, classes: Sequence[str], columns: int = 10, rows: int = 3) -> Figure:
    """Draw the first samples of the first classes, one class per column."""
    shown = range(min(columns, len(classes)))
    samples = [as_images(split.inputs[split.targets == each][:rows]) for each in shown]
    return image_grid([*itertools.zip_longest(*samples)], {column: classes[column] for column in shown})


def _show(axes: Axes, image: np.ndarray | None) -> None:
    axes.axis("off")
    if image is not None:
        axes.imshow(image, cmap="gray_r")


def label_development(runs: Runs, quantities: Mapping[str, str], classes: Sequence[str] = ()) -> Figure:
    """Draw what a run observed about its classes as heatmaps, with a row per true class (ALR figure 3; KR figure 2).

    The run is the first of ``runs``, shown at four epochs. The titles show its training accuracy, mu.

    Args:
        quantities: title of a row of the figure to the observation in it, matrices (K, K) of probabilities.
        classes: names of the classes, by default their numbers.
    """
    run = next(iter(runs.values()))[0]
    shown = np.unique(np.geomspace(1, run.experiment.epochs, 4).round().astype(int)) - 1
    rows = {title: run.observations[name][shown] for title, name in quantities.items()}
    classes = classes or [str(each) for each in range(len(next(iter(rows.values()))[0]))]
    figure, grid = wrapped(len(rows), len(shown), 2, [2.4 + NAMES * _long(classes) / len(rows)] * len(rows))
    for line, (name, matrices) in zip(grid, rows.items(), strict=True):
        scale = {"vmin": 0, "vmax": matrices.max(), "cmap": "mako_r"}
        for axes, matrix in zip(line, matrices, strict=True):
            sns.heatmap(matrix, ax=axes, square=True, rasterized=len(classes) > FEW, **scale)
            axes.set(xticks=[], yticks=[])
        for first in leftmost(line):
            first.set_ylabel(f"{name}\ntrue class")
            _name_classes(first.yaxis, classes, 0.5)
    for top, bottom, epoch in zip(grid[0], grid[-1], shown, strict=True):
        top.set_title(f"epoch {epoch + 1}, $\\mu$ = {run.history['train_accuracy'][epoch]:.2f}")
        bottom.set_xlabel("probability of class")
        _name_classes(bottom.xaxis, classes, 0.5)
    return figure


def _name_classes(axis: Axis, classes: Sequence[str], offset: float = 0.0) -> None:
    """Write the names of the classes along an axis, vertically if they are long; many classes stay without names."""
    named = (np.arange(len(classes)) + offset, classes) if len(classes) <= FEW else ([], [])
    axis.set_ticks(*named, rotation=90 if axis.axis_name == "x" and _long(classes) else 0)


def _long(classes: Sequence[str]) -> bool:
    return len(classes) <= FEW and max(map(len, classes)) > 2


def label_bars(
    images: Sequence[np.ndarray],
    targets: Sequence[int],
    labels: Mapping[str, Sequence[np.ndarray]],
    colours: Mapping[str, str],
    classes: Sequence[str],
) -> Figure:
    """Draw samples, and beside each the labels that methods give it, as bars over the classes.

    ``targets`` are the true classes. ``labels`` maps the name of a kind of label to distributions (K,), one per sample.
    """
    # the images are repeated where the labels wrap
    parts = np.array_split([*labels], math.ceil(len(labels) / 3))
    columns = [kind for part in parts for kind in (None, *part)]
    ratios = [0.7] + [2] * len(parts[0])
    heights = [1.0 + NAMES * _long(classes) / len(images)] * len(images)
    figure, grid = wrapped(len(images), len(columns), len(ratios), heights, width_ratios=ratios)
    for column, name in zip(grid.T, columns, strict=True):
        if name is None:
            for axes, image, target in zip(column, images, targets, strict=True):
                _show(axes, image)
                axes.set_title(classes[target])
            continue
        distributions = labels[name]
        for axes, distribution in zip(column, distributions, strict=True):
            axes.bar(range(len(classes)), distribution, color=colours[name])
            axes.set_ylim(0, max(np.max(each) for each in distributions) * 1.05)
            axes.set_xticks([])
        _name_classes(column[-1].xaxis, classes)
        column[0].set_title(name)
    return figure


def label_histories(
    images: Sequence[np.ndarray], histories: Sequence[np.ndarray], classes: Sequence[str], shown: int = 3
) -> Figure:
    """Draw how the labels of samples change over training: the largest classes as lines, the rest in grey.

    ``histories`` are probabilities (epochs, K), one per sample; ``shown`` is the number of classes drawn in colour.
    """
    figure, grid = wrapped(2, len(images), 2, [0.8, 1.9])
    for (top, bottom), image, history in zip(grid.T, images, histories, strict=True):
        _show(top, image)
        epochs = range(1, len(history) + 1)
        leading = np.argsort(-history.max(0))
        largest = pd.DataFrame(history[:, leading[:shown]], epochs, [classes[each] for each in leading[:shown]])
        bottom.plot(epochs, history[:, leading[shown:]], color="#BBBBBB", linewidth=0.8)
        sns.lineplot(largest, ax=bottom, palette=hues(shown), legend=False)
        lines = bottom.lines[-shown:]
        top.legend(lines, largest.columns, loc="center left", bbox_to_anchor=(1, 0.5))
        bottom.set(xlabel="epoch", ylim=(-0.03, 1.03))
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in leftmost(grid[1]):
        axes.set_ylabel("label")
    return figure


def disturbed_regression(dataset: Dataset, runs: DisturbedRegression, panels: Sequence[int]) -> Figure:
    """Draw the disturbed targets of a regression at recorded epochs: mean and three standard deviations over runs.

    The upper panels show the targets, with the test split as the curve without noise. The lower panels show their
    distances from the observations, each panel on its own scale. ``panels`` are positions of the recorded epochs.
    """
    figure, grid = wrapped(2, len(panels), 3, [1.7, 1.4], sharex=True)
    inputs, observed = (each.squeeze(1).numpy() for each in (dataset.train.inputs, dataset.train.targets))
    bars = {"fmt": "o", "color": NAR, "markersize": 2.5, "linewidth": 2.5, "alpha": 0.6}
    for (top, bottom), panel in zip(grid.T, panels, strict=True):
        targets = runs.targets[panel].numpy()
        spread = 3 * targets.std(0, ddof=1)
        top.plot(dataset.test.inputs.squeeze(1), dataset.test.targets.squeeze(1), color="grey", linewidth=1)
        top.errorbar(inputs, targets.mean(0), spread, **bars)
        top.plot(inputs, observed, "o", color="black", markersize=3)
        top.set(title=f"epoch {runs.epochs[panel]}", ylim=(1.5 * observed.min(), 1.5 * observed.max()))
        bottom.errorbar(inputs, (targets - observed).mean(0), spread, **bars)
        bottom.axhline(0, color="black", linewidth=1)
        bottom.set_xlabel("x")
    for line, name in zip(grid, ("y", "disturbed\nminus observed"), strict=True):
        for axes in leftmost(line):
            axes.set_ylabel(name)
    return figure
