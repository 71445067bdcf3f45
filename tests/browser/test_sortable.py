"""Tables that sort by their headings."""

from pathlib import Path

import pandas as pd
import pytest

from labelreg.book.tables import sortable

SCRIPT = (Path(__file__).parents[2] / "book/_static/sortable.js").read_text()
FRAME = pd.DataFrame(
    {
        ("clean", "error, %"): ["9.5 ± 0.1 *", "10.5 ± 0.2", ""],
        ("clean", "against the baseline"): ["-1.0 *", "", "+2.0"],
    },
    index=["b", "c", "a"],
)


@pytest.fixture
def table(page):
    """A table in a page that has the script."""
    content = f"{sortable(FRAME.style).to_html()}<table><thead><tr><th>plain</th></tr></thead></table>"
    page.set_content(f"<script>{SCRIPT}</script>{content}")
    return page


def order(page):
    return page.locator("tbody th").all_text_contents()


def test_by_mouse_up_and_down_with_what_is_empty_last(table):
    error = table.get_by_role("button", name="error, %")
    assert order(table) == ["b", "c", "a"]
    error.click()
    assert order(table) == ["b", "c", "a"]
    error.click()
    assert order(table) == ["c", "b", "a"]
    table.get_by_role("button", name="against").click()
    assert order(table) == ["b", "a", "c"]
    headings = table.locator("th[aria-sort]")
    assert headings.count() == 1
    assert headings.get_attribute("aria-sort") == "ascending"


def test_by_keyboard_and_by_name(table):
    table.keyboard.press("Tab")
    table.keyboard.press("Enter")
    assert order(table) == ["a", "b", "c"]
    table.keyboard.press("Space")
    assert order(table) == ["c", "b", "a"]


def test_other_tables_stay_as_they_are(table):
    assert table.locator("button").count() == 3
