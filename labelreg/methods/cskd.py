"""Class-wise self-knowledge distillation (CS-KD): labels softened by the network's own predictions for the class."""

import contextlib
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labelreg.data import Batch
from labelreg.losses import check_same_shape, kl, log_softmax, reduce
from labelreg.methods.base import Method, Step, Wrapper, check_samples
from labelreg.methods.baselines import CrossEntropy
from labelreg.options import takes_options


def classwise_kl(
    logits: Tensor, partner_logits: Tensor, temperature: float = 4.0, t_squared: bool = True, reduction: str = "mean"
) -> Tensor:
    """``KL(partner || prediction)`` at temperature T: the class-wise and the sample-wise loss (CS-KD, section 2).

    Args:
        logits: (B, K); only they get a gradient.
        partner_logits: (B, K), of another sample of the class, another view of the sample, or another network.
        t_squared: whether to multiply by T squared, which keeps the size of the gradient; the paper prints no factor.
    """
    check_same_shape("B", "K", logits=logits, partner_logits=partner_logits)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    losses = kl(log_softmax(partner_logits.detach(), temperature), log_softmax(logits, temperature))
    return reduce(losses * temperature**2 if t_squared else losses, reduction)


class ClassWiseSelfDistillation(Wrapper):
    """Class-wise self-knowledge distillation (CS-KD, the ICLR 2020 submission), around any method.

    It adds two terms to the loss of the method inside, with P the prediction at temperature T (section 2 of the paper):

    - class-wise: class_weight * T^2 * KL(P(partner) || P(input)), where the partner is another sample of the same
      class, and
    - sample-wise: sample_weight * T^2 * KL(P(source) || P(input)), where the source is the sample before augmentation.

    The first prediction in each term is fixed, so each term costs a third of a plain step. The fixed prediction is made
    in the way the method inside predicts and in the network's mode: in training mode, with dropout and with the
    statistics of its own batch.

    Knowledge distillation with CS-KD (table 3) is this method around :class:`.KnowledgeDistillation`; Mixup with CS-KD
    (table 2) is :class:`.Mixup` around this method.

    Args:
        method: the method to whose loss the terms are added; :class:`.CrossEntropy` if None.
        temperature: T, positive; 4 in the paper.
        class_weight: weight of the class-wise term; 1 in the paper, 3 for CUB-200-2011 in the published code.
        sample_weight: weight of the sample-wise term; 1 in the paper for fine-grained classification and 0 for
            CIFAR-100 and TinyImageNet. The published code does not have this term.
        t_squared: whether the divergences have the factor T^2, as in the published code; the paper prints none.
        partners: where partners come from. ``"loader"`` draws them from all training samples of the class, including
            the sample itself, as in the published code. ``"batch"``, a variant that is not in the paper and costs
            nothing, takes another sample of the class in the same batch, or the sample itself, which adds 0, if there
            is none.
        bn: which passes update the running statistics of batch normalisation: ``"both"``, as in the published code, or
            ``"anchor_only"``, the pass of the inputs alone.

    Raises:
        ValueError: at the first step, if the batch lacks a view that is needed or has one label per word of a text.
        TypeError: at the first step, if targets are probabilities and ``partners="batch"``.
    """

    title = "CS-KD"
    paper = "cskd"
    colour = "#C84E00"
    place = ("its prediction on another sample of the class", "anew at every step")
    benchmark: ClassVar = {"CS-KD": {}}

    @takes_options
    def __init__(
        self,
        method: Method | None = None,
        temperature: PositiveFloat = 4.0,
        class_weight: NonNegativeFloat = 1.0,
        sample_weight: NonNegativeFloat = 0.0,
        t_squared: bool = True,
        partners: Literal["loader", "batch"] = "loader",
        bn: Literal["both", "anchor_only"] = "both",
    ):
        super().__init__(CrossEntropy() if method is None else method)
        self._check_not_mixed()  # the views would not be mixed as the inputs are
        if class_weight and partners == "loader":
            self.views |= {"partner"}
        if sample_weight:
            self.views |= {"source"}
        if class_weight and partners == "batch":
            self.takes_probabilities = False

    def step(self, network: nn.Module, batch: Batch) -> Step:  # CS-KD algorithm 1
        check_samples(self, batch)
        inner = self.method.step(network, batch)
        terms = dict(inner.terms)
        if self.class_weight:
            partner_logits = self._partner_logits(network, batch, inner.logits)
            class_wise = classwise_kl(inner.logits, partner_logits, self.temperature, self.t_squared)
            terms["class_wise"] = self.class_weight * class_wise  # CS-KD L_cls
        if self.sample_weight:
            source_logits = self._view_logits(network, batch, "source")
            sample_wise = classwise_kl(inner.logits, source_logits, self.temperature, self.t_squared)
            terms["sample_wise"] = self.sample_weight * sample_wise  # CS-KD L_sam
        return Step.of(inner.logits, terms)  # CS-KD L_tot

    def _partner_logits(self, network: nn.Module, batch: Batch, logits: Tensor) -> Tensor:
        if self.partners == "loader":
            return self._view_logits(network, batch, "partner")
        if batch.targets.ndim != 1:
            what = f"class indices (B,), but got targets of shape {tuple(batch.targets.shape)}"
            raise TypeError(f"partners='batch' finds partners by {what}; with mixup, take partners='loader'")
        return logits[_others_of_the_class(batch.targets)]

    @torch.no_grad()
    def _view_logits(self, network: nn.Module, batch: Batch, view: str) -> Tensor:
        if (inputs := getattr(batch, view)) is None:
            what = f"class-wise self-distillation needs the view {view!r}, and the batch has none"
            raise ValueError(f"{what}: give the loader the views of the method")
        # a separate pass: together with the inputs it would be normalised by other statistics, and cost a gradient
        with _fixed_running_statistics(network) if self.bn == "anchor_only" else contextlib.nullcontext():
            return self.method.predict(network, inputs)


def _others_of_the_class(targets: Tensor) -> Tensor:
    """For each sample the index of another one of its class, drawn uniformly; its own where there is none, (B,)."""
    # in a random order, the partner is the next sample of the class, and of the last one the first
    shuffled = torch.randperm(len(targets), device=targets.device)
    order = shuffled[targets[shuffled].argsort(stable=True)]
    classes = targets[order]
    first = torch.searchsorted(classes, classes)
    last = torch.searchsorted(classes, classes, right=True) - 1
    place = torch.arange(len(targets), device=targets.device)
    following = torch.where(place < last, place + 1, first)
    return torch.empty_like(order).scatter(0, order, order[following])


@contextlib.contextmanager
def _fixed_running_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are; batches are normalised as usual."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
