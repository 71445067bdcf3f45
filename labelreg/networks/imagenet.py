"""Networks for 224 px images: torchvision's, with random weights and torchvision's own initialisation.

Their pooling is adaptive, so they take images of any size from the smallest given here. Parameters for 1000 classes:

    ResNet-10, 18      5.4 M, 11.7 M    He et al. (2016), Table 1; ResNet-10 is ResNet-18 with one block per stage
    ResNet-50          25.6 M           the stride is in the 3x3 convolutions, as in the next two
    ResNet-101, 152    44.5 M, 60.2 M
    DenseNet-121       8.0 M            Huang et al. (2017), Table 1
    VGG-16             138.4 M          Simonyan and Zisserman (2015), configuration D, without batch normalisation
    AlexNet            61.1 M           Krizhevsky (2014)
"""

import functools

from torch import nn

from labelreg.networks.registry import ImageSize, register

SMALLEST_IMAGES = dict.fromkeys(("resnet10", "resnet18", "resnet50", "resnet101", "resnet152"), 1)
SMALLEST_IMAGES |= {"densenet121": 29, "vgg16": 32, "alexnet": 63}


def imagenet_network(architecture: str, num_classes: int, input_shape: ImageSize = (3, 224, 224)) -> nn.Module:
    """Build the network that torchvision calls ``architecture``, or ResNet-10, which torchvision has no name for."""
    if input_shape[0] != 3:
        raise ValueError(f"imagenet_{architecture} takes images of 3 channels, got input_shape {input_shape}")
    from torchvision.models import get_model, resnet  # slow to import

    if architecture == "resnet10":
        return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    return get_model(architecture, weights=None, num_classes=num_classes)


for _architecture, _smallest in SMALLEST_IMAGES.items():
    register(f"imagenet_{_architecture}", _smallest)(functools.partial(imagenet_network, _architecture))
