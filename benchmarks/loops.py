"""What the benchmarks share: made-up images, and training loops with the samples per second of each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from itertools import chain, count, islice, repeat
from pathlib import Path

import torch
from torch.nn import functional

from labelreg.data import Batch, Dataset, Split, register
from labelreg.training import Trainer

WARM_UP = 5  # steps that are not timed: kernels are chosen and memory is allocated in them
MADE_UP = "made_up"  # the name of the data set
CLASSES = 100

Loop = Callable[[Batch], object]


def offer_made_up() -> None:
    """Register the made-up images as a data set."""
    register(MADE_UP)(made_up)


@functools.cache
def made_up(root: Path) -> Dataset:
    """Noise in the shape of CIFAR-100, 10,240 and 128 images: needs no files, and is as fast to train on."""
    draws = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(256, (size, 32, 32, 3), generator=draws, dtype=torch.uint8)
        return Split(images.permute(0, 3, 1, 2), torch.arange(size) % CLASSES)

    names = tuple(str(each) for each in range(CLASSES))
    return Dataset(MADE_UP, split(10_240), split(128), names, augmentation="crop_flip")


def training_speed(trainer: Trainer, steps: int) -> float:
    """Return the samples per second of training: batches are drawn, augmented and trained on with the method."""
    trainer.network.train()
    trainer.method.train()
    batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
    return samples_per_second(trainer.step, islice(batches, WARM_UP + steps), trainer.device)


def bare_speed(trainer: Trainer, steps: int, wrap: Callable[[Loop, Batch], Loop] = lambda step, batch: step) -> float:
    """Return the samples per second of :func:`bare_step`, wrapped by a function, repeated on one batch."""
    batch = next(iter(trainer.loader.epoch(0)))
    step = wrap(bare_step(trainer), batch)
    return samples_per_second(step, repeat(batch, WARM_UP + steps), trainer.device)


def bare_step(trainer: Trainer) -> Loop:
    """Return forward, backward and update of cross-entropy, with an optimizer like the trainer's."""
    trainer.network.train()
    optimizer = type(trainer.optimizer)(trainer.network.parameters(), **trainer.optimizer.defaults)

    def step(batch: Batch) -> None:
        with trainer.autocast():
            loss = functional.cross_entropy(trainer.network(batch.inputs), batch.targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def samples_per_second(step: Loop, batches: Iterable[Batch], device: torch.device) -> float:
    """Time a step over batches, but for the first few."""
    samples, began = 0, 0.0
    for position, batch in enumerate(batches):
        if position == WARM_UP:
            synchronize(device)
            samples, began = 0, time.perf_counter()
        step(batch)
        samples += len(batch.targets)
    synchronize(device)
    return samples / (time.perf_counter() - began)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
