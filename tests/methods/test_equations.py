"""What holds for the equations of all papers: properties of every loss, and what is said to a wrong argument."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from methods.small import HALVES

from labelreg.losses import class_means, js_divergence, smooth_labels, soft_cross_entropy
from labelreg.methods.alr import residual_labels, residual_logits, residual_losses, residual_probabilities
from labelreg.methods.baselines import confidence_penalty
from labelreg.methods.cskd import _others_of_the_class, classwise_kl
from labelreg.methods.margin import adacos_fixed_scale, adacos_scale, cosine_logits, virtual_softmax_logits
from labelreg.methods.nar import nar_loss, nar_regression_targets, nar_targets
from labelreg.methods.sba import vicinity_kl

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # only two classes may warn

B, K = 6, 5
DIVERGENCES = [("kl", "target_first"), ("kl", "literal"), ("cross_entropy", "target_first")]


def losses(logits, other, targets, matrix, reduction="mean"):
    """Every loss by name, those that need a second network's or sample's logits with `other`."""
    named = {
        "soft_cross_entropy": soft_cross_entropy(logits, targets, reduction),
        "soft_cross_entropy of probabilities": soft_cross_entropy(logits, other.softmax(1), reduction),
        "nar_loss": nar_loss(logits, other, targets, 0.4, 0.3, reduction),
        "classwise_kl": classwise_kl(logits, other, reduction=reduction),
        "vicinity_kl": vicinity_kl(other, torch.stack([logits, logits.roll(1, dims=0)]), reduction),
        "confidence_penalty": confidence_penalty(logits, reduction),
        "js_divergence": js_divergence(logits.softmax(1), other.softmax(1), reduction),
    }
    for kind, direction in DIVERGENCES:
        residual, update = residual_losses(logits, targets, matrix, kind, direction, reduction)
        named |= {f"residual {kind} {direction}": residual, f"update {kind} {direction}": update}
    return named


@pytest.fixture
def batch():
    """Logits of a network and of another, targets and a residual correlation matrix, all in float64."""
    generator = torch.Generator().manual_seed(0)
    logits, other, matrix = (
        2 * torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((B, K), (B, K), (K, K))
    )
    return logits, other, torch.tensor([0, 4, 2, 2, 1, 3]), matrix


def test_the_mean_is_over_the_batch(batch):
    means = losses(*batch)
    for name, each in losses(*batch, "none").items():
        assert each.shape == (B,), name
        torch.testing.assert_close(means[name], each.mean(), msg=name)


def test_gradients_against_finite_differences(batch):
    logits, other, targets, matrix = batch
    soft, virtual = other.softmax(1), torch.stack([logits, other.flip(0)])
    functions = {
        "soft_cross_entropy": (lambda z, y: soft_cross_entropy(z, y, "none"), (logits, soft)),
        "smooth_labels": (lambda y: smooth_labels(y, K, 0.2, "others"), (soft,)),
        "nar_loss": (lambda z: nar_loss(z, other, targets, 0.4, 0.0, "none"), (logits,)),
        "residual_logits": (lambda z: residual_logits(z, targets), (logits,)),
        "residual_probabilities": (lambda z: residual_probabilities(z, targets), (logits,)),
        "residual_labels": (residual_labels, (matrix,)),
        "class_means": (lambda p: class_means(p, targets, K), (soft,)),
        "classwise_kl": (lambda z: classwise_kl(z, other, reduction="none"), (logits,)),
        "vicinity_kl": (lambda v: vicinity_kl(other, v, "none"), (virtual,)),
        "vicinity_kl, both": (lambda r, v: vicinity_kl(r, v, "none", detach_reference=False), (logits, virtual)),
        "cosine_logits": (cosine_logits, (logits, matrix)),
        "virtual_softmax_logits": (lambda x, w: virtual_softmax_logits(x, w, targets), (logits, matrix)),
        "confidence_penalty": (lambda z: confidence_penalty(z, "none"), (logits,)),
        "js_divergence": (lambda p, q: js_divergence(p, q, "none"), (logits.softmax(1), soft)),
    }
    for options in ((*divergence, "none") for divergence in DIVERGENCES):
        functions |= {
            f"residual {options}": (lambda z, o=options: residual_losses(z, targets, matrix, *o)[0], (logits,)),
            f"update {options}": (lambda s, o=options: residual_losses(logits, targets, s, *o)[1], (matrix,)),
        }
    for name, (function, inputs) in functions.items():
        inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
        assert torch.autograd.gradcheck(function, inputs), name


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_huge_logits_give_finite_losses_and_gradients(dtype):
    values = torch.tensor([-1e4, 0.0, 1e4])
    logits = torch.cartesian_prod(values, values, values, values).to(dtype)  # all 81 combinations of 4 classes
    inputs = [logits, logits.flip(0).roll(1, dims=1), logits[[20, 13, 62, 27]]]
    z, other, matrix = inputs = [x.requires_grad_() for x in inputs]
    for k in range(4):
        for name, loss in losses(z, other, torch.full((81,), k), matrix).items():
            assert loss.isfinite(), name
            gradients = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
            gradients = [gradient for gradient in gradients if gradient is not None]
            assert gradients, name
            assert all(gradient.dtype == dtype and gradient.isfinite().all() for gradient in gradients), name


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_computed_in_single(batch, dtype):
    logits, other, targets, matrix = (x.to(dtype) if x.is_floating_point() else x for x in batch)
    half = losses(logits, other, targets, matrix)
    single = losses(logits.float(), other.float(), targets, matrix.float())
    for name, loss in half.items():
        assert loss.dtype == torch.float32, name
        if name not in ("soft_cross_entropy of probabilities", "js_divergence"):  # their softmax is in half here
            assert loss.item() == single[name].item(), name
    for labels in (nar_targets(logits, other, targets), residual_labels(matrix), class_means(logits, targets, K)):
        assert labels.dtype == torch.float32
    assert smooth_labels(logits.softmax(1), K, 0.1).dtype == torch.float32
    assert residual_logits(logits, targets).dtype == dtype


def test_nothing_waits_for_the_device():
    """Tensors on the meta device have no values: whoever asks for one would have to wait for it on an accelerator."""
    logits, other, matrix = (torch.empty(*shape, device="meta") for shape in ((B, K), (B, K), (K, K)))
    targets = torch.empty(B, dtype=torch.int64, device="meta")
    for loss in losses(logits, other, targets, matrix).values():
        assert loss.shape == ()
    assert smooth_labels(targets, K, 0.1).shape == (B, K)
    assert _others_of_the_class(targets).shape == (B,)
    assert residual_labels(matrix).shape == class_means(logits, targets, K).shape == (K, K)
    assert adacos_scale(cosine_logits(logits, matrix), targets, torch.empty((), device="meta")).shape == ()
    assert virtual_softmax_logits(logits, matrix, targets).shape == (B, K + 1)


examples = settings(max_examples=25, deadline=None)
finite = st.floats(-60, 60, width=64)


@st.composite
def problems(draw):
    """Logits, other logits, targets and a matrix of any small size."""
    batch, classes = draw(st.integers(1, 4)), draw(st.integers(3, 6))
    logits, other = (torch.from_numpy(draw(arrays(np.float64, (batch, classes), elements=finite))) for _ in range(2))
    matrix = torch.from_numpy(draw(arrays(np.float64, (classes, classes), elements=finite)))
    targets = torch.from_numpy(draw(arrays(np.int64, batch, elements=st.integers(0, classes - 1))))
    return logits, other, targets, matrix


class TestProperties:
    @examples
    @given(problems())
    def test_losses_are_not_negative(self, problem):
        for name, loss in losses(*problem, reduction="none").items():
            if "penalty" not in name:
                assert loss.min() >= -1e-12, name

    @examples
    @given(problems(), finite)
    def test_a_constant_added_to_the_logits_changes_nothing(self, problem, constant):
        logits, other, targets, matrix = problem
        shifted = losses(logits + constant, other - constant, targets, matrix + constant)
        for name, loss in losses(*problem).items():
            torch.testing.assert_close(shifted[name], loss, rtol=1e-9, atol=1e-9, msg=name)

    @examples
    @given(problems(), st.permutations(range(6)))
    def test_the_order_of_classes_does_not_matter(self, problem, order):
        logits, other, targets, matrix = problem
        order = torch.tensor([k for k in order if k < len(matrix)])
        renamed = losses(logits[:, order], other[:, order], order.argsort()[targets], matrix[order][:, order])
        for name, loss in losses(*problem).items():
            torch.testing.assert_close(renamed[name], loss, rtol=1e-9, atol=1e-9, msg=name)

    @examples
    @given(problems(), st.floats(0, 0.99))
    def test_labels_are_distributions(self, problem, lam):
        logits, other, targets, matrix = problem
        for labels in (
            nar_targets(logits, other, targets, lam, 0.5),
            residual_labels(matrix),
            residual_probabilities(logits, targets),
        ):
            assert labels.min() >= 0
            torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)), check_dtype=False)


Z, Y, S = torch.zeros(B, K), torch.zeros(B, dtype=torch.int64), torch.zeros(K, K)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: soft_cross_entropy(Z.tolist(), Y), TypeError, "logits must be a floating-point tensor, got list"),
        (lambda: soft_cross_entropy(Z[0], Y), ValueError, r"logits must have shape \(B, K\), got \(5,\)"),
        (lambda: soft_cross_entropy(Z, Y.int()), TypeError, "targets must be class indices .* got .*int32"),
        (lambda: soft_cross_entropy(Z, Y[1:]), ValueError, r"targets must have shape \(6,\), got \(5,\)"),
        (lambda: soft_cross_entropy(Z, Z[:, 1:]), ValueError, r"targets must have shape \(6, 5\), got \(6, 4\)"),
        (lambda: soft_cross_entropy(Z, Z.long()), ValueError, r"targets must have shape \(6,\), got \(6, 5\)"),
        (lambda: soft_cross_entropy(Z, Y + K), ValueError, r"targets must lie in \[0, 4\], got 5 to 5"),
        (lambda: soft_cross_entropy(Z, Y, "sum"), ValueError, "reduction must be one of 'mean', 'none', got 'sum'"),
        (lambda: smooth_labels(Y, K, math.nan), ValueError, r"epsilon must lie in \[0, 1\], got nan"),
        (lambda: smooth_labels(Y, K, 0.1, "both"), ValueError, "convention must be one of 'all', 'others'"),
        (lambda: smooth_labels(Y, 1, 0.1, "others"), ValueError, "'others' needs at least 2 classes .* got 1"),
        (lambda: smooth_labels(Y[0], K, 0.1), ValueError, r"targets must have shape \(B,\), got \(\)"),
        (lambda: js_divergence(Z, Z[1:]), ValueError, r"q must have shape \(6, 5\), got \(5, 5\)"),
        (lambda: nar_targets(Z, Z[:, 1:], Y), ValueError, r"auxiliary_logits must have shape \(6, 5\)"),
        (lambda: nar_loss(Z, Z, Y, lam=1.0), ValueError, r"lam must lie in \[0, 1\), got 1.0"),
        (lambda: nar_loss(Z, Z, Y, alpha=-0.1), ValueError, r"alpha must lie in \[0, 1\), got -0.1"),
        (lambda: nar_regression_targets([1.0], Z, Z), TypeError, "outputs must be a floating-point tensor, got list"),
        (lambda: nar_regression_targets(Z, Z, Z[0]), ValueError, r"targets must have shape \(6, 5\), got \(5,\)"),
        (lambda: residual_losses(Z[:, :1], Y, S[:1, :1]), ValueError, "at least 2 classes .* got 1"),
        (lambda: residual_losses(Z, Y, S[:, 1:]), ValueError, r"matrix must have shape \(5, 5\), got \(5, 4\)"),
        (lambda: residual_losses(Z, Y, S, "cross_entropy", "literal"), ValueError, "'literal' needs kind 'kl'"),
        (lambda: residual_losses(Z, Y, S, kind="mse"), ValueError, "kind must be one of 'kl', 'cross_entropy'"),
        (lambda: residual_losses(Z, Y, S, direction="both"), ValueError, "direction must be one of"),
        (lambda: residual_labels(S[:, 1:]), ValueError, r"matrix must have shape \(K, K\), got \(5, 4\)"),
        (lambda: classwise_kl(Z, Z[1:]), ValueError, r"partner_logits must have shape \(6, 5\)"),
        (lambda: classwise_kl(Z, Z, temperature=math.nan), ValueError, "temperature must be positive, got nan"),
        (lambda: vicinity_kl(Z, Z), ValueError, r"virtual_logits must have shape \(M, 6, 5\), got \(6, 5\)"),
        (lambda: cosine_logits(Z, S[:, 1:]), ValueError, r"weight must have shape \(K, 5\), got \(5, 4\)"),
        (lambda: adacos_fixed_scale(2), ValueError, "needs at least 3 classes .* got 2"),
        (lambda: adacos_scale(Z[:, :2], Y, 1.0), ValueError, r"at least 3 classes \(K\), got 2"),
        (lambda: virtual_softmax_logits(Z, S[:, 1:], Y), ValueError, r"weight must have shape \(K, 5\)"),
    ],
)
def test_a_wrong_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
