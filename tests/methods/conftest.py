"""What the tests of several methods share."""

import pytest
import torch
from interruption import Signaller, assert_identical, outcome
from methods import small
from torch import nn

from labelreg.data import load
from labelreg.training import Interrupted, Recipe, Trainer


@pytest.fixture
def batch():
    return small.make_batch()


@pytest.fixture
def assert_resumes(tmp_path):
    """Interrupt training in its second epoch, and check that what goes on from there is what never stopped."""

    def check(make_method, epochs=2):
        data = load("digits", subset=60)

        def start(seed):
            torch.manual_seed(seed)
            network = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 10)
            )
            return Trainer(network, make_method(), data, Recipe(epochs=epochs, batch_size=20, schedule="one_cycle"))

        straight = start(0)
        straight.fit()
        interrupted = start(0)
        Signaller(interrupted.network, 4)
        with pytest.raises(Interrupted):
            interrupted.fit(tmp_path / "checkpoint.pt")
        resumed = start(99)
        resumed.fit(tmp_path / "checkpoint.pt")
        assert_identical(outcome(resumed), outcome(straight))

    return check
