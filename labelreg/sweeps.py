"""Run many experiments: several at once, in the best order for the available time, resumable whatever stops them."""

import math
import os
import shlex
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import torch

from labelreg import pools
from labelreg.assignments import render
from labelreg.build import resolve_device
from labelreg.experiment import Experiment
from labelreg.names import one_line, unknown
from labelreg.pools import Killed
from labelreg.results import Claimed, Recorded, Result, Store, provenance
from labelreg.running import Progress, check_experiments, run, tidy, train
from labelreg.training import Interrupted, stop_on_signals

_Outcome = tuple[Experiment, Result | BaseException]
SECONDS_BETWEEN_LINES = 10  # between lines that one of several processes prints


class Runtimes:
    """Expected durations of runs on a device: medians of runs recorded with the same network on a device of its kind.

    The device may be given by its name in recorded runs. For None, which stands for the workers of a cluster, nothing
    is known.
    """

    def __init__(self, results: Iterable[Result], device: torch.device | str | None):
        here = provenance(device)["device"] if isinstance(device, torch.device) else device or ""
        self._per_epoch: dict[tuple[str, ...], list[float]] = {}
        for result in results:
            seconds, where = result.provenance.get("seconds"), result.provenance.get("device")
            if where == here and isinstance(seconds, int | float):
                for kind in _kinds(result.experiment):
                    self._per_epoch.setdefault(kind, []).append(seconds / result.experiment.epochs)

    def seconds(self, experiment: Experiment) -> float:
        """Return the expected duration of a run, from runs of the same method if there are any; NaN if unknown."""
        known = next((self._per_epoch[kind] for kind in _kinds(experiment) if kind in self._per_epoch), [math.nan])
        return experiment.epochs * statistics.median(known)


def _kinds(experiment: Experiment) -> tuple[tuple[str, ...], ...]:
    network = (experiment.dataset, str(experiment.subset), experiment.network, str(experiment.network_options))
    return (*network, experiment.method), network


def device_here(backend: str, name: str) -> torch.device | None:
    """Return the device of that name, or None for the workers of a cluster, each of which has its own.

    Raises:
        ValueError: there is no such device here, or no such backend.
    """
    if backend not in pools.BACKENDS:
        raise unknown("backend", backend, pools.BACKENDS)
    return None if backend == "dask" else resolve_device(name)


def run_all(
    experiments: Iterable[Experiment],
    *,
    record: bool = True,
    jobs: int = 0,
    device: str = "auto",
    results: Path | str | None = None,
    minutes: float = math.inf,
    progress: Progress = print,
    backend: str = "loky",
    address: str = "",
    mps: bool = True,
) -> dict[Experiment, Result]:
    """Run experiments in their order, several at once; return the results of those that ended in time, in that order.

    When the time is over, or on SIGINT or SIGTERM, the runs in progress are saved, and the same call resumes them;
    after a crash, it resumes them from their last finished epochs. Runs that are expected to end in time go before
    those that are not. If a run fails, the others go on.

    Args:
        experiments: what to run; equal ones are run once.
        record: whether to record the runs, and to use runs that are recorded already. Otherwise everything is trained
            anew, in memory.
        jobs: number of runs at once; 0 for the number of cores on a CPU, for :func:`labelreg.pools.at_once` on a GPU,
            and for the number of workers at the start on a cluster.
        device, results: see :func:`labelreg.running.run`.
        minutes: time budget; if finite, runs that another process is making are left to that process.
        progress: called with a line of text per finished run, and per epoch if there is one process; None for silence.
        backend: ``"loky"`` for processes of this machine; ``"dask"`` for the workers of a cluster of dask.distributed,
            which must share the folders of results and of ``LABELREG_RUNS``. A run whose worker is lost continues
            on another worker.
        address: address of the cluster's scheduler, such as ``"tcp://HOST:8786"``.
        mps: whether several processes on a GPU compute at once through NVIDIA's MPS. If MPS is installed and no daemon
            is running, one is started for them.

    Raises:
        ExceptionGroup: several runs failed; a single failure is raised as it is.
        labelreg.training.Interrupted: on SIGINT or SIGTERM, after the runs in progress are saved.
        labelreg.pools.Killed: a process was killed; on a cluster, several processes that made the same run.
        OSError: there is no scheduler at that address.
    """
    if not isinstance(jobs, int) or jobs < 0:
        raise ValueError(f"jobs is a number of processes, 0 for as many as there is room for, not {jobs!r}")
    if not isinstance(minutes, int | float) or not minutes >= 0:
        raise ValueError(f"minutes is a budget of time, at least 0, not {minutes!r}")
    if isinstance(experiments, Experiment) or not isinstance(experiments, Iterable):
        raise TypeError(f"experiments must be a list of them, or another iterable, got {experiments!r}")
    check_experiments(*(todo := list(experiments)))
    todo = list(dict.fromkeys(todo))
    target, store = device_here(backend, device), Store(results)
    known = list(store) if record else []
    recorded, runtimes = Recorded(known), Runtimes(known, target)
    finished = {each: found for each in todo if (found := recorded.find(each))}
    for each in finished:
        tidy(each, store)
    waiting = [each for each in todo if each not in finished]
    if not waiting:
        return finished
    root = store.root.absolute()  # processes elsewhere have another current folder
    under_way: list[Experiment] = []
    failures: list[Exception] = []

    shared = None if target else root  # the folder that is shared with other machines
    if shared:
        shared.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".sweep-", dir=shared) as flags,
        pools.opened(backend, address, target, jobs, len(waiting), mps) as pool,
    ):
        stop = StopWhen(time.time() + 60 * minutes, Path(flags, "stop"), os.getpid() if target else None)
        surroundings = Surroundings.here() if target else None
        tell = progress if target and pool.workers == 1 else progress and _SlowLines()
        # if runs are recorded, each is chosen late, by the time that is left then
        ahead = pool.workers if record else 2 * pool.workers

        def calls() -> Iterator[pools.Call]:
            while waiting and not stop():
                experiment = _next(waiting, runtimes, stop.deadline - time.time())
                waiting.remove(experiment)
                under_way.append(experiment)
                yield joblib.delayed(_run)(experiment, record, str(target or device), root, tell, stop, surroundings)

        try:
            with stop_on_signals(stop.flag.touch):
                for experiment, outcome in pool.outcomes(calls(), ahead):
                    under_way.remove(experiment)
                    if isinstance(outcome, Result):
                        finished[experiment] = outcome
                    elif isinstance(outcome, KeyboardInterrupt) and not stop():  # a signal reached only the run
                        stop.flag.touch()
                    elif isinstance(outcome, Exception) and not isinstance(outcome, Claimed):
                        failures.append(outcome)
                    if progress is not None and not (failures and len(todo) == 1):  # a single failure is raised at once
                        progress(f"{len(finished)} of {len(todo)}: {experiment.name}: {_described(outcome)}")
        except Killed as error:
            if stop.flag.exists():  # a signal to the whole group may reach a process that has only just started
                raise Interrupted("interrupted; the same call resumes from the last finished epochs") from error
            names = "; ".join(each.name for each in under_way)
            raise Killed(
                f"{error}, while these ran: {names}. The same call resumes from their last finished epochs"
            ) from error
        if stop.flag.exists():
            raise Interrupted("interrupted" + ("; saved, the same call resumes there" if record else ""))
    if len(failures) > 1:
        raise ExceptionGroup(f"{len(failures)} of {len(todo)} runs failed", failures)
    if failures:
        raise failures[0]
    return {each: finished[each] for each in todo if each in finished}


