"""Samples a second: that it is samples that are counted, and seconds of work."""

import time

import pytest
import torch

from labelreg.experiments import Experiment, throughput
from labelreg.experiments.throughput import WARM_UP, _samples_a_second
from labelreg.methods import CrossEntropy


class Sized:
    """Stands for a batch."""

    def __init__(self, size):
        self.targets = torch.zeros(size)


def test_warm_up_is_not_counted():
    pauses = iter([0.2] * WARM_UP + [0.01] * 4)
    speed = _samples_a_second(
        lambda batch: time.sleep(next(pauses)), [Sized(1000)] * WARM_UP + [Sized(6)] * 4, torch.device("cpu")
    )
    assert 24 / 0.2 < speed < 24 / 0.04


@pytest.mark.parametrize(("method", "copies"), [("cross_entropy", 1), ("batch_augmentation", 3)])
def test_trains_over_the_end_of_an_epoch(method, copies, monkeypatch):
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


def test_may_take_more_steps_than_the_experiment_has():
    short = Experiment(subset=50, batch_size=50, epochs=2, schedule="one_cycle")
    assert throughput(short, steps=10, device="cpu")["training"] > 0


def test_a_teacher_need_not_be_trained():
    teacher = Experiment(epochs=10**6)
    assert throughput(Experiment(method="knowledge_distillation", teacher=teacher), steps=1)["training"] > 0
