"""Counted operations: against counts made by hand."""

import json
import time
from types import SimpleNamespace

import loops
import pytest
import throughput
import torch
from torch import nn

from labelreg import costs, methods, networks
from labelreg.costs import (
    _Allocations,
    augmented_step_cost,
    forward_operations,
    share_behind,
    step_costs,
    step_operations,
    step_seconds,
    training_bytes,
    training_operations,
)
from labelreg.data import Batch, load
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy, Method
from labelreg.options import Options

BASE = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
MLP = 2 * (64 * 256 + 256 * 256 + 256 * 10)  # operations of a forward pass on digits
SMALL = {"hidden": (32,)}


def batch() -> Batch:
    return Batch(torch.randn(8, 1, 2, 2), torch.arange(8) % 3, torch.arange(8))


def linear_layers() -> nn.Sequential:
    return networks.build("mlp", 3, (1, 2, 2), hidden=(5,))


class TestStep:
    # 2 B (in * out) forward, the same for the weights' gradients, and for the inputs' but those of the first layer
    PLAIN = 2 * (2 * 8 * 4 * 5) + 3 * (2 * 8 * 5 * 3)

    def test_two_linear_layers(self):
        assert step_operations(CrossEntropy(), linear_layers(), batch()) == self.PLAIN

    def test_the_first_step_is_not_counted(self):
        class Curious(Method):
            looked = False

            def step(self, network, batch):
                if not self.looked:
                    network(batch.inputs)
                    self.looked = True
                return CrossEntropy().step(network, batch)

        assert step_operations(Curious(), linear_layers(), batch()) == self.PLAIN

    def test_time_is_the_median_of_steps_that_take_turns(self, monkeypatch):
        clock, turns = [0.0], []

        class Slow(Method):
            def __init__(self, *seconds):
                super().__init__()
                self.seconds = iter(seconds)

            def step(self, network, batch):
                turns.append(self)
                clock[0] += next(self.seconds)
                return CrossEntropy().step(network, batch)

        monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
        methods = {"a": Slow(100, 1, 2, 9), "b": Slow(0, 5, 5, 5)}
        assert step_seconds(methods, linear_layers(), batch(), rounds=3) == {"a": 2, "b": 5}
        assert turns == [*methods.values()] * 4


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        *((name, 1) for name in ("label_smoothing", "confidence_penalty", "disturb_label", "ada_cos")),
        *((name, 1) for name in ("adaptive_label_regularization", "knowledge_refinery", "virtual_softmax")),
        *((name, 4 / 3) for name in ("knowledge_distillation", "class_wise_self_distillation")),
        ("deep_mutual_learning", 2),
    ],
)
def test_ratio_to_cross_entropy(name, ratio):
    """A forward pass is a third of a step, a teacher's is one more."""

    def resnet8(role="", chosen=None):
        return networks.build("resnet8", 10)

    inputs, partner = torch.randn(2, 16, 3, 32, 32)
    samples = Batch(inputs, torch.arange(16) % 10, torch.arange(16), partner)
    operations, plain = (
        step_operations(methods.create(each, 10, {}, resnet8), resnet8(), samples) for each in (name, "cross_entropy")
    )
    assert operations / plain == pytest.approx(ratio, rel=0.01)


class TestBytes:
    def test_are_those_of_what_was_allocated_and_is_there_yet(self):
        given = torch.zeros(500)
        with _Allocations() as counted:
            first, second = torch.zeros(1000), given + 1
            first += 1
            view = first.view(10, 100)
            assert (counted.bytes, counted.peak) == (6000, 6000)
            del second, first
            assert (counted.bytes, view.sum().item()) == (4000, 1000)
            (view * 2).unbind()
            del view
        assert (counted.bytes, counted.peak) == (0, 8000)

    def test_of_training_are_at_least_parameters_gradients_and_momentum(self):
        wide = {"network_options": {"hidden": (4000,)}, "batch_size": 1}
        parameters = 4 * (64 * 4000 + 4000 + 4000 * 10 + 10)
        plain, decayed = training_bytes(BASE.but(**wide)), 2 * 4 * 64 * 4000  # Nesterov's step of one layer, with decay
        assert 3 * parameters + decayed < plain < 3 * parameters + decayed + 2**17
        assert training_bytes(BASE.but(**wide, method="network_as_regularization")) > 6 * parameters + decayed
        assert training_bytes(BASE.but(**wide), bare=True) == pytest.approx(plain, rel=0.01)

    def test_and_time_by_label(self):
        costs = step_costs({"bare": BASE, "NaR": BASE.but(method="network_as_regularization")}, rounds=1, bare=["bare"])
        assert list(costs) == ["bare", "NaR"]
        assert costs["NaR"]["megabytes"] > costs["bare"]["megabytes"] > 0
        assert min(each["milliseconds"] for each in costs.values()) > 0


