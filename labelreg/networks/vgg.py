"""VGG networks: Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image recognition"."""

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import ImageSize, register
from labelreg.options import FractionBelowOne, Widths


@register("vgg16", smallest_image=16)
def vgg16(
    num_classes: int,
    input_shape: ImageSize = (3, 32, 32),
    batch_norm: bool = True,
    hidden: Widths = (512, 512),
    dropout: FractionBelowOne = 0.5,
) -> nn.Module:
    """VGG-16 (configuration D) for 32 px: thirteen 3x3 convolutions and three fully connected layers.

    15.29 M parameters on CIFAR-100. The last max-pooling reduces any size to one pixel.

    Args:
        batch_norm: whether batch normalisation follows each convolution, instead of a bias. Without it, use a small
            learning rate (0.02); the loss stays at its initial value for a few hundred steps.
        hidden: widths of the hidden layers, with ``dropout`` after each. () is the single linear layer of many CIFAR
            versions (14.77 M); the code of Batch Augmentation keeps the original's (4096, 4096) (34.01 M).
    """
    channels = input_shape[0]
    features = {}
    for number, (filters, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1):
        layers = []
        for _ in range(depth):
            layers.append(nn.Conv2d(channels, filters, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            layers.append(nn.ReLU())
            channels = filters
        layers.append(nn.AdaptiveMaxPool2d(1) if number == 5 else nn.MaxPool2d(2))  # the same at 32 px
        features[f"stage{number}"] = nn.Sequential(*layers)
    features["flatten"] = nn.Flatten()
    return assemble(features, channels, num_classes, hidden, dropout)
