"""Processes that train one network together, each on its own device, with Lightning Fabric.

A batch is divided among them, and after each step all have the same parameters. Usually there is only one process,
which needs nothing from here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STARTED = {"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "MASTER_ADDR"}  # one is set if a process was started with others
AGREED_EVERY = 16  # steps: to agree on whether to stop, all processes wait for the slowest
Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """All processes of a run, as seen by one of them; every call must be made by all of them at once.

    Attributes:
        fabric: what connects them, None for a single process.
        rank: number of this process among all, from 0; the first one records.
        count: how many there are.
        device: device of this process; ``"auto"`` if the run chooses it.
    """

    fabric: Fabric | None = None
    rank: int = 0
    count: int = 1
    device: str = "auto"

    def first(self, function: Callable[[], Value]) -> Value:
        """Call a function in the first process only, and return its result or raise its error in all processes."""
        if self.fabric is None:
            return function()
        outcome = None
        if self.rank == 0:
            try:
                outcome = function(), None
            except Exception as error:
                outcome = None, error
        value, error = self.fabric.broadcast(outcome)
        if error is not None:
            raise error
        return value

    def each(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""
        if self.fabric is None:
            return [value]
        return [self.fabric.broadcast(value, src=rank) for rank in range(self.count)]

    def wanted(self, stop: bool, step: int) -> bool:
        """Return whether any process wants to stop; several processes ask this at every 16th step only."""
        if self.fabric is None:
            return stop
        if step % AGREED_EVERY:
            return False
        self.add([wanted := torch.tensor(float(stop), device=self.device)])
        return bool(wanted)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Set the gradients of parameters to their means over the processes, whose shares of a batch are equal."""
        if self.fabric is None:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        distributed.all_reduce(flat)  # Fabric's own function would wait for the device
        parts = (flat / self.count).split([each.numel() for each in gradients])
        for gradient, mean in zip(gradients, parts, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def add(self, values: Sequence[Tensor]) -> None:
        """Set scalars to their sums over the processes."""
        if self.fabric is not None and values:
            distributed.all_reduce(sums := torch.stack([each.double() for each in values]))
            for value, total in zip(values, sums, strict=True):
                value.copy_(total)

    def join(self, *modules: nn.Module) -> None:
        """Give all processes the same buffers: those in a module's ``counted`` are summed, others are the first's."""
        if self.fabric is None:
            return
        counted, others = [], []
        for part in (part for module in modules for part in module.modules()):
            for name, buffer in part.named_buffers(recurse=False):
                (counted if name in getattr(part, "counted", ()) else others).append(buffer)
        self.add(counted)
        for mine, firsts in zip(others, self.fabric.broadcast([each.cpu() for each in others]), strict=True):
            mine.copy_(firsts)


ALONE = Processes()


def launch(devices: int, nodes: int = 1, device: str = "auto") -> Processes:
    """Start a process on ``devices`` devices of each of ``nodes`` machines, and connect them; return this one's view.

    The other processes run the command that started this one, unless ``torchrun`` or Slurm has started them already. On
    several machines, one of these two must start them.

    Raises:
        ValueError: this machine has fewer devices, nothing starts processes on other machines, or Lightning Fabric is
            not installed.
    """
    import joblib  # slow to import, and not needed for one process

    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind not in ("cuda", "cpu"):
        raise ValueError(f"device must be auto, cuda or cpu where a network is trained on several, not {device!r}")
    here = torch.cuda.device_count() if kind == "cuda" else joblib.cpu_count()
    if not 1 <= devices <= here:
        what = f"{'GPUs' if kind == 'cuda' else 'cores'} of this machine, which has {here}"
        raise ValueError(f"devices must be at least 1 and at most all {what}, not {devices}")
    if nodes < 1:
        raise ValueError(f"nodes is a number of machines, at least 1, not {nodes}")
    if nodes > 1 and not STARTED & os.environ.keys():
        raise ValueError(f"nodes={nodes} needs torchrun or Slurm, which start the processes of all machines")
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ValueError("several devices need Lightning Fabric: pip install -e .[cluster]") from None
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce every process
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Processes(fabric, fabric.global_rank, fabric.world_size, str(fabric.device))
