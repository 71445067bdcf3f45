"""Methods around methods: mixup and adversarial training, and what passes through them."""

import copy
from dataclasses import replace

import pytest
import torch
from methods.small import B, K, Spy, make_network, train_on_digits
from scipy import stats
from torch.nn.functional import cross_entropy, one_hot

from labelreg import networks
from labelreg.data import Batch
from labelreg.methods import AdversarialTraining, CrossEntropy, KnowledgeRefinery, Mixup, NetworkAsRegularization

WRAPPERS = [lambda method: Mixup(method, K), AdversarialTraining]
both = pytest.mark.parametrize("wrap", WRAPPERS, ids=["mixup", "adversarial"])


class TestWrapper:
    @both
    def test_leaves_the_rest_to_the_method_inside(self, wrap, batch):
        spy, network, history, shared = Spy({"partner"}), make_network(), [{"epoch": 1}], {}
        method = wrap(spy)
        method.start_epoch(3, history)
        method.prepare(print)
        method.share(shared)
        # an attack depends on the target network
        passed_on = [] if isinstance(method, AdversarialTraining) else [("share", shared)]
        assert spy.calls == [("start_epoch", 3, history), ("prepare", print), *passed_on]
        assert method.views == {"partner"}
        network.eval()
        torch.testing.assert_close(method.predict(network, batch.inputs), 2 * network(batch.inputs))

    @both
    def test_trains_what_the_method_inside_learns(self, wrap):
        inner = KnowledgeRefinery(K, lr_mult=3.0)
        assert wrap(inner).parameter_groups(0.1) == inner.parameter_groups(0.1)

    @both
    def test_refuses_inputs_that_cannot_be_changed_a_little(self, wrap, batch):
        tokens = Batch(torch.ones(B, 3, dtype=torch.int64), batch.targets, batch.indices)
        with pytest.raises(TypeError, match=r"must be floating-point, got torch\.int64"):
            wrap(CrossEntropy()).step(make_network(), tokens)

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
        assert self.mixed(batch).source is batch.source, "nobody reads it"

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

    def test_takes_labels_that_are_soft_already(self, batch):
        soft = replace(batch, targets=one_hot(batch.targets, K).float())
        assert torch.equal(self.mixed(soft).targets, self.mixed(batch).targets)


@pytest.mark.parametrize("wrap", [lambda method: Mixup(method, 10), AdversarialTraining], ids=["mixup", "adversarial"])
def test_learns_the_digits(wrap):
    torch.manual_seed(1)
    trainer = train_on_digits(wrap(NetworkAsRegularization(networks.build("mlp", 10, hidden=(32,)))))
    assert trainer.history[-1]["train_accuracy"] > 0.8
