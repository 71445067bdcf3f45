"""PyTorch's default device is the caller's: what belongs on another is made there."""

import numpy as np
import pytest
import torch

from labelreg import metrics
from labelreg.data import Loader, hold_out, load, redraw_labels
from labelreg.experiment import Experiment
from labelreg.methods import StochasticBatchAugmentation
from labelreg.observers import OBSERVERS
from labelreg.running import train

SHORT = {"subset": 100, "epochs": 1, "network_options": {"hidden": (16,)}}
NEEDS = {"vote": "stochastic_batch_augmentation", "disturbed_labels": "network_as_regularization"}


@pytest.fixture
def elsewhere():
    """A device whose tensors have no values, so that one that is made there by mistake is of no use."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_data_are_made_on_the_cpu(elsewhere):
    for name in ("toy", "digits", "pydoc", "docstrings"):
        dataset = load(name)
        assert {each.device.type for each in (dataset.mean, dataset.train.inputs, dataset.test.targets)} == {"cpu"}
    digits = load("digits", subset=100)
    rest, held = hold_out(digits.train, 0.2, seed=0)
    noisy = redraw_labels(rest, 0.5, 10, seed=0)
    loader = Loader(noisy, 16, mean=digits.mean, std=digits.std, augmentation="cutout3", views={"partner"}, copies=2)
    assert all(batch.partner.isfinite().all() for batch in loader.epoch(0))
    assert len(held) == 20


def test_metrics_follow_their_arguments(elsewhere):
    logits = torch.randn(20, 10, device="cpu")
    targets = torch.arange(20, device="cpu") % 10
    for metric in (metrics.negative_log_likelihood, metrics.variance_ratio, metrics.fit_temperature):
        assert metric(logits, targets) > 0
    assert metrics.summarise(logits, targets).keys() == {"error", "top5_error", "nll", "ece"}
    assert 0 <= metrics.recall_at_1(logits, targets) <= 1
    assert sum(metrics.reliability_diagram(logits.softmax(1), targets).count) == 20


def test_a_step_of_sba_draws_where_its_numbers_belong(elsewhere):
    method = StochasticBatchAugmentation(layers="a,b")
    assert {method.augmented_layer(step) for step in range(60)} == {None, "a", "b"}


@pytest.mark.parametrize("observer", sorted(OBSERVERS.keys() - {"residual_labels", "residual_divergence"}))
def test_a_run_is_the_same(observer, elsewhere):
    experiment = Experiment(**SHORT, method=NEEDS.get(observer, "cross_entropy"), observe=observer)
    seen = train(experiment, device="cpu").result
    torch.set_default_device(None)
    expected = train(experiment, device="cpu").result
    for name in expected.history.keys() - {"seconds"}:
        assert seen.history[name] == expected.history[name]
    for name, values in expected.observations.items():
        np.testing.assert_array_equal(seen.observations[name], values)
