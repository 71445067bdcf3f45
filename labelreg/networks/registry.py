"""The register of networks: from a name to the function that builds the network.

A builder is a function ``builder(num_classes, input_shape=<default>, <options>)``. Its options have types and defaults,
so that the values chosen for them are checked before the network is built; ``mlp.py`` is a short example.

``num_classes`` is K throughout, and ``input_shape`` is the shape of one sample: (C, H, W) for images, () for words, and
(L, V) for texts of at most L tokens out of V, which are given as numbers.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import nn

from labelreg.names import unknown
from labelreg.options import complete, options_model, options_of

ImageSize = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class _Entry:
    name: str
    builder: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    options: type[BaseModel]
    smallest_image: int | None
    reading: str

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if self.input_shape == ():
            fits, expected = shape == (), "() for words"
        elif self.reading:
            fits, expected = len(shape) == 2 and min(shape) > 0, "(L, V), the most tokens of a text and their kinds"
        elif self.smallest_image is None:
            fits, expected = shape and min(shape) > 0, "positive sizes"
        else:
            fits = len(shape) == 3 and shape[0] > 0 and min(shape[1:]) >= self.smallest_image
            expected = f"(channels, height, width) with height and width of at least {self.smallest_image} pixels"
        if not fits:
            raise ValueError(f"the input_shape of {self.name} must be {expected}, got {shape}")


_entries: dict[str, _Entry] = {}


def register(name: str, smallest_image: int | None = None, reading: str = "") -> Callable:
    """Register the decorated builder under a new name; a wrong signature raises ``TypeError``.

    For networks of images, ``smallest_image`` is the smallest height and width in pixels that survive all pooling.
    For networks of texts, ``reading`` is ``"words"`` or ``"characters"``: what the numbers in a text stand for.
    """

    def enter(builder):
        if name in _entries:
            raise ValueError(f"a network named {name!r} is already registered")
        parameters = options_of(builder)
        options = dict(list(parameters.items())[2:])
        typed = all(each.empty not in (each.annotation, each.default) for each in options.values())
        if list(parameters)[:2] != ["num_classes", "input_shape"] or not typed:
            raise TypeError(
                f"the builder of {name!r} must take num_classes, input_shape=<default> and options that have a type "
                f"and a default, not {inspect.signature(builder)}"
            )
        shape, model = parameters["input_shape"].default, options_model(name, options)
        _entries[name] = _Entry(name, builder, shape, model, smallest_image, reading)
        return builder

    return enter


def names() -> tuple[str, ...]:
    """Return the names of all networks, in alphabetical order."""
    return tuple(sorted(_entries))


def complete_options(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a network: those chosen, checked, and the others at their defaults."""
    return complete(_entry(name).options, chosen, name)


def input_shape(name: str) -> tuple[int, ...]:
    """Return a network's default input shape: (C, H, W) for images, (L, V) for texts, () for words."""
    return _entry(name).input_shape


def reading(name: str) -> str:
    """Return how a network reads texts, ``"words"`` or ``"characters"``; empty for a network of anything else."""
    return _entry(name).reading


def build(name: str, num_classes: int, input_shape: Sequence[int] | None = None, **chosen: Any) -> nn.Module:
    """Build a network in training mode on the default device, its weights drawn from PyTorch's global generator.

    It maps inputs ``(B, *input_shape)``, or texts (B, L) int64 padded with 0, to logits (B, K); a language model
    maps words (T, B) to the logits (T * B, K) of the words that follow. ``input_shape=None`` is the network's default;
    for its options see its builder.
    """
    entry = _entry(name)
    settings = complete_options(name, chosen)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    shape = entry.input_shape if input_shape is None else tuple(input_shape)
    entry.check_shape(shape)
    return entry.builder(num_classes, shape, **settings)


def _entry(name: str) -> _Entry:
    if name not in _entries:
        raise unknown("network", name, _entries)
    return _entries[name]
