"""Batches of a split: shuffled, augmented, normalised, and determined by the seed; or consecutive words of a text."""

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from labelreg.data.augmentation import augmentations, resized_crop_flip
from labelreg.data.dataset import Split, class_labels
from labelreg.data.randomness import Stream, generator
from labelreg.data.texts import Texts
from labelreg.names import unknown

VIEWS = frozenset({"partner", "source"})


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of a training step.

    Attributes:
        inputs: (B, ...) float32, augmented and normalised; (B, L) int64 for texts of up to L tokens, padded with 0; or,
            for a language model, (T, B) int64, T words of each of B texts, with T * B in place of B below. With M
            copies, the batch is M batches of the same samples, one after the other.
        targets: (B,) int64 class indices, or (B, D) float.
        indices: (B,) int64, positions of the samples in the split.
        partner: (B, ...) float32, for each sample the augmented input of a sample drawn from its class; None unless
            asked for.
        source: (B, ...) float32, the samples preprocessed as for evaluation, not augmented; None unless asked for.
    """

    inputs: Tensor
    targets: Tensor
    indices: Tensor
    partner: Tensor | None = None
    source: Tensor | None = None


class Loader:
    """Shuffled and augmented batches for training.

    A batch is determined by (seed, epoch, position) and does not depend on the views: methods see the same batches, and
    an interrupted run resumes with the batches that it would have seen. (CPU and GPU draw different numbers.) An epoch
    goes over the split once. Its last batch may be smaller, but a single left-over sample joins the batch before it,
    because batch normalisation cannot train on one sample. Texts of similar length share a batch, see
    :meth:`.Texts.bucketed`.

    A batch may be divided into parts of equal size, each augmented with its own random numbers. An epoch then leaves
    out the samples that cannot be divided, at most ``parts`` - 1, and a last batch of one sample per part joins the
    batch before it.

    Args:
        split, batch_size: N samples and B; batches are on the device of the targets.
        mean, std: (C,), in the units of the inputs; each channel is shifted by the mean and divided by std.
        augmentation: a key of ``labelreg.data.augmentations``. On photographs stored as squares,
            ``"resized_crop_flip"`` crops the whole photograph; the others use its centre crop.
        views: views to add to each batch, out of ``"partner"`` and ``"source"``. A partner is uniform over the samples
            of the class, including the sample itself, as in the published code of CS-KD.
        copies: M, copies of each sample per batch. Each copy has its own augmentation and partner; the first copy's
            randomness does not depend on the number of copies.
        num_classes: number of classes used to check the labels; 0, as in regression, skips the check.
        part, parts: which part of every batch to return, from 0, and how many there are; they must divide B.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: Tensor,
        std: Tensor,
        augmentation: str = "none",
        views: frozenset[str] = frozenset(),
        copies: int = 1,
        num_classes: int | None = None,
        seed: int = 0,
        part: int = 0,
        parts: int = 1,
    ):
        _check_batching(split, batch_size)
        if batch_size % parts or len(split) < parts:
            size = f"batch_size={batch_size} of {len(split)} samples"
            raise ValueError(f"{size} cannot be divided into {parts} parts: give a multiple of {parts}")
        if copies < 1:
            raise ValueError(f"copies must be at least 1, got {copies}")
        if augmentation not in augmentations:
            raise unknown("augmentation", augmentation, augmentations)
        shape = tuple(split.inputs.shape)
        if augmentation != "none" and len(shape) != 4:
            raise ValueError(f"augmentation {augmentation!r} is for images (N, C, H, W), got inputs {shape}")
        if copies > 1 and isinstance(split.inputs, Texts):
            raise ValueError(f"copies={copies}: texts are not augmented, so all copies of one would be the same")
        for view in views - VIEWS:
            raise unknown("view", view, VIEWS)
        self.split, self.batch_size, self.copies, self.seed = split, batch_size, copies, seed
        self.part, self.parts = part, parts
        self.samples = len(split) // parts * parts  # of an epoch
        self.views = frozenset(views)
        self._augmentation = augmentations[augmentation]
        self._normalise = normalisation(split, mean, std)
        if num_classes or "partner" in self.views:
            labels = class_labels(split, num_classes or None)
        if "partner" in self.views:
            self._by_class = labels.argsort(stable=True)
            self._class_sizes = labels.bincount()
            self._class_starts = self._class_sizes.cumsum(0) - self._class_sizes

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, left = divmod(self.samples, self.batch_size)
        return max(1, whole + (left > self.parts))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of one epoch, which is numbered from 0, from position ``start`` on."""
        _check_start(start, self)
        device = self.split.targets.device
        draws = generator(self.seed, Stream.SHUFFLE, epoch, device=device)
        order = torch.randperm(len(self.split), generator=draws, device=device)[: self.samples]
        whole = len(self) - 1  # batches before the last
        sizes = [self.batch_size] * whole + [len(order) - self.batch_size * whole]
        widths = [None] * len(self)
        if isinstance(texts := self.split.inputs, Texts):
            order = texts.bucketed(order, self.batch_size, whole, draws)
        chosen = [batch.chunk(self.parts)[self.part] for batch in order.split(sizes)]
        if isinstance(texts, Texts):
            # all at once, because reading the width of a batch waits for the device
            longest = torch.stack([texts.lengths[batch].amax() for batch in chosen])
            widths = longest.clamp(min=1).tolist()
        return (self._batch(chosen[each], epoch, each, widths[each]) for each in range(start, len(self)))

    def _batch(self, indices: Tensor, epoch: int, position: int, width: int | None) -> Batch:
        indices = indices.repeat(self.copies)
        draws = partial(generator, self.seed, epoch=epoch, position=position, part=self.part, device=indices.device)
        targets = self.split.targets[indices]
        inputs = self._augmented(indices, draws(Stream.AUGMENTATION), width)
        partner = source = None
        if "partner" in self.views:
            partners = self._by_copy(self._partners, targets, draws(Stream.PARTNER))
            partner = self._augmented(partners, draws(Stream.PARTNER_AUGMENTATION))
        if "source" in self.views:
            source = self._normalise(self.split.select(indices).clean())
        return Batch(inputs, targets, indices, partner, source)

    def _augmented(self, indices: Tensor, draws: Generator, width: int | None = None) -> Tensor:
        if isinstance(texts := self.split.inputs, Texts):
            return texts[indices].padded(width)
        return self._normalise(self._by_copy(self._augment, indices, draws))

    def _augment(self, indices: Tensor, draws: Generator) -> Tensor:
        rows, mean = self.split.select(indices), self._normalise.channel_mean
        if rows.framing is not None and self._augmentation is resized_crop_flip:
            return resized_crop_flip(rows.inputs, draws, mean, rows.aspects, (rows.framing.side,) * 2)
        return self._augmentation(rows.clean(), draws, mean)

    def _by_copy(self, function: Callable[[Tensor, Generator], Tensor], values: Tensor, draws: Generator) -> Tensor:
        """Apply a random function to one copy after the other, so that the first draws the same with any number."""
        return torch.cat([function(copy, draws) for copy in values.chunk(self.copies)])

    def _partners(self, targets: Tensor, draws: Generator) -> Tensor:
        """The index of a uniformly random sample of the class per target, (B,) int64."""
        drawn = torch.randint(2**62, targets.shape, generator=draws, device=targets.device) % self._class_sizes[targets]
        return self._by_class[self._class_starts[targets] + drawn]


class Normalisation:
    """(inputs - mean) / std per channel, in float32, for the shape, memory format and device of ``inputs``."""

    def __init__(self, mean: Tensor, std: Tensor, inputs: Tensor):
        expected = tuple(inputs.shape[1:2])
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != expected:
                raise ValueError(f"{name} must have one value per channel, {expected}, got {tuple(value.shape)}")
        if not (std > 0).all():
            raise ValueError(f"std must be positive in every channel, got {std.tolist()}")
        self.channel_mean = mean.to(inputs.device, torch.float32)
        # expanded to a whole sample: broadcasting over channels-last images is several times slower on a CPU
        shape = (1, -1) + (1,) * (inputs.dim() - 2)
        self._mean, self._std = (
            torch.empty_like(inputs[:1], dtype=torch.float32).copy_(value.view(shape)) for value in (mean, std)
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        return (inputs.float() - self._mean) / self._std


def normalisation(split: Split, mean: Tensor, std: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that normalises the inputs of a split, which leaves tokens as they are."""
    if isinstance(split.inputs, Texts):
        return lambda tokens: tokens
    return Normalisation(mean, std, split.select(slice(1)).clean())


