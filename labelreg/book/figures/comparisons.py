"""Methods against each other: their differences to a baseline, their confidence, their features."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from labelreg.book.figures.curves import Runs, by_method
from labelreg.book.figures.style import WIDTH, hues, legend, method_style, name_rows, panels, subplots
from labelreg.papers import Row
from labelreg.results import Result


def difference_columns(tables: Mapping[str, pd.DataFrame], colours: Mapping[str, str], baseline: str) -> Figure:
    """Draw how far each method's error lies from the baseline's, in one column per setting: means and 95 % intervals.

    ``tables`` are those of :func:`labelreg.book.tables.against_baseline` by name of setting, and may lack methods. A
    circle without whiskers is a single run.
    """
    labels = [label for label in colours if label != baseline and any(label in each.index for each in tables.values())]
    figure, (grid,) = subplots(1, len(tables), WIDTH, 0.21 * len(labels) + 1.1, sharey=True)
    for axes, (setting, table) in zip(grid, tables.items(), strict=True):
        for place, label in enumerate(labels):
            if label in table.index:
                whisker = table.half_width[label]
                style = {"color": colours[label], "markersize": 4, "capsize": 2}
                style["markerfacecolor"] = None if whisker == whisker else "none"
                axes.errorbar(table.difference[label], place, xerr=whisker, fmt="o", **style)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(setting)
        name_rows(axes, labels)
    figure.supxlabel(f"test error minus that of {baseline.lower()}, percentage points")
    return figure


def reliability_diagrams(runs: Runs) -> Figure:
    """Draw accuracy over confidence at the last epoch, one panel per method; a dot's area is its share of the samples.

    ``runs``, by label or by row, must have observed ``reliability``. Bins are averaged over the runs, weighted by their
    samples. Above each panel is the expected calibration error, with its standard deviation over the runs.
    """
    figure, grid = panels(len(runs), 2.3, columns=3, sharey=True)
    for axes, (label, group) in zip(grid, by_method(runs).items(), strict=True):
        share = np.stack([each.observations["bin_share"][-1] for each in group])
        confidence, accuracy = (
            np.nansum([each.observations[name][-1] for each in group] * share, axis=0) / np.maximum(share.sum(0), 1e-9)
            for name in ("bin_confidence", "bin_accuracy")
        )
        filled = share.sum(0) > 0
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        colour = method_style(group[0].experiment)["color"]
        axes.scatter(confidence[filled], accuracy[filled], 250 * share.mean(0)[filled], color=colour, alpha=0.8)
        errors = [100 * each.last["test_ece"] for each in group]
        spread = f" ± {np.std(errors, ddof=1):.1f}" if len(group) > 1 else ""
        axes.set(title=f"{label}\nECE {np.mean(errors):.1f}{spread} %")
        axes.set(xlim=(0, 1.03), ylim=(0, 1.05), aspect="equal")
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    return figure


def embeddings(
    points: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[int]],
    notes: Mapping[str, str],
    names: Sequence[str] = (),
) -> Figure:
    """Draw features in the plane, such as those of :func:`.tsne`, in one panel per method and one colour per group.

    Distances and sizes in such a picture mean little, so every panel has a number below its title.

    Args:
        points: label to the places (N, 2) of samples.
        groups: label to the index of the group of each of these samples; there are at most 20 groups.
        notes: label to the text below it.
        names: names of the groups, for the legend; without names, there is no legend.
    """
    count = len(names) or 1 + max(map(max, groups.values()))
    if count > 20:
        raise ValueError(f"at most 20 groups can be told apart by colour, not {count}: join some, as superclasses")
    palette = hues(count)
    figure, grid = panels(len(points), 2.4, columns=3)
    for axes, (label, places) in zip(grid, points.items(), strict=True):
        axes.scatter(*np.transpose(places), s=6, linewidth=0, color=[palette[group] for group in groups[label]])
        axes.set(title=f"{label}\n{notes[label]}", xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#CCCCCC")
    if names:
        dots = [Line2D([], [], color=colour, marker="o", linestyle="") for colour in palette]
        legend(figure, dict(zip(names, dots, strict=True)))
    return figure


def recorded_embeddings(runs: Mapping[Row, Sequence[Result]]) -> Figure:
    """Draw :func:`embeddings` of the training samples that ``feature_map`` observed, from the first run of each row.

    The note is the variance ratio of the test samples at the end of that run, as ``embedding`` observed it.
    """
    seen = {row.method: group[0].observations for row, group in runs.items()}
    points = {label: each["feature_map"][-1] for label, each in seen.items()}
    groups = {label: each["feature_group"][-1].astype(int) for label, each in seen.items()}
    notes = {label: f"within : between = {each['variance_ratio'][-1]:.2f}" for label, each in seen.items()}
    return embeddings(points, groups, notes)
