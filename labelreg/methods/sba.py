"""Stochastic Batch Augmentation (SBA): predictions for virtual points are kept close to those for their samples.

Virtual points are drawn around activations, (B, ...) with Q values per sample, and carry the gradient of the
activations. The generator ``draws``, on the activations' device, draws them one after another, so that the first ones
do not depend on their count.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from pydantic import NonNegativeFloat
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from labelreg.data import Batch
from labelreg.data.randomness import Stream, generator, seed_of
from labelreg.losses import check_floating, check_same_shape, kl, log_softmax, reduce, soft_cross_entropy
from labelreg.methods.base import Method, Step
from labelreg.networks import check_injectable, inject
from labelreg.options import CountOrZero, FractionBelowOne, takes_options

WIDEST_BASIS = 4096  # of 64 MiB in float32; the time to draw one grows with the cube of the width


def gaussian_points(
    activations: Tensor, count: int, sigma: float, tau: float, basis: Tensor | None, draws: Generator
) -> Tensor:
    """Virtual points by clipped Gaussian noise (SBA, equation 7): ``x + Sigma clip(epsilon, tau)``.

    Args:
        activations, draws: see the top of this module.
        count: points per sample.
        sigma: standard deviation of the noise, in units of the standard deviation of all B * Q activations.
        tau: bound on the noise along every basis vector, in units of its standard deviation.
        basis: Sigma, (Q, Q); None for the identity.

    Returns:
        The points, (count, B, ...).
    """
    dtype = torch.promote_types(activations.dtype, torch.float32)
    noise = torch.empty(count, *activations.shape, dtype=dtype, device=activations.device)
    for each in noise:
        each.normal_(generator=draws)
    noise = noise.clamp_(-tau, tau) * (sigma * activations.detach().to(dtype).std(correction=0))
    if basis is not None:
        with torch.autocast(noise.device.type, enabled=False):
            noise = (noise.view(-1, len(basis)) @ basis.T).view_as(noise)
    return activations + noise.to(activations.dtype)  # SBA eq. 7


def dropout_points(activations: Tensor, count: int, rate: float, rescale: bool, draws: Generator) -> Tensor:
    """Virtual points (count, B, ...) by dropping activations (SBA, equation 8): ``mask * x`` with a binary mask.

    Args:
        activations, draws: see the top of this module.
        count: points per sample.
        rate: probability that an activation is dropped, below 1.
        rescale: divide by 1 - rate, which keeps the mean.
    """
    kept = activations.new_empty(count, *activations.shape)
    for each in kept:
        each.bernoulli_(1 - rate, generator=draws)
    return activations * (kept / (1 - rate) if rescale else kept)  # SBA eq. 8


def random_basis(width: int, dtype: torch.dtype, draws: Generator) -> Tensor:
    """An orthonormal basis of uniformly random directions, (Q, Q): the Q factor of a Gaussian matrix.

    A uniformly random basis would also need random signs. They are left out: the noise along the vectors is symmetric.
    """
    gaussian = torch.randn(width, width, dtype=dtype, device=draws.device, generator=draws)
    return torch.linalg.qr(gaussian).Q


def vicinity_kl(
    reference_logits: Tensor, virtual_logits: Tensor, reduction: str = "mean", detach_reference: bool = True
) -> Tensor:
    """``KL(reference || virtual)``, the mean over the virtual points of each sample (SBA, equations 10 and 11).

    Args:
        reference_logits: (B, K), of the samples themselves.
        virtual_logits: (M, B, K), of M virtual points around each sample; without points the loss is 0.
        detach_reference: whether the reference is a fixed soft label; otherwise it gets a gradient too.
    """
    check_same_shape("B", "K", reference_logits=reference_logits)
    check_floating("virtual_logits", virtual_logits, "M", *reference_logits.shape)
    log_reference = log_softmax(reference_logits.detach() if detach_reference else reference_logits)
    if len(virtual_logits) == 0:
        return reduce(log_reference.new_zeros(len(reference_logits)), reduction)
    divergences = kl(log_reference, log_softmax(virtual_logits))  # SBA eq. 10
    return reduce(divergences.mean(0), reduction)


def vicinity_cross_entropy(virtual_logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """``H(label, virtual)``, the mean over each sample's virtual points, which have its label (SBA, equation 9).

    Args:
        virtual_logits: (M, B, K), see :func:`vicinity_kl`.
        targets: of the samples; class indices, (B,), or probabilities, (B, K).
    """
    check_floating("virtual_logits", virtual_logits, "M", len(targets), "K")
    virtual = len(virtual_logits)
    repeated = targets.repeat(virtual, *[1] * (targets.ndim - 1))
    losses = soft_cross_entropy(virtual_logits.flatten(0, 1), repeated, "none")  # SBA eq. 9
    return reduce(losses.view(virtual, len(targets)).sum(0) / max(virtual, 1), reduction)


class StochasticBatchAugmentation(Method):
    """Stochastic Batch Augmentation (SBA): predictions for virtual points are kept close to those for their samples.

    A step is augmented with probability cos(omega). Then M virtual points are drawn around the activations of every
    sample at one layer, the first ceil(M / 2) by clipped Gaussian noise (equation 7) and the others by dropout
    (equation 8). The loss is the cross-entropy of the samples plus eta times the mean KL divergence of the predictions
    for the virtual points from those for their samples, which serve as soft labels (equations 10 and 11):

    - Samples and virtual points go through the rest of the network as one batch of size (1 + M) B, so the layers up to
      the augmented one run only once. Batch normalisation after that layer normalises them by common statistics.
    - The loss is minimised as a whole, as in equation 11. Algorithm 1 makes two updates, one per term (``two_step``).
      These agree with a single update to first order in the learning rate, and need a second pass through the network.
    - With hard labels, every step augmented (omega = 0) and eta = 1, the method is Batch Augmentation at a layer, with
      which the paper compares: the virtual points of a sample together weigh as much as the sample, and have its label.

    Random numbers come from a separate stream. It is determined by PyTorch's initial seed at the time the method is
    made and by the number of the step. With eta = 0 or omega = pi / 2, training is therefore training with
    cross-entropy, bit by bit. "Ours" marks what the paper leaves open.

    Args:
        virtual: M, the number of virtual points per sample.
        eta: weight of the loss of the virtual points, not negative.
        omega: angle whose cosine is the probability that a step is augmented, in [0, pi / 2]. The paper does not state
            it for its experiments; it calls pi / 3 fair.
        granularity: ``"iteration"`` decides before every step, ``"epoch"`` before every epoch; the paper says both.
        layers: names of the layers at which to augment, separated by commas; one is drawn for each augmented step. The
            empty name stands for the input of the classifier's MLP. See :func:`labelreg.networks.injectable`.
        sigma: standard deviation of the noise, in units of the standard deviation of all activations of the batch at
            the layer. Ours.
        tau: bound on the noise, in units of its standard deviation. Ours.
        drop_rate: probability that an activation is dropped, in [0, 1). Ours.
        rescale: whether the remaining activations are divided by 1 - drop_rate; in equation 8 they are not.
        basis: ``"orthonormal"`` turns the noise into random directions, new ones for each augmented step.
            ``"identity"`` does not, and is used instead if a sample has more than 4096 activations.
        detach_reference: whether the soft label is fixed; otherwise it gets a gradient too, as in equation 12.
        label: label of the virtual points: ``"soft"``, the prediction for the sample; or ``"hard"``, the sample's label
            (equation 9), with which the paper contrasts the soft one.
        two_step: whether an augmented step makes two updates, as in algorithm 1: first by the cross-entropy of the
            samples, and from there by the loss of the virtual points. Momentum and weight decay act in both. It needs a
            training loop that calls :meth:`.Method.updates`, and cannot be used inside another method.
        vote: whether the network is evaluated by :meth:`vote_logits` (section 3.4) instead of the plain logits.

    Raises:
        ValueError: at first use, if a layer does not exist in the network or cannot be augmented.
    """

    title = "SBA"
    on_tokens = False
    paper = "sba"
    colour = "#CC79A7"
    place = ("its prediction on the clean sample, for noisy copies", "anew at every step")
    benchmark: ClassVar = {"SBA": {}}

    @takes_options
    def __init__(
        self,
        virtual: CountOrZero = 32,
        eta: NonNegativeFloat = 0.1,
        omega: Annotated[float, Ge(0), Le(math.pi / 2)] = math.pi / 3,
        granularity: Literal["iteration", "epoch"] = "iteration",
        layers: str = "",
        sigma: NonNegativeFloat = 0.1,
        tau: NonNegativeFloat = 2.0,
        drop_rate: FractionBelowOne = 0.5,
        rescale: bool = False,
        basis: Literal["orthonormal", "identity"] = "orthonormal",
        detach_reference: bool = True,
        label: Literal["soft", "hard"] = "soft",
        two_step: bool = False,
        vote: bool = False,
    ):
        super().__init__()
        self.one_update = self.capturable = not two_step
        self.layers = tuple(name.strip() for name in layers.split(","))
        self.seed = torch.initial_seed()
        self.steps = self.epoch = 0
        self._decided: tuple[int, str | None] | None = None
        self._loop_decides = False
        self._draws: Generator | None = None
        self._layers_checked = self._warned = False

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def generators(self, device: torch.device) -> Sequence[Generator]:
        self._draws = Generator(device)
        return (self._draws,)

    def start_step(self) -> str | None:
        """Decide at which layer the next step is augmented, None for none."""
        self._loop_decides = True
        return self._decide()

    def _decide(self) -> str | None:
        position, layer = self.steps, self.augmented_layer(self.steps)
        if self._draws is not None:
            self._draws.manual_seed(seed_of(self.seed, Stream.VIRTUAL_POINTS, position=position))
        self._decided, self.steps = (position, layer), self.steps + 1
        return layer

    def step(self, network: nn.Module, batch: Batch) -> Step:
        return self._step(network, batch, *self._decision())

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Step]:
        if not self.two_step:
            yield self.step(network, batch)
            return
        position, layer = self._decision()
        yield self._step(network, batch, position, None)
        if layer is not None:
            step = self._step(network, batch, position, layer)
            yield Step.of(step.logits, {"vicinity": step.terms["vicinity"]})

    def _decision(self) -> tuple[int, str | None]:
        """Number and layer of this step; in a loop that does not call :meth:`start_step`, they are decided here."""
        if not self._loop_decides:
            self._decide()
        return self._decided

    def _step(self, network: nn.Module, batch: Batch, position: int, layer: str | None) -> Step:
        """The loss of equation 11, with its second term at ``layer``, or without that term if ``layer`` is None."""
        self._check_layers(network, batch.inputs)
        if layer is None:
            logits = network(batch.inputs)
            vicinity = torch.zeros((), device=logits.device)
        else:
            draws = self._draws
            if draws is None:
                draws = generator(self.seed, Stream.VIRTUAL_POINTS, position=position, device=batch.inputs.device)
            logits, virtual_logits = self._forward(network, batch.inputs, layer, draws)
            if self.label == "soft":
                vicinity = vicinity_kl(logits, virtual_logits, detach_reference=self.detach_reference)
            else:
                vicinity = vicinity_cross_entropy(virtual_logits, batch.targets)
        hard = soft_cross_entropy(logits, batch.targets)
        return Step.of(logits, {"hard": hard, "vicinity": self.eta * vicinity})  # SBA eq. 11

    def augmented_layer(self, step: int) -> str | None:
        """The scheduler (section 3.2): the layer where a step, counted from 0, is augmented, or None."""
        if not (self.eta and self.virtual):
            return None
        decision = self.epoch if self.granularity == "epoch" else step
        draws = generator(self.seed, Stream.VIRTUAL_SCHEDULE, position=decision)
        probability = math.cos(self.omega) if self.omega < math.pi / 2 else 0.0  # the cosine is rounded to 6e-17
        if torch.rand((), generator=draws, device=draws.device) >= probability:
            return None
        draws = generator(self.seed, Stream.VIRTUAL_LAYER, position=step)
        return self.layers[torch.randint(len(self.layers), (), generator=draws, device=draws.device)]

    def virtual_points(self, activations: Tensor, draws: Generator) -> Tensor:
        """Draw the M virtual points (M, B, ...) around activations (B, ...), by equations 5, 7 and 8."""
        if not activations.is_floating_point():
            raise TypeError(f"activations to be augmented must be floating-point, got {activations.dtype}")
        basis = self._draw_basis(activations, draws)
        gaussian = math.ceil(self.virtual / 2)
        noise = gaussian_points(activations, gaussian, self.sigma, self.tau, basis, draws)
        dropped = dropout_points(activations, self.virtual - gaussian, self.drop_rate, self.rescale, draws)
        return torch.cat((noise, dropped))  # SBA eq. 5

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        # in training mode a method around this one compares with the logits of a step
        return self.vote_logits(network, inputs) if self.vote and not self.training else network(inputs)

    @torch.no_grad()
    def vote_logits(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Majority vote of the predictions for a sample and its M virtual points (section 3.4).

        The points are drawn at the first of the layers, always from the same random numbers, so that equal batches get
        equal votes; the votes of a sample depend on its place in the batch. A tie is broken by the prediction for the
        sample itself, whose softmax counts as half a vote. Returns logarithms (B, K), float32, of the shares in those
        M + 1 1/2 votes; the plain logits where M is 0.
        """
        if not self.virtual:
            return network(inputs)
        self._check_layers(network, inputs)
        layer, draws = self.layers[0], generator(self.seed, Stream.VIRTUAL_VOTE, device=inputs.device)
        logits, virtual_logits = self._forward(network, inputs, layer, draws)
        predictions = torch.cat((logits[None], virtual_logits)).argmax(2)
        log_votes = one_hot(predictions, logits.shape[1]).sum(0).log()
        log_shares = torch.logaddexp(log_votes, logits.float().log_softmax(1) - math.log(2))
        return log_shares - math.log(self.virtual + 1.5)

    def _forward(self, network: nn.Module, inputs: Tensor, layer: str, draws: Generator) -> tuple[Tensor, Tensor]:
        """Logits of samples (B, K) and virtual points (M, B, K), from one pass of all of them (equation 6)."""

        def stack(activations: Tensor) -> Tensor:
            points = self.virtual_points(activations, draws)
            return torch.cat((activations, points.flatten(0, 1)))  # SBA eq. 6

        logits = inject(network, inputs, layer, stack).unflatten(0, (1 + self.virtual, -1))
        return logits[0], logits[1:]

    def _draw_basis(self, activations: Tensor, draws: Generator) -> Tensor | None:
        width = activations[0].numel()
        if self.basis == "orthonormal" and width <= WIDEST_BASIS:
            return random_basis(width, torch.promote_types(activations.dtype, torch.float32), draws)
        if self.basis == "orthonormal" and not self._warned:
            what = f"a random basis is too large for {width} activations, more than {WIDEST_BASIS}"
            warnings.warn(f"{what}: the noise is not turned, as with basis='identity'", stacklevel=2)
            self._warned = True
        return None

    def _check_layers(self, network: nn.Module, inputs: Tensor) -> None:
        if self._layers_checked:
            return
        for layer in self.layers:
            check_injectable(network, inputs, layer)
        self._layers_checked = True

    def get_extra_state(self) -> dict[str, int]:
        return {"seed": self.seed, "steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seed, self.steps = state["seed"], state["steps"]
