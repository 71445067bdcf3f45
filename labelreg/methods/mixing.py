"""Labels softened by another sample's: mixup."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from labelreg import functional as F
from labelreg.data import Batch
from labelreg.methods.base import Method, Step, Wrapper


class Mixup(Wrapper):
    """Mixup (Zhang et al., 2018) around any method that takes probabilities as targets.

    Every sample is mixed with another of the batch, inputs and labels alike: l * a + (1 - l) * b, with one weight l a
    batch. The method inside sees nothing but the mixed batch, so what it predicts, it predicts for mixed inputs (NaR
    table 5). Extra views of the data are mixed like the inputs, with the same weight and the same pairs.

    The weight is folded to at least 1/2, which makes no difference to the mixed batch but for the order of its samples:
    so a sample is for the larger part the one that the batch has at its place, and a training accuracy means something.
    It and the pairs come from PyTorch's global random generator.

    Args:
        method: what is trained on the mixed samples. One that needs class indices raises ``TypeError`` at the first
            step.
        num_classes: K.
        alpha: l is drawn from Beta(alpha, alpha), alpha > 0; NaR does not state it.

    Raises:
        ValueError: alpha is not positive.
        TypeError: inputs that are not floating-point, at the first step.
    """

    def __init__(self, method: Method, num_classes: int, alpha: float = 1.0):
        super().__init__(method)
        if not alpha > 0:
            raise ValueError(f"alpha shapes a Beta distribution and must be positive, not {alpha}")
        self.num_classes = num_classes
        self.alpha = alpha

    def share(self, shared: dict) -> None:
        self.method.share(shared)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        self._check_inputs(batch.inputs)
        weight, partners = self._draw(batch.inputs)

        def mix(values: Tensor) -> Tensor:
            return torch.lerp(values[partners], values, weight)

        views = {name: mix(getattr(batch, name)) for name in self.views}
        labels = F.smooth_labels(batch.targets, self.num_classes, 0.0)  # as probabilities
        return self.method.step(network, replace(batch, inputs=mix(batch.inputs), targets=mix(labels), **views))

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The weight, a scalar, and with whom each sample is mixed, (B,) int64; neither leaves the device."""
        alpha = torch.full((), self.alpha, device=inputs.device)
        weight = Beta(alpha, alpha, validate_args=False).sample()
        return torch.maximum(weight, 1 - weight), torch.randperm(len(inputs), device=inputs.device)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
