"""Tables for the notebooks: methods against a baseline on the same seeds, and recorded runs beside printed numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from labelreg import methods
from labelreg.names import printed, unknown
from labelreg.observers import ATTACK_STEPS, NOISE_DEVIATIONS
from labelreg.papers import BENCHMARK, COLLECTIONS, Row, papers
from labelreg.reports import compare, progress, recorded_runs
from labelreg.reports.measures import METRICS, at_the_end, measured, on_common_seeds, p_values, paired
from labelreg.results import Result, Store

MOST_COLUMNS = 6  # of a table of printed numbers; with more, it is transposed
TIMES = ("before training", "slowly, over epochs", "anew at every step")  # when a distribution is known
SOURCES = {  # of distributions, to the networks that they come from
    "nobody's: the label stays one-hot": "no network",
    "the uniform distribution": "no network",
    "another sample's label": "no network",
    "its class mean over the wrong classes": "the network itself",
    "its prediction on another sample of the class": "the network itself",
    "its prediction on the clean sample, for noisy copies": "the network itself",
    "a network in training": "another network",
    "a finished network": "another network",
}
_NOISE, _ATTACK = 2, 1  # indices of the sizes that are shown
OBSERVED = {  # name in the history or observations, to its heading
    "test_error": "error, %",
    "test_ece": "ECE, %",
    "test_nll": "NLL, nats",
    "recall_at_1": "R@1, %",
    f"noisy_error[{_NOISE}]": f"error under noise of {NOISE_DEVIATIONS[_NOISE]:g}, %",
    f"fgsm_error[{_ATTACK}]": f"error under FGSM of {ATTACK_STEPS[_ATTACK]:g}, %",
}


def against_baseline(results: Mapping[str, Sequence[Result]], baseline: str, metric: str = "error") -> pd.DataFrame:
    """Compare methods with a baseline on the seeds that both have, at the last epoch.

    Args:
        results: label to the results of one experiment.
        baseline: one of the labels.
        metric: ``"error"``, in percent, or ``"test_perplexity"``.

    Returns:
        One row per label, with NaN where there is no number. The columns are the mean ``value`` of the metric and its
        ``deviation`` over seeds, the ``difference`` to the baseline's with ``half_width`` of its 95 % interval and the
        number of ``common`` seeds; ``ece`` in percent, ``nll`` in nats, and the number of ``seeds``.
    """
    if baseline not in results:
        raise unknown("label", baseline, results)
    rows = {}
    for label, group in results.items():
        own = measured(group, metric)
        rows[label] = {
            "value": own["ours"],
            "deviation": own["ours_std"],
            **paired(group, results[baseline], metric),
            "ece": measured(group, "ece")["ours"],
            "nll": np.mean([run.last["test_nll"] for run in group]) if group else np.nan,
            "seeds": len(group),
        }
    table = pd.DataFrame.from_dict(rows, "index").rename_axis("method")
    table.attrs["baseline"] = baseline
    return table


def recorded_against_baseline(
    runs: Mapping[Row, Sequence[Result]], baseline: str, metric: str = "error"
) -> pd.DataFrame:
    """Return :func:`against_baseline` of recorded runs, see :func:`labelreg.reports.recorded_runs`.

    The rows are of one data set and network. The baseline need not be among the recorded rows.
    """
    named = {row.method: group for row, group in runs.items()}
    return against_baseline({baseline: [], **named}, baseline, metric).loc[[*named]]


def show_against_baseline(tables: Mapping[str, pd.DataFrame]) -> Styler:
    """Lay tables of :func:`against_baseline` side by side, one per condition.

    A star marks differences that are significant at 5 % after Holm's correction for all differences shown. If a
    difference is on fewer seeds than one of the two methods has, the number of common seeds follows.
    """
    shown = {}
    for (condition, table), corrected in zip(tables.items(), p_values(tables.values()), strict=True):
        shown |= {
            (condition, "error, %"): _written(table.value, ".1f"),
            (condition, "against the baseline"): differences(table, corrected),
            (condition, "ECE, %"): _written(table.ece, ".1f"),
            (condition, "NLL, nats"): _written(table.nll, ".2f"),
        }
    return _aligned(pd.DataFrame(shown).rename_axis(None), "right")


def differences(table: pd.DataFrame, corrected: pd.Series, form: str = "+.1f") -> pd.Series:
    """Write the differences of :func:`against_baseline` as :func:`show_against_baseline` shows them.

    ``corrected`` are their p-values. Rows that are not compared, such as the baseline itself, are empty.
    """
    baseline = table.attrs["baseline"]
    compared = (table.index != baseline) & table.difference.notna()
    fewer = table.common < np.maximum(table.seeds, table.seeds.get(baseline, 0))
    on = (", common seeds: " + table.common.astype(str)).where(fewer & compared, "")
    return _written(table.difference, form, table.half_width, compared) + _stars(corrected) + on


def pairs(
    compared: Iterable[tuple[str, Mapping[str, Sequence[Result]], str, str]], metrics: Sequence[str] = ("error",)
) -> Styler:
    """Show how pairs of methods differ on the seeds that both have, with 95 % intervals that are not corrected.

    Args:
        compared: the rows: a condition, the results by label, and two labels; the first minus the second is shown.
        metrics: the columns, such as ``"error"`` and ``"top5_error"``; percentages differ by points.
    """
    cells = {}
    for condition, runs, first, second in compared:
        rows = {metric: paired(runs[first], runs[second], metric) for metric in metrics}
        found = pd.DataFrame(rows, dtype=float).T
        known = found.difference.notna()
        cells[condition, f"{first} minus {second}"] = _written(found.difference, "+.2f", found.half_width, known)
    headings = {metric: METRICS[metric][1].replace("%", "points") for metric in metrics}
    return _aligned(pd.DataFrame(cells).T.rename(columns=headings), "right")


def observed(results: Mapping[Any, Sequence[Result]], columns: Mapping[str, str], baseline: Any = None) -> Styler:
    """Show metrics at the last epoch: the mean and the standard deviation over seeds.

    Args:
        results: label, which may be a tuple, to the results of one experiment.
        columns: name of a metric or an observation, such as ``"fgsm_error[2]"`` for one of its numbers, to its heading.
            If the heading ends in %, fractions are shown in percent.
        baseline: a label. A star marks methods that differ from it significantly on common seeds, at 5 % after Holm's
            correction for the methods in a column.
    """
    if baseline is not None and baseline not in results:
        raise unknown("label", baseline, results)
    shown = {}
    for name, heading in columns.items():
        scale, form = (100, ".1f") if heading.endswith("%") else (1, ".2f")
        values = pd.Series([[scale * at_the_end(each, name) for each in group] for group in results.values()])
        shown[heading] = _written(values.map(np.mean), form, [pd.Series(each).std() for each in values])
        if baseline is not None:
            seeds = [[each.experiment.seed for each in group] for group in results.values()]
            by_seed = [dict(zip(*each, strict=True)) for each in zip(seeds, values, strict=True)]
            others = by_seed[[*results].index(baseline)]
            shown[heading] += _stars(*p_values([pd.DataFrame([on_common_seeds(each, others) for each in by_seed])]))
    return _aligned(pd.DataFrame(shown).set_index(pd.Index(results)), "right")


def metrics(results: Mapping[str, Sequence[Result]], baseline: str) -> Styler:
    """Show methods with all metrics that every run recorded or observed, as a sortable table with stars.

    See :func:`observed`. R@1 is shown if the runs observed ``embedding``, and errors on disturbed images if they
    observed ``robustness``.
    """
    every = [result for group in results.values() for result in group]
    known = set.intersection(*({*result.history, *result.observations} for result in every))
    columns = {name: heading for name, heading in OBSERVED.items() if name.partition("[")[0] in known}
    return sortable(observed(results, columns, baseline))


def method_map() -> Styler:
    """Show every method in one table: rows for whose distribution softens the label, columns for when it is known.

    Each method names its own place. A new source adds a row, and a time other than the three adds a column. A label
    that stays one-hot is known before training. The papers' methods are bold, and all are underlined in their colours.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for method in map(methods.find, methods.names()):
        source, time = method.place
        if source:
            weight = "bold" if method.paper else "normal"
            style = f"border-bottom: 2px solid {method.colour}; font-weight: {weight}; display: inline-block"
            cell = cells.setdefault((SOURCES.get(source, "other"), source), {})
            time = time or TIMES[0]
            cell[time] = f'{cell.get(time, "")} <span style="{style}">{method.title}</span>'
    rows = sorted(cells, key=lambda row: [*SOURCES, row[1]].index(row[1]))
    table = pd.DataFrame.from_dict(cells, "index").loc[rows].fillna("")
    sources = {"selector": "th.row_heading", "props": "text-align: left; font-weight: normal; vertical-align: top"}
    shown = _aligned(table[[*TIMES, *table.columns.difference(TIMES)]], "left")
    return shown.set_properties(**{"white-space": "normal"}).set_table_styles([sources], overwrite=False)


