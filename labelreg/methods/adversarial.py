"""Adversarial training, around any method."""

from dataclasses import replace

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from labelreg.data import Batch
from labelreg.methods.base import Method, Step, Wrapper
from labelreg.options import takes_options


class AdversarialTraining(Wrapper):
    """Adversarial training with the fast gradient sign method (Goodfellow et al., 2015) around any method.

    The loss is the mean of the method's losses on the batch and on its adversarial copy, in which every pixel is moved
    by epsilon in the direction that increases the method's loss. A network that the method trains beside the target is
    part of that loss and is attacked along with the target. Predictions that soften the labels of the copy are made on
    the copy (NaR, table 5). A method that draws at random draws anew for the copy; mixup must be put around, not
    inside. The copy is not clipped to valid pixels. Inputs that are not floating-point raise ``TypeError``.

    Batch and copy go through the networks one after the other, so batch normalisation normalises each by its own
    statistics. Extra views of the data are left unchanged.

    Args:
        method: the method that is trained on both.
        pixel_std: (C,) standard deviations by which pixels in [0, 1] were divided in normalisation; None if the inputs
            are themselves pixels in [0, 1].
        epsilon: step size, for pixels in [0, 1]; NaR does not state it.
    """

    title = "adversarial training"
    on_tokens = False
    aliases = ("AT",)
    colour = "#440000"
    place = ("nobody's: the label stays one-hot", "")

    @takes_options
    def __init__(self, method: Method, pixel_std: Tensor | None = None, epsilon: NonNegativeFloat = 8 / 255):
        super().__init__(method)
        self._check_not_mixed()  # the copy would be mixed anew
        if pixel_std is None:
            pixel_std = torch.ones(1)
        elif pixel_std.ndim != 1 or not (pixel_std > 0).all():
            raise ValueError(f"pixel_std must be one positive number per channel, (C,), got {pixel_std}")
        self.register_buffer("pixel_std", pixel_std)

    @property
    def capturable(self) -> bool:
        # the method inside takes two steps per batch, and start_step seeds its generators only once
        return self.method.capturable and type(self.method).start_step is Method.start_step

    def step(self, network: nn.Module, batch: Batch) -> Step:
        self._check_inputs(batch.inputs)
        with torch.enable_grad():  # the attack needs gradients even if nothing is trained
            shift = torch.zeros_like(batch.inputs, requires_grad=True)
            clean = self.method.step(network, replace(batch, inputs=batch.inputs + shift))
            # with respect to the inputs alone: no parameter learns from the attack
            (gradient,) = torch.autograd.grad(clean.loss, shift, retain_graph=True)
        if len(self.pixel_std) not in (1, channels := batch.inputs.shape[1]):
            raise ValueError(f"pixel_std has {len(self.pixel_std)} channels, the inputs have {channels}")
        size = (self.epsilon / self.pixel_std).reshape(-1, *[1] * (batch.inputs.ndim - 2))
        copy = batch.inputs + (size * gradient.sign()).to(batch.inputs.dtype)
        adversarial = self.method.step(network, replace(batch, inputs=copy))
        return Step.of(clean.logits, {"clean": clean.loss / 2, "adversarial": adversarial.loss / 2})
