"""Wide residual networks: Zagoruyko and Komodakis (2016), "Wide residual networks"."""

from torch import nn

from labelreg.networks.layers import convolution, residual_network
from labelreg.networks.preresnet import PreActBlock, norm_relu
from labelreg.networks.registry import ImageSize, register
from labelreg.options import FractionBelowOne


@register("wrn28_10", smallest_image=1)
def wrn28_10(num_classes: int, input_shape: ImageSize = (3, 32, 32), dropout: FractionBelowOne = 0.0) -> nn.Module:
    """WRN-28-10: pre-activation blocks ten times as wide as ResNet-32's, 4 per stage.

    36.54 M parameters on CIFAR-100, 36.48 M on CIFAR-10. ``dropout`` is the probability that an activation is dropped
    between the two convolutions of a block; the paper uses 0 or 0.3.
    """
    stem, widths = convolution(input_shape[0], 16, 3), (160, 320, 640)
    return residual_network(stem, PreActBlock, 16, widths, 4, num_classes, norm=norm_relu(640), dropout=dropout)
