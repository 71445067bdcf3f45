"""The training loop: against a loop written out, against closed forms, and against its own interruption."""

import contextlib
import copy
import math
import signal
import threading
from functools import partial

import numpy as np
import pytest
import torch
from interruption import Signaller, assert_goes_on_bit_by_bit, assert_identical, outcome
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg import checkpoints, methods
from labelreg.data import Dataset, Loader, Split
from labelreg.methods import CrossEntropy, KnowledgeRefinery, Mixup, Step
from labelreg.recipe import Recipe
from labelreg.training import Diverged, Interrupted, Trainer, stop_on_signals

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


class Copied(CrossEntropy):
    """Cross-entropy on so many copies; keeps what it was shown."""

    def __init__(self, copies):
        super().__init__()
        self.copies = copies
        self.seen = []

    def step(self, network, batch):
        step = super().step(network, batch)
        self.seen.append((step.logits.detach(), batch.targets))
        return step


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
        method = Copied(1)
        trainer = make_trainer(method)
        trainer.fit()
        for epoch, row in enumerate(trainer.history):
            logits, targets = zip(*method.seen[STEPS * epoch : STEPS * (epoch + 1)], strict=True)
            sizes = [len(each) for each in targets]
            losses = [float(cross_entropy(*each)) for each in zip(logits, targets, strict=True)]
            assert sizes == [10, 10, 10, 10, 6]
            assert row["epoch"] == epoch + 1
            right = (torch.cat(logits).argmax(1) == torch.cat(targets)).sum()
            assert row["train_accuracy"] == pytest.approx(int(right) / TRAIN, rel=1e-12)
            assert row["loss"] == row["loss_hard"] == pytest.approx(np.average(losses, weights=sizes), rel=1e-6)

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

    def test_calls_progress_observers_and_start_epoch_once_an_epoch(self):
        class Recorder(CrossEntropy):
            def start_epoch(self, epoch):
                calls.append(epoch)

        calls, rows = [], []
        observers = (lambda trainer: {"bias": trainer.network[-1].bias.detach().clone()},)
        trainer = make_trainer(Recorder(), trainer={"observers": observers})
        trainer.fit(progress=rows.append)
        assert calls == [0, 1, 2]
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

    def test_trains_with_bfloat16_on_float32_parameters(self):
        trainer, dtypes = make_trainer("knowledge_refinery", precision="bfloat16", epochs=20), set()
        trainer.network.register_forward_hook(
            lambda module, _, logits: dtypes.add(logits.dtype) if module.training else None
        )
        trainer.fit()
        assert dtypes == {torch.bfloat16}
        tensors = [*trainer.network.parameters(), *trainer.method.parameters(), trainer.predict(DATASET.test)[0]]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert trainer.history[-1]["loss_hard"] < 0.5 * trainer.history[0]["loss_hard"]

    def test_stops_where_the_loss_is_no_number(self, tmp_path):
        class Poisoned(CrossEntropy):
            def start_epoch(self, epoch):
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

    @pytest.mark.parametrize("split", ["test", "validation"])
    def test_stops_where_the_last_step_leaves_no_number(self, split):
        """Whose loss is the network's before it."""
        held_out = {"validation": make_split(20, 7)} if split == "validation" else {}
        trainer = make_trainer(trainer=held_out, epochs=1, batch_size=TRAIN)
        infinite = {"test": DATASET.test, "validation": trainer.validation}[split].inputs
        predict = trainer.method.predict

        def blown_up(network, inputs):
            return predict(network, inputs) * (math.nan if len(inputs) == len(infinite) else 1)

        trainer.method.predict = blown_up
        with pytest.raises(Diverged, match=f"the {split}_nll is nan in epoch 1; a lower learning_rate may help"):
            trainer.fit()
        assert trainer.history == []


