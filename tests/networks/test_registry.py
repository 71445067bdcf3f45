"""The register: what build accepts, and what it says about what it doesn't."""

import pytest
import torch
from torch import nn

from labelreg.networks import build, names, options, register, registry


@pytest.fixture
def scratch(monkeypatch):
    """A copy of the register that can be written to without trace."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def test_every_network_of_the_design_is_registered():
    assert set(names()) >= {
        *("mlp", "plaincnn6", "resnet8", "resnet10", "resnet18", "resnet20", "resnet32", "resnet44"),
        *("preresnet110", "preact_resnet18", "wrn28_10", "densenet121", "vgg16", "alexnet"),
        *("imagenet_resnet10", "imagenet_resnet18", "imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152"),
        *("imagenet_densenet121", "imagenet_vgg16", "imagenet_alexnet"),
    }
    assert list(names()) == sorted(names())


def test_a_misspelt_name_is_answered_with_the_close_ones_and_all():
    with pytest.raises(ValueError, match=r"'resnet33'; did you mean .*resnet32") as error:
        build("resnet33", 10)
    assert all(name in str(error.value) for name in names())


def test_a_name_like_no_other_gets_no_hint():
    with pytest.raises(ValueError, match="The networks are") as error:
        build("zzz", 10)
    assert "did you mean" not in str(error.value)


def test_an_unknown_option_is_answered_with_those_that_exist():
    with pytest.raises(TypeError, match="wrn28_10 has no option drop; its options are: dropout"):
        build("wrn28_10", 10, drop=0.3)
    with pytest.raises(TypeError, match="resnet8 has no option depth; its options are: none at all"):
        build("resnet8", 10, depth=8)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_there_must_be_classes(num_classes):
    with pytest.raises(ValueError, match=f"num_classes must be at least 1, got {num_classes}"):
        build("mlp", num_classes)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mlp", (), "positive sizes"),
        ("mlp", (0,), "positive sizes"),
        ("resnet8", (3, 32), r"\(channels, height, width\)"),
        ("plaincnn6", (1, 8, 7), "at least 8 pixels"),
        ("vgg16", (1, 8, 8), "at least 16 pixels"),
        ("alexnet", (1, 12, 28), "at least 13 pixels"),
        ("imagenet_resnet18", (1, 28, 28), "3 channels"),
    ],
)
def test_an_impossible_input_shape_is_refused(name, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        build(name, 10, shape)
    assert name in str(error.value)
    assert str(shape) in str(error.value)


def test_the_shape_may_be_any_sequence():
    assert build("mlp", 3, [1, 2, 2])(torch.zeros(5, 1, 2, 2)).shape == (5, 3)


def test_options_are_the_builders_own_with_their_defaults():
    defaults = {name: option.default for name, option in options("vgg16").items()}
    assert defaults == {"batch_norm": True, "hidden": (512, 512), "dropout": 0.5}
    assert options("resnet8") == {}
    with pytest.raises(ValueError, match="no network is named 'resnet9'; did you mean resnet8"):
        options("resnet9")


def test_a_registered_builder_is_built_with_its_default_shape_and_options(scratch):
    @register("scratch")
    def scratch_network(num_classes, input_shape=(7,), bias=True):
        return nn.Linear(*input_shape, num_classes, bias=bias)

    assert "scratch" in names()
    assert build("scratch", 2).weight.shape == (2, 7)
    assert build("scratch", 2, (4,), bias=False).bias is None
    assert scratch_network(2).in_features == 7


def test_a_name_can_be_taken_only_once(scratch):
    with pytest.raises(ValueError, match="'mlp' is already registered"):
        register("mlp")(lambda num_classes, input_shape=(1,): nn.Identity())


def test_a_builder_with_another_signature_is_refused(scratch):
    with pytest.raises(TypeError, match="'odd' must take"):
        register("odd")(lambda classes: nn.Identity())
    assert "odd" not in names()
