"""NaR with a random forest: what the forest may know, when, and what survives a checkpoint."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from labelreg.data import Loader, load
from labelreg.experiment import Experiment
from labelreg.methods import ForestAsRegularization
from labelreg.networks import build
from labelreg.running import train


@pytest.fixture
def collected():
    """A network, the method after a first epoch, its losses, and the batches of that epoch."""
    data = load("digits", subset=100)
    torch.manual_seed(0)
    network, method = build("mlp", 10), ForestAsRegularization(10)
    batches = list(Loader(data.train, 32, mean=data.mean, std=data.std).epoch(0))
    method.start_epoch(0)
    return network, method, [method.step(network, batch).loss for batch in batches], batches


def test_the_first_epoch_has_plain_labels_and_collects_every_sample(collected):
    network, method, losses, batches = collected
    for loss, batch in zip(losses, batches, strict=True):
        torch.testing.assert_close(loss, cross_entropy(network(batch.inputs), batch.targets))
        assert torch.equal(method.inputs[batch.indices], batch.inputs)
        assert torch.equal(method.targets[batch.indices], batch.targets)


def test_predictions_are_distributions_that_do_not_know_the_samples_own_label(collected):
    method = collected[1]
    method.start_epoch(60)
    shares = method.predictions
    torch.testing.assert_close(shares.sum(1), torch.ones(100))
    right = (shares.argmax(1) == method.targets).nonzero()[0, 0]  # a sample that the forest knows
    wrong = (method.targets[right] + 1) % 10
    method.targets[right] = wrong
    method.start_epoch(60)  # the same forest but for one wrong label
    assert method.predictions[right].argmax() != wrong


def test_a_sample_seen_by_every_tree_gets_a_uniform_prediction(collected):
    method = collected[1]
    method.start_epoch(1)  # one tree has seen about two thirds of the samples
    uniform = (method.predictions == 0.1).all(1)
    assert 40 < uniform.sum() < 85


def test_loss_is_that_of_the_disturbed_labels(collected):
    network, method, _, (batch, *_) = collected
    method.start_epoch(20)
    step = method.step(network, batch)
    probabilities = step.logits.softmax(1).detach()
    disturbance = 0.1 * probabilities + 0.9 * method.predictions[batch.indices]
    labels = 0.5 * torch.eye(10)[batch.targets] + 0.5 * disturbance
    torch.testing.assert_close(step.loss, cross_entropy(step.logits, labels))


def test_it_resists_wrong_labels_better_than_the_baseline():
    settings = {"subset": 200, "epochs": 20, "label_noise": 0.3}
    plain, forest = (
        train(Experiment(method=method).at("quick", **settings)).result.last["test_error"]
        for method in ("cross_entropy", "forest_as_regularization")
    )
    assert forest < plain - 0.03
