"""The register: what build accepts, and what it says about what it doesn't."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from labelreg.networks import build, classifier, complete_options, input_shape, names, register, registry


def test_the_input_shape_has_a_default_and_may_be_any_sequence():
    assert build("mlp", 3, [1, 2, 2])(torch.zeros(5, 1, 2, 2)).shape == (5, 3)
    shapes = {"mlp": (1, 8, 8), "lstm": (), "resnet8": (3, 32, 32), "imagenet_vgg16": (3, 224, 224)}
    assert {name: input_shape(name) for name in shapes} == shapes


class TestOptions:
    def test_are_the_builders_own_with_their_defaults(self):
        assert complete_options("vgg16", {}) == {"hidden": (512, 512), "dropout": 0.5}
        assert complete_options("mlp", {}) == {"hidden": (256, 256)}
        assert complete_options("resnet8", {}) == complete_options("imagenet_resnet18", {}) == {}

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


def test_a_builder_is_registered_with_its_default_shape_and_options(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register("scratch")
    def scratch_network(num_classes: int, input_shape: tuple[int] = (7,), bias: bool = True):
        return nn.Linear(*input_shape, num_classes, bias=bias)

    assert list(names()) == sorted({"scratch", *names()})
    assert build("scratch", 2).weight.shape == (2, 7)
    assert build("scratch", 2, (4,), bias=False).bias is None
    assert scratch_network(2).in_features == 7


REFUSALS = [
    (partial(build, "resnet33", 10), r"no network is called 'resnet33'; did you mean .*resnet32"),
    (partial(build, "zzz", 10), "no network is called 'zzz'; there is alexnet, charcnn, .*, wrn28_10$"),
    (partial(complete_options, "resnet9", {}), "no network is called 'resnet9'; did you mean resnet8"),
    (partial(input_shape, "resnet9"), "did you mean resnet8"),
    (partial(build, "wrn28_10", 10, drop=0.3), "no option of wrn28_10 is called 'drop'; did you mean dropout"),
    (partial(build, "resnet8", 10, depth=8), "no option of resnet8 is called 'depth'; there is none"),
    *((partial(build, "mlp", number), f"num_classes must be at least 1, got {number}") for number in (0, -1)),
    *(
        (partial(build, name, 10, shape), f"{name}.*{message}.*{re.escape(str(shape))}")
        for name, shape, message in (
            *(("mlp", (), "positive sizes"), ("mlp", (0,), "positive sizes"), ("lstm", (3, 32, 32), r"\(\) for words")),
            *(("resnet8", (3, 32), r"\(channels, height, width\)"), ("plaincnn6", (1, 8, 7), "at least 8 pixels")),
            ("imagenet_resnet18", (1, 28, 28), "3 channels"),
        )
    ),
    *(
        (partial(function, name, *others, **chosen), f"{name}'s option {message}")
        for name, chosen, message in (
            ("mlp", {"hidden": -3}, "hidden.0 should be greater than 0, got -3"),
            ("mlp", {"hidden": (64, -1)}, "hidden.1 should be greater than 0, got -1"),
            ("mlp", {"hidden": "64"}, "hidden.* should be a valid .*, got '64'"),
            ("vgg16", {"hidden": 2.5}, "hidden.0 should be a valid integer, got 2.5"),
            ("fasttext", {"bigrams": 1}, "bigrams should be a valid boolean, got 1"),
            ("alexnet", {"dropout": 1.0}, "dropout should be less than 1, got 1.0"),
            ("lstm", {"hidden": -1}, "hidden should be greater than 0, got -1"),
            ("lstm", {"layers": 0}, "layers should be greater than 0, got 0"),
            ("lstm", {"init_range": -1}, "init_range should be greater than 0, got -1"),
        )
        for function, others in ((build, (10,)), (lambda name, **chosen: complete_options(name, chosen), ()))
    ),
    (partial(register("mlp"), lambda num_classes, input_shape=(1,): nn.Identity()), "'mlp' is already registered"),
    (lambda: classifier(nn.Conv2d(1, 1, 1)), r"Conv2d has no nn\.Linear"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_what_does_not_exist_or_fit_is_answered_with_what_does(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "builder", [lambda classes: None, lambda num_classes, input_shape=(1,), bias=True: None], ids=["names", "types"]
)
def test_a_builder_with_another_signature_is_refused(builder):
    with pytest.raises(TypeError, match="the builder of 'odd' must take num_classes, input_shape=<default>"):
        register("odd")(builder)
    assert "odd" not in names()
