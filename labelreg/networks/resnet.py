"""Residual networks with post-activation: He et al. (2016), "Deep residual learning for image recognition"."""

import functools

import torch.nn.functional as F
from torch import Tensor, nn

from labelreg.networks.layers import assemble, convolution, global_average_pool, residual_stages
from labelreg.networks.registry import register


class PaddedShortcut(nn.Module):
    """He et al.'s option A, without parameters: every stride-th pixel, and zeros for the missing channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H/stride, W/stride), rounded up."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class ProjectedShortcut(nn.Sequential):
    """He et al.'s option B: a 1x1 convolution with batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, with the ReLU after the addition.

    Args:
        inputs: number of input channels.
        width: number of channels of both convolutions.
        stride: of the first convolution.
        shortcut: replaces the identity where the shape changes.
    """

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
        """Map (B, inputs, H, W) to (B, width, H/stride, W/stride), rounded up."""
        residual = F.relu(self.norm1(self.conv1(x)))
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual + self.shortcut(x))


def _resnet(num_classes, channels, widths, depth, shortcut):
    """A 3x3 stem as wide as the first stage, the stages, global average pooling."""
    features = {
        "stem": nn.Sequential(convolution(channels, widths[0], 3), nn.BatchNorm2d(widths[0]), nn.ReLU()),
        **residual_stages(BasicBlock, widths[0], widths, depth, shortcut=shortcut),
        **global_average_pool(),
    }
    return assemble(features, widths[-1], num_classes)


def thin_resnet(depth: int, num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-8, 20, 32 and 44 (He et al., Section 4.2): 16, 32, 64 filters, ``depth`` blocks per stage, option A.

    0.08 M, 0.28 M, 0.47 M and 0.66 M parameters on CIFAR-100. The code published with Network as Regularization has
    option-B shortcuts, which add less than 3 k parameters.
    """
    return _resnet(num_classes, input_shape[0], (16, 32, 64), depth, PaddedShortcut)


def resnet(depth: int, num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-10 and 18 for 32 px: He et al., Table 1, with a 3x3 stem of stride 1 and no max-pooling.

    64, 128, 256, 512 filters, ``depth`` blocks per stage, option B. 4.95 M and 11.22 M parameters on CIFAR-100, 11.17 M
    of ResNet-18 on CIFAR-10.
    """
    return _resnet(num_classes, input_shape[0], (64, 128, 256, 512), depth, ProjectedShortcut)


for _depth in (1, 3, 5, 7):
    register(f"resnet{6 * _depth + 2}", smallest_image=1)(functools.partial(thin_resnet, _depth))
for _depth in (1, 2):
    register(f"resnet{8 * _depth + 2}", smallest_image=1)(functools.partial(resnet, _depth))
