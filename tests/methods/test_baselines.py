"""The baselines against closed forms."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from labelreg.methods import ConfidencePenalty, CrossEntropy, DisturbLabel, LabelSmoothing

K = 10


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(50, K, generator=generator, dtype=torch.float64), torch.arange(50) % K


def test_losses_in_closed_form(batch):
    logits, targets = batch
    plain = -logits.softmax(1).log()[range(50), targets].mean()
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    for criterion, expected in (
        (CrossEntropy(), plain),
        (LabelSmoothing(0.2, "all"), cross_entropy(logits, targets, label_smoothing=0.2)),
        (LabelSmoothing(0.2, "others"), cross_entropy(logits, targets, label_smoothing=0.2 * K / (K - 1))),
        (ConfidencePenalty(0.3), plain - 0.3 * entropy),
    ):
        torch.testing.assert_close(criterion(logits, targets), expected)


def test_a_large_confidence_penalty_makes_predictions_uniform():
    logits = torch.tensor([[3.0, 0.0, -1.0]], requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=0.01)
    for _ in range(2000):
        optimizer.zero_grad()
        ConfidencePenalty(100.0)(logits, torch.tensor([0])).backward()
        optimizer.step()
    torch.testing.assert_close(logits.softmax(1), torch.full((1, 3), 1 / 3), atol=0.01, rtol=0)


class TestDisturbLabel:
    @staticmethod
    def labels_used(rate, targets):
        """Read the labels off the gradient of cross-entropy, which is negative at the label alone."""
        logits = torch.zeros(len(targets), K, requires_grad=True)
        DisturbLabel(rate)(logits, targets).backward()
        return logits.grad.argmin(1)

    @pytest.mark.parametrize("rate", [0.3, 1.0])
    def test_redraws_at_its_rate_from_all_classes(self, rate):
        torch.manual_seed(0)
        count = 40_000
        targets = torch.randint(K, (count,))
        used = self.labels_used(rate, targets)
        changed = rate * (1 - 1 / K)  # a redrawn label is the old one again with probability 1 / K
        deviation = (changed * (1 - changed) / count) ** 0.5
        assert abs((used != targets).double().mean() - changed) < 4 * deviation
        counts = torch.bincount((used - targets)[used != targets] % K, minlength=K)[1:]
        expected = counts.sum() / (K - 1)
        assert ((counts - expected) ** 2 / expected).sum() < 26.1  # 8 degrees of freedom: one in a thousand

    def test_draws_anew_in_every_step_and_leaves_the_batch_as_it_is(self):
        targets = torch.zeros(100, dtype=torch.int64)
        assert not torch.equal(self.labels_used(0.5, targets), self.labels_used(0.5, targets))
        assert not targets.any()

    def test_at_a_rate_of_0_and_in_evaluation_is_cross_entropy(self, batch):
        torch.testing.assert_close(DisturbLabel(0.0)(*batch), cross_entropy(*batch))
        state = torch.get_rng_state()
        torch.testing.assert_close(DisturbLabel(1.0).eval()(*batch), cross_entropy(*batch))
        assert torch.equal(torch.get_rng_state(), state)
