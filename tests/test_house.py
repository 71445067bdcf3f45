"""How the house is built. Which room may import which is import-linter's business, in ``make lint``."""

import ast
import re
from pathlib import Path

import pytest

import labelreg
from labelreg import methods
from labelreg.papers import papers

PACKAGE = Path(labelreg.__file__).parent
FILES = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TESTS = {path: path.read_text() for path in sorted(PACKAGE.parent.glob("tests/**/*.py"))}


def test_files_are_short():
    lengths = {path.name: text.count("\n") for path, text in (FILES | TESTS).items()}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def imported(text):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def names_and_texts(text):
    """What is written in a file's code, in small letters, without its comments."""
    values = (value for node in ast.walk(ast.parse(text)) for value in vars(node).values())
    return "\n".join(value.lower() for value in values if isinstance(value, str))


class TestNames:
    @pytest.mark.parametrize("room", ["training", "metrics", "results", "running", "sweeps"])
    def test_room_knows_no_method_by_name(self, room):
        classes = [methods.find(name).__name__.lower() for name in methods.names()]
        text = names_and_texts(FILES[PACKAGE / f"{room}.py"])
        assert [name for name in (*methods.names(), *classes) if re.search(rf"\b{name}\b", text)] == []

    def test_no_paper_is_imported_by_name_outside_the_papers(self):
        forbidden = {f"labelreg.papers.{key}" for key in papers}
        outside = {path: text for path, text in FILES.items() if path.parent != PACKAGE / "papers"}
        assert {path.name for path, text in outside.items() if forbidden & set(imported(text))} == set()

    def test_the_reading_of_imports_sees_each_way_of_writing_one(self):
        for line in (
            "import labelreg.papers.kr",
            "from labelreg.papers import kr",
            "from labelreg.papers import Row, kr as paper",
            "from labelreg.papers.kr import PAPER",
            "def late():\n    from labelreg.papers import kr",
        ):
            assert "labelreg.papers.kr" in set(imported(line))
