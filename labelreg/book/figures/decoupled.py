"""The figures of ALR and KR, from live runs or from recorded ones.

``runs`` are results of one experiment each, by label or by the row of a paper's figure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from labelreg.book.figures.curves import training_curves
from labelreg.book.figures.labels import label_heatmaps
from labelreg.book.figures.methods import method_style
from labelreg.book.figures.style import legend, panels, shades
from labelreg.methods.kr import decayed_weight
from labelreg.papers import Row
from labelreg.reports.measures import measured, paired
from labelreg.results import Result

Runs = Mapping[str | Row, Sequence[Result]]


def label_development(runs: Runs, quantities: Mapping[str, str], classes: Sequence[str] = ()) -> Figure:
    """Draw what a run observed of its classes, matrices (K, K), at four epochs (ALR figure 3; KR figure 2).

    The run is the first of ``runs``; above stands its training accuracy, mu.

    Args:
        quantities: title of a row of the figure to the observation in it.
        classes: names of the classes, by default their numbers.
    """
    run = next(iter(runs.values()))[0]
    last = run.experiment.epochs
    shown = np.unique(np.geomspace(1, last, 4).round().astype(int)) - 1
    accuracy = run.history["train_accuracy"]
    titles = [f"epoch {epoch + 1}, $\\mu$ = {accuracy[epoch]:.2f}" for epoch in shown]
    rows = {title: run.observations[name][shown] for title, name in quantities.items()}
    num_classes = next(iter(rows.values())).shape[-1]
    return label_heatmaps(rows, titles, classes or [str(each) for each in range(num_classes)])


def divergence_and_accuracy(runs: Runs, lowest: float | None = None) -> Figure:
    """Draw the divergence of residual outputs and labels, where observed, and test accuracy (KR figure 4).

    ``lowest`` is the least accuracy shown, in percent.
    """
    named = _by_name(runs)
    styles = {label: method_style(group[0].experiment) for label, group in named.items()}
    divergence = "residual_divergence"
    observed = {label: group for label, group in named.items() if divergence in group[0].observations}
    figure, (left, right) = panels(2)
    training_curves(left, observed, divergence, styles)
    left.set_ylabel("Jensen-Shannon\ndivergence, nats")
    training_curves(right, named, "test_error", styles, scale=-100, offset=100)
    right.set_ylabel("test accuracy, %")
    right.set_ylim(bottom=lowest)
    legend(figure)
    return figure


def decays(runs: Runs) -> Figure:
    """Draw the weight alpha of runs of KR over the epochs, and their errors, each in one colour (KR figure 5).

    Bars are means, whiskers the 95 % interval of the difference to the first of ``runs`` on the seeds that both have.
    """
    named = _by_name(runs)
    baseline = next(iter(named.values()))
    figure, (left, right) = panels(2)
    for (label, group), shade in zip(named.items(), shades(len(named)), strict=True):
        settings = group[0].experiment
        gamma, truncate = (settings.options[name] for name in ("gamma", "truncate"))
        weights = [decayed_weight(epoch, gamma, truncate) for epoch in range(settings.epochs)]
        left.plot(range(1, settings.epochs + 1), weights, color=shade)
        half_width = None if group is baseline else paired(group, baseline, "error")["half_width"]
        right.bar(label.removeprefix("gamma = "), measured(group, "error")["ours"], yerr=half_width, color=shade)
    left.set(xlabel="epoch", ylabel=r"weight $\alpha$ of the residual losses")
    right.set(xlabel=r"$\gamma$", ylabel="test error, %")
    right.tick_params(axis="x", rotation=45)
    return figure


def _by_name(runs: Runs) -> dict[str, Sequence[Result]]:
    return {row.method if isinstance(row, Row) else row: group for row, group in runs.items()}
