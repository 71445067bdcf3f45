"""Labels softened by another network: knowledge distillation, born-again networks and deep mutual learning."""

from typing import ClassVar, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from labelreg.data import Batch
from labelreg.losses import soft_cross_entropy
from labelreg.methods.base import Method, Step, frozen_copy
from labelreg.methods.cskd import classwise_kl
from labelreg.options import Fraction, takes_options


class Distillation(Method):
    """A method that consults a trained network, which maps inputs to (B, K) logits.

    It keeps a frozen copy of the teacher in evaluation mode. Layers that teacher and student share go on learning in
    the student, and the teacher stays as it was.
    """

    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher = frozen_copy(teacher)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def teach(self, inputs: Tensor) -> Tensor:
        """The teacher's logits, (B, K) without gradient."""
        return self.teacher(inputs)


class KnowledgeDistillation(Distillation):
    """Knowledge distillation (Hinton et al., 2015; ALR, section 3.1; KR, equations 1 and 2).

    The loss is (1 - alpha) * CE + alpha * T^2 * KL(teacher || student), both softened with the temperature T.

    Args:
        teacher: see :class:`.Distillation`.
        alpha: weight of the teacher; neither paper states it. Near 1, the factor T^2 makes the first steps so
            large that a network without batch normalisation may not recover.
    """

    title = "knowledge distillation"
    aliases = ("KD",)
    colour = "#776677"
    place = ("a finished network", "before training")

    @takes_options
    def __init__(self, teacher: nn.Module, temperature: PositiveFloat = 4.0, alpha: Fraction = 0.5):
        super().__init__(teacher)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits = network(batch.inputs)
        hard = (1 - self.alpha) * soft_cross_entropy(logits, batch.targets)
        soft = self.alpha * classwise_kl(logits, self.teach(batch.inputs), self.temperature)  # KR eq. 2
        return Step.of(logits, {"hard": hard, "soft": soft})  # KR eq. 1


class BornAgain(Distillation):
    """Born-again networks (BAN; Furlanello et al., 2018; NaR, equation 8).

    The loss is (1 - beta) * H(label, prediction) + beta * H(teacher's prediction, prediction). The first generation is
    trained on the labels alone. Each later generation is taught by the one before, which has the same architecture.

    Args:
        teacher: the previous generation, see :class:`.Distillation`.
        beta: weight of the teacher; 1, its usual value, ignores the labels.
    """

    title = "born again"
    aliases = ("BAN",)
    colour = "#AA3300"
    place = ("a finished network", "before training")
    benchmark: ClassVar = {"BAN-2": {}}
    on_text = True

    @takes_options
    def __init__(self, teacher: nn.Module, beta: Fraction = 1.0):
        super().__init__(teacher)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, teacher_logits = network(batch.inputs), self.teach(batch.inputs)
        taught = teacher_logits.softmax(1, dtype=torch.promote_types(teacher_logits.dtype, torch.float32))
        hard = (1 - self.beta) * soft_cross_entropy(logits, batch.targets)
        soft = self.beta * soft_cross_entropy(logits, taught)
        return Step.of(logits, {"hard": hard, "soft": soft})  # NaR eq. 8


class DeepMutualLearning(Method):
    """Deep mutual learning (Zhang et al., 2018): two networks, each with the other's prediction as soft label.

    Both learn from the same batch at the same time, from predictions made before the update.

    Args:
        peer: the second network, inputs to (B, K) logits; it is trained beside the first and discarded afterwards.
        weight: factor on the two divergences KL(other || own).
    """

    title = "deep mutual learning"
    aliases = ("DML",)
    colour = "#0000BB"
    place = ("a network in training", "anew at every step")
    benchmark: ClassVar = {"DML": {}}

    @takes_options
    def __init__(self, peer: nn.Module, weight: NonNegativeFloat = 1.0):
        super().__init__()
        self.peer = peer

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, peer_logits = network(batch.inputs), self.peer(batch.inputs)
        mutual, peer_mutual = (
            self.weight * classwise_kl(*pair, temperature=1.0)
            for pair in ((logits, peer_logits), (peer_logits, logits))
        )
        hard, peer_hard = (soft_cross_entropy(each, batch.targets) for each in (logits, peer_logits))
        return Step.of(logits, {"hard": hard, "mutual": mutual, "peer": peer_hard + peer_mutual})
