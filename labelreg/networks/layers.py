"""The parts of networks.

Every network written here is an ``nn.Sequential`` of three parts:

    features    convolutions, pooling and flattening: inputs (B, C, H, W) to vectors
    head        hidden fully connected layers; empty in most networks
    classifier  the last ``nn.Linear``: penultimate features (B, D) to logits (B, K)
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


def convolution(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, padded so that only its stride shrinks the image."""
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)


def residual_network(
    stem: nn.Module,
    block: type[nn.Module],
    inputs: int,
    widths: Sequence[int],
    depth: int,
    num_classes: int,
    norm: nn.Module | None = None,
    **options,
) -> nn.Sequential:
    """Join a stem, one stage of ``depth`` blocks per width, ``norm`` and an average over all pixels.

    Each stage after the first halves height and width in its first block. A block is made by ``block(channels, width,
    stride, **options)`` and has ``width * block.expansion`` output channels; the stem has ``inputs``.
    """
    features = {"stem": stem}
    for number, width in enumerate(widths, start=1):
        blocks = []
        for index in range(depth):
            stride = 2 if number > 1 and index == 0 else 1
            blocks.append(block(inputs, width, stride, **options))
            inputs = width * block.expansion
        features[f"stage{number}"] = nn.Sequential(*blocks)
    if norm is not None:
        features["norm"] = norm
    features |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return assemble(features, inputs, num_classes)


def assemble(
    features: dict[str, nn.Module], inputs: int, num_classes: int, hidden: Sequence[int] = (), dropout: float = 0.0
) -> nn.Sequential:
    """Join features, which return (B, inputs), hidden layers and the classifier, see :func:`initialise`.

    ReLU and, unless its probability is 0, dropout follow each hidden layer.
    """
    head = []
    for width in hidden:
        head += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout:
            head.append(nn.Dropout(dropout))
        inputs = width
    parts = {"features": nn.Sequential(OrderedDict(features)), "head": nn.Sequential(*head)}
    parts["classifier"] = nn.Linear(inputs, num_classes)
    return initialise(nn.Sequential(OrderedDict(parts)))


def initialise(network: nn.Module) -> nn.Module:
    """Draw the weights of every convolution, and only those, and return the network.

    They are normal with variance 2 / fan_out, the biases zero: He et al. (2015), "Delving deep into rectifiers".
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
