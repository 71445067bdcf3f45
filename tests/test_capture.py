"""Steps that are recorded and replayed: a stand-in does on a CPU what a CUDA graph does on a GPU."""

import contextlib
import copy
import warnings

import pytest
import torch
from interruption import assert_identical, outcome
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labelreg import losses, methods
from labelreg.build import prepare_training
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy, Step

SHORT = {"subset": 90, "batch_size": 10, "epochs": 2, "network_options": {"hidden": (16,)}}
CAPTURABLE = [name for name in methods.names() if methods.find(name).capturable]
VARIANTS = [  # with options or networks that change what a step does
    ("adaptive_label_regularization", {"options": {"tracking": "ema"}}),
    ("adversarial_training", {"options": {"method": "knowledge_refinery"}}),
    ("class_wise_self_distillation", {"options": {"partners": "batch", "sample_weight": 1.0}}),
    ("class_wise_self_distillation", {"options": {"bn": "anchor_only"}, "network": "resnet8", "network_options": {}}),
    ("knowledge_refinery", {"options": {"gamma": 0.5, "smoothing": 0.1}}),
    ("mixup", {"options": {"method": "network_as_regularization", "alpha": 0.05}}),
    ("network_as_regularization", {"options": {"variant": "official", "warm_up": 1}}),
    ("snapshot_regularization", {"options": {"interval": 1}}),
    ("stochastic_batch_augmentation", {"network": "resnet8", "network_options": {}, "options": {"virtual": 3}}),
    ("stochastic_batch_augmentation", {"options": {"label": "hard", "granularity": "epoch", "omega": 1.2}}),
]
# their result, or its shape, is needed on the host
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "repeat_interleave"}


class Tape(TorchDispatchMode):
    """Notes every operation with the memory that it reads and writes, and does the same again without Python."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in WAITING or _indexes_by_mask(function, args):
            raise RuntimeError(f"{function} waits for the device")
        results = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, results))
        return results

    def replay(self):
        for function, args, kwargs, results in self.operations:
            again = function(*args, **kwargs)
            for mine, fresh in zip(_tensors(results), _tensors(again), strict=True):
                if mine.untyped_storage().data_ptr() != fresh.untyped_storage().data_ptr():
                    mine.copy_(fresh)


def _indexes_by_mask(function, args):
    return function.overloadpacket.__name__ in ("index", "index_put", "index_put_") and any(
        each is not None and each.dtype == torch.bool for each in args[1]
    )


def _tensors(values):
    return [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


class StandIn:
    """Records operations on a CPU. Recording computes them, too, so that the first replay has nothing to do."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def aside(self):
        return contextlib.nullcontext()

    def record(self, compute, generators):
        self.recorded += 1
        with Tape() as tape:
            step = compute()
        done = True

        @torch.no_grad()
        def again():
            nonlocal done
            self.replayed += 1
            if not done:
                tape.replay()
            done = False

        return step, again


@pytest.fixture(autouse=True)
def _as_on_a_device(monkeypatch):
    monkeypatch.setattr(losses, "_check_range", lambda *_: None)  # which only a CPU can do without waiting


def trained(method, recorder=None, **settings):
    teacher = Experiment(**SHORT) if "teacher" in methods.network_roles(method, {}) else None
    trainer = prepare_training(Experiment(**SHORT | settings, method=method, teacher=teacher), "cpu")
    if recorder:
        trainer.replay_steps(recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that steps cannot be recorded
        trainer.fit()
    return trainer


@pytest.mark.parametrize(("method", "settings"), [*((name, {}) for name in CAPTURABLE), *VARIANTS])
def test_replayed_steps_train_to_the_same_bits(method, settings):
    recorder = StandIn()
    replayed = trained(method, recorder, **settings)
    assert_identical(outcome(replayed), outcome(trained(method, **settings)))
    assert recorder.recorded >= 2
    assert recorder.replayed >= 9


class Counting(CrossEntropy):
    """Counts in Python, which a graph does not see."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def step(self, network, batch):
        self.calls += 1
        step = super().step(network, batch)
        return Step.of(step.logits, {"hard": step.loss * self.calls})


class Replacing(CrossEntropy):
    """Puts another tensor in the place of a buffer; a graph goes on reading the first."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def step(self, network, batch):
        self.count = self.count + 1
        step = super().step(network, batch)
        return Step.of(step.logits, {"hard": step.loss * self.count})


class Waiting(CrossEntropy):
    """Reads a number from the device."""

    def step(self, network, batch):
        step = super().step(network, batch)
        return Step.of(step.logits, {"hard": step.loss * max(1.0, step.loss.item())})


class Failing(StandIn):
    """Fails after the computation has run in Python, but has changed no tensor."""

    def record(self, compute, generators):
        self.recorded += 1
        network = self.trainer.network
        before = copy.deepcopy([*network.buffers(), *self.trainer.totals.values()])
        random = torch.get_rng_state()
        compute()
        torch.set_rng_state(random)
        for mine, value in zip([*network.buffers(), *self.trainer.totals.values()], before, strict=True):
            mine.copy_(value)
        raise RuntimeError("operation not permitted")


def losses_of(method, recorder=None):
    trainer = prepare_training(Experiment(**SHORT), "cpu")
    trainer.method = method
    if recorder:
        trainer.replay_steps(recorder)
    trainer.fit()
    return [row["loss"] for row in trainer.history]


@pytest.mark.parametrize("method", [Counting, Replacing])
def test_what_a_graph_does_not_see_goes_wrong(method):
    """As it would on a GPU: so the tests above would find it in a method."""
    assert losses_of(method(), StandIn()) != losses_of(method())


def test_a_step_that_cannot_be_recorded_is_decided_once():
    experiment = Experiment(**SHORT, method="stochastic_batch_augmentation")
    trainer, expected = (prepare_training(experiment, "cpu") for _ in range(2))
    recorder = Failing()
    recorder.trainer = trainer
    trainer.replay_steps(recorder)
    with pytest.warns(UserWarning, match=r"steps are computed one by one.*operation not permitted"):
        trainer.fit()
    expected.fit()
    assert recorder.recorded == 1
    assert_identical(outcome(trainer), outcome(expected))


def test_a_step_that_waits_for_the_device_is_computed():
    with pytest.warns(UserWarning, match=r"steps are computed one by one.*_local_scalar_dense"):
        replayed = losses_of(Waiting(), recorder := StandIn())
    assert replayed == losses_of(Waiting())
    assert recorder.replayed == 0
