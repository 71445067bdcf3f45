"""SBA's figures: the weight of its divergence, and where its virtual points are."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from labelreg import methods
from labelreg.book.figures.curves import parameter_curves
from labelreg.book.figures.style import legend, panels, shades
from labelreg.book.tables import recorded_against_baseline
from labelreg.costs import augmented_step_cost
from labelreg.names import printed
from labelreg.papers import Row
from labelreg.reports.measures import epochs_until, measured
from labelreg.results import Result

COLOURS = {
    name: methods.find(method).colour
    for name, method in {"BA": "batch_augmentation", "SBA": "stochastic_batch_augmentation"}.items()
}


def recorded_weights(runs: Mapping[Row, Sequence[Result]]) -> Figure:
    """Draw the error of recorded runs over eta, one panel per data set and one curve per network (SBA, figure 2).

    The rows have names such as "eta = 0.1".
    """
    values = sorted({"eta = 0", *(row.method for row in runs)}, key=lambda name: float(name.removeprefix("eta = ")))
    datasets, networks = (dict.fromkeys(getattr(row, kind) for row in runs) for kind in ("dataset", "network"))
    colours = dict(zip(map(printed, networks), shades(len(networks)), strict=True))
    figure, grid = panels(len(datasets))
    for axes, dataset in zip(grid, datasets, strict=True):
        curves = {}
        for network in dict.fromkeys(row.network for row in runs if row.dataset == dataset):
            found = {row: group for row, group in runs.items() if (row.dataset, row.network) == (dataset, network)}
            table = recorded_against_baseline(found, "eta = 0").reindex(values)
            curves[printed(network)] = table.rename(index=lambda value: value.removeprefix("eta = "))
        parameter_curves(axes, curves, "0", colours)
        axes.set(xlabel=r"$\eta$", title=printed(dataset))
    figure.supylabel("test error, %")
    legend(figure)
    return figure


def layer_trade_off(runs: Mapping[Row, Sequence[Result]]) -> Figure:
    """Draw BA and SBA at the layers of a network: cost until they converge, and accuracy (SBA, figure 3).

    Rows are those of ``labelreg.papers.sba.at_layers``. The cost is the number of operations of a step, times the
    epochs until the error is as low as the higher of the two final errors. If one of the two has no runs, there is no
    bar. Accuracies are medians of the last five epochs, drawn as means over the runs with standard deviations.
    """
    groups: dict[str, dict[str, dict[str, Row]]] = {}
    for row in runs:
        method, _, place = row.method.partition(" ")
        groups.setdefault(f"{printed(row.dataset)}, {printed(row.network)}", {}).setdefault(place, {})[method] = row
    figure, grid = panels(2 * len(groups))
    for left, right, (title, places) in zip(grid[::2], grid[1::2], groups.items(), strict=True):
        ratios = [_cost_ratio(found, runs) if len(found) == 2 else float("nan") for found in places.values()]
        left.bar(range(len(places)), ratios, color=COLOURS["SBA"])
        left.axhline(1, color=COLOURS["BA"], linewidth=1)
        left.set(ylabel="cost of BA over that of SBA", title=title)
        for method, colour in COLOURS.items():
            found = [measured(runs.get(each.get(method), []), "accuracy", last_epochs=5) for each in places.values()]
            means, deviations = ([each[name] for each in found] for name in ("ours", "ours_std"))
            right.errorbar(range(len(places)), means, deviations, fmt="o", capsize=3, color=colour, label=method)
        right.set(ylabel="test accuracy, %", title=title)
        for axes in (left, right):
            axes.set_xticks(range(len(places)), places, rotation=30, ha="right", rotation_mode="anchor")
    legend(figure)
    return figure


def _cost_ratio(found: Mapping[str, Row], runs: Mapping[Row, Sequence[Result]]) -> float:
    """The cost of BA until it converges, divided by that of SBA, from the row of each."""
    errors = {name: 1 - measured(runs[row], "accuracy")["ours"] / 100 for name, row in found.items()}
    costs = {
        name: epochs_until(runs[row], max(errors.values()) + 1e-9) * augmented_step_cost(row.experiment)
        for name, row in found.items()
    }
    return costs["BA"] / costs["SBA"]
