"""Training on a text: against a loop written out, against its own interruption, and what is reported of it."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from interruption import assert_goes_on_bit_by_bit
from torch.nn.functional import cross_entropy, one_hot

from labelreg import methods, networks, observers, training
from labelreg.data import SequenceLoader, registry
from labelreg.data.language import make_dataset
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy, LabelSmoothing
from labelreg.methods.nar import nar_targets
from labelreg.metrics import recall_at_1
from labelreg.recipe import Recipe
from labelreg.running import run, train
from labelreg.training import Trainer

WORDS = "abcdefgh"
METHODS = ("cross_entropy", "label_smoothing", "confidence_penalty", "disturb_label", "deep_mutual_learning")
METHODS += ("knowledge_distillation", "network_as_regularization", "knowledge_refinery")
STEPS = 5  # of 7, 7, 7, 7 and 2 rows, 4 columns each


def make_text(length, seed):
    """Every word is followed by the next, or, once in four, by any."""
    draws = torch.Generator().manual_seed(seed)
    steps = torch.where(torch.rand(length, generator=draws) < 0.75, 1, torch.randint(8, (length,), generator=draws))
    return [WORDS[place % 8] for place in steps.cumsum(0).tolist()]


DATASET = make_dataset("chain", make_text(123, 0), make_text(64, 1), make_text(95, 2))


def make_network(dropout=0.3, hidden=6):
    return networks.build("lstm", 8, hidden=hidden, dropout=dropout, init_range=0.3)


def make_trainer(method="cross_entropy", *, seed=0, dropout=0.3, trainer=None, **recipe):
    """A trainer whose parameters and random draws are a function of the seed."""
    torch.manual_seed(seed)
    network = make_network(dropout)
    if isinstance(method, str):
        method = methods.create(method, 8, {}, lambda role, chosen: make_network(dropout, hidden=4))
    settings = {"epochs": 3, "batch_size": 4, "sequence_length": 7, "learning_rate": 2.0, "schedule": "plateau"}
    plain = {"momentum": 0.0, "weight_decay": 0.0}
    return Trainer(network, method, DATASET, Recipe(**settings | plain | recipe), **trainer or {})


def in_columns(split, columns=10):
    """Words and those that follow them, each (rows, columns)."""
    rows = len(split) // columns
    return (values[: rows * columns].view(columns, rows).t() for values in (split.inputs, split.targets))


def read_at_once(network, split):
    """Error and mean loss over a text in ten columns, each read in one piece from its beginning."""
    inputs, targets = in_columns(split)
    network = copy.deepcopy(network).eval()
    network.reset_state()
    with torch.no_grad():
        logits = network(inputs)
    wrong = (logits.argmax(1) != targets.flatten()).double().mean()
    return float(wrong), float(cross_entropy(logits.double(), targets.flatten()))


class TestLoop:
    @pytest.mark.parametrize("clip_norm", [0.0, 0.2])
    def test_is_truncated_backpropagation_with_sgd_written_out(self, clip_norm):
        trainer = make_trainer(dropout=0.0, clip_norm=clip_norm, learning_rate=0.5, schedule="constant")
        network = copy.deepcopy(trainer.network)
        parameters = list(network.parameters())
        columns = [*in_columns(DATASET.train, 4)]
        norms = []
        for _ in range(3):
            network.reset_state()
            for inputs, targets in zip(*(values.split(7) for values in columns), strict=True):
                loss = cross_entropy(network(inputs), targets.flatten())
                gradients = torch.autograd.grad(loss, parameters)
                norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
                scale = min(1.0, clip_norm / norms[-1]) if clip_norm else 1.0
                with torch.no_grad():
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter -= 0.5 * scale * gradient
        trainer.fit()
        assert len(norms) == 3 * STEPS
        assert not clip_norm or min(norms) < clip_norm < max(norms)  # some are clipped, some are not
        for name, value in network.named_parameters():
            torch.testing.assert_close(trainer.network.get_parameter(name), value, rtol=1e-4, atol=1e-6)

    def test_clips_every_network_by_itself(self):
        trainer, norms = make_trainer("deep_mutual_learning", clip_norm=0.05, epochs=1), []

        def measure(optimizer, *_):
            groups = ([parameter.grad for parameter in group["params"]] for group in optimizer.param_groups)
            norms.append([float(torch.cat([gradient.flatten() for gradient in group]).norm()) for group in groups])

        trainer.optimizer.register_step_pre_hook(measure)
        trainer.fit()
        assert torch.tensor(norms).shape == (STEPS, 2)
        assert norms[0] == pytest.approx([0.05, 0.05], rel=1e-3)

    @pytest.mark.parametrize(
        ("augmentation", "attributes", "asked"),
        [
            ("crop_flip", {}, "augmentation 'crop_flip', copies=1"),
            ("none", {"views": frozenset({"partner"})}, "view 'partner', augmentation 'none', copies=1"),
            ("none", {"copies": 2}, "augmentation 'none', copies=2"),
        ],
    )
    def test_a_text_has_no_views_copies_or_augmentation(self, augmentation, attributes, asked):
        method = CrossEntropy()
        vars(method).update(attributes)
        message = f"chain is a text: it has no views, copies or augmentation, got {asked}"
        with pytest.raises(ValueError, match=message):
            make_trainer(method, trainer={"augmentation": augmentation})

    @pytest.mark.parametrize("name", METHODS)
    def test_methods_learn_word_by_word(self, name):
        trainer = make_trainer(name, dropout=0.0, epochs=20, optimizer="adam", learning_rate=0.05)
        trainer.fit()
        assert trainer.history[-1]["test_perplexity"] < 6 < 7 < trainer.history[0]["test_perplexity"]  # 8 by guessing


class TestReport:
    def test_of_a_text_is_that_of_the_text_read_at_once(self):
        trainer = make_trainer(LabelSmoothing(0.3), sequence_length=2)
        trainer.fit()
        row = trainer.history[-1]
        for name, split in (("test", DATASET.test), ("validation", DATASET.validation)):
            error, nll = read_at_once(trainer.network, split)  # of the plain loss, whatever is trained on
            assert row[f"{name}_error"] == pytest.approx(error)
            assert row[f"{name}_nll"] == pytest.approx(nll, rel=1e-5)
            assert row[f"{name}_perplexity"] == pytest.approx(math.exp(nll), rel=1e-5)

    def test_predictions_come_in_the_order_of_the_columns(self):
        trainer = make_trainer()
        logits, targets = trainer.predict(DATASET.test)
        loader = SequenceLoader(DATASET.test, 10, 9)
        assert torch.equal(targets, torch.cat([batch.targets for batch in loader.epoch(0)]))
        assert float(cross_entropy(logits, targets)) == pytest.approx(read_at_once(trainer.network, DATASET.test)[1])

    def test_never_has_the_logits_of_more_than_a_step_in_memory(self):
        rows = []

        class Watching(CrossEntropy):
            def predict(self, network, inputs):
                rows.append(inputs.numel())
                return super().predict(network, inputs)

        trainer = make_trainer(Watching(), epochs=1, sequence_length=3)
        trainer.fit()
        assert max(rows) == 30
        assert sum(rows) == 90 + 60  # of 94 and 63, in ten columns

    def test_leaves_training_as_it_was(self, monkeypatch):
        trainer = make_trainer(schedule="constant")
        trainer.fit()
        unwatched = make_trainer(schedule="constant")
        monkeypatch.setattr(training, "summarise_batches", lambda batches: {"nll": 0.0})  # reads none
        unwatched.fit()
        for one, other in zip(trainer.network.parameters(), unwatched.network.parameters(), strict=True):
            assert torch.equal(one, other)


class TestPlateau:
    LOSSES = (3.0, 2.0, 2.0, 2.5, 1.9, 1.95, 1.0, 1.0)
    # how often an epoch before was no better than the best before it
    FALLS = (0, 0, 0, 1, 2, 2, 3, 3)

    @pytest.fixture(autouse=True)
    def _as_they_are(self, monkeypatch):
        monkeypatch.setattr(training, "summarise_batches", dict)

    def make(self, **settings):
        trainer = make_trainer(epochs=8, decay=0.25, **settings)
        losses = itertools.cycle(self.LOSSES[trainer.epoch :])

        def summarise(split):
            nll = self.LOSSES[trainer.epoch] if split is trainer.validation else next(losses)
            return {"nll": nll, "error": 0.5}

        trainer._predictions = summarise
        rates = []
        trainer.optimizer.register_step_pre_hook(
            lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
        )
        return trainer, rates

    @pytest.mark.parametrize(("method", "trained"), [("cross_entropy", 1), ("deep_mutual_learning", 2)])
    def test_the_rates_fall_after_every_epoch_without_improvement(self, method, trained):
        trainer, rates = self.make(method=method)
        trainer.fit()
        assert rates == [[2.0 * 0.25**fall] * trained for fall in self.FALLS for _ in range(STEPS)]
        assert trainer.history[-1]["learning_rate"] == 2.0 * 0.25**4

    @pytest.mark.parametrize("stop", range(1, 8))
    def test_the_best_so_far_is_in_the_checkpoint(self, stop, tmp_path):
        first, before = self.make()
        first.recipe = first.recipe.model_copy(update={"epochs": stop})
        first.fit(tmp_path / "checkpoint.pt")
        second, after = self.make()
        second.fit(tmp_path / "checkpoint.pt")
        assert [rate for (rate,) in before + after] == [2.0 * 0.25**fall for fall in self.FALLS for _ in range(STEPS)]


@pytest.mark.parametrize("method", ["cross_entropy", "disturb_label", "deep_mutual_learning"])
# an epoch is 5 passes of training, two of the test and one of validation
@pytest.mark.parametrize("moment", [1, 3, 5, 6, 12, 16])
def test_an_interrupted_run_goes_on_bit_by_bit(method, moment, tmp_path):
    assert_goes_on_bit_by_bit(partial(make_trainer, method), moment, tmp_path / "checkpoint.pt")


OPTIONS = {"hidden": 8, "layers": 1, "dropout": 0.1, "init_range": 0.1}
SETTINGS = {"dataset": "chain", "network": "lstm", "network_options": OPTIONS, "epochs": 2, "batch_size": 10}
SETTINGS |= {"schedule": "plateau", "learning_rate": 10.0, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.25}


class TestExperiment:
    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch):
        monkeypatch.setitem(registry._datasets, "chain", lambda root: DATASET)

    def test_is_run_recorded_and_found(self, tmp_path):
        lines = []
        experiment = Experiment(**SETTINGS | {"dataset": "pydoc"})
        result = run(experiment, results=tmp_path, progress=lines.append)
        assert run(experiment, results=tmp_path, progress=lines.append) == result
        assert len(lines) == 2
        assert f"{result.last['test_perplexity']:.1f} perplexity" in lines[-1]
        assert result.last["test_perplexity"] < result.history["test_perplexity"][0] < 1_200
        assert {"validation_nll", "validation_perplexity", "validation_error", "test_nll"} <= result.last.keys()

    def test_a_teacher_is_a_language_model_too(self):
        teacher = Experiment(**SETTINGS)
        student = Experiment(**SETTINGS, method="knowledge_distillation", teacher=teacher)
        assert train(student).result.last["loss_soft"] > 0

    def test_the_auxiliary_has_options_of_its_own(self):
        trained = train(Experiment(**SETTINGS, method="deep_mutual_learning", auxiliary_options={"hidden": 3}))
        assert trained.network.classifier.in_features == 8
        assert trained.method.peer.classifier.in_features == 3
        assert len(trained.method.peer.layers) == 1  # as the target has


def test_every_word_is_watched_beside_its_own_label():
    trainer = make_trainer("network_as_regularization")
    trainer.network.eval(), trainer.method.eval()
    inputs, targets = in_columns(DATASET.train)
    for network in (trainer.network, trainer.method.auxiliary):
        network.reset_state()
    with torch.no_grad():
        logits, auxiliary_logits = trainer.network(inputs), trainer.method.auxiliary(inputs)
    labels = nar_targets(logits, auxiliary_logits, targets.flatten())
    seen = observers.disturbed_labels(trainer)
    torch.testing.assert_close(seen["disturbed_labels"], labels)
    torch.testing.assert_close(seen["disturbance"], (labels - one_hot(targets.flatten(), 8)).norm(dim=1).mean())
    features = trainer.features(trainer.dataset.test)
    expected = recall_at_1(features, trainer.predict(trainer.dataset.test)[1])
    assert float(observers.embedding(trainer)["recall_at_1"]) == pytest.approx(expected)
