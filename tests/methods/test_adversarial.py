"""Adversarial training: the attack by hand, the mean of two losses, and pixels in their units."""

import pytest
import torch
from methods.small import K, Spy, make_network
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from labelreg import networks
from labelreg.data import Batch
from labelreg.methods import AdversarialTraining, CrossEntropy, LabelSmoothing


@pytest.mark.parametrize("inner", [CrossEntropy(), LabelSmoothing(0.3)])
def test_of_a_linear_network_moves_along_the_signs_of_its_gradient(inner, batch):
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


def test_is_the_mean_of_two_losses_and_leaves_the_parameters_alone_until_then(batch):
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
def test_moves_every_pixel_by_epsilon_in_its_own_units(shape):
    torch.manual_seed(0)
    channels = shape[0]
    std = torch.tensor([0.25, 0.5, 0.2])[:channels]
    spy = Spy()
    inputs = torch.randn(4, *shape)
    network = networks.build("resnet8" if channels == 3 else "mlp", K, input_shape=shape)
    AdversarialTraining(spy, std).step(network, Batch(inputs, torch.arange(4), torch.arange(4)))
    moved = (spy.batches[1].inputs - inputs).abs() * std[:, None, None]
    torch.testing.assert_close(moved, torch.full_like(moved, 8 / 255), atol=1e-6, rtol=0)


def test_refuses_what_is_no_deviation_of_each_channel(batch):
    for std in (torch.tensor(1.0), torch.tensor([1.0, 0.0]), torch.ones(1, 3)):
        with pytest.raises(ValueError, match="pixel_std must be one positive number per channel"):
            AdversarialTraining(CrossEntropy(), std)
    with pytest.raises(ValueError, match="pixel_std has 2 channels, the inputs have 3"):
        AdversarialTraining(CrossEntropy(), torch.ones(2)).step(make_network(), batch)
