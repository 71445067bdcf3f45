"""Options of methods and networks: a function's arguments, which pydantic checks and completes by the annotations."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    validate_call,
)

from labelreg.names import unknown

# An int is accepted as a float; nothing else is converted. Infinity and NaN can neither be set nor written to JSON.
STRICT = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

PLAIN = (bool, int, float, str, tuple)  # types of an option that is neither a network nor a method
Fraction = Annotated[float, Ge(0), Le(1)]
FractionBelowOne = Annotated[float, Ge(0), Lt(1)]
MOST = 10_000  # upper limit for a number of things held in memory: a larger number is a slip
Count = Annotated[int, Gt(0), Le(MOST)]
CountOrZero = Annotated[int, Ge(0), Le(MOST)]
LARGEST_FLOAT = 3.4e38  # in single precision, in which networks compute


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, a number or text as a tuple of one: JSON has no tuples, and lists are not hashable."""
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int | float | str) else value


Widths = Annotated[tuple[Count, ...], BeforeValidator(as_tuple)]


class Options(Mapping[str, Any]):
    """Options by name: an immutable mapping, so that it is hashable."""

    def __init__(self, options: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        self._options = dict(sorted(dict(options).items()))

    def __getitem__(self, name: str) -> Any:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __hash__(self) -> int:
        return hash(tuple(self._options.items()))

    def __repr__(self) -> str:
        return repr(self._options)


class Checked(BaseModel):
    """A frozen model whose numbers fit into single precision, and are written the same if they are equal."""

    model_config = STRICT | ConfigDict(frozen=True)

    @field_validator("*")
    @classmethod
    def _in_one_form(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, float):
            return value
        if abs(value) > LARGEST_FLOAT:
            raise ValueError(f"{info.field_name} should be at most {LARGEST_FLOAT} in size, got {value!r}")
        return value + 0.0  # minus zero equals zero, but is written differently


class Settings(Checked):
    """A frozen model of settings, with errors in one line: the setting, what would be right, and what was given."""

    model_config = ConfigDict(validate_default=True)

    def __init__(self, **settings: Any):
        for name in settings:
            if name not in type(self).model_fields:
                raise unknown("setting", name, type(self).model_fields)
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ValueError(explain(error)) from None


def takes_options(constructor: Callable) -> Callable:
    """Check the arguments of a constructor by its annotations; plain arguments become attributes of the same name.

    Plain arguments are all but networks, methods and tensors, which the constructor sets itself. Their attributes are
    set before it runs. A value of the wrong type or out of range raises ``ValueError``, a missing or unknown argument
    ``TypeError``.
    """
    signature = inspect.signature(constructor)

    @validate_call(config=STRICT)
    @functools.wraps(constructor)
    def construct(self: Any, *arguments: Any, **named: Any) -> None:
        given = signature.bind(self, *arguments, **named)
        given.apply_defaults()
        for name, value in given.arguments.items():
            if isinstance(value, PLAIN):
                setattr(self, name, value)
        constructor(self, *arguments, **named)

    @functools.wraps(constructor)
    def checked(*arguments: Any, **named: Any) -> None:
        try:
            construct(*arguments, **named)
        except ValidationError as error:
            kinds = {each["type"] for each in error.errors(include_url=False)}
            wrong_call = any("argument" in kind for kind in kinds)
            raise (TypeError if wrong_call else ValueError)(explain(error, names=list(signature.parameters))) from None

    return checked


def options_of(function: Callable) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function or class that can be named, with their annotations evaluated."""
    parameters = inspect.signature(function, eval_str=True).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: each for name, each in parameters.items() if each.kind in named}


def options_model(name: str, parameters: Mapping[str, inspect.Parameter]) -> type[BaseModel]:
    """Return the pydantic model of options, from parameters with annotations."""
    fields = {
        key: (each.annotation, ... if each.default is each.empty else each.default) for key, each in parameters.items()
    }
    return create_model(name, __base__=Checked, **fields)


def complete(model: type[BaseModel], chosen: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return all options of a model, at their defaults if not chosen; invalid ones raise ``ValueError``."""
    for name in chosen:
        if name not in model.model_fields:
            raise unknown(f"option of {owner}", name, model.model_fields)
    try:
        settled = model(**chosen)
    except ValidationError as error:
        raise ValueError(explain(error, f"{owner}'s option ")) from None
    return {name: getattr(settled, name) for name in model.model_fields}


def explain(error: ValidationError, prefix: str = "", names: Sequence[str] = ()) -> str:
    """Say in one line what pydantic found wrong; ``names`` are those of positional arguments, which it only numbers."""
    return "; ".join(_explained(each, prefix, names) for each in error.errors(include_url=False))


def _explained(problem: Mapping[str, Any], prefix: str, names: Sequence[str]) -> str:
    if problem["type"] == "value_error":  # raised by a validator of this package, and complete in itself
        return str(problem["ctx"]["error"])
    if problem["type"] == "unexpected_positional_argument":
        return f"there is one argument too many, {problem['input']!r}"
    first, *rest = problem["loc"]
    name = prefix + ".".join(map(str, [names[first] if names and isinstance(first, int) else first, *rest]))
    if problem["type"].startswith("missing"):
        return f"{name} is missing"
    if problem["type"] == "unexpected_keyword_argument":
        return f"there is no argument {name}"
    what = problem["msg"].removeprefix("Input ")
    return f"{name} {what[0].lower()}{what[1:]}, got {problem['input']!r}"
