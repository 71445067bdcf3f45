"""Drawings to move, as Python writes them."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from labelreg.book import moving
from labelreg.book.moving.triangle import CORNERS, SCALE, label_pushes
from labelreg.book.toy_regression import disturb_regression
from labelreg.data import Split, load

EXAMPLE = (0.7, 0.2, 0.1), (0.6, 0.3, 0.1)


def parsed(drawing):
    """A drawing's elements, and the data for its script."""
    element = ElementTree.fromstring(re.search(r"<div.*</div>(?=<script>)", drawing.data, re.DOTALL)[0])
    return element, json.loads(element.find("script").text)


def parts(element):
    """What stands in the parts that differ between frames."""
    changing = (each for each in element.iter() if "data-part" in each.attrib)
    return [each.text if each.tag == "text" else each.get("d") for each in changing]


@pytest.fixture(scope="module")
def regression():
    toy = load("toy")
    runs = {lam: disturb_regression(toy, lam=lam, epochs=20, every=10) for lam in (0.0, 0.9)}
    return parsed(moving.regression(toy, runs, start=(2, 1)))


class TestTriangle:
    def test_pushes_are_those_of_the_papers_example(self):
        hard, soft, residual = label_pushes(*EXAMPLE).values()
        torch.testing.assert_close(hard, torch.tensor([0.3, -0.2, -0.1]))
        torch.testing.assert_close(soft, torch.tensor([-0.1, 0.1, 0.0]))
        torch.testing.assert_close(residual, torch.tensor([0.0, 3 / 4 - 2 / 3, 1 / 4 - 1 / 3]))

    def test_the_first_state_is_drawn(self):
        element, _ = parsed(moving.label_triangle(("cat", "dog", "<plane>"), *EXAMPLE))
        handle = element.find(".//g[@role='slider']")
        place = [float(each) for each in re.findall(r"[\d.]+", handle.get("transform"))]
        np.testing.assert_allclose(place, np.array(EXAMPLE[0]) @ CORNERS, atol=0.01)
        assert handle.get("aria-valuetext") == "cat 0.70, dog 0.20, <plane> 0.10"
        bars = element.findall(".//line[@class='bar']")
        lengths = [float(bar.get("x2")) - float(bar.get("x1")) for bar in bars]
        np.testing.assert_allclose(lengths, SCALE * torch.cat([*label_pushes(*EXAMPLE).values()]), atol=1e-4)
        numbers = [each.text for each in element.findall(".//text[@class='number']")]
        assert numbers == ["+0.30", "−0.20", "−0.10", "−0.10", "+0.10", "0.00", "0.00", "+0.08", "−0.08"]


class TestFrames:
    def test_the_first_frame_is_drawn_and_chosen(self, regression):
        element, data = regression
        assert parts(element) == data["frames"][2][1] != data["frames"][2][0]
        assert data["values"] == [[0, 10, 20], [0.0, 0.9]]
        assert [each.get("value") for each in element.iter("input")] == ["2", "1"]
        assert [each.text for each in element.iter("output")] == ["20", "0.9"]

    def test_targets_move_with_the_networks_unless_lambda_is_0(self, regression):
        element, data = regression
        targets = [[frame[3] for frame in epoch] for epoch in data["frames"]]
        assert len({plain for plain, _ in targets}) == 1
        assert len({disturbed for _, disturbed in targets}) == 3
        observed = [each.get("d") for each in element.iter("path") if each.get("stroke-width") == "4"]
        assert observed[0] == targets[0][0]

    def test_labels_are_bars_over_at_most_forty_epochs(self):
        history = np.linspace([0.5, 0.4, 0.1], [0.0, 0.9, 0.1], 90)
        sample = Split(torch.zeros(1, 3, 2, 2), torch.tensor([1]))
        histories = {"LSR": torch.tensor([0.1, 0.8, 0.1]), "NaR": history}
        colours = dict.fromkeys(histories, "#000000")
        element, data = parsed(moving.label_history(sample, histories, colours, ["a", "b", "c"]))
        assert parts(element) == data["frames"][0]
        assert (len(data["frames"]), data["values"][0][0], data["values"][0][-1]) == (40, 1, 90)
        assert data["frames"][-1][1::2] == ["b: 0.80", "b: 0.90"]
        bars = (re.findall(r"v([-\d.]+)", each) for each in data["frames"][-1][::2])
        heights = [[-float(each) / 44 for each in row] for row in bars]
        np.testing.assert_allclose(heights, [[0.1, 0.8, 0.1], history[-1]], atol=0.002)
