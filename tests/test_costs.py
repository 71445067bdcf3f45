"""Counted operations, against counts made by hand; and samples per second, which are samples by seconds of work."""

import time

import pytest
import torch
from torch import nn

from labelreg.costs import (
    WARM_UP,
    _samples_per_second,
    forward_operations,
    share_behind,
    step_operations,
    throughput,
    training_operations,
)
from labelreg.data import Batch, load
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy, Method, Step
from labelreg.networks import build


def batch() -> Batch:
    return Batch(torch.randn(8, 1, 2, 2), torch.arange(8) % 3, torch.arange(8))


def linear_layers() -> nn.Sequential:
    return build("mlp", 3, (1, 2, 2), hidden=(5,))


def test_step_of_two_linear_layers():
    # 2 B (in * out) forward, the same for the weights' gradients, and for the inputs' but those of the first layer
    first, second = 2 * 8 * 4 * 5, 2 * 8 * 5 * 3
    assert step_operations(CrossEntropy(), linear_layers(), batch()) == 2 * first + 3 * second


def test_first_step_is_not_counted():
    class Curious(Method):
        looked = False

        def step(self, network, batch):
            if not self.looked:
                network(batch.inputs)
                self.looked = True
            return CrossEntropy().step(network, batch)

    plain = step_operations(CrossEntropy(), linear_layers(), batch())
    assert step_operations(Curious(), linear_layers(), batch()) == plain


def test_a_method_that_does_more_counts_more():
    class Twice(Method):
        def step(self, network, batch):
            steps = [CrossEntropy().step(network, batch) for _ in range(2)]
            return Step(steps[0].loss + steps[1].loss, steps[0].logits, {})

    plain = step_operations(CrossEntropy(), linear_layers(), batch())
    assert step_operations(Twice(), linear_layers(), batch()) == 2 * plain


def test_share_behind_each_layer():
    network, inputs = linear_layers(), batch().inputs
    assert share_behind(network, inputs, "") == 1
    assert share_behind(network, inputs, "features") == 1
    assert share_behind(network, inputs, "head") == pytest.approx(15 / (20 + 15))
    assert share_behind(network, inputs, "classifier") == 0


class TestForward:
    def test_of_linear_layers_and_of_a_word(self):
        assert forward_operations("mlp", 3, hidden=(5,)) == 2 * (64 * 5 + 5 * 3)
        text = forward_operations("lstm", 100, hidden=16, layers=1)
        assert text == 2 * (2 * 4 * 16 * 16 + 16 * 100)

    def test_draws_nothing(self):
        state = torch.get_rng_state()
        forward_operations("resnet8", 7)
        assert torch.equal(torch.get_rng_state(), state)


BASE = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
SMALL = {"hidden": (32,)}
MLP = 2 * (64 * 256 + 256 * 256 + 256 * 10)  # of a forward pass


class TestTraining:
    @pytest.mark.parametrize(
        ("changes", "ratio"),
        [
            ({}, 1),
            ({"epochs": 4}, 2),
            ({"subset": 50}, 0.5),
            ({"holdout": 0.25}, 0.75),
            ({"seed": 7, "label_noise": 0.5, "batch_size": 10}, 1),
            ({"method": "knowledge_refinery"}, 1),
            ({"method": "network_as_regularization"}, 2),
            ({"method": "mixup", "options": {"method": "network_as_regularization"}}, 2),
            ({"method": "network_as_regularization", "auxiliary_options": SMALL}, 1 + 2 * (64 + 10) * 32 / MLP),
            ({"method": "deep_mutual_learning", "options": {"peer": "mlp"}}, 2),
            ({"method": "batch_augmentation", "options": {"copies": 6}}, 6),
            ({"method": "class_wise_self_distillation"}, 4 / 3),
            ({"method": "born_again", "teacher": BASE}, 4 / 3),
            ({"method": "born_again", "teacher": BASE.but(network_options=SMALL)}, 1 + 64 * 37 / MLP / 3 * 2),
            ({"method": "adversarial_training"}, 7 / 3),
        ],
    )
    def test_is_about_the_least_that_the_steps_take(self, changes, ratio):
        """Three forward passes a step, but for the gradient of the first layer's input, which is not needed."""
        assert training_operations(BASE.but(**changes)) == pytest.approx(2 * 100 * 3 * MLP * ratio, rel=0.1)

    def test_scales_exactly_with_what_is_trained(self):
        base = training_operations(BASE)
        for changes, ratio in (({"epochs": 4}, 2), ({"subset": 50}, 0.5), ({"holdout": 0.25}, 0.75), ({"seed": 7}, 1)):
            assert training_operations(BASE.but(**changes)) == pytest.approx(base * ratio)

    def test_of_a_text(self):
        """An LSTM of one layer, whose four gates see the word and the state, and the softmax over all words."""
        text = Experiment(dataset="pydoc", network="lstm", network_options={"hidden": 16, "layers": 1}, epochs=1)
        words, known = len(load("pydoc").train), load("pydoc").num_classes
        expected = 3 * words * 2 * (2 * 4 * 16 * 16 + 16 * known)
        assert training_operations(text) == pytest.approx(expected, rel=0.15)

    def test_leaves_random_numbers_and_threads_alone(self):
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        training_operations(BASE.but(method="mixup", options={"alpha": 0.77}))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads


class Sized:
    """Stands for a batch."""

    def __init__(self, size):
        self.targets = torch.zeros(size)


class TestThroughput:
    def test_warm_up_is_not_counted(self):
        pauses = iter([0.2] * WARM_UP + [0.01] * 4)
        speed = _samples_per_second(
            lambda batch: time.sleep(next(pauses)), [Sized(1000)] * WARM_UP + [Sized(6)] * 4, torch.device("cpu")
        )
        assert 24 / 2 < speed < 24 / 0.04

    @pytest.mark.parametrize(("method", "copies"), [("cross_entropy", 1), ("batch_augmentation", 3)])
    def test_trains_over_the_end_of_an_epoch(self, method, copies, monkeypatch):
        seen = []
        original = CrossEntropy.step
        monkeypatch.setattr(
            CrossEntropy,
            "step",
            lambda self, network, batch: seen.append(len(batch.targets)) or original(self, network, batch),
        )
        options = {"copies": copies} if copies > 1 else {}
        speeds = throughput(Experiment(subset=50, batch_size=20, method=method, options=options), steps=4, device="cpu")
        if copies == 1:
            assert seen == [20, 20, 10] * 3
        assert all(speed > 0 for speed in speeds.values())

    def test_may_take_more_steps_than_the_experiment_has(self):
        short = Experiment(subset=50, batch_size=50, epochs=2, schedule="one_cycle")
        assert throughput(short, steps=10, device="cpu")["training"] > 0

    def test_a_teacher_need_not_be_trained(self):
        teacher = Experiment(epochs=10**6)
        assert throughput(Experiment(method="knowledge_distillation", teacher=teacher), steps=1)["training"] > 0

    def test_a_text_has_no_samples(self):
        with pytest.raises(ValueError, match="throughput is measured on samples of classes, and pydoc is a text"):
            throughput(Experiment(dataset="pydoc", network="lstm"), steps=1)
