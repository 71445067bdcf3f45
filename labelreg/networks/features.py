"""Looking into any network: its classifier, the features that go into it, its size.

Every network ends in an `nn.Linear` that is both the last one registered and the last module called. In the networks
written here it is `network.classifier`; torchvision's call it `fc` (ResNet), `classifier` (DenseNet) or `classifier.6`
(VGG, AlexNet). The functions below find it in all of them.
"""

from torch import Tensor, nn


def classifier(network: nn.Module) -> nn.Linear:
    """The layer that turns features (B, D) into logits (B, K): the last `nn.Linear` registered in the network.

    Raises:
        ValueError: if the network has no `nn.Linear`.
    """
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(f"{type(network).__name__} has no nn.Linear, so it has no classifier to be found")
    return linears[-1]


def features(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass that also returns the penultimate features.

    Args:
        network: any network whose last layer is an `nn.Linear`.
        inputs: (B, ...), whatever the network takes.

    Returns:
        The logits (B, K) and the features (B, D) that the classifier turned into them. Both carry gradient, and both
        have the dtype of the forward pass (bfloat16 under autocast). While a network with dropout is being trained, its
        features are those after dropout.

    Raises:
        ValueError: if the network has no `nn.Linear`.
        RuntimeError: if the forward pass does not call the last one.
    """
    captured = []
    hook = classifier(network).register_forward_pre_hook(lambda module, arguments: captured.append(arguments[0]))
    try:
        logits = network(inputs)
    finally:
        hook.remove()
    if not captured:
        raise RuntimeError(f"{type(network).__name__} did not call its last nn.Linear, so it is not its classifier")
    return logits, captured[-1]


def count_parameters(network: nn.Module) -> int:
    """The number of learnable scalars; batch-normalisation statistics are not among them."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
