"""Methods against each other: over training, against a baseline, over their parameters, in their confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labelreg.figures.methods import method_style
from labelreg.papers import Row
from labelreg.results import Result


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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def recorded_curves(runs: Mapping[Row, Sequence[Result]], quantity: str = "test_error") -> Figure:
    """Draw what recorded runs measured over their epochs, a panel a data set and network.

    Args:
        runs: rows to their recorded runs, at least one, see :func:`labelreg.papers.recorded_runs`.
        quantity: a name of the history; errors are in percent.
    """
    panels: dict[tuple[str, str], dict[str, Sequence[Result]]] = {}
    for row, group in runs.items():
        panels.setdefault((row.dataset, row.network), {})[row.method] = group
    styles = _distinct({row.method: method_style(row.experiment) for row in runs})
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(5.4, 3.0 * columns) + 1.6, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    is_error = quantity.endswith("error")
    for axes, (names, group) in zip(grid.flat, panels.items(), strict=False):
        training_curves(axes, group, quantity, styles, 100.0 if is_error else 1.0)
        axes.set_title(", ".join(names), fontsize=9)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes in grid[:, 0]:
        axes.set_ylabel(quantity.replace("_", " ") + (", %" if is_error else ""))
    lines = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    figure.legend(lines.values(), lines, frameon=False, fontsize=8, loc="outside right center")
    return figure


def _distinct(styles: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Give lines of one colour and kind, such as two generations of one method, different kinds."""
    found: dict[str, dict[str, str]] = {}
    for label, style in styles.items():
        kinds = (style["linestyle"], *(kind for kind in ("-", "--", "-.", ":") if kind != style["linestyle"]))
        candidates = [{**style, "linestyle": kind} for kind in kinds]
        found[label] = next((each for each in candidates if each not in found.values()), candidates[0])
    return found


def paired_differences(tables: Mapping[str, pd.DataFrame], colours: Mapping[str, str], baseline: str) -> Figure:
    """Draw how far each method's error lies from the baseline's, on the same seeds, with 95 % intervals.

    Args:
        tables: condition to a table of :func:`labelreg.tables.against_baseline`.
        colours: label to its colour.
        baseline: the label left out, drawn as the line at zero.
    """
    labels = [label for label in next(iter(tables.values())).index if label != baseline]
    height = 0.42 if len(labels) <= 8 else 0.27  # inches a label
    figure = Figure(figsize=(7.2, height * len(labels) * len(tables) ** 0.5 + 1.1), layout="constrained")
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


def parameter_curves(
    axes: Axes, tables: Mapping[str, pd.DataFrame], baseline: str, colours: Mapping[str, str], quantity: str = "error"
) -> None:
    """Draw the error, or another quantity, over a parameter's values, which stand at equal distances.

    Args:
        axes: where to draw.
        tables: label of a curve to a table of :func:`labelreg.tables.against_baseline`, whose index holds the values of
            the parameter and, drawn as a dotted line, the baseline.
        baseline: its label in every index.
        colours: label to the curve's colour.
        quantity: a column of the tables; the error comes with the 95 % interval of its difference to the baseline.
    """
    for label, table in tables.items():
        values = table.drop(index=baseline)
        places = np.arange(len(values))
        deviation = values.half_width if quantity == "error" else None
        axes.errorbar(
            places,
            values[quantity],
            yerr=deviation,
            fmt="o-",
            color=colours[label],
            markersize=4,
            capsize=3,
            label=label,
        )
        axes.axhline(table.loc[baseline, quantity], color=colours[label], linewidth=1, linestyle=":")
        axes.set_xticks(places, values.index)
    axes.spines[["top", "right"]].set_visible(False)


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


def reliability_diagrams(
    results: Mapping[str, Sequence[Result]], colours: Mapping[str, str], columns: int = 5
) -> Figure:
    """Draw accuracy against confidence at the last epoch, a panel a method; the area of a dot is the share of samples.

    Args:
        results: label to results that observed ``reliability``; bins are averaged over them by their samples.
        colours: label to its colour.
        columns: panels side by side, at most.
    """
    rows = -(-len(results) // columns)
    columns = -(-len(results) // rows)
    figure = Figure(figsize=(1.55 * columns, 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(results) :]:
        axes.axis("off")
    for axes, (label, group) in zip(grid.flat, results.items(), strict=False):
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
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy", fontsize=8)
    return figure
