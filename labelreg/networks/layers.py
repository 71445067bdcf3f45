"""What the networks are put together from.

Every network written here is an `nn.Sequential` of three parts:

    features    the convolutions, pooling and flattening: inputs (B, C, H, W) to vectors
    head        hidden fully connected layers; empty in most networks
    classifier  the last `nn.Linear`: penultimate features (B, D) to logits (B, K)

so that a tail of the network is a slice of it: `network[1:]` takes the vectors that `network[0]` returns.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


def convolution(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that only its stride shrinks the image."""
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)


def residual_stages(
    block: type[nn.Module], inputs: int, widths: Sequence[int], depth: int, **options
) -> dict[str, nn.Module]:
    """Stages of residual blocks; each stage after the first halves height and width in its first block.

    Args:
        block: called as `block(inputs, width, stride, **options)`; returns `width * block.expansion` channels.
        inputs: the number of channels that enter the first stage.
        widths: the width of each stage.
        depth: the number of blocks in each stage.
        **options: handed to every block.

    Returns:
        The stages by name: `stage1`, `stage2`, ...
    """
    stages = {}
    for number, width in enumerate(widths, start=1):
        blocks = []
        for index in range(depth):
            stride = 2 if number > 1 and index == 0 else 1
            blocks.append(block(inputs, width, stride, **options))
            inputs = width * block.expansion
        stages[f"stage{number}"] = nn.Sequential(*blocks)
    return stages


def global_average_pool() -> dict[str, nn.Module]:
    """The mean over all pixels: (B, C, H, W) to (B, C), whatever H and W."""
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}


def assemble(
    features: dict[str, nn.Module],
    num_features: int,
    num_classes: int,
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
) -> nn.Sequential:
    """Join features, hidden fully connected layers and the classifier.

    Args:
        features: the layers before the fully connected ones, by name; together they return (B, num_features).
        num_features: the length of those vectors.
        num_classes: the number of outputs K.
        hidden: the widths of the hidden layers, each followed by ReLU.
        dropout: the probability that a hidden unit is dropped in training; there is no dropout layer where it is 0.

    Returns:
        The network, its weights drawn by `initialise`.
    """
    head = []
    for width in hidden:
        head += [nn.Linear(num_features, width), nn.ReLU()]
        if dropout:
            head.append(nn.Dropout(dropout))
        num_features = width
    return initialise(
        nn.Sequential(
            OrderedDict(
                features=nn.Sequential(OrderedDict(features)),
                head=nn.Sequential(*head),
                classifier=nn.Linear(num_features, num_classes),
            )
        )
    )


def initialise(network: nn.Module) -> nn.Module:
    """Draw the weights of every convolution anew and return the network.

    Convolutions follow He et al. (2015), "Delving deep into rectifiers": normal with variance 2 / fan_out, biases zero.
    Batch normalisation (weight 1, bias 0) and fully connected layers (uniform within 1 / sqrt(fan_in)) keep PyTorch's
    defaults.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
