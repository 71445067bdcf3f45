"""Experiments as text, ``NAME=VALUE NAME=VALUE ...``: read from the command line, written in errors."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labelreg.experiment import Experiment
from labelreg.names import unknown

_DEFAULTS = {name: field.default for name, field in Experiment.model_fields.items()}
MOST_GENERATIONS = 20
_GROUPS = ("options", "network_options", "auxiliary_options", "teacher")


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """Read settings, as :meth:`.Experiment.at` and the constructor take them; a teacher's are a mapping.

    Examples of assignments are ``epochs=30``, ``milestones=60,120``, ``options.smoothing=0.1``,
    ``teacher.network=resnet18`` and ``options.layers="head,classifier"``, which is quoted because it is one string.
    Invalid assignments raise ``ValueError``.
    """
    settings: dict[str, Any] = {}
    teacher: list[str] = []
    given: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        group, dot, member = name.partition(".")
        if not equals or not name:
            raise ValueError(f"settings are given as NAME=VALUE, not {assignment!r}")
        if name in given:
            raise ValueError(f"{name} is set twice, by {given[name]!r} and by {assignment!r}")
        given[name] = assignment
        if group not in _DEFAULTS or bool(dot) != (group in _GROUPS):
            known = [f"{each}.NAME" if each in _GROUPS else each for each in _DEFAULTS]
            raise unknown("setting", name, known)
        if name.count("teacher.") > MOST_GENERATIONS:
            raise ValueError(f"teachers of teachers can be {MOST_GENERATIONS} generations, got {assignment!r}")
        if group == "teacher":
            teacher.append(f"{member}={text}")
        elif dot:
            settings.setdefault(group, {})[member] = _value(text)
        else:
            # "none" is also the name of an augmentation
            settings[name] = None if _DEFAULTS[name] is None and text.lower() == "none" else _value(text)
    if teacher:
        settings["teacher"] = parse(teacher)
    return settings


def render(changes: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Write settings, as :meth:`.Experiment.changes` returns them, so that :func:`parse` reads them back."""
    for name, value in changes.items():
        if isinstance(value, Mapping):
            # a teacher that has only default settings must still be written
            yield from render(value or {"method": _DEFAULTS["method"]}, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}={','.join(map(str, value)) or '()'}"
        else:
            # text that would be read as something else, such as a list, is quoted
            quoted = isinstance(value, str) and _value(value) != value
            yield f"{prefix}{name}={value!r}" if quoted else f"{prefix}{name}={value}"


def _value(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the text is not a literal, or nested too deeply
        if "," in text:
            return tuple(_value(part) for part in text.split(",") if part)
        return {"true": True, "false": False}.get(text.lower(), text)
    return value if isinstance(value, int | float | str | tuple) else text
