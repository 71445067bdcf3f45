"""Change the activations of a layer in the middle of a forward pass, in any network.

A layer is named as in ``network.named_modules()``, and its activations are its output. The empty name stands for the
input of the network's final MLP, that is, of the first of the fully connected layers at its end. In the networks
written here this is the output of ``features``; in torchvision's it is often not the output of any module.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from labelreg.names import unknown
from labelreg.networks.features import classifier, uncompiled
from labelreg.networks.language_model import reset_state

# what may lie between the fully connected layers of an MLP: layers that act on each unit separately
_UNITWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Dropout)


def inject(network: nn.Module, inputs: Tensor, layer: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the network's output when the activations of a layer are changed.

    The layer must be called exactly once in a forward pass; one that does not exist raises ``AttributeError``.
    ``change`` maps the activations to a new tensor, which the rest of the network gets.
    """
    calls = 0

    def changed(activations):
        nonlocal calls
        calls += 1
        return change(activations)

    if layer:
        hook = network.get_submodule(layer).register_forward_hook(lambda module, arguments, output: changed(output))
    else:
        first = _first_fully_connected(network)
        hook = first.register_forward_pre_hook(lambda module, arguments: changed(*arguments))
    try:
        with uncompiled():
            outputs = network(inputs)
    finally:
        hook.remove()
    if calls != 1:
        raise ValueError(f"layer {layer!r} is called {calls} times in a forward pass, not once")
    return outputs


def injectable(network: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """Find the layers whose activations can be replaced by a larger batch, and the activations' shapes per sample.

    Each layer is tried in a copy of the network, in evaluation mode and with two of the inputs: doubling the batch of
    its activations must double the logits. This fails in a branch whose output is joined to another's, and for a layer
    that is not called exactly once. A container and its last layer are both listed, in order of registration.
    """
    return _shapes_if_doubled(network, inputs, [name for name, _ in network.named_modules() if name])


def check_injectable(network: nn.Module, inputs: Tensor, layer: str) -> None:
    """Check that a layer is one of :func:`injectable`; if not, the ``ValueError`` lists those that are."""
    if _shapes_if_doubled(network, inputs, [layer]):
        return
    possible = injectable(network, inputs)
    if layer not in dict(network.named_modules()):
        raise unknown("layer of the network", layer, possible)
    raise ValueError(
        f"the activations of layer {layer!r} cannot be replaced by a larger batch: it lies in a branch that is joined "
        f"to another, or is not called exactly once; choose one of {', '.join(possible)}"
    )


def _shapes_if_doubled(network: nn.Module, inputs: Tensor, layers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shape of the activations of those layers where doubling them doubles the logits."""
    network = copy.deepcopy(network).eval()
    inputs = torch.cat((inputs, inputs))[:2]  # two samples: a single one would be broadcast where branches are joined
    shapes = []

    def double(activations: Tensor) -> Tensor:
        shapes.append(tuple(activations.shape[1:]))
        return torch.cat((activations, activations))

    def run(layer: str, change: Callable[[Tensor], Tensor]) -> Tensor:
        reset_state(network)
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            return inject(network, inputs, layer, change)

    expected = run("", lambda activations: activations).repeat(2, 1)
    tolerance = 1e-2 * expected.abs().max().item()  # the rounding depends on the number of rows
    found = {}
    for layer in layers:
        try:
            doubled = run(layer, double)
        except Exception:  # networks may fail in any way
            continue
        if doubled.shape == expected.shape and torch.allclose(doubled, expected, rtol=0, atol=tolerance):
            found[layer] = shapes[-1]
    return found


def _first_fully_connected(network: nn.Module) -> nn.Linear:
    """The first layer of the final MLP, which may be the classifier itself."""
    leaves = [module for module in network.modules() if not list(module.children())]
    first = classifier(network)
    for module in reversed(leaves[: leaves.index(first)]):
        if isinstance(module, nn.Linear):
            first = module
        elif not isinstance(module, _UNITWISE):
            break
    return first
