"""The register: what build accepts, and what it says about what it doesn't."""

from functools import partial

import pytest
import torch
from torch import nn

from labelreg.networks import build, complete_options, input_shape, names, options, register, registry


@pytest.fixture
def scratch(monkeypatch):
    """A copy of the register that can be written to without trace."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def test_every_network_of_the_design_is_registered():
    assert set(names()) >= {
        *("mlp", "plaincnn6", "resnet8", "resnet10", "resnet18", "resnet20", "resnet32", "resnet44", "lstm"),
        *("preresnet110", "preact_resnet18", "wrn28_10", "densenet121", "vgg16", "alexnet"),
        *("imagenet_resnet10", "imagenet_resnet18", "imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152"),
        *("imagenet_densenet121", "imagenet_vgg16", "imagenet_alexnet"),
    }
    assert list(names()) == sorted(names())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("resnet33", 10), r"no network is called 'resnet33'; did you mean .*resnet32"),
        (lambda: build("zzz", 10), "no network is called 'zzz'; there is alexnet, densenet121, .*, wrn28_10$"),
        (lambda: options("resnet9"), "no network is called 'resnet9'; did you mean resnet8"),
        (lambda: input_shape("resnet9"), "did you mean resnet8"),
        (lambda: build("wrn28_10", 10, drop=0.3), "no option of wrn28_10 is called 'drop'; did you mean dropout"),
        (lambda: build("resnet8", 10, depth=8), "no option of resnet8 is called 'depth'; there is none"),
        (lambda: build("mlp", 0), "num_classes must be at least 1, got 0"),
        (lambda: build("mlp", -1), "num_classes must be at least 1, got -1"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mlp", (), "positive sizes"),
        ("mlp", (0,), "positive sizes"),
        ("lstm", (3, 32, 32), r"takes words, whose input_shape is \(\)"),
        ("resnet8", (3, 32), r"\(channels, height, width\)"),
        ("plaincnn6", (1, 8, 7), "at least 8 pixels"),
        ("imagenet_resnet18", (1, 28, 28), "3 channels"),
    ],
)
def test_an_impossible_input_shape_is_refused(name, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        build(name, 10, shape)
    assert name in str(error.value)
    assert str(shape) in str(error.value)


def test_the_input_shape_has_a_default_and_may_be_any_sequence():
    assert build("mlp", 3, [1, 2, 2])(torch.zeros(5, 1, 2, 2)).shape == (5, 3)
    shapes = {"mlp": (1, 8, 8), "lstm": (), "resnet8": (3, 32, 32), "imagenet_vgg16": (3, 224, 224)}
    assert {name: input_shape(name) for name in shapes} == shapes


class TestOptions:
    def test_are_the_builders_own_with_their_defaults(self):
        defaults = {name: option.default for name, option in options("vgg16").items()}
        assert defaults == complete_options("vgg16", {}) == {"batch_norm": True, "hidden": (512, 512), "dropout": 0.5}
        assert complete_options("mlp", {}) == {"hidden": (256, 256)}
        assert options("resnet8") == complete_options("imagenet_resnet18", {}) == {}

    @pytest.mark.parametrize(
        ("name", "chosen", "completed"),
        [
            ("mlp", {"hidden": 32}, {"hidden": (32,)}),
            ("mlp", {"hidden": [32, 16]}, {"hidden": (32, 16)}),
            ("mlp", {"hidden": ()}, {"hidden": ()}),
            ("wrn28_10", {"dropout": 0}, {"dropout": 0.0}),
            ("lstm", {"hidden": 9}, {"hidden": 9, "layers": 2, "dropout": 0.65, "init_range": 0.04}),
        ],
    )
    def test_are_completed(self, name, chosen, completed):
        assert complete_options(name, chosen) == completed
        with torch.device("meta"):
            assert isinstance(build(name, 10, **chosen), nn.Module)

    @pytest.mark.parametrize(
        ("name", "chosen", "message"),
        [
            ("mlp", {"hidden": -3}, "hidden.0 should be greater than 0, got -3"),
            ("mlp", {"hidden": (64, -1)}, "hidden.1 should be greater than 0, got -1"),
            ("mlp", {"hidden": "64"}, "hidden should be a valid tuple, got '64'"),
            ("vgg16", {"hidden": 2.5}, "hidden.0 should be a valid integer, got 2.5"),
            ("vgg16", {"batch_norm": 1}, "batch_norm should be a valid boolean, got 1"),
            ("alexnet", {"dropout": 1.0}, "dropout should be less than 1, got 1.0"),
            ("lstm", {"hidden": -1}, "hidden should be greater than 0, got -1"),
            ("lstm", {"layers": 0}, "layers should be greater than 0, got 0"),
            ("lstm", {"init_range": -1}, "init_range should be greater than 0, got -1"),
        ],
    )
    def test_of_the_wrong_type_or_range_are_refused(self, name, chosen, message):
        for check in (partial(complete_options, name, chosen), partial(build, name, 10, **chosen)):
            with pytest.raises(ValueError, match=f"{name}'s option {message}"):
                check()


class TestRegister:
    def test_a_builder_is_built_with_its_default_shape_and_options(self, scratch):
        @register("scratch")
        def scratch_network(num_classes: int, input_shape: tuple[int] = (7,), bias: bool = True):
            return nn.Linear(*input_shape, num_classes, bias=bias)

        assert "scratch" in names()
        assert build("scratch", 2).weight.shape == (2, 7)
        assert build("scratch", 2, (4,), bias=False).bias is None
        assert scratch_network(2).in_features == 7

    def test_a_name_can_be_taken_only_once(self):
        with pytest.raises(ValueError, match="'mlp' is already registered"):
            register("mlp")(lambda num_classes, input_shape=(1,): nn.Identity())

    @pytest.mark.parametrize(
        "builder", [lambda classes: None, lambda num_classes, input_shape=(1,), bias=True: None], ids=["names", "types"]
    )
    def test_a_builder_with_another_signature_is_refused(self, builder):
        with pytest.raises(TypeError, match="the builder of 'odd' must take num_classes, input_shape=<default>"):
            register("odd")(builder)
        assert "odd" not in names()