def sortable(table: Styler) -> Styler:
    """Let a click on a column's heading sort the rows of a table, if the page has the book's script."""
    return table.set_table_attributes('class="sortable"')


@dataclass(frozen=True, repr=False)
class LinedTable:
    """A table above a line of HTML, or the line alone if the table is empty."""

    table: Styler
    line: str

    def _repr_html_(self) -> str:
        return f"{'' if self.table.data.empty else self.table.to_html()}\n<p>{self.line}</p>"


def beside_printed(paper: str, item: str, store: Iterable[Result] | None = None) -> LinedTable:
    """Show the numbers that a paper's table prints, with ours before them in the same cell if runs are recorded.

    Methods are rows, and pairs of data set and network are columns, or the other way round if there are many pairs. The
    line is that of :func:`labelreg.reports.progress`. The arguments are those of :func:`labelreg.reports.compare`.
    """
    results = list(Store() if store is None else store)
    cells, table = compare(paper, item, results), papers[paper].tables[item]
    (corrected,) = p_values([cells])
    theirs, done = _written(cells.printed, ".2f", cells.printed_std), cells.seeds > 0
    ours = "<b>" + _written(cells.ours, ".2f", cells.ours_std) + "</b>" + _stars(corrected)
    ours += np.where(cells.subset, " †", "")
    cells["shown"] = (ours + " / " + theirs).where(done, theirs)
    cells["metric"] = [METRICS[metric][1] for metric in cells.metric]
    rows = [table.find(*names) for names in cells[["dataset", "network", "method"]].values]
    cells["method"] = [methods.find(row.experiment.method).called(row.method) for row in rows]
    cells["dataset"], cells["network"] = cells.dataset.map(printed), cells.network.map(printed)
    shown, facts = _arranged(cells)
    facts += ["<b>ours</b> / printed"] if done.any() else []
    facts += [f"† ours with {each:,} of the training samples" for each in cells.subset.unique() if each]
    facts += ["* our difference to the baseline is significant"] if any(corrected < 0.05) else []
    return LinedTable(_aligned(shown, "left").set_caption(", ".join(facts)), progress(paper, item, store=results))


