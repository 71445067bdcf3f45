"""The logits and scales of AdaCos and Virtual softmax against a naive computation, and at their limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import cosine_similarity, cross_entropy

from labelreg import functional as F

B, D, K = 6, 4, 5
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def layer():
    """Features, weights and targets, in float64."""
    generator = torch.Generator().manual_seed(0)
    features, weight = (torch.randn(n, D, dtype=torch.float64, generator=generator) for n in (B, K))
    return features, weight, torch.tensor([0, 4, 2, 2, 1, 3])


def next_scale(cosines, targets, scale):
    """AdaCos as printed, one sample after the other."""
    total = sum(math.exp(scale * row[k]) for row, y in zip(cosines, targets, strict=True) for k in range(K) if k != y)
    angles = sorted(math.acos(row[y]) for row, y in zip(cosines, targets, strict=True))
    return math.log(total / len(cosines)) / math.cos(min(math.pi / 4, angles[(len(angles) - 1) // 2]))


class TestCosineLogits:
    def test_are_cosine_similarities(self, layer):
        features, weight, _ = layer
        expected = cosine_similarity(features[:, None], weight[None], dim=2)
        torch.testing.assert_close(F.cosine_logits(features, weight), expected, rtol=0, atol=1e-12)

    def test_gradients_against_finite_differences(self, layer):
        features, weight, _ = (x.requires_grad_() if x.is_floating_point() else x for x in layer)
        assert torch.autograd.gradcheck(F.cosine_logits, (features, weight))

    @settings(max_examples=25, deadline=None)
    @given(
        arrays(np.float64, (3, D), elements=st.floats(-10, 10)), st.floats(1e-3, 1e3), st.sampled_from([-1.0, 0.0, 1.0])
    )
    def test_know_directions_only(self, values, factor, sign):
        features, weight = torch.from_numpy(values[:2]), torch.from_numpy(values[1:])
        features, weight = (torch.where(x.norm(dim=1, keepdim=True) > 1e-6, x, 0) for x in (features, weight))
        cosines = F.cosine_logits(features, weight)
        assert cosines.abs().max() <= 1 + 1e-12
        stretched = F.cosine_logits(sign * factor * features, weight / factor)
        torch.testing.assert_close(stretched, sign * cosines, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
    @pytest.mark.parametrize("size", [0.0, 1e-3, 1e4])
    def test_are_finite_with_finite_gradients(self, dtype, size):
        features, weight = (torch.full((n, 8), size, dtype=dtype, requires_grad=True) for n in (2, 3))
        cosines = F.cosine_logits(features, weight)
        assert cosines.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(cosines, torch.full((2, 3), float(size > 0)), check_dtype=False)
        (10 * cosines.sum()).backward()
        for x in (features, weight):
            assert x.grad.dtype == dtype
            assert x.grad.isfinite().all()

    def test_without_a_direction_there_is_no_gradient(self, layer):
        features, weight, _ = layer
        features = features.index_fill(0, torch.tensor([1]), 0.0).requires_grad_()
        F.cosine_logits(features, weight).sum().backward()
        assert features.grad[1].tolist() == [0.0] * D
        assert features.grad[0].abs().min() > 1e-6

    def test_autocast_does_not_round_them(self, layer):
        features, weight, targets = (x.float() if x.is_floating_point() else x for x in layer)
        with torch.autocast("cpu", torch.bfloat16):
            cosines, logits = F.cosine_logits(features, weight), F.virtual_softmax_logits(features, weight, targets)
        assert torch.equal(cosines, F.cosine_logits(features, weight))
        assert torch.equal(logits, F.virtual_softmax_logits(features, weight, targets))


class TestAdaCosScale:
    @pytest.mark.parametrize("batch", [1, 5, 6])
    @pytest.mark.parametrize("scale", [0.5, 2.0, 20.0])
    def test_as_printed(self, layer, batch, scale):
        features, weight, targets = layer
        # near the true class's weight or nearer, so that the median angle lies below a quarter of pi, or above
        for towards in (0.0, 3.0):
            cosines = F.cosine_logits(features + towards * weight[targets], weight)[:batch]
            expected = next_scale(cosines.tolist(), targets[:batch].tolist(), scale)
            assert F.adacos_scale(cosines, targets[:batch], scale).item() == pytest.approx(max(expected, 0), rel=1e-12)

    def test_the_angle_counts_up_to_a_quarter_of_pi(self):
        """With cosines of 0 to the wrong classes B is K - 1, whatever the scale."""
        targets = torch.zeros(3, dtype=torch.int64)
        for degrees, counted in ((0, 0), (30, 30), (45, 45), (80, 45), (179, 45)):
            cosines = torch.zeros(3, K, dtype=torch.float64)
            cosines[:, 0] = torch.tensor([-1.0, math.cos(math.radians(degrees)), 1.0])
            expected = math.log(K - 1) / math.cos(math.radians(counted))
            assert F.adacos_scale(cosines, targets, 7.0).item() == pytest.approx(expected)

    @pytest.mark.parametrize("classes", [3, 10, 100])
    def test_the_fixed_scale_is_where_the_dynamic_one_starts(self, classes):
        """In many dimensions, untrained features are at right angles to all classes."""
        scale = F.adacos_fixed_scale(classes)
        assert scale == pytest.approx(math.sqrt(2) * math.log(classes - 1))
        updated = F.adacos_scale(torch.zeros(4, classes), torch.zeros(4, dtype=torch.int64), scale)
        assert updated.item() == pytest.approx(scale)

    def test_comes_to_rest_where_the_prediction_is_one_half(self):
        cosines, targets = torch.tensor([[0.9, 0.1, -0.2, 0.0]], dtype=torch.float64), torch.tensor([0])
        scale = torch.tensor(F.adacos_fixed_scale(4))
        for _ in range(50):
            scale = F.adacos_scale(cosines, targets, scale)
        assert (scale * cosines).softmax(1)[0, 0].item() == pytest.approx(0.5)

    def test_does_not_turn_negative(self):
        cosines = torch.tensor([[1.0, -1.0, -1.0]])
        assert F.adacos_scale(cosines, torch.tensor([0]), 5.0).item() == 0
        # a scale of 0 recovers
        assert F.adacos_scale(cosines, torch.tensor([0]), 0.0).item() == pytest.approx(math.log(2))

    @pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
    def test_takes_rounded_cosines_and_large_scales(self, dtype):
        cosines = torch.full((2, K), 1.0, dtype=dtype) * (1 + torch.finfo(dtype).eps)
        scale = F.adacos_scale(cosines, torch.tensor([0, 1]), torch.tensor(1e4))
        assert scale.item() == pytest.approx(1e4 * cosines.max().item() + math.log(K - 1), rel=1e-6)
        assert scale.dtype == torch.float32

    def test_carries_no_gradient(self, layer):
        features, weight, targets = layer
        cosines = F.cosine_logits(features.requires_grad_(), weight)
        assert not F.adacos_scale(cosines, targets, torch.tensor(3.0, requires_grad=True)).requires_grad


class TestVirtualSoftmaxLogits:
    def test_by_hand(self, layer):
        features, weight, targets = layer
        naive = [
            [*(w @ x for w in weight.numpy()), np.linalg.norm(weight[k]) * np.linalg.norm(x)]
            for x, k in zip(features.numpy(), targets, strict=True)
        ]
        logits = F.virtual_softmax_logits(features, weight, targets)
        np.testing.assert_allclose(logits.numpy(), np.array(naive), rtol=0, atol=1e-12)

    def test_gradients_against_finite_differences(self, layer):
        features, weight, targets = layer
        inputs = (features.requires_grad_(), weight.requires_grad_())
        assert torch.autograd.gradcheck(lambda x, w: F.virtual_softmax_logits(x, w, targets), inputs)

    @settings(max_examples=50, deadline=None)
    @given(arrays(np.float64, (2, D), elements=st.floats(-100, 100)))
    def test_the_virtual_logit_is_never_below_the_true_one(self, values):
        features, weight = torch.from_numpy(values[:1]), torch.from_numpy(values[1:])
        for direction in (features, weight):  # equal where the feature lies along the weight
            true, virtual = F.virtual_softmax_logits(direction, weight, torch.tensor([0]))[0].tolist()
            assert virtual >= true - 1e-12 * abs(true)
        assert virtual == pytest.approx(true, rel=1e-9)

    @pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
    @pytest.mark.parametrize("size", [0.0, 1e4])
    def test_are_finite_with_finite_gradients(self, dtype, size):
        features, weight = (torch.full((n, 8), size, dtype=dtype, requires_grad=True) for n in (2, 3))
        logits = F.virtual_softmax_logits(features, weight, torch.tensor([0, 2]))
        cross_entropy(logits, torch.tensor([0, 2])).backward()
        assert logits.isfinite().all()
        for x in (features, weight):
            assert x.grad.dtype == dtype
            assert x.grad.isfinite().all()


def test_nothing_waits_for_the_device():
    features, weight, scale = (torch.empty(shape, device="meta") for shape in ((B, D), (K, D), ()))
    targets = torch.empty(B, dtype=torch.int64, device="meta")
    cosines = F.cosine_logits(features, weight)
    assert cosines.shape == (B, K)
    assert F.adacos_scale(cosines, targets, scale).shape == ()
    assert F.virtual_softmax_logits(features, weight, targets).shape == (B, K + 1)


X, W, Y = torch.ones(B, D), torch.ones(K, D), torch.zeros(B, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.cosine_logits(X, W[:, 1:]), ValueError, r"weight must have shape \(K, 4\), got \(5, 3\)"),
        (lambda: F.cosine_logits(X.long(), W), TypeError, "features must be a floating-point tensor"),
        (lambda: F.adacos_fixed_scale(2), ValueError, "needs num_classes of at least 3, got 2"),
        (lambda: F.adacos_scale(X[:, :2], Y, 1.0), ValueError, r"at least 3 classes \(K\), got 2"),
        (lambda: F.adacos_scale(X, Y + D, 1.0), ValueError, r"targets must lie in \[0, 3\]"),
        (lambda: F.adacos_scale(X, X, 1.0), TypeError, "targets must be class indices"),
        (lambda: F.virtual_softmax_logits(X, W[:, 1:], Y), ValueError, r"weight must have shape \(K, 4\)"),
        (lambda: F.virtual_softmax_logits(X, W[:3], Y + 3), ValueError, r"targets must lie in \[0, 2\]"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
