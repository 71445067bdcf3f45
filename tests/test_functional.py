"""The equations against a second, naive computation, their gradients in closed form, and their limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import entr, rel_entr, softmax, xlogy
from torch import nn

from labelreg import functional as F

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # only two classes may warn

B, K = 6, 5
KINDS = ("kl", "cross_entropy")
DIRECTIONS = ("target_first", "literal")
# a cross-entropy whose first distribution learns would collapse
DIVERGENCES = [("kl", "target_first"), ("kl", "literal"), ("cross_entropy", "target_first")]
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def batch():
    """Logits of a network and of another, targets and a residual correlation matrix, all in float64."""
    generator = torch.Generator().manual_seed(0)
    logits, other, matrix = (
        2 * torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((B, K), (B, K), (K, K))
    )
    return logits, other, torch.tensor([0, 4, 2, 2, 1, 3]), matrix


def losses(logits, other, targets, matrix, reduction="mean"):
    """Every loss by name, those that need a second network's or sample's logits with `other`."""
    named = {
        "soft_cross_entropy": F.soft_cross_entropy(logits, targets, reduction),
        "soft_cross_entropy of probabilities": F.soft_cross_entropy(logits, other.softmax(1), reduction),
        "nar_loss": F.nar_loss(logits, other, targets, 0.4, 0.3, reduction),
        "classwise_kl": F.classwise_kl(logits, other, reduction=reduction),
        "vicinity_kl": F.vicinity_kl(other, torch.stack([logits, logits.roll(1, dims=0)]), reduction),
        "confidence_penalty": F.confidence_penalty(logits, reduction),
        "js_divergence": F.js_divergence(logits.softmax(1), other.softmax(1), reduction),
    }
    for kind, direction in DIVERGENCES:
        residual, update = F.residual_losses(logits, targets, matrix, kind, direction, reduction)
        named |= {f"residual {kind} {direction}": residual, f"update {kind} {direction}": update}
    return named


# The second computation: scipy's functions and the definitions, in float64.


def kl(p, q):
    return rel_entr(p, q).sum(-1)


def cross_entropy(p, q):
    return -xlogy(p, q).sum(-1)


def wrong(rows, targets):
    return np.stack([np.delete(row, k) for row, k in zip(np.asarray(rows), np.asarray(targets), strict=True)])


def with_zero(rows, targets):
    return np.stack([np.insert(row, k, 0) for row, k in zip(rows, np.asarray(targets), strict=True)])


def assert_equals(values, expected):
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-12)


class TestAgainstDefinitions:
    def test_soft_cross_entropy(self, batch):
        logits, other, targets, _ = batch
        hard, soft, p = np.eye(K)[targets], softmax(other.numpy(), 1), softmax(logits.numpy(), 1)
        assert_equals(F.soft_cross_entropy(logits, targets, "none"), cross_entropy(hard, p))
        assert_equals(F.soft_cross_entropy(logits, torch.from_numpy(soft), "none"), cross_entropy(soft, p))

    @pytest.mark.parametrize(("lam", "alpha"), [(0.5, 0.1), (0.3, 0.0), (0.9, 0.8)])
    def test_nar(self, batch, lam, alpha):
        logits, other, targets, _ = batch
        p, auxiliary = softmax(logits.numpy(), 1), softmax(other.numpy(), 1)
        labels = (1 - lam) * np.eye(K)[targets] + lam * (alpha * p + (1 - alpha) * auxiliary)
        assert_equals(F.nar_targets(logits, other, targets, lam, alpha), labels)
        for form in (targets, torch.eye(K)[targets]):
            assert_equals(F.nar_loss(logits, other, form, lam, alpha, "none"), cross_entropy(labels, p))

    @pytest.mark.parametrize(("kind", "direction"), DIVERGENCES)
    def test_residual_losses(self, batch, kind, direction):
        logits, _, targets, matrix = batch
        p, q = (softmax(wrong(rows.numpy(), targets), 1) for rows in (logits, matrix[targets]))
        divergence = kl if kind == "kl" else cross_entropy
        expected = divergence(q, p), divergence(p, q)
        residual, update = F.residual_losses(logits, targets, matrix, kind, direction, "none")
        assert_equals(residual, expected[DIRECTIONS.index(direction)])
        assert_equals(update, expected[1 - DIRECTIONS.index(direction)])

    def test_residual_outputs_and_labels(self, batch):
        logits, _, targets, matrix = batch
        classes = range(K)
        assert_equals(F.residual_logits(logits, targets), wrong(logits, targets))
        expected = with_zero(softmax(wrong(logits, targets), 1), targets)
        assert_equals(F.residual_probabilities(logits, targets), expected)
        assert_equals(F.residual_labels(matrix), with_zero(softmax(wrong(matrix, classes), 1), classes))

    def test_class_means(self, batch):
        probabilities, targets = batch[1].softmax(1)[:, :3], batch[2]
        means = F.class_means(probabilities, targets, K + 1)
        assert_equals(means[:K], [probabilities.numpy()[targets.numpy() == k].mean(0) for k in range(K)])
        assert means[K].tolist() == [0, 0, 0]  # a class without samples

    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_classwise_kl(self, batch, temperature):
        logits, partner, _, _ = batch
        expected = kl(softmax(partner.numpy() / temperature, 1), softmax(logits.numpy() / temperature, 1))
        assert_equals(F.classwise_kl(logits, partner, temperature, t_squared=False, reduction="none"), expected)
        log_p, q = (logits / temperature).log_softmax(1), (partner / temperature).softmax(1)
        summed = nn.KLDivLoss(reduction="sum")(log_p, q)
        assert_equals(F.classwise_kl(logits, partner, temperature), summed / B * temperature**2)

    def test_vicinity_kl(self, batch):
        reference, virtual = batch[0], torch.stack([batch[1], batch[1].flip(0), batch[0].flip(1)])
        expected = np.mean([kl(softmax(reference.numpy(), 1), softmax(v.numpy(), 1)) for v in virtual], axis=0)
        assert_equals(F.vicinity_kl(reference, virtual, "none"), expected)

    def test_confidence_penalty(self, batch):
        logits, _, _, _ = batch
        assert_equals(F.confidence_penalty(logits, "none"), -entr(softmax(logits.numpy(), 1)).sum(1))
        assert_equals(F.confidence_penalty(torch.zeros(2, K).double()), -math.log(K))

    def test_js_divergence(self, batch):
        p, q = batch[0].softmax(1), batch[1].softmax(1)
        assert_equals(F.js_divergence(p, q, "none"), jensenshannon(p, q, axis=1) ** 2)

    def test_the_mean_is_over_the_batch(self, batch):
        means = losses(*batch)
        for name, each in losses(*batch, "none").items():
            assert each.shape == (B,), name
            torch.testing.assert_close(means[name], each.mean(), msg=name)


class TestSmoothLabels:
    @pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
    @pytest.mark.parametrize(("convention", "factor"), [("all", 1), ("others", K / (K - 1))])
    def test_as_in_pytorch(self, batch, epsilon, convention, factor):
        logits, _, targets, _ = batch
        loss = F.soft_cross_entropy(logits, F.smooth_labels(targets, K, epsilon, convention))
        expected = nn.functional.cross_entropy(logits, targets, label_smoothing=epsilon * factor)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)

    def test_values(self):
        targets = torch.tensor([2])
        assert F.smooth_labels(targets, 5, 0.5, "all")[0].tolist() == pytest.approx([0.1, 0.1, 0.6, 0.1, 0.1])
        assert F.smooth_labels(targets, 5, 0.5, "others")[0].tolist() == [0.125, 0.125, 0.5, 0.125, 0.125]

    @pytest.mark.parametrize("convention", ["all", "others"])
    def test_commutes_with_mixing_labels(self, convention):
        a, b = torch.tensor([0, 1]), torch.tensor([3, 1])
        mixed = 0.3 * nn.functional.one_hot(a, K) + 0.7 * nn.functional.one_hot(b, K)
        first, second = F.smooth_labels(a, K, 0.1, convention), F.smooth_labels(b, K, 0.1, convention)
        torch.testing.assert_close(F.smooth_labels(mixed, K, 0.1, convention), 0.3 * first + 0.7 * second)


class TestNar:
    def test_without_disturbance_is_cross_entropy(self, batch):
        logits, other, targets, _ = batch
        loss = F.nar_loss(logits, other, targets, lam=0.0)
        torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, targets))

    def test_a_uniform_auxiliary_is_label_smoothing(self, batch):
        logits, _, targets, _ = batch
        loss = F.nar_loss(logits, torch.full_like(logits, 0.01), targets, lam=0.3, alpha=0.0)
        torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, targets, label_smoothing=0.3))

    def test_no_gradient_through_the_labels(self, batch):
        logits, other, targets, _ = (x.requires_grad_() if x.is_floating_point() else x for x in batch)
        labels = F.nar_targets(logits, other, targets, 0.5, 0.4)
        assert not labels.requires_grad
        gradient, auxiliary_gradient = torch.autograd.grad(
            F.nar_loss(logits, other, targets, 0.5, 0.4), (logits, other), allow_unused=True
        )
        assert auxiliary_gradient is None
        torch.testing.assert_close(gradient, (logits.softmax(1) - labels) / B)


class TestResidualLosses:
    def test_gradients_in_closed_form(self, batch):
        logits, _, targets, matrix = batch
        logits.requires_grad_(), matrix.requires_grad_()
        for kind in KINDS:
            residual, update = F.residual_losses(logits, targets, matrix, kind)
            p, q = F.residual_probabilities(logits, targets), F.residual_labels(matrix)[targets]
            torch.testing.assert_close(torch.autograd.grad(residual, logits)[0], (p - q) / B)
            per_class = torch.zeros(K, K, dtype=torch.float64).index_add(0, targets, (q - p).detach() / B)
            torch.testing.assert_close(torch.autograd.grad(update, matrix)[0], per_class)

    @pytest.mark.parametrize(("kind", "direction"), DIVERGENCES)
    def test_each_loss_reaches_one_side_only(self, batch, kind, direction):
        logits, _, targets, matrix = batch
        logits.requires_grad_(), matrix.requires_grad_()
        residual, update = F.residual_losses(logits, targets, matrix, kind, direction)
        to_logits, residual_to_matrix = torch.autograd.grad(residual, (logits, matrix), allow_unused=True)
        update_to_logits, to_matrix = torch.autograd.grad(update, (logits, matrix), allow_unused=True)
        assert residual_to_matrix is None
        assert update_to_logits is None
        assert to_logits.gather(1, targets[:, None]).tolist() == [[0.0]] * B
        assert to_matrix.diagonal().tolist() == [0.0] * K
        assert to_logits.abs().sum(1).min() > 1e-3
        assert to_matrix.abs().sum(1).min() > 1e-3

    def test_is_the_non_target_part_of_decoupled_distillation(self, batch):
        logits, _, targets, matrix = batch
        mask = nn.functional.one_hot(targets, K)
        student = nn.functional.log_softmax(logits - 1000.0 * mask, dim=1)
        teacher = nn.functional.softmax(matrix[targets] - 1000.0 * mask, dim=1)
        expected = nn.functional.kl_div(student, teacher, reduction="sum") / B
        residual, _ = F.residual_losses(logits, targets, matrix)
        torch.testing.assert_close(residual, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_fixed_point_of_the_matrix(self, direction):
        generator = torch.Generator().manual_seed(2)
        logits, targets = torch.randn(40, 4, generator=generator).double(), torch.arange(40) % 4
        matrix = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
        for _ in range(300):
            _, update = F.residual_losses(logits, targets, matrix, direction=direction)
            (gradient,) = torch.autograd.grad(update, matrix)
            matrix = (matrix - 8 * gradient).detach().requires_grad_()
        outputs = F.residual_probabilities(logits, targets)
        if direction == "target_first":
            expected = F.class_means(outputs, targets, 4)
        else:
            wrong = 1 - torch.eye(4, dtype=torch.float64)
            log_outputs = torch.where(outputs > 0, outputs, 1.0).log()
            expected = F.class_means(log_outputs, targets, 4).exp() * wrong
            expected = expected / expected.sum(1, keepdim=True)
        torch.testing.assert_close(F.residual_labels(matrix), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_vanish_where_output_and_label_agree(self, batch, direction):
        _, _, targets, matrix = batch
        agreeing = matrix[targets] + 100 * nn.functional.one_hot(targets, K)
        for loss in F.residual_losses(agreeing, targets, matrix, direction=direction, reduction="none"):
            assert loss.abs().max() < 1e-12

    def test_stay_exact_when_the_true_class_takes_all(self, batch):
        # log p - log(1 - p_k) would be lost in float32 here
        logits, _, targets, matrix = (x.float() if x.is_floating_point() else x for x in batch)
        confident = logits + 500 * nn.functional.one_hot(targets, K)
        assert confident.softmax(1).max(1).values.tolist() == [1.0] * B
        expected = torch.stack(F.residual_losses(logits, targets, matrix))
        torch.testing.assert_close(torch.stack(F.residual_losses(confident, targets, matrix)), expected)

    def test_two_classes_leave_nothing_to_learn(self):
        logits, matrix = torch.randn(3, 2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
        with pytest.warns(UserWarning, match="2 classes") as caught:
            residual, update = F.residual_losses(logits, torch.tensor([0, 1, 1]), matrix)
        assert caught[0].filename == __file__
        (residual + update).backward()
        assert [residual.item(), update.item()] == [0, 0]
        assert logits.grad.abs().max() == matrix.grad.abs().max() == 0
        assert F.residual_labels(matrix).tolist() == [[0, 1], [1, 0]]


class TestGradients:
    """Against finite differences, in float64."""

    def test_everything(self, batch):
        logits, other, targets, matrix = batch
        soft, virtual = other.softmax(1), torch.stack([logits, other.flip(0)])
        functions = {
            "soft_cross_entropy": (lambda z, y: F.soft_cross_entropy(z, y, "none"), (logits, soft)),
            "smooth_labels": (lambda y: F.smooth_labels(y, K, 0.2, "others"), (soft,)),
            "nar_loss": (lambda z: F.nar_loss(z, other, targets, 0.4, 0.0, "none"), (logits,)),
            "residual_logits": (lambda z: F.residual_logits(z, targets), (logits,)),
            "residual_probabilities": (lambda z: F.residual_probabilities(z, targets), (logits,)),
            "residual_labels": (F.residual_labels, (matrix,)),
            "class_means": (lambda p: F.class_means(p, targets, K), (soft,)),
            "classwise_kl": (lambda z: F.classwise_kl(z, other, reduction="none"), (logits,)),
            "vicinity_kl": (lambda v: F.vicinity_kl(other, v, "none"), (virtual,)),
            "vicinity_kl, both": (lambda r, v: F.vicinity_kl(r, v, "none", detach_reference=False), (logits, virtual)),
            "confidence_penalty": (lambda z: F.confidence_penalty(z, "none"), (logits,)),
            "js_divergence": (lambda p, q: F.js_divergence(p, q, "none"), (logits.softmax(1), soft)),
        }
        for options in ((*divergence, "none") for divergence in DIVERGENCES):
            functions |= {
                f"residual {options}": (lambda z, o=options: F.residual_losses(z, targets, matrix, *o)[0], (logits,)),
                f"update {options}": (lambda s, o=options: F.residual_losses(logits, targets, s, *o)[1], (matrix,)),
            }
        for name, (function, inputs) in functions.items():
            inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
            assert torch.autograd.gradcheck(function, inputs), name

    def test_fixed_sides_get_none(self, batch):
        logits, other, _, _ = (x.requires_grad_() if x.is_floating_point() else x for x in batch)
        for loss in (F.classwise_kl(logits, other), F.vicinity_kl(other, logits[None])):
            assert torch.autograd.grad(loss, other, allow_unused=True) == (None,)


class TestExtremes:
    @pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
    def test_huge_logits(self, dtype):
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

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
    def test_js_divergence_of_zeros(self, dtype):
        p = torch.tensor([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]], dtype=dtype, requires_grad=True)
        q = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0.5, 0.5]], dtype=dtype, requires_grad=True)
        divergence = F.js_divergence(p, q, "none")
        divergence.sum().backward()
        assert divergence.tolist() == pytest.approx([math.log(2), 0, math.log(2) / 2], abs=1e-6)
        assert torch.stack([p.grad, q.grad]).isfinite().all()
        assert p.grad[0, 1] < -10  # giving mass to a class that only q has brings them closer

    @pytest.mark.parametrize("dtype", HALVES)
    def test_half_precision_is_computed_in_single(self, batch, dtype):
        logits, other, targets, matrix = (x.to(dtype) if x.is_floating_point() else x for x in batch)
        half = losses(logits, other, targets, matrix)
        single = losses(logits.float(), other.float(), targets, matrix.float())
        for name, loss in half.items():
            assert loss.dtype == torch.float32, name
            if name not in ("soft_cross_entropy of probabilities", "js_divergence"):  # their softmax is in half here
                assert loss.item() == single[name].item(), name
        assert F.nar_targets(logits, other, targets).dtype == torch.float32
        assert F.class_means(logits, targets, K).dtype == torch.float32
        assert F.smooth_labels(logits.softmax(1), K, 0.1).dtype == torch.float32
        assert F.residual_labels(matrix).dtype == torch.float32
        assert F.residual_logits(logits, targets).dtype == dtype

    def test_no_virtual_points(self):
        reference = torch.randn(3, 4, requires_grad=True)
        empty = torch.empty(0, 3, 4)
        assert F.vicinity_kl(reference, empty).item() == 0
        assert F.vicinity_kl(reference, empty, "none").tolist() == [0, 0, 0]
        assert not F.vicinity_kl(reference, empty, detach_reference=False).requires_grad


def test_nothing_waits_for_the_device():
    """Tensors on the meta device have no values: whoever asks for one would have to wait for it on an accelerator."""
    logits, other, matrix = (torch.empty(*shape, device="meta") for shape in ((B, K), (B, K), (K, K)))
    targets = torch.empty(B, dtype=torch.int64, device="meta")
    for loss in losses(logits, other, targets, matrix).values():
        assert loss.shape == ()
    assert F.smooth_labels(targets, K, 0.1).shape == (B, K)
    assert F.residual_labels(matrix).shape == (K, K)
    assert F.class_means(logits, targets, K).shape == (K, K)


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
    def test_divergences_are_not_negative(self, problem):
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
        labels = F.residual_labels(matrix)[order][:, order]
        torch.testing.assert_close(F.residual_labels(matrix[order][:, order]), labels)

    @examples
    @given(problems())
    def test_js_divergence_is_symmetric_and_bounded(self, problem):
        p, q = problem[0].softmax(1), problem[1].softmax(1)
        divergence = F.js_divergence(p, q, "none")
        torch.testing.assert_close(divergence, F.js_divergence(q, p, "none"), rtol=0, atol=1e-12)
        assert divergence.max() <= math.log(2) + 1e-12
        assert F.js_divergence(p, p).abs() < 1e-12

    @examples
    @given(problems(), st.floats(0, 1), st.sampled_from(["all", "others"]))
    def test_labels_are_distributions(self, problem, epsilon, convention):
        logits, other, targets, matrix = problem
        for labels in (
            F.smooth_labels(targets, len(matrix), epsilon, convention),
            F.nar_targets(logits, other, targets, epsilon * 0.99, 0.5),
            F.residual_labels(matrix),
            F.residual_probabilities(logits, targets),
        ):
            assert labels.min() >= 0
            torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)), check_dtype=False)


Z, Y, S = torch.zeros(B, K), torch.zeros(B, dtype=torch.int64), torch.zeros(K, K)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.soft_cross_entropy(Z.long(), Y), TypeError, "logits must be a floating-point tensor, got .*int64"),
        (lambda: F.soft_cross_entropy(Z.tolist(), Y), TypeError, "logits must be a floating-point tensor, got list"),
        (lambda: F.soft_cross_entropy(Z[0], Y), ValueError, r"logits must have shape \(B, K\), got \(5,\)"),
        (lambda: F.soft_cross_entropy(Z, Y.int()), TypeError, "targets must be class indices in an int64 tensor"),
        (lambda: F.soft_cross_entropy(Z, [0] * B), TypeError, "targets must be class indices .* got list"),
        (lambda: F.soft_cross_entropy(Z, Y[1:]), ValueError, r"targets must have shape \(6,\), got \(5,\)"),
        (lambda: F.soft_cross_entropy(Z, Z[:, 1:]), ValueError, r"targets must have shape \(6, 5\), got \(6, 4\)"),
        (lambda: F.soft_cross_entropy(Z, Z.long()), TypeError, "targets must be a floating-point tensor"),
        (lambda: F.soft_cross_entropy(Z, Y + K), ValueError, r"targets must lie in \[0, 4\], got 5 to 5"),
        (lambda: F.soft_cross_entropy(Z, Y, "sum"), ValueError, "reduction must be one of 'mean', 'none', got 'sum'"),
        (lambda: F.smooth_labels(Y, K, 1.5), ValueError, r"epsilon must lie in \[0, 1\], got 1.5"),
        (lambda: F.smooth_labels(Y, K, 0.1, "both"), ValueError, "convention must be one of 'all', 'others'"),
        (lambda: F.smooth_labels(Y, 1, 0.1, "others"), ValueError, "num_classes must be at least 2"),
        (lambda: F.smooth_labels(Y[0], K, 0.1), ValueError, r"targets must have shape \(B,\), got \(\)"),
        (lambda: F.smooth_labels(Z, K + 1, 0.1), ValueError, r"targets must have shape \(B, 6\)"),
        (lambda: F.nar_targets(Z, Z[:, 1:], Y), ValueError, r"auxiliary_logits must have shape \(6, 5\)"),
        (lambda: F.nar_loss(Z, Z, Y, lam=1.0), ValueError, r"lam must lie in \[0, 1\), got 1.0"),
        (lambda: F.nar_loss(Z, Z, Y, alpha=-0.1), ValueError, r"alpha must lie in \[0, 1\), got -0.1"),
        (lambda: F.residual_logits(Z, Y - 1), ValueError, r"targets must lie in \[0, 4\], got -1 to -1"),
        (lambda: F.residual_losses(Z[:, :1], Y, S[:1, :1]), ValueError, "at least 2 classes .* got 1"),
        (lambda: F.residual_losses(Z, Y, S[:, 1:]), ValueError, r"matrix must have shape \(5, 5\), got \(5, 4\)"),
        (
            lambda: F.residual_losses(Z, Y, S, "cross_entropy", "literal"),
            ValueError,
            "direction 'literal' needs kind 'kl'",
        ),
        (lambda: F.residual_losses(Z, Y, S, kind="mse"), ValueError, "kind must be one of 'kl', 'cross_entropy'"),
        (lambda: F.residual_losses(Z, Y, S, direction="both"), ValueError, "direction must be one of"),
        (lambda: F.residual_losses(Z, Z, S), TypeError, "targets must be class indices"),
        (lambda: F.residual_labels(S[:, 1:]), ValueError, r"matrix must have shape \(K, K\), got \(5, 4\)"),
        (lambda: F.residual_labels(S[:1, :1]), ValueError, "at least 2 classes"),
        (lambda: F.class_means(Z, Y + 3, 3), ValueError, r"targets must lie in \[0, 2\]"),
        (lambda: F.classwise_kl(Z, Z[1:]), ValueError, r"partner_logits must have shape \(6, 5\)"),
        (lambda: F.classwise_kl(Z, Z, temperature=0.0), ValueError, "temperature must be positive, got 0.0"),
        (lambda: F.vicinity_kl(Z, Z), ValueError, r"virtual_logits must have shape \(M, 6, 5\), got \(6, 5\)"),
        (lambda: F.js_divergence(Z, Z[1:]), ValueError, r"q must have shape \(6, 5\), got \(5, 5\)"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