def test_share_behind_each_layer():
    network, inputs = linear_layers(), batch().inputs
    assert share_behind(network, inputs, "") == 1
    assert share_behind(network, inputs, "features") == 1
    assert share_behind(network, inputs, "head") == pytest.approx(15 / (20 + 15))
    assert share_behind(network, inputs, "classifier") == 0


def test_forward_of_the_default_input_shape_and_of_one_word():
    """An LSTM's four gates see the word and the state; then comes the softmax over all words."""
    assert forward_operations("mlp") == MLP
    assert forward_operations("mlp", Options(SMALL), 20) == 2 * 32 * (64 + 20)
    assert forward_operations("lstm", Options({"hidden": 16, "layers": 1}), 100) == 2 * (2 * 4 * 16 * 16 + 16 * 100)


class TestTraining:
    PLAIN = 3 * MLP - 2 * 64 * 256  # per sample: no gradient of the first layer's input is needed
    NARROW = 2 * (64 * 32 + 32 * 10)  # of a forward pass with SMALL

    @pytest.mark.parametrize(
        ("changes", "samples", "beside"),
        [
            ({}, 200, 0),
            ({"epochs": 4}, 400, 0),
            ({"subset": 50}, 100, 0),
            ({"holdout": 0.25}, 150, 0),
            ({"seed": 7, "label_noise": 0.5, "batch_size": 10}, 200, 0),
            ({"method": "batch_augmentation", "options": {"copies": 6}}, 1200, 0),
            ({"method": "knowledge_refinery"}, 200, 0),
            ({"method": "network_as_regularization"}, 200, PLAIN),
            ({"method": "mixup", "options": {"method": "network_as_regularization"}}, 200, PLAIN),
            ({"method": "network_as_regularization", "auxiliary_options": SMALL}, 200, 3 * NARROW - 2 * 64 * 32),
            ({"method": "deep_mutual_learning", "options": {"peer": "mlp"}}, 200, PLAIN),
            ({"method": "class_wise_self_distillation"}, 200, MLP),
            ({"method": "born_again", "teacher": BASE}, 200, MLP),
            ({"method": "born_again", "teacher": BASE.but(network_options=SMALL)}, 200, NARROW),
            # the attack needs the gradient of the input, and of nothing else: two passes, and two more in training
            ({"method": "adversarial_training"}, 200, 4 * MLP),
        ],
    )
    def test_closed_forms(self, changes, samples, beside):
        assert training_operations(BASE.but(**changes)) == samples * (self.PLAIN + beside)

    @pytest.mark.parametrize("granularity", ["iteration", "epoch"])
    def test_is_the_expectation_over_random_steps(self, granularity):
        """SBA augments every second step behind one of its layers: all in all 1 + pi M rho (section 3.4)."""
        options = {"layers": "features,head", "virtual": 4, "basis": "identity", "granularity": granularity}
        experiment = BASE.but(method="stochastic_batch_augmentation", options=options)
        plain, augmented = training_operations(BASE), training_operations(experiment)
        network, inputs = networks.build("mlp", 10, (1, 8, 8)), torch.randn(2, 1, 8, 8)
        rho = (share_behind(network, inputs, "features") + share_behind(network, inputs, "head")) / 2
        assert augmented / plain == pytest.approx(1 + 0.5 * 4 * rho, rel=0.02)
        assert augmented_step_cost(experiment) == pytest.approx(1 + 0.5 * 4 * rho)

    def test_a_text(self):
        text = Experiment(dataset="pydoc", network="lstm", network_options={"hidden": 16, "layers": 1}, epochs=1)
        data = load("pydoc")
        forward = forward_operations("lstm", text.network_options, data.num_classes)
        assert training_operations(text) == pytest.approx(3 * len(data.train) * forward, rel=1e-3)

    def test_leaves_random_numbers_and_threads_alone(self):
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        training_operations(BASE.but(method="mixup", options={"alpha": 0.77}))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads


class TestThroughput:
    """The script beside the package."""

    def test_warm_up_is_not_counted(self, monkeypatch):
        """A step of training takes a second of a clock that hardly moves otherwise, one of the first five thousands."""
        clock, steps, step = [0.0], [], CrossEntropy.step

        def now():
            clock[0] += 1e-6
            return clock[0]

        def slow(self, network, batch):
            steps.append(len(batch.targets))
            clock[0] += 5000 if len(steps) <= 5 else 1
            return step(self, network, batch)

        monkeypatch.setattr(CrossEntropy, "step", slow)
        monkeypatch.setattr(time, "perf_counter", now)
        speeds = throughput.throughput(BASE.but(batch_size=10), steps=12, device="cpu")
        assert len(steps) == 5 + 12
        assert speeds["training"] == pytest.approx(10, rel=1e-3)  # ten samples a second
        assert speeds["bare"] > 1e6

    def test_of_a_loop_warm_up_is_not_counted(self):
        warm_up = loops.WARM_UP
        pauses = iter([0.2] * warm_up + [0.01] * 4)
        batches = [SimpleNamespace(targets=torch.zeros(size)) for size in [1000] * warm_up + [6] * 4]
        speed = loops.samples_per_second(lambda _: time.sleep(next(pauses)), batches, torch.device("cpu"))
        assert 24 / 2 < speed < 24 / 0.04

    def test_trains_over_the_end_of_an_epoch_and_of_the_experiment(self, monkeypatch):
        sizes = []
        step = CrossEntropy.step
        monkeypatch.setattr(
            CrossEntropy,
            "step",
            lambda self, network, batch: sizes.append(len(batch.targets)) or step(self, network, batch),
        )
        speeds = throughput.throughput(BASE.but(subset=50, batch_size=20, epochs=2), steps=4, device="cpu")
        assert sizes == [20, 20, 10] * 3
        assert speeds.keys() == {"training", "bare", "padding"}
        assert min(speeds["training"], speeds["bare"]) > 0
        assert speeds["padding"] == 0

    def test_a_teacher_need_not_be_trained(self):
        student = Experiment(method="knowledge_distillation", teacher=Experiment(epochs=10**6))
        assert throughput.throughput(student, steps=1)["training"] > 0

    def test_prints_two_speeds_and_their_ratio_and_adds_them_to_a_file(self, monkeypatch, capsys, tmp_path):
        file = tmp_path / "speeds.json"
        file.write_text('{"before": 1}')
        words = ["method=batch_augmentation", "options.copies=3", "--profile=quick", "--steps=5", "--device=cpu"]
        monkeypatch.setattr("sys.argv", ["throughput.py", *words, f"--json={file}"])
        throughput.main()
        training, bare, ratio = capsys.readouterr().out.splitlines()
        speeds = [float(line.split()[1].replace(",", "")) for line in (training, bare)]
        assert [line.split()[0] for line in (training, bare)] == ["training", "bare"]
        share, rest = ratio.split("%")
        assert int(share) == pytest.approx(100 * speeds[0] / speeds[1], abs=1.5)
        assert rest.startswith(" of the bare loop, on ")
        written = json.loads(file.read_text())
        assert [*written] == ["before", "digits mlp"]
        assert written["digits mlp"]["training"] == pytest.approx(speeds[0], abs=0.5)

    def test_of_texts_counts_what_fills_them_up(self):
        texts = Experiment(dataset="docstrings", network="fasttext", network_options={"buckets": 16}, batch_size=32)
        assert 0 < throughput.throughput(texts, steps=12, device="cpu")["padding"] < 0.3

    def test_a_text_has_no_samples(self):
        with pytest.raises(ValueError, match="pydoc is one text"):
            throughput.throughput(Experiment(dataset="pydoc", network="lstm", network_options={"hidden": 8}))
