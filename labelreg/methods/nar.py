"""Network as Regularization (NaR): labels disturbed by an auxiliary network, or by snapshots of one."""

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from labelreg import losses
from labelreg.data import Batch
from labelreg.methods.base import Method, Step, frozen_copy
from labelreg.methods.baselines import CrossEntropy
from labelreg.options import Fraction, FractionBelowOne, takes_options


def nar_targets(
    logits: Tensor,
    auxiliary_logits: Tensor,
    targets: Tensor,
    lam: float = 0.5,
    alpha: float = 0.1,
    detach_disturbance: bool = True,
) -> Tensor:
    """The disturbed labels of Network as Regularization, (B, K) (NaR, equations 2 to 4).

    Args:
        logits, auxiliary_logits: (B, K), of the target and of the auxiliary network.
        targets: (B,) class indices or (B, K) probabilities.
        lam: weight of the networks' predictions in the labels, in [0, 1).
        alpha: weight of the target network among the predictions, in [0, 1).
        detach_disturbance: whether the labels are fixed; otherwise they have a gradient, for ``logits`` only.
    """
    losses.check_loss(logits, targets, auxiliary_logits=auxiliary_logits)
    sources = (logits.detach() if detach_disturbance else logits, auxiliary_logits.detach())
    predictions, auxiliary = (losses.log_softmax(each).exp() for each in sources)  # NaR eq. 2
    labels = losses.distribution(targets.detach(), logits.shape[1]).to(predictions.dtype)
    return disturb(predictions, auxiliary, labels, lam, alpha)


@torch.no_grad()
def nar_regression_targets(
    outputs: Tensor, auxiliary_outputs: Tensor, targets: Tensor, lam: float = 0.5, alpha: float = 0.1
) -> Tensor:
    """The disturbed targets of a regression, without gradient (NaR, equations 3 and 4, for the networks' outputs).

    Outputs and targets have the same shape, which may be any; it is also the shape of the result.
    """
    shape = outputs.shape if isinstance(outputs, Tensor) else ()
    losses.check_same_shape(*shape, outputs=outputs, auxiliary_outputs=auxiliary_outputs, targets=targets)
    return disturb(outputs, auxiliary_outputs, targets, lam, alpha)


def disturb(outputs: Tensor, auxiliary_outputs: Tensor, targets: Tensor, lam: float, alpha: float) -> Tensor:
    """Targets mixed with the outputs of two networks, all of one shape, with gradients (NaR, equations 3 and 4)."""
    for name, weight in (("lam", lam), ("alpha", alpha)):
        if not 0 <= weight < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {weight}")
    dtype = losses.compute_dtype(outputs, auxiliary_outputs, targets)
    outputs, auxiliary_outputs, targets = (each.to(dtype) for each in (outputs, auxiliary_outputs, targets))
    disturbance = alpha * outputs + (1 - alpha) * auxiliary_outputs  # NaR eq. 3
    return (1 - lam) * targets + lam * disturbance  # NaR eq. 4


def nar_loss(
    logits: Tensor,
    auxiliary_logits: Tensor,
    targets: Tensor,
    lam: float = 0.5,
    alpha: float = 0.1,
    reduction: str = "mean",
    detach_disturbance: bool = True,
) -> Tensor:
    """Cross-entropy with the labels of :func:`nar_targets` (NaR, equation 5); its gradient flows to logits only."""
    labels = nar_targets(logits, auxiliary_logits, targets, lam, alpha, detach_disturbance)
    return losses.soft_cross_entropy(logits, labels, reduction)  # NaR eq. 5


