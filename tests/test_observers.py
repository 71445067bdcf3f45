"""What is watched during training, against a second computation."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from labelreg import observers
from labelreg.experiments import Experiment, train

SHORT = {"subset": 100, "epochs": 2, "schedule": "one_cycle"}


@pytest.fixture(scope="module")
def watched():
    names = ("class_distributions", "residual_labels", "residual_divergence")
    return train(Experiment(**SHORT, method="knowledge_refinery", observe=names))


@pytest.fixture(scope="module")
def predicted(watched):
    """Softmax and residual output of every training sample, with the class cut out, and the labels."""
    dataset = watched.dataset
    inputs = (dataset.train.inputs - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)
    with torch.no_grad():
        soft = watched.network.eval()(inputs).double().softmax(1).numpy()
    targets = dataset.train.targets.numpy()
    residual = soft.copy()
    residual[np.arange(len(targets)), targets] = 0
    return soft, residual / residual.sum(1, keepdims=True), targets


def test_every_observer_is_there_every_epoch(watched):
    shapes = {name: values.shape for name, values in watched.result.observations.items()}
    assert shapes == {
        "soft_labels": (2, 10, 10),
        "residual_outputs": (2, 10, 10),
        "residual_labels": (2, 10, 10),
        "residual_divergence": (2,),
    }


@pytest.mark.parametrize(("name", "index"), [("soft_labels", 0), ("residual_outputs", 1)])
def test_class_distributions_are_means_over_the_class(watched, predicted, name, index):
    targets = predicted[2]
    expected = np.stack([predicted[index][targets == k].mean(0) for k in range(10)])
    np.testing.assert_allclose(watched.result.observations[name][-1], expected, atol=1e-6)


def test_residual_labels_are_those_of_the_method(watched):
    expected = watched.method.residual_labels().numpy()
    np.testing.assert_array_equal(watched.result.observations["residual_labels"][-1], expected)
    assert not np.array_equal(*watched.result.observations["residual_labels"])


def test_residual_divergence_is_the_mean_jensen_shannon_divergence(watched, predicted):
    _, residual, targets = predicted
    learned = watched.method.residual_labels().numpy()[targets]
    expected = (jensenshannon(residual, learned, axis=1) ** 2).mean()
    np.testing.assert_allclose(watched.result.observations["residual_divergence"][-1], expected, rtol=1e-4)


def test_watching_changes_nothing(watched):
    plain = train(Experiment(**SHORT, method="knowledge_refinery"))
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, watched.network.state_dict()[name])


def test_looks_at_a_bounded_number_of_samples(watched, monkeypatch):
    monkeypatch.setattr(observers, "SAMPLES", 30)
    bounded = train(Experiment(**SHORT, observe=("class_distributions",)))
    targets = bounded.dataset.train.targets[:30]
    empty = [k for k in range(10) if k not in targets]
    sums = bounded.result.observations["soft_labels"][-1].sum(1)
    np.testing.assert_allclose(sums, [0.0 if k in empty else 1.0 for k in range(10)], atol=1e-5)


@pytest.mark.parametrize("name", ["residual_labels", "residual_divergence"])
def test_a_method_without_residual_labels_is_named(name):
    with pytest.raises(ValueError, match="CrossEntropy learns no residual labels"):
        train(Experiment(**SHORT, observe=(name,)))
