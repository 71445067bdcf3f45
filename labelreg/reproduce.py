"""Recording what the papers' tables and figures need, the most telling runs first, within a budget of time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pandas as pd
import torch

from labelreg.benchmark import BENCHMARK
from labelreg.checks import unknown
from labelreg.data import names as dataset_names
from labelreg.experiments import PROFILES, Experiment, Recorded, as_of_today, resolve_device, run, training_operations
from labelreg.networks import names as network_names
from labelreg.papers import Paper, Row, compare, is_runnable, papers
from labelreg.results import Claimed, Result, Store, provenance

COLLECTIONS: dict[str, Paper] = {BENCHMARK.key: BENCHMARK, **papers}
# floating-point operations a second, where nothing has been recorded on a device yet: a guess
GUESSED_SPEED = {"cpu": 1e11, "cuda": 5e13}
SECONDS_BETWEEN_LINES = 10  # that one process prints about the same run


@dataclass(frozen=True)
class Task:
    """A run that a table or figure needs.

    Attributes:
        collection: key of the paper, or ``"shared"``.
        item: the table or figure.
        row: whose run it is.
        experiment: at its profile, of one seed.
    """

    collection: str
    item: str
    row: Row
    experiment: Experiment

    @property
    def name(self) -> str:
        """What is run, in a few words."""
        where = f"{self.experiment.dataset}, {self.experiment.network}, seed {self.experiment.seed}"
        return f"{self.collection} {self.item}: {self.row.method} on {where}"


def tasks(
    profile: str = "fast",
    *,
    collections: Iterable[str] = COLLECTIONS,
    datasets: Iterable[str] = ("cifar100",),
    networks: Iterable[str] = (),
    methods: Iterable[str] = (),
    seeds: int = 0,
) -> list[Task]:
    """List the runs that tables and figures need, each once, in the order in which they teach most a minute.

    What compares methods on one data set and network stays together, small networks before large ones. In it the
    baseline comes first, with all seeds, and then one method after another with the same.

    Args:
        profile: how much.
        collections: keys of papers, or ``"shared"`` for the benchmark of all methods.
        datasets: names of data sets, which have to be on disk.
        networks: names of networks; all if empty.
        methods: methods as the tables and figures call them; all if empty.
        seeds: runs of each experiment; 0 for the profile's number, or at ``"paper"`` the paper's.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: a data set is not on disk and cannot be fetched.
    """
    collections, datasets = list(collections), list(datasets)
    networks, methods = list(networks) or network_names(), list(methods) or _printed_methods()
    for kind, names, known in (
        ("profile", [profile], PROFILES),
        ("collection", collections, COLLECTIONS),
        ("data set", datasets, dataset_names()),
        ("network", networks, network_names()),
        ("method in any table or figure", methods, _printed_methods()),
    ):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    comparisons = [
        comparison
        for key in collections
        for name, item in COLLECTIONS[key].items.items()
        for comparison in _comparisons(key, name, item.rows)
        if comparison[0].row.dataset in datasets
        and comparison[0].row.network in networks
        and is_runnable(comparison[0].row)
    ]
    comparisons.sort(key=lambda comparison: training_operations(comparison[0].experiment.at(profile)))
    found: dict[Experiment, Task] = {}
    for task in (task for comparison in comparisons for task in comparison if task.row.method in methods):
        count = seeds or (COLLECTIONS[task.collection].seeds if profile == "paper" else PROFILES[profile].seeds)
        for each in task.experiment.at(profile).with_seeds(count):
            found.setdefault(each.resolved(), Task(task.collection, task.item, task.row, each))
    return list(found.values())


def _printed_methods() -> list[str]:
    items = (item for collection in COLLECTIONS.values() for item in collection.items.values())
    return list(dict.fromkeys(row.method for item in items for row in item.rows))


def _comparisons(collection: str, item: str, rows: Sequence[Row]) -> list[list[Task]]:
    """Group the rows of a table or figure by data set and network, each group's baseline first."""
    groups: dict[tuple[str, str], list[Task]] = {}
    for row in rows:
        task = Task(collection, item, row, row.experiment)
        groups.setdefault((row.dataset, row.network), []).append(task)
    baseline = COLLECTIONS[collection].baseline
    return [sorted(group, key=lambda task: task.row.method != baseline) for group in groups.values()]


class Clock:
    """How long runs take on a device, by the operations a second of those that were recorded on it.

    Args:
        device: where the runs will be made.
        results: recorded runs, of which those made on such a device count.
    """

    def __init__(self, device: torch.device, results: Iterable[Result]):
        self._device = provenance(device)["device"]
        self._guess = GUESSED_SPEED.get(device.type, GUESSED_SPEED["cpu"])
        self._speeds: dict[str, list[float]] = {}
        for result in results:
            self.learn(result)

    def learn(self, result: Result) -> None:
        """Take a run into account, where it was made on such a device and its data set is on disk."""
        experiment = as_of_today(result.experiment)
        if result.provenance.get("device") != self._device or experiment is None:
            return
        try:
            speed = training_operations(experiment) / max(result.provenance["seconds"], 0.1)
        except (FileNotFoundError, ValueError):
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
        curves; how many of them are ``runnable`` with the data sets and networks of this package, ``at fast`` and
        ``at paper``; ``mean gap`` and ``largest gap`` between ours and the printed number, in its unit.
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


