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

from labelreg import losses
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


class TestMaskedClass:
    """A class with a logit of minus infinity is no class: the losses are those of the others."""

    def losses_and_gradient(self, loss, logits):
        logits = logits.clone().requires_grad_()
        value = loss(logits)
        return value, torch.autograd.grad(value, logits)[0]

    @pytest.mark.parametrize(
        "loss",
        [
            lambda z: soft_cross_entropy(z, Y),
            lambda z: soft_cross_entropy(z, one_hot(Y, z.shape[1]).double()),
            lambda z: soft_cross_entropy(z, (z / 2).softmax(1)),  # which carries a gradient
            lambda z: smooth_cross_entropy(z, Y, 0.0),
            lambda z: smooth_cross_entropy(z, Y, 0.0, "others"),
            lambda z: losses.kl(z.log_softmax(1), (z / 2).log_softmax(1)).mean(),
            lambda z: losses.cross_entropy(z.log_softmax(1), z.log_softmax(1)).mean(),
        ],
    )
    def test_leaves_the_others_as_they_are(self, logits, loss):
        masked = torch.cat([logits[0], torch.full((B, 1), -math.inf)], 1)
        value, gradient = self.losses_and_gradient(loss, masked)
        expected, expected_gradient = self.losses_and_gradient(loss, logits[0])
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient[:, :-1], expected_gradient)
        assert not gradient[:, -1].any()

    def test_is_infinitely_wrong_where_it_has_some_probability(self):
        masked = torch.tensor([[0.0, 0.0, -math.inf]])
        assert soft_cross_entropy(masked, torch.tensor([2])) == math.inf
        assert smooth_cross_entropy(masked, torch.tensor([0]), 0.1) == math.inf


@pytest.mark.parametrize("label", [-100, -1, K])
def test_a_label_out_of_range_is_an_error_on_every_device(logits, label, monkeypatch):
    """An accelerator does not look at the range: there PyTorch's own loss must not leave the sample out."""
    targets = Y.clone()
    targets[2] = label
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 4\]"):
        soft_cross_entropy(logits[0], targets)
    monkeypatch.setattr(losses, "_check_range", lambda *arguments: None)
    for loss in (soft_cross_entropy, lambda *given: smooth_cross_entropy(*given, epsilon=0.1)):
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            loss(logits[0], targets)


def test_the_mean_of_no_samples_is_an_error():
    nothing = torch.zeros(0, K), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="at least one sample, got none"):
        soft_cross_entropy(*nothing)
    assert soft_cross_entropy(*nothing, "none").shape == (0,)


def test_labels_on_another_device_are_refused():
    logits, targets = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64, device="meta")
    with pytest.raises(ValueError, match="targets must be on the device of the logits, cpu, not on meta"):
        soft_cross_entropy(logits, targets)
