"""The style of the book's figures and of methods in them, and the one place where figures are made.

A page of the book shows a figure about 350 pixels wide on a phone, and at its size in inches on a desktop. So that text
has at least 7 pixels on the phone, no text is smaller than ``TEXT`` and no figure is wider than ``WIDTH``: panels that
do not fit side by side are placed below.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from labelreg import methods
from labelreg.experiment import Experiment

TEXT = 9  # points
WIDTH = 6.1  # inches
TEXTS = ("font.size", "figure.titlesize", "figure.labelsize", "axes.titlesize", "axes.labelsize")
TEXTS += ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize")


def set_style() -> None:
    """Set the style of the book's figures: one size of text, two spines, no frames, transparent; SVG in a notebook."""
    settings = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 5.5,
        "savefig.pad_inches": 0.02,
    }
    sns.set_theme(context="paper", style="ticks", rc=settings | dict.fromkeys(TEXTS, TEXT))
    if InteractiveShell.initialized():
        set_matplotlib_formats("svg")


def subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Make a figure with axes (rows, columns); options are those of ``Figure.subplots``.

    The size is in inches, and the width at most that of a page.
    """
    figure = Figure(figsize=(min(width, WIDTH), height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(count: int, height: float = 2.7, columns: int | None = None, **options: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels of a height in inches, each as wide as one of the columns of a page.

    Without ``columns``, one panel takes the width of the page, and more are placed in two columns. Other options are
    those of ``Figure.subplots``.
    """
    columns = columns or min(count, 2)
    figure, grid = wrapped(1, count, columns, [height], **options)
    return figure, [*grid[0]]


def wrapped(rows: int, count: int, columns: int, heights: list[float], **options: Any) -> tuple[Figure, np.ndarray]:
    """Make a figure with axes (rows, count), wrapped like text: axes beyond the columns of a page are placed below.

    ``heights`` are those of the rows in inches. Axes next to each other in the array are also next to each other in the
    figure, unless the break is between them.
    """
    blocks = -(-count // columns)
    abreast = -(-count // blocks)
    size = (WIDTH * abreast / columns, blocks * sum(heights))
    figure, grid = subplots(blocks * rows, abreast, *size, height_ratios=heights * blocks, **options)
    grid = np.concatenate(np.split(grid, blocks), axis=1)
    for axes in grid[:, count:].flat:
        axes.remove()
    return figure, grid[:, :count]


def leftmost(line: Iterable[Axes]) -> list[Axes]:
    """Return the axes of a row of :func:`wrapped` that are at the left edge of the figure."""
    return [axes for axes in line if axes.get_subplotspec().is_first_col()]


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name the rows of a plot, at 0, 1, ... from the top, with lines across the plot instead of an axis."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", color="grey", alpha=0.2)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)


def legend(figure: Figure, handles: Mapping[str, Artist] | None = None, title: str | None = None) -> None:
    """Write a legend above a figure's panels, by default each label of its axes once, and enlarge the figure by it."""
    if handles is None:
        found = [axes.get_legend_handles_labels() for axes in figure.axes]
        handles = {label: handle for each in found for handle, label in zip(*each, strict=True)}
    style = {"loc": "outside upper center", "title": title, "borderaxespad": 0, "columnspacing": 1.2}
    for columns in range(len(handles), 0, -1):
        written = figure.legend(handles.values(), handles, ncols=columns, **style)
        if columns == 1 or written.get_tightbbox().width < figure.bbox.width:
            break
        written.remove()
    figure.set_figheight(figure.get_figheight() + written.get_tightbbox().height / figure.dpi)


def shades(count: int) -> list[tuple]:
    """Colours for ordered things, such as values of a parameter, from dark to light; no method has one of them."""
    return [*map(tuple, matplotlib.colormaps["plasma"](np.linspace(0, 0.6, count)))]


def hues(count: int) -> list[tuple]:
    """Colours for things without an order, such as classes; no method has one of them."""
    light, dark = (sns.husl_palette(count, l=lightness) for lightness in (0.6, 0.4))
    return [(light, dark)[place % 2][place] for place in range(count)]


def method_name(method: str) -> str:
    """Return the short name of a method, such as ``"KR"``."""
    return methods.find(method).title


def method_style(experiment: Experiment) -> dict[str, str]:
    """Return the colour and line style of an experiment's method, as keywords for a line.

    The line is dashed if label smoothing is added. For a method inside another, the line is dash-dotted and has the
    colour of the one that a paper of this book introduces.
    """
    options = dict(experiment.options)
    outer, inner = (methods.find(name) for name in (experiment.method, options.get("method") or "cross_entropy"))
    if inner is not methods.CrossEntropy:
        return {"color": (inner if inner.paper and not outer.paper else outer).colour, "linestyle": "-."}
    return {"color": outer.colour, "linestyle": "--" if options.get("smoothing", 0) > 0 else "-"}
