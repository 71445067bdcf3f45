"""Data sets as tensors, batched augmentation and loaders.

A data set is a function from the folder of raw data to a ``Dataset``, under ``@register(name)``. Every module of this
package is imported here, so a new data set takes one new file.

Unknown names, invalid arguments and damaged files raise ``ValueError`` with a message that says what would be right.
Files that are missing and cannot be downloaded raise ``FileNotFoundError``. Damaged files are not changed, except for
torchvision's packed files, which torchvision downloads again.
"""

import importlib
import pkgutil

from labelreg.data.augmentation import augmentations
from labelreg.data.dataset import Dataset, Split, balanced_subset, hold_out, redraw_labels
from labelreg.data.loader import Batch, Loader, SequenceLoader, batches
from labelreg.data.registry import load, names, register
from labelreg.paths import data_root

__all__ = ["Batch", "Loader", "SequenceLoader", "augmentations", "batches", "data_root", "load", "names", "register"]
__all__ += ["Dataset", "Split", "balanced_subset", "hold_out", "redraw_labels"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
