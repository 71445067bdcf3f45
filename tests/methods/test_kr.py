"""Knowledge Refinery: the decay of alpha, on both terms, and where it is the baseline."""

import pytest
import torch

from labelreg.experiment import Experiment
from labelreg.methods import KnowledgeRefinery
from labelreg.methods.kr import decayed_weight
from labelreg.running import train

K = 5
SHORT = {"subset": 200, "epochs": 3, "schedule": "one_cycle"}


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
