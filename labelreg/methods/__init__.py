"""How a batch becomes a loss: one file a family of methods.

Every :class:`Method` defined in a module of this package is exported here and can be made by its snake-case name, so a
new family is one new file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from labelreg.checks import settle, unknown
from labelreg.methods.base import Criterion, Method, Step

_CLASSES: dict[str, type[Method]] = {}


def _discover() -> None:
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, item in vars(module).items():
            defined_here = getattr(item, "__module__", None) == module.__name__
            if defined_here and inspect.isclass(item) and issubclass(item, Method) and not inspect.isabstract(item):
                _CLASSES[_snake_case(name)] = globals()[name] = item


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def names() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(sorted(_CLASSES))


def find(name: str) -> type[Method]:
    """Return the class of a method by its name, such as ``"knowledge_refinery"``.

    Raises:
        ValueError: no method has that name.
    """
    if name not in _CLASSES:
        raise unknown("method", name, _CLASSES)
    return _CLASSES[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """Return what can be set of a method: its constructor's parameters but for ``num_classes``."""
    parameters = inspect.signature(find(name), eval_str=True).parameters
    # a class without a constructor of its own shows nn.Module's *args and **kwargs
    return {
        key: parameter
        for key, parameter in parameters.items()
        if key != "num_classes" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


def check_options(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen options with their types settled, so that 1 and 1.0 are the same choice of a float.

    Raises:
        ValueError: an unknown method, an unknown option, or a value of the wrong type.
    """
    available = options(name)
    settled = {}
    for key, value in chosen.items():
        if key not in available:
            raise unknown(f"option of {name}", key, available)
        kind = available[key].annotation
        # a network is chosen by name
        settled[key] = settle(f"{name}'s option {key}", value, str if kind is nn.Module else kind)
    return settled


def create(
    name: str,
    num_classes: int,
    chosen: Mapping[str, Any],
    network: Callable[[str, str | None], nn.Module],
) -> Method:
    """Make a method by name.

    Args:
        name: one of :func:`names`.
        num_classes: K, given to the methods that ask for it.
        chosen: option name to value; the rest stay at their defaults.
        network: makes the networks that a method trains or consults beside the target: called for every parameter
            annotated ``nn.Module`` with its name (``"teacher"``, ``"peer"``, ...) and the network's name chosen for it,
            or None.

    Raises:
        ValueError: what :func:`check_options` or the constructor raises.
    """
    arguments = check_options(name, chosen)
    parameters = inspect.signature(find(name), eval_str=True).parameters
    if "num_classes" in parameters:
        arguments["num_classes"] = num_classes
    for key, parameter in parameters.items():
        if parameter.annotation is nn.Module:
            arguments[key] = network(key, chosen.get(key))
    return find(name)(**arguments)


_discover()

__all__ = ["Criterion", "Method", "Step", "check_options", "create", "find", "names", "options"]
__all__ += [item.__name__ for item in _CLASSES.values()]
