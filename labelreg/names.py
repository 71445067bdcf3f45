"""The error for a name that nothing goes by."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name of a kind, such as ``"network"``, with the closest known names, or all."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(known) or 'none'}"
    return ValueError(f"no {kind} is called {name!r}; {hint}")
