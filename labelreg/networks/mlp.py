"""A multilayer perceptron."""

import math

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import register


@register("mlp")
def mlp(num_classes: int, input_shape: tuple[int, ...] = (1, 8, 8), hidden: tuple[int, ...] = (256, 256)) -> nn.Module:
    """Fully connected layers with ReLU between them.

    85 k parameters on the 8 x 8 digits (64-256-256-10), 0.88 M on CIFAR-100.

    Args:
        num_classes: the number of outputs K.
        input_shape: any shape; the input is flattened.
        hidden: the widths of the hidden layers; none at all leaves a linear classifier.
    """
    return assemble({"flatten": nn.Flatten()}, math.prod(input_shape), num_classes, hidden)
