"""Batches from a split that lives on the device: shuffled, augmented, normalised, and a pure function of the seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from labelreg.checks import unknown
from labelreg.data.augmentation import augmentations, resized_crop_flip
from labelreg.data.dataset import Split, class_labels
from labelreg.data.randomness import Stream, generator

VIEWS = frozenset({"partner", "source"})


@dataclass(frozen=True, eq=False)
class Batch:
    """What a method sees at one step.

    Attributes:
        inputs: (B, ...) float32, augmented and normalised; or (T, B) int64, T words of each of B texts, with B then
            standing for T * B below. Where there are M copies of each sample, B stands for M * B: all of the first
            copy, then all of the second.
        targets: (B,) int64 class indices, or (B, D) float.
        indices: (B,) int64, where in the split the samples are stored.
        partner: (B, ...) float32, for each sample the augmented input of one drawn from the same class; None unless
            asked for.
        source: (B, ...) float32, the same samples before augmentation, as they would be tested on; None unless asked
            for.
    """

    inputs: Tensor
    targets: Tensor
    indices: Tensor
    partner: Tensor | None = None
    source: Tensor | None = None


class Loader:
    """Shuffled and augmented batches for training.

    A batch is a function of (seed, epoch, position) alone, whatever was drawn before and whichever views are asked for:
    methods can be compared on the same batches, and an interrupted run goes on with the batches it would have seen.
    (The numbers drawn on a CPU and on a GPU differ.) An epoch goes over the split once; its last batch may be smaller,
    but a single left-over sample joins the batch before it, since batch normalisation cannot train on one.

    Args:
        split: N samples; batches are made on the device of their targets.
        batch_size: B.
        mean: (C,) subtracted from each channel, in the units of the inputs.
        std: (C,) each channel is divided by.
        augmentation: a key of ``labelreg.data.augmentations``. Of photographs, "resized_crop_flip" cuts out of what is
            stored, all others go on from the middle.
        views: what to add to each batch, of "partner" and "source". A partner is drawn uniformly from the samples of
            the class, the sample itself among them, as in the published code of CS-KD.
        copies: M, how often a batch holds each of its B samples. Every copy is augmented, and paired, on its own; the
            first is the batch that there would be without the others.
        num_classes: labels are checked to be below it; None or 0, as for regression, checks nothing.
        seed: a non-negative integer.

    Raises:
        ValueError: an argument does not fit; the message says which and what would.
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
    ):
        _check_batching(split, batch_size)
        if copies < 1:
            raise ValueError(f"a batch holds each sample once or more often, got copies={copies}")
        if augmentation not in augmentations:
            raise unknown("augmentation", augmentation, augmentations)
        if augmentation != "none" and split.inputs.dim() != 4:
            raise ValueError(
                f"augmentation {augmentation!r} is for images (N, C, H, W), got inputs {tuple(split.inputs.shape)}"
            )
        for view in views:
            if view not in VIEWS:
                raise unknown("view", view, VIEWS)
        self.split = split
        self.batch_size = batch_size
        self.views = frozenset(views)
        self.copies = copies
        self.seed = seed
        self._augmentation = augmentations[augmentation]
        self._normalise = Normalisation(mean, std, split.select(slice(1)).clean())
        if num_classes or "partner" in self.views:
            labels = class_labels(split, num_classes or None)
        if "partner" in self.views:
            self._by_class = labels.argsort(stable=True)
            self._class_sizes = labels.bincount()
            self._class_starts = self._class_sizes.cumsum(0) - self._class_sizes

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, left = divmod(len(self.split), self.batch_size)
        return max(1, whole + (left > 1))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            epoch: which, from 0.
            start: position of the first batch to yield; those before it are skipped without being made.

        Raises:
            ValueError: the epoch or the seed is negative, or the start is not a position in it.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start={start} is no position in an epoch of {len(self)} batches")
        device = self.split.targets.device
        draws = generator(self.seed, Stream.SHUFFLE, epoch, device=device)
        order = torch.randperm(len(self.split), generator=draws, device=device)
        return (self._batch(order, epoch, position) for position in range(start, len(self)))

    def _batch(self, order: Tensor, epoch: int, position: int) -> Batch:
        first = position * self.batch_size
        indices = order[first:] if position == len(self) - 1 else order[first : first + self.batch_size]
        indices = indices.repeat(self.copies)
        draws = partial(generator, self.seed, epoch=epoch, position=position, device=indices.device)
        targets = self.split.targets[indices]
        inputs = self._augmented(indices, draws(Stream.AUGMENTATION))
        partner = source = None
        if "partner" in self.views:
            partners = self._by_copy(self._partners, targets, draws(Stream.PARTNER))
            partner = self._augmented(partners, draws(Stream.PARTNER_AUGMENTATION))
        if "source" in self.views:
            source = self._normalise(self.split.select(indices).clean())
        return Batch(inputs, targets, indices, partner, source)

    def _augmented(self, indices: Tensor, draws: Generator) -> Tensor:
        return self._normalise(self._by_copy(self._augment, indices, draws))

    def _augment(self, indices: Tensor, draws: Generator) -> Tensor:
        rows, mean = self.split.select(indices), self._normalise.channel_mean
        if rows.framing is not None and self._augmentation is resized_crop_flip:
            # out of the whole photograph, not out of its middle
            return resized_crop_flip(rows.inputs, draws, mean, rows.aspects, (rows.framing.side,) * 2)
        return self._augmentation(rows.clean(), draws, mean)

    def _by_copy(self, function: Callable[[Tensor, Generator], Tensor], values: Tensor, draws: Generator) -> Tensor:
        """Apply a function that draws to one copy after another, so that what the first draws hangs on no other."""
        return torch.cat([function(copy, draws) for copy in values.chunk(self.copies)])

    def _partners(self, targets: Tensor, draws: Generator) -> Tensor:
        """For each target the index of a sample of its class, uniformly drawn: (B,) int64."""
        drawn = torch.randint(2**62, targets.shape, generator=draws, device=targets.device) % self._class_sizes[targets]
        return self._by_class[self._class_starts[targets] + drawn]


