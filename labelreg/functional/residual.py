"""Decoupled labels: the wrong classes by themselves, as ALR and KR have it."""

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from labelreg.functional._numerics import cross_entropy, kl, log_softmax, reduce
from labelreg.functional.checks import check_choice, check_floating, check_indices


def residual_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Each row of logits without its true class, ALR section 3.2 and KR eq. 3.

    Args:
        logits: (B, K), with at least 2 classes.
        targets: (B,) class indices.

    Returns:
        The logits of the wrong classes in their order, (B, K - 1), in the dtype of logits.
    """
    _check_residual(logits, targets)
    return logits.gather(1, _wrong_classes(targets, logits.shape[1]))


def residual_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """The softmax over the wrong classes, KR eq. 4, at all K places with an exact 0 at the true class.

    Args:
        logits: (B, K), with at least 2 classes.
        targets: (B,) class indices.

    Returns:
        The residual output, (B, K).
    """
    _check_residual(logits, targets)
    wrong = _wrong_classes(targets, logits.shape[1])
    probabilities = log_softmax(logits.gather(1, wrong)).exp()
    return probabilities.new_zeros(logits.shape).scatter(1, wrong, probabilities)


def residual_labels(matrix: Tensor) -> Tensor:
    """The residual labels stored in a residual correlation matrix, ALR eq. 3 and KR eq. 5.

    Args:
        matrix: (K, K), with at least 2 classes; its diagonal is not used and gets no gradient.

    Returns:
        The residual label of class k in row k, (K, K), with an exact 0 on the diagonal.
    """
    check_floating("matrix", matrix, "K", "K")
    return residual_probabilities(matrix, torch.arange(len(matrix), device=matrix.device))


def residual_losses(
    logits: Tensor,
    targets: Tensor,
    matrix: Tensor,
    kind: str = "kl",
    direction: str = "target_first",
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """The two losses by which the network and the residual labels learn from each other, ALR eqs. 4-5 and KR eqs. 6-7.

    With p the softmax over the wrong classes, q the residual label of the true class, and ^ for a blocked gradient:

    - target first, as ALR prints it: residual = ``KL(^q || p)``, update = ``KL(^p || q)``. The gradient of the residual
      loss is p - q on the wrong classes, and a residual label comes to rest at the mean of p over its class.
    - literal, as KR prints it: residual = ``KL(p || ^q)``, update = ``KL(q || ^p)``. A residual label comes to rest at
      the normalised geometric mean of p.

    In both, the residual loss reaches the logits only and the update loss the matrix only; the true class and the
    diagonal get a gradient of exactly 0. With two classes there is only one wrong class: p = q = 1, and both losses
    are 0.

    Args:
        logits: (B, K), with at least 2 classes.
        targets: (B,) class indices.
        matrix: (K, K), the residual correlation matrix; its diagonal is not used.
        kind: "kl", or "cross_entropy", which leaves the entropy of the first distribution out (as ALR does). The
            gradients are the same where that distribution has none, which is "target_first"; with "literal" the
            entropy is what keeps it from collapsing onto one class, and "cross_entropy" is refused.
        direction: "target_first" or "literal".
        reduction: "mean" or "none".

    Returns:
        The residual loss and the update loss, two scalars or two (B,).

    Raises:
        ValueError: fewer than 2 classes, an unknown kind or direction, or "cross_entropy" with "literal".

    Warns:
        UserWarning: with two classes, where the losses have nothing to say.
    """
    _check_residual(logits, targets)
    num_classes = logits.shape[1]
    check_floating("matrix", matrix, num_classes, num_classes)
    check_choice("kind", kind, "kl", "cross_entropy")
    check_choice("direction", direction, "target_first", "literal")
    if (kind, direction) == ("cross_entropy", "literal"):
        raise ValueError(
            "direction 'literal' needs kind 'kl': without its entropy what is learned collapses onto one class"
        )
    if num_classes == 2:
        warnings.warn("with 2 classes one wrong class is left, so the residual losses are always 0", stacklevel=2)
    wrong = _wrong_classes(targets, num_classes)
    log_p = log_softmax(logits.gather(1, wrong))
    log_q = log_softmax(F.embedding(targets, matrix).gather(1, wrong))
    divergence = kl if kind == "kl" else cross_entropy
    if direction == "target_first":
        residual, update = divergence(log_q.detach(), log_p), divergence(log_p.detach(), log_q)
    else:
        residual, update = divergence(log_p, log_q.detach()), divergence(log_q, log_p.detach())
    return reduce(residual, reduction), reduce(update, reduction)


def _check_residual(logits: Tensor, targets: Tensor) -> None:
    check_floating("logits", logits, "B", "K")
    if logits.shape[1] < 2:
        raise ValueError(f"there must be at least 2 classes (K) for a wrong one to be left, got {logits.shape[1]}")
    check_indices(targets, *logits.shape)


def _wrong_classes(targets: Tensor, num_classes: int) -> Tensor:
    """The indices of all classes but the true one, in order, (B, K - 1).

    Gathering at these, rather than masking the true class with a large number, leaves nothing that could turn into NaN.
    """
    others = torch.arange(num_classes - 1, device=targets.device)
    return others + (others >= targets[:, None])
