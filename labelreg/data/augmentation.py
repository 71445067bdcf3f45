"""Random augmentation of whole batches.

Every function takes images (B, C, H, W), uint8 or float, not normalised, in any memory format, and a generator on their
device. It returns images of the same shape, dtype and memory format, and does not wait for the device.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from labelreg.data.framing import random_boxes, resample


def random_crop(inputs: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad each image with ``padding`` zeros on every side and crop it to its size at a uniformly random position."""
    batch, _, height, width = inputs.shape
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator, device=inputs.device)
    windows = F.pad(inputs, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view of all crops
    return windows[torch.arange(batch, device=inputs.device), :, top, left]


def random_flip(inputs: Tensor, generator: Generator) -> Tensor:
    """Flip each image left to right with probability 1/2."""
    flipped = torch.rand(len(inputs), generator=generator, device=inputs.device) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1), inputs.flip(-1), inputs)


def cutout(inputs: Tensor, size: int, generator: Generator, fill: Tensor) -> Tensor:
    """Mask a square of each image (Cutout; DeVries and Taylor, 2017).

    The centre of the square is uniform over all pixels, so that part of it may lie outside the image. Its side is
    ``size`` pixels: in the paper 16 for CIFAR-10 and 8 for CIFAR-100. Its colour is ``fill``, (C,), rounded for uint8.
    The paper masks normalised images with zeros, that is with the mean colour.
    """
    (batch, _, height, width), device = inputs.shape, inputs.device
    top = torch.randint(height, (batch, 1), generator=generator, device=device) - size // 2
    left = torch.randint(width, (batch, 1), generator=generator, device=device) - size // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = (rows >= top) & (rows < top + size)
    columns = (columns >= left) & (columns < left + size)
    hole = rows.view(batch, 1, height, 1) & columns.view(batch, 1, 1, width)
    colour = (fill if inputs.is_floating_point() else fill.round()).to(inputs.dtype)
    return torch.where(hole, colour.view(-1, 1, 1), inputs)


def crop_flip(inputs: Tensor, generator: Generator, mean: Tensor) -> Tensor:
    """Return a random crop with 4 pixels of padding, then a flip: the usual augmentation for CIFAR."""
    return random_flip(random_crop(inputs, 4, generator), generator)


def resized_crop_flip(
    inputs: Tensor,
    generator: Generator,
    mean: Tensor,
    aspects: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return a resized crop of random area and shape, then a flip: the usual augmentation for ImageNet.

    Photographs stored as squares need ``aspects``, (B,) width over height; ``size`` is the result's height and width.
    """
    height, width = inputs.shape[2:]
    if aspects is None:
        aspects = torch.full((len(inputs),), width / height, device=inputs.device)
    crops = resample(inputs, random_boxes(aspects, generator), size or (height, width))
    return random_flip(crops, generator)


def _crop_flip_cutout(inputs: Tensor, generator: Generator, mean: Tensor, size: int) -> Tensor:
    return cutout(crop_flip(inputs, generator, mean), size, generator, fill=mean)


augmentations: dict[str, Callable[[Tensor, Generator, Tensor], Tensor]] = {
    "none": lambda inputs, generator, mean: inputs,
    "crop_flip": crop_flip,
    "crop_flip_cutout16": partial(_crop_flip_cutout, size=16),
    "crop_flip_cutout8": partial(_crop_flip_cutout, size=8),
    "cutout3": lambda inputs, generator, mean: cutout(inputs, 3, generator, fill=mean),  # for digits of 8 x 8 pixels
    "resized_crop_flip": resized_crop_flip,
}
"""Augmentations by name, functions of the inputs, a generator and the mean colour (C,) of the training inputs."""
