"""Class-wise self-knowledge distillation: its terms by hand, what it pairs, costs and can be combined with."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.small import K, divergence, gradients, make_network, train_on_digits
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from labelreg import networks
from labelreg.data import Batch
from labelreg.methods import AdaCos, BatchAugmentation, CrossEntropy, KnowledgeDistillation, Mixup, VirtualSoftmax
from labelreg.methods import ClassWiseSelfDistillation as Distillation
from labelreg.methods.cskd import _others_of_the_class


class TestTerms:
    @pytest.mark.parametrize(("temperature", "t_squared"), [(4.0, True), (1.0, True), (3.0, False)])
    def test_are_divergences_from_fixed_predictions(self, batch, temperature, t_squared):
        method = Distillation(None, temperature, 0.7, 0.3, t_squared)
        network, reference, recorded = make_network(), make_network(), []
        network.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
        step = method.step(network, batch)
        assert recorded == [True, False, False], "nothing of the views is kept for a gradient"
        logits = reference(batch.inputs)
        partner_logits, source_logits = reference(batch.partner).detach(), reference(batch.source).detach()
        factor = 1 if t_squared else temperature**-2
        expected = {
            "hard": cross_entropy(logits, batch.targets),
            "class_wise": 0.7 * factor * divergence(logits, partner_logits, temperature),
            "sample_wise": 0.3 * factor * divergence(logits, source_logits, temperature),
        }
        torch.testing.assert_close(step.terms, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(step.loss, sum(expected.values()), rtol=0, atol=1e-6)
        torch.testing.assert_close(step.logits, logits)
        torch.testing.assert_close(gradients(step.loss, network), gradients(sum(expected.values()), reference))


@pytest.mark.parametrize(
    ("options", "views"),
    [
        ({}, {"partner"}),
        ({"sample_weight": 1.0}, {"partner", "source"}),
        ({"class_weight": 0.0, "sample_weight": 1.0}, {"source"}),
        ({"class_weight": 0.0}, set()),
        ({"partners": "batch"}, set()),
        ({"partners": "batch", "sample_weight": 1.0}, {"source"}),
        ({"method": Distillation(sample_weight=1.0), "partners": "batch"}, {"partner", "source"}),
    ],
)
def test_asks_for_the_views_that_it_reads(options, views):
    method = Distillation(**options)
    assert method.views == views
    assert BatchAugmentation(method).views == views


@pytest.mark.parametrize(
    "inner",
    [CrossEntropy, lambda: AdaCos(K), lambda: AdaCos(K, scaled_evaluation=False), VirtualSoftmax],
    ids=["plain", "ada", "bare", "virtual"],
)
def test_a_partner_like_the_sample_agrees_with_it(inner, batch):
    """Partners are predicted as samples are, whatever the method inside makes of the network."""
    method, network = Distillation(inner(), sample_weight=1.0), make_network()
    nn.init.constant_(network[-1].bias, 3.0)
    nn.init.constant_(network[-1].bias[:2], -3.0)
    like = replace(batch, partner=batch.inputs, source=batch.inputs)
    terms = method.step(network, like).terms
    assert terms["class_wise"].abs() < 1e-6
    assert terms["sample_wise"].abs() < 1e-6
    assert method.step(network, batch).terms["class_wise"] > 1e-3


class TestRunningStatistics:
    @pytest.mark.parametrize(
        ("options", "seen"),
        [
            ({}, ["inputs", "partner"]),
            ({"sample_weight": 1.0}, ["inputs", "partner", "source"]),
            ({"bn": "anchor_only", "sample_weight": 1.0}, ["inputs"]),
            ({"partners": "batch"}, ["inputs"]),
        ],
    )
    def test_follow_each_pass_or_the_inputs_alone(self, batch, options, seen):
        network, reference = make_network(), make_network()
        Distillation(**options).step(network, batch)
        for view in seen:
            reference(getattr(batch, view))
        assert network[1].num_batches_tracked == len(seen)
        torch.testing.assert_close(network.state_dict(), reference.state_dict())

    @pytest.mark.parametrize("training", [True, False])
    def test_decide_nothing_else(self, batch, training):
        losses = [
            Distillation(sample_weight=1.0, bn=bn).step(make_network().train(training), batch).loss
            for bn in ("both", "anchor_only")
        ]
        assert losses[0] == losses[1]

    def test_are_followed_again_afterwards(self, batch):
        network = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), make_network())
        method = Distillation(bn="anchor_only")
        method.step(network, batch)
        broken = Batch(batch.inputs, batch.targets, batch.indices, batch.partner[:, :2])
        with pytest.raises(RuntimeError):
            method.step(network, broken)
        assert [network[0].track_running_stats, network[1][1].track_running_stats] == [False, True]


class TestPartnersInTheBatch:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 2**31))
    def test_are_others_of_the_class_each_once(self, classes, seed):
        torch.manual_seed(seed)
        partners = _others_of_the_class(torch.tensor(classes)).tolist()
        assert sorted(partners) == list(range(len(classes)))
        for sample, partner in enumerate(partners):
            assert classes[partner] == classes[sample]
            assert (partner == sample) == (classes.count(classes[sample]) == 1)

    def test_are_drawn_uniformly(self):
        torch.manual_seed(0)
        targets = torch.tensor([1, 0, 1, 1, 0, 1])
        draws = torch.stack([_others_of_the_class(targets) for _ in range(900)])
        counts = draws[:, 2].bincount(minlength=6).tolist()
        assert [counts[k] for k in (1, 2, 4)] == [0, 0, 0]
        assert stats.chisquare([counts[k] for k in (0, 3, 5)]).pvalue > 1e-3

    def test_each_of_a_pair_is_held_to_the_other(self, batch):
        """Stop-gradient both ways: the gradient of a logit is T (p - q) / B, of a sample alone it is 0."""
        targets = torch.tensor([0, 1, 0, 2, 3, 1])
        partners, alone = torch.tensor([2, 5, 0, 3, 4, 1]), torch.tensor([3, 4])
        logits = torch.randn(6, K, dtype=torch.float64, requires_grad=True)
        passes = []

        def network(inputs):
            passes.append(inputs)
            return logits

        step = Distillation(partners="batch").step(network, Batch(batch.inputs[:6], targets, targets))
        assert len(passes) == 1
        p = (logits / 4).softmax(1).detach()
        torch.testing.assert_close(step.terms["class_wise"], divergence(logits, logits[partners].detach(), 4))
        (gradient,) = torch.autograd.grad(step.terms["class_wise"], logits)
        torch.testing.assert_close(gradient, 4 * (p - p[partners]) / 6)
        assert gradient[alone].abs().max() < 1e-12


class TestCombinations:
    def test_mixup_leaves_no_classes_to_pair_by(self, batch):
        with pytest.raises(ValueError, match="ClassWiseSelfDistillation with its options needs class indices"):
            Mixup(Distillation(partners="batch"), K)
        mixed = replace(batch, targets=one_hot(batch.targets, K).float())
        with pytest.raises(TypeError, match=r"shape \(12, 5\); with mixup, take partners='loader'"):
            Distillation(partners="batch").step(make_network(), mixed)

    def test_with_a_teacher(self, batch):
        """Knowledge distillation with CS-KD: both divergences, and one cross-entropy."""
        teacher = make_network(1).eval()
        step = Distillation(KnowledgeDistillation(teacher, alpha=0.3)).step(make_network(), batch)
        reference = make_network()
        logits = reference(batch.inputs)
        expected = {
            "hard": 0.7 * cross_entropy(logits, batch.targets),
            "soft": 0.3 * divergence(logits, teacher(batch.inputs), 4),
            "class_wise": divergence(logits, reference(batch.partner), 4),
        }
        torch.testing.assert_close(step.terms, expected, rtol=1e-5, atol=1e-6)


class TestErrors:
    def test_a_missing_view_is_named(self, batch):
        bare = replace(batch, partner=None, source=None)
        for options, view in (({}, "partner"), ({"class_weight": 0.0, "sample_weight": 1.0}, "source")):
            with pytest.raises(ValueError, match=f"needs the view '{view}', and the batch has none"):
                Distillation(**options).step(make_network(), bare)

    @pytest.mark.parametrize("partners", ["loader", "batch"])
    def test_a_text_has_no_class_a_sample(self, partners):
        words, following = torch.zeros(3, 4, dtype=torch.int64), torch.zeros(12, dtype=torch.int64)
        network = networks.build("lstm", K, hidden=4)
        with pytest.raises(ValueError, match=r"one class per sample, not one per word: got inputs \(3, 4\)"):
            Distillation(partners=partners).step(network, Batch(words, following, following))


@pytest.mark.parametrize("options", [{"sample_weight": 1.0, "bn": "anchor_only"}, {"partners": "batch"}], ids=str)
def test_an_interrupted_run_goes_on_bit_by_bit(options, assert_resumes):
    assert_resumes(lambda: Distillation(**options))


@pytest.mark.parametrize("partners", ["loader", "batch"])
def test_brings_predictions_of_a_class_together(partners):
    """It learns the digits, and predictions differ less within a class than without it."""

    def within_a_class(method):
        trainer = train_on_digits(method)
        logits, targets = trainer.predict(trainer.dataset.test)
        predictions = (logits / 4).softmax(1)
        return sum(predictions[targets == k].var(0).sum() for k in range(10))

    assert within_a_class(Distillation(partners=partners)) < 0.8 * within_a_class(CrossEntropy())
