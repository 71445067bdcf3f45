"""NaR with a random forest: what the forest may know, when, and what survives a checkpoint."""

import torch

from labelreg.data import Loader, load
from labelreg.experiment import Experiment
from labelreg.methods import ForestAsRegularization
from labelreg.networks import build
from labelreg.running import train


def an_epoch(method: ForestAsRegularization, network, loader: Loader, epoch: int) -> list[torch.Tensor]:
    method.start_epoch(epoch)
    return [method.step(network, batch).loss for batch in loader.epoch(epoch)]


def prepared() -> tuple[ForestAsRegularization, torch.nn.Module, Loader]:
    """A method that has collected the samples in a first epoch."""
    data = load("digits", subset=100)
    torch.manual_seed(0)
    network = build("mlp", 10)
    return ForestAsRegularization(10), network, Loader(data.train, 32, mean=data.mean, std=data.std)


def test_the_first_epoch_has_plain_labels_and_collects_every_sample():
    method, network, loader = prepared()
    losses = an_epoch(method, network, loader, 0)
    batches = list(loader.epoch(0))
    plain = [torch.nn.functional.cross_entropy(network(each.inputs), each.targets) for each in batches]
    torch.testing.assert_close(torch.stack(losses), torch.stack(plain))
    for batch in batches:
        assert torch.equal(method.inputs[batch.indices], batch.inputs)
        assert torch.equal(method.targets[batch.indices], batch.targets)


def test_predictions_are_distributions_that_do_not_know_the_samples_own_label():
    method, network, loader = prepared()
    an_epoch(method, network, loader, 0)
    method.start_epoch(60)
    shares = method.predictions
    torch.testing.assert_close(shares.sum(1), torch.ones(100))
    right = (shares.argmax(1) == method.targets).nonzero()[0, 0]  # a sample that the forest knows
    wrong = (method.targets[right] + 1) % 10
    method.targets[right] = wrong
    method.start_epoch(60)  # the same forest but for one wrong label
    assert method.predictions[right].argmax() != wrong


def test_a_sample_seen_by_every_tree_gets_a_uniform_prediction():
    method, network, loader = prepared()
    an_epoch(method, network, loader, 0)
    method.start_epoch(1)  # one tree has seen about two thirds of the samples
    uniform = (method.predictions == 0.1).all(1)
    assert 40 < uniform.sum() < 85


def test_loss_is_that_of_the_disturbed_labels():
    method, network, loader = prepared()
    an_epoch(method, network, loader, 0)
    method.start_epoch(20)
    batch = next(iter(loader.epoch(1)))
    step = method.step(network, batch)
    probabilities = step.logits.softmax(1).detach()
    disturbance = 0.1 * probabilities + 0.9 * method.predictions[batch.indices]
    labels = 0.5 * torch.eye(10)[batch.targets] + 0.5 * disturbance
    expected = -(labels * step.logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(step.loss, expected)


def test_it_resists_wrong_labels_better_than_the_baseline():
    settings = {"subset": 200, "epochs": 20, "label_noise": 0.3}
    plain, forest = (
        train(Experiment(method=method).at("quick", **settings)).result.last["test_error"]
        for method in ("cross_entropy", "forest_as_regularization")
    )
    assert forest < plain - 0.03
