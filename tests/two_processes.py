"""Trainings by two processes, for tests: ``python two_processes.py FOLDER`` leaves there what each has at its end."""

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from interruption import outcome
from PIL import Image

from labelreg.build import build
from labelreg.data import imagenet, registry
from labelreg.data.framing import Framing
from labelreg.data.photographs import load_photographs
from labelreg.experiment import Experiment
from labelreg.processes import ALONE, launch
from labelreg.running import run
from labelreg.training import Interrupted

DIGITS = Experiment(dataset="digits", subset=200, epochs=3, batch_size=32, schedule="constant", learning_rate=0.05)
CASES = {
    "cross_entropy": DIGITS,
    "knowledge_refinery": DIGITS.but(method="knowledge_refinery", options={"lr_mult": 10.0}),
    "adaptive_label_regularization": DIGITS.but(method="adaptive_label_regularization", options={"lr_mult": 10.0}),
}
# each process has its own statistics of batches, pads and crops of its own, and draws labels of its own
OWN = DIGITS.but(network="resnet8", method="disturb_label", augmentation="crop_flip", batch_size=8, epochs=2)
PHOTOGRAPHS = DIGITS.but(dataset="imagenet", subset=None, network="imagenet_resnet18", batch_size=4, epochs=1)


def trainer(experiment, processes=ALONE):
    parts = build(experiment, "cpu", None, processes)
    return parts.trainer(parts.network, parts.method)


def make_photographs(folder):
    """A folder like that of ImageNet, of two classes with five photographs each, three of them for training."""
    for number in range(10):
        split, label = ("train" if number < 6 else "val"), number % 2
        file = folder / split / f"n0000000{label}" / f"{number}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((90, 70), 50 + number).convert("RGB").save(file)


def main(folder):
    torch.set_num_threads(1)
    processes = launch(2, device="cpu")

    def keep(name, value):
        torch.save(value, folder / f"{name}-{processes.rank}.pt")

    for name, experiment in {**CASES, "straight": OWN}.items():
        (straight := trainer(experiment, processes)).fit()
        keep(name, outcome(straight))
    interrupted = trainer(OWN, processes)
    with suppress(Interrupted):  # asked of one of them only
        interrupted.fit(folder / "checkpoint.pt", stop=lambda: processes.rank == 1 and interrupted.epoch == 1)
    keep("moment", (interrupted.epoch, interrupted.position))
    torch.manual_seed(99)  # nothing of it may survive
    (resumed := trainer(OWN, processes)).fit(folder / "checkpoint.pt")
    keep("resumed", outcome(resumed))
    changes = {"sizes": (6, 4), "num_classes": 2, "stored": 80, "framing": Framing(side=64)}
    registry._datasets["imagenet"] = partial(load_photographs, replace(imagenet.IMAGENET, **changes))
    processes.first(lambda: make_photographs(folder / "imagenet"))
    keep("photographs", run(PHOTOGRAPHS, results=folder / "results", progress=None, processes=processes).history)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
