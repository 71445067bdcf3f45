"""Adaptive Regularization of Labels (ALR), and what Knowledge Refinery (KR) shares with it: decoupled labels.

The hard label is kept for the true class. In addition, the method learns one *residual label* per class, a distribution
over the wrong classes, which comes from a row of the residual correlation matrix.
"""

import warnings
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from labelreg import losses
from labelreg.methods.base import Criterion
from labelreg.options import Fraction, takes_options

Kind = Literal["kl", "cross_entropy"]
Direction = Literal["target_first", "literal"]


def residual_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """The logits of the wrong classes, (B, K - 1), out of logits (B, K) (ALR, section 3.2; KR, equation 3).

    Order and dtype of the logits are kept. Targets are class indices, (B,); there are at least 2 classes.
    """
    _check_residual(logits, targets)
    return logits.gather(1, _wrong_classes(targets, logits.shape[1]))  # KR eq. 3


def residual_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """The softmax of :func:`residual_logits`, (B, K), with an exact 0 for the true class (KR, equation 4)."""
    probabilities = losses.log_softmax(residual_logits(logits, targets)).exp()  # KR eq. 4
    return probabilities.new_zeros(logits.shape).scatter(1, _wrong_classes(targets, logits.shape[1]), probabilities)


def residual_labels(matrix: Tensor) -> Tensor:
    """The residual label of each class, (K, K), with an exact 0 on the diagonal (ALR, equation 3; KR, equation 5).

    The diagonal of the residual correlation matrix, (K, K), is not used and gets no gradient.
    """
    losses.check_floating("matrix", matrix, "K", "K")
    return residual_probabilities(matrix, torch.arange(len(matrix), device=matrix.device))


