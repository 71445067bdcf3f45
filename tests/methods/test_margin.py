"""AdaCos and Virtual softmax on a network's own classifier: by hand, in evaluation, under autocast, interrupted."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from labelreg import networks
from labelreg.data import Batch, load
from labelreg.methods import AdaCos, AdversarialTraining, Mixup, VirtualSoftmax
from labelreg.metrics import expected_calibration_error, top_k_error
from labelreg.training import Recipe, Trainer

K, B = 5, 13
both = pytest.mark.parametrize("make", [lambda: AdaCos(K), VirtualSoftmax], ids=["ada_cos", "virtual_softmax"])


def make_network(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, K))
    nn.init.normal_(network[-1].bias, std=10)
    return network


def make_batch(seed=0):
    torch.manual_seed(seed)
    return Batch(torch.randn(B, 3), torch.randint(K, (B,)), torch.arange(B))


def penultimate(network, inputs):
    """Features that the classifier gets, without a trace left in the network."""
    return copy.deepcopy(network)[:-1](inputs)


def cosines_of(network, inputs):
    return cosine_similarity(penultimate(network, inputs)[:, None], network[-1].weight[None], dim=2)


def next_scale(cosines, targets, scale):
    cosines, targets = cosines.detach().double().numpy(), targets.numpy()
    true = cosines[np.arange(len(targets)), targets]
    total = np.exp(scale * cosines).sum() - np.exp(scale * true).sum()
    angle = np.sort(np.arccos(true))[(len(true) - 1) // 2]
    return np.log(total / len(true)) / np.cos(min(np.pi / 4, angle))


class TestBoth:
    @both
    def test_leave_the_bias_alone(self, make):
        network, batch = make_network(), make_batch()
        bias = network[-1].bias.detach().clone()
        step = make().step(network, batch)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
        step.loss.backward()
        optimizer.step()
        assert network[-1].bias.grad is None
        assert torch.equal(network[-1].bias, bias)
        assert network[-1].weight.grad.abs().sum(1).min() > 0
        assert network[0].weight.grad.any()

    @both
    def test_are_independent_of_the_bias(self, make):
        batch, network, shifted = make_batch(), make_network(), make_network()
        nn.init.zeros_(shifted[-1].bias)
        steps = [make().step(each, batch) for each in (network, shifted)]
        assert torch.equal(steps[0].logits, steps[1].logits)
        assert torch.equal(steps[0].loss, steps[1].loss)
        predictions = [make().predict(each.eval(), batch.inputs) for each in (network, shifted)]
        assert torch.equal(*predictions)

    @both
    def test_are_judged_by_what_they_are_trained_by(self, make):
        method, network, batch = make(), make_network().eval(), make_batch()
        logits = method.step(network, batch).logits
        torch.testing.assert_close(method.predict(network, batch.inputs), logits)

    @both
    def test_compute_in_single_precision_under_autocast(self, make):
        method, network, batch = make(), make_network(), make_batch()
        with torch.autocast("cpu", torch.bfloat16):
            features = penultimate(network, batch.inputs)
            step = method.step(network, batch)
        step.loss.backward()
        assert features.dtype == torch.bfloat16
        assert step.logits.dtype == torch.float32
        # of the rounded features, but rounded no further
        plain = nn.Sequential(nn.Identity(), network[-1])
        again = make().step(plain, Batch(features.float(), batch.targets, batch.indices))
        torch.testing.assert_close(step.logits, again.logits, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(step.loss, again.loss, rtol=1e-6, atol=1e-6)
        assert all(parameter.grad.isfinite().all() for parameter in network[:-1].parameters())

    @both
    @pytest.mark.parametrize("name", ["imagenet_resnet18", "imagenet_densenet121", "resnet8"])
    def test_find_the_classifier_of_any_network(self, make, name):
        torch.manual_seed(0)
        network = networks.build(name, K, input_shape=(3, 32, 32))
        inputs = torch.randn(4, 3, 32, 32)
        method = make()
        method.step(network, Batch(inputs, torch.arange(4), torch.arange(4))).loss.backward()
        layer = networks.classifier(network)
        assert layer.weight.grad.any()
        assert layer.bias.grad is None
        logits = method.predict(network.eval(), inputs)
        assert logits.shape == (4, K)
        if isinstance(method, VirtualSoftmax):
            torch.testing.assert_close(logits, network(inputs) - layer.bias)

    @both
    def test_of_mixed_labels_say_that_they_need_classes(self, make):
        with pytest.raises(TypeError, match="targets must be class indices"):
            Mixup(make(), K).step(make_network(), make_batch())

    @both
    def test_go_on_bit_by_bit_when_interrupted(self, make, assert_resumes):
        kind = type(make())
        assert_resumes(lambda: kind(10) if kind is AdaCos else kind())

    @both
    def test_learn_the_digits(self, make):
        torch.manual_seed(0)
        method = AdaCos(10) if isinstance(make(), AdaCos) else make()
        recipe = Recipe(epochs=15, batch_size=64, schedule="one_cycle")
        trainer = Trainer(networks.build("mlp", 10, hidden=(32,)), method, load("digits", subset=200), recipe)
        trainer.fit()
        assert trainer.history[-1]["test_error"] < 0.15


class TestAdaCos:
    def test_the_scale_follows_from_each_batch_and_the_scale_before_it(self):
        method, network = AdaCos(K), make_network()
        scale = math.sqrt(2) * math.log(K - 1)
        assert method.scale.item() == pytest.approx(scale)
        for seed in range(4):
            batch = make_batch(seed)
            cosines = cosines_of(network, batch.inputs)
            scale = next_scale(cosines, batch.targets, scale)
            step = method.step(network, batch)
            assert method.scale.item() == pytest.approx(scale, rel=1e-5)
            torch.testing.assert_close(step.logits, scale * cosines, check_dtype=False)
            torch.testing.assert_close(step.loss, cross_entropy(step.logits, batch.targets))
            torch.testing.assert_close(sum(step.terms.values()), step.loss)
        assert not method.scale.requires_grad

    def test_the_gradient_takes_the_scale_for_a_constant(self):
        method, network, batch = AdaCos(K), make_network(), make_batch()
        parameters = [*network[:-1].parameters(), network[-1].weight]
        gradients = torch.autograd.grad(method.step(network, batch).loss, parameters)
        reference = make_network()
        cosines = cosine_similarity(reference[:-1](batch.inputs)[:, None], reference[-1].weight[None], dim=2)
        loss = cross_entropy(method.scale * cosines, batch.targets)
        expected = torch.autograd.grad(loss, [*reference[:-1].parameters(), reference[-1].weight])
        torch.testing.assert_close(gradients, expected)

    @pytest.mark.parametrize(("dynamic", "training"), [(True, False), (False, True)])
    def test_the_scale_rests_in_evaluation_and_where_it_is_fixed(self, dynamic, training):
        method, network, batch = AdaCos(K, dynamic).train(training), make_network(), make_batch()
        for _ in range(3):
            step = method.step(network, batch)
        assert method.scale.item() == pytest.approx(math.sqrt(2) * math.log(K - 1))
        torch.testing.assert_close(step.logits, method.scale * cosines_of(network, batch.inputs))

    def test_prediction_leaves_the_scale_alone(self):
        method, network, batch = AdaCos(K), make_network(), make_batch()
        method.step(network, batch)
        before = method.scale.clone()
        method.predict(network, batch.inputs)
        assert torch.equal(method.scale, before)

    def test_two_losses_keep_the_scales_they_were_computed_with(self):
        """The second step must not change what the first needs for its gradient."""
        method, network = AdaCos(K), make_network().eval()
        first, second = make_batch(1), make_batch(2)
        losses = [method.step(network, batch).loss for batch in (first, second)]
        sum(losses).backward()
        assert AdversarialTraining(method).step(network, first).loss.isfinite()
        again, alone = AdaCos(K), make_network().eval()
        for batch in (first, second):
            again.step(alone, batch).loss.backward()
        torch.testing.assert_close(network[0].weight.grad, alone[0].weight.grad)

    def test_bare_cosines_are_never_confident(self):
        """The error stays, and the calibration error is nearly the accuracy."""
        data = load("digits", subset=200)
        torch.manual_seed(0)
        method = AdaCos(10)
        recipe = Recipe(epochs=10, batch_size=64, schedule="one_cycle")
        trainer = Trainer(networks.build("mlp", 10, hidden=(32,)), method, data, recipe)
        trainer.fit()
        scaled, targets = trainer.predict(data.test)
        bare_method = AdaCos(10, scaled_evaluation=False)
        bare_method.load_state_dict(method.state_dict())
        trainer.method = bare_method
        bare, _ = trainer.predict(data.test)
        torch.testing.assert_close(scaled, method.scale * bare)
        assert bare.abs().max() <= 1 + 1e-5
        assert top_k_error(bare, targets) == top_k_error(scaled, targets) < 0.2
        most = math.e / (math.e + 9 / math.e)
        assert bare.softmax(1).max() <= most
        errors = [expected_calibration_error(logits.softmax(1), targets) for logits in (scaled, bare)]
        assert errors[1] > max(1 - 0.2 - most, errors[0] + 0.1)

    @pytest.mark.parametrize("classes", [1, 2])
    def test_needs_three_classes(self, classes):
        with pytest.raises(ValueError, match=f"needs num_classes of at least 3, got {classes}"):
            AdaCos(classes)


class TestVirtualSoftmax:
    def test_by_hand(self):
        network, batch = make_network(), make_batch()
        features, weight = penultimate(network, batch.inputs), network[-1].weight
        step = VirtualSoftmax().step(network, batch)
        losses = []
        for x, y in zip(features, batch.targets, strict=True):
            logits = [w @ x for w in weight] + [weight[y].norm() * x.norm()]
            losses.append(torch.stack(logits).logsumexp(0) - logits[y])
        torch.testing.assert_close(step.loss, torch.stack(losses).mean())
        torch.testing.assert_close(step.logits, features @ weight.T)
        torch.testing.assert_close(sum(step.terms.values()), step.loss)

    def test_is_never_below_plain_cross_entropy(self):
        """Nor below ln 2: the virtual logit is never below the true one."""
        for seed in range(5):
            batch = make_batch(seed)
            step = VirtualSoftmax().step(make_network(seed), batch)
            assert step.loss > cross_entropy(step.logits, batch.targets)
            assert step.loss > math.log(2)
