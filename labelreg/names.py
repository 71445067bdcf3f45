"""What errors say: of a name that nothing goes by, and in one line."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name of a kind, such as ``"network"``, with the closest known names, or all."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(known) or 'none'}"
    return ValueError(f"no {kind} is called {name!r}; {hint}")


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
