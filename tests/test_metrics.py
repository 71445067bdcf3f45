"""The metrics against brute force, TorchMetrics and cases made by hand."""

import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy, multiclass_calibration_error
from torchmetrics.functional.text import perplexity as reference_perplexity

from labelreg.metrics import (
    detection_auroc,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    perplexity,
    recall_at_1,
    recall_at_k,
    reliability_diagram,
    summarise,
    summarise_batches,
    top_k_error,
    variance_ratio,
)

HALVES = (torch.bfloat16, torch.float16)
METRICS = (top_k_error, negative_log_likelihood, perplexity, expected_calibration_error, fit_temperature, summarise)


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 12, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 12, (400,), generator=generator)


class TestTopKError:
    @pytest.mark.parametrize("k", [1, 5, 11, 12])
    def test_against_sorting_and_torchmetrics(self, scores, k):
        logits, targets = scores
        misses = sum(y not in np.argsort(-z)[:k] for z, y in zip(logits.numpy(), targets.numpy(), strict=True))
        assert top_k_error(logits, targets, k) == misses / 400
        accuracy = multiclass_accuracy(logits, targets, 12, top_k=k, average="micro").item()
        assert top_k_error(logits, targets, k) == pytest.approx(1 - accuracy, abs=1e-6)

    def test_the_lower_index_wins_a_tie(self):
        logits = torch.zeros(3, 3)
        assert [top_k_error(logits, torch.arange(3), k) for k in (1, 2)] == pytest.approx([2 / 3, 1 / 3])
        logits = torch.tensor([[0.0, 1.0, 1.0]])
        assert [top_k_error(logits, torch.tensor([target])) for target in (1, 2)] == [0, 1]

    def test_nan_is_never_right(self):
        assert top_k_error(torch.full((2, 3), math.nan), torch.tensor([0, 2]), 3) == 1
        assert top_k_error(torch.tensor([[1.0, math.nan]]), torch.tensor([0])) == 1


class TestLikelihood:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), *((half, 1e-6) for half in HALVES)])
    def test_against_definition(self, scores, dtype, tolerance):
        logits, targets = scores[0].to(dtype), scores[1]
        expected = -log_softmax(logits.double().numpy(), axis=1)[np.arange(400), targets.numpy()].mean()
        assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=tolerance)
        assert perplexity(logits, targets) == pytest.approx(math.exp(expected), rel=tolerance * 10)
        reference = reference_perplexity(logits[None].float(), targets[None]).item()
        assert perplexity(logits, targets) == pytest.approx(reference, rel=1e-5)

    def test_limits(self):
        targets = torch.tensor([0, 4])
        assert perplexity(torch.zeros(2, 7), targets) == pytest.approx(7, rel=1e-6)
        assert perplexity(1e4 * torch.eye(7)[targets], targets) == 1
        assert perplexity(-1e4 * torch.eye(7)[targets], targets) == math.inf


