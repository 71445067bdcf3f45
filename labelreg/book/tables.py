"""Tables for the notebooks: methods against a baseline on the same seeds, and recorded runs beside printed numbers."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from labelreg.assignments import command
from labelreg.experiment import PROFILES
from labelreg.names import unknown
from labelreg.papers import Item, Row
from labelreg.reports import compare
from labelreg.reports.measures import measured, p_values, paired
from labelreg.results import Result, Store, paired_difference


def against_baseline(results: Mapping[str, Sequence[Result]], baseline: str) -> pd.DataFrame:
    """Compare methods with a baseline, one of the labels, on the same seeds and in their order, at the last epoch.

    The columns are the means over seeds of ``error`` and ``ece``, in percent, and ``nll``, in nats, the ``difference``
    of the error to the baseline's with ``half_width`` of its 95 % interval, in percentage points, and the number of
    seeds, ``common``.
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
            "common": len(group),
            "ece": 100 * np.mean([result.last["test_ece"] for result in group]),
            "nll": np.mean([result.last["test_nll"] for result in group]),
        }
    table = pd.DataFrame.from_dict(rows, "index").rename_axis("method")
    table.attrs["baseline"] = baseline
    return table


def show_against_baseline(tables: Mapping[str, pd.DataFrame]) -> Styler:
    """Lay tables of :func:`against_baseline` side by side, one per condition.

    A star marks the differences that are significant at 5 % after Holm's correction for all that are shown.
    """
    shown = {}
    for (condition, table), corrected in zip(tables.items(), p_values(tables.values()), strict=True):
        others = table.index != table.attrs["baseline"]
        shown |= {
            (condition, "error, %"): _written(table.error, ".1f"),
            (condition, "against the baseline"): _written(table.difference, "+.1f", table.half_width, others)
            + _stars(corrected),
            (condition, "ECE, %"): _written(table.ece, ".1f"),
            (condition, "NLL, nats"): _written(table.nll, ".2f"),
        }
    return _aligned(pd.DataFrame(shown).rename_axis(None), "right")


def observed(results: Mapping[Any, Sequence[Result]], columns: Mapping[str, str]) -> Styler:
    """Show metrics at the last epoch: the mean and the standard deviation over seeds.

    Args:
        results: label, which may be a tuple, to the results of one experiment.
        columns: name of a metric, or of an observation with one number per epoch, to its heading; under one that ends
            in %, fractions are in percent.
    """
    shown = {}
    for name, heading in columns.items():
        scale, form = (100, ".1f") if heading.endswith("%") else (1, ".2f")
        values = [[scale * each.epochs(name)[-1] for each in group] for group in results.values()]
        deviations = [np.std(each, ddof=1) if len(each) > 1 else np.nan for each in values]
        shown[heading] = _written(pd.Series(map(np.mean, values)), form, deviations)
    return _aligned(pd.DataFrame(shown).set_index(pd.Index(results)), "right")


def beside_printed(paper: str, item: str, store: Store | None = None) -> Styler:
    """Show recorded runs beside the numbers that a table prints, or the command that runs what is missing.

    The arguments are those of :func:`labelreg.reports.compare`.
    """
    cells = compare(paper, item, store)
    done = cells.seeds > 0
    how_to_run = cells.command.map(_folded).where(cells.runnable, "its data set or network is not in this package")
    shown = cells[["dataset", "network", "method"]].copy()
    if cells.metric.nunique() > 1:
        shown["metric"] = cells.metric.str.replace("_", " ")
    shown["paper"] = _written(cells.printed, ".2f", cells.printed_std)
    shown["ours"] = _written(cells.ours, ".2f", cells.ours_std, done, how_to_run)
    for heading, column, form, deviations in (
        ("against the baseline", cells.difference, "+.2f", cells.half_width),
        ("last epoch", cells["last"], ".2f", None),
        ("best epoch", cells.best, ".2f", None),
        ("gap", cells.gap, "+.2f", None),
    ):
        if column.notna().any() and not column.equals(cells.ours):
            shown[heading] = _written(column, form, deviations, column.notna())
    if done.any():
        shown["runs"] = (cells.profile + ", " + cells.seeds.astype(str) + " seeds").where(done, "")
    return _aligned(shown, "left").hide(axis="index")


