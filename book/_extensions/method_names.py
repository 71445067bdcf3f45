"""The directive ``method-names``: every method of the package under all its names, as entries of the glossary."""

from sphinx.util.docutils import SphinxDirective

from labelreg import methods


def entry(name: str) -> str:
    """The names of a method, what it is, and where to read on: one entry of a glossary, in MyST Markdown."""
    method = methods.find(name)
    names = [method.title, *method.aliases, *([name.replace("_", " ")] if method.paper else [])]
    spelled = {each.lower(): each for each in reversed(names)}  # no two that differ in capitals only
    definition = [method.__doc__.partition("\n")[0], f"In code: {{py:class}}`~{method.__module__}.{method.__name__}`."]
    if method.paper:
        definition.append(f"Its chapter: [](../notebooks/{method.paper}.ipynb).")
    return "\n".join([*reversed(spelled.values()), *(f"  {line}" for line in definition)])


class MethodNames(SphinxDirective):
    def run(self):
        entries = sorted(map(entry, methods.names()), key=str.lower)
        return self.parse_text_to_nodes("\n\n".join(["```{glossary}", *entries, "```"]))


def setup(app):
    app.add_directive("method-names", MethodNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
