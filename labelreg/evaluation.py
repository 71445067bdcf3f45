r"""The metrics, as Python floats.

Every function reduces ``N`` samples on the device they are on, brings one small tensor back, and finishes in float64.
Rates and errors are fractions in [0, 1]. An empty input raises ``ValueError``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from torch import Tensor

from labelreg.losses import check_floating, check_indices, soft_cross_entropy

__all__ = [
    "ReliabilityDiagram",
    "detection_auroc",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "perplexity",
    "perplexity_from_nll",
    "recall_at_1",
    "reliability_diagram",
    "summarise",
    "summarise_batches",
    "top_k_error",
    "variance_ratio",
]

TEMPERATURES = (1e-3, 1e3)  # between which one is looked for


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Confidence against accuracy, one entry a bin from low to high confidence; NaN for the mean of an empty bin.

    Attributes:
        confidence: the mean confidence of the samples in the bin.
        accuracy: the fraction of them that is predicted correctly.
        count: how many they are.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


@torch.no_grad()
def top_k_error(logits: Tensor, targets: Tensor, k: int = 1) -> float:
    """The fraction of samples whose true class is not among the k largest logits.

    Of equal logits the class with the lower index comes first; NaN never counts as right.

    Args:
        logits: (N, K).
        targets: (N,) class indices.
        k: from 1 to K.

    Returns:
        The error in [0, 1].
    """
    _check_scores("logits", logits, targets)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must lie between 1 and the number of classes, {logits.shape[1]}, got {k}")
    return _mean(_rank(logits, targets) >= k)


@torch.no_grad()
def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """The mean of -log p of the true class, in nats.

    Args:
        logits: (N, K).
        targets: (N,) class indices.

    Returns:
        The mean in nats, not negative.
    """
    _check_scores("logits", logits, targets)
    return _mean(soft_cross_entropy(logits, targets, reduction="none"))


def perplexity(logits: Tensor, targets: Tensor) -> float:
    """The exponential of the negative log-likelihood: K for a uniform prediction, 1 for a perfect one.

    Args:
        logits: (N, K).
        targets: (N,) class indices.

    Returns:
        The perplexity, at least 1; infinite where it exceeds the largest float.
    """
    return perplexity_from_nll(negative_log_likelihood(logits, targets))


def perplexity_from_nll(nll: float) -> float:
    """``perplexity``, of a negative log-likelihood in nats that is at hand."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


@torch.no_grad()
def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 20) -> float:
    """The distance between confidence and accuracy, a mean over bins weighted by their samples (CS-KD section 3.1).

    The confidence is the largest probability; bins are equally wide and hold their upper edge, (lo, hi]. A confidence
    of 0 falls into the first.

    Args:
        probabilities: (N, K), in [0, 1].
        targets: (N,) class indices.
        bins: the number of bins.

    Returns:
        The error in [0, 1].
    """
    return _calibration_error(*_bin_sums(*_top_prediction(probabilities, targets), bins))


@torch.no_grad()
def reliability_diagram(probabilities: Tensor, targets: Tensor, bins: int = 20) -> ReliabilityDiagram:
    """Confidence and accuracy by bins of confidence, the parts of the expected calibration error.

    Args:
        probabilities: (N, K), in [0, 1].
        targets: (N,) class indices.
        bins: the number of bins, equally wide, (lo, hi].

    Returns:
        Mean confidence, accuracy and count of each bin.
    """
    count, confidence, correct = _bin_sums(*_top_prediction(probabilities, targets), bins)
    return ReliabilityDiagram(
        confidence=tuple((confidence / count).tolist()),
        accuracy=tuple((correct / count).tolist()),
        count=tuple(count.long().tolist()),
    )


@torch.no_grad()
def recall_at_1(features: Tensor, targets: Tensor) -> float:
    """The fraction of samples whose nearest other sample has the same class (R@1, CS-KD section 3.1).

    The distance is Euclidean, in float64, so that close neighbours keep their order; of neighbours at the same distance
    the one stored first counts. Comparing 1024 samples at a time with all bounds the memory. The only sample of a class
    counts as missed.

    Args:
        features: (N, D), finite, with at least 2 samples.
        targets: (N,) class indices.

    Returns:
        The recall in [0, 1].
    """
    _check_features(features, targets)
    features = features.double()  # distances by matrix product lose digits, too many of them in float32
    samples = torch.arange(len(features), device=features.device)
    nearest = []
    for chunk in samples.split(1024):
        distances = torch.cdist(features[chunk], features, compute_mode="use_mm_for_euclid_dist")
        distances[samples[: len(chunk)], chunk] = math.inf
        nearest.append(distances.argmin(1))
    return _mean(targets[torch.cat(nearest)] == targets)


