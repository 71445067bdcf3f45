"""Methods against a baseline, one column per setting."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from labelreg.book.figures.style import WIDTH, subplots


def difference_columns(tables: Mapping[str, pd.DataFrame], colours: Mapping[str, str], baseline: str) -> Figure:
    """Draw how far each method's error lies from the baseline's, in one column per setting: means, 95 % intervals.

    ``tables`` are those of :func:`labelreg.book.tables.recorded_against_baseline` by name of setting, and may lack
    methods; a circle without whiskers is a single run.
    """
    labels = [label for label in colours if label != baseline and any(label in each.index for each in tables.values())]
    figure, (grid,) = subplots(1, len(tables), WIDTH, 0.21 * len(labels) + 1.1, sharey=True)
    for axes, (setting, table) in zip(grid, tables.items(), strict=True):
        for place, label in enumerate(labels):
            if label in table.index:
                whisker = table.half_width[label]
                style = {
                    "color": colours[label],
                    "markersize": 4,
                    "markerfacecolor": None if whisker == whisker else "none",
                }
                axes.errorbar(table.difference[label], place, xerr=whisker, fmt="o", capsize=2, **style)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=setting, ylim=(len(labels) - 0.5, -0.5))
        axes.grid(axis="y", color="grey", alpha=0.2)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
    grid[0].set_yticks(range(len(labels)), labels)
    figure.supxlabel(f"test error minus that of {baseline.lower()}, percentage points")
    return figure
