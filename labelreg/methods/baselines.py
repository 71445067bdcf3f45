"""The baselines that every paper compares with: cross-entropy and three simple ways to soften it."""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from labelreg import losses
from labelreg.methods.base import Criterion
from labelreg.options import Fraction, takes_options


def confidence_penalty(logits: Tensor, reduction: str = "mean") -> Tensor:
    """Minus the entropy of the prediction for logits (B, K), in [-ln K, 0] (Pereyra et al., 2017)."""
    losses.check_same_shape("B", "K", logits=logits)
    log_p = losses.log_softmax(logits)
    return losses.reduce(-losses.cross_entropy(log_p, log_p), reduction)


class CrossEntropy(Criterion):
    """Plain cross-entropy: the baseline (NaR, equation 1; SBA, equation 2)."""

    title = "cross entropy"
    aliases = ("Baseline", "CE", "Single")
    colour = "#000000"
    place = ("nobody's: the label stays one-hot", "")
    benchmark: ClassVar = {"Cross-entropy": {}}
    on_text = True

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"hard": losses.soft_cross_entropy(logits, targets)}  # NaR eq. 1  # SBA eq. 2


class LabelSmoothing(Criterion):
    """Cross-entropy with uniformly smoothed labels (Szegedy et al., 2016; NaR, equation 7; KR, equation 12).

    Args:
        epsilon: the probability that is spread, in [0, 1].
        convention: ``"all"`` spreads it over all K classes (NaR), ``"others"`` over the K - 1 wrong ones (ALR, KR).
    """

    title = "label smoothing"
    aliases = ("LSR", "SLR", "LS")
    colour = "#419BCD"
    place = ("the uniform distribution", "before training")
    benchmark: ClassVar = {"Label smoothing": {}}
    on_text = True

    @takes_options
    def __init__(self, epsilon: Fraction = 0.1, convention: Literal["all", "others"] = "all"):
        super().__init__()

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"smooth": losses.smooth_cross_entropy(logits, targets, self.epsilon, self.convention)}


class ConfidencePenalty(Criterion):
    """Cross-entropy minus the weighted entropy of the prediction (Pereyra et al., 2017).

    Dubey et al. (2018) and the CS-KD paper call the same loss *maximum entropy*.

    Args:
        weight: factor on the negative entropy, which is in nats.
    """

    title = "confidence penalty"
    aliases = ("CP", "Maximum-entropy")
    colour = "#5588FF"
    place = ("the uniform distribution", "before training")
    benchmark: ClassVar = {"Confidence penalty": {}}
    on_text = True

    @takes_options
    def __init__(self, weight: NonNegativeFloat = 0.1):
        super().__init__()

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"hard": losses.soft_cross_entropy(logits, targets), "penalty": self.weight * confidence_penalty(logits)}


class DisturbLabel(Criterion):
    """Cross-entropy with a random share of the labels redrawn in every step (Xie et al., 2016).

    Labels are redrawn in training mode only. A new label is drawn from PyTorch's global generator, uniformly over all K
    classes, including the true one. Targets that are probabilities raise ``TypeError``.

    Args:
        rate: probability that a label is redrawn.
    """

    title = "DisturbLabel"
    aliases = ("Label noise", "LN")
    takes_probabilities = False
    colour = "#4BA569"
    place = ("the uniform distribution", "anew at every step")
    on_text = True

    @takes_options
    def __init__(self, rate: Fraction = 0.1):
        super().__init__()

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        losses.check_loss(logits, targets, indices=True)
        if self.training:
            redrawn = torch.randint_like(targets, logits.shape[1])
            targets = torch.where(torch.rand(targets.shape, device=targets.device) < self.rate, redrawn, targets)
        return {"hard": losses.soft_cross_entropy(logits, targets)}
