"""Build what an experiment needs for training: its data, network, method and trainer."""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from labelreg import methods, networks
from labelreg.data import Dataset, Split, hold_out, load, redraw_labels
from labelreg.experiment import Experiment, is_teacher
from labelreg.methods import Method
from labelreg.observers import OBSERVERS
from labelreg.processes import ALONE, Processes
from labelreg.training import Trainer

# added to the seed for random numbers during training; PyTorch's CPU generator uses only the lower 32 bits of a seed
TRAINING_STREAM = 1 << 31
# added per generation of teachers, because a student must not start from its teacher's initial parameters
GENERATION_STREAM = 1 << 24
# added per process if several train together, because they must draw different random numbers
PROCESS_STREAM = 1 << 20


@dataclass(frozen=True)
class Parts:
    """What an experiment trains, before training; subset, hold-out and label noise are already applied to the data."""

    experiment: Experiment
    network: nn.Module
    method: Method
    dataset: Dataset
    validation: Split | None
    device: torch.device
    processes: Processes = ALONE

    def trainer(self, network: nn.Module, method: Method, observe: tuple[str, ...] = (), graph: bool = True) -> Trainer:
        """Return a trainer of a network and a method on the experiment's data and recipe.

        ``graph`` is passed to the trainer, as False if the environment variable ``LABELREG_GRAPH`` is 0.
        """
        if self.device.type == "cpu" and self.experiment.precision == "bfloat16":
            _tell_if_bfloat16_is_slow()
        # a separate stream: what methods draw during construction must not change what training draws
        _seed(self.experiment.seed + TRAINING_STREAM + PROCESS_STREAM * self.processes.rank, self.device)
        augmentation = self.experiment.augmentation
        return Trainer(
            network,
            method,
            self.dataset,
            self.experiment,
            augmentation=self.dataset.augmentation if augmentation == "standard" else augmentation,
            validation=self.validation,
            seed=self.experiment.seed,
            observers=tuple(OBSERVERS[name] for name in observe),
            device=self.device,
            graph=graph and _graphs_are_wanted(),
            owner=self.experiment.model_dump_json(),
            processes=self.processes,
        )


def build(experiment: Experiment, device: str, teacher: Callable[[], nn.Module], processes: Processes = ALONE) -> Parts:
    """Build what an experiment trains, from its seed; ``teacher`` returns the network of its teacher.

    This seeds PyTorch's generators, from which training then draws; see :func:`own_generators`.

    Settings that do not fit the data set raise ``ValueError``. A data set that is missing and cannot be downloaded
    raises ``FileNotFoundError``.
    """
    if processes.count > 1 and experiment.teacher:
        raise ValueError(f"{experiment.method} learns from a teacher, and is trained on one device, not on several")
    target = resolve_device(device)
    dataset, validation = prepare_data(experiment)
    if experiment.teacher and (reading := networks.reading(experiment.teacher.network)) != dataset.reading:
        given = f"{experiment.network} is given {dataset.reading or 'no texts'}"
        raise ValueError(f"{experiment.teacher.network} reads {reading or 'no texts'}, and cannot teach: {given}")
    _seed(experiment.seed + GENERATION_STREAM * _generation(experiment), target)
    network = make_network(experiment.network, experiment.network_options, dataset)

    def second_network(role: str, chosen: str | None) -> nn.Module:
        if is_teacher(role):
            return teacher()
        return make_network(chosen or experiment.network, experiment.auxiliary_options, dataset)

    pixel_std = dataset.std / dataset.pixel_range
    classes, options = dataset.num_classes, experiment.options
    method = methods.create(experiment.method, classes, options, second_network, pixel_std=pixel_std)
    for part in method.modules() if dataset.reading else ():
        if isinstance(part, Method) and not part.on_tokens:
            raise ValueError(f"{type(part).__name__} is for images or numbers, and {dataset.name} is made of texts")
    if processes.count > 1 and dataset.task == "language_modelling":
        raise ValueError(f"{dataset.name} is one text, and is learned on one device, not on several")
    if processes.count > 1 and not method.divisible:
        name = type(method).__name__
        raise ValueError(f"{name} with its options needs whole batches: train it on one device, not on several")
    return Parts(experiment, network, method, dataset, validation, target, processes)


def untrained(experiment: Experiment) -> nn.Module:
    """Return an experiment's network with random parameters."""
    return make_network(experiment.network, experiment.network_options, _load(experiment))


def prepare_training(experiment: Experiment, device: str = "auto", graph: bool = True) -> Trainer:
    """Return an experiment's trainer before its first step; a teacher is untrained, like the network."""
    parts = build(experiment, device, lambda: untrained(experiment.teacher))
    return parts.trainer(parts.network, parts.method, graph=graph)


def prepare_data(experiment: Experiment) -> tuple[Dataset, Split | None]:
    """Load the data set and apply subset, hold-out and label noise; return it with the validation split or None."""
    dataset = _load(experiment, experiment.subset)
    if dataset.task == "regression":
        raise ValueError(f"{dataset.name} is a regression task; experiments need classes or words")
    training, validation = dataset.train, dataset.validation
    if experiment.holdout:
        if validation:
            raise ValueError(f"{dataset.name} comes with a validation split; holdout={experiment.holdout} must be 0")
        training, validation = hold_out(training, experiment.holdout, experiment.seed)
    if experiment.label_noise:
        training = redraw_labels(training, experiment.label_noise, dataset.num_classes, experiment.seed)
    return replace(dataset, train=training), validation


def resolve_device(name: str) -> torch.device:
    """Return the device of that name, or raise ``ValueError``; ``"auto"`` is the GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails on a device without memory, such as meta
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def own_generators(device: torch.device) -> AbstractContextManager[None]:
    """Return a context that restores PyTorch's generators of the CPU and of a device when it ends."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _graphs_are_wanted() -> bool:
    chosen = os.environ.get("LABELREG_GRAPH", "1")
    if chosen not in ("0", "1"):
        raise ValueError(f"LABELREG_GRAPH must be 0 for steps without CUDA graphs, or 1, not {chosen!r}")
    return chosen == "1"


@cache  # once is enough
def _tell_if_bfloat16_is_slow() -> None:
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        what = "this processor has neither AMX nor AVX512_BF16: bfloat16 is slow here"
        warnings.warn(f"{what}, and the setting precision=float32 would be faster", stacklevel=3)


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of a device, but not those of all devices, as ``torch.manual_seed`` does."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _load(experiment: Experiment, subset: int | None = None) -> Dataset:
    """Load an experiment's data set, with texts in the form that its network reads."""
    return load(experiment.dataset, subset=subset, reading=networks.reading(experiment.network) or "words")


def make_network(name: str, options: Mapping[str, Any], dataset: Dataset) -> nn.Module:
    """Make a network for a data set, or raise ``ValueError`` if the network cannot read the data."""
    if (reading := networks.reading(name)) != dataset.reading:
        given = f"made of texts, given as {dataset.reading}" if dataset.reading else "no data set of texts"
        raise ValueError(f"{name} reads {reading or 'no texts'}, and {dataset.name} is {given}")
    with torch.device("cpu"):  # so that the initial parameters do not depend on the device
        return networks.build(name, dataset.num_classes, input_shape=dataset.input_shape, **options)


def _generation(experiment: Experiment) -> int:
    return 1 + _generation(experiment.teacher) if experiment.teacher else 0
