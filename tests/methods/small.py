"""Small networks, batches and runs that the tests of several methods share."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from labelreg import networks
from labelreg.data import Batch, load
from labelreg.methods import Method, Step
from labelreg.training import Recipe, Trainer

K, B = 5, 12
HALVES = (torch.bfloat16, torch.float16)


def make_network(seed=0, classes=K):
    """With batch normalisation, whose two modes differ."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def make_batch():
    inputs, partner, source = torch.randn(3, B, 3, generator=torch.Generator().manual_seed(0))
    return Batch(inputs, torch.arange(B) % K, torch.arange(B), partner, source)


def values(terms):
    return {name: float(term.detach()) for name, term in terms.items()}


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


def divergence(logits, fixed_logits, temperature=1.0):
    """KL(fixed || prediction) at a temperature, times its square."""
    log_p, q = (logits / temperature).log_softmax(1), (fixed_logits / temperature).softmax(1)
    return kl_div(log_p, q, reduction="batchmean") * temperature**2


def train_on_digits(method):
    """Train the method for a few epochs; it must have learnt the digits."""
    torch.manual_seed(0)
    recipe = Recipe(epochs=15, batch_size=64, schedule="one_cycle")
    trainer = Trainer(networks.build("mlp", 10, hidden=(32,)), method, load("digits", subset=200), recipe)
    trainer.fit()
    assert trainer.history[-1]["test_error"] < 0.15
    return trainer


class Spy(Method):
    """Keeps what it is given."""

    def __init__(self, views=()):
        super().__init__()
        self.views = frozenset(views)
        self.batches, self.calls = [], []

    def step(self, network, batch):
        self.batches.append(batch)
        logits = network(batch.inputs)
        return Step.of(logits, {"spied": cross_entropy(logits, batch.targets)})

    def start_epoch(self, epoch):
        self.calls.append(("start_epoch", epoch))

    def predict(self, network, inputs):
        return 2 * network(inputs)