class TestCalibration:
    @pytest.mark.parametrize("bins", [1, 10, 20])
    def test_against_torchmetrics(self, scores, bins):
        probabilities, targets = scores[0].softmax(1), scores[1]
        reference = multiclass_calibration_error(probabilities, targets, 12, n_bins=bins)
        assert expected_calibration_error(probabilities, targets, bins) == pytest.approx(reference.item(), abs=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
    def test_exact_edges_belong_to_the_bin_below(self, dtype):
        confidence = (torch.arange(21, dtype=torch.float64) / 20).to(dtype)
        targets = torch.tensor([j % 3 == 0 for j in range(21)]).long()
        probabilities = torch.stack([torch.zeros_like(confidence), confidence], dim=1)
        bins = [[] for _ in range(20)]
        for j in range(21):
            bins[max(j - 1, 0)].append(j)  # (lo, hi], and 0 in the first
        right = [j % 3 == 0 and j > 0 for j in range(21)]  # at confidence 0 the tie goes to class 0
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

    def test_empty_bins_of_the_diagram_hold_no_number(self, scores):
        diagram = reliability_diagram(scores[0].softmax(1), scores[1], bins=30)
        assert sum(diagram.count) == 400
        assert diagram.count[:2] == (0, 0)  # with 12 classes no confidence is below 1/12
        assert all(math.isnan(value) for value in diagram.confidence[:2] + diagram.accuracy[:2])


class TestRecall:
    @pytest.mark.parametrize("count", [2, 60, 2500])
    def test_against_brute_force(self, count):
        generator = torch.Generator().manual_seed(count)
        targets = torch.randint(0, 5, (count,), generator=generator)
        features = torch.randn(count, 4, generator=generator) + targets[:, None] * 0.7
        points, hits = features.double().numpy(), dict.fromkeys({1, min(4, count - 1), count - 1}, 0)
        for i, point in enumerate(points):
            order = np.argsort(((points - point) ** 2).sum(1))
            same = targets.numpy()[order[order != i]] == targets[i].item()
            for k in hits:
                hits[k] += same[:k].any()
        for k, found in hits.items():
            assert recall_at_k(features, targets, k) == pytest.approx(found / count, abs=1e-12)
        assert recall_at_1(features, targets) == recall_at_k(features, targets, 1)

    def test_a_sample_is_not_its_own_neighbour(self):
        features = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        for targets, expected in (([0, 0, 1, 1], 1), ([0, 1, 0, 1], 0), ([0, 0, 1, 2], 0.5)):  # 2: alone in its class
            assert recall_at_1(features, torch.tensor(targets)) == expected

    def test_of_neighbours_at_the_same_distance_the_first_counts(self):
        # 0 and 4 are as far from 2 as each other, and three samples lie on the same point
        features = torch.tensor([[0.0], [4.0], [2.0], [9.0], [9.0], [9.0]])
        assert recall_at_1(features, torch.tensor([0, 1, 0, 2, 3, 3])) == pytest.approx(2 / 6)  # 2 -> 0, 4 and 5 -> 3
        assert recall_at_1(features, torch.tensor([0, 1, 1, 3, 3, 2])) == pytest.approx(3 / 6)  # 1 -> 2
        # of 4 and 5, the two nearest are 3 and one another; of 2, 0 and 1, which come before 4
        assert recall_at_k(features, torch.tensor([0, 1, 2, 3, 2, 2]), 2) == pytest.approx(2 / 6)

    def test_features_in_half_precision_are_compared_in_double(self):
        features = torch.randn(300, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
        targets = torch.arange(300) % 4
        assert recall_at_1(features, targets) == recall_at_1(features.double(), targets)

    def test_far_from_the_origin(self):
        # neighbours 0.001 apart at 1e4: a float32 matrix product sees them all at the same place
        pairs = torch.arange(8.0).repeat_interleave(2) + torch.tensor([0.0, 0.001]).repeat(8)
        features = 1e4 + torch.stack([pairs, pairs], dim=1).double().repeat(1, 16)
        assert recall_at_1(features, torch.arange(8).repeat_interleave(2)) == 1


class TestVarianceRatio:
    @pytest.fixture
    def clustered(self):
        generator = torch.Generator().manual_seed(0)
        targets = torch.tensor([0] * 5 + [3] * 20 + [7] * 15)  # unequal classes, and some without samples
        features = torch.randn(40, 6, generator=generator, dtype=torch.float64)
        return features + targets[:, None] * torch.randn(6, generator=generator), targets

    def test_against_the_scatter_matrices(self, clustered):
        x, y = (values.numpy() for values in clustered)
        mean = x.mean(0)
        within, between = np.zeros((6, 6)), np.zeros((6, 6))
        for k in np.unique(y):
            within += (len(x[y == k]) / len(x)) * np.cov(x[y == k].T, bias=True)
            between += (len(x[y == k]) / len(x)) * np.outer(x[y == k].mean(0) - mean, x[y == k].mean(0) - mean)
        assert variance_ratio(*clustered) == pytest.approx(np.trace(within) / np.trace(between), rel=1e-12)

    def test_does_not_see_units_origin_and_rotation(self, clustered):
        features, targets = clustered
        turned = features @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
        assert variance_ratio(3 * turned + 1e5, targets) == pytest.approx(variance_ratio(features, targets), rel=1e-6)

    def test_limits(self):
        points, targets = torch.tensor([[0.0], [0.0], [2.0], [2.0]]), torch.tensor([0, 0, 1, 1])
        assert variance_ratio(points, targets) == 0
        assert variance_ratio(points, torch.tensor([0, 1, 0, 1])) == math.inf
        assert math.isnan(variance_ratio(torch.ones(4, 1), targets))


class TestFitTemperature:
    @given(temperature=st.floats(0.05, 20))
    @settings(max_examples=20)
    def test_labels_drawn_at_a_temperature_give_it_back(self, temperature):
        generator = torch.Generator().manual_seed(0)
        likely = 2 * torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
        targets = torch.multinomial(likely.softmax(1), 1, generator=generator).flatten()
        assert fit_temperature(temperature * likely, targets) == pytest.approx(temperature, rel=0.05)

    def test_no_other_has_a_lower_likelihood(self, scores):
        fitted = fit_temperature(*scores)
        least = negative_log_likelihood(scores[0] / fitted, scores[1])
        for temperature in np.geomspace(1e-2, 1e2, 400):
            assert negative_log_likelihood(scores[0] / temperature, scores[1]) >= least

    def test_the_slope_is_zero_and_it_scales_with_the_logits(self, scores):
        """Where the mean logit of the true class is the mean of the expected ones."""
        logits, targets = scores
        logits = logits + 6 * torch.eye(12)[targets]  # so that the minimum lies inside
        fitted = fit_temperature(logits, targets)
        expected = ((logits / fitted).softmax(1) * logits).sum(1).mean()
        assert expected.item() == pytest.approx(logits[torch.arange(400), targets].mean().item(), abs=1e-4)
        assert fit_temperature(logits.float() / 8, targets) == pytest.approx(fitted / 8, rel=1e-4)

    def test_stays_within_its_bounds(self):
        targets = torch.tensor([0, 1])
        assert 1e-3 <= fit_temperature(torch.eye(2), targets) < 0.1  # always right
        assert 10 < fit_temperature(-torch.eye(2), targets) <= 1e3  # always wrong

    @pytest.mark.parametrize("size", [1.0, 1e2, 1e5, 1e30])
    def test_of_what_is_always_right_is_its_lower_bound(self, size):
        """However large the logits, of which a loss is soon 0 at every temperature."""
        assert fit_temperature(size * torch.eye(10), torch.arange(10)) == 1e-3

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_of_no_likelihood_is_an_error(self, value):
        logits = torch.randn(4, 3)
        logits[1, 1] = value
        with pytest.raises(ValueError, match="logits must have a finite negative log-likelihood"):
            fit_temperature(logits, torch.tensor([0, 1, 2, 0]))


class TestDetection:
    @given(*[st.lists(st.integers(0, 5), min_size=1, max_size=20)] * 2)
    def test_is_the_share_of_pairs_in_order(self, inside, outside):
        pairs = [(one > other) + (one == other) / 2 for one in inside for other in outside]
        area = detection_auroc(torch.tensor(inside) / 5, torch.tensor(outside) / 5)
        assert area == pytest.approx(np.mean(pairs))
        assert type(area) is float
        labels = torch.tensor([1] * len(inside) + [0] * len(outside))
        assert area == pytest.approx(binary_auroc(torch.tensor(inside + outside) / 5, labels).item())

    def test_limits(self):
        low, high = torch.tensor([0.1, 0.2]), torch.tensor([0.8, 0.9, 1.0])
        assert [detection_auroc(*pair) for pair in ((high, low), (low, high), (low, low))] == [1, 0, 0.5]


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

    def test_top5_needs_more_than_5_classes(self):
        summaries = [summarise(torch.zeros(3, classes), torch.zeros(3, dtype=torch.int64)) for classes in (2, 5, 6)]
        assert ["top5_error" in summary for summary in summaries] == [False, False, True]

    def test_a_diverged_network_is_recorded(self):
        summary = summarise(torch.full((4, 3), math.nan), torch.tensor([0, 1, 2, 0]))
        assert summary == pytest.approx({"error": 1, "nll": math.nan, "ece": math.nan}, nan_ok=True)

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_of_batches_is_the_summary_of_all_of_them(self, scores, size):
        logits, targets = scores
        batches = zip(logits.split(size), targets.split(size), strict=True)
        assert summarise_batches(batches) == pytest.approx(summarise(logits, targets), rel=1e-12)

    def test_keeps_none_of_the_batches(self, scores):
        made = []

        def batches():
            for part, labels in zip(scores[0].split(7), scores[1].split(7), strict=True):
                assert sum(reference() is not None for reference in made) <= 1  # the one before
                batch = part.clone()
                made.append(weakref.ref(batch))
                yield batch, labels

        summarise_batches(batches())


@pytest.mark.parametrize("metric", [*METRICS, reliability_diagram, recall_at_1, variance_ratio])
def test_no_graph_is_kept(metric):
    def fail(_):
        pytest.fail("a tensor was saved for the backward pass")

    scores = torch.eye(6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(fail, fail):
        metric(scores, torch.arange(6))


SCORES = {metric: "probabilities" if metric is expected_calibration_error else "logits" for metric in METRICS}
FEATURES, HALF, FIRST = (recall_at_1, variance_ratio), torch.tensor([0.5]), torch.tensor([0])


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        *((metric, (torch.zeros(1, 3),), "features must hold at least 2 samples, got 1") for metric in FEATURES),
        *((metric, (torch.full((2, 3), math.nan),), "features must be finite") for metric in FEATURES),
        *((metric, (torch.zeros(2, 3, 4),), r"features must have shape \(N, D\)") for metric in FEATURES),
        *((metric, (torch.zeros(0, 3),), f"{name} must hold at least one sample") for metric, name in SCORES.items()),
        *((metric, (torch.zeros(2, 3, 4),), rf"{name} must have shape \(N, K\)") for metric, name in SCORES.items()),
        *((metric, (torch.zeros(2, 3).long(),), f"{name} must be a floating-point") for metric, name in SCORES.items()),
        *((metric, (torch.zeros(1, 3), FIRST + 3), r"targets must lie in \[0, 2\], got 3 to 3") for metric in METRICS),
        *((metric, (torch.zeros(2, 3), FIRST), r"targets must have shape \(2,\)") for metric in METRICS),
        *((top_k_error, (torch.zeros(2, 3), None, k), f"k must lie between 1 and .*, 3, got {k}") for k in (0, 4)),
        (reliability_diagram, (torch.zeros(2, 3), None, 0), "bins must be at least 1, got 0"),
        *((recall_at_k, (torch.zeros(4, 3), None, k), f"k must lie between 1 and .*, 3, got {k}") for k in (0, 4)),
        *(
            (expected_calibration_error, (torch.tensor([[bad, 0.5]]),), r"probabilities must lie in \[0, 1\]")
            for bad in (-0.1, 1.1, math.nan)
        ),
        (detection_auroc, (HALF[:0], HALF), "confidences_in must hold at least one number"),
        (detection_auroc, (HALF, HALF / 0), "confidences_out must hold at least one number, all of them finite"),
        (detection_auroc, (HALF, torch.ones(2, 3)), r"confidences_out must have shape \(N,\), got \(2, 3\)"),
        (summarise_batches, ([],), "predictions must hold at least one batch, got none"),
    ],
)
def test_what_does_not_fit_is_refused(metric, arguments, message):
    values, *others = arguments
    if metric is not summarise_batches and (not others or others[0] is None):
        others[:1] = [torch.zeros(len(values), dtype=torch.int64)]
    with pytest.raises(TypeError if "floating-point" in message else ValueError, match=message):
        metric(values, *others)
