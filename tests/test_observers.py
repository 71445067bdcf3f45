"""What is watched during training, against a second computation."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from labelreg import observers
from labelreg.data import Dataset, Split, registry
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy
from labelreg.metrics import (
    detection_auroc,
    expected_calibration_error,
    fit_temperature,
    recall_at_1,
    variance_ratio,
)
from labelreg.networks import build, features
from labelreg.recipe import Recipe
from labelreg.running import train
from labelreg.training import Trainer

SHORT = {"subset": 100, "epochs": 2, "schedule": "one_cycle"}
SBA = {"method": "stochastic_batch_augmentation"}


def normalised(dataset, split):
    return (split.inputs - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)


@pytest.fixture(scope="module")
def watched():
    names = ("class_distributions", "residual_labels", "residual_divergence")
    return train(Experiment(**SHORT, method="knowledge_refinery", observe=names))


@pytest.fixture(scope="module")
def predicted(watched):
    """Softmax and residual output of every training sample, with the class cut out, and the labels."""
    dataset = watched.dataset
    with torch.no_grad():
        soft = watched.network.eval()(normalised(dataset, dataset.train)).double().softmax(1).numpy()
    targets = dataset.train.targets.numpy()
    residual = soft.copy()
    residual[np.arange(len(targets)), targets] = 0
    return soft, residual / residual.sum(1, keepdims=True), targets


def test_every_observer_is_there_every_epoch(watched):
    shapes = {name: values.shape for name, values in watched.result.observations.items()}
    matrices = dict.fromkeys(("soft_labels", "residual_outputs", "residual_labels"), (2, 10, 10))
    assert shapes == matrices | {"residual_divergence": (2,)}


def test_class_distributions_are_means_over_the_class(watched, predicted):
    *outputs, targets = predicted
    for name, values in zip(("soft_labels", "residual_outputs"), outputs, strict=True):
        expected = np.stack([values[targets == k].mean(0) for k in range(10)])
        np.testing.assert_allclose(watched.result.observations[name][-1], expected, atol=1e-6)


def test_residual_labels_are_those_of_the_method(watched):
    expected = watched.method.residual_labels().numpy()
    np.testing.assert_array_equal(watched.result.observations["residual_labels"][-1], expected)
    assert not np.array_equal(*watched.result.observations["residual_labels"])


def test_residual_divergence_is_the_mean_jensen_shannon_divergence(watched, predicted):
    _, residual, targets = predicted
    learned = watched.method.residual_labels().numpy()[targets]
    expected = (jensenshannon(residual, learned, axis=1) ** 2).mean()
    np.testing.assert_allclose(watched.result.observations["residual_divergence"][-1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "observe"),
    [
        ({"method": "knowledge_refinery"}, ("class_distributions", "residual_labels", "residual_divergence")),
        ({"method": "network_as_regularization"}, "disturbed_labels"),
        (SBA, ("embedding", "noise_detection", "vote", "reliability", "temperature_scaling")),
        ({}, "robustness"),
    ],
)
def test_watching_changes_nothing(settings, observe):
    watched, plain = (train(Experiment(**SHORT, **settings, observe=seen)) for seen in (observe, ()))
    assert plain.result.history["loss"] == watched.result.history["loss"]
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, watched.network.state_dict()[name])


def test_looks_at_a_bounded_number_of_samples(watched, monkeypatch):
    monkeypatch.setattr(observers, "SAMPLES", 30)
    bounded = train(Experiment(**SHORT, observe=("class_distributions",)))
    targets = bounded.dataset.train.targets[:30]
    empty = [k for k in range(10) if k not in targets]
    sums = bounded.result.observations["soft_labels"][-1].sum(1)
    np.testing.assert_allclose(sums, [0.0 if k in empty else 1.0 for k in range(10)], atol=1e-5)


def test_looks_at_all_classes_of_what_is_stored_class_by_class(monkeypatch):
    monkeypatch.setattr(observers, "SAMPLES", 30)
    targets = torch.arange(95) // 10
    rows = Split(targets[:, None].float(), targets)
    seen = observers._first_samples(SimpleNamespace(dataset=Dataset("rows", rows, rows, tuple("abcdefghij"))))
    assert len(seen) <= 30
    assert seen.targets.unique().tolist() == [*range(10)]


ROWS = Split(torch.randn(10, 4), torch.arange(10) % 2)
VOTE_INSIDE = {"method": "stochastic_batch_augmentation", "method.vote": True}


@pytest.mark.parametrize(
    ("observe", "settings", "message"),
    [
        ("residual_labels", {}, "CrossEntropy learns no residual labels that could be observed"),
        ("disturbed_labels", {}, "CrossEntropy disturbs no labels that could be observed"),
        ("vote", {}, "CrossEntropy takes no vote that could be observed"),
        ("robustness", SBA | {"options": {"vote": True}}, "the vote of StochasticBatchAugmentation has none"),
        (
            "robustness",
            {"method": "mixup", "options": VOTE_INSIDE},
            "the vote of StochasticBatchAugmentation has none",
        ),
        (
            "vote",
            {"method": "knowledge_distillation", "teacher": Experiment()},
            "KnowledgeDistillation takes no vote that could be observed",
        ),
        (
            "vote",
            {"method": "snapshot_regularization", "options": {"direction": "pos"}},
            "SnapshotRegularization takes no vote that could be observed",
        ),
        ("noise_detection", {"dataset": "rows"}, r"made for images \(C, H, W\), and a sample of rows is \(4,\)"),
        ("robustness", {"dataset": "rows"}, r"made for images \(C, H, W\), and a sample of rows is \(4,\)"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_before_training(observe, settings, message, monkeypatch):
    monkeypatch.setattr(Trainer, "step", None)
    monkeypatch.setitem(registry._datasets, "rows", lambda root: Dataset("rows", ROWS, ROWS, ("a", "b")))
    with pytest.raises(ValueError, match=message):
        train(Experiment(observe=observe, **settings))


class TestEmbedding:
    def test_is_of_the_test_splits_penultimate_features(self):
        watched = train(Experiment(**SHORT, observe=("embedding",)))
        dataset = watched.dataset
        with torch.no_grad():
            _, penultimate = features(watched.network.eval(), normalised(dataset, dataset.test))
        observed, targets = watched.result.observations, dataset.test.targets
        assert observed["recall_at_1"].shape == observed["variance_ratio"].shape == (2,)
        assert observed["recall_at_1"][-1] == pytest.approx(recall_at_1(penultimate, targets))
        assert observed["variance_ratio"][-1] == pytest.approx(variance_ratio(penultimate, targets), rel=1e-5)
        assert observed["recall_at_1"][-1] > 0.5

    def test_the_map_keeps_groups_of_training_samples_together(self):
        centres = torch.tensor([0, 10, 11, 1])  # of classes 0 and 3, and of 1 and 2, which lie beside each other
        targets = torch.arange(60) % 4
        split = Split(centres[targets, None] + 0.1 * torch.randn(60, 2), targets)
        dataset = Dataset("rows", split, split.select(slice(4)), tuple("abcd"), superclasses=("x", "y", "y", "x"))
        seen = observers.feature_map(Trainer(build("mlp", 4, input_shape=(2,)), CrossEntropy(), dataset, Recipe()))
        places, groups = seen["feature_map"], seen["feature_group"]
        assert places.shape == (60, 2)
        assert groups.tolist() == [0, 1, 1, 0] * 15
        between = torch.linalg.vector_norm(places[groups == 0].mean(0) - places[groups == 1].mean(0))
        assert between > 2 * places[groups == 0].std(0).max()

    def test_the_map_of_a_single_feature(self):
        watched = train(Experiment(**SHORT | {"network_options": {"hidden": (1,)}}, observe=("feature_map",)))
        assert np.isfinite(watched.result.observations["feature_map"]).all()

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("name", ["resnet8", "plaincnn6", "imagenet_resnet10"])
    def test_of_any_network_and_precision(self, name, precision):
        torch.manual_seed(0)
        images, targets = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
        split = Split(images + 3 * targets.view(-1, 1, 1, 1), targets)
        dataset = Dataset("noise", split, split, classes=("a", "b", "c"))
        network = build(name, 3)
        trainer = Trainer(network, CrossEntropy(), dataset, Recipe(precision=precision))
        observed = observers.embedding(trainer)
        assert np.isfinite([*observed.values()]).all()
        penultimate = trainer.features(split)
        assert penultimate.dtype == torch.float32
        _, exact = features(network.eval(), normalised(dataset, split))
        tolerance = 1e-4 if precision == "float32" else 0.05
        torch.testing.assert_close(penultimate, exact, rtol=0, atol=tolerance * exact.abs().max().item())


class TestNoiseDetection:
    def test_against_noise_of_its_own(self):
        """The area for another draw of the same noise differs by chance alone."""
        watched = train(Experiment(**SHORT | {"epochs": 20}, observe=("noise_detection",)))
        dataset = watched.dataset
        mean, std = dataset.mean.item(), dataset.std.item()
        noise = (mean + std * torch.randn(4000, 1, 8, 8, generator=torch.Generator().manual_seed(7))).clamp(0, 1)
        inside, _, _ = watched.predict(dataset.test)
        outside, _, _ = watched.predict(Split(noise, torch.zeros(4000, dtype=torch.int64)))
        area = detection_auroc(*(logits.softmax(1).amax(1) for logits in (inside, outside)))
        observed = watched.result.observations["noise_auroc"]
        assert observed.shape == (1,)
        assert observed[-1] == pytest.approx(area, abs=0.03)
        assert observed[-1] > 0.7

    def test_noise_has_the_pixels_of_the_images(self):
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(90, 110, (50, 3, 8, 8), generator=generator).to(torch.uint8)
        images[:, 1] = torch.randint(0, 256, (50, 8, 8), generator=generator)
        split = Split(images, torch.arange(50) % 2)
        dataset = Dataset("images", split, split, classes=("a", "b"))
        trainer = Trainer(build("resnet8", 2), CrossEntropy(), dataset, Recipe())
        noise = observers._noise(trainer).inputs
        assert noise.dtype == torch.uint8
        assert noise.shape == (observers.NOISE, 3, 8, 8)
        means = noise.float().mean((0, 2, 3))[[0, 2]]
        torch.testing.assert_close(means, dataset.mean[[0, 2]], rtol=0, atol=0.1)
        assert (noise[:, 1] == 0).any()
        assert (noise[:, 1] == 255).any()  # clipped, not wrapped
        assert noise[:, 0].float().std() < 7
        assert torch.equal(noise, observers._noise(trainer).inputs)


def test_the_vote_is_the_error_of_the_majority():
    options = {"virtual": 9, "sigma": 3.0, "drop_rate": 0.9}
    watched = train(Experiment(**SHORT, **SBA, options=options, observe=("vote",)))
    dataset = watched.dataset
    votes = watched.method.vote_logits(watched.network.eval(), normalised(dataset, dataset.test)).argmax(1)
    errors = watched.result.observations["vote_error"]
    assert errors.shape == (2,)
    assert errors[-1] == pytest.approx((votes != dataset.test.targets).float().mean().item())
    assert errors[-1] != pytest.approx(watched.result.last["test_error"], abs=1e-4)


class TestTemperatureScaling:
    def test_is_fitted_on_one_half_and_judged_on_the_other(self):
        run = train(Experiment(**SHORT, observe=("temperature_scaling",)))
        logits, targets = run.trainer.predict(run.dataset.test)
        temperature = fit_temperature(logits[::2], targets[::2])
        seen = {name: values[-1] for name, values in run.result.observations.items()}
        assert seen["temperature"] == pytest.approx(temperature, rel=1e-5)
        scaled = (logits[1::2] / temperature).softmax(1)
        assert seen["scaled_ece"] == pytest.approx(expected_calibration_error(scaled, targets[1::2]), abs=1e-5)
        plain = logits[1::2].softmax(1)
        assert seen["unscaled_ece"] == pytest.approx(expected_calibration_error(plain, targets[1::2]), abs=1e-5)
        picked = scaled[torch.arange(len(scaled)), targets[1::2]]
        assert seen["scaled_nll"] == pytest.approx(-picked.log().mean().item(), rel=1e-4)

    def test_is_fitted_on_the_validation_split_where_there_is_one(self):
        run = train(Experiment(**SHORT, holdout=0.3, observe=("temperature_scaling",)))
        temperature = fit_temperature(*run.trainer.predict(run.trainer.validation))
        assert run.result.observations["temperature"][-1] == pytest.approx(temperature, rel=1e-5)


@pytest.fixture(scope="module")
def disturbed():
    return train(Experiment(**SHORT, observe=("robustness",)))


class TestRobustness:
    def test_without_disturbance_it_is_the_test_error(self, disturbed):
        for name in ("noisy_error", "fgsm_error"):
            errors = disturbed.result.observations[name]
            assert errors.shape == (1, len(observers.ATTACK_STEPS))  # costly, so after the last epoch alone
            assert errors[0, 0] == pytest.approx(disturbed.result.last["test_error"], abs=1e-5)

    def test_the_attack_moves_every_pixel_by_its_size_where_the_loss_grows(self, disturbed):
        dataset, network = disturbed.dataset, disturbed.network.eval()
        split = replace(dataset.test, inputs=dataset.test.inputs.clone().requires_grad_())
        torch.nn.functional.cross_entropy(network(normalised(dataset, split)), split.targets).backward()
        attacked = split.inputs.detach() + observers.ATTACK_STEPS[-1] * split.inputs.grad.sign()
        logits = network(normalised(dataset, replace(split, inputs=attacked)))
        error = (logits.argmax(1) != dataset.test.targets).float().mean().item()
        # a pixel without a gradient may get either sign of zero: nothing moves there
        assert disturbed.result.observations["fgsm_error"][-1, -1] == pytest.approx(error, abs=0.005)

    def test_an_attack_is_worse_than_noise_of_its_size(self, disturbed):
        last = {name: values[-1] for name, values in disturbed.result.observations.items()}
        assert observers.ATTACK_STEPS[-1] == observers.NOISE_DEVIATIONS[2]
        assert last["fgsm_error"][-1] > last["noisy_error"][2] + 0.1