class TestOptimizer:
    def test_the_methods_own_parameters_are_not_decayed_its_networks_are(self):
        for method, decays in (("knowledge_refinery", [0.01, 0.0]), ("deep_mutual_learning", [0.01, 0.01])):
            trainer = make_trainer(method, weight_decay=0.01)
            assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == decays

    def test_adam_is_adam(self):
        assert isinstance(make_trainer(optimizer="adam", schedule="constant").optimizer, torch.optim.Adam)

    @pytest.mark.parametrize("schedule", ["multi_step", "one_cycle", "cosine", "constant"])
    def test_the_matrix_keeps_its_multiple_of_the_learning_rate(self, schedule):
        trainer = make_trainer(KnowledgeRefinery(K, lr_mult=5.0), schedule=schedule)
        rates = rates_taken(trainer)
        assert len(rates) == 3 * STEPS
        assert [matrix / network for network, matrix in rates] == pytest.approx([5.0] * len(rates))
        make_trainer(epochs=1, batch_size=TRAIN, schedule=schedule).fit()  # a single step is enough


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

    @pytest.mark.parametrize("milestones", [(1, 4), (), (6,)])
    def test_multi_step_falls_after_its_milestones(self, milestones):
        rates, _ = self.run(schedule="multi_step", milestones=milestones, decay=0.5)
        falls = [sum(milestone <= step // STEPS for milestone in milestones) for step in range(self.TOTAL)]
        assert rates == pytest.approx([0.2 * 0.5**fall for fall in falls])

    def test_one_cycle_rises_to_its_peak_and_falls_to_nothing(self):
        rates, trainer = self.run(schedule="one_cycle")
        peak = rates.index(max(rates))
        assert peak == pytest.approx(0.3 * self.TOTAL, abs=1)
        assert (rates[0], rates[peak]) == pytest.approx((0.2 / 25, 0.2), rel=0.01)
        assert sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True) == rates
        assert trainer.history[-1]["learning_rate"] == pytest.approx(0.2 / 25 / 1e4)
        assert {group["momentum"] for group in trainer.optimizer.param_groups} == {0.9}

    def test_cosine_falls_along_a_cosine_and_constant_stays(self):
        rates, trainer = self.run(schedule="cosine")
        expected = [0.1 * (1 + math.cos(math.pi * step / self.TOTAL)) for step in range(self.TOTAL)]
        assert rates == pytest.approx(expected)
        assert trainer.history[-1]["learning_rate"] == pytest.approx(0, abs=1e-12)
        assert self.run(schedule="constant")[0] == [0.2] * self.TOTAL


class TestCopies:
    """Several copies of each sample: what is recorded is still a mean over what was seen."""

    @staticmethod
    def train(method, augmentation="none", **recipe):
        draws = torch.Generator().manual_seed(0)
        split = Split(torch.rand(23, 1, 8, 8, generator=draws), torch.randint(K, (23,), generator=draws))
        dataset = Dataset("noise", split, split, tuple("abcd"))
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, K))
        trainer = make_trainer(
            method, network=network, dataset=dataset, trainer={"augmentation": augmentation}, **recipe
        )
        trainer.fit()
        return trainer

    def test_records_means_over_all_copies(self):
        method = Copied(3)
        row = self.train(method, "cutout3", epochs=1).history[0]
        logits, targets = (torch.cat(parts) for parts in zip(*method.seen, strict=True))
        assert len(targets) == 3 * 23
        assert row["loss"] == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-5)
        assert row["train_accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())

    def test_copies_that_are_not_augmented_change_nothing(self):
        plain, copied = self.train(CrossEntropy()), self.train(Copied(4))
        torch.testing.assert_close(plain.network.state_dict(), copied.network.state_dict())
        for one, other in zip(plain.history, copied.history, strict=True):
            assert one | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-4)

    def test_a_wrapper_asks_for_what_its_method_asks_for(self):
        assert self.train(Mixup(Copied(3), K), epochs=1).loader.copies == 3


