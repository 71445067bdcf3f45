"""The metrics against brute force, a reference implementation, and their edges."""

import math
import weakref

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torchmetrics.classification import MulticlassCalibrationError

from labelreg.evaluation import (
    expected_calibration_error,
    negative_log_likelihood,
    perplexity,
    recall_at_1,
    reliability_diagram,
    summarise,
    summarise_batches,
    top_k_error,
)

HALVES = (torch.bfloat16, torch.float16)
METRICS = (top_k_error, negative_log_likelihood, perplexity, expected_calibration_error, summarise)


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 12, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 12, (400,), generator=generator)


class TestTopKError:
    @pytest.mark.parametrize("k", [1, 5, 11, 12])
    def test_against_sorting(self, scores, k):
        logits, targets = scores
        misses = sum(y not in np.argsort(-z)[:k] for z, y in zip(logits.numpy(), targets.numpy(), strict=True))
        assert top_k_error(logits, targets, k) == misses / 400

    def test_the_lower_index_wins_a_tie(self):
        logits = torch.zeros(3, 3)
        assert top_k_error(logits, torch.arange(3), 1) == pytest.approx(2 / 3)
        assert top_k_error(logits, torch.arange(3), 2) == pytest.approx(1 / 3)
        assert top_k_error(torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([1])) == 0
        assert top_k_error(torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([2])) == 1

    def test_nan_is_never_right(self):
        assert top_k_error(torch.full((2, 3), math.nan), torch.tensor([0, 2]), 3) == 1
        assert top_k_error(torch.tensor([[1.0, math.nan]]), torch.tensor([0])) == 1

    @pytest.mark.parametrize("k", [0, 13])
    def test_k_out_of_range(self, scores, k):
        with pytest.raises(ValueError, match=f"k must lie between 1 and the number of classes, 12, got {k}"):
            top_k_error(*scores, k)


class TestLikelihood:
    def test_against_definition(self, scores):
        logits, targets = scores
        expected = -log_softmax(logits.numpy(), axis=1)[np.arange(400), targets.numpy()].mean()
        assert negative_log_likelihood(logits, targets) == pytest.approx(expected, abs=1e-12)
        assert perplexity(logits, targets) == pytest.approx(math.exp(expected), rel=1e-12)

    def test_limits(self):
        targets = torch.tensor([0, 4])
        assert perplexity(torch.zeros(2, 7), targets) == pytest.approx(7, rel=1e-6)
        assert perplexity(1e4 * torch.eye(7)[targets], targets) == 1
        assert perplexity(-1e4 * torch.eye(7)[targets], targets) == math.inf

    @pytest.mark.parametrize("dtype", HALVES)
    def test_half_precision(self, scores, dtype):
        logits, targets = scores[0].to(dtype), scores[1]
        expected = negative_log_likelihood(logits.double(), targets)
        assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=1e-6)


class TestCalibration:
    @pytest.mark.parametrize("bins", [1, 10, 20])
    def test_against_torchmetrics(self, scores, bins):
        probabilities, targets = scores[0].softmax(1), scores[1]
        reference = MulticlassCalibrationError(num_classes=12, n_bins=bins, norm="l1")(probabilities, targets)
        assert expected_calibration_error(probabilities, targets, bins) == pytest.approx(reference.item(), abs=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
    def test_exact_edges_belong_to_the_bin_below(self, dtype):
        confidence = (torch.arange(21, dtype=torch.float64) / 20).to(dtype)
        targets = torch.tensor([j % 3 == 0 for j in range(21)]).long()
        probabilities = torch.stack([torch.zeros_like(confidence), confidence], dim=1)
        bins = [[] for _ in range(20)]
        for j in range(21):
            bins[max(j - 1, 0)].append(j)  # (lo, hi], and 0 in the first
        right = [(j % 3 == 0) if j > 0 else False for j in range(21)]  # at confidence 0 the tie goes to class 0
        diagram = reliability_diagram(probabilities, targets)
        assert diagram.count == tuple(len(members) for members in bins)
        assert diagram.accuracy == tuple(np.mean([right[j] for j in members]) for members in bins)
        means = [confidence[members].double().mean().item() for members in bins]
        assert diagram.confidence == pytest.approx(means, abs=1e-12)
        expected = sum(abs(sum(right[j] - confidence[j].item() for j in members)) for members in bins) / 21
        assert expected_calibration_error(probabilities, targets) == pytest.approx(expected, abs=1e-12)

    def test_perfect_and_worst(self):
        certain = torch.eye(3)
        assert expected_calibration_error(certain, torch.arange(3)) == 0
        assert expected_calibration_error(certain, torch.tensor([1, 2, 0])) == 1

    def test_the_diagram_holds_the_error(self, scores):
        probabilities, targets = scores[0].softmax(1), scores[1]
        diagram = reliability_diagram(probabilities, targets, bins=30)
        gaps = [
            count * abs(confidence - accuracy)
            for count, confidence, accuracy in zip(diagram.count, diagram.confidence, diagram.accuracy, strict=True)
            if count
        ]
        assert sum(diagram.count) == 400
        assert sum(gaps) / 400 == pytest.approx(expected_calibration_error(probabilities, targets, bins=30), abs=1e-12)
        # with 12 classes no confidence is below 1/12
        assert diagram.count[:2] == (0, 0)
        assert all(math.isnan(value) for value in diagram.confidence[:2] + diagram.accuracy[:2])

    @pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
    def test_not_probabilities(self, bad):
        with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
            expected_calibration_error(torch.tensor([[bad, 0.5]]), torch.tensor([0]))

    def test_no_bins(self, scores):
        with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
            reliability_diagram(scores[0].softmax(1), scores[1], bins=0)


class TestRecall:
    @pytest.mark.parametrize("count", [2, 60, 2500])
    def test_against_brute_force(self, count):
        generator = torch.Generator().manual_seed(count)
        targets = torch.randint(0, 5, (count,), generator=generator)
        features = torch.randn(count, 4, generator=generator) + targets[:, None] * 0.7
        hits = 0
        for i, feature in enumerate(features.double().numpy()):
            distances = ((features.double().numpy() - feature) ** 2).sum(1)
            distances[i] = math.inf
            hits += targets[distances.argmin()] == targets[i]
        assert recall_at_1(features, targets) == pytest.approx(hits.item() / count, abs=1e-12)

    def test_a_sample_is_not_its_own_neighbour(self):
        features = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        assert recall_at_1(features, torch.tensor([0, 0, 1, 1])) == 1
        assert recall_at_1(features, torch.tensor([0, 1, 0, 1])) == 0
        assert recall_at_1(features, torch.tensor([0, 0, 1, 2])) == 0.5  # the only ones of their class

    def test_far_from_the_origin(self):
        # neighbours 0.001 apart at 1e4: a float32 matrix product sees them all at the same place
        pairs = torch.arange(8.0).repeat_interleave(2) + torch.tensor([0.0, 0.001]).repeat(8)
        features = 1e4 + torch.stack([pairs, pairs], dim=1).double().repeat(1, 16)
        assert recall_at_1(features, torch.arange(8).repeat_interleave(2)) == 1

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (torch.zeros(1, 3), "features must hold at least 2 samples, got 1"),
            (torch.full((2, 3), math.nan), "features must be finite"),
            (torch.zeros(2, 3, 4), r"features must have shape \(N, D\), got \(2, 3, 4\)"),
        ],
    )
    def test_bad_features(self, features, message):
        with pytest.raises(ValueError, match=message):
            recall_at_1(features, torch.zeros(len(features), dtype=torch.int64))


