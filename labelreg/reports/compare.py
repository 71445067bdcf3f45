"""Recorded runs beside printed numbers."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from labelreg import data, networks
from labelreg.experiment import PROFILES
from labelreg.names import unknown
from labelreg.papers import Row, papers, reported
from labelreg.reports.measures import measured, paired
from labelreg.results import Recorded, Result, Store

RECORDED = ("paper", "fast")  # the profiles of recorded runs, the more informative first
_SEEDS = max(profile.seeds for profile in PROFILES.values())


def compare(paper: str, item: str, store: Iterable[Result] | None = None) -> pd.DataFrame:
    """Put the recorded runs, by default those under ``data/results``, beside the numbers that a paper's table prints.

    Returns:
        One row per printed number, with all numbers in its unit, and NaN where there are none.

        - ``dataset, network, method, metric``, and the paper's ``printed`` and ``printed_std``
        - ``profile`` and ``seeds`` of the fullest profile that is recorded, empty and 0 if there is none, and the
          ``subset``, the number of training samples that the runs used, 0 for all; see :attr:`.Row.subset`
        - ``difference`` to the row it is compared with, on their ``common`` seeds, with ``half_width`` of its interval
        - ``ours`` and ``ours_std``, at the epochs that the paper reports, see :attr:`.Paper.last_epochs`
        - ``gap``, ours minus printed
        - ``runnable``, whether data set and network are part of this package
    """
    if paper not in papers:
        raise unknown("paper", paper, papers)
    if item not in papers[paper].tables:
        raise unknown(f"table of {paper}", item, papers[paper].tables)
    table, last_epochs = papers[paper].tables[item], papers[paper].last_epochs
    recorded = Recorded(Store() if store is None else store)
    cells = reported(paper).query("item == @item").drop(columns="item").reset_index(drop=True)
    cells = cells.rename(columns={"value": "printed", "std": "printed_std"})
    records = []
    for cell in cells.itertuples():
        row = table.find(cell.dataset, cell.network, cell.method)
        other = table.find(cell.dataset, cell.network, row.against or papers[paper].baseline)
        relative = cell.metric == "relative_improvement"
        needed = [row, other] if relative else [row]
        profile, subset, runs = fullest(needed, recorded)
        if relative:
            ours, theirs = (measured(each, "error", last_epochs)["ours"] for each in runs)
            numbers = {"ours": 100 * (1 - ours / theirs), "ours_std": np.nan}
        else:
            numbers = measured(runs[0], cell.metric, last_epochs)
            if profile and other not in (None, row):
                others = runs_of(other, profile, recorded, subset)
                numbers |= paired(runs[0], others, cell.metric, last_epochs)
        records.append(
            {
                "profile": profile,
                "seeds": len(runs[0]),
                "subset": subset,
                "difference": np.nan,
                "half_width": np.nan,
                "common": 0,
                **numbers,
                "gap": numbers["ours"] - cell.printed,
                "runnable": is_runnable(row),
            }
        )
    return cells.join(pd.DataFrame(records))


def recorded_runs(
    rows: Iterable[Row], profile: str = "", store: Iterable[Result] | None = None
) -> dict[Row, list[Result]]:
    """Find the recorded runs of the rows of a table or figure, in the order of seeds; rows without any are left out.

    An example of rows is ``papers["kr"].tables["table1"].rows``. The profile is that of the runs; if empty, it is the
    one at which most rows are recorded, and ``"paper"`` in a tie.
    """
    return runs_at_a_profile(rows, profile, Recorded(Store() if store is None else store))[1]


def runs_at_a_profile(rows: Iterable[Row], profile: str, recorded: Recorded) -> tuple[str, dict[Row, list[Result]]]:
    """Return the profile and the runs of :func:`recorded_runs`; an empty profile becomes ``"fast"`` without runs."""
    rows, profiles = list(rows), (profile,) if profile else RECORDED
    found = {each: {row: runs for row in rows if (runs := runs_of(row, each, recorded))} for each in profiles}
    best = max(profiles, key=lambda each: len(found[each]))  # the first of equal ones
    return (best if found[best] else profiles[-1]), found[best]


def runs_of(row: Row, profile: str, recorded: Recorded, subset: int = 0) -> list[Result]:
    """Find the recorded runs of a row at a profile, on a subset if one is given, in the order of seeds."""
    wanted = row.experiment.at(profile, **({"subset": subset} if subset else {}))
    seeds = _SEEDS
    while len(found := [run for each in wanted.with_seeds(seeds) if (run := recorded.find(each))]) == seeds:
        seeds *= 2  # all of these are there, and there may be more
    return found


def is_runnable(row: Row) -> bool:
    """Whether data set and network of a row are part of this package."""
    return row.dataset in data.names() and row.network in networks.names()


def fullest(rows: Sequence[Row], recorded: Recorded) -> tuple[str, int, list[list[Result]]]:
    """Find the runs of each row, all at ``"paper"``, else all at ``"fast"``, else the same on the rows' subset.

    Return the profile (empty if there are no runs), the subset (0 for none) and the runs.
    """
    for subset in dict.fromkeys((0, rows[0].subset)):
        for profile in RECORDED:
            runs = [runs_of(row, profile, recorded, subset) for row in rows]
            if all(runs):
                return profile, subset, runs
    return "", 0, [[] for _ in rows]
