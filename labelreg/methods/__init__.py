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
from functools import cache
from typing import Any

from torch import Tensor, nn

from labelreg.checks import settle, unknown
from labelreg.methods.base import Criterion, Method, Step, Wrapper

_INNER = "cross_entropy"  # the method inside another, where none is chosen
_METHOD = (Method, Method | None)  # annotations of a method inside another
_KINDS = (bool, int, float, str, nn.Module, *_METHOD)
# parameters that the data decides
_FILLED = ("num_classes", "pixel_std")

_CLASSES: dict[str, type[Method]] = {}


def _discover() -> None:
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, item in vars(module).items():
            defined_here = getattr(item, "__module__", None) == module.__name__ and not name.startswith("_")
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
    """Return what can be set of a method: its constructor's parameters but for those that the data decides.

    A parameter annotated ``nn.Module``, ``Method`` or ``Method | None`` is chosen by name; the options of a method
    inside a method are chosen along with it, under dotted names such as ``"method.lam"``.
    """
    return {key: parameter for key, parameter in _parameters(name).items() if key not in _FILLED}


def check_options(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen options with their types settled, so that 1 and 1.0 are the same choice of a float.

    Raises:
        ValueError: an unknown method, an unknown option, or a value of the wrong type.
    """
    available = options(name)
    settled = {}
    for key, value in chosen.items():
        outer = key.partition(".")[0]
        if outer not in available or (outer != key and available[outer].annotation not in _METHOD):
            raise unknown(f"option of {name}", key, available)
        if outer == key:
            kind = available[key].annotation
            settled[key] = settle(f"{name}'s option {key}", value, str if kind in (nn.Module, *_METHOD) else kind)
    for key, parameter in available.items():
        if parameter.annotation in _METHOD:
            inner, inner_options = _inside(key, chosen)
            settled |= {f"{key}.{option}": value for option, value in check_options(inner, inner_options).items()}
    return settled


def all_options(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a method is made with: those chosen, and the others at their defaults.

    The methods inside are among them with theirs. A network has no default, and is missing where none is chosen.

    Raises:
        ValueError: what :func:`check_options` raises.
    """
    settled = check_options(name, chosen)
    for key, parameter in options(name).items():
        if parameter.annotation in _METHOD:
            settled[key], inner_options = _inside(key, settled)
            inner_options = all_options(settled[key], inner_options)
            settled |= {f"{key}.{option}": value for option, value in inner_options.items()}
        elif parameter.default is not parameter.empty:
            settled.setdefault(key, parameter.default)
    return settled


def network_roles(name: str, chosen: Mapping[str, Any]) -> set[str]:
    """Return what a method and those inside it take networks for: names of options, such as ``"method.peer"``."""
    roles = set()
    for key, parameter in options(name).items():
        if parameter.annotation is nn.Module:
            roles.add(key)
        elif parameter.annotation in _METHOD:
            roles |= {f"{key}.{role}" for role in network_roles(*_inside(key, chosen))}
    return roles


def create(
    name: str,
    num_classes: int,
    chosen: Mapping[str, Any],
    network: Callable[[str, str | None], nn.Module],
    *,
    pixel_std: Tensor | None = None,
) -> Method:
    """Make a method by name.

    Args:
        name: one of :func:`names`.
        num_classes: K, given to the methods that ask for it.
        chosen: option name to value, see :func:`options`; the rest stay at their defaults. A method inside a method is
            cross-entropy by default.
        network: makes the networks that a method trains or consults beside the target: called for every parameter
            annotated ``nn.Module`` with its name (``"teacher"``, ``"peer"``, ...) and the network's name chosen for it,
            or None.
        pixel_std: (C,) by which the inputs were divided when they were normalised, for pixels in [0, 1]; given to the
            methods that ask for it. None for inputs that are not normalised.

    Raises:
        ValueError: what :func:`check_options` or the constructor raises.
    """
    settled = check_options(name, chosen)
    filled = dict(zip(_FILLED, (num_classes, pixel_std), strict=True))
    arguments = {}
    for key, parameter in _parameters(name).items():
        if key in filled:
            arguments[key] = filled[key]
        elif parameter.annotation is nn.Module:
            arguments[key] = network(key, settled.get(key))
        elif parameter.annotation in _METHOD:
            inner, inner_options = _inside(key, settled)
            arguments[key] = create(inner, num_classes, inner_options, network, pixel_std=pixel_std)
        elif key in settled:
            arguments[key] = settled[key]
    return find(name)(**arguments)


@cache
def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The constructor's parameters by name."""
    parameters = inspect.signature(find(name), eval_str=True).parameters
    # a class without a constructor of its own shows nn.Module's *args and **kwargs
    named = {
        key: each for key, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    for key, each in named.items():
        if key not in _FILLED and each.annotation not in _KINDS:
            raise TypeError(
                f"{find(name).__name__}'s parameter {key} is an option, and so must be annotated as one of bool, int, "
                f"float, str, nn.Module, Method and Method | None, not as {each.annotation}"
            )
    return named


def _inside(key: str, chosen: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the options chosen for the method that a parameter asks for."""
    prefix = f"{key}."
    inner = {option.removeprefix(prefix): value for option, value in chosen.items() if option.startswith(prefix)}
    return chosen.get(key, _INNER), inner


_discover()

__all__ = ["Criterion", "Method", "Step", "Wrapper"]
__all__ += ["all_options", "check_options", "create", "find", "names", "network_roles", "options"]
__all__ += [item.__name__ for item in _CLASSES.values()]
