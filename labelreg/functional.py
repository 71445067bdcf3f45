r"""The papers' equations as pure functions of tensors.

Throughout, ``B`` is the batch, ``K`` the number of classes, and

- *logits* are ``(B, K)``, of any floating-point dtype. Half precision is computed and returned in float32, float64
  stays float64, and a gradient always comes back in the dtype of its input. Logits of magnitude 1e4 give finite values
  and finite gradients in every dtype.
- *targets* are class indices, ``(B,)`` int64, or, where a function says so, class probabilities, ``(B, K)``
  floating-point. Probabilities are taken as given: nothing checks that they sum to one.
- *reduction* is ``"mean"``, the mean over the batch, or ``"none"``, one value a sample, ``(B,)``. Sums run over the
  classes and are never divided by their number. Logarithms are natural, so values are in nats.

A wrong dtype raises ``TypeError``, a wrong shape or value ``ValueError``. Class indices out of range are found on the
CPU only: on an accelerator the check would have to wait for the device, at every step.
"""

import functools
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "class_means",
    "classwise_kl",
    "confidence_penalty",
    "js_divergence",
    "nar_loss",
    "nar_regression_targets",
    "nar_targets",
    "residual_labels",
    "residual_logits",
    "residual_losses",
    "residual_probabilities",
    "smooth_cross_entropy",
    "smooth_labels",
    "soft_cross_entropy",
    "vicinity_kl",
    "virtual_softmax_logits",
]


def soft_cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the softmax of logits with hard or soft labels, NaR's H(y, p).

    Args:
        logits: (B, K).
        targets: (B,) class indices or (B, K) probabilities; probabilities may carry a gradient.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    _check_floating("logits", logits, "B", "K")
    _check_targets(targets, *logits.shape)
    logits = logits.to(_compute_dtype(logits))
    targets = targets.to(logits.dtype) if targets.ndim == 2 else targets
    return _reduce(F.cross_entropy(logits, targets, reduction="none"), reduction)


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
    _check_targets(targets, "B", num_classes)
    labels = _distribution(targets, num_classes)
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
    _check_floating("logits", logits, "B", "K")
    _check_targets(targets, *logits.shape)
    _check_smoothing(epsilon, convention, logits.shape[1])
    if targets.ndim == 2:
        return soft_cross_entropy(logits, smooth_labels(targets, logits.shape[1], epsilon, convention), reduction)
    log_p = _log_softmax(logits)
    hard, total = -log_p.gather(1, targets[:, None]).squeeze(1), -log_p.sum(1)
    if convention == "all":
        return _reduce((1 - epsilon) * hard + epsilon / logits.shape[1] * total, reduction)
    return _reduce((1 - epsilon) * hard + epsilon / (logits.shape[1] - 1) * (total - hard), reduction)


@torch.no_grad()
def nar_targets(
    logits: Tensor, auxiliary_logits: Tensor, targets: Tensor, lam: float = 0.5, alpha: float = 0.1
) -> Tensor:
    """The disturbed labels of Network as Regularization, NaR eqs. 3 and 4.

    The label gives a part lam of its mass to the mean of both networks' predictions, in which the target network
    itself has the weight alpha. No gradient flows to either network.

    Args:
        logits: (B, K), of the target network.
        auxiliary_logits: (B, K), of the auxiliary network.
        targets: (B,) class indices or (B, K) probabilities.
        lam: the weight of the predictions, in [0, 1).
        alpha: the weight of the target network among them, in [0, 1).

    Returns:
        The disturbed labels, (B, K), without gradient.
    """
    _check_floating("logits", logits, "B", "K")
    _check_floating("auxiliary_logits", auxiliary_logits, *logits.shape)
    _check_targets(targets, *logits.shape)
    predictions, auxiliary_predictions = (_log_softmax(each).exp() for each in (logits, auxiliary_logits))
    labels = _distribution(targets, logits.shape[1]).to(predictions.dtype)
    return nar_regression_targets(predictions, auxiliary_predictions, labels, lam, alpha)


