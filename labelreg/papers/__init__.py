"""The papers as data: their printed numbers, and the experiments behind every table and figure.

Every module of this package that defines a ``PAPER`` is one paper; a new one needs no other change than its file of
reported numbers.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from labelreg import data, networks, paths
from labelreg.assignments import command
from labelreg.checks import unknown
from labelreg.experiments import PROFILES, Recorded
from labelreg.papers.measures import measured, paired
from labelreg.papers.paper import Item, Paper, Row
from labelreg.results import Result, Store

_MOST_SEEDS = max(profile.seeds for profile in PROFILES.values())
COLUMNS = ("item", "dataset", "network", "method", "metric", "value", "std")

_modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
papers: dict[str, Paper] = {module.PAPER.key: module.PAPER for module in _modules if hasattr(module, "PAPER")}


def reported(paper: str) -> pd.DataFrame:
    """Return the numbers a paper prints, a row a number.

    Args:
        paper: key of a paper, such as ``"kr"``.

    Returns:
        The columns ``item, dataset, network, method, metric, value, std``; ``value`` as printed, ``std`` NaN where none
        is printed.

    Raises:
        ValueError: no such paper.
    """
    path = paths.reported_root() / f"{paper}.csv"
    if not path.exists():
        raise unknown("paper with reported numbers", paper, [each.stem for each in path.parent.glob("*.csv")])
    return pd.read_csv(path)


def compare(paper: str, item: str, store: Iterable[Result] | None = None) -> pd.DataFrame:
    """Put the recorded runs beside the numbers that a table prints.

    Args:
        paper: key of a paper.
        item: name of one of its tables.
        store: the recorded runs, a :class:`.Store` or what was read from one; by default those under ``data/results``.

    Returns:
        A row a printed number, with all numbers in its unit: ``dataset, network, method, metric``; the paper's
        ``printed`` and ``printed_std``; of the fullest profile that has been run ``profile``, ``seeds``, ``ours`` and
        ``ours_std`` (at the end of training, as ``Paper.last_epochs`` has it), ``difference`` and ``half_width`` (of
        ours to the row it is compared with, on the same seeds, with a 95 % interval), ``best`` (best epoch on the test
        set), ``chosen`` (best epoch on the validation split, NaN where there is none) and ``gap`` (ours minus printed);
        ``runnable``, whether data set and network are part of this package; and ``command``, which runs the row. What
        has not been run has an empty profile and NaN for its numbers. A relative improvement takes two rows, its own
        and the baseline of its data set and network. A run that was recorded at other defaults than today's is passed
        over with a warning.

    Raises:
        ValueError: no such paper or table.
    """
    if paper not in papers:
        raise unknown("paper", paper, papers)
    if item not in papers[paper].tables:
        raise unknown(f"table of {paper}", item, papers[paper].tables)
    printed = reported(paper).query("item == @item")
    table, last_epochs = papers[paper].tables[item], papers[paper].last_epochs
    recorded = Recorded(Store() if store is None else store)
    records = []
    for cell in printed.itertuples():
        relative = cell.metric == "relative_improvement"
        row = table.find(cell.dataset, cell.network, cell.method)
        other = table.find(cell.dataset, cell.network, row.against or papers[paper].baseline)
        needed = [row, other] if relative else [row]
        profile, runs = _recorded(needed, recorded)
        if relative:
            numbers = _improvement(*(measured(found, "error", last_epochs) for found in runs))
        else:
            numbers = measured(runs[0], cell.metric, last_epochs)
            if profile and other not in (None, row):
                against = _runs(other, profile, recorded)
                numbers |= paired(runs[0], against, cell.metric, last_epochs)
        records.append(
            {
                "dataset": cell.dataset,
                "network": cell.network,
                "method": cell.method,
                "metric": cell.metric,
                "printed": cell.value,
                "printed_std": cell.std,
                "profile": profile,
                "seeds": len(runs[0]),
                "difference": np.nan,
                "half_width": np.nan,
                **numbers,
                "gap": numbers["ours"] - cell.value,
                "runnable": is_runnable(needed[0]),
                "command": " && ".join(command(row.experiment, papers[paper].seeds) for row in needed),
            }
        )
    return pd.DataFrame(records)


def recorded_runs(rows: Iterable[Row], profile: str, store: Iterable[Result] | None = None) -> dict[Row, list[Result]]:
    """Find the recorded runs of the rows of a table or figure, in the order of seeds; rows without any are left out.

    Args:
        rows: such as ``papers["kr"].tables["table1"].rows``.
        profile: at which the runs were made.
        store: see :func:`compare`.
    """
    recorded = Recorded(Store() if store is None else store)
    return {row: runs for row in rows if (runs := _runs(row, profile, recorded))}


def is_runnable(row: Row) -> bool:
    """Whether data set and network of a row are part of this package."""
    return row.dataset in data.names() and row.network in networks.names()


def _recorded(rows: Sequence[Row], recorded: Recorded) -> tuple[str, list[list[Result]]]:
    """Find the runs of each row, all at the paper's protocol, else all at the fast profile."""
    for profile in ("paper", "fast"):
        runs = [_runs(row, profile, recorded) for row in rows]
        if all(runs):
            return profile, runs
    return "", [[] for _ in rows]


def _runs(row: Row, profile: str, recorded: Recorded) -> list[Result]:
    return [run for each in row.experiment.at(profile).with_seeds(_MOST_SEEDS) if (run := recorded.find(each))]


def _improvement(method: dict[str, float], baseline: dict[str, float]) -> dict[str, float]:
    """By how many percent of the baseline's mean error the method's is smaller."""
    reduced = {name: 100 * (1 - method[name] / baseline[name]) for name in ("ours", "best", "chosen")}
    return reduced | {"ours_std": np.nan}


__all__ = ["COLUMNS", "Item", "Paper", "Row", "compare", "is_runnable", "papers", "recorded_runs", "reported"]
