"""Residual networks with pre-activation: He et al. (2016), "Identity mappings in deep residual networks".

Batch normalisation and ReLU come before each convolution, and nothing after the addition. A block maps (B, inputs, H,
W) to (B, width * expansion, H/stride, W/stride), rounded up.
"""

from torch import Tensor, nn

from labelreg.networks.layers import convolution, residual_network
from labelreg.networks.registry import ImageSize, register


def norm_relu(channels: int) -> nn.Sequential:
    """Batch normalisation, then ReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, with dropout between them; the shortcut to a new shape convolves the activated input."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dropout: float = 0.0):
        super().__init__()
        self.activate = norm_relu(inputs)
        self.residual = nn.Sequential(
            convolution(inputs, width, 3, stride), norm_relu(width), nn.Dropout(dropout), convolution(width, width, 3)
        )
        same_shape = stride == 1 and inputs == width
        self.shortcut = None if same_shape else convolution(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activate(x)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.residual(activated) + shortcut


class PreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the shortcut to a new shape convolves the input itself."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.residual = nn.Sequential(
            *(norm_relu(inputs), convolution(inputs, width, 1)),
            *(norm_relu(width), convolution(width, width, 3, stride)),
            *(norm_relu(width), convolution(width, outputs, 1)),
        )
        same_shape = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same_shape else convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


@register("preresnet110", smallest_image=1)
def preresnet110(num_classes: int, input_shape: ImageSize = (3, 32, 32)) -> nn.Module:
    """The bottleneck network known as "PreResNet-110" in Network as Regularization (Table 1).

    1.73 M parameters on CIFAR-100, 1.70 M on CIFAR-10. A stage has 18 bottlenecks, as in bearpaw/pytorch-classification
    with the same blocks. That makes 164 layers, as in He et al.'s PreResNet-164; 18 basic blocks would make 110.
    """
    stem = convolution(input_shape[0], 16, 3)
    return residual_network(stem, PreActBottleneck, 16, (16, 32, 64), 18, num_classes, norm=norm_relu(256))


@register("preact_resnet18", smallest_image=1)
def preact_resnet18(num_classes: int, input_shape: ImageSize = (3, 32, 32)) -> nn.Module:
    """ResNet-18 with pre-activation for 32 px: 11.22 M parameters on CIFAR-100, 11.17 M on CIFAR-10.

    Batch normalisation and ReLU follow the last block, as in He et al.
    """
    stem, widths = convolution(input_shape[0], 64, 3), (64, 128, 256, 512)
    return residual_network(stem, PreActBlock, 64, widths, 2, num_classes, norm=norm_relu(512))
