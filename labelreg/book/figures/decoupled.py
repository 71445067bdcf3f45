"""The figures of ALR and KR, from live runs or from recorded ones.

``runs`` are results of one experiment each, by label or by the row of a paper's figure.
"""

from matplotlib.figure import Figure

from labelreg.book.figures.curves import Runs, by_method, training_curves
from labelreg.book.figures.methods import method_style
from labelreg.book.figures.style import legend, panels, shades
from labelreg.methods.kr import decayed_weight
from labelreg.reports.measures import measured, paired


def divergence_and_accuracy(runs: Runs, lowest: float | None = None) -> Figure:
    """Draw the divergence of residual outputs and labels, where observed, and test accuracy (KR figure 4).

    ``lowest`` is the least accuracy shown, in percent.
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
