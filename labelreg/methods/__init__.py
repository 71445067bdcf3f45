"""How a batch becomes a loss: one file per paper, and one per family of baselines.

Every :class:`.Method` defined in a module of this package is exported here and goes by its snake-case name, so a new
method is one new file. The parameters of its constructor are its options. A wrong name or value raises ``ValueError``
with a message that says what would be right.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from labelreg.methods.base import Criterion, Method, Step, Wrapper
from labelreg.names import unknown
from labelreg.options import Options, complete, options_model, options_of

_INNER = "cross_entropy"  # the method inside another, where none is chosen
_METHOD = (Method, Method | None)  # annotations of a method inside another
_TEACHER = "teacher"  # the network of another experiment
_FILLED = ("num_classes", "pixel_std")  # parameters that the data decides

_CLASSES: dict[str, type[Method]] = {}


def _discover() -> None:
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, item in vars(module).items():
            defined_here = getattr(item, "__module__", None) == module.__name__ and not name.startswith("_")
            if defined_here and inspect.isclass(item) and issubclass(item, Method) and not inspect.isabstract(item):
                snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
                _CLASSES[snake_case] = globals()[name] = item


def names() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(sorted(_CLASSES))


def find(name: str) -> type[Method]:
    """Return the class of a method by its name, such as ``"knowledge_refinery"``."""
    if name not in _CLASSES:
        raise unknown("method", name, _CLASSES)
    return _CLASSES[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """Return the options of a method: its constructor's parameters, except those that the data decides.

    A parameter annotated ``nn.Module``, ``Method`` or ``Method | None`` is chosen by name; the options of a method
    inside a method are chosen along with it, under dotted names such as ``"method.lam"``.
    """
    return {key: parameter for key, parameter in _parameters(name).items() if key not in _FILLED}


def complete_options(name: str, chosen: Mapping[str, Any], recorded: bool = False) -> dict[str, Any]:
    """Return all options of a method, chosen or default; those of methods inside it have dotted names.

    The option for a network is the network's name, empty for the target's own kind. The teacher is not an option.

    Args:
        name: name of the method.
        chosen: option name to value.
        recorded: whether the options are those of a recorded run. Missing options then get the value that reproduces
            the run (:attr:`.Method.added`) where today's default does not.
    """
    completed = _completed(name, chosen, recorded)
    _make_once(name, Options(completed))
    return completed


def network_roles(name: str, chosen: Mapping[str, Any]) -> set[str]:
    """Return the parameters of a method and those inside it that take networks, such as ``"method.peer"``."""
    roles = {key for key, parameter in options(name).items() if parameter.annotation is nn.Module}
    for key in _methods_inside(name):
        roles |= {f"{key}.{role}" for role in network_roles(chosen.get(key, _INNER), _inside(key, chosen))}
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
        name, chosen: see :func:`complete_options`. They are checked by the constructors alone: a wrong value raises
            ``ValueError``, an unknown option ``TypeError``.
        num_classes: K, given to the methods that ask for it.
        network: makes the networks that a method trains or consults beside the target. It is called for every
            parameter annotated ``nn.Module``, with the parameter's name (``"teacher"``, ``"peer"``, ...) and the name
            of the network chosen for it, or None.
        pixel_std: see :class:`.AdversarialTraining`.
    """
    inner = _methods_inside(name)
    arguments = {key: value for key, value in chosen.items() if key.partition(".")[0] not in inner}
    for key, parameter in options(name).items():
        if parameter.annotation is nn.Module:
            arguments[key] = network(key, chosen.get(key) or None)
        elif key in inner:
            inside = _inside(key, chosen)
            arguments[key] = create(chosen.get(key, _INNER), num_classes, inside, network, pixel_std=pixel_std)
    from_data = {"num_classes": num_classes, "pixel_std": pixel_std}
    filled = {key: value for key, value in from_data.items() if key in _parameters(name)}
    return find(name)(**arguments, **filled)


@cache
def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The constructor's parameters by name."""
    parameters = options_of(method := find(name))
    for key, each in parameters.items():
        if each.annotation is each.empty:
            raise TypeError(f"{method.__name__}'s parameter {key} is an option, and so must have an annotation")
    return parameters


@cache
def _model(name: str) -> type[BaseModel]:
    """The options of a method by themselves, with networks and methods by name."""
    by_name = {nn.Module: "", Method: _INNER, Method | None: _INNER}
    parameters = {
        key: each.replace(annotation=str, default=by_name[each.annotation]) if each.annotation in by_name else each
        for key, each in options(name).items()
        if not _is_teacher(key, each)
    }
    return options_model(find(name).__name__, parameters)


def _completed(name: str, chosen: Mapping[str, Any], recorded: bool = False) -> dict[str, Any]:
    available, inner = options(name), _methods_inside(name)
    own = dict(find(name).added) if recorded else {}
    for key, value in chosen.items():
        outer, dot, _ = key.partition(".")
        if key in available and _is_teacher(key, available[key]):
            raise ValueError("the teacher is an experiment, not the name of a network: set teacher, not an option")
        if dot and outer not in inner:
            raise unknown(f"option of {name}", key, available)
        if not dot:
            own[key] = value
    completed = complete(_model(name), own, name)
    for key in inner:
        inside = _completed(completed[key], _inside(key, chosen), recorded)
        completed |= {f"{key}.{option}": value for option, value in inside.items()}
    return completed


@cache
def _make_once(name: str, completed: Options) -> None:
    """Let the constructor refuse options that exclude each other."""
    with torch.device("meta"):
        create(name, 10, completed, lambda role, chosen: nn.Identity())


def _is_teacher(key: str, parameter: inspect.Parameter) -> bool:
    return key == _TEACHER and parameter.annotation is nn.Module


def _methods_inside(name: str) -> list[str]:
    """The parameters that ask for a method."""
    return [key for key, parameter in options(name).items() if parameter.annotation in _METHOD]


def _inside(key: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options chosen for the method that a parameter asks for."""
    prefix = f"{key}."
    return {option.removeprefix(prefix): value for option, value in chosen.items() if option.startswith(prefix)}


_discover()

__all__ = ["Criterion", "Method", "Step", "Wrapper"]
__all__ += ["complete_options", "create", "find", "names", "network_roles", "options"]
__all__ += [item.__name__ for item in _CLASSES.values()]
