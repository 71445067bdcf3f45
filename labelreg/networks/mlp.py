"""A multilayer perceptron."""

import math

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import register
from labelreg.options import Widths


@register("mlp")
def mlp(num_classes: int, input_shape: tuple[int, ...] = (1, 8, 8), hidden: Widths = (256, 256)) -> nn.Module:
    """Fully connected layers of the given widths with ReLU between them; ``hidden=()`` is a linear classifier.

    85 k parameters on the 8 x 8 digits (64-256-256-10), 0.88 M on CIFAR-100.
    """
    return assemble({"flatten": nn.Flatten()}, math.prod(input_shape), num_classes, hidden)
