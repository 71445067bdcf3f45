"""Wider margins between classes: AdaCos and Virtual softmax, two rivals of CS-KD.

Both use the weights of the network's own classifier as the directions of the classes. The classifier's bias is not used
and gets no gradient. Logits are computed in single precision at least, also under autocast.
"""

import contextlib
import math
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from labelreg.data import Batch
from labelreg.losses import check_classes, check_floating, check_indices, compute_dtype, soft_cross_entropy
from labelreg.methods.alr import residual_logits
from labelreg.methods.base import Method, Step
from labelreg.networks import classifier, features
from labelreg.options import takes_options

_NO_NORM = 1e-12  # a shorter vector has no direction
_LARGE, _SCALE = 2.0**50, 2.0**64  # the squares of larger numbers may overflow; a power of two changes no digit


def cosine_logits(features: Tensor, weight: Tensor) -> Tensor:
    """The cosines (B, K) between features (B, D) and class weights (K, D), which AdaCos scales (Zhang et al., 2019).

    Rounding can leave a cosine a little beyond 1. A vector of norm 0 has no direction: its cosines are 0, and it gets
    no gradient.
    """
    features, weight = _as_computed(features, weight)
    return _linear(_direction(features), _direction(weight))


def adacos_fixed_scale(num_classes: int) -> float:
    """The initial scale of AdaCos, sqrt(2) ln(K - 1), for at least 3 classes (Zhang et al., 2019, section 4)."""
    check_classes(num_classes, 3, "the scale sqrt(2) ln(K - 1) of AdaCos")
    return math.sqrt(2) * math.log(num_classes - 1)


@torch.no_grad()
def adacos_scale(cosines: Tensor, targets: Tensor, scale: float | Tensor) -> Tensor:
    r"""The scale computed from a batch and the previous scale (Zhang et al., 2019, section 4).

    :math:`s_t = \ln B / \cos(\min(\pi/4, \theta))`, where B is the mean over the batch of
    :math:`\sum_{k \neq y} \exp(s_{t-1} \cos\theta_k)`, and :math:`\theta` is the median over the batch of the angle to
    the true class. For an even number of angles it is the lower of the two in the middle, as in the implementation that
    the CS-KD paper refers to. B can be below 1 if there are few wrong classes and all of them point away from the
    features; the scale is then 0.

    Args:
        cosines: (B, K), of :func:`cosine_logits`; with at least 3 classes.
        targets: (B,) class indices.
        scale: :math:`s_{t-1}`, a number or a scalar; the result is a scalar on the device.
    """
    check_floating("cosines", cosines, "B", "K")
    check_classes(cosines.shape[1], 3, "the scale of AdaCos")
    if len(cosines) == 0:
        raise ValueError("the scale of AdaCos needs at least one sample, got none")
    cosines = cosines.to(compute_dtype(cosines))
    log_mean = (scale * residual_logits(cosines, targets)).logsumexp((0, 1)) - math.log(len(cosines))
    angles = cosines.gather(1, targets[:, None]).clamp(-1, 1).acos()
    return (log_mean / angles.median().clamp(max=math.pi / 4).cos()).clamp(min=0)