@torch.no_grad()
def nar_regression_targets(
    outputs: Tensor, auxiliary_outputs: Tensor, targets: Tensor, lam: float = 0.5, alpha: float = 0.1
) -> Tensor:
    """The disturbed targets of a regression: NaR eqs. 3 and 4 with the networks' outputs in place of predictions.

    Args:
        outputs, auxiliary_outputs: of the target and of the auxiliary network, of any one shape.
        targets: of that shape.
        lam, alpha: see :func:`nar_targets`.

    Returns:
        The disturbed targets, of that shape, without gradient.
    """
    given = {"outputs": outputs, "auxiliary_outputs": auxiliary_outputs, "targets": targets}
    for name, value in given.items():
        _check_floating(name, value, *outputs.shape)
    outputs, auxiliary_outputs, targets = (x.to(_compute_dtype(*given.values())) for x in given.values())
    for name, value in (("lam", lam), ("alpha", alpha)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return (1 - lam) * targets + lam * (alpha * outputs + (1 - alpha) * auxiliary_outputs)


def nar_loss(
    logits: Tensor,
    auxiliary_logits: Tensor,
    targets: Tensor,
    lam: float = 0.5,
    alpha: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with the disturbed labels, NaR eq. 5; its gradient flows to logits only.

    Args:
        logits: (B, K), of the target network.
        auxiliary_logits: (B, K), of the auxiliary network.
        targets: (B,) class indices or (B, K) probabilities.
        lam, alpha: see :func:`nar_targets`.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    return soft_cross_entropy(logits, nar_targets(logits, auxiliary_logits, targets, lam, alpha), reduction)


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
    probabilities = _log_softmax(logits.gather(1, wrong)).exp()
    return probabilities.new_zeros(logits.shape).scatter(1, wrong, probabilities)


def residual_labels(matrix: Tensor) -> Tensor:
    """The residual labels stored in a residual correlation matrix, ALR eq. 3 and KR eq. 5.

    Args:
        matrix: (K, K), with at least 2 classes; its diagonal is not used and gets no gradient.

    Returns:
        The residual label of class k in row k, (K, K), with an exact 0 on the diagonal.
    """
    _check_floating("matrix", matrix, "K", "K")
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
        kind: "kl", or "cross_entropy", which leaves the entropy of the first distribution out (as ALR does).
        direction: "target_first" or "literal".
        reduction: "mean" or "none".

    Returns:
        The residual loss and the update loss, two scalars or two (B,).

    Warns:
        UserWarning: with two classes, where the losses have nothing to say.
    """
    _check_residual(logits, targets)
    num_classes = logits.shape[1]
    _check_floating("matrix", matrix, num_classes, num_classes)
    _check_choice("kind", kind, "kl", "cross_entropy")
    _check_choice("direction", direction, "target_first", "literal")
    if num_classes == 2:
        warnings.warn("with 2 classes one wrong class is left, so the residual losses are always 0", stacklevel=2)
    wrong = _wrong_classes(targets, num_classes)
    log_p = _log_softmax(logits.gather(1, wrong))
    log_q = _log_softmax(F.embedding(targets, matrix).gather(1, wrong))
    divergence = _kl if kind == "kl" else _cross_entropy
    if direction == "target_first":
        residual, update = divergence(log_q.detach(), log_p), divergence(log_p.detach(), log_q)
    else:
        residual, update = divergence(log_p, log_q.detach()), divergence(log_q, log_p.detach())
    return _reduce(residual, reduction), _reduce(update, reduction)


def class_means(probabilities: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """The mean distribution of each class: KR's soft labels, or its residual labels when given residual outputs.

    Args:
        probabilities: (N, C), any C distributions or features a sample.
        targets: (N,) class indices.
        num_classes: K.

    Returns:
        The mean of class k in row k, (K, C); zeros for a class without samples.
    """
    _check_floating("probabilities", probabilities, "N", "C")
    _check_indices(targets, len(probabilities), num_classes)
    probabilities = probabilities.to(_compute_dtype(probabilities))
    sums = probabilities.new_zeros(num_classes, probabilities.shape[1]).index_add(0, targets, probabilities)
    counts = probabilities.new_zeros(num_classes).index_add(0, targets, probabilities.new_ones(len(targets)))
    return sums / counts.clamp_min(1)[:, None]


def classwise_kl(
    logits: Tensor, partner_logits: Tensor, temperature: float = 4.0, t_squared: bool = True, reduction: str = "mean"
) -> Tensor:
    """``KL(partner || prediction)`` at a temperature: the class-wise and the sample-wise loss of CS-KD (section 2).

    Args:
        logits: (B, K); only they get a gradient.
        partner_logits: (B, K), of another sample of the same class, or of another view of the same sample.
        temperature: T, positive.
        t_squared: whether to multiply by T squared, which keeps the size of the gradient; the paper prints no factor.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    _check_floating("logits", logits, "B", "K")
    _check_floating("partner_logits", partner_logits, *logits.shape)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    losses = _kl(_log_softmax(partner_logits.detach(), temperature), _log_softmax(logits, temperature))
    return _reduce(losses * temperature**2 if t_squared else losses, reduction)


def vicinity_kl(
    reference_logits: Tensor, virtual_logits: Tensor, reduction: str = "mean", detach_reference: bool = True
) -> Tensor:
    """``KL(reference || virtual)``, the mean over the virtual points of each sample: the second term of SBA eq. 11.

    Args:
        reference_logits: (B, K), of the samples themselves.
        virtual_logits: (M, B, K), of M virtual points around each sample.
        reduction: "mean" over points and samples, or "none", the mean over points only.
        detach_reference: whether the reference is a fixed soft label; else it gets a gradient too.

    Returns:
        The loss, a scalar or (B,); zero without virtual points, M = 0.
    """
    _check_floating("reference_logits", reference_logits, "B", "K")
    _check_floating("virtual_logits", virtual_logits, "M", *reference_logits.shape)
    log_reference = _log_softmax(reference_logits.detach() if detach_reference else reference_logits)
    if len(virtual_logits) == 0:
        return _reduce(log_reference.new_zeros(len(reference_logits)), reduction)
    return _reduce(_kl(log_reference, _log_softmax(virtual_logits)).mean(0), reduction)


def confidence_penalty(logits: Tensor, reduction: str = "mean") -> Tensor:
    """Minus the entropy of the prediction, in [-ln K, 0] (Pereyra et al., 2017).

    Args:
        logits: (B, K).
        reduction: "mean" or "none".

    Returns:
        The penalty, a scalar or (B,).
    """
    _check_floating("logits", logits, "B", "K")
    log_p = _log_softmax(logits)
    return _reduce(-_cross_entropy(log_p, log_p), reduction)


def virtual_softmax_logits(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    r"""The K logits of a linear layer without bias, then that of a virtual class (Chen et al., 2018).

    The virtual class has the weight of the true class turned into the direction of the feature, so that its logit is
    :math:`\lVert W_y \rVert \lVert x \rVert`, never below the true one. A feature of norm 0 gets the subgradient 0.

    Args:
        features: (B, D).
        weight: (K, D).
        targets: (B,) class indices.

    Returns:
        The logits, the virtual class last, (B, K + 1).
    """
    _check_floating("features", features, "B", "D")
    _check_floating("weight", weight, "K", features.shape[1])
    _check_indices(targets, len(features), len(weight))
    features, weight = (x.to(_compute_dtype(features, weight)) for x in (features, weight))
    virtual = torch.linalg.vector_norm(weight, dim=1)[targets] * torch.linalg.vector_norm(features, dim=1)
    return torch.cat([F.linear(features, weight), virtual[:, None]], dim=1)


def js_divergence(p: Tensor, q: Tensor, reduction: str = "mean") -> Tensor:
    """Jensen-Shannon divergence, the mean of ``KL(p || m)`` and ``KL(q || m)`` with m = (p + q) / 2 (KR, Preliminary).

    Symmetric, and between 0 and ln 2. Probabilities of exactly 0 are allowed; their true gradient can be infinite, here
    it is large and finite.

    Args:
        p: (B, K) probabilities.
        q: (B, K) probabilities.
        reduction: "mean" or "none".

    Returns:
        The divergence, a scalar or (B,).
    """
    _check_floating("p", p, "B", "K")
    _check_floating("q", q, *p.shape)
    p, q = (x.to(_compute_dtype(p, q)) for x in (p, q))
    log_p, log_q, log_m = (x.clamp_min(torch.finfo(p.dtype).tiny).log() for x in (p, q, (p + q) / 2))
    return _reduce((p * (log_p - log_m) + q * (log_q - log_m)).sum(-1) / 2, reduction)


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def _log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    logits = logits.to(_compute_dtype(logits))
    return (logits if temperature == 1 else logits / temperature).log_softmax(-1)


def _distribution(targets: Tensor, num_classes: int) -> Tensor:
    """Targets of either form as probabilities (B, K)."""
    if targets.ndim == 2:
        return targets.to(_compute_dtype(targets))
    one_hot = torch.zeros(len(targets), num_classes, device=targets.device)
    return one_hot.scatter_(1, targets[:, None], 1.0)


def _wrong_classes(targets: Tensor, num_classes: int) -> Tensor:
    """The indices of all classes but the true one, in order, (B, K - 1).

    Gathering at these, rather than masking the true class with a large number, leaves nothing that could turn into NaN.
    """
    others = torch.arange(num_classes - 1, device=targets.device)
    return others + (others >= targets[:, None])


def _cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    return -(log_p.exp() * log_q).sum(-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    _check_choice("reduction", reduction, "mean", "none")
    return losses.mean() if reduction == "mean" else losses


def _check_choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    """A letter stands for any size, the same letter for the same size."""
    sizes = {}
    if tensor.ndim != len(shape) or any(
        size != (want if isinstance(want, int) else sizes.setdefault(want, size))
        for want, size in zip(shape, tensor.shape, strict=True)
    ):
        expected = str(shape).replace("'", "")
        raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def _check_floating(name: str, tensor: Tensor, *shape: int | str) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {_kind(tensor)}")
    _check_shape(name, tensor, *shape)


def _check_indices(targets: Tensor, batch: int | str, num_classes: float) -> None:
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        raise TypeError(f"targets must be class indices in an int64 tensor, got {_kind(targets)}")
    _check_shape("targets", targets, batch)
    if targets.device.type == "cpu" and targets.numel():
        low, high = map(int, targets.aminmax())
        if low < 0 or high >= num_classes:
            raise ValueError(f"targets must lie in [0, {num_classes - 1}], got {low} to {high}")


def _check_targets(targets: Tensor, batch: int | str, num_classes: int) -> None:
    """Class indices or probabilities."""
    if isinstance(targets, Tensor) and targets.ndim == 2:
        _check_floating("targets", targets, batch, num_classes)
    else:
        _check_indices(targets, batch, num_classes)


def _check_smoothing(epsilon: float, convention: str, num_classes: int) -> None:
    _check_choice("convention", convention, "all", "others")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
    if convention == "others" and num_classes < 2:
        raise ValueError(f'num_classes must be at least 2 for convention="others", got {num_classes}')


def _check_residual(logits: Tensor, targets: Tensor) -> None:
    _check_floating("logits", logits, "B", "K")
    if logits.shape[1] < 2:
        raise ValueError(f"there must be at least 2 classes (K) for a wrong one to be left, got {logits.shape[1]}")
    _check_indices(targets, *logits.shape)


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
