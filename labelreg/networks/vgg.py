"""VGG networks: Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image recognition"."""

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import register


@register("vgg16", smallest_image=16)
def vgg16(
    num_classes: int,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    batch_norm: bool = True,
    hidden: tuple[int, ...] = (512, 512),
    dropout: float = 0.5,
) -> nn.Module:
    """VGG-16 (configuration D) for 32 px: thirteen 3x3 convolutions and three fully connected layers.

    15.29 M parameters on CIFAR-100. At 32 px the convolutions leave 512 features of one pixel each, for which hidden
    layers 4096 wide would be out of proportion; the default is 512.

    Args:
        num_classes: the number of outputs K.
        input_shape: (C, H, W). The last max-pooling takes whatever remains to one pixel, at 32 px the usual 2x2.
        batch_norm: whether batch normalisation follows each convolution, instead of a bias. Without it the learning
            rate must be small (0.02), and the loss stays where it started for a few hundred steps.
        hidden: the widths of the hidden fully connected layers. () leaves the single linear layer of many CIFAR
            versions (14.77 M); (4096, 4096) are the original's, which the code of Batch Augmentation keeps (34.01 M).
        dropout: the probability that a hidden unit is dropped.
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
        layers.append(nn.AdaptiveMaxPool2d(1) if number == 5 else nn.MaxPool2d(2))
        features[f"stage{number}"] = nn.Sequential(*layers)
    features["flatten"] = nn.Flatten()
    return assemble(features, channels, num_classes, hidden, dropout)
