"""Samples per second of an experiment's training, beside the bare loop that bounds it.

Run ``python benchmarks/throughput.py --help``; settings are those of ``labelreg run``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count, islice
from pathlib import Path

import torch
from loops import WARM_UP, synchronize

from labelreg.assignments import parse
from labelreg.build import prepare_training, resolve_device
from labelreg.costs import bare_step
from labelreg.data import Batch
from labelreg.experiment import PROFILES, Experiment
from labelreg.networks import PADDING
from labelreg.paths import atomic_write
from labelreg.results import provenance
from labelreg.training import Trainer

TURN = 10  # steps of one loop before the other takes its turn


def throughput(experiment: Experiment, *, steps: int = 50, device: str = "auto") -> dict[str, float]:
    """Measure the samples per second of an experiment's training, and of the bare loop that bounds it.

    The two take turns, ten steps each, so that what else the machine does slows both.

    Args:
        experiment: what to train, on samples of classes; nothing is recorded.
        steps: how many to time.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.

    Returns:
        ``training``: batches are drawn, augmented and trained on with the experiment's method. ``bare``: forward,
        backward and update of cross-entropy, on batches that are there already. ``padding``: the share of tokens that
        fill texts up, 0 for images.

    Raises:
        ValueError: what :func:`labelreg.running.run` raises, or a language model, whose batches are no samples.
    """
    # long enough for the schedule to last
    trainer = prepare_training(experiment.but(epochs=max(experiment.epochs, WARM_UP + steps)), device)
    if trainer.dataset.task != "classification":
        raise ValueError(f"throughput is measured on samples of classes, and {experiment.dataset} is one text")
    trainer.network.train()
    trainer.method.train()
    batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
    bare = bare_step(trainer)
    ready = [trainer.step(batch) and batch for batch in islice(batches, WARM_UP)]
    for batch in ready:
        bare(batch)
    totals: Counter[str] = Counter()
    for begin in range(0, steps, TURN):
        ready, began = [], _now(trainer.device)
        for batch in islice(batches, min(TURN, steps - begin)):
            trainer.step(batch)
            ready.append(batch)
        between = _now(trainer.device)
        for batch in ready:
            bare(batch)
        totals.update(training=between - began, bare=_now(trainer.device) - between, **_sizes(trainer, ready))
    speeds = {loop: totals["samples"] / totals[loop] for loop in ("training", "bare")}
    return speeds | {"padding": totals["filled"] / totals["tokens"] if totals["tokens"] else 0.0}


def _sizes(trainer: Trainer, batches: Sequence[Batch]) -> dict[str, int]:
    sizes = {"samples": sum(len(batch.targets) for batch in batches)}
    if trainer.dataset.reading:
        sizes["tokens"] = sum(batch.inputs.numel() for batch in batches)
        sizes["filled"] = sum(int((batch.inputs == PADDING).sum()) for batch in batches)
    return sizes


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="settings of the experiment")
    parser.add_argument("--profile", default="fast", choices=PROFILES)
    parser.add_argument("--steps", type=int, default=50, help="training steps to time")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--json", type=Path, help="file to add the measurement to")
    arguments = parser.parse_args()
    experiment = Experiment().at(arguments.profile, **parse(arguments.settings))
    measured = throughput(experiment, steps=arguments.steps, device=arguments.device)
    for loop in ("training", "bare"):
        print(f"{loop:9}{measured[loop]:10,.0f} samples/s")
    origin = provenance(resolve_device(arguments.device))
    padding = f"; {measured['padding']:.1%} of the tokens fill texts up" if measured["padding"] else ""
    print(f"{measured['training'] / measured['bare']:.0%} of the bare loop, on {origin['device']}{padding}")
    if arguments.json:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        added = {f"{experiment.dataset} {experiment.network}": measured | {"provenance": origin}}
        with atomic_write(arguments.json) as unfinished:
            unfinished.write_text(json.dumps(known | added, indent=1))


if __name__ == "__main__":
    main()
