"""What networks are trained on: tensor-resident data sets, batched augmentation and the loader.

A data set is a function from the folder of raw data to a ``Dataset``, registered by name with ``@register(name)``.
Every module of this package is imported here, so a new data set takes one new file and no other change.
"""

import importlib
import pkgutil

from labelreg.data.augmentation import augmentations
from labelreg.data.dataset import Dataset, Split, balanced_subset, hold_out, redraw_labels
from labelreg.data.loader import Batch, Loader, batches
from labelreg.data.registry import data_root, load, names, register
from labelreg.data.sequences import SequenceLoader

__all__ = [
    "Batch",
    "Dataset",
    "Loader",
    "SequenceLoader",
    "Split",
    "augmentations",
    "balanced_subset",
    "batches",
    "data_root",
    "hold_out",
    "load",
    "names",
    "redraw_labels",
    "register",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
