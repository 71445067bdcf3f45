"""The papers as data: their printed numbers, and the experiments behind every table and figure.

Every module of this package that defines a ``PAPER`` is one paper; a new one needs no other change than its file of
reported numbers.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from labelreg import data, networks, paths
from labelreg.assignments import command
from labelreg.checks import unknown
from labelreg.experiments import PROFILES
from labelreg.papers.paper import Item, Paper, Row
from labelreg.results import Result, Store

COLUMNS = ("item", "dataset", "network", "method", "metric", "value", "std")

_modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
papers: dict[str, Paper] = {module.PAPER.key: module.PAPER for module in _modules if hasattr(module, "PAPER")}


def _percent(fraction: float) -> float:
    return 100 * fraction


def _percent_right(error: float) -> float:
    return 100 * (1 - error)


# how a printed metric follows from what is recorded every epoch
_METRICS: dict[str, tuple[str, Callable[[float], float]]] = {
    "error": ("test_error", _percent),
    "accuracy": ("test_error", _percent_right),
    "top1_error": ("test_error", _percent),
    "top1_accuracy": ("test_error", _percent_right),
    "top5_error": ("test_top5_error", _percent),
    "top5_accuracy": ("test_top5_error", _percent_right),
    "ece": ("test_ece", _percent),
    "valid_perplexity": ("validation_perplexity", float),
    "test_perplexity": ("test_perplexity", float),
}


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
        ``ours_std`` (last epoch), ``best`` (best epoch on the test set) and ``gap`` (ours minus printed); ``runnable``,
        whether data set and network are part of this package; and ``command``, which runs the row. What has not been
        run has an empty profile and NaN for its numbers.

    Raises:
        ValueError: no such paper or table.
    """
    if paper not in papers:
        raise unknown("paper", paper, papers)
    if item not in papers[paper].tables:
        raise unknown(f"table of {paper}", item, papers[paper].tables)
    printed = reported(paper).query("item == @item")
    rows = {(row.dataset, row.network, row.method): row for row in papers[paper].tables[item].rows}
    recorded = {result.key: result for result in (Store() if store is None else store)}
    records = []
    for cell in printed.itertuples():
        row = rows[cell.dataset, cell.network, cell.method]
        found_profile, found = _recorded(row, recorded)
        ours, ours_std, best = _measured(found, cell.metric)
        records.append(
            {
                "dataset": cell.dataset,
                "network": cell.network,
                "method": cell.method,
                "metric": cell.metric,
                "printed": cell.value,
                "printed_std": cell.std,
                "profile": found_profile,
                "seeds": len(found),
                "ours": ours,
                "ours_std": ours_std,
                "best": best,
                "gap": ours - cell.value,
                "runnable": cell.dataset in data.names() and cell.network in networks.names(),
                "command": command(row.experiment, papers[paper].seeds),
            }
        )
    return pd.DataFrame(records)


def _recorded(row: Row, recorded: dict[str, Result]) -> tuple[str, list[Result]]:
    """Find a row's runs at the paper's protocol, else at the fast profile."""
    for profile in ("paper", "fast"):
        candidates = row.experiment.at(profile).with_seeds(max(each.seeds for each in PROFILES.values()))
        if found := [recorded[each.key] for each in candidates if each.key in recorded]:
            return profile, found
    return "", []


def _measured(results: list[Result], metric: str) -> tuple[float, float, float]:
    """Mean and standard deviation over seeds of the last epoch, and mean of the best one, in the unit of print."""
    if not results:
        return np.nan, np.nan, np.nan
    name, as_printed = _METRICS[metric]
    last, best = (
        [as_printed(each[name]) for each in epochs]
        for epochs in ([result.last for result in results], [result.best for result in results])
    )
    return float(np.mean(last)), float(np.std(last, ddof=1)) if len(last) > 1 else np.nan, float(np.mean(best))


__all__ = ["COLUMNS", "Item", "Paper", "Row", "compare", "papers", "reported"]
