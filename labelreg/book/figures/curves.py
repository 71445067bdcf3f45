"""Curves: quantities over the epochs of training, or over another quantity that was varied."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labelreg.book.figures.style import legend, method_style, panels, shades
from labelreg.methods.kr import decayed_weight
from labelreg.names import printed
from labelreg.papers import Row
from labelreg.reports.measures import measured, paired
from labelreg.results import Result

Results = Mapping[str, Sequence[Result]]
Styles = Mapping[str, Mapping[str, str]]
Runs = Mapping[str | Row, Sequence[Result]]


def curves(axes: Axes, runs: Mapping[str, np.ndarray], styles: Styles, x: Sequence[float] | None = None) -> None:
    """Draw the mean over runs with a band of ±1 standard deviation.

    ``runs`` are values (runs, points) by label, plotted at ``x`` (points,), by default the epochs 1, 2, ...
    """
    band = {"errorbar": "sd", "err_kws": {"alpha": 0.15, "linewidth": 0}}
    for label, values in runs.items():
        values = np.asarray(values)
        places = np.tile(np.arange(1, values.shape[1] + 1) if x is None else x, len(values))
        sns.lineplot(x=places, y=values.ravel(), ax=axes, label=label, legend=False, **band, **styles[label])
    axes.set_xlabel("epoch" if x is None else "")
    axes.xaxis.set_major_locator(MaxNLocator(8 if x is None else 6, steps=[1, 2, 5, 10], integer=x is None))


def training_curves(
    axes: Axes, results: Results, quantity: str, styles: Styles, scale: float = 1.0, offset: float = 0.0
) -> None:
    """Draw a quantity of the history or of the observations over the epochs, see :func:`curves`.

    The values drawn are ``offset + scale * quantity``, such as 100 - 100 * error for accuracy in percent.
    """
    runs = {label: np.stack([each.epochs(quantity) for each in group]) for label, group in results.items()}
    curves(axes, {label: offset + scale * values for label, values in runs.items()}, styles)


def recorded_curves(runs: Mapping[Row, Sequence[Result]], quantity: str = "test_error") -> Figure:
    """Draw a quantity of the history of recorded runs, one panel per data set and network; errors are in percent.

    There must be at least one run, see :func:`labelreg.reports.recorded_runs`.
    """
    groups = by_setting(runs)
    styles = _distinct({row.method: method_style(row.experiment) for row in runs})
    scale, unit = (100, ", %") if quantity.endswith("error") else (1, "")
    figure, grid = panels(len(groups))
    for axes, (title, group) in zip(grid, groups.items(), strict=True):
        training_curves(axes, group, quantity, styles, scale)
        axes.set_title(title)
    figure.supylabel(quantity.replace("_", " ") + unit)
    legend(figure)
    return figure


def by_setting(runs: Mapping[Row, Sequence[Result]]) -> dict[str, dict[str, Sequence[Result]]]:
    """Group recorded runs by data set and network, and each group by method, under the names to be shown."""
    groups: dict[str, dict[str, Sequence[Result]]] = {}
    for row, group in runs.items():
        groups.setdefault(f"{printed(row.dataset)}, {printed(row.network)}", {})[row.method] = group
    return groups


def by_method(runs: Runs) -> dict[str, Sequence[Result]]:
    """Return live runs by their labels, and recorded runs of one data set and network by the methods of their rows."""
    return {row.method if isinstance(row, Row) else row: group for row, group in runs.items()}


def _distinct(styles: Styles) -> dict[str, dict[str, str]]:
    """Give lines of the same colour and kind, such as two generations of one method, different kinds."""
    found: dict[str, dict[str, str]] = {}
    for label, style in styles.items():
        kinds = dict.fromkeys((style["linestyle"], "-", "--", "-.", ":"))  # its own first
        candidates = [{**style, "linestyle": kind} for kind in kinds]
        found[label] = next((each for each in candidates if each not in found.values()), candidates[0])
    return found


def parameter_curves(axes: Axes, tables: Mapping[str, pd.DataFrame], baseline: str, colours: Mapping[str, str]) -> None:
    """Draw a metric over a parameter's values, with the 95 % intervals of its difference to a baseline.

    The index of every table holds the values of the parameter and the baseline, which is drawn as a dotted line.
    """
    for label, table in tables.items():
        values, places = table.drop(index=baseline), range(len(table) - 1)
        style = {"color": colours[label], "markersize": 4, "capsize": 3}
        axes.errorbar(places, values.value, yerr=values.half_width, fmt="o-", label=label, **style)
        axes.axhline(table.value[baseline], color=colours[label], linewidth=1, linestyle=":")
        axes.set_xticks(places, values.index)


def sensitivity(runs: Mapping[Any, Sequence[Result]], reference: float | None = None) -> Figure:
    """Draw the last error over NaR's lambda and alpha: as a heatmap of means, and as curves with standard deviations.

    ``runs`` are the results of each point; their options give its lambda and alpha. A line marks the baseline's error,
    ``reference``, in percent.
    """
    columns = first, second, quantity = [r"$\lambda$", r"$\alpha$", "test error, %"]
    results = [result for group in runs.values() for result in group]
    points = [(each.experiment.options["lam"], each.experiment.options["alpha"]) for each in results]
    errors = [100 * each.last["test_error"] for each in results]
    table = pd.DataFrame([(*point, error) for point, error in zip(points, errors, strict=True)], columns=columns)
    figure, (left, right) = panels(2)
    means = table.pivot_table(index=first, columns=second, values=quantity)
    sns.heatmap(means, ax=left, cmap="mako_r", annot=True, fmt=".1f", square=True, cbar=False)
    left.invert_yaxis()
    left.set_title(quantity)
    style = {"errorbar": "sd", "err_style": "bars", "err_kws": {"linewidth": 0.8}, "marker": "o"}
    alphas = table[second].astype(str)
    sns.lineplot(table, x=first, y=quantity, hue=alphas, palette=shades(alphas.nunique()), ax=right, **style)
    if reference is not None:
        right.axhline(reference, color="black", linewidth=1, linestyle=":", label="baseline")
    right.get_legend().remove()
    legend(figure, title=second)
    return figure


def divergence_and_accuracy(runs: Runs, lowest: float | None = None) -> Figure:
    """Draw the divergence between residual outputs and labels, if observed, and test accuracy (KR figure 4).

    ``lowest`` is the lowest accuracy shown, in percent.
    """
    named = by_method(runs)
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
    named = by_method(runs)
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
