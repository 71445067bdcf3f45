"""How long and how fast to train."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from annotated_types import Gt, Le
from pydantic import BeforeValidator, NonNegativeFloat, PositiveFloat, model_validator

from labelreg.options import FractionBelowOne, Settings, as_tuple

Count = Annotated[int, Gt(0), Le(2**31)]


class Recipe(Settings):
    """The settings of the training loop. The defaults are the CIFAR protocol of the KR paper.

    Attributes:
        epochs: passes over the training data.
        batch_size: samples per step; for a language model, the number of parallel streams that the text is cut into.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: learning rate of the first step; for ``one_cycle``, the peak.
        momentum, nesterov: momentum of SGD, in [0, 1), and whether it is Nesterov momentum.
        weight_decay: for the network's parameters; the method's own parameters have none. Neither ALR nor KR states it.
        schedule: ``"multi_step"``; ``"one_cycle"``, a cosine up for 30 % of the steps, then down; ``"cosine"``;
            ``"constant"``; or ``"plateau"``, which multiplies the learning rate by ``decay`` after every epoch that
            does not lower the negative log-likelihood on the validation split.
        milestones: epochs after which ``multi_step`` multiplies the learning rate by ``decay``, in increasing order.
        decay: factor of ``multi_step`` and ``plateau``; below 1 for ``plateau``.
        precision: ``"float32"``, or ``"bfloat16"`` for autocast.
        sequence_length: length of truncated back-propagation through time, in tokens, for a language model.
        clip_norm: maximum norm of each network's gradient; 0 for no clipping.
    """

    epochs: Count = 200
    batch_size: Count = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    momentum: FractionBelowOne = 0.9
    nesterov: bool = True
    weight_decay: NonNegativeFloat = 5e-4
    schedule: Literal["multi_step", "one_cycle", "cosine", "constant", "plateau"] = "multi_step"
    milestones: Annotated[tuple[Count, ...], BeforeValidator(as_tuple)] = (60, 120, 160)
    decay: PositiveFloat = 0.1
    precision: Literal["float32", "bfloat16"] = "float32"
    sequence_length: Count = 35
    clip_norm: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _can_be_scheduled(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase from one to the next, got {self.milestones}")
        if self.schedule == "plateau" and not self.decay < 1:
            raise ValueError(f"schedule 'plateau' needs a decay below 1, got {self.decay}")
        return self
