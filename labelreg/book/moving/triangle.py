"""A prediction among three classes, and what hard, soft and residual labels ask of it."""

from collections.abc import Sequence

import numpy as np
import torch
from IPython.display import HTML
from torch import Tensor

from labelreg.book.moving.markup import HAS_KEYS, ink, path, piece, tag, text
from labelreg.losses import soft_cross_entropy
from labelreg.methods import CrossEntropy, KnowledgeDistillation, KnowledgeRefinery
from labelreg.methods.alr import residual_losses

# in units of the drawing: the corners, where bars begin, and the length of a push of 1
CORNERS = ((180, 30), (30, 290), (330, 290))
ZERO, SCALE = 190, 110
RATE = 5.0  # an arrow leads to where a step on the logits with this learning rate would
LEAST = 0.01  # the smallest share
COLOURS = [ink(method.colour) for method in (CrossEntropy, KnowledgeDistillation, KnowledgeRefinery)]


def label_triangle(classes: Sequence[str], prediction: Sequence[float], soft: Sequence[float]) -> HTML:
    """Draw a prediction that can be dragged in a triangle, and how each label pushes the logits (ALR, section 1).

    Args:
        classes: names of the three classes; the sample is of the first.
        prediction, soft: probabilities (3,), the network's at the start, and those of the soft label.
    """
    pushes = label_pushes(prediction, soft)
    data = {"corners": CORNERS, "classes": classes, "soft": soft, "scale": SCALE, "rate": RATE, "least": LEAST}
    field, bars = _field(classes, prediction, soft, [*pushes.values()]), _bars(classes, pushes)
    return piece("triangle", "A prediction, and how labels push it", data, field, bars)


def label_pushes(prediction: Sequence[float], soft: Sequence[float]) -> dict[str, Tensor]:
    """Return the push on the logits, minus the gradient (3,), by kind of label; the sample is of the first class."""
    logits = torch.tensor([prediction]).log().requires_grad_()
    target, label = torch.tensor([0]), torch.tensor([soft])
    losses = {
        "hard label": soft_cross_entropy(logits, target),
        "soft label": soft_cross_entropy(logits, label),
        "residual label": residual_losses(logits, target, label.log().expand(3, 3))[0],
    }
    return {name: -torch.autograd.grad(loss, logits)[0][0] for name, loss in losses.items()}


def _field(classes: Sequence[str], prediction: Sequence[float], soft: Sequence[float], pushes: Sequence[Tensor]) -> str:
    """The triangle: its corners, the soft label, the prediction to drag, and the arrows."""
    (x, y), (soft_x, soft_y) = (np.array([prediction, soft]) @ CORNERS).round(2)
    drawn = [tag("polygon", points=" ".join(f"{x},{y}" for x, y in CORNERS), fill="transparent", stroke="currentColor")]
    for name, (corner, height), offset in zip(classes, CORNERS, (-8, 16, 16), strict=True):
        drawn.append(text(name, corner, height + offset, "middle"))
    drawn.append(tag("path", d=f"M{soft_x} {soft_y - 7}l7 7l-7 7l-7 -7z", fill=COLOURS[1], opacity=0.5))
    drawn.append(text("soft label", soft_x + 12, soft_y + 10, style=f"fill: {COLOURS[1]}"))
    state = {"valuemin": 0, "valuemax": 100, "valuenow": round(100 * prediction[0]), "label": "the prediction"}
    state["valuetext"] = ", ".join(f"{name} {share:.2f}" for name, share in zip(classes, prediction, strict=True))
    handle = {"role": "slider", "tabindex": 0, "data_prediction": [*prediction], "transform": f"translate({x} {y})"}
    handle |= {f"aria_{name}": value for name, value in state.items()}
    circles = [
        tag("circle", r=22, fill="transparent"),
        tag("circle", r=14, class_="ring"),
        tag("circle", r=9, class_="knob"),
    ]
    drawn.append(tag("g", *circles, **handle, **HAS_KEYS))
    head = {"viewBox": "0 0 8 8", "refX": 6, "refY": 4, "orient": "auto", "markerWidth": 9, "markerHeight": 9}
    for row, (push, colour) in enumerate(zip(pushes, COLOURS, strict=True)):
        stepped = torch.softmax(torch.tensor(prediction).log() + RATE * push, 0)
        right, down = (stepped.numpy() @ CORNERS).round(2)
        name, arrow = f"labelreg-head-{row}", tag("path", d="M0 0L8 4L0 8z", fill=colour)
        drawn.append(tag("marker", arrow, id=name, markerUnits="userSpaceOnUse", **head))
        line = {"x1": x, "y1": y, "x2": right, "y2": down, "marker_end": f"url(#{name})"}
        drawn.append(tag("line", class_="arrow", stroke=colour, **line))
    return tag("svg", *drawn, viewBox="0 0 360 312")


def _bars(classes: Sequence[str], pushes: dict[str, Tensor]) -> str:
    """The pushes on the logits, as bars to both sides of zero and as numbers."""
    drawn = []
    for row, ((label, push), colour) in enumerate(zip(pushes.items(), COLOURS, strict=True)):
        top = 104 * row + 14
        drawn.append(text(label, 0, top, font_weight="bold", style=f"fill: {colour}"))
        for line, (name, value) in enumerate(zip(classes, push.tolist(), strict=True)):
            y = top + 20 + 22 * line
            drawn.append(text(name, 60, y + 4, "end"))
            bar = {"x1": ZERO, "x2": ZERO + SCALE * value, "y1": y, "y2": y}
            drawn.append(tag("line", class_="bar", stroke=colour, **bar))
            drawn.append(text(_signed(value), 358, y + 4, "end", class_="number"))
        drawn.append(path(f"M{ZERO} {top + 9}v66"))
    return tag("svg", *drawn, viewBox="0 0 360 312")


def _signed(value: float) -> str:
    """Write a number with its sign, and 0 without one."""
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"
