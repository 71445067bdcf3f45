"""Recording the tables and figures: the runs they need, the most informative first, and how many are recorded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from labelreg.costs import forward_operations
from labelreg.data import names as dataset_names
from labelreg.experiment import PROFILES, Experiment
from labelreg.names import unknown
from labelreg.networks import names as network_names
from labelreg.papers import COLLECTIONS, Row, papers
from labelreg.reports.compare import compare, fullest, is_runnable
from labelreg.results import Recorded, Result, Store
from labelreg.sweeps import Runtimes


@dataclass(frozen=True)
class Task:
    """A run that a row of a table or figure needs, at its profile and with its seed."""

    collection: str  # key of the paper, or "shared"
    item: str  # the table or figure
    row: Row
    experiment: Experiment


def plan(
    profile: str = "fast",
    *,
    collections: Iterable[str] = (),
    items: Iterable[str] = (),
    datasets: Iterable[str] = ("cifar100",),
    networks: Iterable[str] = (),
    methods: Iterable[str] = (),
    seeds: int = 0,
) -> list[Task]:
    """List the runs that tables and figures need, each once, the most informative per minute first.

    Rows that are compared with each other, on one data set and network, stay together; small networks come before large
    ones. Among rows that are compared, the baseline comes first, with all seeds, then one method after another.

    Args:
        profile: key of :data:`labelreg.experiment.PROFILES`.
        collections: keys of papers, or ``"shared"`` for the benchmark of all methods; all if empty.
        items: names of their tables and figures; all if empty.
        datasets, networks, methods: names, see :func:`printed_methods`; all if empty.
        seeds: runs of each experiment; 0 for :meth:`.Item.runs`.
    """
    collections, datasets = list(collections) or list(COLLECTIONS), list(datasets) or dataset_names()
    networks, methods = list(networks) or network_names(), list(methods) or printed_methods()
    known_items = dict.fromkeys(name for key in collections if key in COLLECTIONS for name in COLLECTIONS[key].items)
    items = list(items) or [*known_items]
    for kind, names, known in (
        ("profile", [profile], PROFILES),
        ("paper", collections, COLLECTIONS),
        ("table or figure", items, known_items),
        ("data set", datasets, dataset_names()),
        ("network", networks, network_names()),
        ("method in any table or figure", methods, printed_methods()),
    ):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    compared = [
        rows
        for key in collections
        for item, table in COLLECTIONS[key].items.items()
        if item in items
        for rows in _compared(key, item, table.rows)
        if rows[0].row.dataset in datasets and rows[0].row.network in networks and is_runnable(rows[0].row)
    ]

    def size(rows: list[Task]) -> float:
        first = rows[0].experiment.at(profile)
        return first.epochs * forward_operations(first.network, first.network_options)

    compared.sort(key=size)
    found: dict[Experiment, Task] = {}
    for task in (task for rows in compared for task in rows if task.row.method in methods):
        count = seeds or COLLECTIONS[task.collection].items[task.item].runs(task.row, profile)
        for each in task.experiment.at(profile).with_seeds(count):
            found.setdefault(each, Task(task.collection, task.item, task.row, each))
    return list(found.values())


def printed_methods() -> list[str]:
    """Return the names of the methods in the tables and figures."""
    items = (item for collection in COLLECTIONS.values() for item in collection.items.values())
    return list(dict.fromkeys(row.method for item in items for row in item.rows))


def overview(todo: Iterable[Task], recorded: Recorded, runtimes: Runtimes) -> pd.DataFrame:
    """Summarise tasks per table or figure, data set and network, in their order.

    The columns are ``collection, item, dataset, network, runs, recorded, left, hours``. The hours are those of the runs
    that are left, one after another, and NaN if no run on the same network and device is recorded.
    """
    names, rows = ["collection", "item", "dataset", "network"], []
    for task in todo:
        done = recorded.find(task.experiment) is not None
        hours = 0.0 if done else runtimes.seconds(task.experiment) / 3600
        rows.append((task.collection, task.item, task.row.dataset, task.row.network, 1, done, not done, hours))
    runs = pd.DataFrame(rows, columns=[*names, "runs", "recorded", "left", "hours"])
    return runs.groupby(names, sort=False).agg(lambda each: each.sum(skipna=False)).reset_index()


def coverage(store: Iterable[Result] | None = None) -> pd.DataFrame:
    """Summarise how much of every table and figure is recorded, by default under ``data/results``.

    The columns are ``collection, item, shows``; the number of ``cells``, which are the printed numbers of a paper's
    table, or else rows or curves; how many of them are ``runnable`` with the data sets and networks of this package;
    how many are recorded ``at fast``, at the collection's ``own protocol``, or ``on a subset`` of the training samples,
    see :attr:`.Row.subset`; and the ``mean gap`` and ``largest gap`` between our number and the printed one, in its
    unit.
    """
    results = list(Store() if store is None else store)
    recorded = Recorded(results)
    rows = []
    for key, collection in COLLECTIONS.items():
        for name, item in collection.items.items():
            if key in papers and name in collection.tables:
                cells = compare(key, name, results)
                runnable, part = cells.runnable, cells.subset > 0
                profiles, gaps = cells.profile.mask(part, "subset"), cells.gap.mask(part)
            else:
                runnable = pd.Series([is_runnable(row) for row in item.rows])
                profiles = pd.Series([fullest([row], recorded)[0] for row in item.rows])
                gaps = pd.Series(dtype=float)
            rows.append(
                {
                    "collection": key,
                    "item": name,
                    "shows": item.title,
                    "cells": len(runnable),
                    "runnable": runnable.sum(),
                    "at fast": (profiles == "fast").sum(),
                    "own protocol": (profiles == "paper").sum(),
                    "on a subset": (profiles == "subset").sum(),
                    "mean gap": gaps.mean(),
                    "largest gap": max(gaps.dropna(), key=abs, default=float("nan")),
                }
            )
    return pd.DataFrame(rows)


def _compared(collection: str, item: str, rows: Sequence[Row]) -> list[list[Task]]:
    """Group the rows of a table or figure by data set and network, each group's baseline first."""
    groups: dict[tuple[str, str], list[Task]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.network), []).append(Task(collection, item, row, row.experiment))
    baseline = COLLECTIONS[collection].baseline
    return [sorted(group, key=lambda task: task.row.method != baseline) for group in groups.values()]
