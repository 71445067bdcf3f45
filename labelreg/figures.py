"""Plots for the book: one colour for each method, and the map that places all methods."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from labelreg.data import Dataset, Split
from labelreg.experiments import Experiment
from labelreg.regression import DisturbedRegression
from labelreg.results import Result

# The methods that share most plots take the Okabe-Ito palette; the others keep their distance from it, and from each
# other, under red-green colour blindness too.
METHOD_COLOURS: dict[str, str] = {
    "cross_entropy": "#000000",
    "label_smoothing": "#56B4E9",
    "confidence_penalty": "#5588FF",
    "disturb_label": "#88DDBB",
    "network_as_regularization": "#E69F00",
    "snapshot_regularization": "#662200",
    "forest_as_regularization": "#999933",
    "adaptive_label_regularization": "#009E73",
    "knowledge_refinery": "#0072B2",
    "class_wise_self_distillation": "#D55E00",
    "stochastic_batch_augmentation": "#CC79A7",
    "batch_augmentation": "#220055",
    "knowledge_distillation": "#776677",
    "born_again": "#AA3300",
    "deep_mutual_learning": "#0000BB",
    "ada_cos": "#005588",
    "virtual_softmax": "#33DDFF",
    "mixup": "#882255",
    "adversarial_training": "#440000",
}

_PAPERS = {
    "network_as_regularization": "NaR",
    "adaptive_label_regularization": "ALR",
    "knowledge_refinery": "KR",
    "class_wise_self_distillation": "CS-KD",
    "stochastic_batch_augmentation": "SBA",
}
_SPELLINGS = {
    "ada_cos": "AdaCos",
    "disturb_label": "DisturbLabel",
    "snapshot_regularization": "snapshot regularisation",
}

_TIMES = ("before training", "slowly, over epochs", "anew at every step")
# Kinds of source from the bottom up, each with a tint and its sources; a source holds lines of methods by index into
# _TIMES, or under None where the label is never softened and the question of when does not arise.
_MAP = (
    (
        "no network",
        "#F3F2EE",
        (
            (
                "nobody's:\nthe label stays one-hot",
                {
                    None: (
                        ("batch_augmentation", "adversarial_training"),
                        ("cross_entropy", "ada_cos", "virtual_softmax"),
                    )
                },
            ),
            (
                "the uniform distribution",
                {0: (("confidence_penalty",), ("label_smoothing",)), 2: (("disturb_label",),)},
            ),
            ("another sample's label", {2: (("mixup",),)}),
        ),
    ),
    (
        "the network itself",
        "#E6F0F6",
        (
            (
                "its class mean over\nthe wrong classes",
                {1: (("adaptive_label_regularization", "knowledge_refinery"),)},
            ),
            ("its prediction on another\nsample of the class", {2: (("class_wise_self_distillation",),)}),
            ("its prediction on the clean\nsample, for noisy copies", {2: (("stochastic_batch_augmentation",),)}),
        ),
    ),
    (
        "another network",
        "#F9EFE2",
        (
            (
                "a network in training",
                {1: (("snapshot_regularization",),), 2: (("deep_mutual_learning",), ("network_as_regularization",))},
            ),
            ("a finished network", {0: (("born_again",), ("knowledge_distillation",))}),
        ),
    ),
)


def method_map() -> Figure:
    """Draws every method on one map: whose distribution softens the label, against when that distribution is known.

    The methods of the five papers stand filled and bold, the baselines outlined.

    Returns:
        A figure 7.6 inches wide, readable at 700 pixels.
    """
    figure = Figure(figsize=(7.6, 6.9), layout="constrained")
    axes = figure.subplots()
    line_height, padding, left, time_width = 0.47, 0.24, 2.25, 1.8
    right = left + time_width * len(_TIMES)

    top = 0.0
    for kind, tint, sources in _MAP:
        bottom = top
        for source, cells in sources:
            height = padding + line_height * max(source.count("\n") + 1, *map(len, cells.values()))
            middle = top + height / 2
            axes.text(left - 0.12, middle, source, ha="right", va="center", fontsize=9)
            for time, lines in cells.items():
                start, width = (left, right - left) if time is None else (left + time * time_width, time_width)
                for row, methods in enumerate(lines):
                    y = middle + line_height * (row - (len(lines) - 1) / 2)
                    for column, method in enumerate(methods):
                        _draw_method(axes, method, start + width * (column + 0.5) / len(methods), y)
            if None not in cells:
                borders = [left + time * time_width for time in range(len(_TIMES))]
                axes.vlines(borders, top, top + height, color="white", linewidth=1.5)
            top += height
            axes.hlines(top, 0.36, right, color="white", linewidth=1.5)
        axes.add_patch(Rectangle((0, bottom), right, top - bottom, color=tint, linewidth=0, zorder=0))
        axes.hlines(top, 0, right, color="white", linewidth=6)
        axes.text(0.18, (bottom + top) / 2, kind, rotation=90, ha="center", va="center", fontsize=9.5, weight="bold")

    for time, label in enumerate(_TIMES):
        axes.text(left + (time + 0.5) * time_width, top + 0.22, label, ha="center", fontsize=9.5, weight="bold")
    axes.text((left + right) / 2, top + 0.66, "When is that distribution known?", ha="center", fontsize=10.5)
    axes.text(left - 0.12, top + 0.22, "Whose distribution\nsoftens the label?", ha="right", fontsize=10.5)
    axes.set(xlim=(0, right), ylim=(0, top + 0.95))
    axes.axis("off")
    return figure


def _draw_method(axes: Axes, method: str, x: float, y: float) -> None:
    """Writes a method's name in a pill of its colour: filled for the five papers, outlined for the baselines."""
    colour = METHOD_COLOURS[method]
    from_paper = method in _PAPERS
    luminance = sum(weight * channel for weight, channel in zip((0.3, 0.59, 0.11), to_rgb(colour), strict=True))
    axes.text(
        x,
        y,
        _PAPERS.get(method) or _SPELLINGS.get(method) or method.replace("_", " "),
        ha="center",
        va="center",
        fontsize=11 if from_paper else 8.5,
        weight="bold" if from_paper else "normal",
        color=("black" if luminance > 0.5 else "white") if from_paper else "#222222",
        bbox={
            "boxstyle": "round,pad=0.35,rounding_size=0.6",
            "facecolor": colour if from_paper else "white",
            "edgecolor": colour,
            "linewidth": 1.6,
        },
    )


