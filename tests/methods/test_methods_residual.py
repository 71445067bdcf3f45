"""ALR and KR: their losses in closed form, who trains what, and how the weights move with the epochs."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg.experiments import Experiment, train
from labelreg.methods import AdaptiveLabelRegularization, KnowledgeRefinery

K, N = 5, 40
BOTH = pytest.mark.parametrize("method", [AdaptiveLabelRegularization, KnowledgeRefinery])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(N, K, generator=generator), torch.arange(N) % K


def make(method, **options):
    """A criterion whose residual labels are not uniform any more."""
    criterion = method(K, **options)
    with torch.no_grad():
        criterion.matrix.copy_(torch.randn(K, K, generator=torch.Generator().manual_seed(1)))
    return criterion


def divergences(logits, targets, matrix):
    """Cross-entropies and KLs of residual outputs p and residual labels q, sample by sample, with the class cut out."""
    losses = {"ce(q, p)": [], "ce(p, q)": [], "kl(q, p)": [], "kl(p, q)": []}
    for row, k in zip(logits.double().numpy(), targets.tolist(), strict=True):
        log_p = log_softmax(np.delete(row, k))
        log_q = log_softmax(np.delete(matrix.detach().double().numpy()[k], k))
        p, q = np.exp(log_p), np.exp(log_q)
        losses["ce(q, p)"].append(-(q @ log_p))
        losses["ce(p, q)"].append(-(p @ log_q))
        losses["kl(q, p)"].append(q @ (log_q - log_p))
        losses["kl(p, q)"].append(p @ (log_p - log_q))
    return {name: float(np.mean(values)) for name, values in losses.items()}


def values(terms):
    return {name: float(term.detach()) for name, term in terms.items()}


class TestLoss:
    def test_alr_as_printed(self, batch):
        criterion = make(AdaptiveLabelRegularization)
        criterion.accuracy.fill_(0.75)
        expected = divergences(*batch, criterion.matrix)
        assert values(criterion.terms(*batch)) == pytest.approx(
            {
                "hard": float(cross_entropy(*batch)),
                "residual": 0.25 * expected["ce(q, p)"],
                "update": expected["ce(p, q)"],
            }
        )

    def test_kr_as_printed_with_alpha_on_both_terms(self, batch):
        criterion = make(KnowledgeRefinery, gamma=0.9)
        criterion.start_epoch(3)
        expected = divergences(*batch, criterion.matrix)
        assert values(criterion.terms(*batch)) == pytest.approx(
            {
                "hard": float(cross_entropy(*batch)),
                "residual": 0.9**3 * expected["kl(q, p)"],
                "update": 0.9**3 * expected["kl(p, q)"],
            }
        )

    def test_literal_direction_turns_both_divergences_round(self, batch):
        criterion = make(KnowledgeRefinery, direction="literal")
        expected = divergences(*batch, criterion.matrix)
        terms = values(criterion.terms(*batch))
        assert (terms["residual"], terms["update"]) == pytest.approx((expected["kl(p, q)"], expected["kl(q, p)"]))

    @BOTH
    def test_kind_is_an_option(self, batch, method):
        expected = divergences(*batch, make(method).matrix)
        for name, key in (("kl", "kl(p, q)"), ("cross_entropy", "ce(p, q)")):
            assert values(make(method, kind=name).terms(*batch))["update"] == pytest.approx(expected[key])

    @BOTH
    def test_smoothing_is_of_the_hard_loss_and_over_the_wrong_classes(self, batch, method):
        terms, plain = make(method, smoothing=0.1).terms(*batch), make(method).terms(*batch)
        torch.testing.assert_close(terms["hard"], cross_entropy(*batch, label_smoothing=0.1 * K / (K - 1)))
        assert values(terms) | {"hard": 0} == values(plain) | {"hard": 0}

    @BOTH
    def test_starts_from_uniform_residual_labels(self, batch, method):
        expected = (1 - torch.eye(K)) / (K - 1)
        torch.testing.assert_close(method(K).residual_labels(), expected)

    @BOTH
    def test_residual_labels_are_distributions_over_the_wrong_classes(self, method):
        labels = make(method).residual_labels()
        assert not labels.requires_grad
        assert torch.equal(labels.diagonal(), torch.zeros(K))
        torch.testing.assert_close(labels.sum(1), torch.ones(K))

    @BOTH
    @pytest.mark.parametrize("options", [{"kind": "js"}, {"direction": "both"}, {"smoothing": 1.5}])
    def test_refuses_unknown_readings_on_the_first_loss(self, batch, method, options):
        with pytest.raises(ValueError, match="epsilon" if "smoothing" in options else next(iter(options))):
            method(K, **options)(*batch)

    @BOTH
    def test_warns_of_two_classes_where_nothing_is_left_to_learn(self, method):
        with pytest.warns(UserWarning, match="2 classes"):
            terms = method(2).terms(torch.randn(4, 2), torch.tensor([0, 1, 1, 0]))
        assert values(terms)["residual"] == values(terms)["update"] == 0


class TestGradients:
    @BOTH
    def test_the_network_learns_from_hard_and_residual_the_matrix_from_update(self, batch, method):
        logits, targets = batch[0].requires_grad_(), batch[1]
        criterion = make(method)
        sources = (logits, criterion.matrix)
        gradients = {
            name: torch.autograd.grad(term, sources, retain_graph=True, allow_unused=True)
            for name, term in criterion.terms(logits, targets).items()
        }
        for name, (of_network, of_matrix) in gradients.items():
            learns = {"hard": of_network, "residual": of_network, "update": of_matrix}[name]
            untouched = of_matrix if learns is of_network else of_network
            assert learns.abs().sum() > 0
            assert untouched is None or not untouched.any()

    @BOTH
    def test_the_residual_loss_leaves_the_true_class_alone(self, batch, method):
        logits, targets = batch[0].requires_grad_(), batch[1]
        make(method).terms(logits, targets)["residual"].backward()
        assert not logits.grad[range(N), targets].any()

    @BOTH
    @pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
    def test_the_diagonal_stays_exactly_zero(self, batch, method, optimizer):
        criterion = method(K)
        options = {"momentum": 0.9, "nesterov": True} if optimizer is torch.optim.SGD else {}
        optimizer = optimizer(criterion.parameter_groups(0.1), lr=0.1, weight_decay=5e-4, **options)
        for _ in range(50):
            optimizer.zero_grad()
            criterion(*batch).backward()
            optimizer.step()
        off_diagonal = criterion.matrix[~torch.eye(K, dtype=torch.bool)]
        assert torch.equal(criterion.matrix.diagonal(), torch.zeros(K))
        assert (off_diagonal != 0).all()

    @BOTH
    def test_a_residual_label_comes_to_rest_at_its_classs_mean_residual_output(self, batch, method):
        logits, targets = batch
        criterion = method(K)
        optimizer = torch.optim.SGD(criterion.parameter_groups(20.0), lr=20.0)
        for _ in range(500):
            optimizer.zero_grad()
            criterion(logits, targets).backward()
            optimizer.step()
        masked = logits.masked_fill(nn.functional.one_hot(targets, K).bool(), -1e4).softmax(1)
        means = torch.stack([masked[targets == k].mean(0) for k in range(K)])
        torch.testing.assert_close(criterion.residual_labels(), means, atol=1e-4, rtol=0)

    @BOTH
    def test_weight_decay_does_not_reach_the_matrix(self, method):
        criterion = make(method)
        before = criterion.matrix.clone()
        optimizer = torch.optim.SGD(criterion.parameter_groups(0.1), lr=0.1, weight_decay=0.5)
        criterion.matrix.grad = torch.zeros(K, K)
        optimizer.step()
        assert torch.equal(criterion.matrix, before)

    @BOTH
    def test_lr_mult_scales_the_step_of_the_matrix(self, batch, method):
        steps = []
        for lr_mult in (1.0, 3.0):
            criterion = method(K, lr_mult=lr_mult)
            optimizer = torch.optim.SGD(criterion.parameter_groups(0.1), lr=0.1)
            criterion(*batch).backward()
            optimizer.step()
            steps.append(criterion.matrix.detach())
        torch.testing.assert_close(steps[1], 3 * steps[0])


class TestKnowledgeRefinery:
    @pytest.mark.parametrize("gamma", [0.9, 0.99, 0.999, 1.0])
    def test_alpha_is_gamma_to_the_epoch_from_one_on(self, gamma):
        criterion = KnowledgeRefinery(K, gamma=gamma)
        assert criterion.weights() == (1.0, 1.0)
        for epoch in (0, 1, 7, 199):
            criterion.start_epoch(epoch)
            assert criterion.weights() == pytest.approx((gamma**epoch, gamma**epoch), rel=1e-12)

    def test_gamma_0_is_off_from_the_first_epoch_on(self):
        criterion = KnowledgeRefinery(K, gamma=0.0)
        for epoch in (0, 1, 50):
            criterion.start_epoch(epoch)
            assert criterion.weights() == (0.0, 0.0)

    def test_truncation_switches_off_at_its_epoch(self):
        criterion = KnowledgeRefinery(K, gamma=1.0, truncate=20)
        alphas = []
        for epoch in range(30):
            criterion.start_epoch(epoch)
            alphas.append(criterion.alpha)
        assert alphas == [1.0] * 20 + [0.0] * 10

    @pytest.mark.parametrize("options", [{"gamma": 1.01}, {"gamma": -0.1}, {"truncate": -1}])
    def test_refuses_what_is_no_decay(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            KnowledgeRefinery(K, **options)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_gamma_0_trains_the_baseline_bit_by_bit(self, smoothing):
        short = {"subset": 200, "epochs": 3, "schedule": "one_cycle"}
        options = {"epsilon": smoothing, "convention": "others"}
        baseline = train(Experiment(method="label_smoothing", options=options, **short))
        refined = train(Experiment(method="knowledge_refinery", options={"gamma": 0, "smoothing": smoothing}, **short))
        assert states_equal(baseline.network, refined.network)
        if not smoothing:
            assert states_equal(train(Experiment(**short)).network, refined.network)
        # nothing but weight decay could have moved it
        assert not refined.method.matrix.any()

    def test_the_default_does_not_train_the_baseline(self):
        short = {"subset": 200, "epochs": 2, "schedule": "one_cycle"}
        refined = train(Experiment(method="knowledge_refinery", **short))
        assert not states_equal(train(Experiment(**short)).network, refined.network)
        assert refined.method.matrix.any()


class TestAdaptiveLabelRegularization:
    """The training accuracies are 5/8 and 8/8 in two epochs of batches of 5 and 3."""

    TARGETS = (torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 0, 1]))
    EPOCHS = (
        (torch.tensor([0, 1, 2, 0, 0]), torch.tensor([0, 1, 1])),
        (torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 0, 1])),
    )

    def run_epoch(self, criterion, predictions):
        return [
            criterion.terms(nn.functional.one_hot(predicted, K).float(), targets)
            for predicted, targets in zip(predictions, self.TARGETS, strict=True)
        ]

    def weight(self, criterion):
        return float(criterion.weights()[0])

    def test_weighs_with_one_minus_the_previous_epochs_training_accuracy(self):
        criterion = AdaptiveLabelRegularization(K)
        weights = []
        for epoch, predictions in enumerate((*self.EPOCHS, self.EPOCHS[0])):
            criterion.start_epoch(epoch)
            self.run_epoch(criterion, predictions)
            weights.append(self.weight(criterion))
            assert criterion.weights()[1] == 1.0
        assert weights == [1.0, 1 - 5 / 8, 0.0]

    def test_the_weight_is_that_of_the_residual_term(self):
        criterion = AdaptiveLabelRegularization(K)
        terms = []
        for epoch in range(2):
            criterion.start_epoch(epoch)
            terms.append(values(self.run_epoch(criterion, self.EPOCHS[0])[0]))
        assert terms[1]["residual"] == pytest.approx((1 - 5 / 8) * terms[0]["residual"])
        assert terms[1] | {"residual": 0} == terms[0] | {"residual": 0}

    def test_does_not_track_in_evaluation_mode(self):
        criterion = AdaptiveLabelRegularization(K)
        self.run_epoch(criterion, self.EPOCHS[0])
        criterion.eval()
        self.run_epoch(criterion, self.EPOCHS[1])
        criterion.train()
        criterion.start_epoch(1)
        assert self.weight(criterion) == 1 - 5 / 8

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_counts_exactly_when_cast_to_half_precision(self, dtype):
        criterion = AdaptiveLabelRegularization(K).to(dtype)
        logits = torch.eye(K).repeat(800, 1)
        for _ in range(20):
            criterion(logits.to(dtype), torch.arange(K).repeat(800))
        criterion.start_epoch(1)
        assert self.weight(criterion) == 0

    def test_smoothing_does_not_change_what_is_tracked(self):
        weights = []
        for smoothing in (0.0, 0.1):
            criterion = AdaptiveLabelRegularization(K, smoothing=smoothing)
            self.run_epoch(criterion, self.EPOCHS[0])
            criterion.start_epoch(1)
            weights.append(self.weight(criterion))
        assert weights[0] == weights[1] < 1

    def test_can_follow_a_moving_average_over_batches(self):
        criterion = AdaptiveLabelRegularization(K, tracking="ema")
        logits, targets = torch.eye(K)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 3])
        residuals = []
        for step in range(12):
            if step % 4 == 0:
                criterion.start_epoch(step // 4)
            weight = 1 - 0.75 * (1 - 0.99**step)
            assert self.weight(criterion) == pytest.approx(weight)
            residuals.append(values(criterion.terms(logits, targets))["residual"] / weight)
        assert residuals == pytest.approx(residuals[:1] * 12)
        criterion.eval()(logits, targets)
        assert self.weight(criterion) == pytest.approx(1 - 0.75 * (1 - 0.99**12))

    def test_refuses_another_tracking(self):
        with pytest.raises(ValueError, match="tracking must be 'epoch' or 'ema', not 'batch'"):
            AdaptiveLabelRegularization(K, tracking="batch")

    def test_uses_the_accuracy_that_training_records(self):
        trained = train(
            Experiment(
                method="adaptive_label_regularization", subset=100, epochs=3, schedule="one_cycle", batch_size=30
            )
        )
        accuracies = trained.result.history["train_accuracy"]
        assert float(trained.method.accuracy) == pytest.approx(accuracies[1])  # the third epoch used the second's
        assert 0 < accuracies[1] < 1


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )
