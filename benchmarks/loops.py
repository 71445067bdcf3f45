"""What the benchmarks share: training loops on made-up images, with the samples per second of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import chain, count, islice, repeat

import torch

from labelreg.costs import bare_step
from labelreg.data import Batch
from labelreg.training import Trainer

WARM_UP = 5  # steps that are not timed: kernels are chosen and memory is allocated in them
MADE_UP = "made_up_100"  # the data set of offer_made_up
Loop = Callable[[Batch], object]


def training_speed(trainer: Trainer, steps: int) -> float:
    """Return the samples per second of training: batches are drawn, augmented and trained on with the method."""
    trainer.network.train()
    trainer.method.train()
    batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
    return samples_per_second(trainer.step, islice(batches, WARM_UP + steps), trainer.device)


def bare_speed(trainer: Trainer, steps: int, wrap: Callable[[Loop, Batch], Loop] = lambda step, batch: step) -> float:
    """Return the samples per second of :func:`.bare_step`, wrapped by a function, repeated on one batch."""
    batch = next(iter(trainer.loader.epoch(0)))
    step = wrap(bare_step(trainer), batch)
    return samples_per_second(step, repeat(batch, WARM_UP + steps), trainer.device)


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
