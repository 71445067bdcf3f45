"""What can be watched during training, beyond the metrics: small functions of a trainer, called after every epoch."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softmax

from labelreg import functional as F
from labelreg.data import Split
from labelreg.training import Observer, Trainer

SAMPLES = 10_000  # training samples looked at, so that watching a large data set stays cheap


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
    return {"residual_labels": trainer.method.residual_labels()}


def residual_divergence(trainer: Trainer) -> dict[str, Tensor]:
    """Mean Jensen-Shannon divergence, in nats, of residual outputs and learned residual labels (KR figure 4, left)."""
    logits, targets = _train_logits(trainer)
    learned = trainer.method.residual_labels()[targets]
    return {"residual_divergence": F.js_divergence(F.residual_probabilities(logits, targets), learned)}


def _train_logits(trainer: Trainer) -> tuple[Tensor, Tensor]:
    train = trainer.dataset.train
    return trainer.predict(Split(train.inputs[:SAMPLES], train.targets[:SAMPLES]))


OBSERVERS: dict[str, Observer] = {
    observer.__name__: observer for observer in (class_distributions, residual_labels, residual_divergence)
}
