"""What training costs: method against method, and how it grows."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from labelreg.book.figures.style import subplots

MARKERS = dict(zip("osD", ("black", "#0072B2", "#D55E00"), strict=True))


def relative_costs(table: pd.DataFrame) -> Figure:
    """Draw costs as multiples of one method's: a row per label of the index, a kind of dot per column."""
    figure, ((axes,),) = subplots(1, 1, 6.2, 0.25 * len(table) + 0.9)
    for offset, (marker, colour), (kind, values) in zip((-0.2, 0, 0.2), MARKERS.items(), table.items(), strict=True):
        places = [place + offset for place in range(len(table))]
        axes.plot(
            values, places, marker, color=colour, markerfacecolor=colour if marker == "o" else "white", label=kind
        )
    axes.axvline(1, color="grey", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(table)), table.index)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="as a multiple of cross-entropy's")
    axes.grid(axis="y", color="#EEEEEE")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(loc="outside upper center", ncols=len(MARKERS))
    return figure


def growth(panels: Mapping[str, pd.DataFrame], styles: Mapping[str, Mapping[str, str]], x: str) -> Figure:
    """Draw quantities over a size, both logarithmic, one panel per quantity.

    ``panels`` has a table per label of the y-axis, with a row per size and a column per label of ``styles``, which are
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
