"""How many samples a second are trained on, beside what the device could do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, count, islice

import torch
from torch.nn import functional

from labelreg.data import Batch
from labelreg.experiments.experiment import Experiment
from labelreg.experiments.running import prepare_training
from labelreg.training import Trainer

WARM_UP = 5  # steps that are not timed: kernels are chosen and memory is taken in them


def throughput(experiment: Experiment, *, steps: int = 50, device: str = "auto") -> dict[str, float]:
    """Measure the samples a second of an experiment's training, and of the bare loop that is its ceiling.

    Args:
        experiment: what to train, on images or digits; nothing is recorded.
        steps: how many to time.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.

    Returns:
        ``training``: batches drawn, augmented and trained on with the experiment's method. ``bare``: forward, backward
        and update of cross-entropy, again and again on one batch that lies ready.

    Raises:
        ValueError: what :func:`labelreg.experiments.run` raises, or a text, whose batches are no samples.
    """
    # long enough for the schedule to last
    trainer = prepare_training(replace(experiment, epochs=max(experiment.epochs, WARM_UP + steps)), device)
    if trainer.dataset.task != "classification":
        raise ValueError(f"throughput is measured on samples of classes, and {experiment.dataset} is a text")
    trainer.network.train()
    trainer.method.train()
    batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
    ready = next(iter(trainer.loader.epoch(0)))
    return {
        "training": _samples_a_second(trainer.step, islice(batches, WARM_UP + steps), trainer.device),
        "bare": _samples_a_second(_bare_step(trainer), (ready for _ in range(WARM_UP + steps)), trainer.device),
    }


def _bare_step(trainer: Trainer) -> Callable[[Batch], None]:
    optimizer = torch.optim.SGD(trainer.network.parameters(), 1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step(batch: Batch) -> None:
        with trainer.autocast():
            loss = functional.cross_entropy(trainer.network(batch.inputs), batch.targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _samples_a_second(step: Callable[[Batch], object], batches: Iterable[Batch], device: torch.device) -> float:
    samples, began = 0, 0.0
    for position, batch in enumerate(batches):
        if position == WARM_UP:
            _wait_for(device)
            samples, began = 0, time.perf_counter()
        step(batch)
        samples += len(batch.targets)
    _wait_for(device)
    return samples / (time.perf_counter() - began)


def _wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
