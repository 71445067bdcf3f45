"""The baselines every paper compares with: cross-entropy and three simple ways to soften it."""

from __future__ import annotations

import torch
from torch import Tensor

from labelreg import functional as F
from labelreg.methods.base import Criterion


class CrossEntropy(Criterion):
    """Plain cross-entropy: the baseline."""

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"hard": F.soft_cross_entropy(logits, targets)}


class LabelSmoothing(Criterion):
    """Cross-entropy with uniformly smoothed labels (Szegedy et al., 2016; NaR eq. 7, KR eq. 12).

    Args:
        epsilon: share of the label that is spread, in [0, 1].
        convention: ``"all"`` spreads it over all K classes (NaR), ``"others"`` over the K - 1 wrong ones (ALR, KR).

    Raises:
        ValueError: an epsilon outside [0, 1] or an unknown convention, when the loss is first computed.
    """

    def __init__(self, epsilon: float = 0.1, convention: str = "all"):
        super().__init__()
        self.epsilon = epsilon
        self.convention = convention

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"smooth": F.smooth_cross_entropy(logits, targets, self.epsilon, self.convention)}

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}, convention={self.convention!r}"


class ConfidencePenalty(Criterion):
    """Cross-entropy minus the weighted entropy of the prediction (Pereyra et al., 2017).

    The same loss is called *maximum entropy* by Dubey et al. (2018) and in the CS-KD paper.

    Args:
        weight: factor on minus the entropy, in nats.
    """

    def __init__(self, weight: float = 0.1):
        super().__init__()
        self.weight = weight

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {
            "hard": F.soft_cross_entropy(logits, targets),
            "penalty": self.weight * F.confidence_penalty(logits),
        }

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class DisturbLabel(Criterion):
    """Cross-entropy on labels of which a random share is redrawn in every step (Xie et al., 2016).

    Only in training mode; the draw comes from PyTorch's global random generator and is uniform over all K classes, the
    true one included.

    Args:
        rate: probability that a label is redrawn, in [0, 1].

    Raises:
        ValueError: a rate outside [0, 1].
        TypeError: probabilities as targets, when the loss is computed.
    """

    def __init__(self, rate: float = 0.1):
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is a probability in [0, 1], not {rate}")
        self.rate = rate

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if targets.ndim != 1:
            raise TypeError(
                f"targets must be class indices (B,), to be redrawn whole, got shape {tuple(targets.shape)}"
            )
        if self.training:
            redrawn = torch.randint_like(targets, logits.shape[1])
            targets = torch.where(torch.rand(targets.shape, device=targets.device) < self.rate, redrawn, targets)
        return {"hard": F.soft_cross_entropy(logits, targets)}

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
