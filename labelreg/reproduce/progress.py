"""How far the recording is: what is there, what is left, and how long that takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch

from labelreg.experiments import Experiment, Recorded, as_of_today, training_operations
from labelreg.papers import compare, is_runnable, papers
from labelreg.reproduce.planning import COLLECTIONS, Task
from labelreg.results import Result, Store, provenance

# floating-point operations a second, where nothing has been recorded on a device yet: a guess
GUESSED_SPEED = {"cpu": 1e11, "cuda": 5e13}


def results_so_far(output: Path | str | None = None) -> list[Result]:
    """Read the recorded runs under ``data/results``, and those in another folder where one is named."""
    return [*Store(), *(Store(output) if output else ())]


class Clock:
    """How long runs take on a device, by the operations a second of those that were recorded on it.

    Args:
        device: where the runs will be made.
        results: recorded runs, of which those count that were made on such a device,
        datasets: and on these data sets, which are on disk.
    """

    def __init__(self, device: torch.device, results: Iterable[Result], datasets: Iterable[str]):
        self._device = provenance(device)["device"]
        self._guess = GUESSED_SPEED.get(device.type, GUESSED_SPEED["cpu"])
        self._datasets = set(datasets)
        self._speeds: dict[str, list[float]] = {}
        for result in results:
            self.learn(result)

    def learn(self, result: Result) -> None:
        """Take a run into account, where it was made on such a device and on one of the data sets."""
        experiment, made = as_of_today(result.experiment), result.provenance
        if made.get("device") != self._device or "seconds" not in made:
            return
        if experiment is None or experiment.dataset not in self._datasets:
            return
        try:
            speed = training_operations(experiment) / max(made["seconds"], 0.1)
        except ValueError:  # a network or method of another version
            return
        self._speeds.setdefault(experiment.network, []).append(speed)

    @property
    def guesses(self) -> bool:
        """Whether nothing is known of the device."""
        return not self._speeds

    def seconds(self, experiment: Experiment) -> float:
        """Estimate how long a run takes: at the speed of the same network, or else of those that are known."""
        speeds = self._speeds.get(experiment.network) or [each for some in self._speeds.values() for each in some]
        return training_operations(experiment) / statistics.median(speeds or [self._guess])


def overview(todo: Iterable[Task], recorded: Recorded, clock: Clock) -> pd.DataFrame:
    """Say of every comparison, in the order of the tasks, what is recorded, what is left and how long that takes.

    Returns:
        The columns ``collection, item, dataset, network, runs, recorded, left, hours``, the last of one run after
        another.
    """
    rows: dict[tuple[str, str, str, str], list[float]] = {}
    for task in todo:
        row = rows.setdefault((task.collection, task.item, task.row.dataset, task.row.network), [0, 0, 0, 0.0])
        done = recorded.find(task.experiment) is not None
        row[:3] = row[0] + 1, row[1] + done, row[2] + (not done)
        row[3] += 0 if done else clock.seconds(task.experiment) / 3600
    columns = ["collection", "item", "dataset", "network", "runs", "recorded", "left", "hours"]
    return pd.DataFrame([[*names, *numbers] for names, numbers in rows.items()], columns=columns)


def coverage(store: Iterable[Result] | None = None) -> pd.DataFrame:
    """Say of every table and figure how much of it is recorded.

    Args:
        store: the recorded runs; by default those under ``data/results``.

    Returns:
        The columns ``collection, item, shows``; ``cells``, the printed numbers of a paper's table, and else the rows or
        curves; how many of them are ``runnable`` with the data sets and networks of this package, recorded ``at fast``
        and ``at paper``; ``mean gap`` and ``largest gap`` between ours and the printed number, in its unit.
    """
    results = list(Store() if store is None else store)
    recorded = Recorded(results)
    rows = []
    for key, collection in COLLECTIONS.items():
        for name, item in collection.items.items():
            if key in papers and name in collection.tables:
                cells = compare(key, name, results)
                runnable, profiles, gaps = cells.runnable, cells.profile, cells.gap
            else:
                runnable = pd.Series([is_runnable(row) for row in item.rows])
                profiles = pd.Series([_fullest(row.experiment, recorded) for row in item.rows])
                gaps = pd.Series(dtype=float)
            rows.append(
                {
                    "collection": key,
                    "item": name,
                    "shows": item.title,
                    "cells": len(runnable),
                    "runnable": runnable.sum(),
                    "at fast": (profiles == "fast").sum(),
                    "at paper": (profiles == "paper").sum(),
                    "mean gap": gaps.mean(),
                    "largest gap": max(gaps.dropna(), key=abs, default=float("nan")),
                }
            )
    return pd.DataFrame(rows)


def _fullest(experiment: Experiment, recorded: Recorded) -> str:
    found = (profile for profile in ("paper", "fast") if recorded.find(experiment.at(profile)))
    return next(found, "")
