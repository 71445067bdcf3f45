"""What the equations are made of: each in single precision at least."""

import functools

import torch
from torch import Tensor

from labelreg.functional.checks import check_choice


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    logits = logits.to(compute_dtype(logits))
    return (logits if temperature == 1 else logits / temperature).log_softmax(-1)


def distribution(targets: Tensor, num_classes: int) -> Tensor:
    """Targets of either form as probabilities (B, K)."""
    if targets.ndim == 2:
        return targets.to(compute_dtype(targets))
    one_hot = torch.zeros(len(targets), num_classes, device=targets.device)
    return one_hot.scatter_(1, targets[:, None], 1.0)


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    return -(log_p.exp() * log_q).sum(-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def reduce(losses: Tensor, reduction: str) -> Tensor:
    check_choice("reduction", reduction, "mean", "none")
    return losses.mean() if reduction == "mean" else losses
