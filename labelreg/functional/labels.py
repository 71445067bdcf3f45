"""Soft labels: smoothed ones, the means of classes, and the cross-entropy with any of them."""

from torch import Tensor
from torch.nn import functional as F

from labelreg.functional._numerics import compute_dtype, distribution, log_softmax, reduce
from labelreg.functional.checks import check_choice, check_floating, check_indices, check_targets


def soft_cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the softmax of logits with hard or soft labels, NaR's H(y, p).

    Args:
        logits: (B, K).
        targets: (B,) class indices or (B, K) probabilities; probabilities may carry a gradient.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    check_floating("logits", logits, "B", "K")
    check_targets(targets, *logits.shape)
    logits = logits.to(compute_dtype(logits))
    targets = targets.to(logits.dtype) if targets.ndim == 2 else targets
    return reduce(F.cross_entropy(logits, targets, reduction="none"), reduction)


def smooth_labels(targets: Tensor, num_classes: int, epsilon: float, convention: str = "all") -> Tensor:
    """Labels that give a part epsilon of their mass away uniformly.

    The convention says who receives it: "all" K classes, epsilon / K each, the true one included (NaR eq. 7, and
    ``label_smoothing`` of PyTorch), or only the K - 1 "others", epsilon / (K - 1) each (KR eq. 12). Smoothing by
    epsilon over the others equals smoothing by epsilon K / (K - 1) over all.

    Args:
        targets: (B,) class indices or (B, K) probabilities.
        num_classes: K; at least 2 for "others".
        epsilon: the mass given away, in [0, 1].
        convention: "all" or "others".

    Returns:
        The smoothed labels, (B, K); float32, or the dtype of the probabilities (float32 for half precision).
    """
    _check_smoothing(epsilon, convention, num_classes)
    check_targets(targets, "B", num_classes)
    labels = distribution(targets, num_classes)
    if convention == "all":
        return (1 - epsilon) * labels + epsilon / num_classes
    return (1 - epsilon) * labels + epsilon / (num_classes - 1) * (1 - labels)


def smooth_cross_entropy(
    logits: Tensor, targets: Tensor, epsilon: float, convention: str = "all", reduction: str = "mean"
) -> Tensor:
    """Cross-entropy with smoothed labels, which are never laid out in memory (NaR eq. 7, KR eq. 14 up to a constant).

    Args:
        logits: (B, K).
        targets: (B,) class indices or (B, K) probabilities.
        epsilon: see :func:`smooth_labels`.
        convention: see :func:`smooth_labels`.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    check_floating("logits", logits, "B", "K")
    check_targets(targets, *logits.shape)
    _check_smoothing(epsilon, convention, logits.shape[1])
    if targets.ndim == 2:
        return soft_cross_entropy(logits, smooth_labels(targets, logits.shape[1], epsilon, convention), reduction)
    log_p = log_softmax(logits)
    hard, total = -log_p.gather(1, targets[:, None]).squeeze(1), -log_p.sum(1)
    if convention == "all":
        return reduce((1 - epsilon) * hard + epsilon / logits.shape[1] * total, reduction)
    return reduce((1 - epsilon) * hard + epsilon / (logits.shape[1] - 1) * (total - hard), reduction)


def class_means(probabilities: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """The mean distribution of each class: KR's soft labels, or its residual labels when given residual outputs.

    Args:
        probabilities: (N, C), any C distributions or features a sample.
        targets: (N,) class indices.
        num_classes: K.

    Returns:
        The mean of class k in row k, (K, C); zeros for a class without samples.
    """
    check_floating("probabilities", probabilities, "N", "C")
    check_indices(targets, len(probabilities), num_classes)
    probabilities = probabilities.to(compute_dtype(probabilities))
    sums = probabilities.new_zeros(num_classes, probabilities.shape[1]).index_add(0, targets, probabilities)
    counts = probabilities.new_zeros(num_classes).index_add(0, targets, probabilities.new_ones(len(targets)))
    return sums / counts.clamp_min(1)[:, None]


def _check_smoothing(epsilon: float, convention: str, num_classes: int) -> None:
    check_choice("convention", convention, "all", "others")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
    if convention == "others" and num_classes < 2:
        raise ValueError(f'num_classes must be at least 2 for convention="others", got {num_classes}')
