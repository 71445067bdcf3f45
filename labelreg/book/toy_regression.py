"""Network as Regularization for regression: all runs of the toy experiment at once (NaR, figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labelreg.data import Dataset
from labelreg.methods.nar import nar_regression_targets
from labelreg.networks import build


@dataclass(frozen=True)
class DisturbedRegression:
    """Targets of a regression under Network as Regularization (NaR), recorded during training.

    Attributes:
        epochs: (S,) int64, the recorded epochs.
        targets: (S, R, N) float, the disturbed targets of N training points in R runs.
        predictions: (S, R, M) float, the target network's outputs at the M test points.
        losses: (S, R) float, mean squared error of the target network on the undisturbed training targets.
    """

    epochs: Tensor
    targets: Tensor
    predictions: Tensor
    losses: Tensor


def disturb_regression(
    dataset: Dataset,
    runs: int = 5,
    lam: float = 0.5,
    alpha: float = 0.1,
    hidden: int = 50,
    auxiliary_hidden: int = 20,
    epochs: int = 300,
    every: int = 50,
    learning_rate: float = 0.03,
    seed: int = 0,
) -> DisturbedRegression:
    """Train target and auxiliary networks on disturbed and plain targets, all runs as one batched computation.

    Every epoch is one step of Adam on all training points; inputs and targets are standardised for training and given
    back in their own units. The runs differ in the initial parameters of both networks.

    Args:
        dataset: a regression with inputs (N, 1) and targets (N, 1).
        runs: R.
        lam: weight of the predictions in the targets (NaR, equation 4).
        alpha: weight of the target network's own prediction among them (NaR, equation 3).
        hidden: hidden units of the target network.
        auxiliary_hidden: hidden units of the auxiliary network.
        epochs: length of training.
        every: epochs between two records; the first is made before training.
        learning_rate: of Adam; the paper names no optimizer.
        seed: of the initial parameters.
    """
    inputs, targets = (_standardise(values) for values in (dataset.train.inputs, dataset.train.targets))
    center, scale = dataset.train.targets.mean(), dataset.train.targets.std()
    test_inputs = (dataset.test.inputs - dataset.train.inputs.mean()) / dataset.train.inputs.std()
    torch.manual_seed(seed)
    target_networks, auxiliary_networks = _Ensemble(runs, hidden), _Ensemble(runs, auxiliary_hidden)
    optimizer = torch.optim.Adam([*target_networks.parameters(), *auxiliary_networks.parameters()], lr=learning_rate)
    recorded: list[tuple[Tensor, Tensor, Tensor]] = []
    for epoch in range(epochs + 1):
        outputs, auxiliary_outputs = target_networks(inputs), auxiliary_networks(inputs)
        disturbed = nar_regression_targets(outputs, auxiliary_outputs, targets.expand_as(outputs), lam, alpha)
        if epoch % every == 0:
            with torch.no_grad():
                recorded.append((disturbed, target_networks(test_inputs), (outputs - targets).square().mean((1, 2))))
        # summed over runs: each has parameters, and so a gradient, of its own
        loss = (outputs - disturbed).square().mean((1, 2)).sum()
        loss = loss + (auxiliary_outputs - targets).square().mean((1, 2)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    disturbed, predictions, losses = (torch.stack(each) for each in zip(*recorded, strict=True))
    return DisturbedRegression(
        epochs=torch.arange(0, epochs + 1, every),
        targets=disturbed.squeeze(-1) * scale + center,
        predictions=predictions.squeeze(-1) * scale + center,
        losses=losses * scale**2,
    )


def _standardise(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()


class _Ensemble(nn.Module):
    """R small networks whose layers are stacked, so that one batched product does the work of R."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        members = [build("mlp", 1, input_shape=(1,), hidden=(hidden,)) for _ in range(size)]
        layers = zip(
            *([layer for layer in each.modules() if isinstance(layer, nn.Linear)] for each in members), strict=True
        )
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in layers:
            self.weights.append(torch.stack([each.weight.detach().T for each in layer]))
            self.biases.append(torch.stack([each.bias.detach()[None] for each in layer]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (R, N, 1) for inputs (N, 1)."""
        first, second = zip(self.weights, self.biases, strict=True)
        hidden = torch.baddbmm(first[1], inputs.expand(len(first[0]), -1, -1), first[0]).relu()
        return torch.baddbmm(second[1], hidden, second[0])
