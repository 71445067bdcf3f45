"""Changing activations in the middle of a network: where that is possible, and that nothing else changes."""

import copy

import pytest
import torch
from torch import nn

from labelreg.networks import build, check_injectable, inject, injectable
from labelreg.networks.preresnet import PreActBlock

SMALL = {"mlp": {}, "resnet8": {}, "vgg16": {"hidden": (32, 16)}, "alexnet": {"hidden": (32, 16)}, "plaincnn6": {}}


def make(name, shape=None):
    torch.manual_seed(0)
    shape = shape or ((1, 8, 8) if name == "mlp" else (3, 64, 64) if name.startswith("imagenet") else (3, 32, 32))
    network = build(name, 7, shape, **SMALL.get(name, {})).eval()
    return network, torch.randn(3, *shape)


def captured(network, inputs, layer=""):
    kept = []
    logits = inject(network, inputs, layer, lambda values: kept.append(values.clone()) or values)
    assert len(kept) == 1
    return logits, kept[0]


class Branches(nn.Module):
    """Every way in which a layer can be in the middle of a network."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.pair = nn.Linear(4, 6), nn.ReLU(), nn.LSTM(6, 6)
        self.branch, self.unused, self.ignored = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.before_reshape, self.after_reshape, self.last = nn.Identity(), nn.Identity(), nn.Linear(6, 3)

    def forward(self, inputs):
        values = self.twice(self.first(inputs))
        values = self.twice(values + self.branch(values))
        self.ignored(values)
        values = self.before_reshape(self.pair(values)[0])
        values = self.after_reshape(values.view(len(inputs), -1))
        return self.last(values)


class TestInject:
    @pytest.mark.parametrize("name", SMALL)
    def test_at_the_classifier_mlp_sees_what_the_features_return(self, name):
        network, inputs = make(name)
        logits, values = captured(network, inputs)
        assert torch.equal(values, network.features(inputs))
        assert torch.equal(logits, network(inputs))

    @pytest.mark.parametrize(
        ("name", "before"),
        [("imagenet_alexnet", "classifier.0"), ("imagenet_resnet18", "avgpool"), ("imagenet_densenet121", None)],
    )
    def test_finds_the_classifier_mlp_of_other_networks(self, name, before):
        network, inputs = make(name)
        _, values = captured(network, inputs)
        if before:
            expected = captured(network, inputs, before)[1].flatten(1)
        else:
            expected = network.features(inputs).relu().mean((2, 3))
        torch.testing.assert_close(values, expected)

    def test_ends_the_classifier_mlp_at_what_is_no_part_of_one(self):
        first, last = (nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh()), (nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
        network, inputs = nn.Sequential(*first, *last).eval(), torch.randn(3, 4)
        assert torch.equal(captured(network, inputs)[1], network[:3](inputs))

    def test_replaces_what_a_layer_returns(self):
        network, inputs = make("mlp")
        doubled = inject(network, inputs, "head.1", lambda values: 2 * values)
        begun = network.head[:2](inputs.flatten(1))
        torch.testing.assert_close(doubled, network.classifier(network.head[2:](2 * begun)))

    @pytest.mark.parametrize("layer", ["", "head.1"])
    def test_leaves_no_hook_behind_even_after_an_error(self, layer):
        network, inputs = make("mlp")
        inject(network, inputs, layer, torch.relu)
        with pytest.raises(ZeroDivisionError):
            inject(network, inputs, layer, lambda values: 1 / 0)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class TestInjectable:
    def test_of_a_residual_network_are_the_layers_outside_of_blocks(self):
        network, inputs = make("resnet8")
        shapes = injectable(network, inputs)
        assert list(shapes) == [
            *("features", "features.stem", "features.stem.0", "features.stem.1", "features.stem.2"),
            *("features.stage1", "features.stage1.0", "features.stage2", "features.stage2.0"),
            *("features.stage3", "features.stage3.0", "features.pool", "features.flatten", "head", "classifier"),
        ]
        expected = {"features.stage2": (32, 16, 16), "features.flatten": (64,), "classifier": (7,)}
        assert shapes.items() >= expected.items()
        for layer in ("", "features.stage2", "classifier"):
            check_injectable(network, inputs, layer)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_are_found_by_trying_even_where_two_rows_can_be_added_to_one(self, count):
        network = nn.Sequential(PreActBlock(4, 4, stride=1), nn.Flatten(), nn.Linear(4, 2))
        shapes = injectable(network, torch.randn(count, 4, 1, 1))
        assert shapes == {"0": (4, 1, 1), "1": (4,), "2": (2,)}
        assert list(injectable(Branches(), torch.randn(count, 4))) == ["after_reshape", "last"]

    def test_leave_the_network_and_the_random_numbers_alone(self):
        layers = nn.Linear(4, 4), nn.BatchNorm1d(4).eval(), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 2)
        network, inputs = nn.Sequential(*layers), torch.randn(3, 4)
        before, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
        drawn = torch.get_rng_state()
        assert list(injectable(network, inputs)) == ["0", "1", "2", "3", "4"]
        torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
        assert [module.training for module in network.modules()] == modes
        assert torch.equal(torch.get_rng_state(), drawn)

    def test_of_a_language_model_is_its_classifier(self):
        network, words = build("lstm", 9, hidden=5), torch.randint(9, (4, 3))
        network(words)
        before = network.get_extra_state().clone()
        assert injectable(network, words) == {"classifier": (9,)}
        assert torch.equal(network.get_extra_state(), before)

    def test_can_be_found_in_half_precision(self):
        network, inputs = make("alexnet")
        with torch.autocast("cpu", torch.bfloat16):
            assert injectable(network, inputs) == injectable(*make("alexnet"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inject(Branches(), torch.zeros(5, 4), "twice", torch.relu), "'twice' is called 2 times .* not once"),
        (lambda: inject(Branches(), torch.zeros(5, 4), "unused", torch.relu), "'unused' is called 0 times .* not once"),
        (lambda: check_injectable(*make("resnet8"), "features.stage4"), r"'features\.stage4'; did you mean feat"),
        (
            lambda: check_injectable(*make("resnet8"), "features.stage1.0.conv1"),
            "conv1' cannot be .* features.stage1, f",
        ),
    ],
)
def test_impossible_layers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
