"""Finished runs on disk: one small JSON file per run, read back as results or as a table."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

import labelreg
from labelreg import paths
from labelreg.experiment import Experiment
from labelreg.names import one_line

if TYPE_CHECKING:
    import pandas as pd
    import torch

SCHEMA = 1
DIGITS = 5  # significant digits of a recorded number: more than its accuracy needs, and few enough for small files
LARGEST = 1e308  # bound for the numbers in a file: an int in JSON may be larger than any float
_ALWAYS_RECORDED = {"test_error", "test_nll", "test_ece"}
SECONDS_BETWEEN_QUESTIONS = 1.0  # between two questions whether to go on waiting for another process


@dataclass(frozen=True)
class Result:
    """The outcome of one run.

    Attributes:
        history: name to one value per epoch, such as a fraction, nats or seconds.
        provenance: device, versions, commit, date of the start (UTC), digests of the training and the test split (they
            identify the order of the samples), number of trained parameters, and seconds of training.
        observations: name to what an observer returned, (epochs, ...), or (1, ...) if it is called at the end only.
    """

    experiment: Experiment
    history: dict[str, list[float]]
    provenance: dict[str, Any]
    observations: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def last(self) -> dict[str, float]:
        """The history's values at the last epoch."""
        return {name: values[-1] for name, values in self.history.items()}

    @property
    def best(self) -> dict[str, float]:
        """The history's values at the best epoch on the test set.

        They are not to be reported as a result, because the epoch was selected on that set.
        """
        epoch = self.best_epoch("test")
        return {name: values[epoch] for name, values in self.history.items()}

    def best_epoch(self, split: str) -> int:
        """Return the index of the epoch with the lowest perplexity on a split, or the lowest error if there is none."""
        perplexity = f"{split}_perplexity"
        values = self.history[perplexity if perplexity in self.history else f"{split}_error"]
        return int(np.argmin(np.nan_to_num(values, nan=np.inf)))

    def epochs(self, name: str) -> np.ndarray:
        """Return a quantity of the history or an observation."""
        return np.asarray(self.history[name] if name in self.history else self.observations[name])


class Recorded:
    """Results by experiment; a run that observed more than an experiment asks for also counts, and is preferred."""

    def __init__(self, results: Iterable[Result]):
        self._results: dict[Experiment, list[Result]] = {}
        for result in results:
            self._results.setdefault(_unobserved(result.experiment), []).append(result)

    def find(self, experiment: Experiment) -> Result | None:
        """Return the run of an experiment, or None."""
        runs, asked = self._results.get(_unobserved(experiment), []), set(experiment.observe)
        seen_enough = (each for each in runs if asked <= set(each.experiment.observe))
        return max(seen_enough, key=lambda each: len(each.experiment.observe), default=None)


def _unobserved(experiment: Experiment) -> Experiment:
    """The experiment without observers, also in the training of its teacher."""
    teacher = experiment.teacher and _unobserved(experiment.teacher)
    return experiment.model_copy(update={"observe": (), "teacher": teacher})


class Claimed(RuntimeError):
    """Another process is running the same experiment."""


