"""The plain convolutional network of Network as Regularization."""

from torch import nn

from labelreg.networks.layers import assemble, convolution
from labelreg.networks.registry import ImageSize, register


@register("plaincnn6", smallest_image=8)
def plaincnn6(num_classes: int, input_shape: ImageSize = (3, 32, 32)) -> nn.Module:
    """PlainCNN-6 (Network as Regularization, Table 1): six convolutions and two fully connected layers.

    2.22 M parameters on CIFAR-100, 1.07 M of them in the fully connected layers. The paper says that most are there.
    As in the published code, there is no ReLU between the second convolution of a stage and the max-pooling.
    """
    channels, height, width = input_shape
    features = {}
    for number, filters in enumerate((64, 128, 256), start=1):
        features[f"stage{number}"] = nn.Sequential(
            *(convolution(channels, filters, 3), nn.BatchNorm2d(filters), nn.ReLU()),
            *(convolution(filters, filters, 3), nn.BatchNorm2d(filters), nn.MaxPool2d(2)),
        )
        channels = filters
    features["flatten"] = nn.Flatten()
    return assemble(features, channels * (height // 8) * (width // 8), num_classes, hidden=(256,))