@dataclass(frozen=True)
class StopWhen:
    """Whether runs should stop: at a time, on request, or because the process that waits for them is gone."""

    deadline: float  # seconds since the epoch
    flag: Path  # a file that tells every process that a stop was requested; its folder is deleted when nobody waits
    parent: int | None  # process id; None if runs are on other machines, where it means nothing

    def __call__(self) -> bool:
        return time.time() >= self.deadline or self.flag.exists() or self.orphaned

    @property
    def orphaned(self) -> bool:
        if self.parent is None:
            return not self.flag.parent.exists()
        return self.parent not in (os.getpid(), os.getppid())


@dataclass(frozen=True)
class Surroundings:
    """What a process of the pool, which may be older than the call, sees as the process that waits for it does."""

    folder: str
    variables: dict[str, str]  # of the environment, those of the package

    @classmethod
    def here(cls) -> "Surroundings":
        variables = {name: value for name, value in os.environ.items() if name.startswith("LABELREG_")}
        return cls(os.getcwd(), variables)

    def enter(self) -> None:
        os.chdir(self.folder)
        for name in Surroundings.here().variables:
            del os.environ[name]
        os.environ.update(self.variables)
        # between runs a signal to the whole group is left to the process that waits, which tells this one
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _run(
    experiment: Experiment,
    record: bool,
    device: str,
    results: Path,
    progress: Progress,
    stop: StopWhen,
    surroundings: Surroundings | None,
) -> _Outcome:
    """Make a run, in the calling process or in a process of the pool, which may be on another machine."""
    try:
        if surroundings and os.getpid() != stop.parent:
            surroundings.enter()
        if stop.parent is None and stop.orphaned:
            raise FileNotFoundError(f"{results} is not the same folder here as where the runs were started")
        if not record:
            return experiment, train(experiment, device=device, progress=progress, stop=stop).result
        wait = math.isinf(stop.deadline)
        return experiment, run(experiment, results=results, device=device, wait=wait, progress=progress, stop=stop)
    except (Exception, KeyboardInterrupt) as error:  # returned, so that the other runs are not affected
        if os.getpid() == stop.parent and isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
            raise  # a second signal acts at once
        if stop.parent and stop.orphaned:
            os._exit(1)  # nobody waits for the outcome, and what was done is saved
        if not isinstance(error, Claimed | KeyboardInterrupt):
            error.add_note(f"in the run {shlex.join(render(experiment.changes()))}")
            if os.getpid() != stop.parent:
                error.add_note(traceback.format_exc())  # tracebacks do not travel between processes
        return experiment, error


def _next(waiting: Sequence[Experiment], runtimes: Runtimes, seconds: float) -> Experiment:
    """The first run that is expected to end within that time, or else the first of all."""
    return next((each for each in waiting if not runtimes.seconds(each) > seconds), waiting[0])


def _described(outcome: Result | BaseException) -> str:
    """The end of a run in a few words."""
    match outcome:
        case Result():
            perplexity = outcome.last.get("test_perplexity")
            shown = f"error {outcome.last['test_error']:.2%}" if perplexity is None else f"perplexity {perplexity:.1f}"
            return f"{shown}, {outcome.provenance['seconds']:.0f} s"
        case Claimed():
            return "another process is running it"
        case KeyboardInterrupt():
            return "stopped; the same call resumes there"
    return one_line(outcome)


class _SlowLines:
    """Prints a run's first line, and another if some seconds have passed since the last."""

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)
