"""Knowledge Refinery (KR): decoupled labels whose weight decays with the epochs.

The residual output and label (equations 3 to 5) and the mutual losses of network and matrix (equations 6 and 7) are
those of ALR, in :mod:`labelreg.methods.alr`; smoothed labels (equations 12 and 14) are in :mod:`labelreg.losses`.
"""

from typing import ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from labelreg.methods.alr import Direction, Kind, ResidualCriterion
from labelreg.options import Fraction, takes_options


def decayed_weight(epoch: int, gamma: float, truncate: int = 0) -> float:
    """The weight alpha of an epoch: gamma^epoch, or 0 from the epoch ``truncate`` on (KR, equation 15).

    Epochs count from 0. As the paper says, a gamma of 0 is the baseline in every epoch, including the first.
    ``truncate=0`` means never.
    """
    truncated = 0 < truncate <= epoch  # KR eq. 15
    return 0.0 if gamma == 0 or truncated else gamma**epoch


class KnowledgeRefinery(ResidualCriterion):
    """Knowledge Refinery (KR; KR-LS with ``smoothing=0.1``).

    The loss is hard + alpha * (residual + update), with alpha = gamma^epoch (KR, equations 8 to 11). By default the
    arguments of both divergences are swapped relative to the printed equations, as in ALR; ``direction="literal"``
    takes the printed order.

    Args:
        num_classes: K.
        gamma: decay of alpha per epoch, in [0, 1]; see :func:`decayed_weight`.
        smoothing: label smoothing of the hard loss; 0.1 gives KR-LS.
        truncate: epoch from which alpha is 0; 0 for never. The paper's "1*" is ``gamma=1, truncate=20``.
        kind: ``"kl"``, or ``"cross_entropy"``.
        direction, lr_mult: see :class:`.ResidualCriterion`.

    Attributes:
        alpha: the weight of the current epoch.
    """

    title = "KR"
    paper = "kr"
    colour = "#0072B2"
    place = ("its class mean over the wrong classes", "slowly, over epochs")
    benchmark: ClassVar = {"KR": {}, "KR-LS": {"smoothing": 0.1}}

    @takes_options
    def __init__(
        self,
        num_classes: PositiveInt,
        gamma: Fraction = 0.99,
        smoothing: Fraction = 0.0,
        truncate: NonNegativeInt = 0,
        kind: Kind = "kl",
        direction: Direction = "target_first",
        lr_mult: NonNegativeFloat = 1.0,
    ):
        super().__init__(num_classes)
        self.start_epoch(0)

    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        hard, residual, update = self.losses(logits, targets)
        residual = self.alpha * residual  # KR eq. 10
        update = self.alpha * update  # KR eq. 11
        return {"hard": hard, "residual": residual, "update": update}  # KR eq. 9  # KR eq. 13

    def start_epoch(self, epoch: int) -> None:
        self.alpha = decayed_weight(epoch, self.gamma, self.truncate)
