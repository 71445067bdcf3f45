"""What can be watched during training, beyond the metrics: small functions of a trainer, called after every epoch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from labelreg import functional as F
from labelreg.data import Split, batches
from labelreg.evaluation import reliability_diagram
from labelreg.training import Observer, Trainer

SAMPLES = 10_000  # training samples looked at, so that watching a large data set stays cheap
SHOWN = 200  # training samples whose labels are kept one by one


def class_distributions(trainer: Trainer) -> dict[str, Tensor]:
    """Soft and residual label of every class: the class means of what the network predicts (KR figure 2).

    Returns:
        ``soft_labels`` (K, K), the means of the softmax; ``residual_outputs`` (K, K), the means of the softmax over the
        wrong classes, with zeros on the diagonal.
    """
    logits, targets = _train_logits(trainer)
    classes = logits.shape[1]
    return {
        "soft_labels": F.class_means(softmax(logits, 1), targets, classes),
        "residual_outputs": F.class_means(F.residual_probabilities(logits, targets), targets, classes),
    }


def residual_labels(trainer: Trainer) -> dict[str, Tensor]:
    """The learned residual labels (K, K), zeros on the diagonal (ALR figure 3)."""
    return {"residual_labels": _learned_labels(trainer)}


def residual_divergence(trainer: Trainer) -> dict[str, Tensor]:
    """Mean Jensen-Shannon divergence, in nats, of residual outputs and learned residual labels (KR figure 4, left)."""
    logits, targets = _train_logits(trainer)
    learned = _learned_labels(trainer)[targets]
    return {"residual_divergence": F.js_divergence(F.residual_probabilities(logits, targets), learned)}


def disturbed_labels(trainer: Trainer) -> dict[str, Tensor]:
    """Labels that the method disturbs, as they stand after the epoch (NaR figure 1 and eq. 4).

    Returns:
        ``disturbed_labels`` (n, K), of the first training samples; ``disturbance``, a scalar, the mean over training
        samples of the Euclidean distance of the disturbed from the plain label.
    """
    if not hasattr(trainer.method, "labels"):
        raise ValueError(f"{type(trainer.method).__name__} disturbs no labels that could be observed")
    dataset, first = trainer.dataset, _first_samples(trainer)
    labels = [
        trainer.method.labels(trainer.network, batch.inputs, batch.targets)
        for batch in batches(first, 1024, dataset.mean, dataset.std)
    ]
    disturbed, plain = torch.cat(labels), one_hot(first.targets, dataset.num_classes)
    return {
        "disturbed_labels": disturbed[:SHOWN],
        "disturbance": torch.linalg.vector_norm(disturbed - plain, dim=1).mean(),
    }


def reliability(trainer: Trainer) -> dict[str, Tensor]:
    """Accuracy by confidence on the test split, in the 20 bins of the expected calibration error.

    Returns:
        ``bin_confidence`` and ``bin_accuracy`` (20,), means, NaN where a bin is empty; ``bin_share`` (20,), the share
        of samples in a bin.
    """
    logits, targets = trainer.predict(trainer.dataset.test)
    diagram = reliability_diagram(softmax(logits, 1), targets)
    counts = torch.tensor(diagram.count)
    return {
        "bin_confidence": torch.tensor(diagram.confidence),
        "bin_accuracy": torch.tensor(diagram.accuracy),
        "bin_share": counts / counts.sum(),
    }


def _learned_labels(trainer: Trainer) -> Tensor:
    if not hasattr(trainer.method, "residual_labels"):
        raise ValueError(f"{type(trainer.method).__name__} learns no residual labels that could be observed")
    return trainer.method.residual_labels()


def _first_samples(trainer: Trainer) -> Split:
    train = trainer.dataset.train
    return Split(train.inputs[:SAMPLES], train.targets[:SAMPLES])


def _train_logits(trainer: Trainer) -> tuple[Tensor, Tensor]:
    return trainer.predict(_first_samples(trainer))


OBSERVERS: dict[str, Observer] = {
    observer.__name__: observer
    for observer in (class_distributions, residual_labels, residual_divergence, disturbed_labels, reliability)
}
