"""Residual networks with post-activation: He et al. (2016), "Deep residual learning for image recognition"."""

import functools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from labelreg.networks.layers import convolution, residual_network
from labelreg.networks.registry import ImageSize, register


class PaddedShortcut(nn.Module):
    """He et al.'s option A, without parameters: every stride-th pixel, and zeros for the missing channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class ProjectedShortcut(nn.Sequential):
    """He et al.'s option B: a 1x1 convolution with batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, with the ReLU after the addition; ``shortcut`` is used where the shape changes."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: type[nn.Module]):
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.norm2 = nn.BatchNorm2d(width)
        same_shape = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same_shape else shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


def resnet(
    widths: Sequence[int], depth: int, shortcut: type[nn.Module], num_classes: int, input_shape: ImageSize = (3, 32, 32)
) -> nn.Module:
    """Build a residual network for 32 px: a 3x3 stem as wide as the first stage, and ``depth`` blocks per stage."""
    stem = nn.Sequential(convolution(input_shape[0], widths[0], 3), nn.BatchNorm2d(widths[0]), nn.ReLU())
    return residual_network(stem, BasicBlock, widths[0], widths, depth, num_classes, shortcut=shortcut)


# Filters of the stages, blocks per stage and shortcut; the number of parameters is that on CIFAR-100.
LAYOUTS = {
    # Section 4.2; the code published with Network as Regularization has option-B shortcuts, which add less than 3 k
    "resnet8": ((16, 32, 64), 1, PaddedShortcut),  # 0.08 M
    "resnet20": ((16, 32, 64), 3, PaddedShortcut),  # 0.28 M
    "resnet32": ((16, 32, 64), 5, PaddedShortcut),  # 0.47 M
    "resnet44": ((16, 32, 64), 7, PaddedShortcut),  # 0.66 M
    # Table 1, with a 3x3 stem of stride 1 and no max-pooling
    "resnet10": ((64, 128, 256, 512), 1, ProjectedShortcut),  # 4.95 M
    "resnet18": ((64, 128, 256, 512), 2, ProjectedShortcut),  # 11.22 M, and 11.17 M on CIFAR-10
}
for _name, _layout in LAYOUTS.items():
    register(_name, smallest_image=1)(functools.partial(resnet, *_layout))
