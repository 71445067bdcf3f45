"""Batches from a text: consecutive words, for truncated back-propagation through time."""

from collections.abc import Iterator

import torch

from labelreg.data.dataset import Split
from labelreg.data.loader import Batch


class SequenceLoader:
    """Goes through a text in steps of T words, at B places of it at once, as Zaremba et al. (2014) do.

    The text is cut into B columns of equal length, and a batch is the next T rows of them: each column of a batch goes
    on where it stopped in the batch before, so that a network can carry its state along. Nothing is drawn, every epoch
    is the same. The words that fill no row, fewer than B at the end of the text, are left out; the last batch may have
    fewer rows.

    Args:
        split: a text of N words: inputs (N,) int64 and targets (N,).
        batch_size: B, the number of columns.
        length: T, the number of rows.

    Attributes:
        split: the words that an epoch goes over.

    Raises:
        ValueError: the split is no text, an argument is below 1, or the text is shorter than a row.
    """

    def __init__(self, split: Split, batch_size: int, length: int):
        if split.inputs.dim() != 1 or split.inputs.dtype != torch.int64:
            raise ValueError(f"a text is (N,) int64, got inputs {tuple(split.inputs.shape)} of {split.inputs.dtype}")
        if length < 1:
            raise ValueError(f"the sequence length must be at least 1, got {length}")
        words = len(split)
        if not 1 <= batch_size <= words:
            raise ValueError(f"a text of {words} words makes 1 to {words} columns, got a batch size of {batch_size}")
        used = words // batch_size * batch_size
        self.split = Split(split.inputs[:used], split.targets[:used])
        self.length = length
        values = (self.split.inputs, self.split.targets, torch.arange(used, device=split.inputs.device))
        self._inputs, self._targets, self._positions = (each.view(batch_size, -1).t().contiguous() for each in values)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self._inputs) // self.length)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            epoch: which, from 0; they are all the same.
            start: position of the first batch to yield.

        Raises:
            ValueError: the start is not a position in the epoch.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start={start} is no position in an epoch of {len(self)} batches")
        return (self._batch(position) for position in range(start, len(self)))

    def _batch(self, position: int) -> Batch:
        rows = slice(position * self.length, (position + 1) * self.length)
        return Batch(self._inputs[rows], self._targets[rows].flatten(), self._positions[rows].flatten())
