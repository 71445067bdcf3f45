"""Measures training on the CPU beside bare steps and plain PyTorch scripts, which take turns.

Run ``python benchmarks/cpu.py --help``. Nothing is written but what ``--json`` names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from loops import MADE_UP, WARM_UP, bare_speed, samples_per_second, training_speed
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from labelreg import networks
from labelreg.build import prepare_training
from labelreg.costs import offer_made_up
from labelreg.data import Batch, load
from labelreg.experiment import Experiment
from labelreg.paths import atomic_write
from labelreg.results import provenance

NETWORKS = ("resnet8", "resnet20")
WORKERS = 2  # processes that load the plain scripts' images
CPU = torch.device("cpu")


class Images(torch.utils.data.Dataset):
    """The made-up images as a plain script has them: one at a time, augmented by torchvision."""

    def __init__(self) -> None:
        split = load(MADE_UP).train
        self.images, self.targets = [to_pil_image(each) for each in split.inputs], split.targets.tolist()
        normalise = transforms.Normalize((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose([*augment, transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.targets[index]


def plain_script(network_name: str, images: Images, batch_size: int, bfloat16: bool) -> Callable[[int], float]:
    """Return a function that trains for some steps as a plain PyTorch script does, and returns images per second."""
    network = networks.build(network_name, len(set(images.targets)))
    if bfloat16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)

    def step(batch: Batch) -> None:
        inputs = batch.inputs.to(memory_format=torch.channels_last) if bfloat16 else batch.inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = functional.cross_entropy(network(inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # for the mean that such scripts print

    def speed(steps: int) -> float:
        return samples_per_second(step, islice(loaded(loader), WARM_UP + steps), CPU)

    return speed


def loaded(loader: DataLoader) -> Iterator[Batch]:
    for inputs, targets in chain.from_iterable(repeat(loader)):
        yield Batch(inputs, targets, targets)


def loops_of(network: str, images: Images, batch_size: int) -> dict[str, Callable[[int], float]]:
    """Return what is compared: name to the function from a number of steps to images per second."""
    long = {"epochs": 10_000, "batch_size": batch_size}  # for the schedule to last
    trainer = prepare_training(Experiment(dataset=MADE_UP, network=network).at("fast", **long), "cpu")
    bare = prepare_training(Experiment(dataset=MADE_UP, network=network).at("fast", **long), "cpu")
    return {
        "labelreg": lambda steps: training_speed(trainer, steps),
        "bare step": lambda steps: bare_speed(bare, steps),
        "plain script, float32": plain_script(network, images, batch_size, bfloat16=False),
        "plain script, bfloat16, channels last": plain_script(network, images, batch_size, bfloat16=True),
    }


def measure(blocks: int = 5, steps: int = 20, batch_size: int = 128, tell: Callable[[str], None] = print) -> dict:
    """Measure all loops in turns, ``blocks`` times.

    Returns:
        ``provenance``; ``load``, the load average before every block; ``images_per_second``, network to loop to its
        median over the blocks, and ``blocks``, to all values.
    """
    offer_made_up()
    images = Images()
    loops = {network: loops_of(network, images, batch_size) for network in NETWORKS}
    values = {network: {name: [] for name in each} for network, each in loops.items()}
    load = []
    for block in range(blocks):
        load.append(os.getloadavg()[0])
        tell(f"block {block + 1} of {blocks}, load average {load[-1]:.1f}")
        for network, each in loops.items():
            for name, speed in each.items():
                values[network][name].append(speed(steps))
    medians = {
        network: {name: statistics.median(several) for name, several in each.items()}
        for network, each in values.items()
    }
    return {"provenance": provenance("cpu"), "load": load, "images_per_second": medians, "blocks": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=5, help="how often every loop is timed")
    parser.add_argument("--steps", type=int, default=20, help="training steps that are timed at once")
    parser.add_argument("--batch-size", type=int, default=128, help="images of a step")
    parser.add_argument("--json", type=Path, help="file to write what was measured to")
    arguments = parser.parse_args()
    measured = measure(arguments.blocks, arguments.steps, arguments.batch_size)
    print(f"{'network':10}{'loop':40}{'images/s':>10}{'labelreg is':>14}")
    for network, speeds in measured["images_per_second"].items():
        for name, speed in speeds.items():
            print(f"{network:10}{name:40}{speed:10,.0f}{speeds['labelreg'] / speed:12.2f} x")
    if arguments.json:
        with atomic_write(arguments.json) as unfinished:
            unfinished.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
