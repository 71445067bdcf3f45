"""Network as Regularization for regression: all runs of the toy experiment at once (NaR, figure 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from labelreg.data import Dataset
from labelreg.methods.nar import nar_regression_targets
from labelreg.networks import build

HIDDEN, AUXILIARY_HIDDEN = 50, 20  # units of the target and of the auxiliary network
LEARNING_RATE = 0.03


@dataclass(frozen=True)
class DisturbedRegression:
    """Targets of a regression under Network as Regularization (NaR), recorded during training.

    Attributes:
        epochs: (S,) int64, the recorded epochs.
        targets: (S, R, N) float, the disturbed targets of N training points in R runs.
        losses: (S, R) float, mean squared error of the target network on the undisturbed training targets.
        outputs: (S, R, M) float, the target network's outputs at the M test inputs.
    """

    epochs: Tensor
    targets: Tensor
    losses: Tensor
    outputs: Tensor


def disturb_regression(
    dataset: Dataset, runs: int = 5, lam: float = 0.5, alpha: float = 0.1, epochs: int = 300, every: int = 50
) -> DisturbedRegression:
    """Train target and auxiliary networks on disturbed and plain targets, all runs as one batched computation.

    Every epoch is one step of Adam (the paper names no optimizer) on all training points. Inputs and targets are
    standardised for training, and results are returned in the original units. The runs differ in the initial parameters
    of both networks. (The runs on digits are not batched: eight at once take 0.7 to 0.8 of the processor time of eight
    in sequence, and two processes gain more.)

    Args:
        dataset: a regression with inputs (N, 1) and targets (N, 1).
        runs: R.
        lam, alpha: weight of the predictions in the targets (NaR, equation 4), and of the target network's own
            prediction among them (NaR, equation 3).
        epochs, every: length of training, and epochs between two records; the first record is made before training.
    """
    center, scale = dataset.train.targets.mean(), dataset.train.targets.std()
    targets = (dataset.train.targets - center) / scale
    mean, deviation = dataset.train.inputs.mean(), dataset.train.inputs.std()
    inputs, test_inputs = ((split.inputs - mean) / deviation for split in (dataset.train, dataset.test))
    torch.manual_seed(0)
    parameters, network = _ensemble(runs, HIDDEN)
    auxiliary_parameters, auxiliary = _ensemble(runs, AUXILIARY_HIDDEN)
    optimizer = torch.optim.Adam([*parameters, *auxiliary_parameters], lr=LEARNING_RATE)
    recorded: list[tuple[Tensor, Tensor, Tensor]] = []
    for epoch in range(epochs + 1):
        outputs, auxiliary_outputs = network(inputs), auxiliary(inputs)
        disturbed = nar_regression_targets(outputs, auxiliary_outputs, targets.expand_as(outputs), lam, alpha)
        if epoch % every == 0:
            error = (outputs.detach() - targets).square().mean((1, 2))
            recorded.append((disturbed, error, network(test_inputs).detach()))
        # summed over runs, which is possible because each has its own parameters, and so its own gradient
        loss = (outputs - disturbed).square().mean((1, 2)).sum()
        loss = loss + (auxiliary_outputs - targets).square().mean((1, 2)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    disturbed, losses, curves = (torch.stack(each) for each in zip(*recorded, strict=True))
    return DisturbedRegression(
        epochs=torch.arange(0, epochs + 1, every),
        targets=disturbed.squeeze(-1) * scale + center,
        losses=losses * scale**2,
        outputs=curves.squeeze(-1) * scale + center,
    )


def _ensemble(size: int, hidden: int) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """Return the stacked parameters of R networks, and the function from inputs (N, 1) to their outputs (R, N, 1)."""
    members = [build("mlp", 1, input_shape=(1,), hidden=(hidden,)) for _ in range(size)]
    stacked, _ = stack_module_state(members)
    return [*stacked.values()], lambda inputs: vmap(lambda each: functional_call(members[0], each, inputs))(stacked)