@torch.no_grad()
def variance_ratio(features: Tensor, targets: Tensor) -> float:
    r"""The variation within classes over the variation between them, tr(S_W) / tr(S_B).

    With m_k the mean of the N_k samples of class k and m that of all N samples, the scatter within classes is S_W =
    1/N sum_i (x_i - m_{y_i}) (x_i - m_{y_i})^T and between them S_B = 1/N sum_k N_k (m_k - m) (m_k - m)^T: their sum is
    the covariance of the features. The ratio of the traces is the same for features in other units, or turned.

    Args:
        features: (N, D), finite, with at least 2 samples.
        targets: (N,) class indices.

    Returns:
        The ratio, not negative: 0 where every class is one point, infinite where all class means are one point, NaN
        where all samples are.
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
    """The temperature T at which softmax(logits / T) has the least negative log-likelihood (Guo et al., 2017).

    To be fitted on other samples than those that are reported on. The likelihood is convex in 1 / T, since the logits
    are scaled by it and logarithms of sums of exponentials are convex; so over log T it has one valley, which bounded
    minimisation finds.

    Args:
        logits: (N, K).
        targets: (N,) class indices.

    Returns:
        T, between 1e-3 and 1e3: close to the lower bound where all samples are predicted correctly, for then no
        prediction is certain enough; close to the upper one where the logits tell less than nothing.
    """
    _check_scores("logits", logits, targets)
    logits = logits.double()
    low, high = (math.log(temperature) for temperature in TEMPERATURES)
    fit = minimize_scalar(
        lambda log: negative_log_likelihood(logits / math.exp(log), targets), bounds=(low, high), method="bounded"
    )
    return math.exp(fit.x)


def detection_auroc(confidences_in: Tensor, confidences_out: Tensor) -> float:
    """How well confidence tells samples from what should be none: the area under the ROC curve.

    The probability that a sample has a higher confidence than something foreign, ties counting half. The confidence is
    the largest softmax probability in the baseline of Hendrycks and Gimpel (2017).

    Args:
        confidences_in: (N,), of samples of the distribution trained on, at least 1.
        confidences_out: (M,), of what is foreign to it, at least 1.

    Returns:
        The area in [0, 1]: 1 where confidence tells them apart, 0.5 where it says nothing.
    """
    groups = {"confidences_in": confidences_in, "confidences_out": confidences_out}
    for name, confidences in groups.items():
        check_floating(name, confidences, "N")
        if not len(confidences) or not confidences.isfinite().all():
            raise ValueError(f"{name} must hold at least one number, all of them finite")
    inside = torch.cat([torch.ones(len(confidences_in)), torch.zeros(len(confidences_out))])
    return float(roc_auc_score(inside, torch.cat([each.double().cpu() for each in groups.values()])))


def summarise(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """What is recorded after every epoch, for one wait on the device.

    Args:
        logits: (N, K).
        targets: (N,) class indices.

    Returns:
        A dictionary of "error" and, with more than 5 classes, "top5_error", in [0, 1], "nll" in nats, "ece" in 20 bins.
    """
    return summarise_batches([(logits, targets)])


@torch.no_grad()
def summarise_batches(predictions: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """``summarise``, of logits and targets that come in batches and need not all be in memory at once.

    Args:
        predictions: pairs of logits (B, K) and targets (B,), with B as it comes.

    Returns:
        The dictionary of ``summarise``.
    """
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
    """How many classes come before the true one, (N,)."""
    true = scores.gather(1, targets[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    # stated as what does not come before, so that NaN, which compares false with everything, does
    not_before = (scores < true) | ((scores == true) & (classes >= targets[:, None]))
    return (~not_before).sum(1)


def _top_prediction(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The confidence of each sample and whether it is right, both (N,) on the CPU."""
    _check_scores("probabilities", probabilities, targets)
    rank = _rank(probabilities, targets).to(probabilities.dtype)
    lowest, confidence, rank = torch.stack([probabilities.amin(1), probabilities.amax(1), rank]).cpu()
    low, high = lowest.min().item(), confidence.max().item()
    if not (low >= 0 and high <= 1 + 1e-4):  # a softmax in half precision can round to just above 1
        raise ValueError(f"probabilities must lie in [0, 1], got {low:g} to {high:g}")
    return confidence, rank == 0


def _bin_sums(confidence: Tensor, correct: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """The samples of each bin, the sum of their confidences, and how many are right: three (bins,) in float64."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # rounded like the confidences, so that a confidence of 0.15 in float32 is at the edge 0.15
    edges = (torch.arange(1, bins, dtype=torch.float64) / bins).to(confidence.dtype)
    index = torch.bucketize(confidence, edges)
    values = torch.stack([torch.ones(len(confidence)), confidence, correct]).double()
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
