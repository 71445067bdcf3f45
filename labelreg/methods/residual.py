"""Decoupled labels: Adaptive Regularization of Labels (ALR) and Knowledge Refinery (KR).

Both keep the hard label for the true class and learn, beside the network, a *residual label* a class: a distribution
over the wrong classes, from a row of the residual correlation matrix. They differ in how the two residual losses are
weighted as training goes on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelreg import functional as F
from labelreg.methods.base import Criterion


class ResidualCriterion(Criterion):
    """Hard loss + weighted residual loss (trains the network) + weighted update loss (trains the matrix).

    Args:
        num_classes: K, at least 2; with K = 2 the residual distribution has one entry and the residual losses are 0.
        smoothing: label smoothing of the hard loss, spread over the K - 1 wrong classes (KR eq. 12); 0 for none.
        kind: ``"kl"`` or ``"cross_entropy"``: which of the two divergences; their gradients agree. The latter goes with
            ``"target_first"`` only.
        direction: ``"target_first"`` or ``"literal"``: see :func:`labelreg.functional.residual_losses`.
        lr_mult: factor on the learning rate of the matrix. The mean over the batch makes the effective rate of a row
            proportional to the share of its class in the batch.

    Attributes:
        matrix: (K, K) parameter, zeros at first, so that every residual label starts uniform; its diagonal is unused.
    """

    def __init__(self, num_classes: int, smoothing: float, kind: str, direction: str, lr_mult: float):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(num_classes, num_classes))
        self.smoothing = smoothing
        self.kind = kind
        self.direction = direction
        self.lr_mult = lr_mult

    @abstractmethod
    def weights(self) -> tuple[float | Tensor, float | Tensor]:
        """Return the current factors on the residual loss and on the update loss."""

    def residual_labels(self) -> Tensor:
        """Return the learned residual labels, (K, K) without gradient: row k over the classes other than k."""
        return F.residual_labels(self.matrix.detach())

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        residual, update = F.residual_losses(logits, targets, self.matrix, self.kind, self.direction)
        residual_weight, update_weight = self.weights()
        return {
            "hard": F.smooth_cross_entropy(logits, targets, self.smoothing, "others"),
            "residual": residual_weight * residual,
            "update": update_weight * update,
        }

    def extra_repr(self) -> str:
        return f"num_classes={len(self.matrix)}, smoothing={self.smoothing}, kind={self.kind!r}"


class AdaptiveLabelRegularization(ResidualCriterion):
    """Adaptive Regularization of Labels (ALR; ALR-S with ``smoothing=0.1``).

    The loss is hard + (1 - training accuracy) * residual + update (ALR section 3.2, eqs. 4 to 6): the better the
    network fits, the less it is held to the residual labels, while these go on learning at full weight.

    Args:
        num_classes: K.
        smoothing: label smoothing of the hard loss; 0.1 gives ALR-S.
        tracking: which training accuracy, as the paper does not say: ``"epoch"``, that of the previous epoch (weight 1
            in the first), or ``"ema"``, a moving average over batches with factor 0.99. Either stays on the device.
        kind: ``"cross_entropy"`` as printed, or ``"kl"``.
        direction: see :class:`.ResidualCriterion`.
        lr_mult: see :class:`.ResidualCriterion`.

    Raises:
        ValueError: an unknown tracking; what :func:`labelreg.functional.residual_losses` raises, on the first loss.
    """

    def __init__(
        self,
        num_classes: int,
        smoothing: float = 0.0,
        tracking: str = "epoch",
        kind: str = "cross_entropy",
        direction: str = "target_first",
        lr_mult: float = 1.0,
    ):
        super().__init__(num_classes, smoothing, kind, direction, lr_mult)
        if tracking not in ("epoch", "ema"):
            raise ValueError(f"tracking must be 'epoch' or 'ema', not {tracking!r}")
        self.tracking = tracking
        self.register_buffer("accuracy", torch.zeros(()))
        self.register_buffer("correct", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def weights(self) -> tuple[Tensor, float]:
        return 1 - self.accuracy, 1.0

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        if self.tracking == "epoch":
            self.accuracy.copy_(self.correct / self.seen.clamp(min=1))
            self.correct.zero_()
            self.seen.zero_()

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        terms = super().terms(logits, targets)
        if self.training:
            self._track(logits, targets)
        return terms

    @torch.no_grad()
    def _track(self, logits: Tensor, targets: Tensor) -> None:
        hits = logits.argmax(1) == targets
        if self.tracking == "ema":
            # out of place: this batch's loss still needs the accuracy it was computed with
            self.accuracy = torch.lerp(hits.to(self.accuracy.dtype).mean(), self.accuracy, 0.99)
        else:
            self.correct += hits.sum()
            self.seen += len(hits)


class KnowledgeRefinery(ResidualCriterion):
    """Knowledge Refinery (KR; KR-LS with ``smoothing=0.1``).

    The loss is hard + alpha * (residual + update) with alpha = gamma^epoch (KR eqs. 6 to 11).

    Args:
        num_classes: K.
        gamma: decay of alpha an epoch, in [0, 1]; the first epoch, counted 0, has alpha = 1. ``gamma=0`` is the
            baseline in every epoch, as the paper has it.
        smoothing: label smoothing of the hard loss (KR eqs. 12 to 14); 0.1 gives KR-LS.
        truncate: epoch from which alpha is 0 (KR eq. 15, "1*": ``gamma=1, truncate=20``); 0 for never.
        kind: ``"kl"`` as printed, or ``"cross_entropy"``.
        direction: see :class:`.ResidualCriterion`.
        lr_mult: see :class:`.ResidualCriterion`.

    Raises:
        ValueError: gamma outside [0, 1] or a negative truncate; what :func:`labelreg.functional.residual_losses`
            raises, on the first loss.
    """

    def __init__(
        self,
        num_classes: int,
        gamma: float = 0.99,
        smoothing: float = 0.0,
        truncate: int = 0,
        kind: str = "kl",
        direction: str = "target_first",
        lr_mult: float = 1.0,
    ):
        super().__init__(num_classes, smoothing, kind, direction, lr_mult)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma decays alpha and lies in [0, 1], not {gamma}")
        if truncate < 0:
            raise ValueError(f"truncate is an epoch, 0 for never, not {truncate}")
        self.gamma = gamma
        self.truncate = truncate
        self.start_epoch(0)

    def weights(self) -> tuple[float, float]:
        return self.alpha, self.alpha

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        off = self.gamma == 0 or (self.truncate and epoch >= self.truncate)
        self.alpha = 0.0 if off else self.gamma**epoch

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}"
