"""Labels disturbed by an auxiliary network: Network as Regularization (NaR), and snapshots in its place."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from labelreg import functional as F
from labelreg.data import Batch
from labelreg.methods.base import Method, Step
from labelreg.methods.baselines import CrossEntropy


@dataclass
class Trajectory:
    """What a network in training predicted: the logits of every step, in order.

    They are kept as they were computed, on their device: steps * B * K numbers.

    Attributes:
        logits: one tensor (B, K) a step, without gradient.
        complete: whether these are all steps of a finished run.
    """

    logits: list[Tensor] = field(default_factory=list)
    complete: bool = False

    def record(self, step: int, logits: Tensor) -> None:
        """Keep the logits of a step, unless one before it is missing, as in a run that was resumed."""
        if step == len(self.logits):
            self.logits.append(logits.detach())

    def finish(self) -> None:
        """Say that the run has ended, so that what it recorded is complete."""
        self.complete = bool(self.logits)

    def replay(self, step: int) -> Tensor:
        """Return the logits of a step.

        Raises:
            ValueError: there was no such step.
        """
        if step >= len(self.logits):
            raise ValueError(
                f"step {step + 1} has no shared predictions, the recorded run had {len(self.logits)} steps: "
                "only runs of equal data, batch size and epochs can share"
            )
        return self.logits[step]


class NetworkAsRegularization(Method):
    """Network as Regularization (NaR): labels disturbed by the predictions of two networks in training.

    Target and auxiliary network see the same batch. The target's labels give a part lam of their mass to the mean of
    both predictions, made before the update (NaR eqs. 3 to 5); the auxiliary learns from the labels alone (NaR eq. 6).
    No gradient flows from one loss into the other network, so one optimizer trains both as two would.

    The published code departs from the paper, and ``variant="official"`` follows it: the target's loss is
    (1 - lam) * CE + lam * (KL(p || xi) + KL(xi || p)) with the prediction p and the disturbance xi of NaR eq. 3; the
    auxiliary's loss is scaled by (1 - lam) as well; and for some epochs before that, both learn from the labels alone.
    It also smooths the auxiliary's labels, by 0.5 on CIFAR-100 and 0.3 on CIFAR-10, which ``auxiliary_smoothing`` does
    here.

    What the auxiliary predicts during training does not depend on the target, so runs that differ in lam and alpha only
    can :meth:`~labelreg.methods.Method.share` it: the first records its logits step by step, and the others replay them
    and do not train it. A replayed run is the same as one that trains its own, bit by bit. Hence runs with
    ``variant="official"``, where lam scales the auxiliary's loss, and those whose auxiliary draws random numbers
    (dropout), which the target's draws would miss, share nothing.

    Args:
        auxiliary: the second network, inputs to (B, K) logits; it is trained beside the first and dropped afterwards.
        lam: weight of the predictions in the labels, in [0, 1). The published code's ``lam`` weights the labels: it is
            1 - lam here.
        alpha: weight of the target network among the predictions, in [0, 1).
        variant: ``"paper"`` or ``"official"``.
        warm_up: epochs in which the official variant does not disturb the labels yet.
        auxiliary_smoothing: label smoothing of the auxiliary network, spread over the K - 1 wrong classes.

    Raises:
        ValueError: a weight outside [0, 1), an unknown variant, a negative warm_up; a smoothing outside [0, 1], when
            the loss is first computed.
    """

    shareable_options = frozenset({"lam", "alpha"})

    def __init__(
        self,
        auxiliary: nn.Module,
        lam: float = 0.5,
        alpha: float = 0.1,
        variant: str = "paper",
        warm_up: int = 20,
        auxiliary_smoothing: float = 0.0,
    ):
        super().__init__()
        _check_weights(lam, alpha)
        if variant not in ("paper", "official"):
            raise ValueError(f"variant must be 'paper' or 'official', not {variant!r}")
        if warm_up < 0:
            raise ValueError(f"warm_up is a number of epochs, not {warm_up}")
        self.auxiliary = auxiliary
        self.lam = lam
        self.alpha = alpha
        self.variant = variant
        self.warm_up = warm_up
        self.auxiliary_smoothing = auxiliary_smoothing
        self.trajectory: Trajectory | None = None
        self.replays = False
        self.steps = 0
        self.start_epoch(0)

    def share(self, shared: dict) -> None:
        if self.variant == "official":
            return
        found = shared.get("auxiliary")
        self.replays = found is not None and found.complete
        if self.replays:
            self.auxiliary.requires_grad_(False)
        else:
            shared["auxiliary"] = Trajectory()
        self.trajectory = shared["auxiliary"]

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        self.warming_up = self.variant == "official" and epoch < self.warm_up

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, auxiliary_logits = network(batch.inputs), self._auxiliary_logits(batch.inputs)
        terms = self.terms(logits, auxiliary_logits, batch.targets)
        return Step(sum(terms.values()), logits, terms)

    def terms(self, logits: Tensor, auxiliary_logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the named parts of the loss: ``auxiliary`` trains the auxiliary network, the rest the target.

        Args:
            logits: (B, K), of the target network.
            auxiliary_logits: (B, K), of the auxiliary network.
            targets: (B,) class indices or (B, K) probabilities.
        """
        auxiliary = F.smooth_cross_entropy(auxiliary_logits, targets, self.auxiliary_smoothing, "others")
        if self.variant == "paper":
            return {
                "disturbed": F.nar_loss(logits, auxiliary_logits, targets, self.lam, self.alpha),
                "auxiliary": auxiliary,
            }
        lam = 0.0 if self.warming_up else self.lam
        return {
            "hard": (1 - lam) * F.soft_cross_entropy(logits, targets),
            "disturbance": lam * _symmetric_kl(logits, auxiliary_logits, self.alpha),
            "auxiliary": (1 - lam) * auxiliary,
        }

    @torch.no_grad()
    def labels(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the disturbed labels (B, K) of NaR eq. 4, without gradient.

        The networks predict in the modes they are in: in evaluation mode nothing is changed by the look.

        Args:
            network: the target network.
            inputs: (B, ...).
            targets: (B,) class indices or (B, K) probabilities.

        Raises:
            ValueError: the run replays the predictions of an auxiliary network that it does not have.
        """
        if self.replays:
            raise ValueError("a run that shares its auxiliary network has none of its own to disturb labels with")
        return F.nar_targets(network(inputs), self.auxiliary(inputs), targets, self.lam, self.alpha)

    def _auxiliary_logits(self, inputs: Tensor) -> Tensor:
        step, self.steps = self.steps, self.steps + 1
        if self.replays:
            return self.trajectory.replay(step)
        if self.trajectory is None:
            return self.auxiliary(inputs)
        drawn_before = _random_state(inputs.device) if step == 0 else None
        logits = self.auxiliary(inputs)
        if step == 0 and not torch.equal(drawn_before, _random_state(inputs.device)):
            self.trajectory = None
        else:
            self.trajectory.record(step, logits)
        return logits

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)

    def extra_repr(self) -> str:
        return f"lam={self.lam}, alpha={self.alpha}, variant={self.variant!r}"


class SnapshotRegularization(Method):
    """Snapshots in place of NaR's auxiliary network: the disturbance comes from an earlier or a later one (NaR fig. 5).

    The interval S is given in epochs, as in the published code. In epoch t, counted from 0, the labels are disturbed by
    the auxiliary network as it was after s epochs of training, in evaluation mode:

    - ``"pre"``, delayed: s = floor(t / S) * S, so first the untrained network. The auxiliary is trained beside the
      target, as in NaR.
    - ``"pos"``, advanced: s = (floor(t / S) + 1) * S, at most the length of training. The auxiliary is trained
      beforehand, on the same schedule: see :meth:`.Method.prepare`.

    Args:
        auxiliary: the second network, inputs to (B, K) logits.
        lam: weight of the predictions in the labels, in [0, 1).
        alpha: weight of the target network among the predictions, in [0, 1).
        interval: S, at least 1.
        direction: ``"pre"`` or ``"pos"``.

    Attributes:
        snapshots: copies of the auxiliary network, frozen: the current one, or all of them in order (``"pos"``).

    Raises:
        ValueError: a weight outside [0, 1), an interval below 1 or an unknown direction; ``"pos"`` without
            :meth:`.Method.prepare`, at the first step.
    """

    def __init__(
        self, auxiliary: nn.Module, lam: float = 0.5, alpha: float = 0.1, interval: int = 20, direction: str = "pre"
    ):
        super().__init__()
        _check_weights(lam, alpha)
        if interval < 1:
            raise ValueError(f"interval is a number of epochs, at least 1, not {interval}")
        if direction not in ("pre", "pos"):
            raise ValueError(f"direction must be 'pre' or 'pos', not {direction!r}")
        self.auxiliary = auxiliary
        self.lam = lam
        self.alpha = alpha
        self.interval = interval
        self.direction = direction
        self.snapshots = nn.ModuleList([_frozen_copy(auxiliary)] if direction == "pre" else [])
        self.current = 0

    def prepare(self, train: Callable[[nn.Module, Method], None]) -> None:
        if self.direction == "pre":
            return
        keeper = _Keeper(self.interval)
        train(self.auxiliary, keeper)
        self.auxiliary.requires_grad_(False)
        states = [*keeper.kept.values(), self.auxiliary.state_dict()]
        self.snapshots = nn.ModuleList(_frozen_copy(self.auxiliary) for _ in states)
        for snapshot, state in zip(self.snapshots, states, strict=True):
            snapshot.load_state_dict(state)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.snapshots.eval()
        return self

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        if self.direction == "pos":
            self.current = epoch // self.interval
        elif epoch % self.interval == 0:
            self.snapshots[0].load_state_dict(self.auxiliary.state_dict())

    def step(self, network: nn.Module, batch: Batch) -> Step:
        if self.current >= len(self.snapshots):
            raise ValueError(
                f"direction='pos' looks ahead at snapshot {self.current + 1}, but has {len(self.snapshots)}: "
                "prepare trains the auxiliary network beforehand, for as long as the target"
            )
        logits = network(batch.inputs)
        with torch.no_grad():
            snapshot_logits = self.snapshots[self.current](batch.inputs)
        terms = {"disturbed": F.nar_loss(logits, snapshot_logits, batch.targets, self.lam, self.alpha)}
        if self.direction == "pre":
            terms["auxiliary"] = F.soft_cross_entropy(self.auxiliary(batch.inputs), batch.targets)
        return Step(sum(terms.values()), logits, terms)

    def extra_repr(self) -> str:
        return f"lam={self.lam}, alpha={self.alpha}, interval={self.interval}, direction={self.direction!r}"


class _Keeper(CrossEntropy):
    """Plain training that keeps the network's state after every so many epochs, but not after the last.

    Attributes:
        kept: epochs of training to the state after them, in order.
    """

    def __init__(self, interval: int):
        super().__init__()
        self.interval = interval
        self.epoch = 0
        self.kept: dict[int, dict[str, Tensor]] = {}

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        self.epoch = epoch

    def step(self, network: nn.Module, batch: Batch) -> Step:
        # of a resumed epoch the first step is in the past, and so is the state to keep
        if self.epoch and self.epoch % self.interval == 0 and self.epoch not in self.kept:
            self.kept[self.epoch] = copy.deepcopy(network.state_dict())
        return super().step(network, batch)

    def get_extra_state(self) -> dict[int, dict[str, Any]]:
        return self.kept

    def set_extra_state(self, state: dict[int, dict[str, Any]]) -> None:
        self.kept = state


def _check_weights(lam: float, alpha: float) -> None:
    for name, value in (("lam", lam), ("alpha", alpha)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} is a weight in [0, 1), not {value}")


def _symmetric_kl(logits: Tensor, auxiliary_logits: Tensor, alpha: float) -> Tensor:
    """KL(p || xi) + KL(xi || p), a scalar; its gradient flows to logits only.

    Sums of logarithms, where the published code clamps probabilities: the two agree wherever the clamp does not act.
    """
    log_p, log_auxiliary = (_log_softmax(each) for each in (logits, auxiliary_logits.detach()))
    log_alpha = math.log(alpha) if alpha else -math.inf
    log_xi = torch.logaddexp(log_alpha + log_p.detach(), math.log1p(-alpha) + log_auxiliary)
    return ((log_p.exp() - log_xi.exp()) * (log_p - log_xi)).sum(1).mean()


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _frozen_copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).requires_grad_(False).eval()


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
