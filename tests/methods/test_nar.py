"""Network as Regularization: the equations, whose gradient goes where, and the special cases."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from methods.small import HALVES, K, gradients, make_network, values
from scipy.special import rel_entr, softmax
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg.data import Batch
from labelreg.methods import NetworkAsRegularization
from labelreg.methods.nar import nar_loss, nar_regression_targets, nar_targets


def make_batch(classes=K, soft=False):
    draws = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(12, 3, generator=draws), torch.arange(12) % classes
    return Batch(inputs, torch.rand(12, classes, generator=draws).softmax(1) if soft else targets, torch.arange(12))


def probabilities(network, inputs):
    """Of a network in the mode it is in, in float64, without changing its statistics."""
    return softmax(copy.deepcopy(network)(inputs).detach().double().numpy(), axis=1)


def one_hot(batch, classes=K):
    return np.eye(classes)[batch.targets.numpy()] if batch.targets.ndim == 1 else batch.targets.double().numpy()


def entropy(p, q):
    """H(p, q), the mean over the batch."""
    return -(p * np.log(q)).sum(1).mean()


class TestPaper:
    def test_labels_and_the_gradient_of_the_loss_for_which_they_are_fixed(self):
        logits, other = (torch.randn(12, K, dtype=torch.float64, requires_grad=True) for _ in range(2))
        p, q, targets = logits.detach().softmax(1), other.detach().softmax(1), make_batch().targets
        hard = torch.from_numpy(one_hot(make_batch()))
        labels = 0.4 * hard + 0.6 * (0.3 * p + 0.7 * q)
        torch.testing.assert_close(nar_targets(logits, other, targets, 0.6, 0.3), labels)
        for form in (targets, hard):
            loss = nar_loss(logits, other, form, 0.6, 0.3)
            gradient, auxiliary_gradient = torch.autograd.grad(loss, (logits, other), allow_unused=True)
            torch.testing.assert_close(loss, -(labels * p.log()).sum(1).mean())
            torch.testing.assert_close(gradient, (p - labels) / 12)
            assert auxiliary_gradient is None

    @pytest.mark.parametrize(("lam", "alpha"), [(0.5, 0.1), (0.9, 0.0), (0.0, 0.5), (0.3, 0.9)])
    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("classes", [2, K])
    def test_is_equations_3_to_6(self, lam, alpha, soft, classes):
        network, auxiliary = make_network(0, classes), make_network(1, classes)
        batch = make_batch(classes, soft)
        p, q = probabilities(network, batch.inputs), probabilities(auxiliary, batch.inputs)
        xi = alpha * p + (1 - alpha) * q
        label = one_hot(batch, classes)
        step = NetworkAsRegularization(auxiliary, lam, alpha).step(network, batch)
        disturbed = (1 - lam) * entropy(label, p) + lam * entropy(xi, p)
        assert values(step.terms) == pytest.approx({"disturbed": disturbed, "auxiliary": entropy(label, q)}, abs=1e-5)

    @pytest.mark.parametrize("alpha", [0.0, 0.6])
    @pytest.mark.parametrize("variant", ["paper", "divergence"])
    def test_a_disturbance_with_a_gradient_is_differentiated_too(self, variant, alpha):
        logits, other = (torch.randn(12, K, dtype=torch.float64, requires_grad=True) for _ in range(2))
        fixed, free = (
            NetworkAsRegularization(make_network(1), 0.7, alpha, variant, detach_disturbance=detach)
            for detach in (True, False)
        )
        gradients = []
        for method in (fixed, free):
            terms = method.terms(logits, other, make_batch().targets)
            del terms["auxiliary"]
            gradient, none = torch.autograd.grad(sum(terms.values()), (logits, other), allow_unused=True)
            assert none is None
            gradients.append(gradient)
        p, q = logits.softmax(1), other.detach().softmax(1)
        xi = alpha * p + (1 - alpha) * q
        hard, own, there = -0.3 * torch.from_numpy(one_hot(make_batch())) * p.log(), xi * p.log(), p * (p / xi).log()
        disturbance = -own if variant == "paper" else there + xi * (xi / p).log()
        loss = (hard + 0.7 * disturbance).sum(1).mean()
        torch.testing.assert_close(gradients[1], torch.autograd.grad(loss, logits)[0])
        assert torch.allclose(*gradients) == (alpha == 0)

    @pytest.mark.parametrize("variant", ["paper", "official"])
    def test_no_gradient_flows_from_one_loss_into_the_other_network(self, variant):
        network, auxiliary = make_network(0), make_network(1)
        terms = NetworkAsRegularization(auxiliary, variant=variant, warm_up=0).step(network, make_batch()).terms
        for name, loss in terms.items():
            learner, stranger = (auxiliary, network) if name == "auxiliary" else (network, auxiliary)
            assert any(gradient.any() for gradient in gradients(loss, learner))
            assert all(gradient is None for gradient in gradients(loss, stranger))
        assert network[1].num_batches_tracked == auxiliary[1].num_batches_tracked == 1

    @pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.9])
    def test_a_constant_auxiliary_is_label_smoothing(self, epsilon):
        network, auxiliary, batch = make_network(0).eval(), make_network(1), make_batch()
        for parameter in auxiliary[-1].parameters():
            nn.init.constant_(parameter, 0.01)
        step = NetworkAsRegularization(auxiliary, epsilon, alpha=0.0).step(network, batch)
        expected = cross_entropy(network(batch.inputs), batch.targets, label_smoothing=epsilon)
        torch.testing.assert_close(step.terms["disturbed"], expected, rtol=0, atol=1e-6)


class TestOfficial:
    """The loss of the published code, from its description: its lam is one minus the paper's."""

    @pytest.mark.parametrize(("lam", "alpha"), [(0.5, 0.1), (0.2, 0.0), (0.7, 0.6)])
    @pytest.mark.parametrize("soft", [False, True])
    def test_is_the_published_codes_sum_after_its_warm_up(self, lam, alpha, soft):
        network, auxiliary, batch = make_network(0), make_network(1), make_batch(soft=soft)
        p, q = (np.clip(probabilities(each, batch.inputs), 1e-7, 1) for each in (network, auxiliary))
        label = one_hot(batch)
        smooth = 0.5 * label + 0.5 * (1 - label) / (K - 1)
        method = NetworkAsRegularization(auxiliary, lam, alpha, "official", auxiliary_smoothing=0.5)
        method.start_epoch(20)
        step = method.step(network, batch)
        weight = 1 - lam
        loss = weight * (entropy(label, p) + entropy(smooth, q))
        xi = alpha * p + (1 - alpha) * q
        loss += (1 - weight) * (rel_entr(p, xi) + rel_entr(xi, p)).sum(1).mean()
        assert float(step.loss.detach()) == pytest.approx(loss, rel=1e-5)
        assert values(step.terms)["auxiliary"] == pytest.approx(weight * entropy(smooth, q), rel=1e-5)

    @pytest.mark.parametrize("change", ["divergence", "scale", "warm_up"])
    @pytest.mark.parametrize("epoch", [0, 1])
    def test_each_change_can_be_made_alone(self, change, epoch):
        network, auxiliary, batch = make_network(0), make_network(1), make_batch()
        plain, paper, official, alone = (
            NetworkAsRegularization(auxiliary, lam, 0.2, variant, warm_up=1)
            for lam, variant in ((0.0, "paper"), (0.7, "paper"), (0.7, "official"), (0.7, change))
        )
        terms = []
        for method in (plain, paper, official, alone):
            method.start_epoch(epoch)
            terms.append(values(method.terms(network(batch.inputs), auxiliary(batch.inputs), batch.targets)))
        plain, paper, official, alone = terms
        learned = plain if change == "warm_up" and epoch == 0 else paper
        expected = {
            "disturbed": learned["disturbed"],
            "auxiliary": paper["auxiliary"] * (0.3 if change == "scale" else 1),
        }
        if change == "divergence":
            del expected["disturbed"]
            expected["hard"] = 0.3 * plain["disturbed"]
            # which the published code has after its warm-up
            expected["disturbance"] = official["disturbance"] if epoch else alone["disturbance"]
        assert alone == pytest.approx(expected)

    def test_blocks_the_disturbance_too(self):
        """With xi fixed, d/dz of KL(xi || p) is p - xi, and of KL(p || xi) it is p (log(p / xi) - KL(p || xi))."""
        logits, other = (torch.randn(12, K, dtype=torch.float64, requires_grad=True) for _ in range(2))
        method = NetworkAsRegularization(make_network(1), 0.5, 0.6, "official", warm_up=0)
        terms = method.terms(logits, other, make_batch().targets)
        (gradient,) = torch.autograd.grad(terms["disturbance"], logits)
        p = logits.detach().softmax(1)
        xi = 0.6 * p + 0.4 * other.detach().softmax(1)
        ratio = (p / xi).log()
        expected = p - xi + p * (ratio - (p * ratio).sum(1, keepdim=True))
        torch.testing.assert_close(gradient, 0.5 * expected / 12)

    def test_warms_up_on_the_labels_alone(self):
        network, auxiliary, batch = make_network(0).eval(), make_network(1).eval(), make_batch()
        method = NetworkAsRegularization(auxiliary, 0.9, variant="official", warm_up=3, auxiliary_smoothing=0.2)
        hard = cross_entropy(network(batch.inputs), batch.targets)
        smooth = cross_entropy(auxiliary(batch.inputs), batch.targets, label_smoothing=0.2 * K / (K - 1))
        for epoch in range(3):
            method.start_epoch(epoch)
            step = method.step(network, batch)
            torch.testing.assert_close(step.loss, hard + smooth)
            assert values(step.terms)["disturbance"] == 0
            torch.testing.assert_close(gradients(step.loss, network), gradients(hard, network))
            labels = method.labels(network, batch.inputs, batch.targets)
            torch.testing.assert_close(labels, torch.eye(K)[batch.targets])
        method.start_epoch(3)
        assert values(method.step(network, batch).terms)["disturbance"] > 0

    @pytest.mark.parametrize("alpha", [0.0, 0.5])
    def test_confident_networks_that_disagree_give_finite_gradients(self, alpha):
        logits = 1e4 * torch.eye(3, requires_grad=True)
        method = NetworkAsRegularization(make_network(1), 0.5, alpha, "official", warm_up=0)
        terms = method.terms(logits, logits.detach().roll(1, 0), torch.arange(3))
        (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
        assert all(term.isfinite() for term in terms.values())
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_half_precision_is_computed_in_full(dtype, variant):
    logits, other = ((8 * torch.randn(12, K)).to(dtype).requires_grad_() for _ in range(2))
    method, targets = NetworkAsRegularization(make_network(1), variant=variant, warm_up=0), make_batch().targets
    terms = method.terms(logits, other, targets)
    torch.testing.assert_close(terms, method.terms(logits.float(), other.float(), targets))
    for gradient in torch.autograd.grad(sum(terms.values()), (logits, other)):
        assert gradient.isfinite().all()


def test_the_labels_that_can_be_asked_for_are_those_of_equation_4():
    network, auxiliary, batch = make_network(0).eval(), make_network(1).eval(), make_batch()
    labels = NetworkAsRegularization(auxiliary, 0.3, 0.2).labels(network, batch.inputs, batch.targets)
    p, q = probabilities(network, batch.inputs), probabilities(auxiliary, batch.inputs)
    np.testing.assert_allclose(labels, 0.7 * one_hot(batch) + 0.3 * (0.2 * p + 0.8 * q), rtol=1e-5)
    assert not labels.requires_grad


class TestRegressionTargets:
    @pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
    def test_are_the_convex_combination_in_full_precision(self, dtype):
        outputs, other, targets = (torch.randn(4, 7, 1).to(dtype).requires_grad_() for _ in range(3))
        disturbed = nar_regression_targets(outputs, other, targets, 0.3, 0.2)
        expected = 0.7 * targets.float() + 0.06 * outputs.float() + 0.24 * other.float()
        torch.testing.assert_close(disturbed, expected.detach())
        assert not disturbed.requires_grad

    @given(st.floats(0, 0.99), st.floats(0, 0.99), st.floats(-100, 100))
    def test_leave_what_all_agree_on(self, lam, alpha, value):
        agreed = torch.tensor([[value]], dtype=torch.float64)
        torch.testing.assert_close(nar_regression_targets(agreed, agreed, agreed, lam, alpha), agreed)
