"""How the house is built: each room knows only the rooms above it, and none knows what is not its business."""

import ast
import re
from pathlib import Path

import pytest

import labelreg
from labelreg import methods, papers

PACKAGE = Path(labelreg.__file__).parent
# from the ground up; rooms of one level do not know each other
LEVELS = (
    ("checks", "names", "paths"),
    ("options",),
    ("functional",),
    ("networks",),
    ("data",),
    ("methods", "regression"),
    ("costs", "metrics"),
    ("training",),
    ("observers",),
    ("results",),
    ("experiments",),
    ("assignments",),
    ("sweeps",),
    ("papers",),
    ("benchmark",),
    ("reproduce",),
    ("figures", "tables", "notebook"),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms(path):
    modules = imported_modules(ast.parse(path.read_text()))
    rooms = {module.split(".")[1] for module in modules if module.startswith("labelreg.")}
    return {room for room in rooms if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").exists()}


def test_every_room_has_its_place():
    assert {room_of(path) for path in FILES} - {"__init__"} == LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_knows_only_the_rooms_above(path):
    room = room_of(path)
    if room == "__init__":
        assert not imported_rooms(path)
    else:
        assert {other for other in imported_rooms(path) if other != room and LEVEL[other] >= LEVEL[room]} == set()


def test_the_equations_know_nothing_of_ours():
    rooms = [imported_rooms(path) for path in FILES if room_of(path) == "functional"]
    assert set.union(*rooms) == {"functional"}


def test_the_rule_can_be_broken(tmp_path, monkeypatch):
    """The reading of imports sees each way of writing one."""
    for line in (
        "import labelreg.cli",
        "from labelreg import cli",
        "from labelreg import __version__, cli as line",
        "from labelreg.cli import app",
        "def late():\n    from labelreg.cli import app",
    ):
        path = tmp_path / "room.py"
        path.write_text(line)
        assert imported_rooms(path) == {"cli"}


def words(path):
    """The names and texts in a file's code, in small letters, without its comments."""
    for node in ast.walk(ast.parse(path.read_text())):
        for value in vars(node).values():
            if isinstance(value, str):
                yield value.lower()


@pytest.mark.parametrize("room", ["training.py", "metrics.py", "sweeps.py", "results.py"])
def test_knows_no_method_by_name(room):
    classes = [methods.find(name).__name__.lower() for name in methods.names()]
    text = "\n".join(words(PACKAGE / room))
    assert [name for name in (*methods.names(), *classes) if re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_paper_is_imported_by_name_below_the_papers(path):
    modules = set(imported_modules(ast.parse(path.read_text())))
    if room_of(path) != "papers":
        assert not modules & {f"labelreg.papers.{key}" for key in papers.papers}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 500
