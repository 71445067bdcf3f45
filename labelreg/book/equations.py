"""Every equation of the five papers, and the line of the package that computes it.

Lines are marked with a trailing comment, such as ``# KR eq. 6``. Formulas are in ``data/equations``, one file per
paper, together with the reason if an equation has no line.
"""

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from IPython.display import Markdown

from labelreg.paths import project_root

PAPERS = {"nar": "NaR", "alr": "ALR", "kr": "KR", "cskd": "CS-KD", "sba": "SBA"}  # file name to the name in a mark
PACKAGE = Path(__file__).resolve().parents[1]
_MARK = re.compile(rf"# ?((?:{'|'.join(PAPERS.values())}) (?:eq\. \d+|L_\w+|algorithm \d+)) *(?=#|$)")


@dataclass(frozen=True)
class Line:
    """A marked line of source."""

    mark: str  #: such as ``"KR eq. 6"``
    file: str  #: relative to the folder that holds the package, such as ``labelreg/methods/kr.py``
    number: int  #: of the line, from 1
    function: str  #: qualified name of the function or class around it; empty at the top level
    anchor: str  #: the part of that name that the book documents; only documented objects have links to their source
    code: str  #: the line without its indentation and marks


@dataclass(frozen=True)
class Equation:
    """An equation of a paper."""

    paper: str  #: such as ``"KR"``
    number: str  #: such as ``"6"``; a name if the paper gives no number
    lines: tuple[Line, ...]  #: the one marked with it, or none if it is left out
    meaning: str  #: what it defines, in a few words
    formula: str  #: LaTeX, in the notation of the book
    reading: str = ""  #: how the book reads it, if not as printed
    left_out: str = ""  #: why no line computes it


def marked_lines(package: Path = PACKAGE) -> list[Line]:
    """Find the marks in the sources of a package, one :class:`Line` per mark."""
    found = []
    for path in sorted(package.rglob("*.py")):
        source, file = path.read_text(), path.relative_to(package.parent).as_posix()
        for number, text in enumerate(source.splitlines(), 1):
            for mark in _MARK.findall(text):
                code = text[: _MARK.search(text).start()].strip()
                found.append(Line(mark, file, number, *_names_around(source, number), code))
    return found


def equations(paper: str) -> list[Equation]:
    """Return the equations of a paper, such as ``"kr"``, in its order."""
    name, found = PAPERS[paper], marked_lines()
    stated = tomllib.loads((project_root() / "data" / "equations" / f"{paper}.toml").read_text())
    marks = {number: f"{name} eq. {number}" if number.isdigit() else f"{name} {number}" for number in stated}
    return [
        Equation(name, number, tuple(line for line in found if line.mark == marks[number]), **said)
        for number, said in stated.items()
    ]


def show_equations(paper: str) -> Markdown:
    """Lay out the equations of a paper, such as ``"kr"``, as a table for a page of the book, in MyST Markdown."""
    rows = []
    for equation in equations(paper):
        number = re.sub(r"L_(\w+)", r"$\\mathcal{L}_{\\mathit{\1}}$", equation.number)
        cell = [f"$\\displaystyle {equation.formula}$", *map(_show_line, equation.lines)]
        if equation.left_out:
            cell.append(f"No line: {equation.left_out}.")
        if equation.reading:
            cell.append(equation.reading)
        rows.append(f"* - **{number}**<br>{equation.meaning}\n  - " + "<br>\n    ".join(cell))
    return Markdown(":::{list-table}\n:widths: 20 80\n:class: equations\n\n" + "\n".join(rows) + "\n:::\n")


def _names_around(source: str, line: int) -> tuple[str, str]:
    """Return the qualified name of the function or class around a line, and the part of it that the book documents."""
    nodes = ast.walk(ast.parse(source))
    definitions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef))
    around = [each for each in definitions if each.lineno <= line <= each.end_lineno]  # outermost first
    documented = []
    for each in around:
        if each.name.startswith("_") or not ast.get_docstring(each):
            break
        documented.append(each.name)
        if isinstance(each, ast.FunctionDef):
            break
    return ".".join(each.name for each in around), ".".join(documented)


def _show_line(line: Line) -> str:
    """The line's code, and below it its function, linked to the source in the book."""
    address = f"../_modules/{line.file.removesuffix('.py')}.html#{line.anchor}"
    return f'`{line.code}`<br>\n    <a href="{address}">{line.function}</a>, line {line.number} of `{line.file}`'
