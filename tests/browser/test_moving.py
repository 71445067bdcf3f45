"""Drawings to move, in the hands of a reader."""

import re

import numpy as np
import pytest
import torch

from labelreg.book import moving
from labelreg.book.moving.triangle import CORNERS, RATE, SCALE, label_pushes
from labelreg.data import Split

SOFT = (0.6, 0.3, 0.1)


def opened(page, *drawings):
    page.set_content("".join(f"<div>{each.data}</div>" for each in drawings))
    return page.locator(".labelreg-moving").all()


def prediction(piece):
    """The shares of the classes where the handle is."""
    place = re.findall(r"[\d.]+", piece.get_by_role("slider").get_attribute("transform"))
    return np.linalg.solve(np.vstack([np.transpose(CORNERS), np.ones(3)]), [*map(float, place), 1])


def differences(piece, lines, end, start):
    script = "(all, [end, start]) => all.map(each => each.getAttribute(end) - each.getAttribute(start))"
    return np.array(piece.locator(lines).evaluate_all(script, [end, start]))


class TestTriangle:
    @pytest.fixture
    def piece(self, page):
        return opened(page, moving.label_triangle(("cat", "dog", "plane"), (0.7, 0.2, 0.1), SOFT))[0]

    @staticmethod
    def check(piece):
        """Bars and arrows are what the package computes for the prediction that is drawn."""
        shares = prediction(piece)
        pushes = torch.stack([*label_pushes(shares.tolist(), SOFT).values()])
        np.testing.assert_allclose(differences(piece, ".bar", "x2", "x1") / SCALE, pushes.flatten(), atol=1e-5)
        written = [float(each.replace("−", "-")) for each in piece.locator(".number").all_text_contents()]
        np.testing.assert_allclose(written, pushes.flatten(), atol=0.0051)
        stepped = (torch.tensor(shares).log() + RATE * pushes).softmax(1).numpy()
        moved = np.stack([differences(piece, ".arrow", f"{axis}2", f"{axis}1") for axis in "xy"], 1)
        np.testing.assert_allclose(moved, (stepped - shares) @ CORNERS, atol=1e-3)
        return shares

    @staticmethod
    def on_screen(piece, shares):
        script = "(field, [x, y]) => { const { e, f, a, d } = field.getScreenCTM(); return [e + a * x, f + d * y] }"
        return piece.locator("svg").first.evaluate(script, (np.array(shares) @ CORNERS).tolist())

    @pytest.mark.parametrize("aim", [(0.7, 0.2, 0.1), (0.34, 0.33, 0.33), (0.1, 0.15, 0.75), (0.05, 0.9, 0.05)])
    def test_dragging_shows_what_the_losses_ask(self, page, piece, aim):
        np.testing.assert_allclose(self.check(piece), (0.7, 0.2, 0.1), atol=1e-6)
        page.mouse.move(*self.on_screen(piece, (0.7, 0.2, 0.1)))
        page.mouse.down()
        page.mouse.move(*self.on_screen(piece, aim), steps=3)
        page.mouse.up()
        np.testing.assert_allclose(self.check(piece), aim, atol=0.01)

    def test_arrow_keys_move_it_and_the_triangle_holds_it(self, page, piece):
        handle = piece.get_by_role("slider")
        handle.focus()
        page.keyboard.press("ArrowRight")
        assert self.check(piece)[2] > 0.11
        for _ in range(80):
            page.keyboard.press("ArrowDown")
        cat, dog, plane = self.check(piece)
        assert (0.005 < cat < 0.011, round(dog + plane, 2)) == (True, 0.99)
        assert handle.get_attribute("aria-valuetext") == f"cat {cat:.2f}, dog {dog:.2f}, plane {plane:.2f}"

    def test_each_of_several_moves_by_itself(self, page):
        drawing = moving.label_triangle(("cat", "dog", "plane"), (0.7, 0.2, 0.1), SOFT)
        first, second = opened(page, drawing, drawing)
        second.get_by_role("slider").press("ArrowDown")
        assert prediction(first)[0] > prediction(second)[0] + 0.01


def test_sliders_choose_the_frame(page):
    sample = Split(torch.zeros(1, 1, 2, 2), torch.tensor([0]))
    history = np.linspace([1.0, 0.0], [0.0, 1.0], 5)
    (piece,) = opened(page, moving.label_history(sample, {"NaR": history}, {"NaR": "#E69F00"}, ["a", "b"]))
    slider, bars = piece.get_by_role("slider"), piece.locator("path[data-part]")
    for key, epoch in (("ArrowRight", 2), ("End", 5)):
        slider.press(key)
        share = history[epoch - 1, 0]
        assert slider.get_attribute("aria-valuetext") == f"{epoch}, NaR a: {share:.2f}"
        assert f"v{-44 * share:.1f}M" in bars.get_attribute("d")
        assert piece.locator("output").text_content() == str(epoch)


@pytest.mark.parametrize(("chapter", "count"), [("kr", 1), ("nar", 2)])
def test_chapters_have_drawings_that_move(page, address, chapter, count):
    page.goto(f"{address}notebooks/{chapter}.html")
    pieces = page.locator(".labelreg-moving.started").all()
    assert len(pieces) == count
    for piece in pieces:
        before = piece.inner_html()
        piece.get_by_role("slider").first.press("ArrowRight")
        assert piece.inner_html() != before
