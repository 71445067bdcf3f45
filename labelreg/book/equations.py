"""Every equation of the five papers, and the line of the package that computes it.

A line says so in a trailing comment, such as ``# KR eq. 6``. Formulas stand in ``data/equations``, one file per paper,
together with the reason where an equation has no line.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from IPython.display import Markdown

from labelreg.paths import project_root

PAPERS = {"nar": "NaR", "alr": "ALR", "kr": "KR", "cskd": "CS-KD", "sba": "SBA"}  # file name to the name in a mark
PACKAGE = Path(__file__).resolve().parents[1]
_MARK = re.compile(rf"# ?((?:{'|'.join(PAPERS.values())}) (?:eq\. \d+|L_\w+|algorithm \d+)) *(?=#|$)", re.MULTILINE)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Line:
    """A marked line of source.

    Attributes:
        mark: such as ``"KR eq. 6"``.
        file: path relative to the folder that the package lies in, such as ``labelreg/methods/kr.py``.
        number: of the line, from 1.
        function: qualified name of the function or class around it, such as ``KnowledgeRefinery.weights``; empty at the
            top level.
        anchor: as much of that name as the book documents: it links to the source of documented objects only.
        code: the line without its indentation and marks.
    """

    mark: str
    file: str
    number: int
    function: str
    anchor: str
    code: str


@dataclass(frozen=True)
class Equation:
    """An equation of a paper.

    Attributes:
        paper: such as ``"KR"``.
        number: such as ``"6"``; a name where the paper has no number.
        meaning: what it defines, in a few words.
        formula: LaTeX, in the notation of the book.
        reading: how it is read, where that is not what is printed.
        left_out: why no line computes it.
        lines: those that are marked with it: one, or none where it is left out.
    """

    paper: str
    number: str
    meaning: str
    formula: str
    reading: str
    left_out: str
    lines: tuple[Line, ...]


def marked_lines(package: Path = PACKAGE) -> list[Line]:
    """Find the marks in the sources of a package, one :class:`Line` per mark."""
    return [line for path in sorted(package.rglob("*.py")) for line in _marks_of(path, package.parent)]


def equations(paper: str) -> list[Equation]:
    """Return the equations of a paper in its order.

    Args:
        paper: key of the paper, such as ``"kr"``.
    """
    name = PAPERS[paper]
    lines: dict[str, list[Line]] = {}
    for line in marked_lines():
        lines.setdefault(line.mark, []).append(line)
    stated = tomllib.loads((project_root() / "data" / "equations" / f"{paper}.toml").read_text())
    return [
        Equation(
            paper=name,
            number=number,
            meaning=said["meaning"],
            formula=said["formula"],
            reading=said.get("reading", ""),
            left_out=said.get("left_out", ""),
            lines=tuple(lines.get(f"{name} eq. {number}" if number.isdigit() else f"{name} {number}", ())),
        )
        for number, said in stated.items()
    ]


def show_equations(paper: str) -> Markdown:
    """Lay out the equations of a paper as a table for a page of the book, in MyST Markdown.

    Args:
        paper: key of the paper, such as ``"kr"``.
    """
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


def _marks_of(path: Path, root: Path) -> Iterator[Line]:
    source = path.read_text()
    if not _MARK.search(source):
        return
    tree = ast.parse(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            number, column = token.start
            for mark in _MARK.findall(token.string):
                around = _definitions_around(tree, number)
                yield Line(
                    mark=mark,
                    file=path.relative_to(root).as_posix(),
                    number=number,
                    function=".".join(each.name for each in around),
                    anchor=".".join(each.name for each in _documented(around)),
                    code=token.line[:column].strip(),
                )


def _definitions_around(node: ast.AST, line: int) -> list[_Definition]:
    """Functions and classes around a line, outermost first."""
    for child in ast.iter_child_nodes(node):
        if getattr(child, "lineno", line) <= line <= getattr(child, "end_lineno", line):
            inner = _definitions_around(child, line)
            if isinstance(child, _Definition):
                return [child, *inner]
            if inner:
                return inner
    return []


def _documented(definitions: list[_Definition]) -> Iterator[_Definition]:
    for each in definitions:
        if each.name.startswith("_") or not ast.get_docstring(each):
            return
        yield each
        if not isinstance(each, ast.ClassDef):
            return


def _show_line(line: Line) -> str:
    """The line's code, and below it its function, linked to the source in the book."""
    address = f"../_modules/{line.file.removesuffix('.py')}.html#{line.anchor}"
    return f'`{line.code}`<br>\n    <a href="{address}">{line.function}</a>, line {line.number} of `{line.file}`'
