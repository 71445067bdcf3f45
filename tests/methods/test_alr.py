"""Decoupled labels: the residual losses against scipy and in closed form, who learns what; ALR's and KR's weights."""

import numpy as np
import pytest
import torch
from methods.small import values
from scipy.special import rel_entr, softmax, xlogy
from torch.nn.functional import cross_entropy, one_hot

from labelreg.experiment import Experiment
from labelreg.losses import class_means
from labelreg.methods import AdaptiveLabelRegularization, KnowledgeRefinery
from labelreg.methods.alr import residual_labels, residual_logits, residual_losses, residual_probabilities
from labelreg.methods.kr import decayed_weight
from labelreg.running import train

B, K = 6, 5
SHORT = {"subset": 200, "epochs": 3, "schedule": "one_cycle"}
DIVERGENCES = [("kl", "target_first"), ("kl", "literal"), ("cross_entropy", "target_first")]
DIRECTIONS = ("target_first", "literal")
each_divergence = pytest.mark.parametrize(("kind", "direction"), DIVERGENCES)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)
BOTH = pytest.mark.parametrize("method", [AdaptiveLabelRegularization, KnowledgeRefinery])


@pytest.fixture
def batch():
    """Logits, targets and a residual correlation matrix, in float64."""
    generator = torch.Generator().manual_seed(0)
    logits, matrix = (2 * torch.randn(n, K, dtype=torch.float64, generator=generator) for n in (B, K))
    return logits, torch.tensor([0, 4, 2, 2, 1, 3]), matrix


def without(rows, targets):
    return np.stack([np.delete(row, int(k)) for row, k in zip(rows.numpy(), targets, strict=True)])


def with_zero(rows, targets):
    return np.stack([np.insert(row, int(k), 0) for row, k in zip(rows, targets, strict=True)])


def assert_equals(values, expected):
    np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-12)


