"""Training on several copies of each sample: what is recorded is still a mean over what was seen."""

import pytest
import torch
from torch import nn

from labelreg.data import Dataset, Split
from labelreg.methods import CrossEntropy, Mixup
from labelreg.recipe import Recipe
from labelreg.training import Trainer

CLASSES = 3


class Copied(CrossEntropy):
    """Cross-entropy on so many copies; keeps what it was shown."""

    def __init__(self, copies: int):
        super().__init__()
        self.copies = copies
        self.seen = []

    def step(self, network, batch):
        step = super().step(network, batch)
        self.seen.append((step.logits.detach(), batch.targets))
        return step


def train(method, augmentation="none", **recipe):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    draws = torch.Generator().manual_seed(0)
    split = Split(torch.rand(23, 1, 8, 8, generator=draws), torch.randint(CLASSES, (23,), generator=draws))
    recipe = Recipe(**{"epochs": 2, "batch_size": 5, "schedule": "constant"} | recipe)
    trainer = Trainer(network, method, Dataset("noise", split, split, tuple("abc")), recipe, augmentation=augmentation)
    trainer.fit()
    return trainer


def test_records_means_over_all_copies():
    method = Copied(3)
    trainer = train(method, "cutout3", epochs=1)
    logits, targets = (torch.cat(parts) for parts in zip(*method.seen, strict=True))
    assert len(targets) == 3 * 23
    row = trainer.history[0]
    assert row["loss"] == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), rel=1e-5)
    assert row["train_accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())


def test_copies_that_are_not_augmented_change_nothing():
    plain, copied = train(CrossEntropy()), train(Copied(4))
    torch.testing.assert_close(plain.network.state_dict(), copied.network.state_dict())
    for one, other in zip(plain.history, copied.history, strict=True):
        assert one | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-4)


def test_a_wrapper_asks_for_what_its_method_asks_for():
    method = Mixup(Copied(3), CLASSES)
    assert method.copies == 3
    assert train(method, epochs=1).loader.copies == 3
