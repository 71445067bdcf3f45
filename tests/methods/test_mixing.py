"""Methods around methods: mixup and adversarial training, and what passes through them."""

import copy

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.flop_counter import FlopCounterMode

from labelreg import networks
from labelreg.data import Batch, load
from labelreg.methods import (
    AdaptiveLabelRegularization,
    AdversarialTraining,
    CrossEntropy,
    KnowledgeRefinery,
    LabelSmoothing,
    Method,
    Mixup,
    NetworkAsRegularization,
    Step,
)
from labelreg.training import Recipe, Trainer

K, B = 5, 12
WRAPPERS = [lambda method: Mixup(method, K), AdversarialTraining]
both = pytest.mark.parametrize("wrap", WRAPPERS, ids=["mixup", "adversarial"])


def make_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, K))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    inputs, partner, source = torch.randn(3, B, 3, generator=generator)
    return Batch(inputs, torch.arange(B) % K, torch.arange(B), partner, source)


class Spy(Method):
    """Keeps what it is given."""

    def __init__(self, views=()):
        super().__init__()
        self.views = frozenset(views)
        self.batches, self.calls = [], []

    def step(self, network, batch):
        self.batches.append(batch)
        logits = network(batch.inputs)
        loss = cross_entropy(logits, batch.targets)
        return Step(loss, logits, {"spied": loss})

    def start_epoch(self, epoch, history=()):
        self.calls.append(("start_epoch", epoch, history))

    def share(self, shared):
        self.calls.append(("share", shared))

    def prepare(self, train):
        self.calls.append(("prepare", train))

    def predict(self, network, inputs):
        return 2 * network(inputs)


