"""A multilayer perceptron."""

import math

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import register
from labelreg.options import Widths


@register("mlp")
def mlp(num_classes: int, input_shape: tuple[int, ...] = (1, 8, 8), hidden: Widths = (256, 256)) -> nn.Module:
    """Fully connected layers with ReLU between them.

    85 k parameters on the 8 x 8 digits (64-256-256-10), 0.88 M on CIFAR-100. Inputs of any shape are flattened.

    Args:
        hidden: widths of the hidden layers; () is a linear classifier.
    """
    return assemble({"flatten": nn.Flatten()}, math.prod(input_shape), num_classes, hidden)
