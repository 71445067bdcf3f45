"""The cost of training: in counted operations and bytes, which do not depend on the machine, and in time.

Only matrix products and convolutions are counted as operations; they account for nearly all of them.
"""

import functools
import math
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from labelreg import networks
from labelreg.build import prepare_training, resolve_device
from labelreg.data import Batch, Dataset, Split, register
from labelreg.experiment import Experiment
from labelreg.methods import Method
from labelreg.networks import inject
from labelreg.options import Options
from labelreg.training import Trainer

NO_OPTIONS = Options()
COUNTED_STEPS = 4
SCHEDULED_STEPS = 10_000  # steps examined to find how often a method augments, and where


def step_operations(method: Method, network: nn.Module, batch: Batch) -> int:
    """Count the operations of a training step on a batch, forward and backward, without the optimizer.

    One step is made before the counted one, because a method may examine the network in its first step.
    """
    method.step(network, batch)
    with _counting() as counter:
        _differentiated(method, network, batch)
    return counter.get_total_flops()


def step_seconds(methods: Mapping[str, Method], network: nn.Module, batch: Batch, rounds: int = 30) -> dict[str, float]:
    """Return the median seconds of each method's training step on a batch; a step is as in :func:`step_operations`."""
    steps = {name: partial(_differentiated, method, network, batch) for name, method in methods.items()}
    return {
        name: statistics.median(each) for name, each in _seconds_in_turns(steps, rounds, batch.targets.device).items()
    }


def _differentiated(method: Method, network: nn.Module, batch: Batch) -> None:
    method.step(network, batch).loss.backward()


def _seconds_in_turns(
    calls: Mapping[Any, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[Any, list[float]]:
    """Time calls in turns, so that other load on the machine affects all alike; the first turn is not counted."""
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def offer_made_up(num_classes: int = 100) -> str:
    """Register noise in the shape of CIFAR-100, which needs no files and trains as fast; return the data set's name."""
    name, draws = f"made_up_{num_classes}", torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(256, (size, 32, 32, 3), generator=draws, dtype=torch.uint8)
        return Split(images.permute(0, 3, 1, 2), torch.arange(size) % num_classes)

    classes = tuple(str(each) for each in range(num_classes))
    dataset = Dataset(name, split(10_240), split(128), classes, augmentation="crop_flip")
    register(name)(lambda root: dataset)
    return name


def bare_step(trainer: Trainer) -> Callable[[Batch], None]:
    """Return a cross-entropy step (forward, backward, update) without a loop, with an optimizer like the trainer's."""
    trainer.network.train()
    optimizer = type(trainer.optimizer)(trainer.network.parameters(), **trainer.optimizer.defaults)

    def step(batch: Batch) -> None:
        with trainer.autocast():
            loss = functional.cross_entropy(trainer.network(batch.inputs), batch.targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def step_costs(
    experiments: Mapping[Any, Experiment], device: str = "cpu", rounds: int = 7, bare: Container = ()
) -> dict[Any, dict[str, float]]:
    """Measure the ``milliseconds`` and count the ``megabytes`` of training steps, by the labels of experiments.

    The training step of each experiment, or its :func:`bare_step` for labels in ``bare``, is repeated on the first
    batch. The loader is left out, a teacher is untrained, and the learning rate stays the same. The steps take turns
    for a number of rounds. The time is the shortest of them, because other load on the machine adds to it. The bytes
    are those of :func:`training_bytes`.
    """
    steps = {label: _step(_trainer(each, device), label in bare) for label, each in experiments.items()}
    seconds = {label: min(each) for label, each in _seconds_in_turns(steps, rounds, resolve_device(device)).items()}
    del steps  # frees the networks that they hold
    megabytes = {label: training_bytes(each, device, label in bare) / 1e6 for label, each in experiments.items()}
    return {label: {"milliseconds": 1e3 * seconds[label], "megabytes": megabytes[label]} for label in experiments}


def training_bytes(experiment: Experiment, device: str = "cpu", bare: bool = False) -> int:
    """Return the peak number of bytes of all tensors in the steps of :func:`step_costs`, without the data set.

    The tensors are a batch, the networks, what a method learns, the optimizer's state, activations and gradients.
    Memory that libraries allocate inside an operation is not counted.
    """
    trainer = _trainer(experiment, device)
    kept = (each for module in (trainer.network, trainer.method) for each in (*module.parameters(), *module.buffers()))
    with _Allocations() as counted:
        step = _step(trainer, bare)
        for _ in range(2):  # the first one creates the optimizer's tensors
            step()
    return counted.peak + sum(each.nbytes for each in kept)


def _trainer(experiment: Experiment, device: str) -> Trainer:
    return prepare_training(experiment.but(schedule="constant"), device)


def _step(trainer: Trainer, bare: bool) -> Callable[[], object]:
    trainer.network.train()
    trainer.method.train()
    trainer.method.start_epoch(0)
    return partial(bare_step(trainer) if bare else trainer.step, next(iter(trainer.loader.epoch(0))))


class _Allocations(TorchDispatchMode):
    """Adds up the bytes that operations allocate, for as long as they are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0

    def __torch_dispatch__(
        self, operation: Callable, types: object, arguments: tuple = (), options: Mapping | None = None
    ) -> Any:
        given = _storages((arguments, options))
        outcome = operation(*arguments, **(options or {}))
        for address, storage in _storages(outcome).items():
            if address not in given:  # else it is a view, or changed in place
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return outcome

    def _add(self, size: int) -> None:
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    found = (each.untyped_storage() for each in tree_leaves(values) if isinstance(each, Tensor))
    return {storage._cdata: storage for storage in found}


@functools.cache
@torch.no_grad()
def forward_operations(name: str, options: Options = NO_OPTIONS, num_classes: int = 10) -> int:
    """Count the operations of a network's forward pass on one sample of its default input shape, or on one word."""
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
    """Return the operations of an average step of SBA, as a multiple of a plain step's: 1 + cos(omega) M rho.

    rho is the mean of :func:`share_behind` over the layers.
    """
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
    """Count operations with oneDNN disabled: it runs an LSTM as one operation, which the counter does not know."""
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        with FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mkldnn.enabled = enabled
