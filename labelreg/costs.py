"""What a training step costs, in counted floating-point operations: times depend on the machine, counts do not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labelreg.data import Batch
from labelreg.methods import Method
from labelreg.networks import inject


def step_operations(method: Method, network: nn.Module, batch: Batch) -> int:
    """Count the floating-point operations of a training step, forward and backward, without the optimizer.

    Matrix products and convolutions are counted, which leaves little out. The step is made once before, uncounted,
    since a method may look at the network first.

    Args:
        method: how the batch becomes a loss.
        network: what is trained; it gets gradients, and nothing is updated.
        batch: with the views that the method asks for.
    """
    method.step(network, batch)
    with FlopCounterMode(display=False) as counter:
        method.step(network, batch).loss.backward()
    return counter.get_total_flops()


@torch.no_grad()
def share_behind(network: nn.Module, inputs: Tensor, layer: str) -> float:
    """Return the share of a forward pass's operations that lie behind a layer, in [0, 1] (rho).

    Args:
        network: any network.
        inputs: (B, ...), whatever it takes.
        layer: one of :func:`labelreg.networks.injectable`, or empty for the input of the classifier's MLP.

    Raises:
        ValueError: what :func:`labelreg.networks.inject` raises.
    """
    counts = []
    for copies in (1, 2):
        with FlopCounterMode(display=False) as counter:
            inject(network, inputs, layer, lambda activations, copies=copies: torch.cat([activations] * copies))
        counts.append(counter.get_total_flops())
    return counts[1] / counts[0] - 1
