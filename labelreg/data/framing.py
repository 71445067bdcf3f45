"""Crops of photographs that are stored as squares.

A photograph of any shape is resized to a square, and its aspect ratio is stored beside it, so that random resized crops
and centre crops can be computed for a whole batch. A box is (left, top, width, height), in fractions of the
photograph's width and height. Aspects are (B,), width over height.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

TRIES = 10  # random boxes before falling back to the centre, as in torchvision
CHUNK = 64  # images resampled at once; bounds the memory


@dataclass(frozen=True)
class Framing:
    """The part of a photograph that a network sees: a square of ``side`` pixels.

    Without augmentation it is the centre crop whose side is ``centre`` times the photograph's shorter side, as after
    the usual resizing of the shorter side to 256 and a crop of 224.
    """

    side: int = 224
    centre: float = 224 / 256


def centre_boxes(aspects: Tensor, fraction: float) -> Tensor:
    """Return the centre square of each photograph, (B, 4); its side is a fraction of the photograph's shorter side."""
    sizes = fraction * torch.stack([1 / aspects.clamp(min=1), aspects.clamp(max=1)], 1)
    return torch.cat([(1 - sizes) / 2, sizes], 1)


def random_boxes(
    aspects: Tensor,
    generator: Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Return boxes of random area, shape and position, (B, 4), as for Inception (Szegedy et al., 2015).

    They are distributed as in ``torchvision.transforms.RandomResizedCrop``, without its rounding to whole pixels: the
    area is uniform over ``scale``, in fractions of the photograph's, and its width over height log-uniform over
    ``ratio``. If ten such boxes do not fit, the largest box in the centre with an allowed ratio is used.
    """
    draws = torch.rand(4, TRIES, len(aspects), generator=generator, device=aspects.device)
    area = scale[0] + (scale[1] - scale[0]) * draws[0]
    shape = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * draws[1])
    sizes = torch.stack([area * shape / aspects, area / shape * aspects], -1).sqrt()
    boxes = torch.cat([(1 - sizes) * draws[2:].movedim(0, -1), sizes], -1)
    fits = (sizes <= 1).all(-1)
    first = fits.int().argmax(0)
    drawn = boxes[first, torch.arange(len(aspects), device=aspects.device)]
    allowed = aspects.clamp(*ratio)
    sizes = torch.stack([(allowed / aspects).clamp(max=1), (aspects / allowed).clamp(max=1)], 1)
    return torch.where(fits.any(0).unsqueeze(1), drawn, torch.cat([(1 - sizes) / 2, sizes], 1))


def resample(inputs: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop a box (B, 4) from each image (B, C, H, W), uint8 or float, and resize it, bilinearly and with antialiasing.

    For boxes with corners on pixels this is ``torchvision.transforms.v2.functional.resized_crop(..., antialias=True)``.
    Resampling is linear and separable, so it is one matrix product per axis. ``size`` is the height and width of the
    result, which has the dtype (rounded for uint8) and memory format of the inputs.
    """
    parts = zip(inputs.split(CHUNK), boxes.split(CHUNK), strict=True)
    return torch.cat([_resample(images, chunk, size) for images, chunk in parts])


def _resample(inputs: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    batch, channels, height, width = inputs.shape
    left, top, box_width, box_height = boxes.float().unbind(1)
    rows, columns = _weights(top, box_height, height, size[0]), _weights(left, box_width, width, size[1])
    # stored photographs are channels-last, so that the first product needs no copy
    values = inputs.permute(0, 2, 3, 1).reshape(batch, height, width * channels).float()
    values = (rows @ values).view(batch, size[0], width, channels).transpose(2, 3)
    values = values.reshape(batch, size[0] * channels, width) @ columns.mT
    values = values.view(batch, size[0], channels, size[1]).transpose(1, 2)
    values = (values if inputs.is_floating_point() else values.round()).to(inputs.dtype)
    channels_last = inputs.is_contiguous(memory_format=torch.channels_last)
    return values.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _weights(start: Tensor, extent: Tensor, pixels: int, side: int) -> Tensor:
    """The weights of pixels in each pixel of the result along one axis: (B, side, pixels), each row sums to 1."""
    start, extent = pixels * start.view(-1, 1, 1), pixels * extent.view(-1, 1, 1)
    at = torch.arange(pixels, device=start.device)
    step = extent / side
    centres = start + (torch.arange(side, device=start.device).view(1, -1, 1) + 0.5) * step
    # as wide as two pixels of the source or of the result, whichever are wider
    triangle = (1 - (at + 0.5 - centres).abs() / step.clamp(min=1)).clamp(min=0)
    # a hundredth of a pixel is no overlap: fractions give corners on pixels inexactly
    overlaps = (at + 0.99 > start) & (at + 0.01 < start + extent)
    weights = triangle * overlaps
    return weights / weights.sum(-1, keepdim=True)
