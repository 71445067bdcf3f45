r"""The papers' equations as pure functions of tensors.

Throughout, ``B`` is the batch, ``K`` the number of classes, and

- *logits* are ``(B, K)``, of any floating-point dtype. Half precision is computed and returned in float32, float64
  stays float64, and a gradient always comes back in the dtype of its input. Logits of magnitude 1e4 give finite values
  and finite gradients in every dtype.
- *targets* are class indices, ``(B,)`` int64, or, where a function says so, class probabilities, ``(B, K)``
  floating-point. Probabilities are taken as given: nothing checks that they sum to one.
- *reduction* is ``"mean"``, the mean over the batch, or ``"none"``, one value a sample, ``(B,)``. Sums run over the
  classes and are never divided by their number. Logarithms are natural, so values are in nats.

A wrong dtype raises ``TypeError``, a wrong shape or value ``ValueError``. Class indices out of range are found on the
CPU only: on an accelerator the check would have to wait for the device, at every step.
"""

from labelreg.functional.divergences import classwise_kl, confidence_penalty, js_divergence, vicinity_kl
from labelreg.functional.labels import class_means, smooth_cross_entropy, smooth_labels, soft_cross_entropy
from labelreg.functional.margin import adacos_fixed_scale, adacos_scale, cosine_logits, virtual_softmax_logits
from labelreg.functional.nar import nar_loss, nar_regression_targets, nar_targets
from labelreg.functional.residual import residual_labels, residual_logits, residual_losses, residual_probabilities

__all__ = [
    "adacos_fixed_scale",
    "adacos_scale",
    "class_means",
    "classwise_kl",
    "confidence_penalty",
    "cosine_logits",
    "js_divergence",
    "nar_loss",
    "nar_regression_targets",
    "nar_targets",
    "residual_labels",
    "residual_logits",
    "residual_losses",
    "residual_probabilities",
    "smooth_cross_entropy",
    "smooth_labels",
    "soft_cross_entropy",
    "vicinity_kl",
    "virtual_softmax_logits",
]
