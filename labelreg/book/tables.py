"""Tables for the notebooks: methods against a baseline on the same seeds, and recorded runs beside printed numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from labelreg import methods
from labelreg.names import unknown
from labelreg.observers import ATTACK_STEPS, NOISE_DEVIATIONS
from labelreg.papers import BENCHMARK, Item, Row, papers
from labelreg.reports import compare, progress
from labelreg.reports.measures import at_the_end, measured, on_common_seeds, p_values, paired
from labelreg.results import Result, Store, paired_difference

MOST_COLUMNS = 6  # of a table of printed numbers, beyond which it is turned
HEADINGS = {  # of printed metrics
    "error": "error, %",
    "accuracy": "accuracy, %",
    "top1_error": "top-1 error, %",
    "top5_error": "top-5 error, %",
    "top1_accuracy": "top-1 accuracy, %",
    "top5_accuracy": "top-5 accuracy, %",
    "ece": "ECE, %",
    "recall_at_1": "R@1, %",
    "relative_improvement": "relative improvement, %",
    "valid_perplexity": "validation perplexity",
    "test_perplexity": "test perplexity",
}
_NOISE, _ATTACK = 2, 1  # place among their sizes
METRICS = {  # in the history or observed, to its heading
    "test_error": "error, %",
    "test_ece": "ECE, %",
    "test_nll": "NLL, nats",
    "recall_at_1": "R@1, %",
    f"noisy_error[{_NOISE}]": f"error under noise of {NOISE_DEVIATIONS[_NOISE]:g}, %",
    f"fgsm_error[{_ATTACK}]": f"error under FGSM of {ATTACK_STEPS[_ATTACK]:g}, %",
}


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


def observed(results: Mapping[Any, Sequence[Result]], columns: Mapping[str, str], baseline: Any = None) -> Styler:
    """Show metrics at the last epoch: the mean and the standard deviation over seeds.

    Args:
        results: label, which may be a tuple, to the results of one experiment.
        columns: name of a metric or an observation, such as ``"fgsm_error[2]"`` for one of its numbers, to its heading;
            under one that ends in %, fractions are in percent.
        baseline: a label. A star marks what differs from it on common seeds significantly, at 5 % after Holm's
            correction for the methods in a column.
    """
    if baseline is not None and baseline not in results:
        raise unknown("label", baseline, results)
    shown = {}
    for name, heading in columns.items():
        scale, form = (100, ".1f") if heading.endswith("%") else (1, ".2f")
        values = pd.Series([[scale * at_the_end(each, name) for each in group] for group in results.values()])
        shown[heading] = _written(values.map(np.mean), form, values.map(_spread))
        if baseline is not None:
            seeds = [[each.experiment.seed for each in group] for group in results.values()]
            by_seed = [dict(zip(*each, strict=True)) for each in zip(seeds, values, strict=True)]
            others = by_seed[[*results].index(baseline)]
            shown[heading] += _stars(*p_values([pd.DataFrame([on_common_seeds(each, others) for each in by_seed])]))
    return _aligned(pd.DataFrame(shown).set_index(pd.Index(results)), "right")


def metrics(results: Mapping[str, Sequence[Result]], baseline: str) -> Styler:
    """Show methods over all metrics that were recorded or observed of every one, sortable, with stars.

    See :func:`observed`. R@1 is there where runs observed ``embedding``, and errors on disturbed images where they
    observed ``robustness``.
    """
    every = [result for group in results.values() for result in group]
    known = set.intersection(*({*result.history, *result.observations} for result in every))
    columns = {name: heading for name, heading in METRICS.items() if name.partition("[")[0] in known}
    return sortable(observed(results, columns, baseline))


def sortable(table: Styler) -> Styler:
    """Let a click on a column's heading sort the rows of a table, where the page has the book's script."""
    return table.set_table_attributes('class="sortable"')


@dataclass(frozen=True, repr=False)
class LinedTable:
    """A table over a line of HTML, or the line alone where the table is empty."""

    table: Styler
    line: str

    def _repr_html_(self) -> str:
        return f"{'' if self.table.data.empty else self.table.to_html()}\n<p>{self.line}</p>"


def beside_printed(paper: str, item: str, store: Iterable[Result] | None = None) -> LinedTable:
    """Show the numbers that a table prints and, where runs are recorded, ours before them in the same cell.

    Methods are rows, and pairs of data set and network columns, or the other way round where these are many. The line
    is that of :func:`labelreg.reports.progress`. The arguments are those of :func:`labelreg.reports.compare`.
    """
    results = list(Store() if store is None else store)
    cells, table = compare(paper, item, results), papers[paper].tables[item]
    (corrected,) = p_values([cells])
    printed, done = _written(cells.printed, ".2f", cells.printed_std), cells.seeds > 0
    ours = "<b>" + _written(cells.ours, ".2f", cells.ours_std) + "</b>" + _stars(corrected)
    ours += np.where(cells.subset, " †", "")
    cells["shown"] = (ours + " / " + printed).where(done, printed)
    cells["metric"] = cells.metric.map(lambda metric: HEADINGS.get(metric, metric.replace("_", " ")))
    cells["method"] = [_called(table.find(*names)) for names in cells[["dataset", "network", "method"]].values]
    cells["network"] = cells.network.str.removeprefix("imagenet_")  # the network of that name for 224 px
    shown, facts = _arranged(cells)
    facts += ["<b>ours</b> / printed"] if done.any() else []
    facts += [f"† ours with {each:,} of the training samples" for each in cells.subset.unique() if each]
    facts += ["* our difference to the baseline is significant"] if any(corrected < 0.05) else []
    return LinedTable(_aligned(shown, "left").set_caption(", ".join(facts)), progress(paper, table, store=results))


def _called(row: Row) -> str:
    return methods.find(row.experiment.method).called(row.method)


def _arranged(cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Lay cells out in as few columns as they need; return what they have in common too."""
    names = ["dataset", "network", "metric", "method"]
    common = [name for name in names[:3] if cells[name].nunique() == 1]
    columns = [name for name in names[:2] if name not in common]
    rows = ["method"] if "metric" in common else ["metric", "method"]
    if not columns:
        common, rows, columns = names[:2], ["method"], ["metric"]
    ordered = cells.assign(**{name: pd.Categorical(cells[name], cells[name].unique()) for name in names})
    shown = ordered.pivot(index=rows, columns=columns, values="shown").sort_index().sort_index(axis=1)
    if shown.shape[1] > MOST_COLUMNS:
        shown = shown.T
    shown = shown.astype(object).fillna("").rename_axis([None] * shown.index.nlevels)
    return shown, [cells[name][0] for name in common]


