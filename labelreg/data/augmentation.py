"""Random augmentation of whole batches, on the device of the batch, drawn from an explicit generator.

Every function takes images (B, C, H, W), uint8 or float and not normalised, in any memory format, and returns the same
shape (unless it is asked for another), dtype and memory format. The generator must live on the device of the images;
nothing here waits for that device.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from labelreg.data.framing import random_boxes, resample


def random_crop(inputs: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad each image with ``padding`` zeros on every side and cut its size out again at a place drawn for each image.

    Args:
        inputs: (B, C, H, W).
        padding: pixels on each side; each of the (2 padding + 1)^2 crops is equally likely.
        generator: of the draw.
    """
    batch, _, height, width = inputs.shape
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator, device=inputs.device)
    windows = F.pad(inputs, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)  # every crop there is, as a view
    return windows[torch.arange(batch, device=inputs.device), :, top, left]


def random_flip(inputs: Tensor, generator: Generator) -> Tensor:
    """Mirror each image, left to right, with probability one half.

    Args:
        inputs: (B, C, H, W).
        generator: of the draw.
    """
    flipped = torch.rand(len(inputs), generator=generator, device=inputs.device) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1), inputs.flip(-1), inputs)


def cutout(inputs: Tensor, size: int, generator: Generator, fill: Tensor | None = None) -> Tensor:
    """Cover a square of each image.

    Cutout, of DeVries and Taylor (2017), "Improved Regularization of Convolutional Neural Networks with Cutout". The
    centre of the square is any pixel with equal probability, so that part of the square may lie outside the image.

    Args:
        inputs: (B, C, H, W).
        size: side of the square in pixels; the paper takes 16 for CIFAR-10 and 8 for CIFAR-100.
        generator: of the draw.
        fill: (C,) colour of the square in the units of the inputs, rounded for uint8; None means zeros. The paper
            covers normalised images with zeros, which is the mean colour before normalisation.
    """
    batch, _, height, width = inputs.shape
    device = inputs.device
    top = torch.randint(height, (batch, 1), generator=generator, device=device) - size // 2
    left = torch.randint(width, (batch, 1), generator=generator, device=device) - size // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = (rows >= top) & (rows < top + size)
    columns = (columns >= left) & (columns < left + size)
    hole = rows.view(batch, 1, height, 1) & columns.view(batch, 1, 1, width)
    if fill is None:
        return inputs.masked_fill(hole, 0)
    colour = (fill if inputs.is_floating_point() else fill.round()).to(inputs.dtype)
    return torch.where(hole, colour.view(-1, 1, 1), inputs)


def unchanged(inputs: Tensor, generator: Generator, mean: Tensor) -> Tensor:
    """No augmentation."""
    return inputs


def crop_flip(inputs: Tensor, generator: Generator, mean: Tensor) -> Tensor:
    """The usual augmentation for CIFAR: a crop out of 4 pixels of padding, then a flip."""
    return random_flip(random_crop(inputs, 4, generator), generator)


def resized_crop_flip(
    inputs: Tensor,
    generator: Generator,
    mean: Tensor,
    aspects: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The usual augmentation for ImageNet: a box of random area and shape, scaled to one size, then a flip.

    Args:
        inputs: (B, C, H, W).
        generator: of the draw.
        mean: not used.
        aspects: (B,) width over height of photographs that are stored squashed; None for images in their own shape.
        size: height and width of the result; None for those of the inputs.
    """
    height, width = inputs.shape[2:]
    if aspects is None:
        aspects = torch.full((len(inputs),), width / height, device=inputs.device)
    crops = resample(inputs, random_boxes(aspects, generator), size or (height, width))
    return random_flip(crops, generator)


def cutout3(inputs: Tensor, generator: Generator, mean: Tensor) -> Tensor:
    """A square of 3 pixels in the mean colour, (C,), and nothing else: for the digits of 8 x 8 pixels."""
    return cutout(inputs, 3, generator, fill=mean)


def crop_flip_cutout(inputs: Tensor, generator: Generator, mean: Tensor, size: int) -> Tensor:
    """``crop_flip``, then a square of ``size`` pixels in the mean colour, (C,)."""
    return cutout(crop_flip(inputs, generator, mean), size, generator, fill=mean)


augmentations: dict[str, Callable[[Tensor, Generator, Tensor], Tensor]] = {
    "none": unchanged,
    "crop_flip": crop_flip,
    "crop_flip_cutout16": partial(crop_flip_cutout, size=16),
    "crop_flip_cutout8": partial(crop_flip_cutout, size=8),
    "cutout3": cutout3,
    "resized_crop_flip": resized_crop_flip,
}
"""Augmentations by name: functions of the inputs, a generator and the mean colour (C,) of the training inputs."""