class TestSummarise:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
    def test_is_the_metrics_together(self, scores, dtype):
        logits, targets = scores[0].to(dtype), scores[1]
        summary = summarise(logits, targets)
        probabilities = logits.to(torch.promote_types(dtype, torch.float32)).softmax(1)
        assert summary == {
            "error": top_k_error(logits, targets),
            "top5_error": top_k_error(logits, targets, 5),
            "nll": pytest.approx(negative_log_likelihood(logits, targets), abs=1e-12),
            "ece": pytest.approx(expected_calibration_error(probabilities, targets), abs=1e-12),
        }
        assert all(type(value) is float for value in summary.values())

    @pytest.mark.parametrize(("classes", "has_top5"), [(2, False), (5, False), (6, True)])
    def test_top5_needs_more_than_5_classes(self, classes, has_top5):
        assert ("top5_error" in summarise(torch.zeros(3, classes), torch.zeros(3, dtype=torch.int64))) is has_top5

    def test_a_diverged_network_is_recorded(self):
        summary = summarise(torch.full((4, 3), math.nan), torch.tensor([0, 1, 2, 0]))
        assert summary["error"] == 1
        assert math.isnan(summary["nll"])
        assert math.isnan(summary["ece"])


class TestSummariseBatches:
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_is_the_summary_of_all_of_them(self, scores, size):
        logits, targets = scores
        batches = zip(logits.split(size), targets.split(size), strict=True)
        assert summarise_batches(batches) == pytest.approx(summarise(logits, targets), rel=1e-12)

    def test_keeps_none_of_them(self, scores):
        made = []

        def batches():
            for part, labels in zip(scores[0].split(7), scores[1].split(7), strict=True):
                assert sum(reference() is not None for reference in made) <= 1  # the one before
                batch = part.clone()
                made.append(weakref.ref(batch))
                yield batch, labels

        summarise_batches(batches())

    def test_needs_one(self):
        with pytest.raises(ValueError, match="predictions must hold at least one batch, got none"):
            summarise_batches([])


@pytest.mark.parametrize("metric", [*METRICS, reliability_diagram, recall_at_1])
def test_no_graph_is_kept(metric):
    def fail(_):
        pytest.fail("a tensor was saved for the backward pass")

    scores = torch.eye(6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(fail, fail):
        metric(scores, torch.arange(6))


@pytest.mark.parametrize("metric", METRICS)
def test_bad_scores_are_named(metric):
    name = "probabilities" if metric is expected_calibration_error else "logits"
    targets = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"{name} must hold at least one sample"):
        metric(torch.zeros(0, 3), targets[:0])
    with pytest.raises(ValueError, match=rf"{name} must have shape \(N, K\)"):
        metric(torch.zeros(2, 3, 4), targets)
    with pytest.raises(TypeError, match=f"{name} must be a floating-point tensor"):
        metric(torch.zeros(2, 3, dtype=torch.int64), targets)
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 2\], got 3 to 3"):
        metric(torch.zeros(2, 3), targets + 3)
    with pytest.raises(ValueError, match=r"targets must have shape \(2,\)"):
        metric(torch.zeros(2, 3), targets[:1])
