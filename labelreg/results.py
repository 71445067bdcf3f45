"""Finished runs on disk: one small JSON file a run, read back as results or as a table."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import platform
import subprocess
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from scipy.special import stdtrit

import labelreg
from labelreg import paths

SCHEMA = 1
DIGITS = 5  # significant digits of a recorded number: more than any of them is good for, and small files


@dataclass(frozen=True)
class Result:
    """What came out of one run.

    Attributes:
        key: of the experiment.
        experiment: every setting of the experiment, as plain data, with those that were at their defaults.
        history: name to its values, one an epoch; fractions, nats and seconds.
        provenance: device, versions, commit, date of the start (UTC, ISO 8601), the test split's digest, which tells
            the order of the samples, the number of parameters that were trained, and the seconds that took.
        observations: name to an array (epochs, ...) of what observers saw, or (1, ...) where they look after the last
            epoch alone; kept beside the JSON file as ``.npz``.
    """

    key: str
    experiment: dict[str, Any]
    history: dict[str, list[float]]
    provenance: dict[str, Any]
    observations: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def last(self) -> dict[str, float]:
        """What the last epoch recorded."""
        return {name: values[-1] for name, values in self.history.items()}

    @property
    def best(self) -> dict[str, float]:
        """What the best epoch recorded, by test error or perplexity: chosen on the test set, so no result by itself."""
        epoch = self.best_epoch("test")
        return {name: values[epoch] for name, values in self.history.items()}

    def best_epoch(self, split: str) -> int:
        """Return the position of the epoch with the lowest perplexity or else error on a split.

        Raises:
            KeyError: neither is recorded of the split.
        """
        perplexity = f"{split}_perplexity"
        values = self.history[perplexity if perplexity in self.history else f"{split}_error"]
        return int(np.argmin(np.nan_to_num(values, nan=np.inf)))

    def epochs(self, name: str) -> np.ndarray:
        """Return what was recorded under a name, or observed as a scalar: (epochs,).

        Raises:
            KeyError: there is nothing under that name.
        """
        return np.asarray(self.history[name] if name in self.history else self.observations[name])


class Claimed(RuntimeError):
    """Another process is at work on what was to be claimed."""


class Store:
    """A folder of results.

    Args:
        root: the folder; by default that of the recorded runs. It need not exist yet.
    """

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else paths.results_root()

    def find(self, key: str) -> Result | None:
        """Return the result with that key, or None. Only files whose name ends with the key are opened."""
        for path in sorted(self.root.glob(f"**/*-{key}*.json")):
            result = _read(path)
            if result is not None and result.key == key:
                return result
        return None

    def named(self, name: str) -> Iterator[Result]:
        """Read the results that were saved under a name, and those whose name goes on from there.

        They come in the order of the files; what is no result is named in a warning and passed over.
        """
        for path in sorted(self.root.glob(f"**/{name}*.json")):
            result = _read(path)
            if result is not None:
                yield result

    def __iter__(self) -> Iterator[Result]:
        """Read every result, see :meth:`named`."""
        return self.named("")

    @contextmanager
    def claim(self, key: str, wait: bool = True) -> Iterator[None]:
        """Hold a key, so that no other process that shares this folder works on it; its holder's death frees it.

        Args:
            key: what to hold.
            wait: wait for another holder.

        Raises:
            Claimed: another process holds it, and this one does not wait.
        """
        claims = self.root / ".claims"
        claims.mkdir(parents=True, exist_ok=True)
        lock = FileLock(claims / key)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise Claimed(f"another process holds {lock.lock_file}") from error
        try:
            yield
        finally:
            lock.release()

    def save(self, result: Result, name: str, folder: str = "shared") -> Path:
        """Write a result, atomically, and return its file.

        A result that is already there stays; a file in the way that is not of these settings stays too, and another
        name is used.

        Args:
            result: what to write.
            name: what the file's name begins with.
            folder: folder inside the root.
        """
        target = self.root / folder
        if not target.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"folder must lie in {self.root}, and {folder!r} does not")
        target.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA} | {name: value for name, value in asdict(result).items() if name != "observations"}
        content["history"] = {name: [_rounded(value) for value in values] for name, values in result.history.items()}
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace('],"', '],\n"')
        unfinished = target / f".{result.key}.{os.getpid()}.tmp"
        try:
            unfinished.write_text(text + "\n")
            return self._claim(unfinished, target / f"{name}-{result.key}", result.observations)
        finally:
            unfinished.unlink(missing_ok=True)

    def _claim(self, unfinished: Path, stem: Path, observations: Mapping[str, np.ndarray]) -> Path:
        ours = json.loads(unfinished.read_text())
        for attempt in itertools.count():
            path = stem.with_name(f"{stem.name}{f'-{attempt}' if attempt else ''}.json")
            try:
                if not path.exists() and observations:
                    # before the result, which is whole once it is there
                    _save_arrays(path.with_suffix(".npz"), observations)
                _publish(unfinished, path)
                return path
            except FileExistsError:
                found = _read(path)
                if found is not None and (found.key, found.experiment) == (ours["key"], ours["experiment"]):
                    return path

    def table(self) -> pd.DataFrame:
        """Return all results as a table, a row a run: settings, last and best metrics, provenance."""
        rows = []
        for result in self:
            best = {f"best_{name}": value for name, value in result.best.items() if name.startswith("test_")}
            # a setting and a metric may have the same name, as the learning rate does: the setting counts
            last = {name: value for name, value in result.last.items() if name not in result.experiment}
            rows.append({"key": result.key} | result.experiment | last | best | result.provenance)
        return pd.DataFrame(rows)


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
    """Compare two methods on the same seeds.

    Args:
        values: (n,) a metric, one value a seed.
        baseline: (n,) the same metric of the baseline, in the same order of seeds.
        confidence: of the interval.

    Returns:
        The mean difference, and the half-width of its Student-t interval (NaN for a single seed).

    Raises:
        ValueError: different lengths, or no values.
    """
    if len(values) != len(baseline) or not len(values):
        raise ValueError(f"a paired difference needs the same seeds: got {len(values)} values and {len(baseline)}")
    differences = np.subtract(values, baseline)
    if len(differences) == 1:
        return float(differences[0]), float("nan")
    quantile = stdtrit(len(differences) - 1, (1 + confidence) / 2)
    return float(differences.mean()), float(quantile * differences.std(ddof=1) / math.sqrt(len(differences)))


def difference_on_common_seeds(values: Mapping[int, float], baseline: Mapping[int, float]) -> tuple[float, float]:
    """Compare two methods on the seeds that both have, as :func:`paired_difference` does.

    Args:
        values: seed to a metric.
        baseline: the same of the baseline.

    Returns:
        The mean difference and the half-width of its 95 % interval; NaN for both where no seed is common.
    """
    common = sorted(values.keys() & baseline.keys())
    if not common:
        return math.nan, math.nan
    return paired_difference([values[seed] for seed in common], [baseline[seed] for seed in common])


def provenance(device: torch.device | str) -> dict[str, Any]:
    """Say what a result is computed with: versions, device, commit, date."""
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
    """Commit of the checkout, marked where the working tree differs from it; empty where there is none.

    A copy without history is told by the environment variable LABELREG_COMMIT.
    """
    if told := os.environ.get("LABELREG_COMMIT"):
        return told
    describe = ["git", "-C", str(paths.project_root()), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# what NumPy raises of an archive that is damaged in one place or another
_DAMAGES = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def _read(path: Path) -> Result | None:
    try:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
        content = {name: content[name] for name in ("key", "experiment", "history", "provenance")}
        if not all(isinstance(content[name], Mapping) for name in ("experiment", "history", "provenance")):
            raise ValueError("experiment, history and provenance are not all objects")
        content["history"] = {
            name: [math.nan if value is None else value for value in values]
            for name, values in content["history"].items()
        }
        arrays = path.with_suffix(".npz")
        if arrays.exists():
            with np.load(arrays) as stored:
                content["observations"] = {name: stored[name].astype(np.float32) for name in stored}
        result = Result(**content)
        result.best  # noqa: B018 (a history without test errors is no result)
        return result
    except (*_DAMAGES, ValueError, LookupError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} is no result and is passed over: {type(error).__name__}: {error}", stacklevel=3)
        return None


def _publish(unfinished: Path, path: Path) -> None:
    """Give a file its name, unless the name is taken, which a rename would not notice."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):  # a file system without links
            raise
        with open(path, "x") as file:
            file.write(unfinished.read_text())


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # half the digits are enough for a picture; scalars may be printed, or be larger than float16 can hold
    kept = {name: np.asarray(array, np.float16 if np.ndim(array) > 1 else np.float32) for name, array in arrays.items()}
    with paths.atomic_write(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **kept)


def _rounded(value: float) -> float | None:
    """A number short enough for a small file; None for NaN and infinity, which JSON does not know."""
    if isinstance(value, int):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
