"""A built book, served to a browser: the folder that ``LABELREG_BOOK`` names, and the Chromium of this machine."""

import functools
import http.server
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FACTS = (Path(__file__).parent / "facts.js").read_text()
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}  # a desk, a phone


@dataclass
class Visit:
    """What was seen of a page, by width and theme, and what went wrong while it loaded."""

    complaints: list[str] = field(default_factory=list)
    facts: dict[tuple[int, str], dict] = field(default_factory=dict)

    @property
    def wide(self) -> dict:
        return self.facts[WIDE["width"], "light"]


@pytest.fixture(scope="session")
def book() -> Path:
    if not (folder := os.environ.get("LABELREG_BOOK")):
        pytest.skip("LABELREG_BOOK names no built book")
    return Path(folder).resolve(strict=True)


@pytest.fixture(scope="session")
def address(book):
    """Where the book is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=book)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(book):
    driver = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    with browser.new_page(viewport=WIDE) as page:
        yield page


@pytest.fixture(scope="session")
def visits(book, address, browser) -> dict[str, Visit]:
    """Every page of the book, visited once."""
    names = sorted(path.relative_to(book).as_posix() for path in book.rglob("*.html"))
    names = [name for name in names if not name.startswith("_static/") and name != "index.html"]
    with browser.new_page(viewport=WIDE) as page:
        return {name: _visit(page, address, name) for name in names}


def _visit(page, address: str, name: str) -> Visit:
    visit = Visit()
    listeners = {
        "console": lambda message: message.type in ("error", "warning") and visit.complaints.append(message.text),
        "pageerror": lambda error: visit.complaints.append(str(error)),
        "requestfailed": lambda request: visit.complaints.append(f"failed: {request.url}"),
        "request": lambda request: (
            request.url.startswith((address, "data:")) or visit.complaints.append(f"outside: {request.url}")
        ),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.set_viewport_size(WIDE)
    page.goto(address + name, wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    page.add_style_tag(content="* { transition: none !important }")
    for theme, size in (("light", WIDE), ("dark", WIDE), ("light", NARROW)):
        page.set_viewport_size(size)
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        visit.facts[size["width"], theme] = page.evaluate(FACTS)
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return visit
