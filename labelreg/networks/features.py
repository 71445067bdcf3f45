"""Find a network's classifier and features, and count its parameters."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def classifier(network: nn.Module) -> nn.Linear:
    """Return the layer that maps features (B, D) to logits (B, K): the last ``nn.Linear`` of the network."""
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(f"{type(network).__name__} has no nn.Linear, so it has no classifier to be found")
    return linears[-1]


def uncompiled() -> AbstractContextManager:
    """Return a context in which compiled networks run uncompiled: compiled, they would not run our hooks."""
    possible = "torch._dynamo" in sys.modules and not torch.compiler.is_compiling()  # else nothing has been compiled
    return torch.compiler.set_stance("force_eager") if possible else nullcontext()


def features(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (B, K) and the penultimate features (B, D) of one forward pass.

    Both carry a gradient and have the dtype of the forward pass (bfloat16 under autocast). In training mode, dropout
    has been applied to the features. A compiled network runs uncompiled. A network that does not call its last
    ``nn.Linear`` raises ``RuntimeError``.
    """
    captured = []
    hook = classifier(network).register_forward_pre_hook(lambda module, arguments: captured.append(arguments[0]))
    try:
        with uncompiled():
            logits = network(inputs)
    finally:
        hook.remove()
    if not captured:
        raise RuntimeError(f"{type(network).__name__} did not call its last nn.Linear, so it is not its classifier")
    return logits, captured[-1]


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable scalars, without the statistics of batch normalisation."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
