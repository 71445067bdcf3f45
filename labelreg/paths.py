"""Folders of the project, which environment variables can move, and atomic writing of files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def checkout() -> Path | None:
    """Return the checkout that this package is imported from, None if it is in none."""
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "pyproject.toml").exists() else None


def project_root() -> Path:
    """Return the checkout that this package is imported from, or the current directory if it is in none."""
    return checkout() or Path.cwd()


def data_root(root: str | os.PathLike | None = None) -> Path:
    """Return the folder of the data sets: ``root``, else ``LABELREG_DATA``, else ``data/raw``."""
    return _folder(os.environ.get("LABELREG_DATA"), "raw") if root is None else Path(root).expanduser()


def reported_root() -> Path:
    """Return the folder of the papers' printed numbers, ``data/reported``."""
    return _folder(None, "reported")


def results_root() -> Path:
    """Return the folder of the recorded runs: ``LABELREG_RESULTS``, else ``data/results``."""
    return _folder(os.environ.get("LABELREG_RESULTS"), "results")


def runs_root() -> Path:
    """Return the folder of checkpoints and trained weights: ``LABELREG_RUNS``, else ``data/runs``."""
    return _folder(os.environ.get("LABELREG_RUNS"), "runs")


def _folder(chosen: str | None, default: str) -> Path:
    return Path(chosen).expanduser() if chosen else project_root() / "data" / default


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` if the block succeeds and is removed if it fails."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with blamed(path):
            yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished(folder: Path) -> list[Path]:
    """Return files that killed processes left in :func:`atomic_write`; nobody else may be writing into the folder."""
    return list(folder.glob(".*.tmp"))


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Add a file's name to errors of the operating system that name none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
