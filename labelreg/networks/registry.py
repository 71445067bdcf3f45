"""The register of networks: from a name to the function that builds the network.

A builder is a function (or a class) `builder(num_classes, input_shape=<default>, **options)` whose options are written
out with their defaults, so that a misspelt option can be answered with the list of those that exist:

    @register("mlp")
    def mlp(num_classes, input_shape=(1, 8, 8), hidden=(256, 256)):
        ...
"""

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class _Entry:
    builder: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    options: dict[str, inspect.Parameter]
    smallest_image: int | None


_entries: dict[str, _Entry] = {}


def register(name: str, smallest_image: int | None = None) -> Callable:
    """Enter the decorated builder under a name.

    Args:
        name: what `build` is asked for.
        smallest_image: for networks that take images (C, H, W), the least height and width in pixels that survive all
            their pooling; None for networks that take anything else.

    Returns:
        A decorator that returns the builder unchanged.

    Raises:
        ValueError: if the name is taken.
        TypeError: if the builder's first two parameters are not `num_classes` and `input_shape`.
    """

    def enter(builder):
        if name in _entries:
            raise ValueError(f"a network named {name!r} is already registered")
        signature = inspect.signature(builder)
        parameters = list(signature.parameters.values())
        if [parameter.name for parameter in parameters[:2]] != ["num_classes", "input_shape"]:
            raise TypeError(
                f"the builder of {name!r} must take (num_classes, input_shape=<default>, options), not {signature}"
            )
        options = {parameter.name: parameter for parameter in parameters[2:]}
        _entries[name] = _Entry(builder, parameters[1].default, options, smallest_image)
        return builder

    return enter


def names() -> tuple[str, ...]:
    """The names of all networks, in alphabetical order."""
    return tuple(sorted(_entries))


def options(name: str) -> dict[str, inspect.Parameter]:
    """What can be set of a network: its builder's parameters but for `num_classes` and `input_shape`.

    Raises:
        ValueError: if there is no such network.
    """
    return _entry(name).options


def build(name: str, num_classes: int, input_shape: Sequence[int] | None = None, **chosen) -> nn.Module:
    """Build a network with fresh random weights, drawn from torch's global generator.

    Args:
        name: one of `names()`.
        num_classes: the number of outputs K; the network maps a batch ``(B, *input_shape)`` to logits (B, K). A
            language model maps words (T, B) to the logits (T * B, K) of the words that follow.
        input_shape: the shape of one input, (C, H, W) for images and () for words; None takes the network's own
            default, which is (3, 32, 32) for the CIFAR-size networks, (3, 224, 224) for `imagenet_*`, (1, 8, 8) for
            `mlp` and () for `lstm`.
        **chosen: the network's own options, named in its builder.

    Returns:
        The network, in training mode, on the default device.

    Raises:
        ValueError: if there is no such network, if num_classes is below 1, or if the network cannot take input_shape.
        TypeError: if the network has no such option.
    """
    entry = _entry(name)
    unknown = [option for option in chosen if option not in entry.options]
    if unknown:
        raise TypeError(
            f"{name} has no option {', '.join(unknown)}; its options are: {', '.join(entry.options) or 'none at all'}"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    shape = entry.input_shape if input_shape is None else tuple(input_shape)
    _check_shape(name, shape, entry)
    return entry.builder(num_classes, shape, **chosen)


def _entry(name: str) -> _Entry:
    if name not in _entries:
        close = difflib.get_close_matches(name, names())
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"no network is named {name!r}; {hint}The networks are: {', '.join(names())}")
    return _entries[name]


def _check_shape(name: str, shape: tuple[int, ...], entry: _Entry) -> None:
    if entry.input_shape == ():
        if shape:
            raise ValueError(f"{name} takes words, whose input_shape is (), got {shape}")
        return
    if not shape or any(size < 1 for size in shape):
        raise ValueError(f"{name}: input_shape must hold positive sizes, got {shape}")
    if entry.smallest_image is not None and (len(shape) != 3 or min(shape[1:]) < entry.smallest_image):
        raise ValueError(
            f"{name}: input_shape must be (channels, height, width) with height and width of at least "
            f"{entry.smallest_image} pixels, got {shape}"
        )
