"""Run experiments: find the recorded result, else resume or train, then record; one experiment, or many at once."""

import math
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import torch
from filelock import FileLock
from joblib.externals.loky.process_executor import TerminatedWorkerError
from torch import Tensor, nn

from labelreg import checkpoints, methods, paths
from labelreg.assignments import render
from labelreg.build import build, own_generators, prepare_data, resolve_device, untrained
from labelreg.data import Dataset, Split
from labelreg.experiment import Experiment
from labelreg.methods import Method
from labelreg.names import one_line
from labelreg.results import Claimed, Recorded, Result, Store, hold, provenance, rounded
from labelreg.training import Interrupted, Stop, Trainer, stop_on_signals

__all__ = ["Runtimes", "Trained", "prepare_data", "resolve_device", "run", "run_all", "train", "trained"]

Progress = Callable[[str], None] | None
# a group of runs, the results, and what ended it before its last
_Outcome = tuple[list[Experiment], dict[Experiment, Result], BaseException | None]
_CHECKPOINTS = ("checkpoint.pt", "preparation.pt")  # of a run, and of what its method trains beforehand
SECONDS_BETWEEN_LINES = 10  # that one of several processes prints


class Killed(RuntimeError):
    """A process that was training is gone, perhaps since there was not enough memory for it."""


