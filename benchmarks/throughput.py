"""Samples per second of an experiment's training, beside the bare loop that bounds it.

Run ``python benchmarks/throughput.py --help``; settings are those of ``labelreg run``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from itertools import chain, count, islice

import torch
from torch.nn import functional

from labelreg.assignments import parse
from labelreg.build import prepare_training, resolve_device
from labelreg.data import Batch
from labelreg.experiment import PROFILES, Experiment
from labelreg.results import provenance
from labelreg.training import Trainer

WARM_UP = 5  # steps that are not timed: kernels are chosen and memory is allocated in them


def throughput(experiment: Experiment, *, steps: int = 50, device: str = "auto") -> dict[str, float]:
    """Measure the samples per second of an experiment's training, and of the bare loop that bounds it.

    Args:
        experiment: what to train, on images or digits; nothing is recorded.
        steps: how many to time.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.

    Returns:
        ``training``: batches are drawn, augmented and trained on with the experiment's method. ``bare``: forward,
        backward and update of cross-entropy, repeated on one batch.

    Raises:
        ValueError: what :func:`labelreg.running.run` raises, or a text, whose batches are no samples.
    """
    # long enough for the schedule to last
    trainer = prepare_training(experiment.but(epochs=max(experiment.epochs, WARM_UP + steps)), device)
    if trainer.dataset.task != "classification":
        raise ValueError(f"throughput is measured on samples of classes, and {experiment.dataset} is a text")
    trainer.network.train()
    trainer.method.train()
    batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
    ready = next(iter(trainer.loader.epoch(0)))
    return {
        "training": _samples_per_second(trainer.step, islice(batches, WARM_UP + steps), trainer.device),
        "bare": _samples_per_second(_bare_step(trainer), (ready for _ in range(WARM_UP + steps)), trainer.device),
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


def _samples_per_second(step: Callable[[Batch], object], batches: Iterable[Batch], device: torch.device) -> float:
    samples, began = 0, 0.0
    for position, batch in enumerate(batches):
        if position == WARM_UP:
            _synchronize(device)
            samples, began = 0, time.perf_counter()
        step(batch)
        samples += len(batch.targets)
    _synchronize(device)
    return samples / (time.perf_counter() - began)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="settings of the experiment")
    parser.add_argument("--profile", default="fast", choices=PROFILES)
    parser.add_argument("--steps", type=int, default=50, help="training steps to time")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    arguments = parser.parse_args()
    experiment = Experiment().at(arguments.profile, **parse(arguments.settings))
    measured = throughput(experiment, steps=arguments.steps, device=arguments.device)
    for loop, speed in measured.items():
        print(f"{loop:9}{speed:10,.0f} samples/s")
    name = provenance(resolve_device(arguments.device))["device"]
    print(f"{measured['training'] / measured['bare']:.0%} of the bare loop, on {name}")


if __name__ == "__main__":
    main()