def recorded_against_baseline(
    runs: Mapping[Row, Sequence[Result]], baseline: str, metric: str = "error"
) -> pd.DataFrame:
    """Compare recorded runs with those of a baseline on the seeds that both have, at the last epoch.

    Args:
        runs: rows of one data set and network to their recorded runs, see :func:`labelreg.reports.recorded_runs`.
        baseline: the method of one of the rows.
        metric: ``"error"``, in percent, or ``"test_perplexity"``.

    Returns:
        One row per method that has runs, with ``ours, ours_std, best, difference, half_width`` as in
        :func:`labelreg.reports.compare`, the number of ``common`` seeds, ``ece`` in percent, ``nll`` in nats, the
        number of ``seeds`` and the ``minutes`` per run; NaN where there are none.
    """
    others = next((group for row, group in runs.items() if row.method == baseline), [])
    rows = {}
    for row, group in runs.items():
        rows[row.method] = {
            **measured(group, metric),
            **paired(group, others, metric),
            "ece": measured(group, "ece")["ours"],
            "nll": np.mean([result.last["test_nll"] for result in group]),
            "seeds": len(group),
            "minutes": np.mean([result.provenance["seconds"] for result in group]) / 60,
        }
    columns = ["ours", "ours_std", "best", "difference", "half_width", "common", "ece", "nll", "seeds", "minutes"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("method")


def show_recorded(table: pd.DataFrame, item: Item, baseline: str, profile: str, metric: str = "error") -> Styler:
    """Lay out a table of :func:`recorded_against_baseline`, with the command that runs what is missing.

    All rows of the item are shown; baseline, profile and metric are those of the table. A star is as in
    :func:`show_against_baseline`; a difference on fewer seeds than either has is followed by their number.
    """
    heading = "error, %" if metric == "error" else metric.replace("_", " ")
    compared = (table.index != baseline) & table.difference.notna()
    fewer = table.common < np.maximum(table.seeds, table.seeds.get(baseline, 0))
    on = (", common seeds: " + table.common.astype(str)).where(fewer & compared, "")
    (corrected,) = p_values([table])
    shown = pd.DataFrame(
        {
            heading: _written(table.ours, ".2f", table.ours_std),
            "against the baseline": _written(table.difference, "+.2f", table.half_width, compared)
            + _stars(corrected)
            + on,
            "best epoch": _written(table.best, ".2f"),
            "ECE, %": _written(table.ece, ".1f"),
            "NLL, nats": _written(table.nll, ".2f"),
            "minutes per run": _written(table.minutes, ".1f"),
            "seeds": table.seeds.astype(str),
        }
    )
    if metric == "test_perplexity":  # e to the NLL
        shown = shown.drop(columns="NLL, nats")
    for row in item.rows:
        if row.method not in table.index:
            shown.loc[row.method, heading] = _folded(command(row.experiment.at(profile), PROFILES["fast"].seeds))
    shown = shown.loc[[row.method for row in item.rows]].rename_axis(None)
    return _aligned(shown.fillna(""), "left")


def _written(
    values: pd.Series, form: str, deviations: Iterable[float] | None = None, where: Any = True, otherwise: Any = ""
) -> pd.Series:
    """Write values where a condition holds, each with its deviation unless that is NaN."""
    written = values.map(f"{{:{form}}}".format)
    if deviations is not None:
        spread = f" ± {{:{form.lstrip('+')}}}".format
        written += ["" if pd.isna(each) else spread(each) for each in deviations]
    return pd.Series(np.where(where, written, otherwise), values.index, dtype=object)


def _stars(corrected: pd.Series) -> pd.Series:
    """Mark what is significant at 5 %."""
    return pd.Series(np.where(corrected < 0.05, " *", ""), corrected.index, dtype=object)


def _folded(command: str) -> str:
    return f"<details><summary>not yet run</summary><code>{escape(command)}</code></details>"


def _aligned(table: pd.DataFrame, side: str) -> Styler:
    return table.style.set_properties(**{"text-align": side})
