"""Methods around methods: mixup and adversarial training, and what passes through them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.small import B, K, Spy, make_network, train_on_digits
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from labelreg import networks
from labelreg.data import Batch
from labelreg.methods import (
    AdversarialTraining,
    BatchAugmentation,
    ClassWiseSelfDistillation,
    CrossEntropy,
    LabelSmoothing,
    Mixup,
    NetworkAsRegularization,
    SnapshotRegularization,
)

WRAPPERS = [lambda method: Mixup(method, K), AdversarialTraining]
both = pytest.mark.parametrize("wrap", WRAPPERS, ids=["mixup", "adversarial"])


class TestWrapper:
    @both
    def test_leaves_the_rest_to_the_method_inside(self, wrap, batch):
        spy, network = Spy({"partner"}), make_network()
        method = wrap(spy)
        method.start_epoch(3)
        assert spy.calls == [("start_epoch", 3)]
        assert method.views == {"partner"}
        network.eval()
        torch.testing.assert_close(method.predict(network, batch.inputs), 2 * network(batch.inputs))

    @both
    def test_trains_what_the_method_inside_learns(self, wrap):
        inner = Spy()
        inner.own, inner.lr_mult = nn.Parameter(torch.zeros(2)), 3.0
        assert wrap(inner).parameter_groups(0.1) == inner.parameter_groups(0.1)

    @both
    def test_refuses_inputs_that_cannot_be_changed_a_little(self, wrap, batch):
        tokens = Batch(torch.ones(B, 3, dtype=torch.int64), batch.targets, batch.indices)
        with pytest.raises(TypeError, match=r"must be floating-point, got torch\.int64"):
            wrap(CrossEntropy()).step(make_network(), tokens)

    @both
    def test_can_be_wrapped_again(self, wrap, batch):
        method = Mixup(wrap(NetworkAsRegularization(make_network(1))), K)
        step = method.step(make_network(), batch)
        step.loss.backward()
        torch.testing.assert_close(step.loss, sum(step.terms.values()))
        assert method.method.method.auxiliary[0].weight.grad.any()

    @both
    def test_refuses_a_method_that_first_trains_on_plain_batches(self, wrap):
        with pytest.raises(ValueError, match="snapshot regularisation first trains on plain batches"):
            wrap(SnapshotRegularization(make_network(1), direction="pos"))
        wrap(SnapshotRegularization(make_network(1)))

    @pytest.mark.parametrize("wrap", [AdversarialTraining, ClassWiseSelfDistillation])
    def test_what_sees_inputs_or_views_refuses_mixup_inside(self, wrap):
        for mixed in (Mixup(CrossEntropy(), K), BatchAugmentation(Mixup(CrossEntropy(), K), 2)):
            with pytest.raises(ValueError, match=f"put mixup around {wrap.__name__}, not inside it"):
                wrap(mixed)


class TestMixup:
    def mixed(self, batch, alpha=1.0, views=(), seed=0):
        spy, network = Spy(views), make_network()
        torch.manual_seed(seed)
        Mixup(spy, K, alpha).step(network, batch)
        return spy.batches[0]

    def weight_and_pairs(self, batch, mixed):
        """Solve for them: distinct classes make the weight an entry of the mixed label."""
        weight = mixed.targets[range(B), batch.targets].min()
        partners = torch.cdist((mixed.inputs - weight * batch.inputs) / (1 - weight), batch.inputs).argmin(1)
        return weight, partners

    def test_mixes_inputs_labels_and_views_alike(self, batch):
        mixed = self.mixed(batch, views={"partner", "source"})
        weight, partners = self.weight_and_pairs(batch, mixed)
        assert sorted(partners.tolist()) == list(range(B))
        for name in ("inputs", "partner", "source"):
            values = getattr(batch, name)
            expected = weight * values + (1 - weight) * values[partners]
            torch.testing.assert_close(getattr(mixed, name), expected)
        labels = one_hot(batch.targets, K).float()
        torch.testing.assert_close(mixed.targets, weight * labels + (1 - weight) * labels[partners])
        assert torch.equal(mixed.indices, batch.indices)
        assert self.mixed(batch).source is batch.source, "nobody reads it"

    def test_leaves_it_to_the_method_inside_to_miss_a_view(self, batch):
        missing = replace(batch, partner=None)
        with pytest.raises(ValueError, match="needs the view 'partner', and the batch has none"):
            Mixup(ClassWiseSelfDistillation(), K).step(make_network(), missing)

    def test_of_cross_entropy_is_the_mean_of_two_cross_entropies(self, batch):
        network = make_network()
        weight, partners = self.weight_and_pairs(batch, self.mixed(batch, seed=3))
        reference = copy.deepcopy(network)
        torch.manual_seed(3)
        step = Mixup(CrossEntropy(), K).step(network, batch)
        logits = reference(weight * batch.inputs + (1 - weight) * batch.inputs[partners])
        expected = weight * cross_entropy(logits, batch.targets)
        expected = expected + (1 - weight) * cross_entropy(logits, batch.targets[partners])
        torch.testing.assert_close(step.loss, expected)
        torch.testing.assert_close(step.logits, logits)

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
    def test_the_weight_is_a_folded_beta_variable(self, alpha):
        torch.manual_seed(0)
        method, inputs = Mixup(CrossEntropy(), K, alpha), torch.zeros(4, 3)
        weights = torch.stack([method._draw(inputs)[0] for _ in range(1000)]).double().numpy()
        folded = stats.beta(alpha, alpha)
        assert stats.kstest(weights, lambda x: folded.cdf(x) - folded.cdf(1 - x)).pvalue > 1e-3

    @pytest.mark.parametrize("alpha", [0.09, 0.01])
    def test_so_is_that_of_a_small_alpha(self, alpha):
        """Of which most are rounded to 1."""
        torch.manual_seed(0)
        method, inputs = Mixup(CrossEntropy(), K, alpha), torch.zeros(4, 3)
        weights = torch.stack([method._draw(inputs)[0] for _ in range(3000)]).double().numpy()
        edges, folded = np.array([0.5, 0.75, 0.99, 0.9999, 1.0]), stats.beta(alpha, alpha)
        expected = np.diff(folded.cdf(edges) - folded.cdf(1 - edges))
        assert stats.chisquare(np.histogram(weights, edges)[0], 3000 * expected).pvalue > 1e-3

    @pytest.mark.parametrize("alpha", [1e-6, 1e-40])
    def test_a_tiny_alpha_never_mixes(self, alpha):
        torch.manual_seed(0)
        method, inputs = Mixup(CrossEntropy(), K, alpha), torch.zeros(4, 3)
        assert {method._draw(inputs)[0].item() for _ in range(200)} == {1.0}

    def test_an_alpha_of_0_is_no_mixup(self, batch):
        mixed = self.mixed(batch, alpha=0)
        assert mixed is batch

    def test_pairs_are_drawn_uniformly(self):
        torch.manual_seed(0)
        method, inputs = Mixup(CrossEntropy(), K), torch.zeros(3, 3)
        draws = [tuple(method._draw(inputs)[1].tolist()) for _ in range(1200)]
        counts = [draws.count(order) for order in set(draws)]
        assert len(counts) == 6
        assert stats.chisquare(counts).pvalue > 1e-3

    def test_takes_labels_that_are_soft_already(self, batch):
        soft = replace(batch, targets=one_hot(batch.targets, K).float())
        assert torch.equal(self.mixed(soft).targets, self.mixed(batch).targets)


class TestAdversarialTraining:
    @pytest.mark.parametrize("inner", [CrossEntropy(), LabelSmoothing(0.3)])
    def test_of_a_linear_network_moves_along_the_signs_of_its_gradient(self, inner, batch):
        """The gradient with respect to an input is W^T (p - y) / B."""
        seen = []
        torch.manual_seed(0)
        network = nn.Linear(3, K)
        network.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0].detach()))
        std = torch.tensor([0.5, 1.0, 4.0])
        AdversarialTraining(inner, std, epsilon=0.2).step(network, batch)
        labels = one_hot(batch.targets, K).float()
        if isinstance(inner, LabelSmoothing):
            labels = 0.7 * labels + 0.3 / K
        error = (batch.inputs @ network.weight.T + network.bias).softmax(1) - labels
        moved = batch.inputs + 0.2 / std * (error @ network.weight).sign()
        torch.testing.assert_close(torch.stack(seen), torch.stack([batch.inputs, moved]))

    def test_is_the_mean_of_two_losses_and_leaves_the_parameters_alone_until_then(self, batch):
        network, spy = make_network(), Spy()
        step = AdversarialTraining(spy).step(network, batch)
        assert all(parameter.grad is None for parameter in network.parameters())
        clean, adversarial = spy.batches
        reference = make_network()
        losses = [cross_entropy(reference(each.inputs.detach()), batch.targets) for each in (clean, adversarial)]
        torch.testing.assert_close(step.loss, (losses[0] + losses[1]) / 2)
        torch.testing.assert_close(step.logits, make_network()(batch.inputs))
        step.loss.backward()
        sum(losses).div(2).backward()
        torch.testing.assert_close(*([each.grad for each in both.parameters()] for both in (network, reference)))
        # both enter the running statistics of batch normalisation
        torch.testing.assert_close(network.state_dict(), reference.state_dict())

    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
    def test_moves_every_pixel_by_epsilon_in_its_own_units(self, shape):
        torch.manual_seed(0)
        channels = shape[0]
        std = torch.tensor([0.25, 0.5, 0.2])[:channels]
        spy = Spy()
        inputs = torch.randn(4, *shape)
        network = networks.build("resnet8" if channels == 3 else "mlp", K, input_shape=shape)
        AdversarialTraining(spy, std).step(network, Batch(inputs, torch.arange(4), torch.arange(4)))
        moved = (spy.batches[1].inputs - inputs).abs() * std[:, None, None]
        torch.testing.assert_close(moved, torch.full_like(moved, 8 / 255), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_attacks_where_nothing_is_trained_and_in_half_precision(self, dtype, batch):
        network, spy = make_network().to(dtype), Spy()
        half = replace(batch, inputs=batch.inputs.to(dtype))
        with torch.no_grad():
            step = AdversarialTraining(spy).step(network, half)
        moved = spy.batches[1].inputs
        assert moved.dtype == dtype
        assert not torch.equal(moved, half.inputs)
        assert step.loss.isfinite()
        assert not step.loss.requires_grad

    def test_refuses_what_is_no_deviation_of_each_channel(self, batch):
        for std in (torch.tensor(1.0), torch.tensor([1.0, 0.0]), torch.ones(1, 3)):
            with pytest.raises(ValueError, match="pixel_std must be one positive number per channel"):
                AdversarialTraining(CrossEntropy(), std)
        with pytest.raises(ValueError, match="pixel_std has 2 channels, the inputs have 3"):
            AdversarialTraining(CrossEntropy(), torch.ones(2)).step(make_network(), batch)


@pytest.mark.parametrize("wrap", [lambda method: Mixup(method, 10), AdversarialTraining], ids=["mixup", "adversarial"])
def test_learns_the_digits(wrap):
    torch.manual_seed(1)
    trainer = train_on_digits(wrap(NetworkAsRegularization(networks.build("mlp", 10, hidden=(32,)))))
    assert trainer.history[-1]["train_accuracy"] > 0.8
