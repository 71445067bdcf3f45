"""Making runs within a budget of time, several at once; none is lost and none is made twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from labelreg.experiments import Recorded, resolve_device, run
from labelreg.reproduce.planning import Task
from labelreg.reproduce.progress import Clock, results_so_far
from labelreg.results import Claimed, Result

SECONDS_BETWEEN_LINES = 10  # that one process prints about the same run


@dataclass(frozen=True)
class _Outcome:
    """What became of a task: a result, or why there is none."""

    message: str
    result: Result | None = None
    failed: bool = False


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
        RuntimeError: a process was killed.
        ValueError: jobs is not positive, or there is no such device.
    """
    if jobs < 1:
        raise ValueError(f"jobs is the number of processes, at least 1, not {jobs}")
    target = resolve_device(device)
    results = results_so_far(output)
    todo = list(todo)
    recorded, clock = Recorded(results), Clock(target, results, {task.experiment.dataset for task in todo})
    waiting = [task for task in todo if recorded.find(task.experiment) is None]
    total, finished, failures = len(waiting), 0, []
    context = multiprocessing.get_context("spawn")  # a process with a GPU cannot be forked
    stop, deadline = context.Event(), time.time() + 60 * minutes
    threads = max(1, torch.get_num_threads() // jobs)  # which OMP_NUM_THREADS can lower: other commands need cores too
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
                    outcome = future.result()
                    task = running.pop(future)
                    line = f"{task.name}: {outcome.message}"
                    if outcome.result is not None:
                        clock.learn(outcome.result)
                        finished += 1
                        line = f"{finished} of {total}: {line}"
                    failures += [line] if outcome.failed else []
                    progress(line)
        except KeyboardInterrupt:
            stop.set()
            raise
        except BrokenExecutor as error:
            names = "; ".join(task.name for task in running.values())
            raise type(error)(
                f"a process was killed, for want of memory perhaps, while these ran: {names}. "
                "The same command goes on from their last finished epochs"
            ) from error
    progress(f"{finished} of {total} runs recorded, {total - finished} left")
    return failures


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


def _make(task: Task, device: str, output: Path | str | None) -> _Outcome:
    """Make a run in a process of the pool."""
    try:
        with _process.interruptible():
            result = run(
                task.experiment,
                results=output,
                folder=task.collection,
                device=device,
                wait=False,
                progress=_SlowLines(),
            )
    except Claimed:
        return _Outcome("another process is at it")
    except KeyboardInterrupt:
        return _Outcome("stopped; the same command goes on from there")
    except Exception as error:  # whatever it is, the other runs are none the worse
        return _Outcome(f"{type(error).__name__}: {' '.join(str(error).split())}", failed=True)
    return _Outcome(_summary(result), result)


class _SlowLines:
    """Prints a line if the last one is some seconds old."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)
