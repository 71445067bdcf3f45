"""How much there is to compute in an experiment, before it is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from labelreg import methods
from labelreg.costs import step_operations
from labelreg.data import Batch, Dataset, load
from labelreg.experiments.experiment import Experiment
from labelreg.experiments.running import assemble, network_for

STAND_IN = Experiment(dataset="digits", network="resnet8")  # a convolutional network on which steps are counted fast


def training_operations(experiment: Experiment) -> float:
    """Estimate the floating-point operations of an experiment's training, all epochs of it, without a teacher's.

    A forward pass of each network is counted, on a sample that has a shape and no content; how many passes a step of
    the method takes, on ResNet-8. Options that do not fit this small network are left aside, so that of SBA in the
    middle of a network too little is counted.

    Args:
        experiment: its data set has to be on disk.

    Raises:
        FileNotFoundError: the data set is not on disk and cannot be fetched.
    """
    dataset = _dataset(experiment.dataset)
    samples = (experiment.subset or len(dataset.train)) * (1 - experiment.holdout)
    target, second = (_forward_operations(each) for each in (_plain(experiment), _second(experiment)))
    more = _relative_operations(experiment.method, experiment.options) - 1
    return experiment.epochs * samples * 3 * (target + more * second)


def _plain(experiment: Experiment) -> Experiment:
    """What its network can be built from, and nothing else."""
    return Experiment(
        dataset=experiment.dataset, network=experiment.network, network_options=experiment.network_options
    )


def _second(experiment: Experiment) -> Experiment:
    """The same of the network that the method consults or trains beside the target, or of the target itself."""
    if experiment.teacher:
        return _plain(experiment.teacher)
    options = dict(experiment.options)
    roles = methods.network_roles(experiment.method, options)
    chosen = next((options[role] for role in roles if role in options), experiment.network)
    own = dict(experiment.network_options) if chosen == experiment.network else {}
    return replace(_plain(experiment), network=chosen, network_options=own | dict(experiment.auxiliary_options))


@cache
def _dataset(name: str) -> Dataset:
    return load(name)


@cache
def _forward_operations(experiment: Experiment) -> int:
    dataset = _dataset(experiment.dataset)
    is_text = dataset.task == "language_modelling"
    with torch.device("meta"):
        network = network_for(experiment, dataset).eval()
        sample = torch.zeros((1, 1), dtype=torch.int64) if is_text else torch.zeros(1, *dataset.input_shape)
        with FlopCounterMode(display=False) as counter:
            network(sample)
    return counter.get_total_flops()


@cache
def _relative_operations(method: str, options: tuple) -> float:
    """How often a step of a method costs one of cross-entropy, on the stand-in."""
    return _stand_in_step(replace(STAND_IN, method=method, options=options)) / _stand_in_step(STAND_IN)


def _stand_in_step(experiment: Experiment) -> float:
    dataset = _dataset(experiment.dataset)
    roles = methods.network_roles(experiment.method, dict(experiment.options))
    own = {name: value for name, value in experiment.options if name not in roles}

    try:
        return _count_step(replace(experiment, options=own, teacher=STAND_IN), dataset)
    except ValueError:
        return _count_step(replace(experiment, options={}, teacher=STAND_IN), dataset)


def _count_step(experiment: Experiment, dataset: Dataset) -> float:
    with torch.random.fork_rng(devices=()), _one_thread():
        network, method = assemble(experiment, dataset, lambda: network_for(STAND_IN, dataset))
        size = 2 * method.copies
        inputs, targets = torch.rand(size, *dataset.input_shape), torch.arange(size) % dataset.num_classes
        batch = Batch(inputs, targets, targets, partner=inputs, source=inputs)
        return step_operations(method, network, batch)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Where other processes keep the cores busy, threads that wait for each other make a small step a long one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
