"""Methods that change the batches of any other method: mixup and Batch Augmentation."""

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.distributions import Beta, Gamma

from labelreg.data import Batch
from labelreg.losses import smooth_labels
from labelreg.methods.base import Method, Step, Wrapper
from labelreg.options import Count, takes_options


class Mixup(Wrapper):
    """Mixup (Zhang et al., 2018) around any method that takes probabilities as targets.

    Every sample a is mixed with another sample b of the batch. Inputs, extra views and labels all become
    l * a + (1 - l) * b, with one weight l per batch. The method inside sees only the mixed batch (NaR, table 5).

    The weight is folded to at least 1/2. The larger part of a mixed sample is then the sample at its position in the
    batch, so a training accuracy is meaningful. Weight and pairs are drawn from PyTorch's global generator.

    Args:
        method: the method that is trained on the mixed samples. One that needs class indices raises ``ValueError``, and
            inputs that are not floating-point raise ``TypeError``.
        num_classes: K.
        alpha: l is drawn from Beta(alpha, alpha). NaR does not state alpha. 0 turns mixup off.
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
    def __init__(self, method: Method, num_classes: PositiveInt, alpha: NonNegativeFloat = 1.0):
        super().__init__(method)
        self.mixes = True
        if not method.takes_probabilities:
            name = type(method).__name__
            raise ValueError(f"mixed labels are probabilities, and {name} with its options needs class indices")

    def step(self, network: nn.Module, batch: Batch) -> Step:
        self._check_inputs(batch.inputs)
        if self.alpha == 0:
            return self.method.step(network, batch)
        weight, partners = self._draw(batch.inputs)

        def mix(values: Tensor) -> Tensor:
            return torch.lerp(values[partners], values, weight)

        views = {name: mix(view) for name in self.views if (view := getattr(batch, name)) is not None}
        labels = smooth_labels(batch.targets, self.num_classes, 0.0)  # as probabilities
        return self.method.step(network, replace(batch, inputs=mix(batch.inputs), targets=mix(labels), **views))

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The weight, a scalar, and the partner of each sample, (B,) int64; both on the device."""
        weight = _symmetric_beta(self.alpha, inputs.device)
        return torch.maximum(weight, 1 - weight), torch.randperm(len(inputs), device=inputs.device)


def _symmetric_beta(alpha: float, device: torch.device) -> Tensor:
    """A draw from Beta(alpha, alpha), a scalar: the share of a gamma variable in the sum of two."""
    parameter = torch.full((2,), alpha, device=device)
    if alpha >= 0.1:
        return Beta(*parameter, validate_args=False).sample()
    # below, both can underflow, and PyTorch then returns a half: so compute with logarithms, of a gamma variable of
    # alpha + 1 times a uniform one to the power of 1 / alpha
    uniform = torch.rand(2, device=device).log()
    gamma = Gamma(parameter + 1, torch.ones_like(parameter), validate_args=False).sample().log()
    return ((uniform[0] - uniform[1]) / alpha + gamma[0] - gamma[1]).sigmoid()


class BatchAugmentation(Wrapper):
    """Batch Augmentation (BA; Hoffer et al., 2019) around any method: batches of several copies of each sample.

    The copies are augmented independently, and the method is trained on all of them as on one larger batch. The number
    of steps stays the same; the cost of a step grows with the number of copies. Training values are means over all
    copies.

    Args:
        method: the method that is trained on the copies.
        copies: number of copies of each sample, at least 1. SBA, table 1, has 32 and 40 for CIFAR, 4 and 8 for
            ImageNet.
    """

    title = "batch augmentation"
    on_tokens = False
    aliases = ("BA",)
    colour = "#220055"
    place = ("nobody's: the label stays one-hot", "")

    @takes_options
    def __init__(self, method: Method, copies: Count = 10):
        super().__init__(method)
        self.copies = copies * method.copies

    def step(self, network: nn.Module, batch: Batch) -> Step:
        return self.method.step(network, batch)
