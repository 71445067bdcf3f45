"""Every page of the built book, as a browser shows it."""

import re
from urllib.parse import unquote, urldefrag

import pytest


def faults(visits, of):
    """What a page is blamed for, by page; pages without fault are left out."""
    return {name: found for name, visit in visits.items() if (found := of(visit))}


def test_nothing_goes_wrong_and_nothing_is_fetched_from_elsewhere(visits):
    assert faults(visits, lambda visit: visit.complaints) == {}


def test_links_lead_somewhere(visits, book, address):
    ids = {name: set(visit.wide["ids"]) for name, visit in visits.items()}

    def broken(link):
        if not link.startswith(address):
            return False
        target, anchor = urldefrag(link.removeprefix(address))
        name = unquote(target).partition("?")[0] or "index.html"
        return not (book / name).is_file() or (anchor and unquote(anchor) not in ids.get(name, ()))

    assert faults(visits, lambda visit: sorted({link for link in visit.wide["links"] if broken(link)})) == {}


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "light")])
def test_no_page_is_wider_than_the_window(visits, width, theme):
    assert faults(visits, lambda visit: max(0, visit.facts[width, theme]["width"] - width)) == {}


def test_a_number_and_its_deviation_stand_on_one_line(visits):
    assert faults(visits, lambda visit: visit.facts[390, "light"]["broken"]) == {}


def test_sentences_in_tables_need_no_scrolling_on_a_desk(visits):
    assert faults(visits, lambda visit: visit.wide["cut"]) == {}


def test_formulas_are_set(visits):
    assert faults(visits, lambda visit: visit.wide["formulas"]) == {}


def test_images_load(visits):
    assert faults(visits, lambda visit: [each["source"] for each in visit.wide["images"] if not each["loaded"]]) == {}


def test_images_say_what_one_sees(visits):
    def wordless(visit):
        return [each["source"] for each in visit.wide["images"] if len(re.findall(r"\b[a-z]+\b", each["alt"])) < 5]

    assert faults(visits, wordless) == {}


def test_images_are_in_numbered_figures(visits):
    def uncounted(visit):
        numbers = [number for number in visit.wide["figures"] if re.match(r"Fig\. \d", number)]
        return len(visit.wide["images"]) - len(numbers)

    assert faults(visits, uncounted) == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(visits, theme):
    assert faults(visits, lambda visit: visit.facts[1440, theme]["pale"]) == {}


@pytest.mark.parametrize("chapter", ["nar", "alr", "kr", "cskd", "sba"])
def test_a_chapter_shows_its_drawing_and_a_result_within_three_screens(visits, chapter):
    drawing, result, *_ = (each["top"] for each in visits[f"notebooks/{chapter}.html"].wide["images"])
    assert drawing < 900
    assert result < 3 * 900
