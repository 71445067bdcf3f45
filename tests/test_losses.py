"""What equations are made of: against scipy and PyTorch, and at their limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax, xlogy
from torch.nn.functional import cross_entropy, one_hot

from labelreg.losses import class_means, js_divergence, smooth_cross_entropy, smooth_labels, soft_cross_entropy

B, K = 6, 5
Y = torch.tensor([0, 4, 2, 2, 1, 3])


@pytest.fixture
def logits():
    return 2 * torch.randn(2, B, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_soft_cross_entropy(logits):
    p, soft = softmax(logits.numpy(), 2)
    for labels, targets in ((np.eye(K)[Y], Y), (soft, torch.from_numpy(soft))):
        losses = soft_cross_entropy(logits[0], targets, "none")
        np.testing.assert_allclose(losses, -xlogy(labels, p).sum(1), rtol=0, atol=1e-12)
        torch.testing.assert_close(soft_cross_entropy(logits[0], targets), losses.mean())


class TestSmoothing:
    @pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
    @pytest.mark.parametrize(("convention", "factor"), [("all", 1), ("others", K / (K - 1))])
    def test_is_pytorchs(self, logits, epsilon, convention, factor):
        """Whether the labels are laid out or not, and given as indices or as probabilities."""
        expected = cross_entropy(logits[0], Y, label_smoothing=epsilon * factor)
        for loss in (
            soft_cross_entropy(logits[0], smooth_labels(Y, K, epsilon, convention)),
            smooth_cross_entropy(logits[0], Y, epsilon, convention),
            smooth_cross_entropy(logits[0], one_hot(Y, K).double(), epsilon, convention),
        ):
            torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)

    @settings(max_examples=25, deadline=None)
    @given(st.floats(0, 1), st.sampled_from(["all", "others"]))
    def test_labels_are_distributions_and_commute_with_mixing(self, epsilon, convention):
        smooth = smooth_labels(Y, K, epsilon, convention)
        assert smooth.min() >= 0
        torch.testing.assert_close(smooth.sum(1), torch.ones(B))
        mixed = 0.3 * one_hot(Y, K) + 0.7 * one_hot(Y.flip(0), K)
        torch.testing.assert_close(smooth_labels(mixed, K, epsilon, convention), 0.3 * smooth + 0.7 * smooth.flip(0))


class TestJsDivergence:
    def test_is_scipys(self, logits):
        p, q = logits.softmax(2)
        torch.testing.assert_close(
            js_divergence(p, q, "none"), torch.from_numpy(jensenshannon(p, q, axis=1) ** 2), rtol=0, atol=1e-12
        )
        torch.testing.assert_close(js_divergence(p, q), js_divergence(q, p), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_of_zeros(self, dtype):
        p = torch.tensor([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]], dtype=dtype, requires_grad=True)
        q = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0.5, 0.5]], dtype=dtype, requires_grad=True)
        divergence = js_divergence(p, q, "none")
        divergence.sum().backward()
        assert divergence.tolist() == pytest.approx([math.log(2), 0, math.log(2) / 2], abs=1e-6)
        assert torch.stack([p.grad, q.grad]).isfinite().all()
        assert p.grad[0, 1] < -10  # giving mass to a class that only q has brings them closer


def test_class_means(logits):
    values = logits[0, :, :3]
    means = class_means(values, Y, K + 1)
    expected = [values[k == Y].mean(0).tolist() for k in range(K)]
    np.testing.assert_allclose(means[:K], expected, rtol=0, atol=1e-12)
    assert means[K].tolist() == [0, 0, 0]  # a class without samples
