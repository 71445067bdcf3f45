"""Changing the activations of one layer in the middle of a forward pass, whatever the network.

A layer goes by its name in ``network.named_modules()``, and its activations are what it returns. The empty name stands
for the input of the classifier's MLP: of the first of the fully connected layers that the network ends in. In networks
written here that is the output of `features`; in torchvision's it is often no module's output.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from labelreg.checks import unknown
from labelreg.networks.features import classifier
from labelreg.networks.language_model import reset_state

# what may lie between the fully connected layers of an MLP: it treats every unit by itself
_UNITWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Dropout)


def inject(network: nn.Module, inputs: Tensor, layer: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """One forward pass in which the activations of a layer are changed on their way.

    Args:
        network: any network.
        inputs: whatever the network takes.
        layer: which activations; empty for the input of the classifier's MLP.
        change: takes the activations and returns what the rest of the network shall work on, a new tensor.

    Returns:
        What the network returns.

    Raises:
        AttributeError: the network has no such layer.
        ValueError: the layer is not called exactly once.
    """
    calls = 0

    def changed(activations):
        nonlocal calls
        calls += 1
        return change(activations)

    if layer:
        module = network.get_submodule(layer)
        hook = module.register_forward_hook(lambda module, arguments, output: changed(output))
    else:
        module = _first_fully_connected(network)
        hook = module.register_forward_pre_hook(lambda module, arguments: changed(*arguments))
    try:
        outputs = network(inputs)
    finally:
        hook.remove()
    if calls != 1:
        raise ValueError(f"layer {layer!r} is called {calls} times in a forward pass, not once")
    return outputs


def tail(network: nn.Module, inputs: Tensor, layer: str, activations: Tensor) -> Tensor:
    """The end of a forward pass, from given activations of a layer on.

    Networks are opaque, so what comes before the layer runs too, on a single sample, in evaluation mode and for
    nothing. A network that carries a state from one call to the next is changed by that.

    Args:
        network: any network; the modules behind the layer run in the modes they are in.
        inputs: (B, ...), the first of which is that sample.
        layer: which activations; empty for the input of the classifier's MLP.
        activations: (B', ...) in their place, for any number of rows.

    Returns:
        What the network returns for the activations, (B', K).
    """
    modes = [(module, module.training) for module in network.modules()]

    def begin(_):
        for module, mode in modes:
            module.training = mode
        return activations

    try:
        for module, _ in modes:
            module.training = False
        return inject(network, inputs[:1], layer, begin)
    finally:
        begin(None)


def injectable(network: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """Find the layers whose activations can be given more rows than the network has inputs.

    Each is tried: twice the activations must give twice the logits. That fails inside a branch whose output is joined
    to that of another, and where a layer is called several times or not at all.

    Args:
        network: any network; a copy is tried, in evaluation mode.
        inputs: (B, ...), of which two samples are taken.

    Returns:
        Name to the shape of one sample's activations, in the order in which the layers are registered. A container and
        its last layer have the same activations, under two names.
    """
    shape_if_doubled = _trial(network, inputs)
    shapes = {name: shape_if_doubled(name) for name, _ in network.named_modules() if name}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def check_injectable(network: nn.Module, inputs: Tensor, layer: str) -> None:
    """Check that the activations of a layer can be given more rows, see :func:`injectable`.

    Raises:
        ValueError: they cannot, or there is no such layer; the message says which can.
    """
    exists = layer in dict(network.named_modules())
    if exists and _trial(network, inputs)(layer) is not None:
        return
    possible = injectable(network, inputs)
    if not exists:
        raise unknown("layer of the network", layer, possible)
    raise ValueError(
        f"layer {layer!r} cannot be given more rows: it lies in a branch that is joined to another, or is not called "
        f"exactly once in a forward pass; possible are {', '.join(possible)}"
    )


def _trial(network: nn.Module, inputs: Tensor) -> Callable[[str], tuple[int, ...] | None]:
    """Make a function that doubles the activations of a layer, and returns a sample's shape if that doubles the logits.

    Two samples, since the activations of a single one would be broadcast where branches are joined.
    """
    network = copy.deepcopy(network).eval()
    inputs = torch.cat((inputs, inputs))[:2]

    def run(layer: str, change: Callable[[Tensor], Tensor]) -> Tensor:
        reset_state(network)
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            return inject(network, inputs, layer, change)

    plain = run("", lambda activations: activations)
    tolerance = 1e-2 * plain.abs().max().item()  # the rounding depends on the number of rows

    def shape_if_doubled(layer: str) -> tuple[int, ...] | None:
        shapes = []

        def double(activations: Tensor) -> Tensor:
            shapes.append(tuple(activations.shape[1:]))
            return torch.cat((activations, activations))

        try:
            doubled = run(layer, double)
        except Exception:  # networks may refuse in any way they like
            return None
        expected = plain.repeat(2, 1)
        fits = doubled.shape == expected.shape and torch.allclose(doubled, expected, rtol=0, atol=tolerance)
        return shapes[0] if fits else None

    return shape_if_doubled


def _first_fully_connected(network: nn.Module) -> nn.Linear:
    """The first layer of the MLP that the network ends in, which is the classifier itself where there is no more."""
    leaves = [module for module in network.modules() if not list(module.children())]
    first = classifier(network)
    for module in reversed(leaves[: leaves.index(first)]):
        if isinstance(module, nn.Linear):
            first = module
        elif not isinstance(module, _UNITWISE):
            break
    return first
