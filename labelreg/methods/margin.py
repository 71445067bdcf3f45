"""Wider margins between classes: AdaCos and Virtual softmax, two rivals of class-wise self-distillation (CS-KD).

Both take the weights of the network's own classifier for the directions of the classes, and leave its bias alone: it
gets no gradient. The classifier runs all the same, for nothing; beside the rest of a network that cannot be measured.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelreg import functional as F
from labelreg.data import Batch
from labelreg.methods.base import Method, Step
from labelreg.networks import classifier, features


class AdaCos(Method):
    """AdaCos (Zhang et al., 2019): cross-entropy of scaled cosines, with a scale that sets itself.

    The logits are the cosines of the angles between the feature and the weights of the classes, times a scale that
    starts at sqrt(2) ln(K - 1) and, in training mode, follows from every batch and the scale before it; the loss of the
    batch takes the new one. See :func:`labelreg.functional.adacos_scale`. It comes to rest where the true class of the
    median sample has the probability 1/2, however well the network fits: scaled predictions are modest, too.

    Args:
        num_classes: K, at least 3: with 2 classes the scale is 0.
        dynamic: whether the scale follows the batches, or stays as it starts ("fixed AdaCos").
        scaled_evaluation: whether the logits by which the network is judged are scaled like those it is trained by.
            Bare cosines classify alike, but with logits within -1 and 1 no prediction is confident. Of 100 classes the
            most probable then gets less than 7 %, so that the expected calibration error comes near the accuracy, as it
            does in CS-KD table 4.

    Attributes:
        scale: the current scale, a scalar on the device.

    Raises:
        ValueError: fewer than 3 classes.
        TypeError: probabilities as targets, at the first step in training mode of a dynamic scale.
    """

    def __init__(self, num_classes: int, dynamic: bool = True, scaled_evaluation: bool = True):
        super().__init__()
        self.dynamic = dynamic
        self.scaled_evaluation = scaled_evaluation
        self.register_buffer("scale", torch.tensor(F.adacos_fixed_scale(num_classes)))

    def step(self, network: nn.Module, batch: Batch) -> Step:
        cosines = self._cosines(network, batch.inputs)
        if self.dynamic and self.training:
            # out of place: the losses of other batches may still need the scale they were computed with
            self.scale = F.adacos_scale(cosines, batch.targets, self.scale)
        logits = self.scale * cosines
        loss = F.soft_cross_entropy(logits, batch.targets)
        return Step(loss, logits, {"hard": loss})

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        cosines = self._cosines(network, inputs)
        # in training mode a method around this one compares with the logits of a step
        return self.scale * cosines if self.scaled_evaluation or self.training else cosines

    @staticmethod
    def _cosines(network: nn.Module, inputs: Tensor) -> Tensor:
        _, penultimate = features(network, inputs)
        return F.cosine_logits(penultimate, classifier(network).weight)

    def extra_repr(self) -> str:
        return f"dynamic={self.dynamic}, scaled_evaluation={self.scaled_evaluation}"


class VirtualSoftmax(Method):
    """Virtual softmax (Chen et al., 2018): cross-entropy with one class more, which no sample belongs to.

    The weight of the virtual class points where the feature points, so that the true class wins over it only as the
    feature turns towards its own weight. See :func:`labelreg.functional.virtual_softmax_logits`. The network is judged
    by the K real logits.

    Raises:
        TypeError: probabilities as targets, at the first step.
    """

    def step(self, network: nn.Module, batch: Batch) -> Step:
        _, penultimate = features(network, batch.inputs)
        logits = F.virtual_softmax_logits(penultimate, classifier(network).weight, batch.targets)
        loss = F.soft_cross_entropy(logits, batch.targets)
        return Step(loss, logits[:, :-1], {"hard": loss})

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        _, penultimate = features(network, inputs)
        return nn.functional.linear(penultimate, classifier(network).weight)
