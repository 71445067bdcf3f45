"""Recorded runs of the benchmark with several data sets and networks in one small table."""

from collections.abc import Iterable, Sequence

import pandas as pd

from labelreg.book.tables import LinedTable, recorded_against_baseline
from labelreg.papers import BENCHMARK, Item
from labelreg.reports import progress, recorded_runs
from labelreg.reports.measures import p_values
from labelreg.results import Result, Store


def by_network(
    items: Iterable[Item], methods: Sequence[str], profile: str = "fast", store: Iterable[Result] | None = None
) -> LinedTable:
    """Show the errors of recorded runs in percent, a row per data set and network and a column per method.

    The baseline comes first, with its standard deviation over seeds; every other method with the paired difference to
    it and its 95 % interval, and the number of seeds where it is smaller than the baseline's. A star marks what is
    significant at 5 % after Holm's correction for all that is shown. The lines are those of
    :func:`labelreg.reports.progress`; ``items`` are of the benchmark, and a data set is called as in their titles.
    """
    results, baseline = list(Store() if store is None else store), BENCHMARK.baseline
    found, lines = {}, []
    for item in items:
        name = item.title.partition(", ")[2]
        lines.append(f"{name}: {progress(BENCHMARK.key, item, profile, results)}")
        shown = [row for row in item.rows if row.method in (baseline, *methods)]
        for network in dict.fromkeys(row.network for row in shown):
            runs = recorded_runs([row for row in shown if row.network == network], profile, results)
            if runs:
                found[name, network] = recorded_against_baseline(runs, baseline)
    corrected = p_values(found.values()) if found else []
    written = {
        place: {
            method: _written(row, method == baseline, p[method], table.seeds.max()) for method, row in table.iterrows()
        }
        for (place, table), p in zip(found.items(), corrected, strict=True)
    }
    table = pd.DataFrame.from_dict(written, "index", columns=(baseline, *methods)).fillna("")
    return LinedTable(table.style.set_properties(**{"text-align": "right"}), "<br>".join(lines))


def _written(row: pd.Series, is_baseline: bool, p: float, most: int) -> str:
    error = f"{row.ours:.1f}"
    if is_baseline:
        return error if pd.isna(row.ours_std) else f"{error} ± {row.ours_std:.1f}"
    if pd.isna(row.difference):
        return error
    interval = "" if pd.isna(row.half_width) else f" ± {row.half_width:.1f}"
    star = " *" if p < 0.05 else ""
    fewer = f", {row.common:.0f} seeds" if row.common < most else ""
    return f"{error} ({row.difference:+.1f}{interval}{star}{fewer})"
