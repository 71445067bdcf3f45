"""Data sets by name."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labelreg.data.dataset import Dataset, balanced_subset
from labelreg.data.words import read
from labelreg.names import unknown
from labelreg.paths import data_root

_datasets: dict[str, Callable[[Path], Dataset]] = {}


def register(name: str) -> Callable[[Callable[[Path], Dataset]], Callable[[Path], Dataset]]:
    """Register the decorated function, from the data folder to a :class:`Dataset`, under a name."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"the name of a data set is made of letters, digits, '_', '.' and '-', not {name!r}")

    def decorate(function: Callable[[Path], Dataset]) -> Callable[[Path], Dataset]:
        # a module that runs again, as with autoreload, may register its data sets again
        if name in _datasets and _datasets[name].__module__ != function.__module__:
            raise ValueError(f"data set {name!r} is registered twice, the second time by {function}")
        _datasets[name] = function
        return function

    return decorate


def names() -> tuple[str, ...]:
    """Return the names of all data sets, in alphabetical order."""
    return tuple(sorted(_datasets))


def load(
    name: str, root: str | os.PathLike | None = None, subset: int | None = None, reading: str = "words"
) -> Dataset:
    """Load a data set as tensors on the CPU, from the folder :func:`.data_root` of the raw data.

    ``subset`` is the number of training samples to keep in a classification task, see :func:`balanced_subset`; the test
    split stays whole. ``reading`` is how texts are read, as ``"words"`` or ``"characters"``.
    """
    if name not in _datasets:
        raise unknown("data set", name, _datasets)
    dataset = _datasets[name](data_root(root))
    if dataset.reading:
        dataset = read(dataset, reading)
    if subset is None:
        return dataset
    if dataset.task != "classification":
        raise ValueError(f"subset={subset} balances classes, but {name} is a {dataset.task} task; load it whole")
    return replace(dataset, train=balanced_subset(dataset.train, subset, dataset.num_classes))
