"""The training loop: against a loop written out, against closed forms, and against its own interruption."""

import contextlib
import copy
import math
import signal
import threading

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from labelreg import losses, methods
from labelreg.data import Dataset, Loader, Split
from labelreg.methods import CrossEntropy, KnowledgeRefinery, Method, Step
from labelreg.training import Diverged, Interrupted, Recipe, Trainer

K, TRAIN, BATCH = 4, 46, 10
STEPS = 5  # of 10, 10, 10, 10 and 6 samples
METHODS = ("cross_entropy", "adaptive_label_regularization", "disturb_label", "deep_mutual_learning")


def make_split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(K, (count,), generator=generator)
    return Split(torch.eye(K, 6)[targets] + 0.5 * torch.randn(count, 6, generator=generator), targets)


DATASET = Dataset("blobs", make_split(TRAIN, 0), make_split(30, 1), classes=tuple("abcd"))


def make_network(dropout=0.3):
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, K))


def make_trainer(method="cross_entropy", *, seed=0, network=None, dataset=DATASET, trainer=None, **recipe):
    """A trainer whose parameters and random draws are a function of the seed."""
    torch.manual_seed(seed)
    network = network or make_network()
    if isinstance(method, str):
        method = methods.create(method, K, {}, lambda role, chosen: make_network())
    recipe = Recipe(**{"epochs": 3, "batch_size": BATCH, "milestones": (2,)} | recipe)
    return Trainer(network, method, dataset, recipe, **trainer or {})


def outcome(trainer):
    """Everything training leaves behind but the time it took."""
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in trainer.history]
    return {
        "network": trainer.network.state_dict(),
        "method": trainer.method.state_dict(),
        "momentum": trainer.optimizer.state_dict()["state"],
        "history": history,
        "observations": trainer.observations,
        "random": torch.get_rng_state(),
    }


