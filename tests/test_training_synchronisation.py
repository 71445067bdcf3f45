"""Reading a number from the device waits for it: within an epoch nothing may, whatever the method."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from labelreg import losses, methods
from labelreg.build import prepare_training
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy
from labelreg.training import Trainer

SHORT = {"subset": 50, "network_options": {"hidden": (16,)}, "epochs": 1}
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::unique")


@pytest.fixture(autouse=True)
def _as_on_an_accelerator(monkeypatch):
    """Without what is checked on a CPU only, or drawn on it whatever the device: here every step is augmented."""
    monkeypatch.setattr(losses, "_check_range", lambda *arguments: None)
    monkeypatch.setattr(methods.StochasticBatchAugmentation, "augmented_layer", lambda self, step: "")


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.reads += function._schema.name.startswith(READS)
        return function(*args, **kwargs or {})


def reads_of_an_epoch(method, batch_size):
    teacher = Experiment(**SHORT) if "teacher" in methods.network_roles(method, {}) else None
    trainer = prepare_training(Experiment(**SHORT, method=method, teacher=teacher, batch_size=batch_size), "cpu")
    with Count() as count:
        trainer.fit()
    return count.reads


@pytest.mark.parametrize("method", [name for name in methods.names() if methods.find(name).capturable])
def test_the_reads_of_an_epoch_do_not_grow_with_its_steps(method):
    assert reads_of_an_epoch(method, 5) == reads_of_an_epoch(method, 25)


def test_a_read_would_be_seen(monkeypatch):
    original = CrossEntropy.step

    def reading(self, network, batch):
        step = original(self, network, batch)
        step.loss.detach().item()
        return step

    monkeypatch.setattr(CrossEntropy, "step", reading)
    assert reads_of_an_epoch("cross_entropy", 5) == reads_of_an_epoch("cross_entropy", 25) + 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["cross_entropy", "adaptive_label_regularization", "knowledge_refinery"])
def test_a_gpu_does_not_wait_either(method, monkeypatch):
    count, finish = Trainer._count, Trainer._finish_epoch

    def watched_count(self, step, batch):
        count(self, step, batch)
        torch.cuda.set_sync_debug_mode("error")  # from the first step on

    def watched_finish(self, started):
        torch.cuda.set_sync_debug_mode("default")
        finish(self, started)

    monkeypatch.setattr(Trainer, "_count", watched_count)
    monkeypatch.setattr(Trainer, "_finish_epoch", watched_finish)
    prepare_training(Experiment(**SHORT | {"epochs": 2}, method=method, batch_size=10), "cuda").fit()
