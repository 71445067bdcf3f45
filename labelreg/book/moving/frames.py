"""Drawings that sliders lead through frames, all of which Python has computed."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from IPython.display import HTML
from matplotlib.image import imsave

from labelreg.book.figures import as_images
from labelreg.book.moving.markup import ink, path, piece, tag, text
from labelreg.book.toy_regression import DisturbedRegression
from labelreg.data import Dataset, Split
from labelreg.methods import NetworkAsRegularization

EPOCHS = 40  # that a training is shown at, at most
PART = {"data_part": ""}  # differs from frame to frame
ROUND = {"stroke_linecap": "round"}


def regression(dataset: Dataset, runs: Mapping[float, DisturbedRegression], start: tuple[int, int]) -> HTML:
    """Draw NaR's regression (figure 3) with sliders for the epoch and for lambda.

    The network's curve and the disturbed targets are means over runs, with three standard deviations.

    Args:
        runs: by lambda, all recorded at the same epochs.
        start: positions of the epoch and of the lambda that are drawn at first.
    """
    inputs, observed = (each.squeeze(1).numpy() for each in (dataset.train.inputs, dataset.train.targets))
    grid, true = (each.squeeze(1).numpy()[::5] for each in (dataset.test.inputs, dataset.test.targets))
    top = 1.5 * np.abs(observed).max()

    def places(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        down = 120 - 120 * (y / top).clip(-9, 9)
        return np.stack([np.interp(x, (grid[0], grid[-1]), (0, 320)), down], 1).round().astype(int)

    def frame(run: DisturbedRegression, epoch: int) -> list[str]:
        outputs, targets = (each[epoch].numpy() for each in (run.outputs[:, :, ::5], run.targets))
        low, curve, high = _three_deviations(outputs)
        band = np.concatenate([places(grid, low), places(grid, high)[::-1]])
        least, target, most = _three_deviations(targets)
        bars = np.stack([places(inputs, least), places(inputs, most)], 1)
        error = f"mean squared error {run.losses[epoch].mean():.0f}"
        return [
            f"{_line(band)}z",
            _line(places(grid, curve)),
            "".join(map(_line, bars)),
            _dots(places(inputs, target)),
            error,
        ]

    epochs = next(iter(runs.values())).epochs.tolist()
    frames = [[frame(run, epoch) for run in runs.values()] for epoch in range(len(epochs))]
    band, curve, bars, targets, error = frames[start[0]][start[1]]
    nar = ink(NetworkAsRegularization.colour)
    styles = [
        ("y = x³", {"stroke_dasharray": "4 4"}),
        ("network", {"colour": nar, "width": 2.5}),
        ("observed", {"width": 4, **ROUND}),
        ("disturbed target", {"width": 8, "opacity": 0.5, **ROUND}),
    ]
    (_, truth), (_, fitted), (_, dots), (_, moved) = styles
    field = [
        path(_line(places(grid, true)), **truth),
        path(band, "none", fill=nar, fill_opacity=0.25, **PART),
        path(curve, **fitted, **PART),
        path(bars, width=3, opacity=0.35, **PART),
        path(targets, **moved, **PART),
        path(_dots(places(inputs, observed)), **dots),
    ]
    drawn = [tag("svg", *field, x=34, width=320, height=240, viewBox="0 0 320 240"), path("M34 0V240H354")]
    drawn.append(text(error, 44, 16, **PART))
    drawn += [
        text(f"{x}", 34 + place, 256, "middle") for x in (-4, -2, 0, 2, 4) for place, _ in places([x], np.zeros(1))
    ]
    drawn += [text(f"{y}", 28, 4 + place, "end") for y in (-40, 0, 40) for _, place in places([0], np.array([y]))]
    for x, (name, style) in zip((0, 72, 152, 232), styles, strict=True):
        line = "h0" if "stroke_linecap" in style else "h16"
        drawn += [path(f"M{x + 2} 284{line}", **style), text(name, x + (10 if line == "h0" else 22), 288)]
    sliders = {"epoch": epochs, "λ": [*runs]}
    return _sliding("NaR on a regression", sliders, start, frames, tag("svg", *drawn, viewBox="0 0 360 292"))


def label_history(
    sample: Split, histories: Mapping[str, Any], colours: Mapping[str, str], classes: Sequence[str]
) -> HTML:
    """Draw the labels of one image as bars over the K classes, with a slider for the epoch.

    Args:
        sample: a split of one image.
        histories: labels (epochs, K), or (K,) where they never change, by the name of the method.
        colours: by the name of the method.
    """
    target = sample.targets.item()
    found = [np.asarray(each) for each in histories.values()]
    length = max(len(each) for each in found if each.ndim == 2)
    shown = np.unique(np.linspace(0, length - 1, EPOCHS).round().astype(int))
    labels = [np.broadcast_to(each, (length, len(classes)))[shown] for each in found]
    pitch = 240 / len(classes)
    middles = (115 + pitch * (np.arange(len(classes)) + 0.5)).round(1).tolist()
    floors = [48 + 60 * row for row in range(len(labels))]

    def frame(epoch: int) -> list[str]:
        return [
            part
            for floor, label in zip(floors, labels, strict=True)
            for part in (
                "".join(f"M{x} {floor}v{-44 * share:.1f}" for x, share in zip(middles, label[epoch], strict=True)),
                f"{classes[target]}: {label[epoch, target]:.2f}",
            )
        ]

    frames = [frame(epoch) for epoch in range(len(shown))]
    parts = iter(frames[0])
    drawn = []
    for floor, name in zip(floors, histories, strict=True):
        drawn.append(text(name, 0, floor - 26, font_weight="bold"))
        drawn.append(path(next(parts), colours[name], round(0.75 * pitch, 1), **PART))
        drawn.append(text(next(parts), 0, floor - 8, **PART))
        drawn.append(path(f"M115 {floor}h240"))
    few = range(len(classes)) if len(classes) <= 12 else (target,)
    for each in few:
        weight = {"font_weight": "bold"} if each == target else {}
        drawn.append(text(classes[each], middles[each], floors[-1] + 16, "middle", **weight))
    file = BytesIO()
    imsave(file, as_images(sample.inputs)[0], cmap="gray_r", format="png")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    photograph = tag("image", href=source, width=10, height=10, style="image-rendering: pixelated")
    photograph = tag("svg", photograph, viewBox="0 0 10 10", class_="photograph")
    drawing = tag("svg", *drawn, viewBox=f"0 0 360 {floors[-1] + 22}")
    sliders = {"epoch": (shown + 1).tolist()}
    return _sliding("Labels of one image over training", sliders, (0,), frames, drawing, photograph)


def _sliding(
    name: str,
    sliders: Mapping[str, Sequence[Any]],
    start: Sequence[int],
    frames: Sequence[Any],
    drawing: str,
    *beside: str,
) -> HTML:
    """Return a drawing with sliders by name, each with its values; frames are nested in the order of the sliders."""
    controls = [*beside]
    for (label, values), first in zip(sliders.items(), start, strict=True):
        moved = tag("input", type="range", min=0, max=len(values) - 1, value=first, aria_label=label)
        controls.append(tag("label", label, moved, tag("output", str(values[first]))))
    data = {"values": [*sliders.values()], "frames": frames}
    return piece("frames", name, data, drawing, tag("div", *controls, class_="controls"))


def _three_deviations(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three standard deviations below, the mean and three above, each (N,), of runs (R, N)."""
    mean, spread = runs.mean(0), 3 * runs.std(0, ddof=1)
    return mean - spread, mean, mean + spread


def _line(places: np.ndarray) -> str:
    """A path through places (n, 2)."""
    return "M" + "L".join(f"{x} {y}" for x, y in places)


def _dots(places: np.ndarray) -> str:
    return "".join(f"M{x} {y}h0" for x, y in places)
