"""Recorded tables and figures in the book."""

from IPython.display import HTML

from labelreg.book import recorded
from labelreg.book.figures import recorded_curves
from labelreg.papers import papers
from labelreg.results import Result, Store

ITEM = papers["kr"].figures["figure5"]


def made_up(experiment):
    provenance = {"device": "a card", "torch": "2.11", "seconds": 1.0}
    return Result(experiment, {"test_error": [0.2], "test_nll": [0.5], "test_ece": [0.1]}, provenance)


def test_is_a_command_where_nothing_is_recorded():
    shown = recorded("kr", "figure5", recorded_curves)
    assert isinstance(shown, HTML)
    assert "labelreg reproduce --papers kr --dataset cifar100 --network preact_resnet18 --minutes 60" in shown.data


def test_draws_what_is_recorded_under_a_line_that_says_what_it_is(capsys):
    for experiment in (*ITEM[0].at("fast").with_seeds(2), ITEM[1].at("fast")):
        Store().save(made_up(experiment))
    drawn = recorded("kr", "figure5", dict)
    assert {row.method: len(group) for row, group in drawn.items()} == {"gamma = 0": 2, "gamma = 0.9": 1}
    assert recorded("kr", "figure5", recorded_curves).axes