def batches(split: Split, batch_size: int, mean: Tensor, std: Tensor) -> Iterator[Batch]:
    """Return batches of a split in stored order, normalised and not augmented; arguments as for :class:`Loader`."""
    _check_batching(split, batch_size)
    normalise = normalisation(split, mean, std)
    indices = torch.arange(len(split), device=split.targets.device)
    parts = (slice(first, first + batch_size) for first in range(0, len(split), batch_size))
    rows = ((split.select(part), indices[part]) for part in parts)
    return (Batch(normalise(samples.clean()), samples.targets, positions) for samples, positions in rows)


class SequenceLoader:
    """Batches of T consecutive words from each of B columns of a text (Zaremba et al., 2014).

    The text, with inputs and targets (N,) int64, is cut into B columns of equal length. A batch is their next T rows,
    so that a network can carry its state from batch to batch. Up to B - 1 words at the end of the text are left out,
    also in the attribute ``split``; the last batch may have fewer rows. ``batch_size`` is B, ``length`` is T.
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
        _check_start(start, self)
        return (self._batch(position) for position in range(start, len(self)))

    def _batch(self, position: int) -> Batch:
        rows = slice(position * self.length, (position + 1) * self.length)
        return Batch(self._inputs[rows], self._targets[rows].flatten(), self._positions[rows].flatten())


def _check_start(start: int, loader: Sized) -> None:
    """Check the position of the first batch of an epoch."""
    if not 0 <= start <= len(loader):
        raise ValueError(f"start={start} is not a position in an epoch of {len(loader)} batches")


def _check_batching(split: Split, batch_size: int) -> None:
    if len(split) == 0:
        raise ValueError("cannot make batches of an empty split")
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}")