def virtual_softmax_logits(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    r"""The K logits of a linear layer without bias and the logit of a virtual class, (B, K + 1) (Chen et al., 2018).

    The weight of the virtual class is that of the true class, turned into the direction of the feature. Its logit is
    therefore :math:`\lVert W_y \rVert \lVert x \rVert`, never below the true one. A feature of norm 0 gets the
    subgradient 0.
    Features are (B, D), the weight (K, D), targets class indices, (B,).
    """
    features, weight = _as_computed(features, weight)
    check_indices(targets, len(features), len(weight))
    virtual = _norms(weight)[targets] * _norms(features)
    return torch.cat([_linear(features, weight), virtual], dim=1)


def _as_computed(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    check_floating("features", features, "B", "D")
    check_floating("weight", weight, "K", features.shape[1])
    dtype = compute_dtype(features, weight)
    return features.to(dtype), weight.to(dtype)


def _linear(features: Tensor, weight: Tensor) -> Tensor:
    """A linear layer in the dtype of its input, which autocast would lower."""
    device = features.device.type
    known = torch.amp.is_autocast_available(device)
    with torch.autocast(device, enabled=False) if known else contextlib.nullcontext():
        return F.linear(features, weight)


def _direction(vectors: Tensor) -> Tensor:
    norms = _norms(vectors)
    return vectors / torch.where(norms > _NO_NORM, norms, math.inf)


def _norms(vectors: Tensor) -> Tensor:
    """The Euclidean norms of vectors (N, D), (N, 1)."""
    scale = torch.where(vectors.detach().abs().amax(1, keepdim=True) > _LARGE, _SCALE, 1.0).to(vectors.dtype)
    return scale * torch.linalg.vector_norm(vectors / scale, dim=1, keepdim=True)


def _classified(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The features that the classifier gets, (B, D), and its weight, (K, D)."""
    _, penultimate = features(network, inputs)
    return penultimate, classifier(network).weight


class AdaCos(Method):
    """AdaCos (Zhang et al., 2019): cross-entropy of scaled cosines, with a scale that sets itself.

    The scale starts at sqrt(2) ln(K - 1). In training mode every batch updates it, see :func:`adacos_scale`, and the
    loss of the batch uses the new scale. It converges to the value at which the true class of the median sample has the
    probability 1/2, however well the network fits, so scaled predictions are modest, too.

    Args:
        num_classes: K, at least 3: with 2 classes the scale is 0.
        dynamic: whether every batch updates the scale, which needs class indices as targets; otherwise it keeps its
            initial value ("fixed AdaCos").
        scaled_evaluation: whether the logits are scaled in evaluation as in training. Unscaled cosines predict the same
            classes, but no prediction is confident: of 100 classes the most probable one gets less than 7 %, so the
            expected calibration error comes near the accuracy, as in table 4 of CS-KD.

    Attributes:
        scale: the current scale, a scalar on the device.
    """

    title = "AdaCos"
    colour = "#005588"
    place = ("nobody's: the label stays one-hot", "")
    benchmark: ClassVar = {"AdaCos": {}}

    @takes_options
    def __init__(self, num_classes: PositiveInt, dynamic: bool = True, scaled_evaluation: bool = True):
        super().__init__()
        self.takes_probabilities = not dynamic
        self.register_buffer("scale", torch.tensor(adacos_fixed_scale(num_classes)))

    def step(self, network: nn.Module, batch: Batch) -> Step:
        cosines = cosine_logits(*_classified(network, batch.inputs))
        if self.dynamic and self.training:
            self.scale.copy_(adacos_scale(cosines, batch.targets, self.scale))
        # a copy, as this loss may still need the scale when the next batch has changed it
        logits = self.scale.clone() * cosines
        return Step.of(logits, {"hard": soft_cross_entropy(logits, batch.targets)})

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        cosines = cosine_logits(*_classified(network, inputs))
        # in training mode a method around this one compares with the logits of a step
        return self.scale * cosines if self.scaled_evaluation or self.training else cosines


class VirtualSoftmax(Method):
    """Virtual softmax (Chen et al., 2018): cross-entropy with one additional class, which no sample belongs to.

    The true class gains on it only as the feature turns towards the weight of the true class: see
    :func:`virtual_softmax_logits`. The network is evaluated by the K real logits.
    """

    title = "virtual softmax"
    aliases = ("Virtual-softmax",)
    colour = "#009696"
    place = ("nobody's: the label stays one-hot", "")
    benchmark: ClassVar = {"Virtual softmax": {}}
    takes_probabilities = False

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits = virtual_softmax_logits(*_classified(network, batch.inputs), batch.targets)
        return Step.of(logits[:, :-1], {"hard": soft_cross_entropy(logits, batch.targets)})

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        return _linear(*_as_computed(*_classified(network, inputs)))