def residual_losses(
    logits: Tensor,
    targets: Tensor,
    matrix: Tensor,
    kind: str = "kl",
    direction: str = "target_first",
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """The residual and the update loss, by which network and matrix learn (ALR, equations 4-5; KR, equations 6-7).

    With p the softmax over the wrong classes, q the residual label of the true class, and ^ for a blocked gradient:

    - "target_first", as ALR prints it: update = ``KL(^p || q)`` and residual = ``KL(^q || p)``. The gradient of the
      residual loss is p - q on the wrong classes, and a residual label converges to the mean of p over its class.
    - "literal", as KR prints it: update = ``KL(q || ^p)`` and residual = ``KL(p || ^q)``. A residual label converges to
      the normalised geometric mean of p.

    In both, the gradient of the residual loss reaches only the logits, and that of the update loss only the matrix. The
    true class and the diagonal get a gradient of exactly 0. With two classes p = q = 1, so both losses are 0, and a
    warning says so.

    Args:
        logits, targets, matrix: see :func:`residual_logits` and :func:`residual_labels`.
        kind: "kl", or "cross_entropy" without the entropy of the first distribution, as in ALR. With "target_first"
            that distribution is fixed, and both kinds give the same gradients. With "literal" it learns, and
            "cross_entropy" would make it collapse onto one class; this combination raises ``ValueError``.
    """
    _check_residual(logits, targets)
    num_classes = logits.shape[1]
    losses.check_floating("matrix", matrix, num_classes, num_classes)
    _check_reading(kind, direction)
    if num_classes == 2 and not torch.compiler.is_compiling():
        warnings.warn("with 2 classes one wrong class is left, so the residual losses are always 0", stacklevel=2)
    wrong = _wrong_classes(targets, num_classes)
    divergence = losses.kl if kind == "kl" else losses.cross_entropy
    log_p = losses.log_softmax(logits.gather(1, wrong))
    stored = F.embedding(targets, matrix).gather(1, wrong)  # ALR eq. 3
    log_q = losses.log_softmax(stored)  # KR eq. 5
    if direction == "target_first":
        update = divergence(log_p.detach(), log_q)  # ALR eq. 4  # KR eq. 6
        residual = divergence(log_q.detach(), log_p)  # ALR eq. 5  # KR eq. 7
    else:
        update, residual = divergence(log_q, log_p.detach()), divergence(log_p, log_q.detach())
    return losses.reduce(residual, reduction), losses.reduce(update, reduction)


def _wrong_classes(targets: Tensor, num_classes: int) -> Tensor:
    """The indices of all classes but the true one, in order, (B, K - 1); unlike a mask, they leave no NaN."""
    others = torch.arange(num_classes - 1, device=targets.device)
    return others + (others >= targets[:, None])


def _check_residual(logits: Tensor, targets: Tensor) -> None:
    losses.check_loss(logits, targets, indices=True)
    losses.check_classes(logits.shape[1], 2, "a residual distribution")


def _check_reading(kind: str, direction: str) -> None:
    losses.check_choice("kind", kind, "kl", "cross_entropy")
    losses.check_choice("direction", direction, "target_first", "literal")
    if (kind, direction) == ("cross_entropy", "literal"):
        raise ValueError("direction 'literal' needs kind 'kl': with 'cross_entropy' residual labels would collapse")


class ResidualCriterion(Criterion):
    """A criterion with a hard loss for the network, a residual loss for the network, and an update loss for the matrix.

    Subclasses weight the three losses in :meth:`.Criterion.terms`. All attributes below except ``matrix`` are options
    of the subclasses.

    Attributes:
        matrix: (K, K) parameter, zeros at first, so that every residual label starts uniform; its diagonal is unused.
        smoothing: label smoothing of the hard loss over the K - 1 wrong classes (KR, equations 12 to 14); 0 for none.
        kind, direction: see :func:`residual_losses`.
        lr_mult: factor on the learning rate of the matrix. The mean over the batch makes the effective rate of a row
            proportional to the share of its class in the batch.
    """

    takes_probabilities = False

    smoothing: float
    kind: Kind
    direction: Direction

    def __init__(self, num_classes: int):
        super().__init__()
        _check_reading(self.kind, self.direction)
        self.matrix = nn.Parameter(torch.zeros(num_classes, num_classes))

    def residual_labels(self) -> Tensor:
        """The learned residual labels, (K, K) without gradient: row k over the classes other than k."""
        return residual_labels(self.matrix.detach())

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The hard, the residual and the update loss, scalars that are not weighted yet."""
        residual, update = residual_losses(logits, targets, self.matrix, self.kind, self.direction)
        return losses.smooth_cross_entropy(logits, targets, self.smoothing, "others"), residual, update


class AdaptiveLabelRegularization(ResidualCriterion):
    """Adaptive Regularization of Labels (ALR; ALR-S with ``smoothing=0.1``).

    The loss is hard + (1 - training accuracy) * residual + update (ALR, section 3.2): the better the network fits, the
    less it follows the residual labels, which go on learning at full weight. In training mode, every batch whose loss
    is computed counts towards the training accuracy: call ``eval()`` before computing a validation loss, and
    ``train()`` after it.

    Args:
        num_classes: K.
        smoothing: label smoothing of the hard loss; 0.1 gives ALR-S.
        tracking: which training accuracy is used; the paper does not say. ``"epoch"`` is that of the previous epoch (0
            in the first), ``"ema"`` a moving average over batches with factor 0.99. Either stays on the device.
        kind: ``"cross_entropy"`` as printed, or ``"kl"``.
        direction, lr_mult: see :class:`.ResidualCriterion`.
    """

    title = "ALR"
    paper = "alr"
    colour = "#009E73"
    place = ("its class mean over the wrong classes", "slowly, over epochs")
    benchmark: ClassVar = {"ALR": {}, "ALR-S": {"smoothing": 0.1}}
    counted = ("correct", "seen")

    @takes_options
    def __init__(
        self,
        num_classes: PositiveInt,
        smoothing: Fraction = 0.0,
        tracking: Literal["epoch", "ema"] = "epoch",
        kind: Kind = "cross_entropy",
        direction: Direction = "target_first",
        lr_mult: NonNegativeFloat = 1.0,
    ):
        super().__init__(num_classes)
        self.register_buffer("accuracy", torch.zeros(()))
        for name in self.counted:
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def divisible(self) -> bool:
        return self.tracking == "epoch"  # a moving average follows the batches of one process

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        hard, residual, update = self.losses(logits, targets)
        terms = {"hard": hard, "residual": (1 - self.accuracy) * residual, "update": update}  # ALR eq. 6
        if self.training:
            self._track(logits, targets)
        return terms

    def start_epoch(self, epoch: int) -> None:
        if self.tracking == "epoch":
            self.accuracy.copy_(self.correct / self.seen.clamp(min=1))
            self.correct.zero_()
            self.seen.zero_()

    @torch.no_grad()
    def _track(self, logits: Tensor, targets: Tensor) -> None:
        hits = logits.argmax(1) == targets
        if self.tracking == "ema":
            self.accuracy.copy_(torch.lerp(hits.to(self.accuracy.dtype).mean(), self.accuracy, 0.99))
        else:
            self.correct += hits.sum()
            self.seen += len(hits)
