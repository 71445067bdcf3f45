"""Which part of a photograph a network sees, where photographs are stored squashed to squares.

A photograph of any shape is kept as a square, each axis scaled on its own, with its aspect ratio beside it. A box in
the original is a box in the square, so that random resized crops and the centre crop of a test are taken from squares,
a whole batch at a time. A box is (left, top, width, height), in fractions of the width and the height.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

TRIES = 10  # at a random box before the centre is taken, as in torchvision
CHUNK = 64  # images resampled at once: bounds the memory for intermediate results


@dataclass(frozen=True)
class Framing:
    """What of a photograph, stored squashed, a network is shown.

    Attributes:
        side: height and width of what it is shown, in pixels.
        centre: side of the square in the middle that it is shown where nothing is augmented, as a fraction of the
            photograph's shorter side: 224 / 256 where the shorter side is resized to 256 and the middle 224 cut out.
    """

    side: int = 224
    centre: float = 224 / 256


def centre_boxes(aspects: Tensor, fraction: float) -> Tensor:
    """The square in the middle of each photograph: (B, 4).

    Args:
        aspects: (B,) float, width over height.
        fraction: of the shorter side, in (0, 1].
    """
    sizes = fraction * torch.stack([1 / aspects.clamp(min=1), aspects.clamp(max=1)], 1)
    return torch.cat([(1 - sizes) / 2, sizes], 1)


def random_boxes(
    aspects: Tensor,
    generator: Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Boxes of random area, shape and place, as for Inception (Szegedy et al., 2015): (B, 4).

    The distribution of ``torchvision.transforms.RandomResizedCrop``, but for the rounding to whole pixels: an area
    uniform over ``scale``, a ratio log-uniform over ``ratio``, both of the photograph before it was squashed; where ten
    such boxes do not fit into it, the largest box in its middle whose ratio is allowed.

    Args:
        aspects: (B,) float, width over height.
        generator: of the draw, on the device of the aspects.
        scale: least and greatest area, as fractions of the photograph's.
        ratio: least and greatest width over height.
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
    """Cut a box out of each image and scale it, bilinearly and antialiased.

    For boxes with corners on pixels it is ``torchvision.transforms.v2.functional.resized_crop(..., antialias=True)``:
    pixels outside the box have no part in it. Resampling is linear and works on rows and columns apart, so it is a
    product with one matrix from either side.

    Args:
        inputs: (B, C, H, W), uint8 or float, in any memory format.
        boxes: (B, 4), see above.
        size: height and width of the result, in pixels.

    Returns:
        (B, C, height, width) in the dtype of the inputs, rounded for uint8, and in their memory format.
    """
    parts = zip(inputs.split(CHUNK), boxes.split(CHUNK), strict=True)
    return torch.cat([_resample(images, chunk, size) for images, chunk in parts])


def _resample(inputs: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    batch, channels, height, width = inputs.shape
    left, top, box_width, box_height = boxes.float().unbind(1)
    rows, columns = _weights(top, box_height, height, size[0]), _weights(left, box_width, width, size[1])
    # squashed images lie channels last, so that the first product needs no copy
    values = inputs.permute(0, 2, 3, 1).reshape(batch, height, width * channels).float()
    values = (rows @ values).view(batch, size[0], width, channels).transpose(2, 3)
    values = values.reshape(batch, size[0] * channels, width) @ columns.mT
    values = values.view(batch, size[0], channels, size[1]).transpose(1, 2)
    values = values if inputs.is_floating_point() else values.round()
    channels_last = inputs.is_contiguous(memory_format=torch.channels_last)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return values.to(inputs.dtype).contiguous(memory_format=memory_format)


def _weights(start: Tensor, extent: Tensor, pixels: int, side: int) -> Tensor:
    """The part of each pixel along one axis in each pixel of the result: (B, side, pixels), every row adds up to 1.

    A triangle as wide as two pixels, of the source or of the result, whichever are wider.
    """
    start, extent = pixels * start.view(-1, 1, 1), pixels * extent.view(-1, 1, 1)
    at = torch.arange(pixels, device=start.device)
    step = extent / side
    centres = start + (torch.arange(side, device=start.device).view(1, -1, 1) + 0.5) * step
    triangle = (1 - (at + 0.5 - centres).abs() / step.clamp(min=1)).clamp(min=0)
    # a hundredth of a pixel is no overlap: corners that lie on pixels come out of the fractions inexactly
    overlaps = (at + 0.99 > start) & (at + 0.01 < start + extent)
    weights = triangle * overlaps
    return weights / weights.sum(-1, keepdim=True)