def assert_identical(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


class TestLoop:
    def test_is_sgd_with_nesterov_momentum_written_out(self):
        trainer = make_trainer(network=make_network(dropout=0.0), weight_decay=0.01, decay=0.5)
        network = copy.deepcopy(trainer.network).double()
        parameters = list(network.parameters())
        velocities = [torch.zeros_like(parameter) for parameter in parameters]
        loader = Loader(DATASET.train, BATCH, mean=DATASET.mean, std=DATASET.std, seed=0)
        for epoch in range(3):
            rate = 0.1 if epoch < 2 else 0.05
            for batch in loader.epoch(epoch):
                loss = cross_entropy(network(batch.inputs.double()), batch.targets)
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
                        gradient = gradient + 0.01 * parameter
                        velocity.mul_(0.9).add_(gradient)
                        parameter -= rate * (gradient + 0.9 * velocity)
        trainer.fit()
        expected = {name: value.to(trainer.network.state_dict()[name]) for name, value in network.state_dict().items()}
        torch.testing.assert_close(dict(trainer.network.state_dict()), expected, rtol=1e-4, atol=1e-5)

    def test_records_means_over_samples_of_what_every_step_made(self):
        class Recorder(CrossEntropy):
            def step(self, network, batch):
                step = super().step(network, batch)
                steps.append((step.logits.detach(), batch.targets, float(step.loss.detach())))
                return step

        steps = []
        trainer = make_trainer(Recorder())
        trainer.fit()
        assert len(trainer.history) == 3
        for epoch, row in enumerate(trainer.history):
            logits, targets, losses = zip(*steps[STEPS * epoch : STEPS * (epoch + 1)], strict=True)
            right = sum(int((each.argmax(1) == labels).sum()) for each, labels in zip(logits, targets, strict=True))
            sizes = [len(labels) for labels in targets]
            mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / TRAIN
            assert sizes == [10, 10, 10, 10, 6]
            assert row["epoch"] == epoch + 1
            assert row["train_accuracy"] == pytest.approx(right / TRAIN, rel=1e-12)
            assert row["loss"] == row["loss_hard"] == pytest.approx(mean, rel=1e-6)

    def test_records_the_test_metrics_and_every_term(self):
        trainer = make_trainer("knowledge_refinery")
        trainer.fit()
        row = trainer.history[-1]
        losses = {"loss", "loss_hard", "loss_residual", "loss_update"}
        tested = {"test_error", "test_nll", "test_ece"}
        assert set(row) == {"epoch", "train_accuracy", "learning_rate", "seconds"} | losses | tested
        assert row["loss"] == pytest.approx(row["loss_hard"] + row["loss_residual"] + row["loss_update"])
        logits, targets = trainer.predict(DATASET.test)
        assert row["test_error"] == pytest.approx(float((logits.argmax(1) != targets).double().mean()))
        assert row["test_nll"] == pytest.approx(float(cross_entropy(logits, targets)))
        assert row["seconds"] > 0

    def test_reports_a_held_out_split_and_trains_on_none_of_it(self):
        plain = make_trainer()
        plain.fit()
        held = make_trainer(trainer={"validation": make_split(20, 7)})
        held.fit()
        logits, targets = held.predict(held.validation)
        assert held.history[-1]["validation_error"] == pytest.approx(
            float((logits.argmax(1) != targets).double().mean())
        )
        assert_identical(held.network.state_dict(), plain.network.state_dict())

    def test_progress_and_observers_are_called_after_every_epoch(self):
        observers = (lambda trainer: {"bias": trainer.network[-1].bias.detach().clone()},)
        trainer, rows = make_trainer(trainer={"observers": observers}), []
        trainer.fit(progress=rows.append)
        assert rows == trainer.history
        assert len(trainer.observations["bias"]) == 3
        assert_identical(trainer.observations["bias"][-1], trainer.network[-1].bias.detach())
        assert not torch.equal(*trainer.observations["bias"][:2])

    def test_predicts_in_evaluation_mode_in_stored_order(self):
        split = make_split(2500, 3)  # more than one batch of evaluation
        trainer = make_trainer()
        before = copy.deepcopy(trainer.network.state_dict())
        logits, targets = trainer.predict(split)
        inputs = (split.inputs - DATASET.mean) / DATASET.std
        torch.testing.assert_close(logits, trainer.network.eval()(inputs).detach())
        assert torch.equal(targets, split.targets)
        assert_identical(trainer.network.state_dict(), before)

    def test_learns(self):
        trainer = make_trainer(epochs=20)
        trainer.fit()
        assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]
        assert trainer.history[-1]["test_error"] < 0.35  # a guess errs at 0.75

    def test_trains_with_bfloat16_on_float32_parameters(self):
        class Recorder(KnowledgeRefinery):
            def step(self, network, batch):
                step = super().step(network, batch)
                dtypes.add(step.logits.dtype)
                return step

        dtypes = set()
        trainer = make_trainer(Recorder(K), precision="bfloat16", epochs=20)
        trainer.fit()
        assert dtypes == {torch.bfloat16}
        tensors = [*trainer.network.parameters(), *trainer.method.parameters(), trainer.predict(DATASET.test)[0]]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert trainer.history[-1]["loss_hard"] < 0.5 * trainer.history[0]["loss_hard"]

    def test_calls_start_epoch_once_an_epoch_with_the_history_so_far(self):
        class Recorder(CrossEntropy):
            def start_epoch(self, epoch, history=()):
                calls.append((epoch, [row["epoch"] for row in history]))

        calls = []
        make_trainer(Recorder()).fit()
        assert calls == [(0, []), (1, [1]), (2, [1, 2])]

    def test_stops_where_the_loss_is_no_number(self, tmp_path):
        class Poisoned(CrossEntropy):
            def start_epoch(self, epoch, history=()):
                self.factor = float("nan") if epoch == 1 else 1.0

            def step(self, network, batch):
                step = super().step(network, batch)
                return Step(step.loss * self.factor, step.logits, step.terms)

        checkpoint = tmp_path / "checkpoint.pt"
        trainer = make_trainer(Poisoned())
        with pytest.raises(Diverged, match="the loss is nan in epoch 2; a lower learning_rate may help"):
            trainer.fit(checkpoint)
        resumed = make_trainer()
        resumed.load(checkpoint)
        assert resumed.epoch == len(resumed.history) == 1


