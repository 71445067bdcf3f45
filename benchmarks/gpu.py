"""Shows on a GPU, in minutes, that training there is right and how fast it is.

Run ``python benchmarks/gpu.py --json FILE``; where the package is not installed, with the root of the project on
``PYTHONPATH``. It needs no data. With ``--device cpu`` it does what it can, at tiny sizes, and says what it left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checks
import packing
import pandas as pd
import torch
from loops import MADE_UP, Loop, bare_speed, training_speed

from labelreg import methods, mps
from labelreg.build import prepare_training, resolve_device
from labelreg.capture import EAGER_STEPS, CudaGraphs
from labelreg.costs import offer_made_up
from labelreg.data import Batch
from labelreg.experiment import Experiment
from labelreg.names import one_line
from labelreg.paths import atomic_write
from labelreg.results import provenance

TIMED = ("cross_entropy", "network_as_regularization", "class_wise_self_distillation", "knowledge_refinery")
RESUMED = "knowledge_refinery"  # has a matrix of its own to restore
# allowed relative deviations; that of an update is shown only, as a ReLU may fall on one side of 0 here and there
LARGEST_LOSS = 1e-4  # of a loss from that on the CPU
LARGEST_REPLAY = 1e-3  # of what replayed steps trained, where not all operations are deterministic
SHARE_OF_BARE, ALONE, PACKED = 0.95, 40_000.0, 60_000.0  # goals: of the bare step's speed, and images per second


@dataclass(frozen=True)
class Scale:
    """What is measured, and how large."""

    networks: tuple[str, ...]
    batch_size: int
    steps: int
    packed: tuple[str, ...]
    processes: tuple[int, ...]
    seconds: float
    checked: int  # images of a batch of the checks


CARD = Scale(("resnet18", "resnet32", "plaincnn6", "wrn28_10"), 128, 50, ("resnet18", "plaincnn6"), (1, 2, 4, 6), 2, 32)
TINY = Scale(("resnet8",), 8, 2, ("resnet8",), (1, 2), 0.1, 8)


@dataclass
class Report:
    """What was measured, what is wrong, and what was not done."""

    minutes: float
    path: Path | None
    tell: Callable[[str], None] = print
    measured: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, part: str, name: str, row: dict[str, Any]) -> None:
        """Add a row to a part, tell of it, and write what is there: the machine may be gone any time."""
        self.measured.setdefault(part, {})[name] = row
        self.tell(f"{name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in row.items()))
        self.write()

    def write(self) -> None:
        if self.path:
            content = self.measured | {"wrong": self.wrong, "not_done": self.not_done}
            with atomic_write(self.path) as unfinished:
                unfinished.write_text(json.dumps(content, indent=1))

    def in_time(self, parts: Sequence[str], what: str, share: float) -> Iterator[str]:
        """Yield what to do until a share of the time is over, and say what was left."""
        for position, part in enumerate(parts):
            if time.monotonic() - self.began >= 60 * self.minutes * share:
                self.not_done.append(f"{what} {', '.join(parts[position:])}: there was no time")
                return
            yield part


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def check_methods(names: Sequence[str], device: torch.device, scale: Scale, report: Report) -> None:
    """Check that every method trains, waits for nothing, agrees with the CPU, and is the same replayed."""
    if device.type != "cuda":
        for what in ("whether a step waits for the device", "agreement with the CPU", "replayed beside computed steps"):
            report.not_done.append(f"{what}: needs a GPU")
    for name in report.in_time(names, "checks of", 0.4):
        experiment = checks.short(name, scale.checked)
        try:
            row, wrong = _checked(experiment, device)
        except Exception as error:  # which the other methods need not have
            row, wrong = {"trains": False}, [one_line(error)]
        report.wrong += [f"{name}: {each}" for each in wrong]
        report.add("methods", name, row)


def _checked(experiment: Experiment, device: torch.device) -> tuple[dict[str, Any], list[str]]:
    """Return what was found about a method, and what is wrong with it."""
    if device.type != "cuda":
        prepare_training(experiment, device).fit()  # raises where a loss is not finite
        return {"trains": True}, []
    resumed = experiment.method == RESUMED
    row = {"trains": True, **checks.deviation_of_replay(experiment, device, resumed)}
    row |= checks.deviation_from_cpu(experiment, device)
    row["waits"] = any(checks.waits(experiment, device, graph) for graph in (False, True))
    wrong = {
        "a step waits for the device": row["waits"] and row["capturable"],
        "its steps cannot be recorded": row["capturable"] and not row["recorded"],
        f"its loss is {row['loss']:.1e} from that on the CPU": not row["loss"] <= LARGEST_LOSS,
        f"replayed it ends {row['replayed']:.1e} away": not row["replayed"] <= LARGEST_REPLAY,
    }
    return row, [what for what, is_so in wrong.items() if is_so]


def measure_speeds(device: torch.device, scale: Scale, report: Report) -> None:
    """Measure images per second of labelreg, of the bare loop, and of both as CUDA graphs."""
    graphs = device.type == "cuda"
    if not graphs:
        report.not_done.append("images per second of steps in CUDA graphs: needs a GPU")
    for network in report.in_time(scale.networks, "images per second with", 0.7):
        bare = _bare_speeds(_long(network, TIMED[0], scale), device, scale.steps, graphs)
        for method in report.in_time(TIMED, f"images per second with {network} and", 0.7):
            experiment = _long(network, method, scale)
            row = {"eager": training_speed(prepare_training(experiment, device, graph=False), scale.steps)}
            if graphs:
                row["replayed"] = training_speed(prepare_training(experiment, device), scale.steps)
            report.add("images_per_second", f"{network} {method}", row | bare)


def _bare_speeds(experiment: Experiment, device: torch.device, steps: int, graphs: bool) -> dict[str, float]:
    row = {"bare": bare_speed(prepare_training(experiment, device, graph=False), steps)}
    if graphs:
        row["bare replayed"] = bare_speed(prepare_training(experiment, device, graph=False), steps, in_one_graph)
    return row


def _long(network: str, method: str, scale: Scale) -> Experiment:
    """Return an experiment whose schedule lasts."""
    settings = {"dataset": MADE_UP, "network": network, "method": method, "batch_size": scale.batch_size}
    return Experiment(**settings).at("fast", epochs=10_000)


def in_one_graph(step: Loop, batch: Batch) -> Loop:
    """Capture a step on a batch as one CUDA graph, and return what replays it."""
    graphs = CudaGraphs(batch.inputs.device)
    with graphs.aside():
        for _ in range(EAGER_STEPS):
            step(batch)
    _, again = graphs.record(lambda: step(batch), ())
    return lambda batch: again()


def measure_packing(device: torch.device, scale: Scale, report: Report) -> None:
    """Measure images per second of several processes at once, without and with NVIDIA's service."""
    ways = {"without MPS": contextlib.nullcontext, "with MPS": mps.serving}
    if device.type != "cuda" or not shutil.which(mps.CONTROL):
        reason = f"there is no {mps.CONTROL}" if device.type == "cuda" else "needs a GPU"
        report.not_done.append(f"several processes with MPS: {reason}")
        del ways["with MPS"]
    for way in report.in_time(tuple(ways), "several processes", 0.85):
        try:
            with ways[way]():
                speeds = packing.packed(scale.packed, scale.processes, str(device), scale.batch_size, scale.seconds)
        except Exception as error:  # what is measured already is worth more
            report.wrong.append(f"several processes {way}: {one_line(error)}")
            continue
        for network, each in speeds.items():
            report.add("packed", f"{network} {way}", {str(several): speed for several, speed in each.items()})


