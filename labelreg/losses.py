"""Loss functions and helpers shared by all methods.

Throughout, ``B`` is the batch size and ``K`` the number of classes.

- *logits* are ``(B, K)``, of any floating-point dtype. Losses of half-precision logits are computed and returned in
  float32, float64 stays float64, and a gradient has the dtype of its input. Logits up to 1e4 give finite losses and
  finite gradients.
- *targets* are class indices, ``(B,)`` int64, or, where a function says so, class probabilities, ``(B, K)``
  floating-point. Nothing checks that probabilities sum to one.
- *reduction* is ``"mean"``, the mean over the batch, or ``"none"``, one value per sample, ``(B,)``. Losses are sums
  over the classes, in nats. A class with a logit of minus infinity has the probability 0, and 0 log 0 is 0.

A wrong dtype raises ``TypeError``; a wrong shape or value, or a mean over no samples, raises ``ValueError``. Class
indices out of range are errors on every device, including -100, which PyTorch ignores. On a CPU the message gives
their range, unless the loss is compiled, exported or vectorised. On an accelerator an assertion fails, without a
synchronisation.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

_NEVER = torch.iinfo(torch.int64).min  # a label that no sample has, to be ignored in place of PyTorch's -100


def soft_cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy with class indices, (B,), or probabilities, (B, K), which may carry a gradient."""
    check_loss(logits, targets)
    logits = logits.to(compute_dtype(logits))
    if targets.ndim == 2:
        return reduce(-expectation(targets.to(logits.dtype), log_softmax(logits)), reduction)
    return reduce(F.cross_entropy(logits, targets, reduction="none", ignore_index=_NEVER), reduction)


def smooth_labels(targets: Tensor, num_classes: int, epsilon: float, convention: str = "all") -> Tensor:
    """Smooth labels uniformly, to probabilities (B, K).

    The convention "all" spreads epsilon, in [0, 1], over all K classes, the true one included (NaR, equation 7, and
    PyTorch's ``label_smoothing``); "others" spreads it over the K - 1 wrong classes (KR, equation 12). Smoothing by
    epsilon over the others equals smoothing by epsilon K / (K - 1) over all. Targets may be probabilities already.
    """
    check_targets(targets, "B", num_classes)
    _check_smoothing(epsilon, convention, num_classes)
    labels = distribution(targets, num_classes)
    if convention == "all":
        return (1 - epsilon) * labels + epsilon / num_classes
    return (1 - epsilon) * labels + epsilon / (num_classes - 1) * (1 - labels)  # KR eq. 12


def smooth_cross_entropy(
    logits: Tensor, targets: Tensor, epsilon: float, convention: str = "all", reduction: str = "mean"
) -> Tensor:
    """Cross-entropy with the labels of :func:`smooth_labels` (NaR, equation 7; KR, equation 14, up to a constant).

    The smoothed labels of class indices are never stored.
    """
    check_loss(logits, targets)
    num_classes = logits.shape[1]
    _check_smoothing(epsilon, convention, num_classes)
    if targets.ndim == 2:
        return soft_cross_entropy(logits, smooth_labels(targets, num_classes, epsilon, convention), reduction)
    if epsilon == 0:
        return soft_cross_entropy(logits, targets, reduction)
    log_p = log_softmax(logits)
    hard, total = -log_p.gather(1, targets[:, None]).squeeze(1), -log_p.sum(1)
    if convention == "all":
        losses = (1 - epsilon) * hard + epsilon / num_classes * total  # NaR eq. 7
    else:
        losses = (1 - epsilon) * hard + epsilon / (num_classes - 1) * (total - hard)  # KR eq. 14
    return reduce(losses, reduction)


def js_divergence(p: Tensor, q: Tensor, reduction: str = "mean") -> Tensor:
    """Jensen-Shannon divergence: the mean of ``KL(p || m)`` and ``KL(q || m)`` with m = (p + q) / 2.

    It is symmetric in the probabilities p and q, (B, K), and lies between 0 and ln 2, up to rounding. Where a
    probability is 0, the true gradient can be infinite; here it is large and finite.
    """
    check_same_shape("B", "K", p=p, q=q)
    p, q = (x.to(compute_dtype(p, q)) for x in (p, q))
    log_p, log_q, log_m = (x.clamp_min(torch.finfo(p.dtype).tiny).log() for x in (p, q, (p + q) / 2))
    return reduce((p * (log_p - log_m) + q * (log_q - log_m)).sum(-1) / 2, reduction)


