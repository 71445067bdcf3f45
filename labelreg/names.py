"""Names that a user gives: what is said where nothing goes by one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the closest known names, or all of them where none is close.

    Args:
        kind: what the name is of, such as ``"network"``.
        name: the unknown name.
        known: all names of that kind.
    """
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(known) or 'none'}"
    return ValueError(f"no {kind} is called {name!r}; {hint}")
