"""The cost of training: in counted floating-point operations, which do not depend on the machine, and in time.

Only matrix products and convolutions are counted; they account for nearly all operations.
"""

import functools
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labelreg import networks
from labelreg.build import prepare_training
from labelreg.data import Batch
from labelreg.experiment import Experiment
from labelreg.methods import Method
from labelreg.networks import inject
from labelreg.options import Options

COUNTED_STEPS = 4
SCHEDULED_STEPS = 10_000  # looked at to learn how often a method augments, and where


def step_operations(method: Method, network: nn.Module, batch: Batch) -> int:
    """Count the operations of a training step on a batch, forward and backward, without the optimizer.

    A step is made before the counted one, since a method may examine the network in its first.
    """
    method.step(network, batch)
    with _counting() as counter:
        method.step(network, batch).loss.backward()
    return counter.get_total_flops()


def step_seconds(methods: Mapping[str, Method], network: nn.Module, batch: Batch, rounds: int = 30) -> dict[str, float]:
    """Return the median seconds of each method's training step on a batch on the CPU, as counted by step_operations."""
    steps = {name: partial(_differentiated, method, network, batch) for name, method in methods.items()}
    return median_seconds(steps, rounds)


def _differentiated(method: Method, network: nn.Module, batch: Batch) -> None:
    method.step(network, batch).loss.backward()


def median_seconds(calls: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Return the median duration of each call over so many repetitions, in seconds.

    The calls take turns, so that whatever else the machine does meets all of them alike; a first turn is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


def forward_operations(network_name: str, num_classes: int = 10, **options: Any) -> int:
    """Count the operations of a forward pass on one sample of the network's default input shape, or on one word.

    The arguments are those of :func:`labelreg.networks.build`. It runs on the meta device.
    """
    complete = Options(networks.complete_options(network_name, options))
    return _forward_operations(network_name, num_classes, complete)


@functools.cache
@torch.no_grad()
def _forward_operations(name: str, num_classes: int, options: Options) -> int:
    shape, reading = networks.input_shape(name), networks.reading(name)
    with torch.device("meta"):
        network = networks.build(name, num_classes, **options).eval()
        if shape and not reading:
            sample = torch.empty(1, *shape)
        else:
            sample = torch.ones(1, shape[0] if reading else 1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        network(sample)
    return counter.get_total_flops()


@torch.no_grad()
def share_behind(network: nn.Module, inputs: Tensor, layer: str) -> float:
    """Return the share of a forward pass's operations, on inputs (B, ...), that come after a layer (rho in SBA).

    The layer is one of :func:`labelreg.networks.injectable`, or empty for the input of the final MLP.
    """
    counts = []
    for copies in (1, 2):
        with FlopCounterMode(display=False) as counter:
            inject(network, inputs, layer, lambda activations, copies=copies: torch.cat([activations] * copies))
        counts.append(counter.get_total_flops())
    return counts[1] / counts[0] - 1


def augmented_step_cost(experiment: Experiment) -> float:
    """Return the operations of a mean step of SBA over those of a plain one: 1 + cos(omega) M rho, see above."""
    options, shape = experiment.options, networks.input_shape(experiment.network)
    with torch.device("meta"):
        network = networks.build(experiment.network, 10, **experiment.network_options).eval()
        inputs = torch.empty(1, *shape)
    shares = [share_behind(network, inputs, layer.strip()) for layer in options["layers"].split(",")]
    return 1 + math.cos(options["omega"]) * options["virtual"] * sum(shares) / len(shares)


def training_operations(experiment: Experiment) -> float:
    """Estimate the operations of an experiment's training, without a teacher's, from a few steps on small batches."""
    with torch.random.fork_rng(devices=()):
        trainer = prepare_training(experiment.but(batch_size=2, schedule="constant"), "cpu")
        first, *batches = islice(trainer.loader.epoch(0), 1 + COUNTED_STEPS)
        trainer.step(first)  # a method may examine the network in its first step

        def count() -> int:
            with _counting() as counter:
                for batch in batches:
                    trainer.step(batch)
            return counter.get_total_flops()

        operations = _mean_over_schedule(trainer.method, count)
    samples = experiment.epochs * trainer.method.copies * len(trainer.loader.split)
    return samples * operations / sum(len(batch.targets) for batch in batches)


def _mean_over_schedule(method: Method, count: Callable[[], int]) -> float:
    """Average a count over what a method draws per step or epoch: whether, and behind which layer, it augments."""
    scheduler = next((module for module in method.modules() if hasattr(module, "augmented_layer")), None)
    if scheduler is None:
        return count()
    drawn = Counter()
    for step in range(SCHEDULED_STEPS):
        scheduler.start_epoch(step)
        drawn[scheduler.augmented_layer(step)] += 1
    operations = 0
    for layer, times in drawn.items():
        scheduler.augmented_layer = lambda step, layer=layer: layer
        operations += times * count()
    return operations / SCHEDULED_STEPS


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Count operations, without oneDNN: it runs an LSTM as one operation, which the counter does not know."""
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        with FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mkldnn.enabled = enabled
