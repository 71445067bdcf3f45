"""The metrics, as Python floats.

Every function reduces N samples on their device, copies one small tensor to the CPU and finishes in float64. Logits and
probabilities are (N, K), and targets are (N,) int64 class indices. Features are (N, D), finite and of at least 2
samples. Rates and errors are fractions in [0, 1]. Wrong shapes and values, and empty inputs, raise ``ValueError``;
wrong dtypes raise ``TypeError``.

TorchMetrics, the reference in the tests, differs: it returns float32, counts NaN as class 0 and bins calibration as
[lo, hi).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from labelreg.losses import check_floating, check_indices, soft_cross_entropy


class ReliabilityDiagram(NamedTuple):
    """Mean confidence, accuracy and number of samples per bin, in order of confidence; an empty bin has NaN and 0."""

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


@torch.no_grad()
def top_k_error(logits: Tensor, targets: Tensor, k: int = 1) -> float:
    """Return the fraction of samples whose true class is not among the k largest logits.

    Of equal logits, the one with the lower index counts as larger; NaN never counts as right.
    """
    _check_scores("logits", logits, targets)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must lie between 1 and the number of classes, {logits.shape[1]}, got {k}")
    return _mean(_rank(logits, targets) >= k)


@torch.no_grad()
def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of -log p of the true class, in nats."""
    _check_scores("logits", logits, targets)
    return _mean(soft_cross_entropy(logits, targets, reduction="none"))


def perplexity(logits: Tensor, targets: Tensor) -> float:
    """Return the exponential of the negative log-likelihood: 1 for a perfect prediction, K for a uniform one."""
    return perplexity_from_nll(negative_log_likelihood(logits, targets))


def perplexity_from_nll(nll: float) -> float:
    """Return the exponential of a negative log-likelihood in nats, infinite where it exceeds the largest float."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


@torch.no_grad()
def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 20) -> float:
    """Return the mean distance between confidence and accuracy over bins, weighted by count (CS-KD section 3.1).

    The confidence is the largest probability. Bins are equally wide, (lo, hi]; a confidence of 0 is in the first.
    """
    return _calibration_error(*_bin_sums(*_top_prediction(probabilities, targets), bins))


@torch.no_grad()
def reliability_diagram(probabilities: Tensor, targets: Tensor, bins: int = 20) -> ReliabilityDiagram:
    """Return confidence, accuracy and count per bin, see :func:`expected_calibration_error`."""
    count, confidence, correct = _bin_sums(*_top_prediction(probabilities, targets), bins)
    columns = (confidence / count, correct / count, count.long())
    return ReliabilityDiagram(*(tuple(column.tolist()) for column in columns))


def recall_at_1(features: Tensor, targets: Tensor) -> float:
    """Return the fraction of samples whose nearest other sample has the same class, see :func:`recall_at_k`."""
    return recall_at_k(features, targets)


@torch.no_grad()
def recall_at_k(features: Tensor, targets: Tensor, k: int = 1) -> float:
    """Return the fraction of samples with one of their own class among the k nearest others (R@k, CS-KD section 3.1).

    The distance is Euclidean; of equally near samples the first counts, up to rounding. The only sample of a class is a
    miss.
    """
    _check_features(features, targets)
    if not 1 <= k < len(features):
        raise ValueError(f"k must lie between 1 and the number of other samples, {len(features) - 1}, got {k}")
    features = features.double()  # distances by matrix product lose digits, too many of them in float32
    samples = torch.arange(len(features), device=features.device)
    found = []
    for chunk in samples.split(1024):  # bounds the memory
        distances = torch.cdist(features[chunk], features, compute_mode="use_mm_for_euclid_dist")
        rows, nearest = samples[: len(chunk)], chunk  # each sample lies nearest to itself
        hits = torch.zeros_like(chunk, dtype=torch.bool)
        for _ in range(k):
            distances[rows, nearest] = math.inf
            nearest = distances.argmin(1)
            hits |= targets[nearest] == targets[chunk]
        found.append(hits)
    return _mean(torch.cat(found))


@torch.no_grad()
def variance_ratio(features: Tensor, targets: Tensor) -> float:
    """Return the variation within classes over the variation between them, tr(S_W) / tr(S_B).

    With m_k the mean of the N_k samples of class k and m that of all N samples, S_W = 1/N sum_i (x_i - m_{y_i}) (x_i -
    m_{y_i})^T and S_B = 1/N sum_k N_k (m_k - m) (m_k - m)^T. The ratio is invariant to scaling and rotation. It is 0 if
    every class is one point, infinite if all class means coincide and NaN if all samples do.
    """
    _check_features(features, targets)
    features = features.double()
    _, targets, counts = targets.unique(return_inverse=True, return_counts=True)
    centred = features - features.mean(0)  # first: sums of squares far from the origin lose digits
    means = centred.new_zeros(len(counts), features.shape[1]).index_add(0, targets, centred) / counts[:, None]
    within = (centred - means[targets]).square().sum()
    between = (counts[:, None] * means.square()).sum()
    return (within / between).item()


@torch.no_grad()
def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature T that minimises the negative log-likelihood of softmax(logits / T) (Guo et al., 2017).

    Fit it on samples other than those evaluated. T lies between 1e-3 and 1e3: at the lower bound if all predictions are
    correct, near the upper one if the logits are worse than uniform. Logits whose negative log-likelihood is NaN or
    infinite raise ``ValueError``.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    _check_scores("logits", logits, targets)
    logits = logits.double()
    low, high = 1e-3, 1e3
    if not math.isfinite(nll := negative_log_likelihood(logits, targets)):
        raise ValueError(f"logits must have a finite negative log-likelihood to be fitted, got {nll}")
    if (logits.gather(1, targets[:, None]) == logits.amax(1, keepdim=True)).all():
        return low  # a loss that falls to 0 is soon rounded to it, and has no minimum any more

    def loss(log_temperature: float) -> float:  # convex in 1 / T, so that it has one minimum over log T
        return negative_log_likelihood(logits / math.exp(log_temperature), targets)

    return math.exp(minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded").x)


def detection_auroc(confidences_in: Tensor, confidences_out: Tensor) -> float:
    """Return the area under the ROC curve of detecting out-of-distribution samples by their confidence.

    It is the probability that one of the (N,) samples in distribution has a higher confidence than one of the (M,) out
    of it; ties count half. Hendrycks and Gimpel (2017) use the largest softmax probability.
    """
    from sklearn.metrics import roc_auc_score  # slow to import

    groups = {"confidences_in": confidences_in, "confidences_out": confidences_out}
    for name, confidences in groups.items():
        check_floating(name, confidences, "N")
        if not len(confidences) or not confidences.isfinite().all():
            raise ValueError(f"{name} must hold at least one number, all of them finite")
    inside = [1] * len(confidences_in) + [0] * len(confidences_out)
    return float(roc_auc_score(inside, torch.cat([each.double().cpu() for each in groups.values()])))


def summarise(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return ``"error"``, ``"top5_error"`` if K is over 5, ``"nll"`` in nats and ``"ece"`` with 20 bins."""
    return summarise_batches([(logits, targets)])