def class_means(probabilities: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """The mean distribution of each class, (K, C), from probabilities (N, C), with any C, and class indices (N,).

    The means are KR's soft labels, or its residual labels if residual outputs are given. A class without samples has 0.
    """
    check_floating("probabilities", probabilities, "N", "C")
    check_indices(targets, len(probabilities), num_classes)
    probabilities = probabilities.to(compute_dtype(probabilities))
    sums = probabilities.new_zeros(num_classes, probabilities.shape[1]).index_add(0, targets, probabilities)
    counts = probabilities.new_zeros(num_classes).index_add(0, targets, probabilities.new_ones(len(targets)))
    return sums / counts.clamp_min(1)[:, None]


# ---- Building blocks, computed in at least float32. Arguments are not checked.


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest dtype of the tensors, float32 at least."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities over the last dimension."""
    logits = logits.to(compute_dtype(logits))
    return (logits if temperature == 1 else logits / temperature).log_softmax(-1)


def distribution(targets: Tensor, num_classes: int) -> Tensor:
    """Class indices or probabilities as probabilities, (B, K)."""
    if targets.ndim == 2:
        return targets.to(compute_dtype(targets))
    one_hot = torch.zeros(len(targets), num_classes, device=targets.device)
    return one_hot.scatter(1, targets[:, None], 1.0)


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``H(p, q)`` of log-probabilities, one value per row."""
    return -expectation(log_p.exp(), log_q)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(p || q)`` of log-probabilities, one value per row."""
    return expectation(log_p.exp(), log_p - log_q)


def expectation(weights: Tensor, values: Tensor) -> Tensor:
    """The sum over the last dimension of weights times values, where 0 times infinity is 0, and so is its gradient."""
    nothing = (weights == 0) & ~values.isfinite()  # masked before the product, whose gradient would be NaN
    return (weights * values.masked_fill(nothing, 0)).sum(-1)


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean of the losses, or the losses as they are."""
    check_choice("reduction", reduction, "mean", "none")
    if reduction == "none":
        return losses
    if losses.numel() == 0:
        raise ValueError("the mean over a batch needs at least one sample, got none")
    return losses.mean()


# ---- Checks of arguments: the error names the argument, what it should be and what it is.
# A shape is given in sizes, or in letters that stand for any size, the same letter for the same size.


def check_loss(logits: Tensor, targets: Tensor, indices: bool = False, **others: Tensor) -> None:
    """Check logits and ``others`` of their shape; targets may be probabilities unless only ``indices`` are allowed."""
    check_same_shape("B", "K", logits=logits, **others)
    for name, tensor in {"targets": targets, **others}.items():
        if isinstance(tensor, Tensor) and tensor.device != logits.device:
            raise ValueError(f"{name} must be on the device of the logits, {logits.device}, not on {tensor.device}")
    (check_indices if indices else check_targets)(targets, *logits.shape)


def check_same_shape(*shape: int | str, **tensors: Tensor) -> None:
    """Check floating-point tensors of one shape."""
    for name, tensor in tensors.items():
        check_floating(name, tensor, *shape)
        shape = tensor.shape


def check_floating(name: str, tensor: Tensor, *shape: int | str) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {_kind(tensor)}")
    _check_shape(name, tensor, *shape)


def check_indices(targets: Tensor, batch: int | str, num_classes: float) -> None:
    """Check class indices, (B,) int64; their range on the CPU only."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        raise TypeError(f"targets must be class indices in an int64 tensor, got {_kind(targets)}")
    _check_shape("targets", targets, batch)
    if targets.device.type == "cpu" and targets.numel() and not torch.compiler.is_compiling():
        _check_range(targets, num_classes)


def _check_range(targets: Tensor, num_classes: float) -> None:
    try:
        low, high = map(int, targets.aminmax())
    except RuntimeError:  # under vmap, and of a tensor without values
        return
    if low < 0 or high >= num_classes:
        raise ValueError(f"targets must lie in [0, {num_classes - 1}], got {low} to {high}")


def check_targets(targets: Tensor, batch: int | str, num_classes: int) -> None:
    """Check class indices, (B,), or class probabilities, (B, K)."""
    if isinstance(targets, Tensor) and targets.ndim == 2 and targets.is_floating_point():
        check_floating("targets", targets, batch, num_classes)
    else:
        check_indices(targets, batch, num_classes)


def check_choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_classes(num_classes: int, least: int, what: str) -> None:
    if num_classes < least:
        raise ValueError(f"{what} needs at least {least} classes (K), got {num_classes}")


def _check_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    sizes = {}
    if tensor.ndim != len(shape) or any(
        size != (want if isinstance(want, int) else sizes.setdefault(want, size))
        for want, size in zip(shape, tensor.shape, strict=True)
    ):
        expected = str(tuple(shape)).replace("'", "")
        raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def _check_smoothing(epsilon: float, convention: str, num_classes: int) -> None:
    check_choice("convention", convention, "all", "others")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
    if convention == "others":
        check_classes(num_classes, 2, "the convention 'others'")


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
