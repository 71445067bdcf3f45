"""AdaCos and Virtual softmax: logits and scale by hand and at their limits, and the methods on any classifier."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from methods import small
from methods.small import HALVES, K, train_on_digits
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from labelreg.data import Batch
from labelreg.methods import AdaCos, AdversarialTraining, VirtualSoftmax
from labelreg.methods.margin import adacos_fixed_scale, adacos_scale, cosine_logits, virtual_softmax_logits

B, D = 13, 4
both = pytest.mark.parametrize("make", [lambda: AdaCos(K), VirtualSoftmax], ids=["ada_cos", "virtual_softmax"])


@pytest.fixture
def layer():
    """Features, weights and targets, in float64."""
    generator = torch.Generator().manual_seed(0)
    features, weight = (torch.randn(n, D, dtype=torch.float64, generator=generator) for n in (6, K))
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
        torch.testing.assert_close(cosine_logits(features, weight), expected, rtol=0, atol=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(
        arrays(np.float64, (3, D), elements=st.floats(-10, 10)), st.floats(1e-3, 1e3), st.sampled_from([-1.0, 0.0, 1.0])
    )
    def test_know_directions_only(self, values, factor, sign):
        features, weight = torch.from_numpy(values[:2]), torch.from_numpy(values[1:])
        features, weight = (torch.where(x.norm(dim=1, keepdim=True) > 1e-6, x, 0) for x in (features, weight))
        cosines = cosine_logits(features, weight)
        assert cosines.abs().max() <= 1 + 1e-12
        stretched = cosine_logits(sign * factor * features, weight / factor)
        torch.testing.assert_close(stretched, sign * cosines, rtol=0, atol=1e-9)

    def test_without_a_direction_there_is_no_gradient(self, layer):
        features = layer[0].index_fill(0, torch.tensor([1]), 0.0).requires_grad_()
        cosine_logits(features, layer[1]).sum().backward()
        assert features.grad[1].tolist() == [0.0] * D
        assert features.grad[0].abs().min() > 1e-6


class TestAdaCosScale:
    @pytest.mark.parametrize("batch", [1, 5, 6])
    @pytest.mark.parametrize("scale", [0.5, 2.0, 20.0])
    def test_as_printed(self, layer, batch, scale):
        features, weight, targets = layer
        # near the true class's weight or nearer, so that the median angle lies below a quarter of pi, or above
        for towards in (0.0, 3.0):
            cosines = cosine_logits(features + towards * weight[targets], weight)[:batch]
            expected = next_scale(cosines.tolist(), targets[:batch].tolist(), scale)
            assert adacos_scale(cosines, targets[:batch], scale).item() == pytest.approx(max(expected, 0), rel=1e-12)

    @pytest.mark.parametrize("classes", [3, 10, 100])
    def test_the_fixed_scale_is_where_the_dynamic_one_starts(self, classes):
        """In many dimensions, untrained features are at right angles to all classes."""
        scale = adacos_fixed_scale(classes)
        assert scale == pytest.approx(math.sqrt(2) * math.log(classes - 1))
        updated = adacos_scale(torch.zeros(4, classes), torch.zeros(4, dtype=torch.int64), scale)
        assert updated.item() == pytest.approx(scale)

    def test_comes_to_rest_where_the_prediction_is_one_half(self):
        cosines, targets = torch.tensor([[0.9, 0.1, -0.2, 0.0]], dtype=torch.float64), torch.tensor([0])
        scale = torch.tensor(adacos_fixed_scale(4))
        for _ in range(50):
            scale = adacos_scale(cosines, targets, scale)
        assert (scale * cosines).softmax(1)[0, 0].item() == pytest.approx(0.5)

    def test_of_no_samples_is_an_error(self):
        with pytest.raises(ValueError, match="at least one sample, got none"):
            adacos_scale(torch.zeros(0, K), torch.zeros(0, dtype=torch.int64), 1.0)

    def test_does_not_turn_negative(self):
        cosines = torch.tensor([[1.0, -1.0, -1.0]])
        assert adacos_scale(cosines, torch.tensor([0]), 5.0).item() == 0
        # a scale of 0 recovers
        assert adacos_scale(cosines, torch.tensor([0]), 0.0).item() == pytest.approx(math.log(2))

    @pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
    def test_takes_rounded_cosines_and_large_scales(self, dtype):
        cosines = torch.full((2, K), 1.0, dtype=dtype) * (1 + torch.finfo(dtype).eps)
        scale = adacos_scale(cosines, torch.tensor([0, 1]), torch.tensor(1e4))
        assert scale.item() == pytest.approx(1e4 * cosines.max().item() + math.log(K - 1), rel=1e-6)
        assert scale.dtype == torch.float32


class TestVirtualSoftmaxLogits:
    def test_by_hand(self, layer):
        features, weight, targets = layer
        naive = [
            [*(w @ x for w in weight.numpy()), np.linalg.norm(weight[k]) * np.linalg.norm(x)]
            for x, k in zip(features.numpy(), targets, strict=True)
        ]
        logits = virtual_softmax_logits(features, weight, targets)
        np.testing.assert_allclose(logits.numpy(), np.array(naive), rtol=0, atol=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(arrays(np.float64, (2, D), elements=st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-6)))
    def test_the_virtual_logit_is_never_below_the_true_one(self, values):
        features, weight = torch.from_numpy(values[:1]), torch.from_numpy(values[1:])
        for direction in (features, weight):  # equal where the feature lies along the weight
            true, virtual = virtual_softmax_logits(direction, weight, torch.tensor([0]))[0].tolist()
            assert virtual >= true - 1e-12 * abs(true)
        assert virtual == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1e4])
@pytest.mark.parametrize("function", [cosine_logits, lambda x, w: virtual_softmax_logits(x, w, torch.tensor([0, 2]))])
def test_logits_and_their_gradients_are_finite(function, dtype, size):
    inputs = [torch.full((n, 8), size, dtype=dtype, requires_grad=True) for n in (2, 3)]
    logits = function(*inputs)
    assert logits.dtype == torch.promote_types(dtype, torch.float32)
    if function is cosine_logits:
        torch.testing.assert_close(logits, torch.full((2, 3), float(size > 0)), check_dtype=False)
    cross_entropy(10 * logits, torch.tensor([0, 2])).backward()
    assert all(x.grad.dtype == dtype and x.grad.isfinite().all() for x in inputs)


@pytest.mark.parametrize("size", [1e19, 1e25, 1e30])
def test_large_vectors_are_small_ones_times_a_number(layer, size):
    """Though the squares of such numbers are infinite in single precision."""
    features, weight, targets = (each.float() if each.is_floating_point() else each for each in layer)
    large = (size * features).requires_grad_()
    torch.testing.assert_close(cosine_logits(large, weight), cosine_logits(features, weight))
    torch.testing.assert_close(cosine_logits(features, size * weight), cosine_logits(features, weight))
    virtual = virtual_softmax_logits(large, weight, targets)
    torch.testing.assert_close(virtual, size * virtual_softmax_logits(features, weight, targets), rtol=1e-5, atol=0)
    cross_entropy(virtual, targets).backward()
    assert large.grad.isfinite().all()


def make_network():
    network = small.make_network()
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


@both
class TestBoth:
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

    def test_are_judged_by_what_they_are_trained_by(self, make):
        method, network, batch = make(), make_network().eval(), make_batch()
        logits = method.step(network, batch).logits
        torch.testing.assert_close(method.predict(network, batch.inputs), logits)

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


@pytest.mark.parametrize("make", [lambda: AdaCos(10), VirtualSoftmax], ids=["ada_cos", "virtual_softmax"])
def test_learn_the_digits_and_go_on_bit_by_bit_when_interrupted(make, assert_resumes):
    assert_resumes(make)
    train_on_digits(make())


class TestAdaCos:
    def test_the_scale_follows_from_each_batch_and_the_scale_before_it(self):
        method, network = AdaCos(K), make_network()
        scale = math.sqrt(2) * math.log(K - 1)
        assert method.scale.item() == pytest.approx(scale)
        for seed in range(4):
            batch = make_batch(seed)
            cosines = cosines_of(network, batch.inputs)
            scale = next_scale(cosines.tolist(), batch.targets.tolist(), scale)
            step = method.step(network, batch)
            assert method.scale.item() == pytest.approx(scale, rel=1e-5)
            torch.testing.assert_close(step.logits, scale * cosines, check_dtype=False)
            torch.testing.assert_close(step.loss, cross_entropy(step.logits, batch.targets))
        assert not method.scale.requires_grad

    @pytest.mark.parametrize(("dynamic", "training"), [(True, False), (False, True)])
    def test_the_scale_rests_in_evaluation_and_where_it_is_fixed(self, dynamic, training):
        method, network, batch = AdaCos(K, dynamic).train(training), make_network(), make_batch()
        for _ in range(3):
            step = method.step(network, batch)
        assert method.scale.item() == pytest.approx(math.sqrt(2) * math.log(K - 1))
        torch.testing.assert_close(step.logits, method.scale * cosines_of(network, batch.inputs))

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
        """They rank classes alike, but no prediction exceeds e / (e + (K - 1) / e)."""
        network, inputs, method = make_network().eval(), make_batch().inputs, AdaCos(K).eval()
        bare = AdaCos(K, scaled_evaluation=False).eval().predict(network, inputs)
        torch.testing.assert_close(method.predict(network, inputs), method.scale * bare)
        torch.testing.assert_close(bare, cosines_of(network, inputs))
        assert bare.softmax(1).max() <= math.e / (math.e + (K - 1) / math.e)


class TestVirtualSoftmax:
    def test_has_one_more_logit_in_the_loss_alone(self):
        network, batch = make_network(), make_batch()
        features, weight = penultimate(network, batch.inputs), network[-1].weight
        step = VirtualSoftmax().step(network, batch)
        logits = virtual_softmax_logits(features, weight, batch.targets)
        torch.testing.assert_close(step.loss, cross_entropy(logits, batch.targets))
        torch.testing.assert_close(step.logits, features @ weight.T)

    def test_predicts_in_single_precision_at_least(self):
        network, inputs = make_network(), make_batch().inputs
        with torch.autocast("cpu", torch.bfloat16):
            assert VirtualSoftmax().predict(network, inputs).dtype == torch.float32
        with torch.no_grad():
            network[-1].weight.mul_(1e5)
        logits = VirtualSoftmax().predict(network.half(), 100 * inputs.half())
        assert logits.isfinite().all()
        assert logits.abs().max() > torch.finfo(torch.float16).max