class Normalisation:
    """(inputs - mean) / std for each channel, in float32.

    Args:
        mean: (C,).
        std: (C,), positive.
        inputs: (N, C, ...) what will be normalised: its shape, memory format and device are made ready for.

    Raises:
        ValueError: mean or std do not fit the channels, or std is not positive.
    """

    def __init__(self, mean: Tensor, std: Tensor, inputs: Tensor):
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != inputs.shape[1:2]:
                raise ValueError(
                    f"{name} must have one value a channel, {tuple(inputs.shape[1:2])}, got {tuple(value.shape)}"
                )
        if not (std > 0).all():
            raise ValueError(f"std must be positive in every channel, got {std.tolist()}")
        self.channel_mean = mean.to(inputs.device, torch.float32)
        self._mean, self._std = (self._per_value(statistic, inputs) for statistic in (mean, std))

    def __call__(self, inputs: Tensor) -> Tensor:
        return (inputs.float() - self._mean) / self._std

    @staticmethod
    def _per_value(statistic: Tensor, inputs: Tensor) -> Tensor:
        # One number for each value of a sample, laid out like a sample: broadcasting three channels over channels-last
        # images is several times slower on a CPU.
        shape = (1, -1) + (1,) * (inputs.dim() - 2)
        return torch.empty_like(inputs[:1], dtype=torch.float32).copy_(statistic.view(shape))


def batches(split: Split, batch_size: int, mean: Tensor, std: Tensor) -> Iterator[Batch]:
    """The samples of a split in stored order, normalised and not augmented, for evaluation.

    Args:
        split: N samples.
        batch_size: B; the last batch holds what is left.
        mean: (C,) subtracted from each channel, in the units of the inputs.
        std: (C,) each channel is divided by.

    Raises:
        ValueError: the split is empty, or an argument does not fit it.
    """
    _check_batching(split, batch_size)
    normalise = Normalisation(mean, std, split.select(slice(1)).clean())
    indices = torch.arange(len(split), device=split.targets.device)
    parts = (slice(first, first + batch_size) for first in range(0, len(split), batch_size))
    rows = ((split.select(part), indices[part]) for part in parts)
    return (Batch(normalise(samples.clean()), samples.targets, positions) for samples, positions in rows)


def _check_batching(split: Split, batch_size: int) -> None:
    if len(split) == 0:
        raise ValueError("cannot make batches of an empty split")
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}")