class TestOptimizer:
    def test_the_methods_own_parameters_are_not_decayed_its_networks_are(self):
        for method, decays in (("knowledge_refinery", [0.01, 0.0]), ("deep_mutual_learning", [0.01, 0.01])):
            trainer = make_trainer(method, weight_decay=0.01)
            assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == decays

    def test_adam_is_adam(self):
        trainer = make_trainer(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, epochs=1, batch_size=TRAIN)
        before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
        trainer.fit()
        moved = [
            float((new.detach() - old).abs().max())
            for old, new in zip(before, trainer.network.parameters(), strict=True)
        ]
        assert max(moved) == pytest.approx(1e-3, rel=1e-3)  # its first step is the learning rate, whatever the gradient

    def test_goes_without_momentum(self):
        make_trainer(momentum=0.0, epochs=1).fit()

    @pytest.mark.parametrize("schedule", ["multi_step", "one_cycle", "cosine", "constant"])
    def test_the_matrix_keeps_its_multiple_of_the_learning_rate(self, schedule):
        trainer = make_trainer(KnowledgeRefinery(K, lr_mult=5.0), schedule=schedule)
        rates = rates_taken(trainer)
        assert len(rates) == 3 * STEPS
        assert [matrix / network for network, matrix in rates] == pytest.approx([5.0] * len(rates))


def rates_taken(trainer):
    """The learning rates of every group at every update."""
    rates = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    trainer.fit()
    return rates


class TestSchedules:
    EPOCHS = 6
    TOTAL = EPOCHS * STEPS

    def run(self, **recipe):
        trainer = make_trainer(epochs=self.EPOCHS, learning_rate=0.2, **recipe)
        return [rate for (rate,) in rates_taken(trainer)], trainer

    @pytest.mark.parametrize("milestones", [(1, 4), (), (6,), (2, 2)])
    def test_multi_step_falls_after_its_milestones(self, milestones):
        rates, _ = self.run(schedule="multi_step", milestones=milestones, decay=0.5)
        falls = [sum(milestone <= step // STEPS for milestone in milestones) for step in range(self.TOTAL)]
        assert rates == pytest.approx([0.2 * 0.5**fall for fall in falls])

    def test_one_cycle_rises_to_its_peak_and_falls_to_nothing(self):
        rates, trainer = self.run(schedule="one_cycle")
        top, end = 0.3 * (self.TOTAL + 1) - 1, self.TOTAL
        low, lowest = 0.2 / 25, 0.2 / 25 / 1e4

        def between(start, stop, share):
            return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2

        expected = [
            between(low, 0.2, step / top) if step <= top else between(0.2, lowest, (step - top) / (end - top))
            for step in range(self.TOTAL)
        ]
        assert rates == pytest.approx(expected)
        assert max(rates) == pytest.approx(0.2, rel=0.01)
        assert trainer.history[-1]["learning_rate"] == pytest.approx(lowest)
        assert {group["momentum"] for group in trainer.optimizer.param_groups} == {0.9}

    def test_cosine_falls_along_a_cosine(self):
        rates, trainer = self.run(schedule="cosine")
        expected = [0.1 * (1 + math.cos(math.pi * step / self.TOTAL)) for step in range(self.TOTAL)]
        assert rates == pytest.approx(expected)
        assert trainer.history[-1]["learning_rate"] == pytest.approx(0, abs=1e-12)

    def test_constant_stays(self):
        rates, _ = self.run(schedule="constant")
        assert rates == [0.2] * self.TOTAL

    @pytest.mark.parametrize("schedule", ["multi_step", "one_cycle", "cosine", "constant"])
    def test_a_single_step_is_enough(self, schedule):
        make_trainer(epochs=1, batch_size=TRAIN, schedule=schedule).fit()


class TestRecipe:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"schedule": "linear"}, "schedule must be one of multi_step, one_cycle, cosine, .*, not 'linear'"),
            ({"optimizer": "adamw"}, "optimizer must be one of sgd, adam, not 'adamw'"),
            ({"precision": "float16"}, "precision must be one of float32, bfloat16, not 'float16'"),
            ({"epochs": 0}, "epochs must be positive, not 0"),
            ({"batch_size": -1}, "batch_size must be positive, not -1"),
            ({"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
            ({"learning_rate": math.nan}, "learning_rate must be positive, not nan"),
            ({"weight_decay": -1e-4}, "weight_decay must not be negative"),
            ({"weight_decay": math.nan}, "weight_decay must not be negative"),
            ({"milestones": ("a", "b")}, "milestones, each, must be a whole number, not 'a'"),
            ({"milestones": (60.0,)}, "milestones, each, must be a whole number, not 60.0"),
        ],
    )
    def test_refuses_what_cannot_be(self, setting, message):
        with pytest.raises(ValueError, match=message):
            Recipe(**setting)


