"""Methods side by side: against each other, by rank, by cost, and over a quantity that was varied."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from labelreg.book.figures.style import TEXT, legend, name_rows, panels, subplots
from labelreg.reports.measures import critical_difference

MARKERS = dict(zip("osD", ("black", "#0072B2", "#D55E00"), strict=True))  # of the kinds of cost


def method_matrix(table: pd.DataFrame) -> Figure:
    """Draw every method against every other, the lowest mean first: blue where the row's error is the lower one.

    ``table`` is that of ``labelreg.reports.measures.against_each_other``; a number is written if the difference is
    significant at 5 %. Columns are numbered like the rows.
    """
    differences = table.difference.unstack()
    order = differences.mean(axis=1).sort_values().index
    differences, significant = (each.loc[order, order] for each in (differences, (table.p < 0.05).unstack()))
    written = differences.map(lambda each: f"{each:.1f}" if abs(each) < 9.95 else f"{each:.0f}")
    numbers = range(1, len(order) + 1)
    figure, (axes,) = panels(1, 0.24 * len(order) + 1.3)
    sns.heatmap(
        differences,
        annot=written.where(significant == True, ""),  # noqa: E712 (the diagonal is neither)
        fmt="",
        cmap="vlag",
        center=0,
        linewidths=0.5,
        annot_kws={"fontsize": TEXT},
        cbar_kws={"orientation": "horizontal", "aspect": 40, "label": "error of the row minus that of the column"},
        ax=axes,
    )
    axes.set_yticks(axes.get_yticks(), [f"{label}  {number}" for label, number in zip(order, numbers, strict=True)])
    axes.set_xticks(axes.get_xticks(), numbers, rotation=0)
    axes.tick_params(left=False, bottom=False, top=False, labelbottom=False, labeltop=True)
    axes.set(xlabel="", ylabel="")
    return figure


def rank_plot(ranks: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """Draw mean ranks, the best at the top, with half the critical difference to each side (Demsar, 2006).

    ``ranks`` are those of ``labelreg.reports.measures.ranks``. Methods whose whiskers do not overlap differ at 5 % in
    the Nemenyi test.
    """
    means = ranks.mean().sort_values()
    critical = critical_difference(*ranks.shape[::-1])
    figure, (axes,) = panels(1, 0.21 * len(means) + 0.9)
    for place, (label, mean) in enumerate(means.items()):
        axes.errorbar(mean, place, xerr=critical / 2, fmt="o", color=colours[label], capsize=3)
    name_rows(axes, means.index)
    axes.set_xlabel(f"mean rank over {len(ranks)} comparisons; critical difference {critical:.1f}")
    return figure


def error_against(
    cost: Mapping[str, float], errors: Mapping[str, float], colours: Mapping[str, str], xlabel: str
) -> Figure:
    """Draw the error, in percent, beside the cost of training, with the lowest error at the top.

    ``xlabel`` says what the cost is, such as operations as a multiple of cross-entropy's.
    """
    labels = sorted(errors, key=errors.get)
    figure, grid = panels(2, 0.21 * len(labels) + 0.9, sharey=True)
    for axes, values, name in zip(grid, (errors, cost), ("test error, %", xlabel), strict=True):
        for place, label in enumerate(labels):
            axes.plot(values[label], place, "o", color=colours[label])
        name_rows(axes, labels)
        axes.set_xlabel(name)
    grid[1].set_xscale("log")
    grid[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    grid[1].xaxis.set_major_formatter("{x:g}")
    grid[1].minorticks_off()
    return figure


def gain_curves(
    tables: Mapping[float, pd.DataFrame], styles: Mapping[str, Mapping[str, str]], baseline: str, xlabel: str
) -> Figure:
    """Draw how the difference to a baseline changes, with 95 % intervals; below zero is better.

    Args:
        tables: value of what was varied, such as a number of training samples, to a table such as that of
            :func:`~labelreg.book.tables.against_baseline`.
        styles: label to a line's keywords, as from :func:`.method_style`; these labels are drawn.
        xlabel: what was varied.
    """
    figure, (axes,) = panels(1, 3.6)
    places = np.arange(len(tables))
    offsets = np.linspace(-0.2, 0.2, len(styles)) if len(styles) > 1 else [0.0]  # so that intervals do not overlap
    for offset, (label, style) in zip(offsets, styles.items(), strict=True):
        rows = pd.DataFrame([table.loc[label] for table in tables.values()])
        whiskers = {"yerr": rows.half_width, "fmt": "o", "markersize": 4, "capsize": 2, "color": style["color"]}
        axes.plot(places + offset, rows.difference, alpha=0.4, **style)
        axes.errorbar(places + offset, rows.difference, label=label, **whiskers)
    axes.axhline(0, color="grey", linewidth=1)
    axes.set_xticks(places, [f"{place:g}" for place in tables])
    axes.set(xlabel=xlabel, ylabel=f"error minus {baseline.lower()}'s, points")
    legend(figure)
    return figure


def relative_costs(table: pd.DataFrame) -> Figure:
    """Draw costs as multiples of one method's, with a row per label of the index and a kind of dot per column."""
    figure, ((axes,),) = subplots(1, 1, 6.2, 0.25 * len(table) + 0.9)
    for offset, (marker, colour), (kind, values) in zip((-0.2, 0, 0.2), MARKERS.items(), table.items(), strict=True):
        places = [place + offset for place in range(len(table))]
        axes.plot(
            values, places, marker, color=colour, markerfacecolor=colour if marker == "o" else "white", label=kind
        )
    axes.axvline(1, color="grey", linewidth=0.8, zorder=0)
    name_rows(axes, table.index)
    axes.set_xlabel("as a multiple of cross-entropy's")
    figure.legend(loc="outside upper center", ncols=len(MARKERS))
    return figure


def growth(panels: Mapping[str, pd.DataFrame], styles: Mapping[str, Mapping[str, str]], x: str) -> Figure:
    """Draw quantities over a size, both on logarithmic axes, with one panel per quantity.

    ``panels`` maps the label of a y-axis to a table with a row per size and a column per label of ``styles``, which are
    keywords of lines.
    """
    figure, (grid,) = subplots(1, len(panels), 6.2, 2.7)
    for axes, (quantity, table) in zip(grid, panels.items(), strict=True):
        for label, values in table.items():
            axes.plot(table.index, values, marker="o", markersize=4, label=label, **styles[label])
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=quantity)
        axes.set_xticks(table.index, [f"{size:,}" for size in table.index])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(styles))
    return figure
