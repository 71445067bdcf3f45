"""Distillation and mutual learning: closed forms, what is frozen, and whose gradient goes where."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from labelreg.data import Batch
from labelreg.methods import BornAgain, DeepMutualLearning, KnowledgeDistillation, NetworkAsRegularization

K = 5


def make_network(seed):
    """With batch normalisation and dropout, whose two modes differ."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, K))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(12, 3, generator=generator), torch.arange(12) % K, torch.arange(12))


def divergence(teacher_logits, logits, temperature=1.0):
    log_student, teacher = log_softmax(logits / temperature, 1), softmax(teacher_logits / temperature, 1)
    return kl_div(log_student, teacher, reduction="batchmean")


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


class TestKnowledgeDistillation:
    @pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.9), (1.0, 0.5), (20.0, 0.3)])
    def test_is_the_printed_sum(self, batch, temperature, alpha):
        student, teacher = make_network(0).eval(), make_network(1).eval()
        step = KnowledgeDistillation(teacher, temperature, alpha).step(student, batch)
        hard = cross_entropy(student(batch.inputs), batch.targets)
        soft = temperature**2 * divergence(teacher(batch.inputs), student(batch.inputs), temperature)
        torch.testing.assert_close(step.loss, (1 - alpha) * hard + alpha * soft)

    def test_without_the_teachers_weight_is_cross_entropy(self, batch):
        student = make_network(0).eval()
        step = KnowledgeDistillation(make_network(1), alpha=0.0).step(student, batch)
        torch.testing.assert_close(step.loss, cross_entropy(student(batch.inputs), batch.targets))

    def test_has_nothing_to_learn_from_itself(self, batch):
        student = make_network(0).eval()
        step = KnowledgeDistillation(copy.deepcopy(student), alpha=1.0).step(student, batch)
        assert abs(step.loss.item()) < 1e-6
        assert all(gradient.abs().max() < 1e-6 for gradient in gradients(step.loss, student))

    def test_a_high_temperature_matches_centred_logits(self, batch):
        """Hinton et al., section 2.1: the gradient tends to that of the squared distance of centred logits over 2 K."""
        student, teacher = make_network(0).double().eval(), make_network(1).double().eval()
        exact = Batch(batch.inputs.double(), batch.targets, batch.indices)
        step = KnowledgeDistillation(teacher, temperature=1e4, alpha=1.0).step(student, exact)
        difference = student(exact.inputs) - teacher(exact.inputs)
        distance = (difference - difference.mean(1, keepdim=True)).square().sum(1).mean() / (2 * K)
        torch.testing.assert_close(step.loss, distance, rtol=1e-3, atol=0)

    @pytest.mark.parametrize("kind", [KnowledgeDistillation, BornAgain])
    def test_the_teacher_stays_as_it_is(self, batch, kind):
        student, teacher = make_network(0), make_network(1)
        before = copy.deepcopy(teacher.state_dict())
        method = kind(teacher)
        for mode in (True, False, True):
            assert method.train(mode) is method
            assert method.training is mode
            assert not any(module.training for module in teacher.modules())
        method.step(student, batch).loss.backward()
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
        assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
        assert method.parameter_groups(0.1) == []


class TestBornAgain:
    @pytest.mark.parametrize("beta", [1.0, 0.7, 0.0])
    def test_is_equation_8_of_nar(self, batch, beta):
        network, teacher = make_network(0).eval(), make_network(1).eval()
        step = BornAgain(teacher, beta).step(network, batch)
        logits, taught = network(batch.inputs), teacher(batch.inputs).softmax(1)
        torch.testing.assert_close(step.terms["hard"], (1 - beta) * cross_entropy(logits, batch.targets))
        torch.testing.assert_close(step.terms["soft"], beta * cross_entropy(logits, taught))

    @pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
    def test_is_nar_with_a_finished_auxiliary_alone(self, batch, beta):
        network, teacher = make_network(0).eval(), make_network(1).requires_grad_(False).eval()
        nar = NetworkAsRegularization(teacher, beta, alpha=0.0).step(network, batch).terms["disturbed"]
        born_again = BornAgain(teacher, beta).step(network, batch).loss
        torch.testing.assert_close(born_again, nar)
        torch.testing.assert_close(gradients(born_again, network), gradients(nar, network))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_takes_half_precision(self, batch, dtype):
        logits, taught = ((8 * torch.randn(12, K)).to(dtype) for _ in range(2))

        class Fixed(nn.Module):
            def __init__(self, output):
                super().__init__()
                self.output = output

            def forward(self, inputs):
                return self.output

        losses = [
            BornAgain(Fixed(taught.to(kind))).step(Fixed(logits.to(kind)), batch).loss
            for kind in (dtype, torch.float32)
        ]
        torch.testing.assert_close(*losses)


class TestDeepMutualLearning:
    def test_is_the_sum_of_two_networks_losses(self, batch):
        network, peer = make_network(0).eval(), make_network(1).eval()
        step = DeepMutualLearning(peer, weight=0.7).step(network, batch)
        one, other = network(batch.inputs), peer(batch.inputs)
        torch.testing.assert_close(step.terms["hard"], cross_entropy(one, batch.targets))
        torch.testing.assert_close(step.terms["mutual"], 0.7 * divergence(other, one))
        expected = cross_entropy(other, batch.targets) + 0.7 * divergence(one, other)
        torch.testing.assert_close(step.terms["peer"], expected)

    def test_is_symmetric(self, batch):
        one, other = make_network(0).eval(), make_network(1).eval()
        there, back = (DeepMutualLearning(b).step(a, batch) for a, b in ((one, other), (other, one)))
        torch.testing.assert_close(there.loss, back.loss)
        for network in (one, other):
            torch.testing.assert_close(gradients(there.loss, network), gradients(back.loss, network))

    def test_each_network_learns_from_its_own_terms_only(self, batch):
        network, peer = make_network(0).eval(), make_network(1).eval()
        step = DeepMutualLearning(peer).step(network, batch)
        own = step.terms["hard"] + step.terms["mutual"]
        for expected, whole in zip(gradients(own, network), gradients(step.loss, network), strict=True):
            torch.testing.assert_close(whole, expected, rtol=0, atol=0)
        for loss, stranger in ((own, peer), (step.terms["peer"], network)):
            assert all(gradient is None for gradient in gradients(loss, stranger))

    def test_the_peer_is_trained_like_the_network(self, batch):
        network, peer = make_network(0), make_network(1)
        method = DeepMutualLearning(peer)
        before = [parameter.clone() for parameter in peer.parameters()]
        optimizer = torch.optim.SGD(
            [{"params": network.parameters()}, *method.parameter_groups(0.1)], lr=0.1, weight_decay=0.5
        )
        for parameter in peer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for old, new in zip(before, peer.parameters(), strict=True):
            torch.testing.assert_close(new, old * (1 - 0.1 * 0.5))

    def test_the_peer_follows_the_mode_and_is_dropped_afterwards(self, batch):
        network, peer = make_network(0), make_network(1)
        method = DeepMutualLearning(peer).eval()
        assert not peer.training
        before = method.predict(network.eval(), batch.inputs)
        with torch.no_grad():
            peer[0].weight.zero_()
        torch.testing.assert_close(method.predict(network, batch.inputs), before, rtol=0, atol=0)
        assert method.train().peer.training