def goals(measured: dict[str, Any]) -> list[str]:
    """Say which goals for a card of the H100's class are reached, of those that were measured."""
    speeds, together = measured.get("images_per_second", {}), measured.get("packed", {})
    found = {
        f"{name}, replayed, in bare steps in a graph": (row["replayed"] / row["bare replayed"], SHARE_OF_BARE)
        for name, row in speeds.items()
        if TIMED[0] in name and "replayed" in row
    }
    if "replayed" in (row := speeds.get(f"resnet18 {TIMED[0]}", {})):
        found["resnet18, images per second"] = (row["replayed"], ALONE)
    if packed := [speed for name, row in together.items() if "resnet18" in name for speed in row.values()]:
        found["resnet18, images per second of several processes"] = (max(packed), PACKED)
    return [
        f"{what}: {_shown(value)}, goal {_shown(goal)} {'reached' if value >= goal else 'missed'}"
        for what, (value, goal) in found.items()
    ]


def measure(
    device: str, minutes: float, names: Sequence[str], path: Path | None = None, tell: Callable[[str], None] = print
) -> Report:
    """Check methods and measure speeds, in so many minutes; what is begun then is ended."""
    target = resolve_device(device)
    scale = CARD if target.type == "cuda" else TINY
    offer_made_up()
    report = Report(minutes, path, tell)
    report.measured["provenance"] = provenance(target)
    check_methods(names, target, scale, report)
    measure_speeds(target, scale, report)
    measure_packing(target, scale, report)
    report.write()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu, ...")
    parser.add_argument("--minutes", type=float, default=3, help="about how long this may take")
    parser.add_argument("--methods", default=",".join(methods.names()), help="to check, separated by commas")
    parser.add_argument("--json", type=Path, help="file to write what was measured to")
    arguments = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which products are not deterministic
    names = [methods.find(each) and each for each in arguments.methods.split(",")]
    report = measure(arguments.device, arguments.minutes, names, arguments.json)
    print_table(report)
    sys.exit(bool(report.wrong))


def print_table(report: Report) -> None:
    parts = {part: rows for part, rows in report.measured.items() if part != "provenance"}
    for part, rows in parts.items():
        table = pd.DataFrame.from_dict(rows, orient="index").map(_shown)
        print(f"\n{part.replace('_', ' ')}\n{table.to_string()}")
    print(f"\non {report.measured['provenance']['device']}, PyTorch {report.measured['provenance']['torch']}")
    for line in goals(report.measured):
        print(line)
    for title, lines in {"wrong": report.wrong, "not done": report.not_done}.items():
        for line in lines:
            print(f"{title}: {line}")


if __name__ == "__main__":
    main()