class Signaller:
    """Sends this process a signal at chosen forward passes of a network: five of training an epoch, then the test."""

    def __init__(self, network, *moments, number=signal.SIGINT):
        self.passes, self.moments, self.number = 0, moments, number
        network.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.passes += 1
        for _ in range(self.moments.count(self.passes)):
            signal.raise_signal(self.number)


class TestInterruption:
    OBSERVERS = (lambda trainer: {"bias": trainer.network[-1].bias.detach().clone()},)

    def start(self, method, seed=0):
        return make_trainer(method, seed=seed, trainer={"observers": self.OBSERVERS})

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        "moment", [1, 3, 5, 6, 7, 13, 17, 18], ids=lambda moment: f"epoch{(moment - 1) // 6}pass{(moment - 1) % 6}"
    )
    def test_goes_on_bit_by_bit(self, method, moment, tmp_path):
        checkpoint = tmp_path / "folder" / "checkpoint.pt"
        straight = self.start(method)
        straight.fit()
        expected = outcome(straight)

        interrupted = self.start(method)
        Signaller(interrupted.network, moment)
        with pytest.raises(Interrupted, match="saved, the same call resumes there"):
            interrupted.fit(checkpoint)
        resumed = self.start(method, seed=99)  # nothing of it may survive
        resumed.fit(checkpoint)
        assert_identical(outcome(resumed), expected)
        assert all(row["seconds"] > 0 for row in resumed.history)

    def test_again_and_again(self, tmp_path):
        straight = self.start("adaptive_label_regularization")
        straight.fit()
        expected = outcome(straight)
        for attempt in range(100):
            resumed = self.start("adaptive_label_regularization", seed=attempt)
            Signaller(resumed.network, 1, number=signal.SIGTERM)
            try:
                resumed.fit(tmp_path / "checkpoint.pt")
            except Interrupted:
                continue
            break
        assert attempt == 3 * (STEPS + 1)  # a step or a test at a time, then nothing is left to do
        assert_identical(outcome(resumed), expected)

    def test_says_where_and_leaves_no_file_without_a_place_for_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        trainer = self.start("cross_entropy")
        Signaller(trainer.network, 9)
        with pytest.raises(Interrupted, match=r"interrupted in epoch 2, step 3 of 5$"):
            trainer.fit()
        assert list(tmp_path.iterdir()) == []

    def test_a_second_signal_acts_at_once(self, tmp_path):
        trainer = self.start("cross_entropy")
        Signaller(trainer.network, 3, 3)
        with pytest.raises(KeyboardInterrupt) as caught:
            trainer.fit(tmp_path / "checkpoint.pt")
        assert not isinstance(caught.value, Interrupted)

    @pytest.mark.parametrize("moments", [(), (3,), (3, 3)])
    def test_leaves_the_signals_as_they_were(self, moments):
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        trainer = self.start("cross_entropy")
        Signaller(trainer.network, *moments)
        with contextlib.suppress(KeyboardInterrupt):
            trainer.fit()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def test_trains_outside_the_main_thread(self):
        trainer = self.start("cross_entropy")
        thread = threading.Thread(target=trainer.fit)
        thread.start()
        thread.join()
        assert trainer.epoch == 3

    def test_a_finished_run_is_not_trained_again(self, tmp_path):
        checkpoint = tmp_path / "checkpoint.pt"
        self.start("cross_entropy").fit(checkpoint)
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
        again = self.start("cross_entropy")
        again.fit(checkpoint, progress=lambda row: pytest.fail("an epoch was trained"))
        assert len(again.history) == 3


