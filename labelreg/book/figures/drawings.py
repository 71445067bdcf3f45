"""A drawing of each paper's method, which opens its chapter.

All use the same shapes: a cat for a sample, boxes for networks, and bars for distributions over four classes, which are
computed by the method's code from made-up logits. A thin arrow is a computation. A thick arrow is a loss, which moves
what it points at and has no gradient for where it starts. Places and sizes are in inches.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.transforms import Affine2D
from scipy.special import softmax

from labelreg import methods
from labelreg.book.figures.style import WIDTH, panels, set_style
from labelreg.methods.alr import residual_labels, residual_probabilities
from labelreg.methods.kr import decayed_weight
from labelreg.methods.nar import disturb
from labelreg.names import unknown

CLASSES = ("cat", "dog", "fox", "car")
CELL, TALL = 0.28, 0.75  # width of a class, height of a probability of 1
GREY = "#666666"
HARD = np.eye(4)[0]
Place = tuple[float, float]


def drawing(paper: str) -> Figure:
    """Draw the method of a paper, such as ``"kr"``, in the style of the book: a chapter begins with it."""
    if paper not in DRAWINGS:
        raise unknown("drawing", paper, DRAWINGS)
    set_style()
    height, draw = DRAWINGS[paper]
    figure, (axes,) = panels(1, height)
    axes.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
    axes.axis("off")
    (colour,) = (found.colour for found in map(methods.find, methods.names()) if found.paper == paper)
    draw(axes, colour)
    _arrow(axes, (0.05, 0.1), (0.4, 0.1))
    _write(axes, (0.5, 0.1), "computes", ha="left")
    _loss(axes, (1.5, 0.1), (2.0, 0.1), colour)
    _write(axes, (2.1, 0.1), "loss: moves what it points at, not where it starts", ha="left")
    return figure


def _nar(axes: Axes, colour: str) -> None:
    lam, alpha = 0.5, 0.1
    target, auxiliary = softmax([3.0, 1.5, 1.0, -1.0]), softmax([1.1, 0.9, 0.5, -0.6])
    label = disturb(*map(torch.from_numpy, (target, auxiliary, HARD)), lam, alpha).numpy()
    _cat(axes, (0.3, 2.05), colour)
    rows = ((2.45, "target\nnetwork", target, r"$\mathbf{p}_\theta$", colour),)
    rows += ((0.75, "auxiliary\nnetwork", auxiliary, r"$\mathbf{p}_w$", GREY),)
    for y, network, prediction, name, shade in rows:
        _arrow(axes, (0.55, 2.1 if y > 2 else 1.8), (0.82, y + (0.25 if y > 2 else 0.5)))
        _box(axes, (0.85, y + 0.1), (0.9, 0.55), network)
        _arrow(axes, (1.8, y + 0.38), (2.15, y + 0.38))
        _bars(axes, (2.25, y), prediction, shade)
        _write(axes, (3.0, y + 0.6), name, fontsize=12)
    _bars(axes, (4.75, 0.75), HARD, "black")
    _write(axes, (5.4, 1.2), r"label $\mathbf{y}$")
    # the target network's share of the disturbed label is stacked on the auxiliary's, and that on the hard label's
    shares = ((label, colour), (label - lam * alpha * target, GREY), ((1 - lam) * HARD, "black"))
    for share, shade in shares:
        _bars(axes, (4.75, 2.45), share, shade, named=shade == colour)
    _write(axes, (5.4, 2.95), "disturbed\n" + r"label $\tilde{\mathbf{y}}$")
    _arrow(axes, (5.31, 1.4), (5.31, 2.2))
    _write(axes, (5.38, 1.8), r"$\times\,(1-\lambda)$", ha="left")
    _arrow(axes, (3.1, 1.45), (4.65, 2.4))
    _write(axes, (4.0, 1.75), r"$\times\,\lambda(1-\alpha)$", ha="left")
    _arrow(axes, (2.5, 3.15), (4.85, 3.15), -0.2)
    _write(axes, (3.7, 3.52), r"$\times\,\lambda\alpha$")
    _loss(axes, (4.65, 2.68), (3.5, 2.68), colour)
    _write(axes, (4.08, 2.86), r"$H(\tilde{\mathbf{y}}, \mathbf{p}_\theta)$", fontsize=11)
    _loss(axes, (4.65, 0.95), (3.5, 0.95), "black")
    _write(axes, (4.08, 1.13), r"$H(\mathbf{y}, \mathbf{p}_w)$", fontsize=11)


def _decoupled(axes: Axes, colour: str, weights: Mapping[str, np.ndarray]) -> None:
    """Draw what ALR and KR share, and the weights (epochs,) of the losses with the residual label, by name."""
    logits = torch.tensor([[3.0, 1.5, 0.9, -0.9]])
    matrix = torch.tensor([[0.0, 1.0, 0.9, -0.3], [1.1, 0.0, 1.0, -0.5], [0.8, 1.2, 0.0, 0.0], [0.2, 0.1, -0.1, 0.0]])
    _cat(axes, (0.3, 3.35), colour)
    _arrow(axes, (0.6, 3.33), (0.8, 3.33))
    _box(axes, (0.85, 3.05), (0.8, 0.55), "network")
    _arrow(axes, (1.7, 3.33), (1.9, 3.33))
    _bars(axes, (1.98, 2.95), logits.softmax(1).numpy(), GREY)
    _write(axes, (2.75, 3.55), r"$\mathbf{p}$", fontsize=12)
    _bars(axes, (4.45, 2.95), HARD, "black")
    _write(axes, (5.12, 3.4), "hard label")
    _loss(axes, (4.35, 3.15), (3.2, 3.15), "black")
    _write(axes, (3.78, 3.33), "hard loss")
    _arrow(axes, (2.68, 2.7), (2.68, 2.3))
    _write(axes, (2.6, 2.5), "without\nthe right class", ha="right")
    _bars(axes, (1.98, 1.6), residual_probabilities(logits, torch.tensor([0])).numpy(), GREY)
    _write(axes, (1.9, 1.75), r"$\mathbf{p}^{res}$", ha="right", fontsize=12)
    labels = residual_labels(matrix).numpy()
    _bars(axes, (4.45, 1.6), labels[0], colour)
    _write(axes, (5.12, 2.3), "residual label")
    _loss(axes, (4.35, 2.05), (3.2, 2.05), colour, 0.15)
    _write(axes, (3.78, 2.32), "residual loss")
    _loss(axes, (3.2, 1.75), (4.35, 1.75), colour, 0.15)
    _write(axes, (3.78, 1.5), "update loss")
    shown = np.ma.masked_equal(labels, 0)
    fading = LinearSegmentedColormap.from_list("fading", [to_rgba(colour, 0.05), colour])
    axes.imshow(shown, fading, vmin=0, vmax=0.6, extent=(4.45, 4.45 + 4 * CELL, 0.4, 1.28), aspect="equal")
    axes.add_patch(Rectangle((4.45, 1.06), 4 * CELL, 0.22, facecolor="none", edgecolor="black", linewidth=1.2))
    for row, name in enumerate(CLASSES):
        _write(axes, (4.38, 1.17 - 0.22 * row), name, ha="right")
    _write(axes, (5.75, 0.7), r"$\mathbf{S}$", fontsize=11)
    _arrow(axes, (5.62, 1.17), (5.62, 1.75), 0.5)
    _write(axes, (6.0, 1.46), "softmax", rotation=90)
    curves = axes.inset_axes((0.7, 0.62, 2.4, 0.55), transform=axes.transData)
    for name, values in weights.items():
        curves.plot(values, color=colour)
        curves.text(80, values[80] + 0.05, name, va="bottom")
    curves.set(xticks=[0, 100, 200], yticks=[0, 1], ylim=(0, 1.1), ylabel="weight")
    curves.text(1.03, 0, "epoch", transform=curves.transAxes)


def _cskd(axes: Axes, colour: str) -> None:
    rows = (("another cat,\naugmented", GREY, -20, [1.9, 0.4, 0.9, -0.9], GREY),)
    rows += (("this cat,\naugmented", colour, 25, [1.1, 0.8, 0.5, -0.4], colour),)
    rows += (("this cat\n", colour, 0, [1.6, 0.9, 0.2, -0.6], GREY),)
    _box(axes, (1.25, 0.5), (0.8, 3.0), "one\nnetwork")
    for y, (name, fur, tilt, logits, shade) in zip((2.75, 1.6, 0.5), rows, strict=True):
        _cat(axes, (0.5, y + 0.45), fur, tilt)
        _write(axes, (0.5, y - 0.02), name)
        _arrow(axes, (0.85, y + 0.38), (1.2, y + 0.38))
        _arrow(axes, (2.1, y + 0.38), (2.4, y + 0.38))
        _bars(axes, (2.5, y), softmax(logits), shade)
    _write(axes, (3.06, 3.6), r"predictions at $T = 4$")
    _loss(axes, (3.75, 3.0), (3.75, 2.1), colour, -0.4)
    _write(axes, (4.05, 2.6), "class-wise\nloss", ha="left")
    _loss(axes, (3.75, 0.8), (3.75, 1.7), colour, 0.4)
    _write(axes, (4.05, 1.2), "sample-wise\nloss", ha="left")
    _bars(axes, (4.9, 1.6), HARD, "black")
    _write(axes, (5.55, 2.1), "hard label")
    _loss(axes, (4.8, 1.9), (3.85, 1.9), "black")
    _write(axes, (4.4, 2.07), "hard loss")
    _write(axes, (4.4, 1.72), "at $T = 1$")


def _sba(axes: Axes, colour: str) -> None:
    point = np.array([1.0, 0.75])
    noisy = point + np.array([[0.2, 0.1], [-0.18, 0.16], [0.08, -0.22], [-0.14, -0.14]])
    dropped = point * np.array([[1, 0], [0, 1], [0, 0], [1, 1]])
    weight = np.array([[2.2, 1.2], [-0.6, 1.3], [0.8, -0.3], [-1.0, -1.0]])
    clean, *virtual = (softmax(weight @ each) for each in (point, *noisy, *dropped))
    _cat(axes, (0.3, 2.65), colour)
    _arrow(axes, (0.6, 2.63), (0.8, 2.63))
    _box(axes, (0.85, 2.35), (0.75, 0.55), "layers\nbelow")
    _arrow(axes, (1.65, 2.63), (1.9, 2.63))
    corner = np.array([2.05, 2.0])
    for end in ((3.4, 2.0), (2.05, 3.2)):
        _arrow(axes, (2.05, 2.0), end)
    _write(axes, (2.7, 1.85), "activation 1")
    _write(axes, (1.9, 3.35), "activation 2", ha="left")
    kinds = (("clean", point, "*", "black"), ("noise", noisy, "o", colour), ("dropout", dropped, "X", colour))
    for row, (name, places, marker, shade) in enumerate(kinds):
        here = (2.15, 1.4 - 0.22 * row)
        size = {"markersize": 11, "zorder": 3} if marker == "*" else {"markersize": 6}
        axes.plot(*np.vstack((corner + places, here)).T, marker, color=shade, **size)
        _write(axes, (2.3, here[1]), name, ha="left")
    _write(axes, (2.05, 0.6), "virtual points, in a\nrandom half of the steps", ha="left")
    _arrow(axes, (3.45, 2.63), (3.65, 2.63))
    _box(axes, (3.7, 2.35), (0.7, 0.55), "layers\nabove")
    _arrow(axes, (4.45, 2.63), (4.7, 2.63))
    _arrow(axes, (4.3, 2.3), (4.7, 1.4))
    for y, values, shade, name in (
        (3.7, HARD, "black", "hard label"),
        (2.3, clean, GREY, "clean"),
        (0.75, np.stack(virtual, 1), colour, "virtual points"),
    ):
        _bars(axes, (4.85, y), values, shade)
        _write(axes, (5.58, y + 0.65), name)
    _loss(axes, (5.4, 3.5), (5.4, 3.1), "black")
    _write(axes, (5.5, 3.3), "hard loss", ha="left")
    _loss(axes, (5.4, 2.05), (5.4, 1.55), colour)
    _write(axes, (5.5, 1.8), r"$\eta\,\times$ KL", ha="left")


def _write(axes: Axes, place: Place, text: str, **style) -> None:
    axes.text(*place, text, **{"ha": "center", "va": "center"} | style)


def _box(axes: Axes, corner: Place, size: Place, text: str) -> None:
    """Draw a network, its lower left corner at a place."""
    shape = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": "none", "edgecolor": "black", "linewidth": 1.2}
    axes.add_patch(FancyBboxPatch(corner, *size, **shape))
    _write(axes, (corner[0] + size[0] / 2, corner[1] + size[1] / 2), text)


def _bars(axes: Axes, corner: Place, values: np.ndarray, colour: str, named: bool = True) -> None:
    """Draw distributions (4,) or (4, N) over the classes, the N side by side, upwards from a corner."""
    values = np.reshape(values, (len(CLASSES), -1))
    width = 0.8 * CELL / values.shape[1]
    starts = corner[0] + CELL * (np.arange(len(CLASSES))[:, None] + 0.1) + width * np.arange(values.shape[1])
    axes.bar(starts.ravel(), TALL * values.ravel(), width, corner[1], align="edge", color=colour, linewidth=0)
    if named:
        axes.hlines(corner[1], corner[0], corner[0] + CELL * len(CLASSES), color="black", linewidth=1)
        for place, name in enumerate(CLASSES):
            _write(axes, (corner[0] + CELL * (place + 0.5), corner[1] - 0.11), name)


def _arrow(axes: Axes, start: Place, end: Place, bend: float = 0.0, **style) -> None:
    style = {"arrowstyle": "->", "mutation_scale": 9, "linewidth": 1, "color": GREY, "shrinkA": 0, "shrinkB": 0} | style
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style))


def _loss(axes: Axes, start: Place, end: Place, colour: str, bend: float = 0.0) -> None:
    thick = {"arrowstyle": "]->,widthA=0.5,lengthA=0", "mutation_scale": 11, "linewidth": 2.5, "capstyle": "butt"}
    _arrow(axes, start, end, bend, color=colour, **thick)


def _cat(axes: Axes, centre: Place, colour: str, tilt: float = 0.0) -> None:
    """Draw the head of a cat, tilted by degrees."""
    move = Affine2D().scale(0.22).rotate_deg(tilt).translate(*centre) + axes.transData
    for side in (-1, 1):
        ear = [(0.95 * side, 0.2), (0.9 * side, 1.25), (0.2 * side, 0.75)]
        axes.add_patch(Polygon(ear, facecolor=colour, transform=move))
    axes.add_patch(Ellipse((0, 0), 2.1, 1.8, facecolor=colour, transform=move))
    for side in (-1, 1):
        axes.add_patch(Ellipse((0.42 * side, 0.15), 0.28, 0.4, facecolor="white", transform=move))
        for height in (-0.15, -0.4):
            whisker = ([0.3 * side, 1.35 * side], [-0.3, height])
            axes.plot(*whisker, color="white", linewidth=0.8, transform=move)
    axes.add_patch(Polygon([(-0.13, -0.12), (0.13, -0.12), (0, -0.3)], facecolor="white", transform=move))


ACCURACY = 0.97 * (1 - np.exp(-np.arange(200) / 45))  # like that of a network in training
ALR_WEIGHTS = {"update loss: 1": np.ones(200), r"residual loss: $1 - \mu$": 1 - ACCURACY}
KR_WEIGHTS = {r"both: $\alpha = \gamma^t$": np.array([decayed_weight(epoch, 0.99) for epoch in range(200)])}
DRAWINGS: dict[str, tuple[float, Callable[[Axes, str], None]]] = {
    "nar": (3.7, _nar),
    "alr": (3.85, partial(_decoupled, weights=ALR_WEIGHTS)),
    "kr": (3.85, partial(_decoupled, weights=KR_WEIGHTS)),
    "cskd": (3.75, _cskd),
    "sba": (4.6, _sba),
}
