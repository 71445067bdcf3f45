"""What the tests of several methods share."""

import os
import signal

import pytest
import torch
from methods import small
from torch import nn

from labelreg.data import load
from labelreg.training import Interrupted, Recipe, Trainer


@pytest.fixture
def batch():
    return small.make_batch()


@pytest.fixture
def assert_resumes(tmp_path):
    """Interrupt training in its fourth step, and check that what goes on from there is what never stopped."""

    def check(make_method):
        data = load("digits", subset=60)

        def start(seed):
            torch.manual_seed(seed)
            network = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 10)
            )
            return Trainer(network, make_method(), data, Recipe(epochs=2, batch_size=20, schedule="one_cycle"))

        straight = start(0)
        straight.fit()
        interrupted, steps = start(0), iter(range(100))
        interrupted.optimizer.register_step_post_hook(
            lambda *_: os.kill(os.getpid(), signal.SIGINT) if next(steps) == 3 else None
        )
        with pytest.raises(Interrupted):
            interrupted.fit(tmp_path / "checkpoint.pt")
        resumed = start(99)
        resumed.fit(tmp_path / "checkpoint.pt")
        for one, other in ((resumed.network, straight.network), (resumed.method, straight.method)):
            torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
        assert [row["loss"] for row in resumed.history] == [row["loss"] for row in straight.history]

    return check
