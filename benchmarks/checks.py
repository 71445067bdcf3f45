"""Whether a method trains on a GPU as it does elsewhere: checks of one method each, on short trainings."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from loops import MADE_UP
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from labelreg import methods
from labelreg.build import prepare_training
from labelreg.data import Batch
from labelreg.experiment import Experiment
from labelreg.training import Interrupted, Trainer

WATCHED_FROM = 5  # steps of an epoch, in which kernels are chosen and steps recorded


def short(method: str, batch_size: int) -> Experiment:
    """Return a training of two epochs, of eight batches and a smaller one each."""
    size = {"subset": 8 * batch_size + batch_size // 2, "batch_size": batch_size, "epochs": 2}
    settings = {"dataset": MADE_UP, "network": "resnet8", "learning_rate": 0.01, **size}
    teacher = Experiment(**settings) if "teacher" in methods.network_roles(method, {}) else None
    return Experiment(**settings, method=method, teacher=teacher)


def waits(experiment: Experiment, device: torch.device, graph: bool) -> bool:
    """Train on a GPU, until a step waits for it; return whether one did, but for the first of an epoch."""
    trainer = prepare_training(experiment.but(precision="bfloat16"), device, graph)

    def watch() -> bool:
        watched = WATCHED_FROM <= trainer.position < len(trainer.loader)
        torch.cuda.set_sync_debug_mode("error" if watched else "default")
        return False

    try:
        trainer.fit(stop=watch)
    except RuntimeError as error:
        if "synchronizing" not in str(error):
            raise
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def deviation_from_cpu(experiment: Experiment, device: torch.device) -> dict[str, float]:
    """Make one update on the CPU and on a device, from the same batch and draws.

    Returns:
        ``loss``, the relative deviation; ``update``, the norm of the difference between the changes of the parameters,
        relative to the change on the CPU.
    """
    batch = next(iter(prepare_training(experiment, "cpu").loader.epoch(0)))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected, change = _one_update(prepare_training(experiment, "cpu"), batch)
        loss, other_change = _one_update(prepare_training(experiment, device, graph=False), batch)
    update = (other_change - change).norm() / change.norm()
    return {"loss": abs(loss - expected) / abs(expected), "update": float(update)}


def _one_update(trainer: Trainer, batch: Batch) -> tuple[float, Tensor]:
    """Return the loss of an update, and the change of all parameters."""
    parameters = [each for group in trainer.optimizer.param_groups for each in group["params"]]
    before = [each.detach().clone() for each in parameters]
    there = (getattr(batch, each.name) for each in fields(batch))
    moved = Batch(*(None if each is None else each.to(trainer.device) for each in there))
    trainer.network.train()
    trainer.method.train()
    with SameDraws():
        trainer.method.start_epoch(0)
        loss = float(trainer.step(moved).loss.detach())
    pairs = zip(parameters, before, strict=True)
    return loss, torch.cat([(now.detach() - then).flatten().double().cpu() for now, then in pairs])


class SameDraws(TorchDispatchMode):
    """Draws all random numbers on the CPU, from one generator of its own, whatever the device that asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **kwargs)
        tensors = [each for each in args if isinstance(each, Tensor)]
        device = kwargs.get("device") or (tensors[0].device if tensors else torch.device("cpu"))
        with torch.random.fork_rng(devices=()):  # what names no generator draws from PyTorch's own
            torch.default_generator.set_state(self._generator.get_state())
            drawn = function(*tree_map(self._on_cpu, args), **tree_map(self._on_cpu, kwargs))
            self._generator.set_state(torch.default_generator.get_state())
        if function._schema.is_mutable:
            return args[0].copy_(drawn)
        return tree_map(lambda each: each.to(device) if isinstance(each, Tensor) else each, drawn)

    @staticmethod
    def _on_cpu(value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return torch.default_generator
        if isinstance(value, torch.device):
            return torch.device("cpu")
        return value.cpu() if isinstance(value, Tensor) else value


def deviation_of_replay(experiment: Experiment, device: torch.device, resumed: bool = False) -> dict[str, Any]:
    """Train with steps computed one by one, and with steps replayed, maybe interrupted and resumed.

    Returns:
        ``replayed``, the largest deviation of a value at the end, relative to the largest of its tensor;
        ``capturable`` and ``recorded``, whether steps could be recorded, and were; ``deterministic``, whether all
        operations were.
    """
    with deterministic() as told:
        eager = prepare_training(experiment, device, graph=False)
        eager.fit()
        replayed = _trained(experiment, device, resumed)
    said = " ".join(str(each.message) for each in told)
    return {
        "replayed": _deviation(_values(eager), _values(replayed)),
        "capturable": replayed.method.capturable,
        "recorded": replayed.method.capturable and "cannot be recorded" not in said,
        "deterministic": "deterministic" not in said,
    }


def _trained(experiment: Experiment, device: torch.device, resumed: bool) -> Trainer:
    """Train, maybe interrupted in the middle of the last epoch and resumed by another trainer."""
    trainer = prepare_training(experiment, device)
    if not resumed:
        trainer.fit()
        return trainer
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        stopped_at = (experiment.epochs - 1, 5)
        with contextlib.suppress(Interrupted):
            trainer.fit(checkpoint, stop=lambda: (trainer.epoch, trainer.position) == stopped_at)
        trainer = prepare_training(experiment, device)
        trainer.fit(checkpoint)
    return trainer


@contextlib.contextmanager
def deterministic() -> Iterator[list[warnings.WarningMessage]]:
    """Use deterministic algorithms where they exist; yield the warnings of the block."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield told
    finally:
        torch.use_deterministic_algorithms(False)


def _values(trainer: Trainer) -> list[Tensor]:
    states = (trainer.network.state_dict(), trainer.method.state_dict())
    return [each.double() for state in states for each in state.values() if isinstance(each, Tensor)]


def _deviation(expected: list[Tensor], found: list[Tensor]) -> float:
    pairs = [(one, other) for one, other in zip(expected, found, strict=True) if one.numel()]
    smallest = torch.finfo(torch.float64).tiny
    return max(float((one - other).abs().max() / one.abs().max().clamp(min=smallest)) for one, other in pairs)
