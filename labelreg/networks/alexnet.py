"""AlexNet: Krizhevsky (2014), "One weird trick for parallelizing convolutional neural networks"."""

from torch import nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import ImageSize, register
from labelreg.options import FractionBelowOne, Widths


@register("alexnet", smallest_image=13)
def alexnet(
    num_classes: int, input_shape: ImageSize = (3, 32, 32), hidden: Widths = (512, 512), dropout: FractionBelowOne = 0.5
) -> nn.Module:
    """AlexNet for 32 px: five convolutions without batch normalisation and three fully connected layers.

    2.92 M parameters on CIFAR-100. The filters are the original's; padding and pooling are those of
    bearpaw/pytorch-classification, which reports 22.8 % error on CIFAR-10 and 56.1 % on CIFAR-100 with ``hidden=()``.
    Use a small learning rate (0.01); the loss stays at its initial value for a few hundred steps.

    ``hidden`` gives the widths of the hidden fully connected layers, with ``dropout`` after each. With () there is a
    single linear layer (2.50 M); the original has (4096, 4096) (20.71 M).
    """
    features = {
        "stage1": nn.Sequential(nn.Conv2d(input_shape[0], 64, 11, stride=4, padding=5), nn.ReLU(), nn.MaxPool2d(2)),
        "stage2": nn.Sequential(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        "stage3": nn.Sequential(
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            nn.AdaptiveMaxPool2d(1),  # 2x2 at 32 px
        ),
        "flatten": nn.Flatten(),
    }
    return assemble(features, 256, num_classes, hidden, dropout)
