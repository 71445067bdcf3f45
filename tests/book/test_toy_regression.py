"""The toy regression of NaR figure 3."""

import pytest
import torch

from labelreg.book.toy_regression import _ensemble, disturb_regression
from labelreg.data import load
from labelreg.networks import build


@pytest.fixture(scope="module")
def toy():
    return load("toy")


def test_an_ensemble_computes_what_its_members_would():
    torch.manual_seed(0)
    _, ensemble = _ensemble(4, 7)
    torch.manual_seed(0)
    members = [build("mlp", 1, input_shape=(1,), hidden=(7,)) for _ in range(4)]
    inputs = torch.randn(5, 1)
    torch.testing.assert_close(ensemble(inputs), torch.stack([member(inputs) for member in members]))


def test_runs_repeat_and_differ_from_each_other(toy):
    settings = {"runs": 2, "epochs": 30, "every": 30}
    torch.manual_seed(3)
    once, again = (disturb_regression(toy, **settings).targets for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.allclose(once[-1, 0], once[-1, 1])


def test_without_disturbance_the_targets_are_the_observations(toy):
    runs = disturb_regression(toy, runs=2, lam=0.0, epochs=10, every=5)
    assert (runs.epochs.tolist(), runs.losses.shape, runs.outputs.shape) == ([0, 5, 10], (3, 2), (3, 2, 200))
    torch.testing.assert_close(runs.targets, toy.train.targets.squeeze(1).expand(3, 2, 20), rtol=1e-4, atol=1e-3)


def test_disturbance_is_large_at_first_and_then_small_but_for_outliers(toy):
    runs = disturb_regression(toy)
    disturbance = (runs.targets - toy.train.targets.squeeze(1)).abs().mean(1)
    assert disturbance[0].mean() > 4 * disturbance[-1].mean()
    outliers = (toy.train.targets - toy.train.inputs**3).abs().squeeze(1)
    largest, smallest = outliers.topk(5).indices, (-outliers).topk(5).indices
    assert disturbance[-1][largest].mean() > 2 * disturbance[-1][smallest].mean()
    assert runs.losses[-1].mean() < 0.05 * runs.losses[0].mean()
    # where there are points, the curve is close to the one without noise
    near = toy.test.inputs.squeeze(1).abs() < 3
    errors = (runs.outputs - toy.test.targets.squeeze(1)).abs()[..., near].mean((1, 2))
    assert errors[-1] < 0.2 * errors[0]
