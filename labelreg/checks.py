"""Checks of what a user sets by name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


def settle(what: str, value: Any, kind: type) -> Any:
    """Return a value as the kind it must be: an int is welcome as a float, nothing else is converted.

    Neither infinity nor NaN is a setting: results could not be written with one.

    Args:
        what: names the value in the error.
        value: what was given.
        kind: ``bool``, ``int``, ``float`` or ``str``.

    Raises:
        ValueError: the value is of another kind, or not finite.
    """
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{what} must be {_ARTICLES.get(kind, kind.__name__)}, not {value!r}")
    return value


_ARTICLES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Make the error for a name that nothing goes by, with the nearest names, or all where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(known) or 'none'}"
    return ValueError(f"no {kind} is called {name!r}; {hint}")