@contextmanager
def hold(lock: FileLock, wait: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock, as :meth:`Store.claim` does."""
    seconds = 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            if not wait():
                raise Claimed(f"another process holds {lock.lock_file}") from error
            seconds = SECONDS_BETWEEN_QUESTIONS
    try:
        yield
    finally:
        lock.release()


class Store:
    """A folder of results, ``data/results`` by default; it need not exist yet."""

    def __init__(self, root: Path | str | None = None):
        self.root = paths.results_root() if root is None else Path(root).expanduser()

    def find(self, experiment: Experiment) -> Result | None:
        """Return the result of an experiment, or None."""
        return self.find_all([experiment]).get(experiment)

    def find_all(self, experiments: Iterable[Experiment]) -> dict[Experiment, Result]:
        """Return the results of those experiments that have one; only files with their names are opened."""
        wanted = list(experiments)
        names = dict.fromkeys(each.name for each in wanted)
        recorded = Recorded(result for name in names for result in self._read(f"{name}-*.json"))
        return {each: found for each in wanted if (found := recorded.find(each))}

    def __iter__(self) -> Iterator[Result]:
        """Read every result, in the order of the files; a file that is not a valid result is named in a warning."""
        return self._read("*.json")

    def _read(self, pattern: str) -> Iterator[Result]:
        return (found for path in sorted(self.root.glob(f"**/{pattern}")) if (found := _read(path)) is not None)

    def claim(self, experiment: Experiment, wait: Callable[[], bool] = lambda: True) -> AbstractContextManager[None]:
        """Hold an experiment, so that no other process with this folder works on it; it is freed when the holder ends.

        While another process holds it, ``wait`` is called every second; if it returns false, ``Claimed`` is raised.
        """
        return hold(self._lock(experiment.key), wait)

    def _lock(self, name: str) -> FileLock:
        claims = self.root / ".claims"
        claims.mkdir(parents=True, exist_ok=True)
        return FileLock(claims / name)

    def save(self, result: Result) -> Path:
        """Write a result into the folder ``shared``, unless its experiment has one there already; return the file."""
        target = self.root / "shared"
        target.mkdir(parents=True, exist_ok=True)
        content = _content(result)
        with self._lock("saving"):
            for left_over in paths.unfinished(target):
                left_over.unlink()
            # a result with another key was recorded when experiments had fewer settings
            for path in sorted(target.glob(f"{result.experiment.name}-*.json")):
                if (found := _read(path)) is not None and Recorded([found]).find(result.experiment):
                    return path
            stem = f"{result.experiment.name}-{result.experiment.key}"
            names = (f"{stem}-{attempt}.json" if attempt else f"{stem}.json" for attempt in itertools.count())
            path = next(target / name for name in names if not (target / name).exists())  # other files stay
            if result.observations:  # first, because a result counts as complete once its file exists
                _save_arrays(path.with_suffix(".npz"), result.observations)
            with paths.atomic_write(path) as unfinished:
                unfinished.write_text(content)
        return path

    def table(self) -> pd.DataFrame:
        """Return all results as a table, one row per run: settings, last and best metrics, provenance."""
        import pandas as pd

        rows = []
        for result in self:
            best = {f"best_{name}": value for name, value in result.best.items() if name.startswith("test_")}
            settings = result.experiment.as_dict()
            # a setting and a metric may have the same name, such as the learning rate: the setting counts
            rows.append(settings | result.last | settings | best | result.provenance)
        return pd.DataFrame(rows)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> tuple[float, float]:
    """Compare two methods on the same seeds by the mean difference and the half-width of its 95 % Student-t interval.

    ``values`` and ``baseline`` (n,) are in the same order of seeds. The half-width is NaN for a single seed.
    """
    from scipy.special import stdtrit

    if len(values) != len(baseline) or not len(values):
        raise ValueError(f"a paired difference needs the same seeds: got {len(values)} values and {len(baseline)}")
    differences = np.subtract(values, baseline, dtype=float)
    mean, count = float(differences.mean()), len(differences)
    if count == 1:
        return mean, math.nan
    # scipy's paired test warns about nearly equal differences; relative to the first, equal ones have no spread
    spread = np.std(differences - differences[0], ddof=1) / math.sqrt(count)
    return mean, float(spread * stdtrit(count - 1, 0.975))


def provenance(device: torch.device | str) -> dict[str, Any]:
    """Return the versions, device, commit and date that a result is computed with."""
    import torch

    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return {
        "labelreg": labelreg.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": name,
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _commit() -> str:
    """Commit of the checkout, marked if the working tree differs, or LABELREG_COMMIT, for copies without history."""
    if told := os.environ.get("LABELREG_COMMIT"):
        return told
    if (checkout := paths.checkout()) is None:
        return ""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _content(result: Result) -> str:
    content = {
        "schema": SCHEMA,
        "experiment": result.experiment.as_dict(),
        # JSON knows neither NaN nor infinity
        "history": {
            name: [rounded(value) if math.isfinite(value) else None for value in values]
            for name, values in result.history.items()
        },
        "provenance": result.provenance,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace('],"', '],\n"') + "\n"


def _read(path: Path) -> Result | None:
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        files = [each.stat() for each in (path, path.with_suffix(".npz")) if each.exists()]
        return _parsed(path, tuple((each.st_mtime_ns, each.st_size) for each in files))
    except Exception as error:  # a damaged file may raise anything
        warnings.warn(f"{path} is not a valid result and is skipped: {one_line(error)}", stacklevel=3)
        return None


@cache
def _parsed(path: Path, state: tuple[tuple[int, int], ...]) -> Result:
    """Parse a result; cached, as a page reads all results many times, and a file's state changes with its content."""
    content = json.loads(path.read_text())
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
    experiment = Experiment.from_recorded(content["experiment"])
    hash(experiment)  # must exist: results are found by it
    history, origin = _history(content["history"]), content["provenance"]
    count = len(history["test_error"])
    if count != experiment.epochs or history.get("epoch", [*range(1, count + 1)]) != [*range(1, count + 1)]:
        raise ValueError(f"the epochs of the history are not those of a run of {experiment.epochs}")
    if experiment.observe and len(state) < 2:
        raise ValueError(f"{path.with_suffix('.npz').name}, with what was observed, is missing")
    if not _is_number(origin["seconds"]):
        raise ValueError(f"provenance.seconds must be a number, got {origin['seconds']!r}")
    observations = {}
    if len(state) > 1:
        with np.load(path.with_suffix(".npz")) as stored:
            observations = {name: stored[name].astype(np.float32) for name in stored}
    return Result(experiment, history, origin, observations)


def _history(columns: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the columns of a file, with NaN for null, or raise an error if they are not a history."""
    if missing := _ALWAYS_RECORDED - columns.keys():
        raise ValueError(f"the history has no {', '.join(sorted(missing))}")
    for name, values in columns.items():
        if not isinstance(values, list) or not all(value is None or _is_number(value) for value in values):
            raise ValueError(f"history.{name} must be a list of numbers")
        if not len(values) == len(columns["test_error"]) > 0:
            raise ValueError(f"history.{name} must be as long as test_error, at least 1, and is {len(values)}")
        if name.endswith("_error") and not all(value is not None and 0 <= value <= 1 for value in values):
            raise ValueError(f"history.{name} must be fractions, in [0, 1]")
    return {name: [math.nan if value is None else value for value in values] for name, values in columns.items()}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # half precision is enough for a picture, but scalars may be printed, and some numbers are too large for it
    largest = np.finfo(np.float16).max

    def is_picture(array: np.ndarray) -> bool:
        return np.ndim(array) > 1 and array.dtype.kind == "f" and not (np.abs(array) > largest).any()

    kept = {name: np.asarray(array, np.float16 if is_picture(array) else np.float32) for name, array in arrays.items()}
    with paths.atomic_write(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **kept)


def rounded(value: float) -> float:
    """Return a number rounded to the digits that are recorded."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
