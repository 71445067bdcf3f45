"""One colour for each method, and the map that places all methods."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from labelreg.experiments import Experiment

# The methods that share most plots take the Okabe-Ito palette; the others keep their distance from it, and from each
# other, under red-green colour blindness too.
METHOD_COLOURS: dict[str, str] = {
    "cross_entropy": "#000000",
    "label_smoothing": "#56B4E9",
    "confidence_penalty": "#5588FF",
    "disturb_label": "#88DDBB",
    "network_as_regularization": "#E69F00",
    "snapshot_regularization": "#662200",
    "forest_as_regularization": "#999933",
    "adaptive_label_regularization": "#009E73",
    "knowledge_refinery": "#0072B2",
    "class_wise_self_distillation": "#D55E00",
    "stochastic_batch_augmentation": "#CC79A7",
    "batch_augmentation": "#220055",
    "knowledge_distillation": "#776677",
    "born_again": "#AA3300",
    "deep_mutual_learning": "#0000BB",
    "ada_cos": "#005588",
    "virtual_softmax": "#33DDFF",
    "mixup": "#882255",
    "adversarial_training": "#440000",
}

_PAPERS = {
    "network_as_regularization": "NaR",
    "adaptive_label_regularization": "ALR",
    "knowledge_refinery": "KR",
    "class_wise_self_distillation": "CS-KD",
    "stochastic_batch_augmentation": "SBA",
}
_SPELLINGS = {
    "ada_cos": "AdaCos",
    "disturb_label": "DisturbLabel",
    "snapshot_regularization": "snapshot regularisation",
}

_TIMES = ("before training", "slowly, over epochs", "anew at every step")
# Kinds of source from the bottom up, each with a tint and its sources; a source holds lines of methods by index into
# _TIMES, or under None where the label is never softened and the question of when does not arise.
_MAP = (
    (
        "no network",
        "#F3F2EE",
        (
            (
                "nobody's:\nthe label stays one-hot",
                {
                    None: (
                        ("batch_augmentation", "adversarial_training"),
                        ("cross_entropy", "ada_cos", "virtual_softmax"),
                    )
                },
            ),
            (
                "the uniform distribution",
                {0: (("confidence_penalty",), ("label_smoothing",)), 2: (("disturb_label",),)},
            ),
            ("another sample's label", {2: (("mixup",),)}),
        ),
    ),
    (
        "the network itself",
        "#E6F0F6",
        (
            (
                "its class mean over\nthe wrong classes",
                {1: (("adaptive_label_regularization", "knowledge_refinery"),)},
            ),
            ("its prediction on another\nsample of the class", {2: (("class_wise_self_distillation",),)}),
            ("its prediction on the clean\nsample, for noisy copies", {2: (("stochastic_batch_augmentation",),)}),
        ),
    ),
    (
        "another network",
        "#F9EFE2",
        (
            (
                "a network in training",
                {1: (("snapshot_regularization",),), 2: (("deep_mutual_learning",), ("network_as_regularization",))},
            ),
            ("a finished network", {0: (("born_again",), ("knowledge_distillation",))}),
        ),
    ),
)


def method_name(method: str) -> str:
    """How a method is called where there is little room: the paper's short name, or its own spelled out."""
    return _PAPERS.get(method) or _SPELLINGS.get(method) or method.replace("_", " ")


def method_style(experiment: Experiment) -> dict[str, str]:
    """The colour of an experiment's method, as keywords for a line.

    It is dashed where label smoothing is added. Of two methods in one, the line has the colour of the one that is a
    paper's own and is dash-dotted.
    """
    options = dict(experiment.options)
    both = [experiment.method, options.get("method", "cross_entropy")]
    chosen = next((method for method in both if method in _PAPERS), experiment.method)
    if both[1] != "cross_entropy":
        return {"color": METHOD_COLOURS[chosen], "linestyle": "-."}
    return {"color": METHOD_COLOURS[chosen], "linestyle": "--" if options.get("smoothing", 0) > 0 else "-"}


def method_map() -> Figure:
    """Draws every method on one map: whose distribution softens the label, against when that distribution is known.

    The methods of the five papers stand filled and bold, the baselines outlined.

    Returns:
        A figure 7.6 inches wide, readable at 700 pixels.
    """
    figure = Figure(figsize=(7.6, 6.9), layout="constrained")
    axes = figure.subplots()
    line_height, padding, left, time_width = 0.47, 0.24, 2.25, 1.8
    right = left + time_width * len(_TIMES)

    top = 0.0
    for kind, tint, sources in _MAP:
        bottom = top
        for source, cells in sources:
            height = padding + line_height * max(source.count("\n") + 1, *map(len, cells.values()))
            middle = top + height / 2
            axes.text(left - 0.12, middle, source, ha="right", va="center", fontsize=9)
            for time, lines in cells.items():
                start, width = (left, right - left) if time is None else (left + time * time_width, time_width)
                for row, methods in enumerate(lines):
                    y = middle + line_height * (row - (len(lines) - 1) / 2)
                    for column, method in enumerate(methods):
                        _draw_method(axes, method, start + width * (column + 0.5) / len(methods), y)
            if None not in cells:
                borders = [left + time * time_width for time in range(len(_TIMES))]
                axes.vlines(borders, top, top + height, color="white", linewidth=1.5)
            top += height
            axes.hlines(top, 0.36, right, color="white", linewidth=1.5)
        axes.add_patch(Rectangle((0, bottom), right, top - bottom, color=tint, linewidth=0, zorder=0))
        axes.hlines(top, 0, right, color="white", linewidth=6)
        axes.text(0.18, (bottom + top) / 2, kind, rotation=90, ha="center", va="center", fontsize=9.5, weight="bold")

    for time, label in enumerate(_TIMES):
        axes.text(left + (time + 0.5) * time_width, top + 0.22, label, ha="center", fontsize=9.5, weight="bold")
    axes.text((left + right) / 2, top + 0.66, "When is that distribution known?", ha="center", fontsize=10.5)
    axes.text(left - 0.12, top + 0.22, "Whose distribution\nsoftens the label?", ha="right", fontsize=10.5)
    axes.set(xlim=(0, right), ylim=(0, top + 0.95))
    axes.axis("off")
    return figure


def _draw_method(axes: Axes, method: str, x: float, y: float) -> None:
    """Writes a method's name in a pill of its colour: filled for the five papers, outlined for the baselines."""
    colour = METHOD_COLOURS[method]
    from_paper = method in _PAPERS
    luminance = sum(weight * channel for weight, channel in zip((0.3, 0.59, 0.11), to_rgb(colour), strict=True))
    axes.text(
        x,
        y,
        method_name(method),
        ha="center",
        va="center",
        fontsize=11 if from_paper else 8.5,
        weight="bold" if from_paper else "normal",
        color=("black" if luminance > 0.5 else "white") if from_paper else "#222222",
        bbox={
            "boxstyle": "round,pad=0.35,rounding_size=0.6",
            "facecolor": colour if from_paper else "white",
            "edgecolor": colour,
            "linewidth": 1.6,
        },
    )
