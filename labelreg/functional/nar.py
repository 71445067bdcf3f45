"""Labels disturbed by a second network: Network as Regularization (NaR)."""

import torch
from torch import Tensor

from labelreg.functional._numerics import compute_dtype, distribution, log_softmax
from labelreg.functional.checks import check_floating, check_targets
from labelreg.functional.labels import soft_cross_entropy


@torch.no_grad()
def nar_targets(
    logits: Tensor, auxiliary_logits: Tensor, targets: Tensor, lam: float = 0.5, alpha: float = 0.1
) -> Tensor:
    """The disturbed labels of Network as Regularization, NaR eqs. 3 and 4.

    The label gives a part lam of its mass to the mean of both networks' predictions, in which the target network
    itself has the weight alpha. No gradient flows to either network.

    Args:
        logits: (B, K), of the target network.
        auxiliary_logits: (B, K), of the auxiliary network.
        targets: (B,) class indices or (B, K) probabilities.
        lam: the weight of the predictions, in [0, 1).
        alpha: the weight of the target network among them, in [0, 1).

    Returns:
        The disturbed labels, (B, K), without gradient.
    """
    check_floating("logits", logits, "B", "K")
    check_floating("auxiliary_logits", auxiliary_logits, *logits.shape)
    check_targets(targets, *logits.shape)
    predictions, auxiliary_predictions = (log_softmax(each).exp() for each in (logits, auxiliary_logits))
    labels = distribution(targets, logits.shape[1]).to(predictions.dtype)
    return nar_regression_targets(predictions, auxiliary_predictions, labels, lam, alpha)


@torch.no_grad()
def nar_regression_targets(
    outputs: Tensor, auxiliary_outputs: Tensor, targets: Tensor, lam: float = 0.5, alpha: float = 0.1
) -> Tensor:
    """The disturbed targets of a regression: NaR eqs. 3 and 4 with the networks' outputs in place of predictions.

    Args:
        outputs, auxiliary_outputs: of the target and of the auxiliary network, of any one shape.
        targets: of that shape.
        lam, alpha: see :func:`nar_targets`.

    Returns:
        The disturbed targets, of that shape, without gradient.
    """
    given = {"outputs": outputs, "auxiliary_outputs": auxiliary_outputs, "targets": targets}
    for name, value in given.items():
        check_floating(name, value, *outputs.shape)
    outputs, auxiliary_outputs, targets = (x.to(compute_dtype(*given.values())) for x in given.values())
    for name, value in (("lam", lam), ("alpha", alpha)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return (1 - lam) * targets + lam * (alpha * outputs + (1 - alpha) * auxiliary_outputs)


def nar_loss(
    logits: Tensor,
    auxiliary_logits: Tensor,
    targets: Tensor,
    lam: float = 0.5,
    alpha: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with the disturbed labels, NaR eq. 5; its gradient flows to logits only.

    Args:
        logits: (B, K), of the target network.
        auxiliary_logits: (B, K), of the auxiliary network.
        targets: (B,) class indices or (B, K) probabilities.
        lam, alpha: see :func:`nar_targets`.
        reduction: "mean" or "none".

    Returns:
        The loss, a scalar or (B,).
    """
    return soft_cross_entropy(logits, nar_targets(logits, auxiliary_logits, targets, lam, alpha), reduction)