class TestWrapper:
    @both
    def test_leaves_the_rest_to_the_method_inside(self, wrap, batch):
        spy, network, history = Spy({"partner"}), make_network(), [{"epoch": 1}]
        method = wrap(spy)
        method.start_epoch(3, history)
        method.prepare(print)
        assert spy.calls == [("start_epoch", 3, history), ("prepare", print)]
        assert method.views == {"partner"}
        network.eval()
        torch.testing.assert_close(method.predict(network, batch.inputs), 2 * network(batch.inputs))

    @both
    def test_trains_what_the_method_inside_learns(self, wrap):
        inner = KnowledgeRefinery(K, lr_mult=3.0)
        assert wrap(inner).parameter_groups(0.1) == inner.parameter_groups(0.1)

    @both
    def test_follows_the_mode(self, wrap):
        method = wrap(NetworkAsRegularization(make_network(1)))
        assert not method.eval().method.auxiliary.training
        assert method.train().method.auxiliary.training

    @both
    def test_refuses_inputs_that_cannot_be_changed_a_little(self, wrap, batch):
        tokens = Batch(torch.ones(B, 3, dtype=torch.int64), batch.targets, batch.indices)
        with pytest.raises(TypeError, match=r"must be floating-point, not torch\.int64"):
            wrap(CrossEntropy()).step(make_network(), tokens)

    @both
    def test_stays_finite_in_half_precision(self, wrap, batch):
        network = make_network()
        method = wrap(NetworkAsRegularization(make_network(1)))
        with torch.autocast("cpu", torch.bfloat16):
            step = method.step(network, batch)
        step.loss.backward()
        assert step.logits.dtype == torch.bfloat16
        assert step.loss.isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())

    @both
    def test_can_be_wrapped_again(self, wrap, batch):
        method = AdversarialTraining(wrap(NetworkAsRegularization(make_network(1))))
        step = method.step(make_network(), batch)
        step.loss.backward()
        torch.testing.assert_close(step.loss, sum(step.terms.values()))
        assert method.method.method.auxiliary[0].weight.grad.any()


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

    def test_leaves_views_that_nobody_reads(self, batch):
        mixed = self.mixed(batch)
        assert mixed.partner is batch.partner
        assert mixed.source is batch.source

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

    def test_pairs_are_drawn_uniformly(self):
        torch.manual_seed(0)
        method, inputs = Mixup(CrossEntropy(), K), torch.zeros(3, 3)
        draws = [tuple(method._draw(inputs)[1].tolist()) for _ in range(1200)]
        counts = [draws.count(order) for order in set(draws)]
        assert len(counts) == 6
        assert stats.chisquare(counts).pvalue > 1e-3

    def test_of_two_samples_that_agree_changes_nothing(self, batch):
        same = Batch(batch.inputs[:1].expand(B, 3), torch.full((B,), 2), batch.indices)
        mixed = self.mixed(same)
        torch.testing.assert_close(mixed.inputs, same.inputs)
        torch.testing.assert_close(mixed.targets, one_hot(same.targets, K).float())

    def test_takes_labels_that_are_soft_already(self, batch):
        soft = Batch(batch.inputs, torch.rand(B, K).softmax(1), batch.indices)
        torch.testing.assert_close(self.mixed(soft).targets.sum(1), torch.ones(B))

    def test_disturbs_mixed_labels_by_predictions_for_mixed_inputs(self, batch):
        network, auxiliary = make_network(), make_network(1)
        references = copy.deepcopy((network, auxiliary))
        mixed = self.mixed(batch, seed=4)
        torch.manual_seed(4)
        step = Mixup(NetworkAsRegularization(auxiliary, 0.6, 0.2), K).step(network, batch)
        logits, other = (reference(mixed.inputs) for reference in references)
        xi = (0.2 * logits.softmax(1) + 0.8 * other.softmax(1)).detach()
        expected = 0.4 * cross_entropy(logits, mixed.targets) + 0.6 * cross_entropy(logits, xi)
        torch.testing.assert_close(step.terms["disturbed"], expected)
        torch.testing.assert_close(step.terms["auxiliary"], cross_entropy(other, mixed.targets))

    def test_passes_sharing_on(self):
        spy, shared = Spy(), {}
        Mixup(spy, K).share(shared)
        assert spy.calls == [("share", shared)]

    @pytest.mark.parametrize("inner", [KnowledgeRefinery, AdaptiveLabelRegularization])
    def test_of_methods_that_need_a_class_says_so(self, inner, batch):
        with pytest.raises(TypeError, match="targets must be class indices"):
            Mixup(inner(K), K).step(make_network(), batch)

    @pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
    def test_refuses_what_shapes_no_beta_distribution(self, alpha):
        with pytest.raises(ValueError, match="alpha shapes a Beta distribution and must be positive"):
            Mixup(CrossEntropy(), K, alpha)


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

    def test_raises_the_loss_more_than_a_random_step_does(self, batch):
        network = make_network().eval()
        step = AdversarialTraining(CrossEntropy(), epsilon=0.05).step(network, batch)
        clean = cross_entropy(network(batch.inputs), batch.targets)
        torch.testing.assert_close(2 * step.terms["clean"], clean)
        for _ in range(20):
            aside = batch.inputs + 0.05 * torch.randn(B, 3).sign()
            assert cross_entropy(network(aside), batch.targets) < 2 * step.terms["adversarial"]

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
        for one, other in zip(network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)

    def test_batch_normalisation_counts_batch_and_copy(self, batch):
        network, reference, spy = make_network(), make_network(), Spy()
        AdversarialTraining(spy).step(network, batch)
        for each in spy.batches:
            reference(each.inputs.detach())
        assert network[1].num_batches_tracked == 2
        torch.testing.assert_close(network[1].running_mean, reference[1].running_mean)

    def test_labels_of_the_copy_are_disturbed_by_predictions_for_the_copy(self, batch):
        network, auxiliary, seen = make_network(), make_network(1), []
        inner = NetworkAsRegularization(auxiliary, 0.6, 0.2)
        network.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0].detach()))
        step = AdversarialTraining(inner).step(network, batch)
        for name, inputs in zip(("clean", "adversarial"), seen, strict=True):
            logits, other = make_network()(inputs), make_network(1)(inputs)
            xi = (0.2 * logits.softmax(1) + 0.8 * other.softmax(1)).detach()
            disturbed = 0.4 * cross_entropy(logits, batch.targets) + 0.6 * cross_entropy(logits, xi)
            torch.testing.assert_close(2 * step.terms[name], disturbed + cross_entropy(other, batch.targets))

    def test_without_a_step_is_the_method_inside(self, batch):
        network = make_network()
        step = AdversarialTraining(CrossEntropy(), epsilon=0.0).step(network, batch)
        torch.testing.assert_close(step.loss, cross_entropy(make_network()(batch.inputs), batch.targets))

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

    def test_shares_nothing_since_the_attack_depends_on_the_target(self):
        spy = Spy()
        AdversarialTraining(spy).share({})
        assert spy.calls == []

    @pytest.mark.parametrize("epsilon", [-0.1, float("nan")])
    def test_refuses_what_is_no_step(self, epsilon):
        with pytest.raises(ValueError, match="epsilon is the size of a step"):
            AdversarialTraining(CrossEntropy(), epsilon=epsilon)

    @pytest.mark.parametrize("std", [torch.tensor(1.0), torch.tensor([1.0, 0.0]), torch.ones(1, 3)])
    def test_refuses_what_is_no_deviation(self, std):
        with pytest.raises(ValueError, match="pixel_std must be one positive number a channel"):
            AdversarialTraining(CrossEntropy(), std)

    def test_refuses_deviations_of_other_channels(self, batch):
        with pytest.raises(ValueError, match="pixel_std has 2 channels, the inputs have 3"):
            AdversarialTraining(CrossEntropy(), torch.ones(2)).step(make_network(), batch)


def test_cost():
    """Mixing is free. The attack adds a backward pass to the inputs and the copy a whole step: 1 + 1/3 + 1."""

    def count(method):
        batch = Batch(torch.randn(8, 3, 32, 32), torch.arange(8) % K, torch.arange(8))
        with FlopCounterMode(display=False) as counter:
            method.step(networks.build("resnet8", K), batch).loss.backward()
        return counter.get_total_flops()

    plain = count(CrossEntropy())
    assert count(Mixup(CrossEntropy(), K)) == plain
    assert count(AdversarialTraining(CrossEntropy())) / plain == pytest.approx(7 / 3, rel=0.02)


@pytest.mark.parametrize("wrap", [lambda method: Mixup(method, 10), AdversarialTraining], ids=["mixup", "adversarial"])
def test_learns_the_digits(wrap):
    digits = load("digits", subset=200)
    torch.manual_seed(0)
    network = networks.build("mlp", 10, hidden=(32,))
    method = wrap(NetworkAsRegularization(networks.build("mlp", 10, hidden=(32,))))
    recipe = Recipe(epochs=15, batch_size=64, schedule="one_cycle")
    trainer = Trainer(network, method, digits, recipe)
    trainer.fit()
    assert trainer.history[-1]["test_error"] < 0.15
    assert trainer.history[-1]["train_accuracy"] > 0.9
