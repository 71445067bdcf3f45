"""NaR's regression over epochs and lambda."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from IPython.display import HTML
from torch import Tensor

from labelreg.book.moving.markup import PART, ink, path, sliding, tag, text
from labelreg.book.toy_regression import DisturbedRegression
from labelreg.data import Dataset
from labelreg.methods import NetworkAsRegularization

Places = Callable[[np.ndarray], np.ndarray]  # from heights (n,) to places in the field, (n, 2)

LEFT, WIDTH, HEIGHT = 34, 320, 240  # of the field, in units of the drawing
POINTS = 41  # of a curve
COLOUR = ink(NetworkAsRegularization.colour)
TRUE = {"stroke_dasharray": "4 4"}
CURVE = {"colour": COLOUR, "width": 2.5}
OBSERVED = {"width": 4, "stroke_linecap": "round"}
DISTURBED = {"width": 8, "stroke_linecap": "round", "opacity": 0.5}


def regression(dataset: Dataset, runs: Mapping[float, DisturbedRegression], start: tuple[int, int]) -> HTML:
    """Draw NaR's regression (figure 3) with sliders for the epoch and for lambda.

    The network's curve and the disturbed targets are means over runs, with three standard deviations.

    Args:
        runs: the runs by lambda, all recorded at the same epochs.
        start: positions of the epoch and of the lambda that are drawn first.
    """
    inputs, observed = (each.squeeze(1).numpy() for each in (dataset.train.inputs, dataset.train.targets))
    shown = np.linspace(0, len(dataset.test) - 1, POINTS).round().astype(int)
    grid, true = (each.squeeze(1).numpy()[shown] for each in (dataset.test.inputs, dataset.test.targets))
    places = partial(_places, reach=(np.abs(grid).max(), 1.5 * np.abs(observed).max()))
    at_points, on_curve = (partial(places, each) for each in (inputs, grid))
    epochs = next(iter(runs.values())).epochs.tolist()
    frames = [
        [
            _frame(on_curve, run.outputs[epoch][:, shown], at_points, run.targets[epoch], run.losses[epoch].mean())
            for run in runs.values()
        ]
        for epoch in range(len(epochs))
    ]
    band, curve, bars, targets, error = frames[start[0]][start[1]]
    field = [
        path(_line(on_curve(true)), **TRUE),
        path(band, "none", fill=COLOUR, fill_opacity=0.25, **PART),
        path(curve, **CURVE, **PART),
        path(bars, width=3, opacity=0.35, **PART),
        path(targets, **DISTURBED, **PART),
        path(_dots(at_points(observed)), **OBSERVED),
    ]
    box = {"x": LEFT, "width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    drawn = [tag("svg", *field, **box), path(f"M{LEFT} 0v{HEIGHT}h{WIDTH}"), text(error, LEFT + 10, 16, **PART)]
    x_ticks, y_ticks = (-4, -2, 0, 2, 4), (-40, 0, 40)
    for x, (place, _) in zip(x_ticks, places(x_ticks, 0), strict=True):
        drawn.append(text(str(x), LEFT + place, HEIGHT + 16, "middle"))
    for y, (_, place) in zip(y_ticks, places(0, y_ticks), strict=True):
        drawn.append(text(str(y), LEFT - 6, place + 4, "end"))
    drawing = tag("svg", *drawn, *_legend(HEIGHT + 44), viewBox=f"0 0 360 {HEIGHT + 52}")
    return sliding("NaR on a regression", {"epoch": epochs, "λ": [*runs]}, start, frames, drawing)


def _legend(y: float) -> list[str]:
    drawn = []
    for x, name, style in ((0, "y = x³", TRUE), (72, "network", CURVE)):
        drawn += [path(f"M{x} {y}h16", **style), text(name, x + 21, y + 4)]
    for x, name, style in ((158, "observed", OBSERVED), (236, "disturbed target", DISTURBED)):
        drawn += [path(f"M{x} {y}h0", **style), text(name, x + 8, y + 4)]
    return drawn


def _frame(on_curve: Places, outputs: Tensor, at_points: Places, targets: Tensor, error: Tensor) -> list[str]:
    """The parts of the drawing that change, from outputs (R, M), targets (R, N) and the mean squared error."""
    low, curve, high = map(on_curve, _three_deviations(outputs))
    least, target, most = map(at_points, _three_deviations(targets))
    bars = "".join(map(_line, np.stack([least, most], 1)))
    band = _line(np.concatenate([low, high[::-1]]))
    return [f"{band}z", _line(curve), bars, _dots(target), f"mean squared error {error:.0f}"]


def _three_deviations(runs: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three standard deviations below, the mean and three above, each (N,), of runs (R, N)."""
    mean, spread = runs.mean(0).numpy(), 3 * runs.std(0).numpy()
    return mean - spread, mean, mean + spread


def _places(x: np.ndarray, y: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Places (n, 2) in the field, which extends by ``reach`` from 0 to each side; heights far beyond it are clipped."""
    shares = np.stack(np.broadcast_arrays(np.divide(x, reach[0]), -np.divide(y, reach[1]).clip(-9, 9)), 1)
    return ((1 + shares) / 2 * (WIDTH, HEIGHT)).round().astype(int)


def _line(places: np.ndarray) -> str:
    """A path through places (n, 2), written in relative steps, which are shorter."""
    steps = " ".join(f"{right} {down}" for right, down in np.diff(places, axis=0))
    return f"M{places[0, 0]} {places[0, 1]}l{steps}"


def _dots(places: np.ndarray) -> str:
    return "".join(f"M{x} {y}h0" for x, y in places)
