"""VGG networks: Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image recognition"."""

from torch import nn

from labelreg.networks.layers import assemble, convolution
from labelreg.networks.registry import ImageSize, register
from labelreg.options import FractionBelowOne, Widths


@register("vgg16", smallest_image=16)
def vgg16(
    num_classes: int,
    input_shape: ImageSize = (3, 32, 32),
    hidden: Widths = (512, 512),
    dropout: FractionBelowOne = 0.5,
) -> nn.Module:
    """VGG-16 (configuration D) for 32 px: thirteen 3x3 convolutions and three fully connected layers.

    15.29 M parameters on CIFAR-100. Batch normalisation follows each convolution, instead of a bias. The last
    max-pooling reduces any size to one pixel.

    ``hidden`` gives the widths of the hidden layers, with ``dropout`` after each. () is the single linear layer of many
    CIFAR versions (14.77 M); the code of Batch Augmentation keeps the original's (4096, 4096) (34.01 M).
    """
    channels = input_shape[0]
    features = {}
    for number, (filters, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1):
        layers = []
        for _ in range(depth):
            layers += [convolution(channels, filters, 3), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        layers.append(nn.AdaptiveMaxPool2d(1) if number == 5 else nn.MaxPool2d(2))  # the same at 32 px
        features[f"stage{number}"] = nn.Sequential(*layers)
    features["flatten"] = nn.Flatten()
    return assemble(features, channels, num_classes, hidden, dropout)
