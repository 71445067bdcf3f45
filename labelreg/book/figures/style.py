"""The style of the book's figures, and panels side by side."""

from __future__ import annotations

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def set_style() -> None:
    """Set the style of the book's figures: two spines, legends without a frame, a transparent background."""
    settings = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "figure.labelsize": "medium",
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 5.5,
    }
    sns.set_theme(context="paper", style="ticks", rc=settings)


def panels(count: int, columns: int, width: float, height: float, **options: bool) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels side by side.

    Args:
        count: number of panels.
        columns: panels per row, at most.
        width, height: of a panel, in inches.
        options: of :meth:`matplotlib.figure.Figure.subplots`, such as ``sharey=True``.

    Returns:
        The figure and its panels, row by row.
    """
    rows = -(-count // columns)
    columns = -(-count // rows)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = [*figure.subplots(rows, columns, squeeze=False, **options).flat]
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]
