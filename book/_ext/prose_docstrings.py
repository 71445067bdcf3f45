"""Napoleon, told that types stand in annotations: a colon in a Returns section or a property's docstring is prose.

Without it, "Returns: One row per number: the columns ..." is taken to say that the type is "One row per number".
"""

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring


def _returns(docstring: GoogleDocstring, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
    lines = docstring._dedent(docstring._consume_to_next_section())
    return [("", "", type(docstring)(lines, docstring._config).lines())] if lines else []


def _attribute(docstring: GoogleDocstring) -> tuple[str, list[str]]:
    lines = docstring._dedent(docstring._consume_to_end())
    return "", type(docstring)(lines, docstring._config).lines()


def setup(app: Sphinx) -> dict[str, bool]:
    GoogleDocstring._consume_returns_section = _returns
    GoogleDocstring._consume_inline_attribute = _attribute
    return {"parallel_read_safe": True}
