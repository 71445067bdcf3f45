"""Tables for the notebooks: methods against a baseline on the same seeds, and recorded runs beside printed numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from labelreg.assignments import command
from labelreg.checks import unknown
from labelreg.experiments import PROFILES
from labelreg.papers import Item, Row, compare
from labelreg.papers.measures import measured, paired
from labelreg.results import Result, Store, paired_difference


def against_baseline(results: Mapping[str, Sequence[Result]], baseline: str) -> pd.DataFrame:
    """Compare methods with a baseline on the same seeds, at the last epoch.

    Args:
        results: label to the results of one experiment, in the same order of seeds for every label.
        baseline: one of the labels.

    Returns:
        A row a label: ``error`` and ``ece`` in percent, means over seeds; ``difference`` of the error to the baseline's
        and ``half_width`` of its 95 % interval, in percentage points; and ``nll`` in nats.

    Raises:
        ValueError: the baseline is none of the labels, or another number of seeds for one of them.
    """
    if baseline not in results:
        raise unknown("label", baseline, results)
    errors = {label: [100 * result.last["test_error"] for result in group] for label, group in results.items()}
    rows = {}
    for label, group in results.items():
        difference, half_width = paired_difference(errors[label], errors[baseline])
        rows[label] = {
            "error": np.mean(errors[label]),
            "difference": difference,
            "half_width": half_width,
            "ece": 100 * np.mean([result.last["test_ece"] for result in group]),
            "nll": np.mean([result.last["test_nll"] for result in group]),
        }
    return pd.DataFrame(rows).T.rename_axis("method")


def show_against_baseline(tables: Mapping[str, pd.DataFrame]) -> Styler:
    """Lay tables of :func:`against_baseline` side by side, one a condition, as a reader wants them."""
    shown = {}
    for condition, table in tables.items():
        own = table.index != table.index[(table.difference == 0) & (table.half_width.fillna(0) == 0)][0]
        shown |= {
            (condition, "error, %"): table.error.map("{:.1f}".format),
            (condition, "against the baseline"): _with_deviation(table.difference, table.half_width, "+.1f").where(
                own, ""
            ),
            (condition, "ECE, %"): table.ece.map("{:.1f}".format),
            (condition, "NLL, nats"): table.nll.map("{:.2f}".format),
        }
    return pd.DataFrame(shown).rename_axis(None).style.set_properties(**{"text-align": "right"})


def observed(results: Mapping[Any, Sequence[Result]], columns: Mapping[str, str]) -> Styler:
    """Show what was recorded at the last epoch: the mean over seeds, and the standard deviation.

    Args:
        results: label to the results of one experiment; a label may be a tuple.
        columns: name of a metric, or of an observation that is a number an epoch, to its heading. Under one that ends
            in %, fractions are in percent.
    """
    shown = {}
    for name, heading in columns.items():
        scale, form = (100, ".1f") if heading.endswith("%") else (1, ".2f")
        recorded = [[scale * each.epochs(name)[-1] for each in group] for group in results.values()]
        means, deviations = (pd.Series(map(statistic, recorded)) for statistic in (np.mean, _deviation))
        shown[heading] = _with_deviation(means, deviations, form).to_numpy()
    return pd.DataFrame(shown, index=pd.Index(results)).style.set_properties(**{"text-align": "right"})


def beside_printed(paper: str, item: str, store: Store | None = None) -> Styler:
    """Show recorded runs beside the numbers that a table prints; what has not been run shows the command that runs it.

    Args:
        paper: key of a paper.
        item: name of one of its tables.
        store: see :func:`labelreg.papers.compare`.
    """
    cells = compare(paper, item, store)
    digits = ".2f"
    runs = cells.profile + ", " + cells.seeds.astype(str) + " seeds"
    shown = cells[["dataset", "network", "method"]].copy()
    if cells.metric.nunique() > 1:
        shown["metric"] = cells.metric.str.replace("_", " ")
    shown["paper"] = _with_deviation(cells.printed, cells.printed_std, digits)
    shown["ours"] = _with_deviation(cells.ours, cells.ours_std, digits).where(cells.seeds > 0, _how_to_run(cells))
    if cells.seeds.any():
        if cells.difference.notna().any():
            difference = _with_deviation(cells.difference, cells.half_width, f"+{digits}")
            shown["against the baseline"] = difference.where(cells.difference.notna(), "")
        columns = {"best epoch": cells.best, "best validation epoch": cells.chosen, "gap": cells.gap}
        for column, values in columns.items():
            if values.notna().any():
                form = f"{{:{'+' if column == 'gap' else ''}{digits}}}"
                shown[column] = values.map(form.format).where(values.notna(), "")
        shown["runs"] = runs.where(cells.seeds > 0, "")
    return shown.style.hide(axis="index").set_properties(**{"text-align": "left"})


def recorded_against_baseline(
    runs: Mapping[Row, Sequence[Result]], baseline: str, metric: str = "error"
) -> pd.DataFrame:
    """Compare recorded runs with those of a baseline on the seeds that both have, at the last epoch.

    Args:
        runs: rows of one data set and network to their recorded runs, see :func:`labelreg.papers.recorded_runs`.
        baseline: the method of one of the rows.
        metric: what is compared, ``"error"`` in percent or ``"test_perplexity"``.

    Returns:
        A row a method that has runs: the ``value`` of the metric over the seeds, a mean, and its ``deviation``;
        ``difference`` to the baseline over the common seeds and ``half_width`` of its 95 % interval, NaN where there
        are none; the mean at the epoch that is ``best`` on the test set, and at the one ``chosen`` on the validation
        split, NaN where there is none; ``ece`` in percent and ``nll`` in nats; ``seeds`` and the ``minutes`` of a run.
    """
    others = next((group for row, group in runs.items() if row.method == baseline), [])
    rows = {}
    for row, group in runs.items():
        numbers = measured(group, metric)
        rows[row.method] = {
            "value": numbers["ours"],
            "deviation": numbers["ours_std"],
            **paired(group, others, metric),
            "best": numbers["best"],
            "chosen": numbers["chosen"],
            "ece": measured(group, "ece")["ours"],
            "nll": np.mean([result.last["test_nll"] for result in group]),
            "seeds": len(group),
            "minutes": np.mean([result.provenance["seconds"] for result in group]) / 60,
        }
    columns = ["value", "deviation", "difference", "half_width", "best", "chosen", "ece", "nll", "seeds", "minutes"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("method")


def show_recorded(table: pd.DataFrame, item: Item, baseline: str, profile: str, metric: str = "error") -> Styler:
    """Lay out a table of :func:`recorded_against_baseline`; what has not been run shows the command that runs it.

    Args:
        table: one data set and network.
        item: whose rows it is of, those not recorded too.
        baseline: its label.
        profile: at which the runs were made.
        metric: that of the table.
    """
    heading = "error, %" if metric == "error" else metric.replace("_", " ")
    shown = pd.DataFrame(
        {
            heading: _with_deviation(table.value, table.deviation, ".2f"),
            "against the baseline": _with_deviation(table.difference, table.half_width, "+.2f").where(
                (table.index != baseline) & table.difference.notna(), ""
            ),
            "best epoch": table.best.map("{:.2f}".format),
            "best validation epoch": table.chosen.map("{:.2f}".format),
            "ECE, %": table.ece.map("{:.1f}".format),
            "NLL, nats": table.nll.map("{:.2f}".format),
            "minutes a run": table.minutes.map("{:.1f}".format),
            "seeds": table.seeds.astype(str),
        }
    )
    if table.chosen.isna().all():
        shown = shown.drop(columns="best validation epoch")
    if metric == "test_perplexity":  # which says the same
        shown = shown.drop(columns="NLL, nats")
    missing = [row for row in item.rows if row.method not in table.index]
    commands = [command(row.experiment.at(profile), PROFILES["fast"].seeds) for row in missing]
    folded = pd.DataFrame({heading: map(_folded, commands)}, index=[row.method for row in missing])
    shown = pd.concat([shown, folded]).fillna("").loc[[row.method for row in item.rows]]
    return shown.style.set_properties(**{"text-align": "left"})


def _deviation(values: Sequence[float]) -> float:
    return np.std(values, ddof=1) if len(values) > 1 else np.nan


def _with_deviation(values: pd.Series, deviations: pd.Series, form: str) -> pd.Series:
    return pd.Series(
        [
            f"{value:{form}}" + ("" if pd.isna(deviation) else f" ± {deviation:{form.lstrip('+')}}")
            for value, deviation in zip(values, deviations, strict=True)
        ],
        index=values.index,
    )


def _how_to_run(cells: pd.DataFrame) -> pd.Series:
    return cells.command.map(_folded).where(cells.runnable, "its data set or network is not in this package")


def _folded(command: str) -> str:
    return f"<details><summary>not yet run</summary><code>{escape(command)}</code></details>"
