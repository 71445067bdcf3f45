"""What tests of interrupted training share: a signal in the middle of it, and comparisons of what is left behind."""

import signal
import time

import pytest
import torch

from labelreg import paths
from labelreg.running import train
from labelreg.training import Interrupted


class Signaller:
    """Sends this process a signal at chosen forward passes of a network; a pass named twice gets two."""

    def __init__(self, network, *moments, number=signal.SIGINT):
        self.passes, self.moments, self.number = 0, moments, number
        network.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.passes += 1
        for _ in range(self.moments.count(self.passes)):
            signal.raise_signal(self.number)


class Notes:
    """Appends the lines that runs tell, wherever they are made, to a file; holds them in their second epoch."""

    def __init__(self, path, go):
        self.path, self.go = path, go

    def __call__(self, line):
        with open(self.path, "a") as file:
            file.write(f"{line}\n")
        while "  epoch 2/" in line and not self.go.exists():
            time.sleep(0.01)


def outcome(trainer):
    """Everything training leaves behind but the time it took."""
    return {
        "network": trainer.network.state_dict(),
        "method": trainer.method.state_dict(),
        "optimizer": trainer.optimizer.state_dict()["state"],
        "history": [{name: value for name, value in row.items() if name != "seconds"} for row in trainer.history],
        "observations": trainer.observations,
        "random": torch.get_rng_state(),
    }


def assert_identical(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def assert_goes_on_bit_by_bit(make, moment, checkpoint):
    """What is interrupted at a forward pass ends as if nothing had been; ``make`` a trainer of a seed."""
    straight = make(seed=0)
    straight.fit()
    expected = outcome(straight)
    interrupted = make(seed=0)
    Signaller(interrupted.network, moment)
    with pytest.raises(Interrupted, match="saved, the same call resumes there"):
        interrupted.fit(checkpoint)
    resumed = make(seed=99)  # nothing of it may survive
    resumed.fit(checkpoint)
    assert_identical(outcome(resumed), expected)
    assert all(row["seconds"] > 0 for row in resumed.history)


def folder(experiment):
    return paths.runs_root() / f"{experiment.name}-{experiment.key}"


def kept_weights(experiment):
    return torch.load(folder(experiment) / "weights.pt", weights_only=True)["network"]


def assert_same_weights(one, other):
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


def assert_is_the_straight_run(experiment, result, device="auto"):
    """Bit by bit in its weights, and in its history but for the digits that a file leaves out."""
    straight = train(experiment, device=device)
    assert_same_weights(kept_weights(experiment), straight.network.state_dict())
    assert result.history.keys() == straight.result.history.keys()
    for name, values in straight.result.history.items():
        if name != "seconds":
            assert result.history[name] == pytest.approx(values, rel=5e-5)
