"""Densely connected networks: Huang et al. (2017), "Densely connected convolutional networks"."""

from torch import nn

from labelreg.networks.layers import convolution, initialise
from labelreg.networks.registry import ImageSize, register


@register("densenet121", smallest_image=8)
def densenet121(num_classes: int, input_shape: ImageSize = (3, 32, 32)) -> nn.Module:
    """DenseNet-121 for 32 px (CS-KD, Section 3.1): torchvision's with a 3x3 convolution of stride 1 as its whole stem.

    Growth rate 32; 7.05 M parameters on CIFAR-100, 6.96 M on CIFAR-10. The initial weights are those of the other
    networks here, with fan_out, and not torchvision's.
    """
    from torchvision.models import DenseNet  # slow to import

    network = DenseNet(growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64, num_classes=num_classes)
    network.features.conv0 = convolution(input_shape[0], 64, 3)
    # The first dense block normalises its input, so the stem needs no normalisation.
    del network.features.norm0, network.features.relu0, network.features.pool0
    return initialise(network)
