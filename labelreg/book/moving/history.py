"""The label of one image over training."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from IPython.display import HTML
from matplotlib.image import imsave

from labelreg.book.figures import as_images
from labelreg.book.moving.markup import PART, path, sliding, tag, text
from labelreg.data import Split

EPOCHS = 40  # the most epochs of a training that are shown
# in units of the drawing: where bars begin, the width of all bars, the height of a bar of 1, the distance between rows
LEFT, WIDTH, HEIGHT, PITCH = 115, 240, 44, 60


def label_history(
    sample: Split, histories: Mapping[str, Any], colours: Mapping[str, str], classes: Sequence[str]
) -> HTML:
    """Draw the labels of one image as bars over the K classes, with a slider for the epoch.

    Args:
        sample: a split of one image.
        histories: name of the method to its labels (epochs, K), or (K,) if they never change.
        colours: name of the method to its colour.
    """
    target = sample.targets.item()
    found = [np.asarray(each) for each in histories.values()]
    length = max(len(each) for each in found if each.ndim == 2)
    shown = np.unique(np.linspace(0, length - 1, EPOCHS).round().astype(int))
    labels = [np.broadcast_to(each, (length, len(classes)))[shown] for each in found]
    middles = (LEFT + WIDTH * (np.arange(len(classes)) + 0.5) / len(classes)).round(1).tolist()
    floors = [48 + PITCH * row for row in range(len(labels))]

    def frame(epoch: int) -> list[str]:
        parts = []
        for floor, label in zip(floors, labels, strict=True):
            bars = (f"M{x} {floor}v{-HEIGHT * share:.1f}" for x, share in zip(middles, label[epoch], strict=True))
            parts += ["".join(bars), f"{classes[target]}: {label[epoch, target]:.2f}"]
        return parts

    frames = [frame(epoch) for epoch in range(len(shown))]
    drawn = []
    for row, (floor, name) in enumerate(zip(floors, histories, strict=True)):
        bars, share = frames[0][2 * row : 2 * row + 2]
        drawn.append(text(name, 0, floor - 26, font_weight="bold"))
        drawn.append(path(bars, colours[name], round(0.75 * WIDTH / len(classes), 1), **PART))
        drawn.append(text(share, 0, floor - 8, data_part=name))
        drawn.append(path(f"M{LEFT} {floor}h{WIDTH}"))
    for each in range(len(classes)) if len(classes) <= 12 else [target]:
        weight = "bold" if each == target else "normal"
        drawn.append(text(classes[each], middles[each], floors[-1] + 16, "middle", font_weight=weight))
    drawing = tag("svg", *drawn, viewBox=f"0 0 360 {floors[-1] + 22}")
    epochs = {"epoch": (shown + 1).tolist()}
    return sliding("Labels of one image over training", epochs, (0,), frames, drawing, _photograph(sample))


def _photograph(sample: Split) -> str:
    file = BytesIO()
    imsave(file, as_images(sample.inputs)[0], cmap="gray_r", format="png")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    image = tag("image", href=source, width=10, height=10, style="image-rendering: pixelated")
    return tag("svg", image, viewBox="0 0 10 10", class_="photograph")