@torch.no_grad()
def summarise_batches(predictions: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Return :func:`summarise` of batches that are not all held in memory, with a single device synchronisation."""
    reduced = []
    for logits, targets in predictions:
        _check_scores("logits", logits, targets)
        losses = soft_cross_entropy(logits, targets, reduction="none")
        confidence = logits.to(losses.dtype).softmax(1).amax(1)
        reduced.append(torch.stack([losses, confidence, _rank(logits, targets).to(losses.dtype)]))
    if not reduced:
        raise ValueError("predictions must hold at least one batch, got none")
    losses, confidence, rank = torch.cat(reduced, 1).cpu()
    summary = {"error": _mean(rank >= 1)}
    if logits.shape[1] > 5:
        summary["top5_error"] = _mean(rank >= 5)
    return summary | {"nll": _mean(losses), "ece": _calibration_error(*_bin_sums(confidence, rank == 0, bins=20))}


def _rank(scores: Tensor, targets: Tensor) -> Tensor:
    """The number of classes that come before the true one, (N,)."""
    true = scores.gather(1, targets[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    # negated, so that NaN, which compares false with everything, comes before
    not_before = (scores < true) | ((scores == true) & (classes >= targets[:, None]))
    return (~not_before).sum(1)


def _top_prediction(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and correctness per sample, both (N,) on the CPU."""
    _check_scores("probabilities", probabilities, targets)
    rank = _rank(probabilities, targets).to(probabilities.dtype)
    lowest, confidence, rank = torch.stack([probabilities.amin(1), probabilities.amax(1), rank]).cpu()
    low, high = lowest.min().item(), confidence.max().item()
    if not (low >= 0 and high <= 1 + 1e-4):  # a softmax in half precision can round to just above 1
        raise ValueError(f"probabilities must lie in [0, 1], got {low:g} to {high:g}")
    return confidence, rank == 0


def _bin_sums(confidence: Tensor, correct: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, sum of confidences and number of correct predictions per bin: (3, bins) float64."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # rounded like the confidences, so that a confidence of 0.15 in float32 is at the edge 0.15
    edges = (torch.arange(1, bins, dtype=torch.float64, device=confidence.device) / bins).to(confidence.dtype)
    index = torch.bucketize(confidence, edges)
    values = torch.stack([torch.ones_like(confidence), confidence, correct]).double()
    return tuple(values.new_zeros(3, bins).index_add(1, index, values))


def _calibration_error(count: Tensor, confidence: Tensor, correct: Tensor) -> float:
    return ((confidence - correct).abs().sum() / count.sum()).item()


def _mean(values: Tensor) -> float:
    return values.cpu().double().mean().item()


def _check_features(features: Tensor, targets: Tensor) -> None:
    check_floating("features", features, "N", "D")
    check_indices(targets, len(features), math.inf)
    if len(features) < 2:
        raise ValueError(f"features must hold at least 2 samples, got {len(features)}")
    if not features.isfinite().all():
        raise ValueError("features must be finite, got NaN or infinity")


def _check_scores(name: str, scores: Tensor, targets: Tensor) -> None:
    check_floating(name, scores, "N", "K")
    check_indices(targets, *scores.shape)
    if scores.numel() == 0:
        raise ValueError(f"{name} must hold at least one sample, got shape {tuple(scores.shape)}")
