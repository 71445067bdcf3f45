"""Classifier, features and size of every network."""

import pytest
import torch
from torch import nn

from labelreg.networks import build, classifier, count_parameters, features, inject, input_shape, names, reading

IMAGENET = [name for name in names() if name.startswith("imagenet_")]


def shape_of(name):
    return (3, 64, 64) if name in IMAGENET else input_shape(name)


@pytest.mark.parametrize("name", sorted({*names()} - {"lstm", *filter(reading, names())}))
def test_the_classifier_is_the_last_layer_called(name):
    with torch.device("meta"):
        network = build(name, 7, shape_of(name))
        inputs = torch.empty(2, *shape_of(name))
    called, last = [], classifier(network)
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, arguments, output: called.append(module))
    logits, penultimate = features(network, inputs)
    assert called.index(last) == len(called) - 1
    assert name in IMAGENET or last is network.classifier
    assert logits.shape == (2, 7) == (2, last.out_features)
    assert penultimate.shape == (2, last.in_features)


@pytest.mark.parametrize("name", ["mlp", "plaincnn6", "resnet8", "vgg16", "imagenet_resnet18", "imagenet_densenet121"])
def test_the_classifier_turns_features_into_logits(name):
    torch.manual_seed(0)
    network = build(name, 5, shape_of(name)).eval()
    inputs = torch.randn(2, *shape_of(name))
    logits, penultimate = features(network, inputs)
    assert torch.equal(logits, network(inputs))
    torch.testing.assert_close(logits, penultimate @ classifier(network).weight.T + classifier(network).bias)
    penultimate.sum().backward()
    assert classifier(network).weight.grad is None
    assert next(network.parameters()).grad.any()


def test_no_hook_is_left_behind_even_after_an_error():
    network = build("mlp", 3)
    features(network, torch.zeros(2, 64))
    with pytest.raises(RuntimeError):
        features(network, torch.zeros(2, 63))
    assert not classifier(network)._forward_pre_hooks


def test_a_last_layer_that_is_not_called_is_no_classifier():
    class Idle(nn.Sequential):
        def forward(self, x):
            return x

    with pytest.raises(RuntimeError, match="Idle did not call"):
        features(Idle(nn.Linear(1, 1)), torch.zeros(1, 1))


def test_count_parameters_counts_what_is_learnt():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert count_parameters(network) == 3 * 4 + 4 + 2 * 4
    network[0].bias.requires_grad_(False)
    assert count_parameters(network) == 3 * 4 + 2 * 4


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_network_has_features_and_takes_injections(in_place):
    """After plain forward passes too, which were compiled without the hooks."""
    torch.manual_seed(0)
    network, inputs = build("mlp", 5), torch.randn(2, 1, 8, 8)
    expected, doubled = features(network, inputs), inject(network, inputs, "head", lambda activations: 2 * activations)
    compiled = network if in_place else torch.compile(network, backend="eager")
    if in_place:
        network.compile(backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(inputs), expected[0])
        torch.testing.assert_close(features(compiled, inputs), expected)
        torch.testing.assert_close(inject(compiled, inputs, "head", lambda activations: 2 * activations), doubled)
