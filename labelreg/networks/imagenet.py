"""Networks for 224 px: torchvision's or of its parts, with random weights and torchvision's own initialisation.

Their poolings adapt, so they take any size from the smallest one given here. The parameter counts are for 1000 classes.
"""

from torch import nn

from labelreg.networks.registry import register


def _torchvision(architecture, num_classes, input_shape):
    _check_colours(architecture, input_shape)
    from torchvision.models import get_model  # torchvision is slow to import and few networks need it

    return get_model(architecture, weights=None, num_classes=num_classes)


def _check_colours(architecture, input_shape):
    if input_shape[0] != 3:
        raise ValueError(f"imagenet_{architecture} takes images of 3 channels, got input_shape {input_shape}")


@register("imagenet_resnet10", smallest_image=1)
def imagenet_resnet10(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """ResNet-10: ResNet-18 with one block a stage instead of two, 5.4 M parameters."""
    _check_colours("resnet10", input_shape)
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


@register("imagenet_resnet18", smallest_image=1)
def imagenet_resnet18(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """ResNet-18 (He et al., 2016, Table 1): 11.7 M parameters."""
    return _torchvision("resnet18", num_classes, input_shape)


@register("imagenet_resnet50", smallest_image=1)
def imagenet_resnet50(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """ResNet-50 (He et al., 2016, Table 1; stride in the 3x3 convolutions): 25.6 M parameters."""
    return _torchvision("resnet50", num_classes, input_shape)


@register("imagenet_resnet101", smallest_image=1)
def imagenet_resnet101(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """ResNet-101 (He et al., 2016, Table 1; stride in the 3x3 convolutions): 44.5 M parameters."""
    return _torchvision("resnet101", num_classes, input_shape)


@register("imagenet_resnet152", smallest_image=1)
def imagenet_resnet152(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """ResNet-152 (He et al., 2016, Table 1; stride in the 3x3 convolutions): 60.2 M parameters."""
    return _torchvision("resnet152", num_classes, input_shape)


@register("imagenet_densenet121", smallest_image=29)
def imagenet_densenet121(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """DenseNet-121 (Huang et al., 2017, Table 1): 8.0 M parameters."""
    return _torchvision("densenet121", num_classes, input_shape)


@register("imagenet_vgg16", smallest_image=32)
def imagenet_vgg16(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """VGG-16 without batch normalisation (Simonyan and Zisserman, 2015, configuration D): 138.4 M parameters."""
    return _torchvision("vgg16", num_classes, input_shape)


@register("imagenet_alexnet", smallest_image=63)
def imagenet_alexnet(num_classes: int, input_shape: tuple[int, int, int] = (3, 224, 224)) -> nn.Module:
    """AlexNet (Krizhevsky, 2014): 61.1 M parameters."""
    return _torchvision("alexnet", num_classes, input_shape)
