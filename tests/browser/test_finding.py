"""Ways into the built book."""

import pytest

CHAPTERS = {"nar": ("NaR", "network as regularization"), "alr": ("ALR",), "kr": ("KR", "knowledge refinery")}
CHAPTERS |= {"cskd": ("CS-KD", "cs-kd"), "sba": ("SBA", "stochastic batch augmentation")}
DEFINED = ("LSR", "label smoothing", "ECE", "expected calibration error", "mixup", "NLL", "R@1", "Maximum-entropy")


def first_hit(page, address, words):
    page.goto(address + "search.html")
    page.evaluate("words => { location.search = new URLSearchParams({ q: words }) }", words)
    return page.locator("#search-results li a").first.get_attribute("href")


@pytest.mark.parametrize(("chapter", "words"), [(key, words) for key, names in CHAPTERS.items() for words in names])
def test_search_leads_to_the_chapter_or_the_definition_first(page, address, chapter, words):
    found = first_hit(page, address, words)
    assert found.startswith((f"notebooks/{chapter}.html", "book/glossary.html#term-"))


@pytest.mark.parametrize("words", DEFINED)
def test_search_leads_to_the_definition_first(page, address, words):
    assert first_hit(page, address, words).startswith("book/glossary.html#term-")


def test_the_landing_page_leads_on_to_a_chapter(page, address):
    page.goto(address)
    page.wait_for_url("**/book/intro.html")
    assert "/notebooks/" in page.evaluate("document.querySelector('a.right-next').href")
