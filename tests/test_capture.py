"""Steps that are recorded and replayed: a stand-in shows on a CPU what a CUDA graph does."""

import contextlib
import copy

import pytest
import torch
from interruption import assert_identical, outcome
from torch import nn

from labelreg import methods
from labelreg.build import prepare_training
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy, Step
from labelreg.training import Trainer

SHORT = {"subset": 90, "batch_size": 10, "epochs": 2, "network_options": {"hidden": (16,)}}
CAPTURABLE = [name for name in methods.names() if methods.find(name).capturable]


class StandIn:
    """Computes again what it has recorded, on the same tensors, and with Python's state as it was then.

    As with a CUDA graph, Python runs once, when something is recorded, and no value changes then.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.modules = [each for module in (trainer.network, trainer.method) for each in module.modules()]
        self.recorded = self.replayed = 0

    def aside(self):
        return contextlib.nullcontext()

    def record(self, compute, generators):
        self.recorded += 1
        before = self._python()
        with torch.random.fork_rng(devices=()):
            states = [each.get_state() for each in generators]
            values = [each.clone() for each in self._tensors()]
            step = compute()
        for mine, value in zip(self._tensors(), values, strict=True):
            mine.data.copy_(value)
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
        gradients = self._gradients()

        def again():
            self.replayed += 1
            now = self._python()
            self._restore(before)
            fresh = compute()
            self._restore(now)
            for mine, value in zip(gradients, self._gradients(), strict=True):
                if mine is not None:
                    mine.copy_(value)
            for mine, value in ((step.loss, fresh.loss), (step.logits, fresh.logits)):
                mine.data.copy_(value)

        return step, again

    def _tensors(self):
        kept = [each for module in self.modules for each in (*module.parameters(False), *module.buffers(False))]
        return [*kept, *self.trainer.totals.values()]

    def _gradients(self):
        return [each.grad for module in self.modules for each in module.parameters(False)]

    def _python(self):
        """What the modules hold apart from tensors, modules and generators."""
        kinds = (torch.Tensor, nn.Module, torch.Generator)
        private = vars(nn.Module())

        def plain(module):
            return {k: v for k, v in vars(module).items() if k not in private and not isinstance(v, kinds)}

        return [copy.deepcopy(plain(each)) for each in self.modules]

    def _restore(self, states):
        for each, state in zip(self.modules, states, strict=True):
            vars(each).update(copy.deepcopy(state))


def trained(method, recorder=None, **settings):
    teacher = Experiment(**SHORT) if "teacher" in methods.network_roles(method, {}) else None
    trainer = prepare_training(Experiment(**SHORT | settings, method=method, teacher=teacher), "cpu")
    if recorder:
        recorder = recorder(trainer)
        trainer.replay_steps(recorder)
    trainer.fit()
    return trainer, recorder


@pytest.mark.parametrize("method", CAPTURABLE)
def test_replayed_steps_train_to_the_same_bits(method):
    replayed, recorder = trained(method, StandIn)
    eager, _ = trained(method)
    assert_identical(outcome(replayed), outcome(eager))
    assert recorder.recorded >= 2
    assert recorder.replayed >= 9


def test_hidden_state_is_not_replayed():
    """A step that counts in Python would go wrong on a GPU, and does so here."""

    class Counting(CrossEntropy):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def step(self, network, batch):
            self.calls += 1
            step = super().step(network, batch)
            return Step.of(step.logits, {"hard": step.loss * self.calls})

    def losses(replay):
        trainer = prepare_training(Experiment(**SHORT), "cpu")
        trainer.method = Counting()
        if replay:
            trainer.replay_steps(StandIn(trainer))
        trainer.fit()
        return [row["loss"] for row in trainer.history]

    assert losses(True) != losses(False)