def method_style(experiment: Experiment) -> dict[str, str]:
    """The colour of an experiment's method, dashed where label smoothing is added to it: keywords for a line."""
    smoothed = dict(experiment.options).get("smoothing", 0) > 0
    return {"color": METHOD_COLOURS[experiment.method], "linestyle": "--" if smoothed else "-"}


def training_curves(
    axes: Axes,
    results: Mapping[str, Sequence[Result]],
    quantity: str,
    styles: Mapping[str, Mapping[str, str]],
    scale: float = 1.0,
    offset: float = 0.0,
) -> None:
    """Draw a recorded quantity over the epochs: the mean over seeds in a band of one standard deviation.

    Args:
        axes: where to draw.
        results: label to the results of one experiment.
        quantity: a name of the history or of the observations.
        styles: label to the keywords of its line.
        scale: factor on the quantity, such as 100 for percent, or -100 for an error drawn as accuracy.
        offset: added afterwards, such as 100 for an error drawn as accuracy.
    """
    for label, group in results.items():
        recorded = [result.history.get(quantity, result.observations.get(quantity)) for result in group]
        runs = offset + scale * np.array(recorded)
        epochs, mean, deviation = np.arange(1, runs.shape[1] + 1), runs.mean(0), runs.std(0)
        (line,) = axes.plot(epochs, mean, label=label, **styles[label])
        axes.fill_between(epochs, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel("epoch")
    axes.spines[["top", "right"]].set_visible(False)


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


def paired_differences(tables: Mapping[str, pd.DataFrame], colours: Mapping[str, str], baseline: str) -> Figure:
    """Draw how far each method's error lies from the baseline's, on the same seeds, with 95 % intervals.

    Args:
        tables: condition to a table of :func:`labelreg.tables.against_baseline`.
        colours: label to its colour.
        baseline: the label left out, drawn as the line at zero.
    """
    labels = [label for label in next(iter(tables.values())).index if label != baseline]
    figure = Figure(figsize=(7.2, 0.42 * len(labels) * len(tables) ** 0.5 + 1.1), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.17, 0.17, len(tables)) if len(tables) > 1 else [0.0]
    for marker, offset, (condition, table) in zip("osD^", offsets, tables.items(), strict=False):
        for position, label in enumerate(labels):
            axes.errorbar(
                table.difference[label],
                position + offset,
                xerr=table.half_width[label],
                fmt=marker,
                color=colours[label],
                markerfacecolor=colours[label] if marker == "o" else "white",
                capsize=3,
            )
        axes.plot([], [], marker, color="grey", markerfacecolor="grey" if marker == "o" else "white", label=condition)
    axes.axvline(0, color=colours[baseline], linewidth=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(f"test error minus that of {baseline} on the same seeds, percentage points")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(frameon=False, fontsize=9)
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
        bottom.tick_params(labelsize=7)
        bottom.spines[["top", "right"]].set_visible(False)
    grid[1, 0].set_ylabel("label", fontsize=8)
    return figure


def disturbed_regression(dataset: Dataset, runs: DisturbedRegression, panels: Sequence[int]) -> Figure:
    """Draw the disturbed targets of a regression over training: mean and three standard deviations over runs.

    Above as they are, below as distances from the observations, each panel to its own scale.

    Args:
        dataset: the regression; its test split is the curve without noise.
        runs: what was seen.
        panels: which looks to draw, by position.
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
        bottom.set_xlabel("x", fontsize=8)
        for axes in (top, bottom):
            axes.title.set_fontsize(9)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel("y", fontsize=8)
    grid[1, 0].set_ylabel("disturbed minus observed", fontsize=8)
    return figure


def sensitivity(values: pd.DataFrame, row: str, column: str, reference: float) -> Figure:
    """Draw a quantity over a grid of two parameters: as a heatmap, and as curves over the one, a curve for the other.

    Args:
        values: the quantity, rows and columns named by the parameters' values.
        row: name of the parameter that changes from row to row.
        column: name of the other.
        reference: the baseline's value, drawn as a line.
    """
    figure = Figure(figsize=(7.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(values, cmap="viridis_r", origin="lower")
    left.set_xticks(range(values.shape[1]), values.columns, fontsize=8)
    left.set_yticks(range(values.shape[0]), values.index, fontsize=8)
    left.set(xlabel=column, ylabel=row)
    figure.colorbar(image, ax=left, shrink=0.8, label="test error, %")
    shades = colormaps["plasma"](np.linspace(0.05, 0.85, values.shape[1]))
    for name, shade in zip(values.columns, shades, strict=True):
        right.plot(values.index, values[name], "o-", color=shade, markersize=3, label=f"{column} = {name}")
    right.axhline(reference, color="black", linewidth=1, linestyle=":", label="baseline")
    right.set(xlabel=row, ylabel="test error, %")
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    right.spines[["top", "right"]].set_visible(False)
    return figure


def reliability_diagrams(results: Mapping[str, Sequence[Result]], colours: Mapping[str, str]) -> Figure:
    """Draw accuracy against confidence at the last epoch, a panel a method; the area of a dot is the share of samples.

    Args:
        results: label to results that observed ``reliability``; bins are averaged over them by their samples.
        colours: label to its colour.
    """
    figure = Figure(figsize=(1.55 * len(results), 2.1), layout="constrained")
    line = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, (label, group) in zip(line, results.items(), strict=True):
        share = np.stack([each.observations["bin_share"][-1] for each in group])
        confidence, accuracy = (
            np.nansum([each.observations[name][-1] for each in group] * share, axis=0) / np.maximum(share.sum(0), 1e-9)
            for name in ("bin_confidence", "bin_accuracy")
        )
        filled = share.sum(0) > 0
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        sizes = 250 * share.mean(0)[filled]
        axes.scatter(confidence[filled], accuracy[filled], sizes, color=colours[label], alpha=0.8)
        ece = 100 * np.mean([each.last["test_ece"] for each in group])
        axes.set_title(f"{label}\nECE {ece:.1f} %", fontsize=9)
        axes.set_xlabel("confidence", fontsize=8)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.05), aspect="equal")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    line[0].set_ylabel("accuracy", fontsize=8)
    return figure
