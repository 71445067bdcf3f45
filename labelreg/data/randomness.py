"""Random generators that depend on their purpose, and not on what was drawn before."""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """The purposes of random numbers. Each has its own stream, so that drawing from one changes no other."""

    HOLD_OUT = 0
    LABEL_NOISE = 1
    SHUFFLE = 2
    AUGMENTATION = 3
    PARTNER = 4
    PARTNER_AUGMENTATION = 5
    DATASET = 6
    # from 16 on: streams of methods
    VIRTUAL_SCHEDULE = 16
    VIRTUAL_LAYER = 17
    VIRTUAL_POINTS = 18
    VIRTUAL_VOTE = 19


def generator(
    seed: int, stream: Stream, epoch: int = 0, position: int = 0, part: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator that is determined by the arguments; seeding it does not wait for the device."""
    return torch.Generator(device).manual_seed(seed_of(seed, stream, epoch, position, part))


def seed_of(seed: int, stream: Stream, epoch: int = 0, position: int = 0, part: int = 0) -> int:
    """Return the seed of :func:`generator`; ``part`` is that of a divided batch."""
    if min(seed, epoch, position) < 0:
        raise ValueError(f"seed, epoch and position must not be negative, got {seed}, {epoch} and {position}")
    entropy = (seed, stream, epoch, position, part) if part else (seed, stream, epoch, position)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
