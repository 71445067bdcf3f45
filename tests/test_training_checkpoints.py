"""What a checkpoint holds, and where it comes back."""

import pytest
import torch

from labelreg.data import load
from labelreg.methods import CrossEntropy
from labelreg.networks import build
from labelreg.training import Recipe, Trainer


def make_trainer():
    recipe = Recipe(epochs=1, batch_size=50, optimizer="adam", learning_rate=1e-3)
    network = build("mlp", 10, hidden=(8,))
    data = load("digits", subset=100)
    return Trainer(network, CrossEntropy(), data, recipe, observers=(lambda trainer: {"seen": torch.ones(2)},))


def test_comes_back_where_it_belongs(tmp_path):
    """The sums of an epoch on the device; what was observed, and what an optimizer counts by, on the CPU."""
    trainer, resumed = make_trainer(), make_trainer()
    trainer.fit()
    trainer.totals = {"loss": torch.ones(())}
    trainer.save(tmp_path / "checkpoint.pt")
    resumed.device = torch.device("meta")
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.totals["loss"].device.type == "meta"
    assert [each.device.type for each in resumed.observations["seen"]] == ["cpu"]
    assert {state["step"].device.type for state in resumed.optimizer.state.values()} == {"cpu"}


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(state, path):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        make_trainer().save(tmp_path / "checkpoint.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_one_that_is_damaged_is_named(content, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint.pt cannot be resumed from \(\w+Error:.*move it away"):
        make_trainer().load(path)
