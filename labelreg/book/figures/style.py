"""The style of the book's figures, and figures with several axes."""

from typing import Any

import numpy as np
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


def subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Make a figure of a size in inches, with axes (rows, columns); options are those of ``Figure.subplots``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(count: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels of a size in inches, with at most ``columns`` side by side; see :func:`subplots`."""
    rows = -(-count // columns)
    columns = -(-count // rows)
    figure, grid = subplots(rows, columns, width * columns, height * rows, **options)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, [*grid.flat[:count]]
