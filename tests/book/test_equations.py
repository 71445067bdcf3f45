"""Every numbered equation has its line, or a reason for having none."""

import pytest

from labelreg.book.equations import PAPERS, equations, marked_lines, show_equations

NUMBERED = {"nar": 8, "alr": 8, "kr": 15, "sba": 15}
ALL = [equation for paper in PAPERS for equation in equations(paper)]


@pytest.mark.parametrize("equation", ALL, ids=lambda equation: f"{equation.paper} {equation.number}")
def test_one_line_or_a_reason(equation):
    assert len(equation.lines) == (0 if equation.left_out else 1)
    assert all((equation.formula, equation.meaning))
    assert equation.formula.count("{") == equation.formula.count("}")


@pytest.mark.parametrize(("paper", "count"), NUMBERED.items())
def test_every_numbered_equation_is_here(paper, count):
    assert [equation.number for equation in equations(paper)] == [str(number) for number in range(1, count + 1)]


def test_every_mark_is_of_an_equation_here():
    assert sorted(line.mark for line in marked_lines()) == sorted(line.mark for each in ALL for line in each.lines)


@pytest.fixture
def package(tmp_path):
    source = '''
        top = 1  # KR eq. 1
        mentioned = "# KR eq. 2"
        # KR eq. 3 is mentioned here, too

        class Method:
            """Documented."""

            def step(self):  # CS-KD algorithm 1
                def inner():
                    return 2  # NaR eq. 4  # SBA eq. 11
                return inner() + 1  # not eq. 5
        '''
    folder = tmp_path / "small" / "room"
    folder.mkdir(parents=True)
    (folder / "source.py").write_text("\n".join(line[8:] for line in source.splitlines()[1:]))
    (folder / "empty.py").write_text("")
    return tmp_path / "small"


def test_marks_are_read(package):
    lines = marked_lines(package)
    assert [(line.mark, line.number, line.function, line.anchor, line.code) for line in lines] == [
        ("KR eq. 1", 1, "", "", "top = 1"),
        ("CS-KD algorithm 1", 8, "Method.step", "Method", "def step(self):"),
        ("NaR eq. 4", 10, "Method.step.inner", "Method", "return 2"),
        ("SBA eq. 11", 10, "Method.step.inner", "Method", "return 2"),
    ]
    assert {line.file for line in lines} == {"small/room/source.py"}


def test_page_links_to_the_source():
    table = show_equations("kr").data
    (line,) = equations("kr")[5].lines
    assert f"`{line.code}`" in table
    assert f'href="../_modules/{line.file.removesuffix(".py")}.html#{line.anchor}"' in table