@dataclass(frozen=True)
class Trained:
    """A result, and the trainer at the end, with ``network``, ``method`` and ``dataset`` on its device."""

    result: Result
    trainer: Trainer

    @property
    def network(self) -> nn.Module:
        return self.trainer.network

    @property
    def method(self) -> Method:
        return self.trainer.method

    @property
    def dataset(self) -> Dataset:
        return self.trainer.dataset

    def predict(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """Return the method's logits (N, K), the network's penultimate features (N, D) and the targets (N,)."""
        split = split.to(self.trainer.device)
        logits, targets = self.trainer.predict(split)
        return logits.cpu(), self.trainer.features(split).cpu(), targets.cpu()


def run(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    wait: bool = True,
    progress: Progress = print,
    stop: Stop | None = None,
) -> Result:
    """Return the recorded result if there is one; else resume an interrupted run or train, and record.

    Two processes that share a folder of results never train the same experiment.

    Args:
        results: folder of the recorded runs, ``data/results`` by default.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.
        wait: whether to wait for another process that is running this experiment.
        progress: called with a line of text after every epoch, and before waiting; None for silence.
        stop: asked after every step; training is saved and interrupted when it returns True. Also stops waiting.

    Raises:
        ValueError: the experiment does not fit its data set, or there is no such data set, network or device.
        FileNotFoundError: the data set is not on disk and cannot be fetched.
        labelreg.results.Claimed: another process is running it, and this one does not wait.
        labelreg.training.Interrupted: on SIGINT, SIGTERM or ``stop``; the same call resumes.
    """
    _check(experiment)
    store = Store(results)
    if found := store.find(experiment):
        _sweep(experiment, store)
        return found
    with _at_work(experiment, store, progress, stop, wait) as folder:
        # another process may have finished it while this one waited
        return store.find(experiment) or _train_and_record(experiment, store, folder, device, progress, stop)


def train(
    experiment: Experiment,
    *,
    device: str = "auto",
    progress: Progress = None,
    shared: dict | None = None,
    stop: Stop | None = None,
) -> Trained:
    """Train in memory, a teacher too, and return the result with the network; nothing is written.

    Runs that differ in nothing but their method's ``shareable_options`` can be given one dictionary, empty at first, as
    ``shared``; see :meth:`.Method.share`. The other arguments are those of :func:`run`.
    """
    _check(experiment)
    teach = partial(train, device=device, progress=progress, stop=stop)
    return _train(experiment, device, progress, stop, teach, shared=shared)


def trained(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    progress: Progress = print,
    stop: Stop | None = None,
) -> Trained:
    """Return the result of :func:`run` with the network, from its stored weights; where there are none, train again.

    Weights stay on the machine that trained; a network trained again on another may differ in the last digits.
    """
    _check(experiment)
    store = Store(results)
    result, weights = store.find(experiment), _folder(experiment) / "weights.pt"
    _sweep(experiment, store)
    if result is None or not weights.exists():
        with _at_work(experiment, store, progress, stop) as folder:
            result = store.find(experiment)
            if result is None or not weights.exists():
                result = _train_and_record(experiment, store, folder, device, progress, stop)
    with own_generators(resolve_device(device)):
        # an untrained teacher suffices: its weights are part of the method's state
        parts = build(experiment, device, lambda: untrained(experiment.teacher))
        try:
            stored = checkpoints.read(weights)
            parts.network.load_state_dict(stored["network"])
            # a method may have made in preparation what predictions have no use for
            missing = parts.method.load_state_dict(stored["method"], strict=False).missing_keys
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
        except Exception as error:
            what = f"{weights} cannot be read ({one_line(error)}); move it away to train {experiment.name} anew"
            raise ValueError(what) from error
        return Trained(result, parts.trainer(parts.network, parts.method))


def _check(*experiments: Experiment) -> None:
    for each in experiments:
        if not isinstance(each, Experiment):
            raise TypeError(f"an experiment must be an Experiment, got {each!r}")


@contextmanager
def _at_work(
    experiment: Experiment, store: Store, progress: Progress, stop: Stop | None, wait: bool = True
) -> Iterator[Path]:
    """Hold an experiment among all processes that share the results or work folders; yield its work folder."""
    told = progress is None

    def waits() -> bool:
        nonlocal told
        if not wait or (stop is not None and stop()):
            return False
        if not told:
            progress(f"waiting for another process that is running {experiment.name}")
        told = True
        return True

    folder = _folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    with store.claim(experiment, waits), hold(FileLock(folder / "lock"), waits):
        for file in _leftovers(folder, recorded=store.find(experiment) is not None):
            file.unlink(missing_ok=True)
        yield folder


def _folder(experiment: Experiment) -> Path:
    return paths.runs_root() / f"{experiment.name}-{experiment.key}"


def _leftovers(folder: Path, recorded: bool) -> list[Path]:
    """The files in a work folder that nobody needs, and a process had no time to delete because it was killed."""
    finished = recorded and (folder / "weights.pt").exists()
    return [*paths.unfinished(folder), *(_checkpoint_files(folder) if finished else ())]


def _checkpoint_files(folder: Path) -> list[Path]:
    files = (file for name in _CHECKPOINTS for file in checkpoints.files(folder / name))
    return [file for file in files if file.exists()]


def _sweep(experiment: Experiment, store: Store) -> None:
    """Delete what is left over of a recorded run, unless another process is at work there."""
    if _leftovers(_folder(experiment), recorded=True):
        with suppress(Claimed, OSError), _at_work(experiment, store, None, None, wait=False):
            pass


def _train_and_record(
    experiment: Experiment, store: Store, folder: Path, device: str, progress: Progress, stop: Stop | None
) -> Result:
    """Train with a checkpoint; record the result, then store the weights, then delete the checkpoint."""
    teach = partial(trained, results=store.root, device=device, progress=progress, stop=stop)
    finished = _train(experiment, device, progress, stop, teach, *(folder / name for name in _CHECKPOINTS))
    store.save(finished.result)
    states = {"network": finished.network.state_dict(), "method": finished.method.state_dict()}
    checkpoints.write(folder / "weights.pt", states)
    for file in _checkpoint_files(folder):
        file.unlink()
    return store.find(experiment)  # read back, so that a new and a recorded result are rounded alike


def _train(
    experiment: Experiment,
    device: str,
    progress: Progress,
    stop: Stop | None,
    teach: Callable[[Experiment], Trained],
    checkpoint: Path | None = None,
    preparation: Path | None = None,
    shared: dict | None = None,
) -> Trained:
    """Train, from a checkpoint if there is one; ``preparation`` is that of what a method trains beforehand."""
    with own_generators(resolve_device(device)):
        parts = build(experiment, device, lambda: teach(experiment.teacher).network)
        tell = progress and (lambda row: progress(_progress_line(experiment, row)))
        tell_before = progress and (lambda row: progress(f"preparing {_progress_line(experiment, row)}"))

        def prepare(network: nn.Module, method: Method) -> None:
            parts.trainer(network, method).fit(preparation, tell_before, stop)

        parts.method.prepare(prepare)
        if shared is not None:
            parts.method.share(shared)
        trainer = parts.trainer(parts.network, parts.method, experiment.observe)
        origin = provenance(trainer.device)  # before training: a commit made meanwhile is not what runs
        trainer.fit(checkpoint, tell, stop)
        for common in (shared or {}).values():
            common.finish()
        return Trained(_result(experiment, trainer, origin), trainer)


def _result(experiment: Experiment, trainer: Trainer, origin: dict[str, Any]) -> Result:
    measured = {
        "test_digest": trainer.dataset.test.digest,
        "training_samples": len(trainer.loader.split),
        "parameters": sum(each.numel() for group in trainer.optimizer.param_groups for each in group["params"]),
        "seconds": round(sum(row["seconds"] for row in trainer.history), 1),
    }
    # at once, so that a table of live runs and one of recorded runs are rounded alike
    history = {name: [rounded(row[name]) for row in trainer.history] for name in trainer.history[0]}
    observations = {name: torch.stack(values).numpy() for name, values in trainer.observations.items()}
    return Result(experiment, history, origin | measured, observations)


def _progress_line(experiment: Experiment, row: dict[str, float]) -> str:
    where = f"{experiment.name}  epoch {row['epoch']:.0f}/{experiment.epochs}"
    fit = f"loss {row['loss']:.4f}  train {row['train_accuracy']:.1%} correct"
    perplexity = f"  {row['test_perplexity']:.1f} perplexity" if "test_perplexity" in row else ""
    return f"{where}  {fit}  test {row['test_error']:.2%} error{perplexity}  {row['seconds']:.1f} s"


class Runtimes:
    """Expected durations of runs on a device: the median of those recorded with the same network on its kind."""

    def __init__(self, results: Iterable[Result], device: torch.device):
        here = provenance(device)["device"]
        self._per_epoch: dict[tuple[str, ...], list[float]] = {}
        for result in results:
            seconds, where = result.provenance.get("seconds"), result.provenance.get("device")
            if where == here and isinstance(seconds, int | float):
                for kind in _kinds(result.experiment):
                    self._per_epoch.setdefault(kind, []).append(seconds / result.experiment.epochs)

    def seconds(self, experiment: Experiment) -> float:
        """Return the expected duration of a run: from runs of the same method if there are any; NaN without any."""
        known = next((self._per_epoch[kind] for kind in _kinds(experiment) if kind in self._per_epoch), [math.nan])
        return experiment.epochs * statistics.median(known)


def _kinds(experiment: Experiment) -> tuple[tuple[str, ...], ...]:
    network = (experiment.dataset, str(experiment.subset), experiment.network)
    return (*network, experiment.method), network


def run_all(
    experiments: Iterable[Experiment],
    *,
    record: bool = True,
    jobs: int = 0,
    device: str = "auto",
    results: Path | str | None = None,
    minutes: float = math.inf,
    progress: Progress = print,
) -> dict[Experiment, Result]:
    """Run experiments in their order, several at once; return the results of those that ended in time, in that order.

    What is under way when the time is over, or on SIGINT or SIGTERM, is saved, and the same call resumes it; after a
    crash it resumes from the last finished epoch. Runs that are expected to end in time go before those that are not.
    Where a run fails, the others go on.

    Args:
        experiments: what to run; equal ones are run once.
        record: record the runs, and take those that are recorded already. Otherwise everything is trained anew, in
            memory; runs that differ only in their method's ``shareable_options`` share what does not depend on these.
        jobs: number of processes; 0 for as many as there are cores (on a GPU: 1).
        device, results: see :func:`run`.
        minutes: budget of time; if finite, runs that another process is making are left to it.
        progress: called with a line of text per finished run, with one process per epoch as well; None for silence.

    Raises:
        ExceptionGroup: several runs failed; a single failure is raised as it is.
        labelreg.training.Interrupted: on SIGINT or SIGTERM, when everything under way is saved.
        Killed: a process was killed.
    """
    if not isinstance(jobs, int) or jobs < 0:
        raise ValueError(f"jobs is a number of processes, 0 for as many as there are cores, not {jobs!r}")
    if not isinstance(minutes, int | float) or not minutes >= 0:
        raise ValueError(f"minutes is a budget of time, at least 0, not {minutes!r}")
    if isinstance(experiments, Experiment) or not isinstance(experiments, Iterable):
        raise TypeError(f"experiments must be a list of them, or another iterable, got {experiments!r}")
    _check(*(todo := list(experiments)))
    todo = list(dict.fromkeys(todo))
    target, store = resolve_device(device), Store(results)
    known = list(store) if record else []
    recorded, runtimes = Recorded(known), Runtimes(known, target)
    finished = {each: found for each in todo if (found := recorded.find(each))}
    for each in finished:
        _sweep(each, store)
    # what is recorded may be resumed, and then the runs that it shares something with are gone
    waiting = [[each] for each in todo if each not in finished] if record else _sharing(todo)
    workers = min(jobs or (1 if target.type == "cuda" else joblib.cpu_count()), len(waiting)) or 1
    tell = progress if workers == 1 else progress and _SlowLines()
    under_way: list[Experiment] = []
    failures: list[Exception] = []

    with tempfile.TemporaryDirectory() as folder:
        stop = StopWhen(time.time() + 60 * minutes, Path(folder) / "stop", os.getpid())

        def calls() -> Iterator[Any]:
            while waiting and not stop():
                group = _next(waiting, runtimes, stop.deadline - time.time())
                waiting.remove(group)
                under_way.extend(group)
                yield joblib.delayed(_run_group)(group, record, str(target), results, tell, stop)

        # joblib divides the cores' threads among its processes; recorded runs are chosen by the time that is left
        ahead = "n_jobs" if record else "2*n_jobs"
        pool = joblib.Parallel(workers, return_as="generator_unordered", pre_dispatch=ahead, batch_size=1)
        try:
            with stop_on_signals(stop.flag.touch):
                for outcome in pool(calls()):
                    group, made, error = outcome
                    for each in group:
                        under_way.remove(each)
                    finished |= made
                    if isinstance(error, KeyboardInterrupt) and not stop():  # a signal reached the run alone
                        stop.flag.touch()
                    if isinstance(error, Exception) and not isinstance(error, Claimed):
                        failures.append(error)
                    if progress is not None and not (failures and len(todo) == 1):  # which is raised at once
                        progress(f"{len(finished)} of {len(todo)}: {_described(outcome)}")
        except TerminatedWorkerError as error:
            names = "; ".join(each.name for each in under_way)
            what = f"a process was killed, possibly out of memory, while these ran: {names}"
            raise Killed(f"{what}. The same call resumes from their last finished epochs") from error
        if stop.flag.exists():
            raise Interrupted("interrupted" + ("; saved, the same call resumes there" if record else ""))
    if len(failures) > 1:
        raise ExceptionGroup(f"{len(failures)} of {len(todo)} runs failed", failures)
    if failures:
        raise failures[0]
    return {each: finished[each] for each in todo if each in finished}


@dataclass(frozen=True)
class StopWhen:
    """Whether runs should stop: at a time, on request, or since the process that waits for them is gone."""

    deadline: float  # seconds since the epoch
    flag: Path  # a file that says to every process that a stop was requested
    parent: int

    def __call__(self) -> bool:
        return time.time() >= self.deadline or self.flag.exists() or self.orphaned

    @property
    def orphaned(self) -> bool:
        return self.parent not in (os.getpid(), os.getppid())


def _run_group(
    group: list[Experiment], record: bool, device: str, results: Path | str | None, progress: Progress, stop: StopWhen
) -> _Outcome:
    """Make a group of runs, in a process of the pool or in the calling one."""
    done: dict[Experiment, Result] = {}
    shared: dict | None = {} if len(group) > 1 else None
    try:
        for each in group:
            if record:
                wait = math.isinf(stop.deadline)
                done[each] = run(each, results=results, device=device, wait=wait, progress=progress, stop=stop)
            else:
                done[each] = train(each, device=device, progress=progress, shared=shared, stop=stop).result
    except (Exception, KeyboardInterrupt) as error:  # which does not affect the other runs
        if os.getpid() == stop.parent and isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
            raise  # a second signal acts at once
        if stop.orphaned:
            os._exit(1)  # nobody waits for the outcome, and what was done is saved
        if not isinstance(error, Claimed | KeyboardInterrupt):
            error.add_note(f"in the run {' '.join(render(each.changes()))}")
            if os.getpid() != stop.parent:
                error.add_note(traceback.format_exc())  # which does not travel between processes
        return group, done, error
    return group, done, None


def _next(waiting: Sequence[list[Experiment]], runtimes: Runtimes, seconds: float) -> list[Experiment]:
    """The first group that is expected to end within that time, or else the first."""
    return next((group for group in waiting if not sum(map(runtimes.seconds, group)) > seconds), waiting[0])


def _sharing(experiments: Iterable[Experiment]) -> list[list[Experiment]]:
    """Group experiments that differ in nothing but what their method can share between runs."""
    groups: dict[Experiment, list[Experiment]] = {}
    for each in experiments:
        # what is shared must not depend on the target, as a learning rate on a plateau would, nor be observed
        alone = each.schedule == "plateau" or "disturbed_labels" in each.observe
        shareable = frozenset() if alone else methods.find(each.method).shareable_options
        common = {name: value for name, value in each.options.items() if name not in shareable}
        groups.setdefault(each.but(options=common), []).append(each)
    return list(groups.values())


def _described(outcome: _Outcome) -> str:
    """The end of a group of runs in a few words."""
    group, results, error = outcome
    match error:
        case None:
            last, seconds = results[group[-1]].last, results[group[-1]].provenance["seconds"]
            perplexity = last.get("test_perplexity")
            shown = f"error {last['test_error']:.2%}" if perplexity is None else f"perplexity {perplexity:.1f}"
            what = f"{shown}, {seconds:.0f} s"
        case Claimed():
            what = "another process is running it"
        case KeyboardInterrupt():
            what = "stopped; the same call resumes there"
        case _:
            what = one_line(error)
    return f"{group[-1].name}: {what}"


class _SlowLines:
    """Prints a run's first line, and another if some seconds have passed since the last."""

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)
