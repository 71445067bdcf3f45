"""Data sets as tensors, their balanced subsets and hold-outs, and label noise."""

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from labelreg.data.framing import Framing, centre_boxes, resample
from labelreg.data.randomness import Stream, generator
from labelreg.data.texts import Texts

MOMENTS_BYTES = 1 << 30  # at most this much of the inputs is used for mean and standard deviation: seven times CIFAR
MOMENTS_CHUNK = 1 << 22  # number of values converted to float64 at once
TOKEN_VALUES = 256  # number of values that text networks compute from a token


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their targets.

    Attributes:
        inputs: (N, C, ...), uint8 or float; images may be channels-last in memory, which selections keep. N texts of
            different lengths are :class:`.Texts`. The text of a language model is (N,) int64, its words in order.
        targets: (N,) int64 class indices, or (N, D) float for regression. For a language model, the word after each.
        aspects: (N,) float32, width over height of photographs that are stored as squares.
        framing: the part of such photographs that a network sees.
    """

    inputs: Tensor | Texts
    targets: Tensor
    aspects: Tensor | None = None
    framing: Framing | None = None

    def __post_init__(self):
        if (self.aspects is None) != (self.framing is None):
            raise ValueError("photographs stored as squares need both aspects and a framing, other inputs neither")
        inputs = len(self.inputs)
        for what, values in (("target", self.targets), ("aspect", self.aspects)):
            if values is not None and len(values) != inputs:
                raise ValueError(f"a split needs one {what} per sample, got {inputs} inputs and {len(values)} {what}s")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that identify the targets in stored order."""
        return hashlib.sha256(self.targets.cpu().contiguous().numpy().tobytes()).hexdigest()[:8]

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on another device, except for images of more than half of a GPU's free memory.

        Selections are on the device of the targets, wherever the inputs are.
        """
        fits = isinstance(self.inputs, Texts) or _has_room(torch.device(device), self.inputs.nbytes)
        inputs = self.inputs.to(device) if fits else self.inputs
        aspects = None if self.aspects is None else self.aspects.to(device)
        return replace(self, inputs=inputs, targets=self.targets.to(device), aspects=aspects)

    def select(self, indices: Tensor | slice) -> "Split":
        """Return the samples at ``indices``, (M,) int64 or a slice, on the device of the targets."""

        def rows(values: Tensor | Texts | None) -> Tensor | Texts | None:
            if values is None:
                return None
            here = indices if isinstance(indices, slice) else indices.to(values.device)
            return values[here].to(self.targets.device)

        return replace(self, inputs=rows(self.inputs), targets=rows(self.targets), aspects=rows(self.aspects))

    def clean(self) -> Tensor:
        """Return the inputs as a network is tested on them: the centre crop of photographs, texts padded with 0."""
        if isinstance(self.inputs, Texts):
            return self.inputs.padded()
        if self.framing is None:
            return self.inputs
        return resample(self.inputs, centre_boxes(self.aspects, self.framing.centre), (self.framing.side,) * 2)


def _has_room(device: torch.device, size: int) -> bool:
    """Whether that many bytes leave half of a device's free memory to training."""
    return device.type != "cuda" or 2 * size <= torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set.

    Attributes:
        classes: class names, in the order of the class indices; empty for regression.
        augmentation: its usual augmentation, a key of ``labelreg.data.augmentations``.
        validation: a third split, if the data set comes with one.
        superclasses: superclass name per class, if classes are grouped.
        words: number of words at which texts are cut; 0 for data that are not texts.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    augmentation: str = "none"
    task: Literal["classification", "regression", "language_modelling"] = "classification"
    validation: Split | None = None
    superclasses: tuple[str, ...] = ()
    words: int = 0

    def __post_init__(self):
        for split in ("train", "test", "validation"):
            if (samples := getattr(self, split)) is not None and len(samples) == 0:
                raise ValueError(f"the {split} split of {self.name} has no samples; it must have at least one")

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 for regression."""
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample as a network sees it; (L, V) for a text, see :class:`.Texts`; () for a word."""
        shape, framing = tuple(self.train.inputs.shape[1:]), self.train.framing
        return shape if framing is None else (shape[0], framing.side, framing.side)

    @property
    def reading(self) -> str:
        """How texts are read, ``"words"`` or ``"characters"``; empty for data that are not texts."""
        return self.train.inputs.reading if isinstance(self.train.inputs, Texts) else ""

    @property
    def sample_values(self) -> int:
        """The number of values of one sample in the first layers of a network, by which batches are sized."""
        return self.input_shape[0] * TOKEN_VALUES if self.reading else math.prod(self.input_shape)

    @property
    def pixel_range(self) -> int:
        """The divisor that brings pixels into [0, 1], which is 255 for uint8 and 1 for float."""
        return 255 if self.train.inputs.dtype == torch.uint8 else 1

    @property
    def mean(self) -> Tensor:
        """Mean (C,) per channel of the training inputs as stored, float32; of every n-th if they exceed 1 GB."""
        return self._moments[0]

    @property
    def std(self) -> Tensor:
        """Standard deviation (C,) per channel, float32. It and the mean are empty for words."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        inputs = self.train.inputs
        if isinstance(inputs, Texts) or inputs.dim() == 1:
            device = self.train.targets.device
            return torch.empty(0, device=device), torch.empty(0, device=device)
        inputs = inputs[:: max(1, -(-inputs.nbytes // MOMENTS_BYTES))]
        total = square = torch.zeros(inputs.shape[1], dtype=torch.float64, device=inputs.device)
        others = [dim for dim in range(inputs.dim()) if dim != 1]
        samples = min(1024, -(-MOMENTS_CHUNK // math.prod(inputs.shape[1:])))
        for chunk in inputs.split(samples):  # a float64 copy of all of CIFAR would take 1.2 GB
            chunk = chunk.double()
            total, square = total + chunk.sum(others), square + chunk.square().sum(others)
        count = inputs.numel() // inputs.shape[1]
        mean = total / count
        return mean.float(), (square / count - mean.square()).clamp(min=0).sqrt().float()

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the data set on another device."""
        validation = None if self.validation is None else self.validation.to(device)
        return replace(self, train=self.train.to(device), test=self.test.to(device), validation=validation)


