"""Network as Regularization in training: snapshots of the auxiliary network, and forests."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.small import gradients, make_batch, make_network
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg import networks
from labelreg.data import Batch, Loader, load
from labelreg.experiment import Experiment
from labelreg.methods import (
    AdversarialTraining,
    CrossEntropy,
    ForestAsRegularization,
    NetworkAsRegularization,
    SnapshotRegularization,
)
from labelreg.methods.forest import forest_error
from labelreg.methods.nar import nar_loss
from labelreg.recipe import Recipe
from labelreg.running import train
from labelreg.training import Trainer


def equal(one: nn.Module, other: nn.Module) -> bool:
    mine = one.state_dict()
    return all(torch.equal(mine[name], value) for name, value in other.state_dict().items())


@pytest.fixture(scope="module")
def digits():
    return load("digits", subset=100)


def make_trainer(method, digits, network=None, epochs=2):
    network = network or build(0)
    torch.manual_seed(2)
    return Trainer(network, method, digits, Recipe(epochs=epochs, batch_size=32, schedule="one_cycle"))


def fit(method, digits, network=None, **recipe):
    trainer = make_trainer(method, digits, network, **recipe)
    trainer.fit()
    return trainer


def build(seed):
    torch.manual_seed(seed)
    return networks.build("mlp", 10, hidden=(16,))


def interrupt(trainer, checkpoint):
    """Stop in the second epoch, with a checkpoint from the end of the first."""

    def stop(row):
        if row["epoch"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trainer.fit(checkpoint, stop)


@pytest.mark.parametrize("make", [NetworkAsRegularization, partial(SnapshotRegularization, interval=2)])
def test_the_auxiliary_is_trained_as_if_it_were_alone(digits, make):
    method = make(build(1))
    fit(method, digits, epochs=3)
    alone = fit(CrossEntropy(), digits, build(1), epochs=3)
    assert equal(method.auxiliary, alone.network)


class TestSnapshots:
    @pytest.mark.parametrize(("direction", "expected"), [("pre", [0, 0, 2, 2, 4]), ("pos", [2, 2, 4, 4, 5])])
    def test_labels_are_disturbed_by_the_snapshot_of_the_direction(self, digits, direction, expected):
        method = SnapshotRegularization(build(1), interval=2, direction=direction)
        for _ in range(2):  # a second time begins anew
            method.auxiliary.load_state_dict(build(1).state_dict())
            method.prepare(lambda network, inner: fit(inner, digits, network.requires_grad_(), epochs=5))
        alone = build(1)
        states = [copy.deepcopy(alone)]  # of an auxiliary trained alone, after 0, 1, ... epochs
        trainer = make_trainer(CrossEntropy(), digits, alone, epochs=5)
        trainer.fit(progress=lambda row: states.append(copy.deepcopy(alone)))

        class Watched(Trainer):
            def step(self, batch):
                epochs.append(self.epoch)
                assert equal(method.snapshots[method.current], states[expected[self.epoch]])
                return super().step(batch)

        epochs = []
        Watched(build(0), method, digits, Recipe(epochs=5, batch_size=32, schedule="one_cycle")).fit()
        assert set(epochs) == set(range(5))

    @pytest.mark.parametrize("direction", ["pre", "pos"])
    def test_is_equations_3_to_5_with_the_snapshot_in_evaluation_mode(self, direction):
        network, auxiliary, batch = make_network(0), make_network(1), make_batch()
        method = SnapshotRegularization(auxiliary, 0.6, 0.2, direction=direction)
        method.prepare(lambda network, inner: None)
        step = method.train().step(network, batch)
        logits, auxiliary_logits, snapshot_logits = (
            each(batch.inputs) for each in (make_network(0), make_network(1), make_network(1).eval())
        )
        expected = nar_loss(logits, snapshot_logits, batch.targets, 0.6, 0.2)
        torch.testing.assert_close(step.terms["disturbed"], expected)
        assert ("auxiliary" in step.terms) == (direction == "pre")
        if direction == "pre":
            assert all(gradient is None for gradient in gradients(step.terms["disturbed"], auxiliary))
            torch.testing.assert_close(step.terms["auxiliary"], cross_entropy(auxiliary_logits, batch.targets))
            assert all(gradient is None for gradient in gradients(step.terms["auxiliary"], network))

    def test_snapshots_are_never_trained(self):
        network, method = make_network(0), SnapshotRegularization(make_network(1))
        before = copy.deepcopy(method.snapshots)
        method.train().step(network, make_batch()).loss.backward()
        assert not any(parameter.requires_grad for parameter in method.snapshots.parameters())
        assert not any(module.training for module in method.snapshots.modules())
        assert equal(method.snapshots, before)
        assert method.auxiliary[0].weight.grad.any()

    def test_an_advanced_auxiliary_is_trained_no_more(self, digits):
        method = SnapshotRegularization(build(1), direction="pos")
        method.prepare(lambda network, inner: fit(inner, digits, network))
        assert method.parameter_groups(0.1) == []

    def test_looking_ahead_takes_preparation(self):
        method = SnapshotRegularization(make_network(1), direction="pos")
        with pytest.raises(ValueError, match="looks ahead at snapshot 1, but has 0: prepare trains"):
            method.step(make_network(0), make_batch())

    @pytest.mark.parametrize("interval", [1, 2])
    def test_a_resumed_run_is_the_uninterrupted_one(self, assert_resumes, interval):
        assert_resumes(lambda: SnapshotRegularization(build(1), interval=interval), epochs=4)

    def test_an_interrupted_preparation_is_resumed(self, digits, tmp_path):
        checkpoint = tmp_path / "auxiliary.pt"

        def stopped(network, inner):
            interrupt(make_trainer(inner, digits, network, epochs=3), checkpoint)
            raise InterruptedError

        def resumed(network, inner):
            make_trainer(inner, digits, network, epochs=3).fit(checkpoint)

        with pytest.raises(InterruptedError):
            SnapshotRegularization(build(1), interval=1, direction="pos").prepare(stopped)
        one, other = (SnapshotRegularization(build(1), interval=1, direction="pos") for _ in range(2))
        one.prepare(resumed)
        other.prepare(lambda network, inner: fit(inner, digits, network, epochs=3))
        assert len(one.snapshots) == 3
        assert equal(one, other)


@pytest.fixture
def collected(digits):
    """A network, the method after a first epoch, its losses, and the batches of that epoch."""
    torch.manual_seed(0)
    network, method = networks.build("mlp", 10), ForestAsRegularization(10)
    batches = list(Loader(digits.train, 32, mean=digits.mean, std=digits.std).epoch(0))
    method.start_epoch(0)
    return network, method, [method.step(network, batch).loss for batch in batches], batches


class TestForest:
    def test_the_first_epoch_has_plain_labels_and_collects_every_sample(self, collected):
        network, method, losses, batches = collected
        for loss, batch in zip(losses, batches, strict=True):
            torch.testing.assert_close(loss, cross_entropy(network(batch.inputs), batch.targets))
            assert torch.equal(method.inputs[batch.indices], batch.inputs)
            assert torch.equal(method.targets[batch.indices], batch.targets)

    def test_predictions_are_distributions_that_do_not_know_the_samples_own_label(self, collected):
        method = collected[1]
        method.start_epoch(60)
        shares = method.predictions
        torch.testing.assert_close(shares.sum(1), torch.ones(100))
        right = (shares.argmax(1) == method.targets).nonzero()[0, 0]  # a sample that the forest knows
        wrong = (method.targets[right] + 1) % 10
        method.targets[right] = wrong
        method.start_epoch(60)  # the same forest but for one wrong label
        assert method.predictions[right].argmax() != wrong

    def test_where_all_trees_are_asked_they_know_the_labels_by_heart(self, collected):
        out_of_bag, batches = collected[1], collected[3]
        method = ForestAsRegularization(10, out_of_bag=False)
        for batch in batches:
            method._collect(batch)
        for each in (out_of_bag, method):
            each.start_epoch(60)
        known, guessed = (
            each.predictions.gather(1, each.targets[:, None].long()).squeeze(1) for each in (method, out_of_bag)
        )
        # two of three trees have seen a sample, and are sure
        assert known.min() > 0.45
        torch.testing.assert_close(known.mean(), 1 - 0.368 * (1 - guessed.mean()), atol=0.02, rtol=0)

    def test_its_own_error_is_that_on_the_test_split_and_falls_with_the_number_of_trees(self, digits):
        assert 0.02 < forest_error(digits, trees=60) < 0.2 < forest_error(digits, trees=1) < 0.7
        trained = replace(digits, test=digits.train)
        assert forest_error(trained, trees=60) == 0

    def test_a_sample_seen_by_every_tree_gets_a_uniform_prediction(self, collected):
        method = collected[1]
        method.start_epoch(1)  # one tree has seen about two thirds of the samples
        uniform = (method.predictions == 0.1).all(1)
        assert 40 < uniform.sum() < 85

    def test_loss_is_that_of_the_disturbed_labels(self, collected):
        network, method, _, (batch, *_) = collected
        method.start_epoch(20)
        step = method.step(network, batch)
        probabilities = step.logits.softmax(1).detach()
        disturbance = 0.1 * probabilities + 0.9 * method.predictions[batch.indices]
        labels = 0.5 * torch.eye(10)[batch.targets] + 0.5 * disturbance
        torch.testing.assert_close(step.loss, cross_entropy(step.logits, labels))

    def test_a_sample_that_is_new_or_never_comes_is_known_to_no_tree(self, digits):
        """Places without a sample do not enter the forest, which is that of the samples by themselves."""
        torch.manual_seed(0)
        inputs, targets = digits.train.inputs[:60], digits.train.targets[:60]
        network, forests = networks.build("mlp", 10), [ForestAsRegularization(10) for _ in range(2)]
        for method, offset in zip(forests, (0, 40), strict=True):
            method.step(network, Batch(inputs, targets, torch.arange(60) + offset))
            method.start_epoch(30)
        assert torch.equal(forests[1].predictions[40:], forests[0].predictions)
        assert (forests[1].predictions[:40] == 0.1).all()
        forests[1].step(network, Batch(inputs[:2], targets[:2], torch.tensor([3, 150])))
        assert (forests[1].predictions[[3, 150]] == 0.1).all()
        assert not forests[1].predictions[60].eq(0.1).all()

    def test_does_not_learn_from_a_validation_loss(self, collected):
        network, method, _, (batch, *_) = collected
        method.start_epoch(20)
        before = copy.deepcopy(method.get_extra_state())
        loss = method.eval().step(network, replace(batch, inputs=-batch.inputs, indices=batch.indices + 1000)).loss
        torch.testing.assert_close(loss, cross_entropy(network(-batch.inputs), batch.targets))
        torch.testing.assert_close(method.get_extra_state(), before)

    def test_a_loaded_state_is_a_copy(self, collected):
        network, method, _, (batch, *_) = collected
        other = ForestAsRegularization(10)
        other.load_state_dict(method.state_dict())
        before = copy.deepcopy(other.get_extra_state())
        method.step(network, replace(batch, inputs=-batch.inputs))
        torch.testing.assert_close(other.get_extra_state(), before)

    def test_learns_inside_an_attack_and_in_half_precision(self, digits):
        torch.manual_seed(0)
        forest = ForestAsRegularization(10)
        method, network = AdversarialTraining(forest), networks.build("mlp", 10).bfloat16()
        batch = Batch(digits.train.inputs[:40].bfloat16(), digits.train.targets[:40], torch.arange(40))
        for epoch in range(2):
            method.start_epoch(epoch)
            assert method.step(network, batch).loss.isfinite()
        assert not forest.inputs.requires_grad
        assert len(forest.predictions) == 40

    def test_its_state_goes_where_it_goes(self, collected):
        state, other = collected[1].state_dict(), ForestAsRegularization(10).to("meta")
        other.load_state_dict(state)
        assert {each.device.type for each in other.buffers()} == {"meta"}
        assert {len(each) for each in collected[1].to("meta").buffers()} == {100, 0}

    def test_learns_no_text(self):
        words = Batch(torch.zeros(3, 4).long(), torch.zeros(12).long(), torch.arange(12))
        with pytest.raises(ValueError, match="one class per sample, not one per word"):
            ForestAsRegularization(10).step(nn.Identity(), words)

    def test_it_resists_wrong_labels_better_than_the_baseline(self):
        settings = {"subset": 200, "epochs": 20, "label_noise": 0.3}
        plain, forest = (
            train(Experiment(method=method).at("quick", **settings)).result.last["test_error"]
            for method in ("cross_entropy", "forest_as_regularization")
        )
        assert forest < plain - 0.03
