"""What a method is called and drawn in, and the map that places all methods."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from labelreg import methods
from labelreg.book.figures.style import WIDTH, panels
from labelreg.experiment import Experiment
from labelreg.methods import Method

TIMES = ("before training", "slowly, over epochs", "anew at every step")
# kinds of source from the bottom up, each with its tint and its sources
SOURCES = {
    ("no network", "#F3F2EE"): [
        "nobody's: the label stays one-hot",
        "the uniform distribution",
        "another sample's label",
    ],
    ("the network itself", "#E6F0F6"): [
        "its class mean over the wrong classes",
        "its prediction on another sample of the class",
        "its prediction on the clean sample, for noisy copies",
    ],
    ("another network", "#F9EFE2"): ["a network in training", "a finished network"],
}
# widths and heights in inches
LEFT, PILL, TEXT_LINE, PADDING = 1.72, 0.33, 0.16, 0.24
COLUMN = (WIDTH - LEFT) / len(TIMES)
BOLD = {"ha": "center", "va": "center", "weight": "bold"}


def method_name(method: str) -> str:
    """Return what a method is called where there is little room, such as ``"KR"``."""
    return methods.find(method).title


def method_style(experiment: Experiment) -> dict[str, str]:
    """Return the colour and line style of an experiment's method, as keywords for a line.

    The line is dashed where label smoothing is added. Of a method inside another, it has the colour of the one that a
    paper of this book introduces, and is dash-dotted.
    """
    options = dict(experiment.options)
    outer, inner = (methods.find(name) for name in (experiment.method, options.get("method") or "cross_entropy"))
    if inner is not methods.CrossEntropy:
        return {"color": (inner if inner.paper and not outer.paper else outer).colour, "linestyle": "-."}
    return {"color": outer.colour, "linestyle": "--" if options.get("smoothing", 0) > 0 else "-"}


def method_map() -> Figure:
    """Draw every method on one map: whose distribution softens the label, over when that distribution is known.

    Each method names its own place: a new source gets a row, and a time that is none of the three columns spans them
    all. The methods of the papers are filled and bold, the baselines outlined.
    """
    cells: dict[str, dict[str, list[type[Method]]]] = {}
    for method in map(methods.find, methods.names()):
        source, time = method.place
        if source:
            cells.setdefault(source, {}).setdefault(time, []).append(method)
    known = [source for sources in SOURCES.values() for source in sources]
    kinds = SOURCES | {("other", "#F4EDF6"): [source for source in cells if source not in known]}
    figure, (axes,) = panels(1)
    top = 0.0
    for (kind, tint), sources in kinds.items():
        bottom = top
        for source in sources:
            top = _draw_row(axes, top, source, cells.get(source, {}))
        if sources:
            axes.add_patch(Rectangle((0, bottom), WIDTH, top - bottom, color=tint, linewidth=0, zorder=0))
            axes.hlines(top, 0, WIDTH, color="white", linewidth=6)
            axes.text(0.14, (bottom + top) / 2, kind, rotation=90, **BOLD)
    for column, time in enumerate(TIMES):
        axes.text(LEFT + (column + 0.5) * COLUMN, top + 0.2, time, **BOLD)
    axes.text((LEFT + WIDTH) / 2, top + 0.45, "When is that distribution known?", ha="center")
    axes.text(LEFT - 0.08, top + 0.14, "Whose distribution\nsoftens the label?", ha="right")
    axes.set(xlim=(0, WIDTH), ylim=(0, top + 0.65))
    axes.axis("off")
    figure.set_figheight(top + 0.65)
    return figure


def _draw_row(axes: Axes, bottom: float, source: str, cells: dict[str, list[type[Method]]]) -> float:
    """Draw a source and its methods, and return where the row ends."""
    label = textwrap.fill(source, 20)
    columns = {time: (LEFT + COLUMN * position, COLUMN) for position, time in enumerate(TIMES)}
    spans = {time: columns.get(time, (LEFT, WIDTH - LEFT)) for time in cells}
    lines = {time: _lines(found, spans[time][1]) for time, found in cells.items()}
    broken = any("\n" in _title(method) for found in cells.values() for method in found)
    step = PILL + TEXT_LINE * broken
    top = bottom + PADDING + max(TEXT_LINE * (label.count("\n") + 1), step * max(map(len, lines.values()), default=0))
    middle = (bottom + top) / 2
    axes.text(LEFT - 0.08, middle, label, ha="right", va="center")
    for time, (start, width) in spans.items():
        for row, line in enumerate(lines[time]):
            for column, method in enumerate(line):
                y = middle + step * (row - (len(lines[time]) - 1) / 2)
                _draw_method(axes, method, start + width * (column + 0.5) / len(line), y)
    if set(cells) <= set(TIMES):
        axes.vlines(LEFT + COLUMN * np.arange(len(TIMES)), bottom, top, color="white", linewidth=1.5)
    axes.hlines(top, 0.3, WIDTH, color="white", linewidth=1.5)
    return top


def _lines(found: list[type[Method]], width: float) -> list[np.ndarray]:
    """Spread methods over as many lines as their names need."""
    needed = sum(0.3 + 0.068 * len(_title(method)) for method in found)
    return np.array_split(found, min(len(found), math.ceil(needed / width)))


def _title(method: type[Method]) -> str:
    return textwrap.fill(method.title, 20)


def _draw_method(axes: Axes, method: type[Method], x: float, y: float) -> None:
    """Write a method's name in a pill of its colour: filled for the five papers, outlined for the baselines."""
    luminance = np.dot((0.3, 0.59, 0.11), to_rgb(method.colour))
    filled = {"fontsize": 10.5, "weight": "bold", "color": "black" if luminance > 0.5 else "white"}
    outlined = {"color": "#222222"}
    style, fill = (filled, method.colour) if method.paper else (outlined, "white")
    pill = {"boxstyle": "round,pad=0.3,rounding_size=0.6", "edgecolor": method.colour, "linewidth": 1.6}
    axes.text(x, y, _title(method), ha="center", va="center", bbox=pill | {"facecolor": fill}, **style)