def balanced_subset(split: Split, n: int, num_classes: int) -> Split:
    """Return the first samples of each class, ``n`` in all, in stored order.

    The counts of two classes differ by at most one, unless a class is used up. A smaller subset is part of a
    larger one.
    """
    if not 1 <= n <= len(split):
        raise ValueError(f"cannot take a subset of {n} samples from {len(split)}: give a number from 1 to {len(split)}")
    labels = class_labels(split, num_classes).cpu()
    by_class = labels.argsort(stable=True)
    counts = labels.bincount(minlength=num_classes)
    rank = torch.empty_like(labels)  # of a sample among those of its class
    rank[by_class] = torch.arange(len(labels), device="cpu") - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return split.select(rank.argsort(stable=True)[:n].sort().values)


def hold_out(split: Split, size: float | int, seed: int) -> tuple[Split, Split]:
    """Split off a random part in proportion to the classes; return the rest and the part, both in stored order.

    The ``size`` of the part is a fraction if float, a number of samples if int. A class gives its exact share, rounded
    down or up. The draw depends on the seed and the targets, not on the device.
    """
    total = len(split)
    count = round(size * total) if isinstance(size, float) else size
    if not 0 < count < total:
        raise ValueError(f"cannot hold out size={size!r} of {total} samples: give 1 to {total - 1}, or a fraction")
    labels = class_labels(split).cpu()
    draws = generator(seed, Stream.HOLD_OUT)
    shuffled = torch.randperm(total, generator=draws, device="cpu")
    by_class = shuffled[labels[shuffled].argsort(stable=True)]  # of which a systematic sample is held out
    start = torch.randint(total, (), generator=draws, device="cpu")
    held = torch.zeros(total, dtype=torch.bool, device="cpu")
    held[by_class[(torch.arange(count, device="cpu") * total + start) // count]] = True
    return split.select((~held).nonzero().flatten()), split.select(held.nonzero().flatten())


def redraw_labels(split: Split, fraction: float, num_classes: int, seed: int) -> Split:
    """Return a split with label noise: round(fraction * N) labels redrawn uniformly from all classes, the old one too.

    The draw depends on the seed, not on the device.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of labels to redraw must lie within [0, 1], got {fraction}")
    labels = class_labels(split, num_classes).clone()
    draws = generator(seed, Stream.LABEL_NOISE)
    redrawn = torch.randperm(len(split), generator=draws, device="cpu")[: round(fraction * len(split))]
    drawn = torch.randint(num_classes, redrawn.shape, generator=draws, device="cpu")
    labels[redrawn.to(labels.device)] = drawn.to(labels.device)
    return replace(split, targets=labels)


def class_labels(split: Split, num_classes: int | None = None) -> Tensor:
    """Return the targets of a split, checked to be class indices, (N,) int64 in [0, ``num_classes``)."""
    targets = split.targets
    if targets.dim() != 1 or targets.dtype != torch.int64:
        raise ValueError(f"class labels must be (N,) int64, got targets {tuple(targets.shape)} of {targets.dtype}")
    low, high = (int(bound) for bound in targets.aminmax()) if len(targets) else (0, 0)
    if low < 0 or (num_classes is not None and high >= num_classes):
        upper = "" if num_classes is None else f" and below num_classes={num_classes}"
        raise ValueError(f"class labels must be at least 0{upper}, got labels from {low} to {high}")
    return targets