class TestInterruption:
    OBSERVERS = (lambda trainer: {"bias": trainer.network[-1].bias.detach().clone()},)

    def start(self, method, seed=0):
        return make_trainer(method, seed=seed, trainer={"observers": self.OBSERVERS})

    @pytest.fixture
    def expected(self):
        straight = self.start("adaptive_label_regularization")
        straight.fit()
        return outcome(straight)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("moment", [1, 3, 5, 6, 7, 13, 17, 18])  # an epoch is five passes of training, then a test
    def test_goes_on_bit_by_bit(self, method, moment, tmp_path):
        assert_goes_on_bit_by_bit(partial(self.start, method), moment, tmp_path / "folder" / "checkpoint.pt")

    def test_again_and_again(self, expected, tmp_path):
        for attempt in range(3 * (STEPS + 1)):  # a step or a test at a time
            resumed = self.start("adaptive_label_regularization", seed=attempt)
            Signaller(resumed.network, 1, number=signal.SIGTERM)
            with pytest.raises(Interrupted):
                resumed.fit(tmp_path / "checkpoint.pt")
        resumed.fit(tmp_path / "checkpoint.pt", progress=lambda row: pytest.fail("nothing is left to do"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.epochs", "checkpoint.pt"]
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

    def test_trains_outside_the_main_thread(self):
        trainer = self.start("cross_entropy")
        thread = threading.Thread(target=trainer.fit)
        thread.start()
        thread.join()
        assert trainer.epoch == 3

    @pytest.mark.parametrize("steps", [1, 5, 8])
    def test_stop_is_asked_after_every_step_and_training_goes_on_bit_by_bit(self, steps, expected, tmp_path):
        """The last step of an epoch is a step like any other."""
        checkpoint, asked, rest = tmp_path / "checkpoint.pt", [], []
        where = f"interrupted in epoch {1 + (steps - 1) // STEPS}, step {1 + (steps - 1) % STEPS} of {STEPS}; saved"
        with pytest.raises(Interrupted, match=where):
            self.start("adaptive_label_regularization").fit(
                checkpoint, stop=lambda: asked.append(1) or len(asked) == steps
            )
        resumed = self.start("adaptive_label_regularization")
        resumed.fit(checkpoint, stop=lambda: rest.append(1))
        assert len(asked) + len(rest) == 3 * STEPS
        assert_identical(outcome(resumed), expected)


def test_inside_another_block_signals_are_left_to_that():
    """So that a second one acts at once there too."""
    outer, inner = [], []
    with stop_on_signals(lambda: outer.append(1)), stop_on_signals(lambda: inner.append(1)):
        signal.raise_signal(signal.SIGINT)
        assert (outer, inner) == ([1], [])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_are_passed_on_once_and_only_inside():
    """The first calls the function, the second is the caller's own; afterwards and in threads all is as before."""
    received, requested = [], []
    previous = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        with stop_on_signals(lambda: requested.append(1)):
            signal.raise_signal(signal.SIGTERM)
            assert (requested, received) == ([1], [])
            signal.raise_signal(signal.SIGTERM)
            assert (requested, received) == ([1], [1])
        with contextlib.suppress(ZeroDivisionError), stop_on_signals(lambda: requested.append(1)):
            1 / 0  # noqa: B018
        signal.raise_signal(signal.SIGTERM)
        assert (requested, received) == ([1], [1, 1])
    finally:
        signal.signal(signal.SIGTERM, previous)


class TestCheckpoint:
    def test_comes_back_where_it_belongs(self, tmp_path):
        """The sums of an epoch on the device; what was observed, and what an optimizer counts by, on the CPU."""
        trainer, resumed = (
            make_trainer(optimizer="adam", epochs=1, trainer={"observers": (lambda trainer: {"seen": torch.ones(2)},)})
            for _ in range(2)
        )
        trainer.fit()
        trainer.totals = {"loss": torch.ones(())}
        trainer.save(tmp_path / "checkpoint.pt")
        resumed.device = torch.device("meta")
        resumed.load(tmp_path / "checkpoint.pt")
        assert resumed.totals["loss"].device.type == "meta"
        assert [each.device.type for each in resumed.observations["seen"]] == ["cpu"]
        assert {state["step"].device.type for state in resumed.optimizer.state.values()} == {"cpu"}

    @pytest.mark.parametrize("damage", ["flipped bit", "no parts", "too long", "no journal", "another's journal"])
    def test_that_is_damaged_is_refused_like_any_other(self, damage, tmp_path):
        checkpoint, journal = checkpoints.files(tmp_path / "checkpoint.pt")
        trainer = make_trainer(epochs=2)
        trainer.fit(checkpoint)
        state = checkpoints.read(checkpoint)
        match damage:
            case "flipped bit":
                content = bytearray(checkpoint.read_bytes())
                content[len(content) // 2] ^= 4
                checkpoint.write_bytes(content)
            case "no parts":
                checkpoints.write(checkpoint, {name: value for name, value in state.items() if name != "parts"})
            case "no journal":
                journal.unlink()
            case "another's journal":
                make_trainer(epochs=1).fit(tmp_path / "another.pt")
                (tmp_path / "another.epochs").rename(journal)
        message = r"^[^\n]*checkpoint\.pt cannot be resumed from \(\w+:[^\n]*\); move it away to start anew$"
        with pytest.raises(ValueError, match=message):
            make_trainer(epochs=1 if damage == "too long" else 2).fit(checkpoint)

    @pytest.mark.parametrize(
        ("content", "other"),
        [
            (b"", {}),
            (b"no checkpoint", {}),
            (None, {"network": nn.Linear(6, K)}),
            (None, {"method": "knowledge_refinery"}),
        ],
        ids=["empty", "damaged", "another network", "another method"],
    )
    def test_that_does_not_fit_is_refused_in_one_line_and_stays(self, content, other, tmp_path):
        checkpoint = tmp_path / "checkpoint.pt"
        make_trainer().save(checkpoint)
        if content is not None:
            checkpoint.write_bytes(content)
        before = checkpoint.read_bytes()
        message = r"^[^\n]*checkpoint\.pt cannot be resumed from \(\w+:[^\n]*\); move it away to start anew$"
        with pytest.raises(ValueError, match=message):
            make_trainer(**other).fit(checkpoint)
        assert checkpoint.read_bytes() == before
