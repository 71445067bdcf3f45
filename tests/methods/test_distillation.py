"""Distillation and mutual learning: closed forms, what is frozen, and whose gradient goes where."""

import copy
from dataclasses import replace

import pytest
import torch
from methods.small import K, divergence, gradients, make_network
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg.methods import BornAgain, DeepMutualLearning, KnowledgeDistillation


@pytest.fixture
def pair():
    return make_network(0).eval(), make_network(1).eval()


class TestKnowledgeDistillation:
    @pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.9), (1.0, 0.5), (20.0, 0.3), (4.0, 0.0)])
    def test_is_the_printed_sum(self, batch, pair, temperature, alpha):
        student, teacher = pair
        step = KnowledgeDistillation(teacher, temperature, alpha).step(student, batch)
        hard = cross_entropy(student(batch.inputs), batch.targets)
        soft = divergence(student(batch.inputs), teacher(batch.inputs), temperature)
        torch.testing.assert_close(step.loss, (1 - alpha) * hard + alpha * soft)

    def test_has_nothing_to_learn_from_itself(self, batch):
        student = make_network(0).eval()
        step = KnowledgeDistillation(copy.deepcopy(student), alpha=1.0).step(student, batch)
        assert abs(step.loss.item()) < 1e-6
        assert all(gradient.abs().max() < 1e-6 for gradient in gradients(step.loss, student))

    def test_a_high_temperature_matches_centred_logits(self, batch, pair):
        """Hinton et al., section 2.1: the gradient tends to that of the squared distance of centred logits over 2 K."""
        student, teacher = (network.double() for network in pair)
        exact = replace(batch, inputs=batch.inputs.double())
        step = KnowledgeDistillation(teacher, temperature=1e4, alpha=1.0).step(student, exact)
        difference = student(exact.inputs) - teacher(exact.inputs)
        distance = (difference - difference.mean(1, keepdim=True)).square().sum(1).mean() / (2 * K)
        torch.testing.assert_close(step.loss, distance, rtol=1e-3, atol=0)

    @pytest.mark.parametrize("kind", [KnowledgeDistillation, BornAgain])
    def test_the_teacher_stays_as_it_is(self, batch, kind):
        student = make_network(0)
        method = kind(make_network(1))
        teacher = method.teacher
        before = copy.deepcopy(teacher.state_dict())
        for mode in (True, False, True):
            assert method.train(mode) is method
            assert method.training is mode
            assert not any(module.training for module in teacher.modules())
        method.step(student, batch).loss.backward()
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
        assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
        assert method.parameter_groups(0.1) == []


def test_layers_in_common_go_on_learning_in_the_student(batch):
    student = make_network(0)
    teacher = nn.Sequential(student[:2], *make_network(1)[2:])
    method = KnowledgeDistillation(teacher)
    expected = method.teach(batch.inputs)
    with torch.no_grad():
        student[0].weight.add_(1)
    assert torch.equal(method.teach(batch.inputs), expected)
    assert all(parameter.requires_grad for parameter in (*student.parameters(), *teacher.parameters()))
    assert teacher.training


class TestBornAgain:
    @pytest.mark.parametrize("beta", [1.0, 0.7, 0.0])
    def test_is_equation_8_of_nar(self, batch, pair, beta):
        network, teacher = pair
        step = BornAgain(teacher, beta).step(network, batch)
        logits, taught = network(batch.inputs), teacher(batch.inputs).softmax(1)
        torch.testing.assert_close(step.terms["hard"], (1 - beta) * cross_entropy(logits, batch.targets))
        torch.testing.assert_close(step.terms["soft"], beta * cross_entropy(logits, taught))


class TestDeepMutualLearning:
    def test_is_the_sum_of_two_networks_losses(self, batch, pair):
        network, peer = pair
        step = DeepMutualLearning(peer, weight=0.7).step(network, batch)
        one, other = network(batch.inputs), peer(batch.inputs)
        torch.testing.assert_close(step.terms["hard"], cross_entropy(one, batch.targets))
        torch.testing.assert_close(step.terms["mutual"], 0.7 * divergence(one, other))
        expected = cross_entropy(other, batch.targets) + 0.7 * divergence(other, one)
        torch.testing.assert_close(step.terms["peer"], expected)

    def test_each_network_learns_from_its_own_terms_only(self, batch, pair):
        network, peer = pair
        step = DeepMutualLearning(peer).step(network, batch)
        own = step.terms["hard"] + step.terms["mutual"]
        torch.testing.assert_close(gradients(own, network), gradients(step.loss, network), rtol=0, atol=0)
        for loss, stranger in ((own, peer), (step.terms["peer"], network)):
            assert all(gradient is None for gradient in gradients(loss, stranger))
