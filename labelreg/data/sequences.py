"""Batches of a text: consecutive words, for truncated back-propagation through time."""

from collections.abc import Iterator

import torch

from labelreg.data.dataset import Split
from labelreg.data.loader import Batch, check_start


class SequenceLoader:
    """Batches of T consecutive words of B columns of a text (Zaremba et al., 2014).

    The text, of inputs and targets (N,) int64, is cut into B columns of equal length, and a batch is their next T rows,
    so that a network can carry its state from batch to batch. Up to B - 1 words at the end of the text are left out,
    of ``split`` too; the last batch may have fewer rows. ``batch_size`` is B, ``length`` is T.
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
        self.split, self.samples = Split(split.inputs[:used], split.targets[:used]), used
        self.length = length
        values = (self.split.inputs, self.split.targets, torch.arange(used, device=split.inputs.device))
        self._inputs, self._targets, self._positions = (each.view(batch_size, -1).t().contiguous() for each in values)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self._inputs) // self.length)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of one epoch from position ``start`` on; all epochs are the same."""
        check_start(start, self)
        return (self._batch(position) for position in range(start, len(self)))

    def _batch(self, position: int) -> Batch:
        rows = slice(position * self.length, (position + 1) * self.length)
        return Batch(self._inputs[rows], self._targets[rows].flatten(), self._positions[rows].flatten())
