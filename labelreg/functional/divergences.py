"""Predictions held to other predictions (CS-KD, SBA), or to none: the confidence penalty."""

import torch
from torch import Tensor

from labelreg.functional._numerics import compute_dtype, cross_entropy, kl, log_softmax, reduce
from labelreg.functional.checks import check_floating


def classwise_kl(
    logits: Tensor, partner_logits: Tensor, temperature: float = 4.0, t_squared: bool = True, reduction: str = "mean"
) -> Tensor:
    """``KL(partner || prediction)`` at a temperature: the class-wise and the sample-wise loss of CS-KD (section 2).

    Args:
        logits: (B, K); only they get a gradient.
        partner_logits: (B, K), of another sample of the same class, or of another view of the same sample.
        temperature: T, positive.
        t_squared: whether to multiply by T squared, which keeps the size of the gradient; the paper prints no factor.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    check_floating("logits", logits, "B", "K")
    check_floating("partner_logits", partner_logits, *logits.shape)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    losses = kl(log_softmax(partner_logits.detach(), temperature), log_softmax(logits, temperature))
    return reduce(losses * temperature**2 if t_squared else losses, reduction)


def vicinity_kl(
    reference_logits: Tensor, virtual_logits: Tensor, reduction: str = "mean", detach_reference: bool = True
) -> Tensor:
    """``KL(reference || virtual)``, the mean over the virtual points of each sample: the second term of SBA eq. 11.

    Args:
        reference_logits: (B, K), of the samples themselves.
        virtual_logits: (M, B, K), of M virtual points around each sample.
        reduction: "mean" over points and samples, or "none", the mean over points only.
        detach_reference: whether the reference is a fixed soft label; else it gets a gradient too.

    Returns:
        The loss, a scalar or (B,); zero without virtual points, M = 0.
    """
    check_floating("reference_logits", reference_logits, "B", "K")
    check_floating("virtual_logits", virtual_logits, "M", *reference_logits.shape)
    log_reference = log_softmax(reference_logits.detach() if detach_reference else reference_logits)
    if len(virtual_logits) == 0:
        return reduce(log_reference.new_zeros(len(reference_logits)), reduction)
    return reduce(kl(log_reference, log_softmax(virtual_logits)).mean(0), reduction)


def confidence_penalty(logits: Tensor, reduction: str = "mean") -> Tensor:
    """Minus the entropy of the prediction, in [-ln K, 0] (Pereyra et al., 2017).

    Args:
        logits: (B, K).
        reduction: "mean" or "none".

    Returns:
        The penalty, a scalar or (B,).
    """
    check_floating("logits", logits, "B", "K")
    log_p = log_softmax(logits)
    return reduce(-cross_entropy(log_p, log_p), reduction)


def js_divergence(p: Tensor, q: Tensor, reduction: str = "mean") -> Tensor:
    """Jensen-Shannon divergence, the mean of ``KL(p || m)`` and ``KL(q || m)`` with m = (p + q) / 2 (KR, Preliminary).

    Symmetric, and between 0 and ln 2. Probabilities of exactly 0 are allowed; their true gradient can be infinite, here
    it is large and finite.

    Args:
        p: (B, K) probabilities.
        q: (B, K) probabilities.
        reduction: "mean" or "none".

    Returns:
        The divergence, a scalar or (B,).
    """
    check_floating("p", p, "B", "K")
    check_floating("q", q, *p.shape)
    p, q = (x.to(compute_dtype(p, q)) for x in (p, q))
    log_p, log_q, log_m = (x.clamp_min(torch.finfo(p.dtype).tiny).log() for x in (p, q, (p + q) / 2))
    return reduce((p * (log_p - log_m) + q * (log_q - log_m)).sum(-1) / 2, reduction)
