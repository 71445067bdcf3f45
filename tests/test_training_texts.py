"""Experiments on texts: what learns, what resumes, and what is refused before anything is trained."""

import pytest
import torch
from interruption import assert_goes_on_bit_by_bit

from labelreg import methods
from labelreg.build import build, prepare_data, prepare_training
from labelreg.costs import training_operations
from labelreg.experiment import Experiment
from labelreg.running import train

ADAM = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "one_cycle"}
SHORT = ADAM | {"dataset": "docstrings", "subset": 1000, "epochs": 3, "batch_size": 20}
SMALL = {
    "fasttext": {"network_options": {"buckets": 1024}, "learning_rate": 0.05},
    "textrnn": {"network_options": {"dimension": 20, "context": 10, "hidden": 20}, "learning_rate": 0.02},
    "transformer": {"network_options": {"width": 32, "heads": 2, "feedforward": 32}, "learning_rate": 0.01},
    "charcnn": {"network_options": {"length": 150}, "learning_rate": 1e-3},
}


def experiment(network: str = "fasttext", **settings) -> Experiment:
    return Experiment(**{"network": network} | SHORT | SMALL.get(network, {}) | settings)


@pytest.mark.parametrize("network", ["fasttext", "textrnn", "transformer"])
def test_learns(network):
    error = train(experiment(network, method="knowledge_refinery"), device="cpu").result.last["test_error"]
    assert error < 0.7  # guessing the most frequent class: 0.8


def test_characters_are_learnt_by_heart():
    """Ten texts: what generalises takes minutes."""
    settings = {"subset": 10, "epochs": 20, "batch_size": 10, "schedule": "constant"}
    trainer = prepare_training(experiment("charcnn", **settings), "cpu")
    losses = [float(trainer.step(batch).loss.detach()) for epoch in range(20) for batch in trainer.loader.epoch(epoch)]
    assert losses[-1] < 0.8 * losses[0]


METHODS = [name for name in methods.names() if methods.find(name).on_tokens]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_for_tokens_trains(method):
    teacher = experiment() if "teacher" in methods.network_roles(method, {}) else None
    trainer = prepare_training(experiment(method=method, teacher=teacher, subset=60), "cpu")
    for batch in trainer.loader.epoch(0):
        assert trainer.step(batch).loss.isfinite()


@pytest.mark.parametrize("method", ["cross_entropy", "class_wise_self_distillation"])
@pytest.mark.parametrize("network", ["textrnn", "transformer"])
def test_goes_on_bit_by_bit(network, method, tmp_path):
    def make(seed):
        trainer = prepare_training(experiment(network, method=method, subset=100), "cpu")
        torch.manual_seed(seed)
        return trainer

    assert_goes_on_bit_by_bit(make, 8, tmp_path / "checkpoint.pt")


def test_what_is_held_out_is_read_alike():
    dataset, validation = prepare_data(experiment(holdout=0.1, label_noise=0.2))
    assert (len(dataset.train), len(validation)) == (900, 100)
    assert validation.inputs.vocabulary == dataset.train.inputs.vocabulary == dataset.test.inputs.vocabulary
    assert prepare_data(experiment("charcnn"))[0].reading == "characters"


def test_a_teacher_on_other_texts_reads_the_same_words():
    student = experiment(method="born_again", teacher=experiment(subset=None, epochs=1))
    assert train(student, device="cpu").result.last["test_error"] < 1


def test_operations_are_estimated():
    assert training_operations(experiment(network_options={"bigrams": False}, subset=100)) == 300 * 3 * 2 * 10 * 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mixup"}, "Mixup is for images or numbers, and docstrings is made of texts"),
        ({"method": "adversarial_training"}, "AdversarialTraining is for images"),
        ({"method": "batch_augmentation"}, "BatchAugmentation is for images"),
        ({"method": "stochastic_batch_augmentation"}, "StochasticBatchAugmentation is for images"),
        ({"method": "forest_as_regularization"}, "ForestAsRegularization is for images"),
        (
            {"method": "class_wise_self_distillation", "options": {"method": "batch_augmentation"}},
            "BatchAugmentation is for images or numbers",
        ),
        ({"augmentation": "crop_flip"}, r"augmentation 'crop_flip' is for images \(N, C, H, W\)"),
        ({"network": "mlp"}, "mlp reads no texts, and docstrings is made of texts"),
        ({"network": "lstm"}, "lstm reads no texts, and docstrings is made of texts"),
        ({"dataset": "digits"}, "fasttext reads words, and digits is no data set of texts"),
        (
            {"method": "deep_mutual_learning", "options": {"peer": "charcnn"}},
            "charcnn reads characters, and docstrings is made of texts, given as words",
        ),
    ],
)
def test_what_is_not_for_texts_is_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare_training(experiment(**settings), "cpu")


def test_parts_are_on_their_networks_reading():
    parts = build(experiment("charcnn"), "cpu", lambda: None)
    assert parts.dataset.input_shape == (1014, 256)
