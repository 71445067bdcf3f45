"""Residual networks with post-activation: He et al. (2016), "Deep residual learning for image recognition"."""

import torch.nn.functional as F
from torch import Tensor, nn

from labelreg.networks.layers import assemble, convolution, global_average_pool, residual_stages
from labelreg.networks.registry import register


class PaddedShortcut(nn.Module):
    """He et al.'s option A, free of parameters: every stride-th pixel, with zeros for the channels that are missing."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride), rounded up."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class ProjectedShortcut(nn.Sequential):
    """He et al.'s option B: a 1x1 convolution with batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the ReLU comes after the addition.

    Args:
        inputs: the number of channels of the input.
        width: the number of channels of both convolutions and of the output.
        stride: the stride of the first convolution.
        shortcut: what stands in for the identity where the shape changes.
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
        """(B, inputs, H, W) to (B, width, H/stride, W/stride), rounded up."""
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


def _thin_resnet(num_classes, channels, depth):
    return _resnet(num_classes, channels, (16, 32, 64), depth, PaddedShortcut)


@register("resnet8", smallest_image=1)
def resnet8(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-8 in the manner of He et al., Section 4.2: 16, 32, 64 filters, 1 block a stage, option-A shortcuts.

    0.08 M parameters on CIFAR-100.
    """
    return _thin_resnet(num_classes, input_shape[0], depth=1)


@register("resnet20", smallest_image=1)
def resnet20(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-20 (He et al., Section 4.2): 16, 32, 64 filters, 3 blocks a stage, option-A shortcuts.

    0.28 M parameters on CIFAR-100.
    """
    return _thin_resnet(num_classes, input_shape[0], depth=3)


@register("resnet32", smallest_image=1)
def resnet32(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-32 (He et al., Section 4.2): 16, 32, 64 filters, 5 blocks a stage, option-A shortcuts.

    0.47 M parameters on CIFAR-100. The code published with Network as Regularization has option-B shortcuts, which add
    under 3 k parameters.
    """
    return _thin_resnet(num_classes, input_shape[0], depth=5)


@register("resnet44", smallest_image=1)
def resnet44(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-44 (He et al., Section 4.2): 16, 32, 64 filters, 7 blocks a stage, option-A shortcuts.

    0.66 M parameters on CIFAR-100.
    """
    return _thin_resnet(num_classes, input_shape[0], depth=7)


@register("resnet10", smallest_image=1)
def resnet10(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-10: `resnet18` with 1 block a stage.

    4.95 M parameters on CIFAR-100.
    """
    return _resnet(num_classes, input_shape[0], (64, 128, 256, 512), 1, ProjectedShortcut)


@register("resnet18", smallest_image=1)
def resnet18(num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """ResNet-18 for 32 px: He et al., Table 1, with a 3x3 stem of stride 1 and no max-pooling.

    64, 128, 256, 512 filters, 2 blocks a stage, option-B shortcuts. 11.22 M parameters on CIFAR-100, 11.17 M on
    CIFAR-10.
    """
    return _resnet(num_classes, input_shape[0], (64, 128, 256, 512), 2, ProjectedShortcut)