class TestCheckpoint:
    def test_of_another_network_or_method_is_refused_by_name(self, tmp_path):
        checkpoint = tmp_path / "checkpoint.pt"
        make_trainer().save(checkpoint)
        for other in (make_trainer(network=nn.Linear(6, K)), make_trainer("knowledge_refinery")):
            with pytest.raises(ValueError, match="cannot be resumed from") as caught:
                other.fit(checkpoint)
            assert str(checkpoint) in str(caught.value)
            assert "move it away to start anew" in str(caught.value)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"no checkpoint"])
    def test_that_is_none_is_refused_by_name(self, content, tmp_path):
        checkpoint = tmp_path / "checkpoint.pt"
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be resumed from"):
            make_trainer().fit(checkpoint)
        assert checkpoint.read_bytes() == content

    def test_a_torn_write_leaves_the_one_before(self, tmp_path, monkeypatch):
        checkpoint = tmp_path / "checkpoint.pt"
        make_trainer().save(checkpoint)
        before = checkpoint.read_bytes()

        def tear(state, path):
            path.write_bytes(b"half a checkpoint")
            raise OSError("no space left on device")

        monkeypatch.setattr(torch, "save", tear)
        with pytest.raises(OSError, match="no space"):
            make_trainer(seed=1).save(checkpoint)
        assert checkpoint.read_bytes() == before


class TestNoSynchronisation:
    """Reading a number from the device waits for it; within an epoch nothing may."""

    READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::unique")

    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.reads = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.reads += function._schema.name.startswith(TestNoSynchronisation.READS)
            return function(*args, **kwargs or {})

    def reads_of_an_epoch(self, method, batch_size):
        trainer = make_trainer(method, epochs=1, batch_size=batch_size)
        with self.Count() as count:
            trainer.fit()
        return count.reads

    # a forest is fitted on the CPU
    @pytest.mark.parametrize("method", [name for name in methods.names() if name != "forest_as_regularization"])
    def test_the_reads_of_an_epoch_do_not_grow_with_its_steps(self, method, monkeypatch):
        # what accelerators leave out, and what is drawn on the CPU whatever the device: here every step is augmented
        monkeypatch.setattr(losses, "_check_range", lambda *arguments: None)
        monkeypatch.setattr(methods.StochasticBatchAugmentation, "augmented_layer", lambda self, step: "")
        assert self.reads_of_an_epoch(method, 4) == self.reads_of_an_epoch(method, 23)

    def test_a_read_would_be_seen(self):
        class Reading(CrossEntropy):
            def step(self, network, batch):
                step = super().step(network, batch)
                step.loss.detach().item()
                return step

        assert self.reads_of_an_epoch(Reading(), 4) > self.reads_of_an_epoch(Reading(), 23)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @pytest.mark.parametrize("method", ["cross_entropy", "adaptive_label_regularization", "knowledge_refinery"])
    def test_on_a_gpu(self, method):
        class Watched(Trainer):
            def _count(self, step, batch):
                super()._count(step, batch)
                torch.cuda.set_sync_debug_mode("error")  # from the first step on

            def _finish_epoch(self, started):
                torch.cuda.set_sync_debug_mode("default")
                super()._finish_epoch(started)

        made = methods.create(method, K, {}, lambda role, chosen: make_network())
        Watched(make_network(), made, DATASET, Recipe(epochs=2, batch_size=BATCH), device="cuda").fit()


def test_knows_no_method():
    """A method that has nothing of the others' goes through the loop by its interface alone."""

    class Distance(Method):
        def step(self, network, batch):
            logits = network(batch.inputs)
            loss = (logits.softmax(1) - nn.functional.one_hot(batch.targets, K)).square().sum(1).mean()
            return Step(loss, logits, {"distance": loss})

        def predict(self, network, inputs):
            return 2 * network(inputs)

    trainer = make_trainer(Distance(), epochs=10)
    trainer.fit()
    assert trainer.history[-1]["loss_distance"] < trainer.history[0]["loss_distance"]
    inputs = (DATASET.test.inputs - DATASET.mean) / DATASET.std
    torch.testing.assert_close(trainer.predict(DATASET.test)[0], 2 * trainer.network.eval()(inputs).detach())