class TestResiduals:
    @each_divergence
    def test_losses_are_divergences_without_the_true_class(self, batch, kind, direction):
        logits, targets, matrix = batch
        p, q = (softmax(without(rows, targets), 1) for rows in (logits, matrix[targets]))
        q_first, p_first = (rel_entr(*pq) if kind == "kl" else -xlogy(*pq) for pq in ((q, p), (p, q)))
        expected = (q_first, p_first) if direction == "target_first" else (p_first, q_first)
        for loss, per_class in zip(residual_losses(*batch, kind, direction, "none"), expected, strict=True):
            assert_equals(loss, per_class.sum(1))

    def test_outputs_and_labels_have_a_zero_in_its_place(self, batch):
        logits, targets, matrix = batch
        assert_equals(residual_logits(logits, targets), without(logits, targets))
        assert_equals(residual_probabilities(logits, targets), with_zero(softmax(without(logits, targets), 1), targets))
        assert_equals(residual_labels(matrix), with_zero(softmax(without(matrix, range(K)), 1), range(K)))

    def test_gradients_in_closed_form(self, batch):
        """p - q for the logits (ALR, equation 8), and its negative, summed per class, for the matrix."""
        logits, targets, matrix = batch
        logits.requires_grad_(), matrix.requires_grad_()
        for kind in ("kl", "cross_entropy"):
            residual, update = residual_losses(*batch, kind)
            p, q = residual_probabilities(logits, targets), residual_labels(matrix)[targets]
            torch.testing.assert_close(torch.autograd.grad(residual, logits)[0], (p - q) / B)
            per_class = torch.zeros(K, K, dtype=torch.float64).index_add(0, targets, (q - p).detach() / B)
            torch.testing.assert_close(torch.autograd.grad(update, matrix)[0], per_class)

    @each_divergence
    def test_each_loss_reaches_one_side_only_and_no_true_class(self, batch, kind, direction):
        logits, targets, matrix = batch
        logits.requires_grad_(), matrix.requires_grad_()
        residual, update = residual_losses(*batch, kind, direction)
        to_logits, none = torch.autograd.grad(residual, (logits, matrix), allow_unused=True)
        nothing, to_matrix = torch.autograd.grad(update, (logits, matrix), allow_unused=True)
        assert none is None
        assert nothing is None
        assert to_logits.gather(1, targets[:, None]).tolist() == [[0.0]] * B
        assert to_matrix.diagonal().tolist() == [0.0] * K
        assert min(to_logits.abs().sum(1).min(), to_matrix.abs().sum(1).min()) > 1e-3

    @each_direction
    def test_a_residual_label_converges_to_a_mean_of_its_class(self, direction):
        """The arithmetic mean of residual outputs, or in the literal direction the normalised geometric mean."""
        logits, targets = torch.randn(40, 4, generator=torch.Generator().manual_seed(2)).double(), torch.arange(40) % 4
        matrix = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
        for _ in range(300):
            _, update = residual_losses(logits, targets, matrix, direction=direction)
            (gradient,) = torch.autograd.grad(update, matrix)
            matrix = (matrix - 8 * gradient).detach().requires_grad_()
        outputs = residual_probabilities(logits, targets)
        if direction == "target_first":
            expected = class_means(outputs, targets, 4)
        else:
            log_outputs = torch.where(outputs > 0, outputs, 1.0).log()
            expected = class_means(log_outputs, targets, 4).exp() * (1 - torch.eye(4))
            expected = expected / expected.sum(1, keepdim=True)
        torch.testing.assert_close(residual_labels(matrix), expected, rtol=0, atol=1e-6)

    def test_stay_exact_when_the_true_class_takes_all(self, batch):
        # log p - log(1 - p_k) would be lost in float32 here
        logits, targets, matrix = (x.float() if x.is_floating_point() else x for x in batch)
        confident = logits + 500 * one_hot(targets, K)
        assert confident.softmax(1).max(1).values.tolist() == [1.0] * B
        expected = torch.stack(residual_losses(logits, targets, matrix))
        torch.testing.assert_close(torch.stack(residual_losses(confident, targets, matrix)), expected)

    def test_two_classes_leave_nothing_to_learn(self):
        logits, matrix = torch.randn(3, 2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
        with pytest.warns(UserWarning, match="2 classes") as caught:
            residual, update = residual_losses(logits, torch.tensor([0, 1, 1]), matrix)
        assert caught[0].filename == __file__
        (residual + update).backward()
        assert [residual.item(), update.item()] == [0, 0]
        assert logits.grad.abs().max() == matrix.grad.abs().max() == 0
        assert residual_labels(matrix).tolist() == [[0, 1], [1, 0]]


def make(method, matrix, **options):
    criterion = method(K, **options).double()
    with torch.no_grad():
        criterion.matrix.copy_(matrix)
    return criterion


@BOTH
class TestCriterion:
    def test_weights_the_two_losses_and_smooths_the_hard_one(self, batch, method):
        logits, targets, matrix = batch
        for options in ({}, {"smoothing": 0.1}, {"kind": "kl"}, {"kind": "kl", "direction": "literal"}):
            criterion = make(method, matrix, **options)
            kind, direction, smoothing = criterion.kind, criterion.direction, criterion.smoothing
            residual, update = residual_losses(*batch, kind, direction)
            hard = cross_entropy(logits, targets, label_smoothing=smoothing * K / (K - 1))
            expected = {"hard": hard, "residual": residual, "update": update}
            assert values(criterion.terms(logits, targets)) == pytest.approx(values(expected))

    def test_starts_from_uniform_residual_labels(self, batch, method):
        labels = method(K).residual_labels()
        torch.testing.assert_close(labels, (1 - torch.eye(K)) / (K - 1))
        assert not labels.requires_grad

    @pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
    def test_the_diagonal_stays_exactly_zero(self, batch, method, optimizer):
        criterion = method(K)
        options = {"momentum": 0.9, "nesterov": True} if optimizer is torch.optim.SGD else {}
        optimizer = optimizer(criterion.parameter_groups(0.1), lr=0.1, weight_decay=5e-4, **options)
        for _ in range(50):
            optimizer.zero_grad()
            criterion(*batch[:2]).backward()
            optimizer.step()
        assert torch.equal(criterion.matrix.diagonal(), torch.zeros(K))
        assert (criterion.matrix[~torch.eye(K, dtype=torch.bool)] != 0).all()


class TestTracking:
    TARGETS = torch.tensor([0, 1, 2, 3, 4, 0, 0, 1])
    PREDICTIONS = torch.tensor([0, 1, 2, 0, 0, 0, 1, 1])  # of which 5/8 are right

    def run_epoch(self, criterion, predicted):
        """In batches of 5 and 3."""
        batches = zip(one_hot(predicted, K).float().split(5), self.TARGETS.split(5), strict=True)
        return [values(criterion.terms(*batch)) for batch in batches]

    def test_the_residual_weight_is_one_minus_the_accuracy_of_the_epoch_before(self):
        criterion, accuracies, terms = AdaptiveLabelRegularization(K, smoothing=0.1), [], []
        for epoch, predictions in enumerate((self.PREDICTIONS, self.PREDICTIONS, self.TARGETS, self.TARGETS)):
            criterion.start_epoch(epoch)
            accuracies.append(float(criterion.accuracy))
            terms.append(self.run_epoch(criterion, predictions)[0])
            self.run_epoch(criterion.eval(), self.TARGETS)  # which is not tracked
            criterion.train()
        assert accuracies == [0.0, 5 / 8, 5 / 8, 1.0]
        assert terms[1]["residual"] == pytest.approx((1 - 5 / 8) * terms[0]["residual"])
        assert terms[1] | {"residual": 0} == terms[0] | {"residual": 0}
        assert terms[3]["residual"] == 0

    def test_can_follow_a_moving_average_over_batches(self):
        criterion = AdaptiveLabelRegularization(K, tracking="ema")
        logits, targets = torch.eye(K)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 3])
        residuals = []
        for step in range(12):
            if step % 4 == 0:
                criterion.start_epoch(step // 4)
            accuracy = 0.75 * (1 - 0.99**step)
            assert float(criterion.accuracy) == pytest.approx(accuracy)
            residuals.append(values(criterion.terms(logits, targets))["residual"] / (1 - accuracy))
        assert residuals == pytest.approx(residuals[:1] * 12)

    def test_uses_the_accuracy_that_training_records(self):
        trained = train(Experiment(method="adaptive_label_regularization", **SHORT))
        accuracies = trained.result.history["train_accuracy"]
        assert float(trained.method.accuracy) == pytest.approx(accuracies[1])  # the third epoch used the second's
        assert 0 < accuracies[1] < 1


def test_alpha_is_gamma_to_the_epoch_until_it_is_truncated():
    assert [decayed_weight(epoch, 0.9) for epoch in (0, 1, 2)] == pytest.approx([1.0, 0.9, 0.81], rel=1e-12)
    assert decayed_weight(199, 0.999) == pytest.approx(0.999**199, rel=1e-12)
    assert [decayed_weight(epoch, 1.0, 20) for epoch in range(30)] == [1.0] * 20 + [0.0] * 10
    assert [decayed_weight(epoch, 0.0) for epoch in (0, 1, 50)] == [0.0] * 3, "off from the first epoch on"


def test_alpha_weights_both_terms():
    criterion = KnowledgeRefinery(K, gamma=0.9)
    logits, targets = torch.randn(8, K), torch.arange(8) % K
    first = criterion.terms(logits, targets)
    criterion.start_epoch(3)
    third = criterion.terms(logits, targets)
    torch.testing.assert_close(third["hard"], first["hard"])
    for name in ("residual", "update"):
        torch.testing.assert_close(third[name], 0.9**3 * first[name])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gamma_0_trains_the_baseline_bit_by_bit(smoothing):
    options = {"epsilon": smoothing, "convention": "others"}
    refined = train(Experiment(method="knowledge_refinery", options={"gamma": 0, "smoothing": smoothing}, **SHORT))
    expected = train(Experiment(method="label_smoothing", options=options, **SHORT)).network.state_dict()
    torch.testing.assert_close(refined.network.state_dict(), expected, rtol=0, atol=0)
    # nothing but weight decay could have moved it
    assert not refined.method.matrix.any()
