"""From an experiment to what is trained: its data, and what equal seeds share."""

import warnings

import pytest
import torch

from labelreg import build, methods, networks
from labelreg.build import prepare_data, prepare_training, resolve_device, untrained
from labelreg.experiment import Experiment
from labelreg.running import train

SHORT = {"subset": 100, "epochs": 1, "batch_size": 32, "schedule": "one_cycle"}
TAUGHT = {"teacher": Experiment(**SHORT)}


def taught(method):
    return TAUGHT if "teacher" in methods.network_roles(method, {}) else {}


TEXT = {"dataset": "docstrings", "subset": 16, "epochs": 1}
KD = {"method": "knowledge_distillation"}


class TestData:
    def test_subset_hold_out_and_label_noise(self):
        plain, _ = prepare_data(Experiment())
        noisy, validation = prepare_data(Experiment(subset=300, holdout=0.2, label_noise=0.5, seed=1))
        assert (len(noisy.train), len(validation)) == (240, 60)
        clean, _ = prepare_data(Experiment(subset=300, holdout=0.2, seed=1))
        assert torch.equal(clean.train.inputs, noisy.train.inputs)
        # of the redrawn half, a tenth keeps its label
        assert 0.3 < (clean.train.targets != noisy.train.targets).double().mean() < 0.6
        assert torch.equal(noisy.test.targets, plain.test.targets)
        assert set(validation.targets.tolist()) == set(range(10))

    @pytest.mark.parametrize(("augmentation", "changed"), [("standard", False), ("none", False), ("crop_flip", True)])
    def test_standard_augmentation_is_that_of_the_data(self, augmentation, changed):
        trainer = prepare_training(Experiment(**SHORT, augmentation=augmentation), "cpu")
        (batch, *_), dataset = trainer.loader.epoch(0), trainer.dataset
        plain = (dataset.train.inputs[batch.indices] - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)
        assert torch.allclose(batch.inputs, plain, atol=1e-6) != changed

    def test_device(self):
        assert resolve_device("cpu") == torch.device("cpu")
        assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")

    @pytest.mark.parametrize(
        ("settings", "device", "message"),
        [
            ({}, "gpu", "device 'gpu' cannot be used here"),
            ({}, "meta", "device 'meta' cannot be used here"),
            ({}, None, "device None cannot be used here"),
            ({}, "cuda:63", "device 'cuda:63' cannot be used here"),
            ({"dataset": "digit"}, "cpu", "no data set is called 'digit'; did you mean digits"),
            ({"network": "mpl"}, "cpu", "no network is called 'mpl'; did you mean mlp"),
            ({"dataset": "toy"}, "cpu", "toy is a regression task; experiments need classes or words"),
            (
                {"dataset": "pydoc", "holdout": 0.1},
                "cpu",
                r"pydoc comes with a validation split; holdout=0\.1 must be 0",
            ),
            ({"schedule": "plateau"}, "cpu", "schedule 'plateau' watches a validation split"),
            (
                TEXT | KD | {"network": "charcnn", "teacher": TEXT | {"network": "fasttext"}},
                "cpu",
                "fasttext reads words, and cannot teach: charcnn is given characters",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused_before_training(self, settings, device, message):
        with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
            train(Experiment(**settings), device=device)


class TestPairedComparison:
    """Equal seeds start every method from the same network, on the same batches, with the same draws ahead.

    Where a batch holds copies of its samples, the first is that batch.
    """

    @staticmethod
    def starts(**settings):
        trainer = prepare_training(Experiment(**SHORT | {"augmentation": "crop_flip"} | settings), "cpu")
        draws = torch.rand(4)
        batches = [
            [values.chunk(trainer.method.copies)[0] for values in (batch.inputs, batch.targets, batch.indices)]
            for batch in trainer.loader.epoch(0)
        ]
        return {"network": dict(trainer.network.state_dict()), "batches": batches, "draws": draws, "trainer": trainer}

    @pytest.mark.parametrize("method", methods.names())
    def test_same_network_same_batches_same_draws(self, method):
        plain, other = self.starts(), self.starts(method=method, **taught(method))
        # a student begins with parameters of its own
        for name in ("batches", "draws") if taught(method) else ("network", "batches", "draws"):
            torch.testing.assert_close(other[name], plain[name], rtol=0, atol=0)

    def test_another_seed_changes_all_of_it(self):
        one, other = self.starts(seed=0), self.starts(seed=1)
        assert not torch.equal(one["network"]["classifier.weight"], other["network"]["classifier.weight"])
        assert not torch.equal(one["batches"][0][2], other["batches"][0][2])
        assert not torch.equal(one["draws"], other["draws"])
        # nor does training draw again what the initial weights were made of
        torch.manual_seed(0)
        assert not torch.equal(one["draws"], torch.rand(4))

    def test_a_peer_starts_from_elsewhere_and_can_be_another_network(self):
        start = self.starts(method="deep_mutual_learning")
        peer = start["trainer"].method.peer.state_dict()
        assert peer.keys() == start["network"].keys()
        assert not torch.equal(peer["classifier.weight"], start["network"]["classifier.weight"])
        chosen = {"method": "deep_mutual_learning", "options": {"peer": "resnet8"}}
        peer = self.starts(**chosen)["trainer"].method.peer
        assert peer.state_dict().keys() == networks.build("resnet8", 10, input_shape=(1, 8, 8)).state_dict().keys()

    def test_every_generation_begins_with_parameters_of_its_own(self):
        """Without, a born-again network would start as its teacher did."""
        teacher = Experiment(**SHORT)
        first = Experiment(method="born_again", teacher=teacher, **SHORT)
        generations = [teacher, teacher.but(method="label_smoothing"), first, first.but(teacher=first)]
        weights = [next(prepare_training(each, "cpu").network.parameters()) for each in generations]
        assert torch.equal(weights[0], weights[1])
        assert not any(torch.equal(weights[0], each) for each in weights[2:])
        assert not torch.equal(weights[2], weights[3])


def test_untrained_networks_are_those_of_the_experiment():
    network = untrained(Experiment(network_options={"hidden": (7,)}))
    expected = networks.build("mlp", 10, input_shape=(1, 8, 8), hidden=(7,))
    assert [value.shape for value in network.parameters()] == [value.shape for value in expected.parameters()]


class TestSlowBfloat16:
    BFLOAT16 = Experiment(**SHORT, precision="bfloat16")

    @pytest.fixture(autouse=True)
    def _untold(self):
        build._tell_if_bfloat16_is_slow.cache_clear()
        yield
        build._tell_if_bfloat16_is_slow.cache_clear()

    @staticmethod
    def processor(monkeypatch, amx, avx512):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)

    def test_is_told_once(self, monkeypatch):
        self.processor(monkeypatch, False, False)
        with pytest.warns(UserWarning, match=r"precision=float32 would be faster$") as told:
            assert [prepare_training(self.BFLOAT16, "cpu").epoch for _ in range(2)] == [0, 0]
        assert len(told) == 1

    @pytest.mark.parametrize(
        ("amx", "avx512", "precision"),
        [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
    )
    def test_nothing_is_told_where_it_is_fast_or_not_asked_for(self, amx, avx512, precision, monkeypatch):
        self.processor(monkeypatch, amx, avx512)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prepare_training(self.BFLOAT16.but(precision=precision), "cpu")


class TestGraph:
    @pytest.mark.parametrize(
        ("variable", "asked", "given"), [(None, True, True), ("1", True, True), ("0", True, False), ("1", False, False)]
    )
    def test_reaches_the_trainer_unless_the_environment_says_no(self, variable, asked, given, monkeypatch):
        seen = []
        monkeypatch.setattr(build, "Trainer", lambda *_, graph, **__: seen.append(graph))
        monkeypatch.delenv("LABELREG_GRAPH", raising=False)
        if variable:
            monkeypatch.setenv("LABELREG_GRAPH", variable)
        prepare_training(Experiment(**SHORT), "cpu", graph=asked)
        assert seen == [given]

    def test_nonsense_is_refused(self, monkeypatch):
        monkeypatch.setenv("LABELREG_GRAPH", "off")
        with pytest.raises(ValueError, match=r"^LABELREG_GRAPH must be 0 .* not 'off'$"):
            prepare_training(Experiment(**SHORT), "cpu")
