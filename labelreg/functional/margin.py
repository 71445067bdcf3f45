"""Logits from features and class weights that widen the margins between classes: AdaCos and Virtual softmax."""

import contextlib
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from labelreg.functional._numerics import compute_dtype
from labelreg.functional.checks import check_floating, check_indices
from labelreg.functional.residual import residual_logits

_NO_NORM = 1e-12  # a shorter vector has no direction


def cosine_logits(features: Tensor, weight: Tensor) -> Tensor:
    """The cosines of the angles between features and class weights, which AdaCos scales (Zhang et al., 2019).

    Computed in single precision at least, under autocast too. Rounding can leave a cosine a little beyond 1. A vector
    of norm 0 has no direction: its cosines are 0, and it gets no gradient.

    Args:
        features: (B, D).
        weight: (K, D).

    Returns:
        The cosines, (B, K).
    """
    features, weight = _check_layer(features, weight)
    return _linear(_direction(features), _direction(weight))


def adacos_fixed_scale(num_classes: int) -> float:
    """The scale of the cosines that AdaCos starts from: sqrt(2) ln(K - 1) (Zhang et al., 2019, section 4).

    Args:
        num_classes: K, at least 3: with 2 classes the scale is 0, and so is every logit.

    Returns:
        The scale, positive.
    """
    if num_classes < 3:
        raise ValueError(f"the scale sqrt(2) ln(K - 1) of AdaCos needs num_classes of at least 3, got {num_classes}")
    return math.sqrt(2) * math.log(num_classes - 1)


@torch.no_grad()
def adacos_scale(cosines: Tensor, targets: Tensor, scale: float | Tensor) -> Tensor:
    r"""The scale that follows from a batch and the scale before it (Zhang et al., 2019, section 4).

    :math:`s_t = \ln B / \cos(\min(\pi/4, \theta))`, where B is the mean over the batch of
    :math:`\sum_{k \neq y} \exp(s_{t-1} \cos\theta_k)`, and :math:`\theta` the median over the batch of the angle to the
    true class: of an even number of angles the lower of the two in the middle, as in the implementation that the CS-KD
    paper refers to. Where few wrong classes all point away from the features, B can be below 1; the scale is kept from
    turning negative.

    Args:
        cosines: (B, K), of :func:`cosine_logits`; with at least 3 classes.
        targets: (B,) class indices.
        scale: :math:`s_{t-1}`, a number or a scalar.

    Returns:
        The scale :math:`s_t`, a scalar of at least 0, without gradient; it stays on the device.
    """
    check_floating("cosines", cosines, "B", "K")
    if cosines.shape[1] < 3:
        raise ValueError(f"the scale of AdaCos needs cosines to at least 3 classes (K), got {cosines.shape[1]}")
    cosines = cosines.to(compute_dtype(cosines))
    log_mean = (scale * residual_logits(cosines, targets)).logsumexp((0, 1)) - math.log(len(cosines))
    angles = cosines.gather(1, targets[:, None]).clamp(-1, 1).acos()
    return (log_mean / angles.median().clamp(max=math.pi / 4).cos()).clamp(min=0)


def virtual_softmax_logits(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    r"""The K logits of a linear layer without bias, then that of a virtual class (Chen et al., 2018).

    The virtual class has the weight of the true class turned into the direction of the feature, so that its logit is
    :math:`\lVert W_y \rVert \lVert x \rVert`, never below the true one. A feature of norm 0 gets the subgradient 0.
    Computed in single precision at least, under autocast too.

    Args:
        features: (B, D).
        weight: (K, D).
        targets: (B,) class indices.

    Returns:
        The logits, the virtual class last, (B, K + 1).
    """
    features, weight = _check_layer(features, weight)
    check_indices(targets, len(features), len(weight))
    virtual = torch.linalg.vector_norm(weight, dim=1)[targets] * torch.linalg.vector_norm(features, dim=1)
    return torch.cat([_linear(features, weight), virtual[:, None]], dim=1)


def _check_layer(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """What a linear layer takes, in the dtype to compute in."""
    check_floating("features", features, "B", "D")
    check_floating("weight", weight, "K", features.shape[1])
    dtype = compute_dtype(features, weight)
    return features.to(dtype), weight.to(dtype)


def _linear(features: Tensor, weight: Tensor) -> Tensor:
    """The layer in the dtype of its input, which autocast would lower."""
    device = features.device.type
    known = torch.amp.is_autocast_available(device)
    with torch.autocast(device, enabled=False) if known else contextlib.nullcontext():
        return F.linear(features, weight)


def _direction(vectors: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(norms > _NO_NORM, norms, math.inf)
