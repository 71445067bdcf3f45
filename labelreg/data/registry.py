"""Data sets by name, and the folder their files lie in."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labelreg import paths
from labelreg.checks import unknown
from labelreg.data.dataset import Dataset, balanced_subset

_datasets: dict[str, Callable[[Path], Dataset]] = {}


def register(name: str) -> Callable[[Callable[[Path], Dataset]], Callable[[Path], Dataset]]:
    """Make a function from the data folder to a ``Dataset`` loadable under ``name``.

    Raises:
        ValueError: a function of another module already has that name, or it could not be part of a file's.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"the name of a data set is made of letters, digits, '_', '.' and '-', not {name!r}")

    def decorate(function: Callable[[Path], Dataset]) -> Callable[[Path], Dataset]:
        # running a module again, as autoreload does, is no clash
        if name in _datasets and _datasets[name].__module__ != function.__module__:
            raise ValueError(f"data set {name!r} is registered twice: by {_datasets[name]} and by {function}")
        _datasets[name] = function
        return function

    return decorate


def names() -> tuple[str, ...]:
    """The names that ``load`` knows, sorted."""
    return tuple(sorted(_datasets))


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds the raw data.

    Args:
        root: the folder; where it is None, the environment variable LABELREG_DATA names it, else it is ``data/raw`` in
            the checkout this package is imported from, else (an installed package) ``data/raw`` in the current folder.
    """
    return paths.data_root() if root is None else Path(root)


def load(name: str, root: str | os.PathLike | None = None, subset: int | None = None) -> Dataset:
    """Load a data set, whole, as tensors on the CPU.

    Args:
        name: one of ``names()``.
        root: the folder of raw data, see ``data_root``; a data set that is embedded in the package does not look there.
        subset: keep only that many training samples, as balanced over the classes as can be (``balanced_subset``). The
            test split stays whole.

    Raises:
        ValueError: the name is unknown, the subset is larger than the training split or asked of a task that is no
            classification, or a file is damaged.
        FileNotFoundError: the files are not under the root and cannot be downloaded.
    """
    if name not in _datasets:
        raise unknown("data set", name, names())
    dataset = _datasets[name](data_root(root))
    if subset is None:
        return dataset
    if dataset.task != "classification":
        raise ValueError(f"subset={subset} balances classes, but {name} is a {dataset.task} task; load it whole")
    return replace(dataset, train=balanced_subset(dataset.train, subset, dataset.num_classes))
