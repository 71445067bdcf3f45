"""Other batches for any method: mixup, and Batch Augmentation."""

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.distributions import Beta

from labelreg.data import Batch
from labelreg.losses import smooth_labels
from labelreg.methods.base import Method, Step, Wrapper
from labelreg.options import takes_options


class Mixup(Wrapper):
    """Mixup (Zhang et al., 2018) around any method that takes probabilities as targets.

    Every sample is mixed with another of the batch, inputs, extra views and labels alike: l * a + (1 - l) * b, with one
    weight l per batch. The method inside sees the mixed batch only (NaR, table 5).

    The weight is folded to at least 1/2, so that the larger part of a mixed sample is the one that the batch has at its
    place, and a training accuracy has a meaning. Weight and pairs are drawn from PyTorch's global generator.

    Args:
        method: what is trained on the mixed samples. One that needs class indices raises ``TypeError``, as do inputs
            that are not floating-point.
        num_classes: K.
        alpha: l is drawn from Beta(alpha, alpha); NaR does not state it.
    """

    title = "mixup"
    on_tokens = False
    colour = "#882255"
    place = ("another sample's label", "anew at every step")
    benchmark: ClassVar = {
        "Mixup": {},
        "Mixup + NaR": {"method": "network_as_regularization"},
        "Mixup + CS-KD": {"method": "class_wise_self_distillation"},
    }

    @takes_options
    def __init__(self, method: Method, num_classes: PositiveInt, alpha: PositiveFloat = 1.0):
        super().__init__(method)

    def share(self, shared: dict) -> None:
        self.method.share(shared)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        self._check_inputs(batch.inputs)
        weight, partners = self._draw(batch.inputs)

        def mix(values: Tensor) -> Tensor:
            return torch.lerp(values[partners], values, weight)

        views = {name: mix(getattr(batch, name)) for name in self.views}
        labels = smooth_labels(batch.targets, self.num_classes, 0.0)  # as probabilities
        return self.method.step(network, replace(batch, inputs=mix(batch.inputs), targets=mix(labels), **views))

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The weight, a scalar, and the partner of each sample, (B,) int64; both on the device."""
        alpha = torch.full((), self.alpha, device=inputs.device)
        weight = Beta(alpha, alpha, validate_args=False).sample()
        return torch.maximum(weight, 1 - weight), torch.randperm(len(inputs), device=inputs.device)


class BatchAugmentation(Wrapper):
    """Batch Augmentation (BA; Hoffer et al., 2019) around any method: batches of several copies of each sample.

    The copies are augmented independently, and the method is trained on all of them as on one larger batch. The number
    of steps stays the same; the cost of a step grows with the number of copies. Training values are means over all.

    Args:
        method: what is trained on the copies.
        copies: how many of each sample, at least 1; SBA, table 1, has 32 and 40 for CIFAR, 4 and 8 for ImageNet.
    """

    title = "batch augmentation"
    on_tokens = False
    aliases = ("BA",)
    colour = "#220055"
    place = ("nobody's: the label stays one-hot", "")

    @takes_options
    def __init__(self, method: Method, copies: PositiveInt = 10):
        super().__init__(method)
        self.copies = copies * method.copies

    def step(self, network: nn.Module, batch: Batch) -> Step:
        return self.method.step(network, batch)