class NetworkAsRegularization(Method):
    """Network as Regularization (NaR): labels disturbed by the predictions of two networks in training.

    Both networks see the same batch. The target learns from disturbed labels (NaR, equations 3 to 5), which are made of
    predictions from before the update. The auxiliary learns from the labels alone (NaR, equation 6). No gradient flows
    from one loss into the other network, so one optimizer trains both as two would.

    The published code departs from the paper in four ways. ``variant="official"`` has the first three, and each of
    these three is also a variant by itself:

    - ``"divergence"``: the target's loss is (1 - lam) * CE + lam * (KL(p || xi) + KL(xi || p)), with the prediction p
      and the disturbance xi of equation 3;
    - ``"scale"``: the auxiliary's loss is scaled by 1 - lam, as the target's labels are;
    - ``"warm_up"``: in the first epochs lam is 0, and both networks learn from the labels alone;
    - the auxiliary's labels are smoothed, by 0.5 on CIFAR-100 and 0.3 on CIFAR-10: see ``auxiliary_smoothing``.

    Args:
        auxiliary: the second network, inputs to (B, K) logits; it is trained beside the first and discarded afterwards.
        lam, alpha: see :func:`nar_targets`. The published code calls 1 - lam ``lam``.
        variant: ``"paper"``, ``"official"``, ``"divergence"``, ``"scale"`` or ``"warm_up"``.
        warm_up: number of initial epochs in which the variants with a warm-up do not disturb the labels yet.
        auxiliary_smoothing: label smoothing of the auxiliary network over the K - 1 wrong classes, in [0, 1].
        detach_disturbance: whether the disturbance is fixed, as the paper says; otherwise the target's loss also has a
            gradient through the target's own prediction in the disturbance.
    """

    title = "NaR"
    paper = "nar"
    colour = "#C98500"
    place = ("a network in training", "anew at every step")
    benchmark: ClassVar = {"NaR": {}}
    on_text = True

    @takes_options
    def __init__(
        self,
        auxiliary: nn.Module,
        lam: FractionBelowOne = 0.5,
        alpha: FractionBelowOne = 0.1,
        variant: Literal["paper", "official", "divergence", "scale", "warm_up"] = "paper",
        warm_up: NonNegativeInt = 20,
        auxiliary_smoothing: Fraction = 0.0,
        detach_disturbance: bool = True,
    ):
        super().__init__()
        self.auxiliary = auxiliary
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.warming_up = self._follows_code("warm_up") and epoch < self.warm_up

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, auxiliary_logits = network(batch.inputs), self.auxiliary(batch.inputs)
        return Step.of(logits, self.terms(logits, auxiliary_logits, batch.targets))

    def terms(self, logits: Tensor, auxiliary_logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the named parts of the loss: ``auxiliary`` trains the auxiliary network, the rest the target."""
        lam = 0.0 if self.warming_up else self.lam
        smoothing = self.auxiliary_smoothing
        auxiliary = losses.smooth_cross_entropy(auxiliary_logits, targets, smoothing, "others")  # NaR eq. 6
        if self._follows_code("scale"):
            auxiliary = (1 - lam) * auxiliary
        fixed = self.detach_disturbance
        if self._follows_code("divergence"):
            return {
                "hard": (1 - lam) * losses.soft_cross_entropy(logits, targets),
                "disturbance": lam * _symmetric_kl(logits, auxiliary_logits, self.alpha, fixed),
                "auxiliary": auxiliary,
            }
        disturbed = nar_loss(logits, auxiliary_logits, targets, lam, self.alpha, detach_disturbance=fixed)
        return {"disturbed": disturbed, "auxiliary": auxiliary}

    def _follows_code(self, change: str) -> bool:
        return self.variant in ("official", change)

    @torch.no_grad()
    def labels(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the disturbed labels, (B, K) without gradient, in the networks' modes (NaR, equation 4)."""
        lam = 0.0 if self.warming_up else self.lam
        return nar_targets(network(inputs), self.auxiliary(inputs), targets, lam, self.alpha)


class SnapshotRegularization(Method):
    """NaR with snapshots: the disturbance comes from an earlier or a later auxiliary network (NaR, figure 5).

    The interval S is given in epochs, as in the published code. In epoch t, counted from 0, the labels are disturbed by
    the auxiliary network as it was after s epochs of training, in evaluation mode:

    - ``"pre"``, delayed: s = floor(t / S) * S, so the untrained network comes first. The auxiliary is trained beside
      the target, as in NaR.
    - ``"pos"``, advanced: s = (floor(t / S) + 1) * S, at most the length of training. The auxiliary is trained
      beforehand, on the same schedule, by :meth:`.Method.prepare`; a step without this preparation raises
      ``ValueError``.

    Args:
        auxiliary, lam, alpha: see :class:`NetworkAsRegularization`.
        interval: S, in epochs, at least 1.
        direction: ``"pre"`` or ``"pos"``.

    Attributes:
        snapshots: frozen copies of the auxiliary network: only the current one (``"pre"``), or all in order
            (``"pos"``).
    """

    title = "snapshot regularisation"
    colour = "#662200"
    place = ("a network in training", "slowly, over epochs")

    @takes_options
    def __init__(
        self,
        auxiliary: nn.Module,
        lam: FractionBelowOne = 0.5,
        alpha: FractionBelowOne = 0.1,
        interval: PositiveInt = 20,
        direction: Literal["pre", "pos"] = "pre",
    ):
        super().__init__()
        self.auxiliary = auxiliary
        self.prepares = direction == "pos"
        self.snapshots = nn.ModuleList([frozen_copy(auxiliary)] if direction == "pre" else [])
        self.current = 0

    def prepare(self, train: Callable[[nn.Module, Method], None]) -> None:
        if not self.prepares:
            return
        keeper = _Keeper(self.interval)
        train(self.auxiliary, keeper)
        self.auxiliary.requires_grad_(False)
        self.snapshots = nn.ModuleList()
        for state in (*keeper.kept.values(), self.auxiliary.state_dict()):
            self.snapshots.append(frozen_copy(self.auxiliary))
            self.snapshots[-1].load_state_dict(state)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.snapshots.eval()
        return self

    def start_epoch(self, epoch: int) -> None:
        if self.direction == "pos":
            self.current = epoch // self.interval
        elif epoch % self.interval == 0:
            self.snapshots[0].load_state_dict(self.auxiliary.state_dict())

    def step(self, network: nn.Module, batch: Batch) -> Step:
        if self.current >= len(self.snapshots):
            what = f"direction='pos' looks ahead at snapshot {self.current + 1}, but has {len(self.snapshots)}"
            raise ValueError(f"{what}: prepare trains the auxiliary network beforehand, for as long as the target")
        logits = network(batch.inputs)
        with torch.no_grad():
            snapshot_logits = self.snapshots[self.current](batch.inputs)
        terms = {"disturbed": nar_loss(logits, snapshot_logits, batch.targets, self.lam, self.alpha)}
        if self.direction == "pre":
            terms["auxiliary"] = losses.soft_cross_entropy(self.auxiliary(batch.inputs), batch.targets)
        return Step.of(logits, terms)


class _Keeper(CrossEntropy):
    """Plain training that keeps the network's state every ``interval`` epochs, but not after the last."""

    def __init__(self, interval: int):
        super().__init__()
        self.interval = interval
        self.epoch = 0
        self.kept: dict[int, dict[str, Tensor]] = {}  # by the number of epochs

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def step(self, network: nn.Module, batch: Batch) -> Step:
        # when an epoch is resumed, its first step is in the past, and so is the state to keep
        if self.epoch and self.epoch % self.interval == 0 and self.epoch not in self.kept:
            self.kept[self.epoch] = copy.deepcopy(network.state_dict())
        return super().step(network, batch)

    def get_extra_state(self) -> dict[int, dict[str, Any]]:
        return self.kept

    def set_extra_state(self, state: dict[int, dict[str, Any]]) -> None:
        self.kept = state


def _symmetric_kl(logits: Tensor, auxiliary_logits: Tensor, alpha: float, fixed: bool) -> Tensor:
    """KL(p || xi) + KL(xi || p), with a gradient for logits only; as in the published code, but unclamped."""
    dtype = losses.compute_dtype(logits, auxiliary_logits)
    log_p, log_auxiliary = (each.log_softmax(1, dtype=dtype) for each in (logits, auxiliary_logits.detach()))
    log_alpha = math.log(alpha) if alpha else -math.inf
    own = log_p.detach() if fixed else log_p
    log_xi = torch.logaddexp(log_alpha + own, math.log1p(-alpha) + log_auxiliary)
    return losses.expectation(log_p.exp() - log_xi.exp(), log_p - log_xi).mean()
