"""Curves: quantities over the epochs of training, or over what else was varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labelreg.book.figures.methods import method_style
from labelreg.book.figures.style import panels
from labelreg.papers import Row
from labelreg.results import Result

Styles = Mapping[str, Mapping[str, str]]


def curves(axes: Axes, runs: Mapping[str, np.ndarray], styles: Styles, x: Sequence[float] | None = None) -> None:
    """Draw the mean over runs in a band of one standard deviation.

    Args:
        axes: where to draw.
        runs: label to the values of its runs, (runs, points).
        styles: label to the keywords of its line.
        x: (points,) where the values stand; by default the epochs 1, 2, ...
    """
    for label, values in runs.items():
        values = np.asarray(values)
        places = np.arange(1, values.shape[1] + 1) if x is None else np.asarray(x)
        sns.lineplot(
            x=np.tile(places, len(values)),
            y=values.ravel(),
            ax=axes,
            label=label,
            errorbar="sd",
            err_kws={"alpha": 0.15, "linewidth": 0},
            legend=False,
            **styles[label],
        )
    axes.set_xlabel("epoch" if x is None else "")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=x is None))


def training_curves(
    axes: Axes,
    results: Mapping[str, Sequence[Result]],
    quantity: str,
    styles: Styles,
    scale: float = 1.0,
    offset: float = 0.0,
) -> None:
    """Draw a recorded quantity over the epochs, see :func:`curves`.

    Args:
        axes: where to draw.
        results: label to the results of one experiment.
        quantity: a name of the history or of the observations.
        styles: label to the keywords of its line.
        scale: factor on the quantity, such as 100 for percent, or -100 for an error drawn as accuracy.
        offset: added afterwards, such as 100 for an error drawn as accuracy.
    """
    runs = {
        label: offset + scale * np.stack([result.epochs(quantity) for result in group])
        for label, group in results.items()
    }
    curves(axes, runs, styles)


def recorded_curves(runs: Mapping[Row, Sequence[Result]], quantity: str = "test_error") -> Figure:
    """Draw a quantity of recorded runs over their epochs, one panel per data set and network.

    Args:
        runs: rows to their recorded runs, at least one, see :func:`labelreg.papers.recorded_runs`.
        quantity: a name of the history; errors are in percent.
    """
    groups: dict[tuple[str, str], dict[str, Sequence[Result]]] = {}
    for row, group in runs.items():
        groups.setdefault((row.dataset, row.network), {})[row.method] = group
    styles = _distinct({row.method: method_style(row.experiment) for row in runs})
    figure, grid = panels(len(groups), 3, max(3.0, 5.4 / len(groups)), 2.9)
    figure.set_figwidth(figure.get_figwidth() + 1.6)  # for the legend
    is_error = quantity.endswith("error")
    lines = {}
    for axes, (names, group) in zip(grid, groups.items(), strict=True):
        training_curves(axes, group, quantity, styles, 100.0 if is_error else 1.0)
        axes.set_title(", ".join(names))
        lines |= {line.get_label(): line for line in axes.get_lines()}
    figure.supylabel(quantity.replace("_", " ") + (", %" if is_error else ""))
    figure.legend(lines.values(), lines, loc="outside right center")
    return figure


def _distinct(styles: Styles) -> dict[str, dict[str, str]]:
    """Give lines of one colour and kind, such as two generations of one method, different kinds."""
    found: dict[str, dict[str, str]] = {}
    for label, style in styles.items():
        kinds = (style["linestyle"], *(kind for kind in ("-", "--", "-.", ":") if kind != style["linestyle"]))
        candidates = [{**style, "linestyle": kind} for kind in kinds]
        found[label] = next((each for each in candidates if each not in found.values()), candidates[0])
    return found


def parameter_curves(
    axes: Axes, tables: Mapping[str, pd.DataFrame], baseline: str, colours: Mapping[str, str], quantity: str = "error"
) -> None:
    """Draw the error, or another quantity, over a parameter's values, which stand at equal distances.

    Args:
        axes: where to draw.
        tables: label of a curve to a table of :func:`labelreg.book.tables.against_baseline`, whose index holds the
            values of the parameter and, drawn as a dotted line, the baseline.
        baseline: its label in every index.
        colours: label to the curve's colour.
        quantity: a column of the tables; the error comes with the 95 % interval of its difference to the baseline.
    """
    for label, table in tables.items():
        values = table.drop(index=baseline)
        places = range(len(values))
        half_width = values.half_width if quantity == "error" else None
        style = {"color": colours[label], "markersize": 4, "capsize": 3}
        axes.errorbar(places, values[quantity], yerr=half_width, fmt="o-", label=label, **style)
        axes.axhline(table.loc[baseline, quantity], color=colours[label], linewidth=1, linestyle=":")
        axes.set_xticks(places, values.index)


def sensitivity(runs: pd.DataFrame, reference: float) -> Figure:
    """Draw a quantity over a grid of two parameters: as a heatmap of means, and as curves with standard deviations.

    Args:
        runs: one row per run; the columns are the first parameter, the second, and the quantity.
        reference: the baseline's value, drawn as a line.
    """
    first, second, quantity = runs.columns
    figure = Figure(figsize=(8.4, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    means = runs.pivot_table(index=first, columns=second, values=quantity)
    sns.heatmap(means, ax=left, cmap="viridis_r", annot=True, fmt=".1f", square=True, cbar_kws={"label": quantity})
    left.invert_yaxis()
    style = {"marker": "o", "markersize": 4, "palette": "plasma", "err_style": "bars", "errorbar": "sd"}
    sns.lineplot(runs, x=first, y=quantity, hue=runs[second].astype(str), ax=right, **style)
    right.axhline(reference, color="black", linewidth=1, linestyle=":", label="baseline")
    right.legend(title=second, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