def _arranged(cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Lay cells out in as few columns as they need; also return what they have in common."""
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


def show_recorded(item: str, profile: str, metric: str = "error", store: Iterable[Result] | None = None) -> LinedTable:
    """Show the recorded runs of a table of the benchmark against its baseline: a sortable table above a line on them.

    The metric is that of :func:`against_baseline`, the line that of :func:`labelreg.reports.progress`, and differences
    are shown as in :func:`show_against_baseline`.
    """
    results, rows = list(Store() if store is None else store), BENCHMARK.tables[item].rows
    table = recorded_against_baseline(recorded_runs(rows, profile, results), BENCHMARK.baseline, metric)
    (corrected,) = p_values([table])
    columns = {
        METRICS[metric][1]: _written(table.value, ".2f", table.deviation),
        "against the baseline": differences(table, corrected, "+.2f"),
        "ECE, %": _written(table.ece, ".1f"),
        "NLL, nats": _written(table.nll, ".2f", where=metric != "test_perplexity"),  # NLL is its logarithm
        "seeds": _written(table.seeds, "", where=table.seeds.nunique() > 1),
    }
    shown = pd.DataFrame(columns).rename_axis(None)
    shown = sortable(_aligned(shown.loc[:, (shown != "").any()], "right"))
    return LinedTable(shown, progress(BENCHMARK.key, item, profile, results))


def by_network(
    items: Iterable[str], methods: Sequence[str], profile: str = "fast", store: Iterable[Result] | None = None
) -> LinedTable:
    """Show the errors of recorded runs in percent, with a row per data set and network and a column per method.

    The baseline comes first, with its standard deviation over seeds. Below the error of every other method is its
    difference to the baseline, as in :func:`show_against_baseline`. ``items`` are tables of the benchmark, whose titles
    name the data sets; each has a line of :func:`labelreg.reports.progress`.
    """
    results, baseline = list(Store() if store is None else store), BENCHMARK.baseline
    found, lines = {}, []
    for item in items:
        name = BENCHMARK.tables[item].title.partition(", ")[2]
        lines.append(f"{name}: {progress(BENCHMARK.key, item, profile, results)}")
        shown = [row for row in BENCHMARK.tables[item].rows if row.method in (baseline, *methods)]
        for network in dict.fromkeys(row.network for row in shown):
            runs = recorded_runs([row for row in shown if row.network == network], profile, results)
            if runs:
                found[name, printed(network)] = recorded_against_baseline(runs, baseline)
    cells = {}
    for (place, table), corrected in zip(found.items(), p_values(found.values()), strict=True):
        against = differences(table, corrected)
        errors = _written(table.value, ".1f", table.deviation.where(table.index == baseline))
        cells[place] = errors + ("<br>(" + against + ")").where(against != "", "")
    shown = pd.DataFrame(cells).T.reindex(columns=[baseline, *methods]).astype(object).fillna("")
    return LinedTable(_aligned(shown, "right"), "<br>".join(lines))


def recorded(collection: str, item: str, draw: Callable[[Mapping[Row, Sequence[Result]]], Figure]) -> Figure | HTML:
    """Draw the recorded runs of a table or figure, such as ``"kr"`` and ``"figure5"``, below a line on them.

    ``draw`` is given the rows that have runs, see :func:`labelreg.reports.recorded_runs`. The line is that of
    :func:`labelreg.reports.progress`; if there are no runs, only the line is shown.
    """
    line = HTML(f"<p>{progress(collection, item)}</p>")
    runs = recorded_runs(COLLECTIONS[collection].items[item].rows)
    if not runs:
        return line
    display(line)
    return draw(runs)


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


def _aligned(table: pd.DataFrame, side: str) -> Styler:
    headings = {"selector": "th.col_heading", "props": f"text-align: {side}"}
    return table.style.set_properties(**{"text-align": side}).set_table_styles([headings])
