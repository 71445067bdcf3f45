"""Labels softened by another network: knowledge distillation, born-again networks and deep mutual learning."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from labelreg import functional as F
from labelreg.data import Batch
from labelreg.methods.base import Method, Step


class Distillation(Method):
    """A method that consults a trained network.

    Args:
        teacher: trained network, inputs to (B, K) logits; it is frozen and stays in evaluation mode.
    """

    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher = teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def teach(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of the teacher, without gradient."""
        return self.teacher(inputs)


class KnowledgeDistillation(Distillation):
    """Knowledge distillation (Hinton et al., 2015), as ALR eq. 1 and KR eq. 1 write it.

    The loss is (1 - alpha) * CE + alpha * T^2 * KL(teacher || student), both softened with temperature T.

    Args:
        teacher: trained network, inputs to (B, K) logits; it is frozen and stays in evaluation mode.
        temperature: T > 0.
        alpha: weight of the teacher, in [0, 1]; neither paper states it. Near 1 the factor T^2 makes the first steps so
            large that a network without batch normalisation may not recover.

    Raises:
        ValueError: alpha outside [0, 1] or a temperature that is not positive.
    """

    def __init__(self, teacher: nn.Module, temperature: float = 4.0, alpha: float = 0.5):
        super().__init__(teacher)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha weights the teacher and lies in [0, 1], not {alpha}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature
        self.alpha = alpha

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits = network(batch.inputs)
        terms = {
            "hard": (1 - self.alpha) * F.soft_cross_entropy(logits, batch.targets),
            "soft": self.alpha * F.classwise_kl(logits, self.teach(batch.inputs), self.temperature),
        }
        return Step(terms["hard"] + terms["soft"], logits, terms)


class BornAgain(Distillation):
    """Born-again networks (BAN; Furlanello et al., 2018), NaR eq. 8.

    The loss is (1 - beta) * H(label, prediction) + beta * H(teacher's prediction, prediction). The first generation is
    trained on the labels alone, and each further one is taught by the one before, which has the same architecture.

    Args:
        teacher: the generation before, inputs to (B, K) logits; it is frozen and stays in evaluation mode.
        beta: weight of the teacher, in [0, 1]; 1, its usual value, ignores the labels.

    Raises:
        ValueError: beta outside [0, 1].
    """

    def __init__(self, teacher: nn.Module, beta: float = 1.0):
        super().__init__(teacher)
        if not 0 <= beta <= 1:
            raise ValueError(f"beta weights the teacher and lies in [0, 1], not {beta}")
        self.beta = beta

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, teacher_logits = network(batch.inputs), self.teach(batch.inputs)
        taught = teacher_logits.softmax(1, dtype=torch.promote_types(teacher_logits.dtype, torch.float32))
        terms = {
            "hard": (1 - self.beta) * F.soft_cross_entropy(logits, batch.targets),
            "soft": self.beta * F.soft_cross_entropy(logits, taught),
        }
        return Step(terms["hard"] + terms["soft"], logits, terms)


class DeepMutualLearning(Method):
    """Deep mutual learning (Zhang et al., 2018): two networks, each with the other's prediction as soft label.

    Both learn from the same batch at the same time, from predictions taken before the update.

    Args:
        peer: the second network, inputs to (B, K) logits; it is trained beside the first and dropped afterwards.
        weight: factor on the two divergences KL(other || own).
    """

    def __init__(self, peer: nn.Module, weight: float = 1.0):
        super().__init__()
        self.peer = peer
        self.weight = weight

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, peer_logits = network(batch.inputs), self.peer(batch.inputs)
        terms = {
            "hard": F.soft_cross_entropy(logits, batch.targets),
            "mutual": self.weight * F.classwise_kl(logits, peer_logits, temperature=1.0),
            "peer": self._peer_loss(peer_logits, logits, batch.targets),
        }
        return Step(sum(terms.values()), logits, terms)

    def _peer_loss(self, peer_logits: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        mutual = F.classwise_kl(peer_logits, logits, temperature=1.0)
        return F.soft_cross_entropy(peer_logits, targets) + self.weight * mutual