def record(
    todo: Iterable[Task],
    *,
    minutes: float,
    jobs: int = 1,
    device: str = "auto",
    output: Path | str | None = None,
    progress: Callable[[str], None] = print,
) -> list[str]:
    """Make runs in their order, several at once, until the time is over; each is recorded the moment it is finished.

    A run under way when the time is over, or on SIGINT or SIGTERM, is saved, and the same call goes on with it; after a
    crash it goes on from its last finished epoch. Runs that are estimated to end in time go before those that are not.
    A run that another process is making into the same folder is left to it.

    Args:
        todo: what to run; what is recorded already is passed over.
        minutes: the budget.
        jobs: processes at once, on one device.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.
        output: folder to record in, by default ``data/results``, which is looked into in any case.
        progress: called with lines of text.

    Returns:
        What failed, a line a run.

    Raises:
        KeyboardInterrupt: on SIGINT or SIGTERM, when all processes have saved what they did.
        ValueError: jobs is not positive, or there is no such device.
    """
    if jobs < 1:
        raise ValueError(f"jobs is the number of processes, at least 1, not {jobs}")
    target = resolve_device(device)
    results = {result.key: result for result in (*Store(), *Store(output))}
    recorded, clock = Recorded(results.values()), Clock(target, results.values())
    waiting = [task for task in todo if recorded.find(task.experiment) is None]
    total, finished, failures = len(waiting), 0, []
    context = multiprocessing.get_context("spawn")  # a process with a GPU cannot be forked
    stop, deadline = context.Event(), time.time() + 60 * minutes
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        _terminable(),
        ProcessPoolExecutor(jobs, context, _start_process, (stop, deadline, os.getpid(), threads)) as pool,
    ):
        running = {}
        try:
            while running or (waiting and time.time() < deadline):
                while waiting and len(running) < jobs and time.time() < deadline:
                    task = _choose(waiting, clock, deadline - time.time())
                    waiting.remove(task)
                    running[pool.submit(_make, task, str(target), output)] = task
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, outcome = running.pop(future), future.result()
                    if isinstance(outcome, Result):
                        clock.learn(outcome)
                        finished += 1
                        progress(f"{finished} of {total}: {task.name}: {_summary(outcome)}")
                    else:
                        progress(f"{task.name}: {outcome}")
                        failures += [f"{task.name}: {outcome}"] if isinstance(outcome, Failure) else []
        except KeyboardInterrupt:
            stop.set()
            raise
    progress(f"{finished} of {total} runs recorded, {total - finished} left")
    return failures


class Failure(str):
    """Why a run cannot be made."""


def _choose(waiting: Sequence[Task], clock: Clock, seconds: float) -> Task:
    """The first task that is estimated to end in time, or else the first."""
    return next((task for task in waiting if clock.seconds(task.experiment) <= seconds), waiting[0])


def _summary(result: Result) -> str:
    """The last epoch of a run in a few words."""
    shown = (
        f"perplexity {result.last['test_perplexity']:.1f}"
        if "test_perplexity" in result.last
        else f"error {result.last['test_error']:.2%}"
    )
    return f"{shown}, {result.provenance['seconds']:.0f} s"


@contextmanager
def _terminable() -> Iterator[None]:
    """Hear SIGTERM as an interrupt."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class _Process:
    """What a process of the pool knows: who may stop its run, and when.

    Args:
        stop: set when it should.
        deadline: when it should, in seconds of the epoch.
        parent: whose death it should not outlive.
    """

    def __init__(self, stop: Event, deadline: float, parent: int):
        self._stop, self._deadline, self._parent = stop, deadline, parent
        self._turn = threading.Lock()
        self._busy = self._told = False
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """What is done in here may end in an interrupt, and nothing outside."""
        with self._turn:
            self._busy, self._told = True, False
        try:
            yield
        finally:
            with self._turn:
                self._busy = False

    def _watch(self) -> None:
        while True:
            time.sleep(0.2)
            orphaned = os.getppid() != self._parent
            with self._turn:
                over = orphaned or self._stop.is_set() or time.time() >= self._deadline
                if over and self._busy and not self._told:
                    os.kill(os.getpid(), signal.SIGTERM)
                    self._told = True  # a second signal would cut off the saving
                if orphaned and not self._busy:
                    os._exit(1)


_process: _Process


def _start_process(stop: Event, deadline: float, parent: int, threads: int) -> None:
    global _process
    os.setsid()  # an interrupt from the keyboard is the parent's
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(threads)
    _process = _Process(stop, deadline, parent)


def _make(task: Task, device: str, output: Path | str | None) -> Result | str:
    """Make a run in a process of the pool; return its result, or why there is none."""
    try:
        with _process.interruptible():
            return run(
                task.experiment,
                results=output,
                folder=task.collection,
                device=device,
                wait=False,
                progress=_SlowLines(),
            )
    except Claimed:
        return "another process is at it"
    except KeyboardInterrupt:
        return "stopped; the same command goes on from there"
    except Exception as error:  # whatever it is, the other runs are none the worse
        return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")


class _SlowLines:
    """Prints a line if the last one is some seconds old."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)
