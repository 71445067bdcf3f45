"""Samples per second of an experiment's training, beside the bare loop that bounds it.

Run ``python benchmarks/throughput.py --help``; settings are those of ``labelreg run``.
"""

from __future__ import annotations

import argparse

from loops import WARM_UP, bare_speed, training_speed

from labelreg.assignments import parse
from labelreg.build import prepare_training, resolve_device
from labelreg.experiment import PROFILES, Experiment
from labelreg.results import provenance


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
    return {"training": training_speed(trainer, steps), "bare": bare_speed(trainer, steps)}


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
