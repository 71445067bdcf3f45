"""The result that the book begins with."""

from xml.etree import ElementTree

import pytest

from labelreg import paths
from labelreg.book import overview
from labelreg.papers.shared import BASELINE


@pytest.fixture(scope="module")
def tables():
    return overview.settings()


def test_every_setting_is_recorded_beside_its_baseline(tables):
    for heading, table in tables.items():
        assert BASELINE in table.index, heading
        assert len(table) > 4, heading
        assert set(table.index) <= set(overview.colours()), heading


def test_the_picture_in_the_readme_is_of_the_recorded_runs(tables):
    picture = ElementTree.parse(paths.project_root() / "book/_static/first-result.svg")
    (found,) = picture.iter("{http://purl.org/dc/elements/1.1/}description")
    command = "python -m labelreg.book.overview book/_static/first-result.svg"
    assert found.text == overview.written(tables), f"draw it anew: {command}"


def test_a_table_of_differences_marks_what_stands_after_holms_correction(tables):
    shown = overview.show(tables).data
    assert BASELINE not in shown.index
    clean = shown["200 digits,\nclean labels"]
    assert clean["KR"].endswith("*")
    assert not clean["NaR"].endswith("*")
    assert shown["PlainCNN-6,\nCIFAR-100"]["DML"] == "" or tables["PlainCNN-6,\nCIFAR-100"].seeds["DML"]


def test_without_runs_nothing_is_shown():
    assert overview.show(overview.settings([])).data.empty


def test_other_columns_have_a_row_for_the_baseline(tables):
    assert overview.show(tables, "ece").data.loc[BASELINE].ne("").all()
