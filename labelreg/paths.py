"""Where things lie on disk: each folder can be moved by an environment variable; and how a file gets there whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    """Return the checkout this package is imported from, or the current directory where it is installed without one."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def data_root() -> Path:
    """Folder of the data sets: ``LABELREG_DATA``, else ``data/raw``."""
    return Path(os.environ.get("LABELREG_DATA") or project_root() / "data" / "raw")


def reported_root() -> Path:
    """Folder of the papers' printed numbers: ``data/reported``."""
    return project_root() / "data" / "reported"


def results_root() -> Path:
    """Folder of the recorded runs: ``LABELREG_RESULTS``, else ``data/results``."""
    return Path(os.environ.get("LABELREG_RESULTS") or project_root() / "data" / "results")


def runs_root() -> Path:
    """Folder of checkpoints and trained weights: ``LABELREG_RUNS``, else ``data/runs``."""
    return Path(os.environ.get("LABELREG_RUNS") or project_root() / "data" / "runs")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what becomes the file once it is whole; where writing fails, nothing is left of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