def recorded_against_baseline(
    runs: Mapping[Row, Sequence[Result]], baseline: str, metric: str = "error"
) -> pd.DataFrame:
    """Compare recorded runs with those of a baseline on the seeds that both have, at the last epoch.

    Args:
        runs: rows of one data set and network to their recorded runs, see :func:`labelreg.reports.recorded_runs`.
        baseline: the method of one of the rows.
        metric: ``"error"``, in percent, or ``"test_perplexity"``.

    Returns:
        One row per method that has runs, with ``ours, ours_std, difference, half_width`` as in
        :func:`labelreg.reports.compare`, the number of ``common`` seeds, ``ece`` in percent, ``nll`` in nats, the
        number of ``seeds`` and the ``minutes`` per run; NaN where there are none.
    """
    others = next((group for row, group in runs.items() if row.method == baseline), [])
    rows = {}
    for row, group in runs.items():
        rows[row.method] = {
            **{name: measured(group, metric)[name] for name in ("ours", "ours_std")},
            **paired(group, others, metric),
            "ece": measured(group, "ece")["ours"],
            "nll": np.mean([result.last["test_nll"] for result in group]),
            "seeds": len(group),
            "minutes": np.mean([result.provenance["seconds"] for result in group]) / 60,
        }
    columns = ["ours", "ours_std", "difference", "half_width", "common", "ece", "nll", "seeds", "minutes"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("method")


def show_recorded(table: pd.DataFrame, item: Item, baseline: str, profile: str, metric: str = "error") -> LinedTable:
    """Lay out a table of :func:`recorded_against_baseline`, sortable, over a line that names what is missing.

    Baseline, profile and metric are those of the table, whose runs are of the benchmark. A star is as in
    :func:`show_against_baseline`; a difference on fewer seeds than either has is followed by their number.
    """
    table = table.loc[[row.method for row in item.rows if row.method in table.index]]
    compared = (table.index != baseline) & table.difference.notna()
    fewer = table.common < np.maximum(table.seeds, table.seeds.get(baseline, 0))
    on = (", common seeds: " + table.common.astype(str)).where(fewer & compared, "")
    (corrected,) = p_values([table])
    difference = _written(table.difference, "+.2f", table.half_width, compared) + _stars(corrected) + on
    columns = {
        HEADINGS[metric]: _written(table.ours, ".2f", table.ours_std),
        "against the baseline": difference if compared.any() else None,
        "ECE, %": _written(table.ece, ".1f"),
        "NLL, nats": None if metric == "test_perplexity" else _written(table.nll, ".2f"),  # its logarithm
        "minutes per run": _written(table.minutes, ".1f"),
        "seeds": table.seeds.astype(str) if table.seeds.nunique() > 1 else None,
    }
    shown = pd.DataFrame({heading: column for heading, column in columns.items() if column is not None})
    return LinedTable(sortable(_aligned(shown.rename_axis(None), "right")), progress(BENCHMARK.key, item, profile))


def _written(values: pd.Series, form: str, deviations: Iterable[float] | None = None, where: Any = True) -> pd.Series:
    """Write values where a condition holds, each with its deviation unless that is NaN."""
    written = values.map(f"{{:{form}}}".format)
    if deviations is not None:
        spread = f" ± {{:{form.lstrip('+')}}}".format
        written += ["" if pd.isna(each) else spread(each) for each in deviations]
    return pd.Series(np.where(where, written, ""), values.index, dtype=object)


def _stars(corrected: pd.Series) -> pd.Series:
    """Mark what is significant at 5 %."""
    return pd.Series(np.where(corrected < 0.05, " *", ""), corrected.index, dtype=object)


def _spread(values: Sequence[float]) -> float:
    return np.std(values, ddof=1) if len(values) > 1 else np.nan


def _aligned(table: pd.DataFrame, side: str) -> Styler:
    headings = {"selector": "th.col_heading", "props": f"text-align: {side}"}
    return table.style.set_properties(**{"text-align": side}).set_table_styles([headings])
