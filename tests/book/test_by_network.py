"""Recorded runs of several networks in one table."""

import pytest

from labelreg.book.by_network import by_network
from labelreg.papers import BENCHMARK
from labelreg.results import Result

AG_NEWS, NEWSGROUPS = BENCHMARK.tables["ag_news"], BENCHMARK.tables["20news"]


def recorded(network: str, method: str, *errors: float) -> list[Result]:
    """One run per seed."""
    experiments = AG_NEWS.find("ag_news", network, method).experiment.at("fast").with_seeds(len(errors))
    made = {"device": "x86_64 CPU", "torch": "2", "seconds": 60.0}
    return [
        Result(each, {"test_error": [error], "test_ece": [0.1], "test_nll": [1.0]}, made)
        for each, error in zip(experiments, errors, strict=True)
    ]


def test_rows_are_networks_with_differences_on_common_seeds():
    store = recorded("textrnn", "Cross-entropy", 0.20, 0.22, 0.21) + recorded("textrnn", "ALR-S", 0.19, 0.20)
    store += recorded("fasttext", "ALR-S", 0.12)
    shown = by_network([AG_NEWS, NEWSGROUPS], ("ALR-S", "KR-LS"), store=store)
    assert shown.table.data.loc["AG News, 15k subset"].to_dict("index") == {
        "fasttext": {"Cross-entropy": "", "ALR-S": "12.0", "KR-LS": ""},
        "textrnn": {"Cross-entropy": "21.0 ± 1.0", "ALR-S": "19.5 (-1.5 ± 6.4, 2 seeds)", "KR-LS": ""},
    }
    assert [line.split(" experiments")[0] for line in shown.line.split("<br>")] == [
        "AG News, 15k subset: 3 of 16",
        "20 Newsgroups: 0 of 16",
    ]


@pytest.mark.parametrize(("errors", "star"), [((0.19, 0.2101, 0.20), True), ((0.19, 0.23, 0.20), False)])
def test_a_star_is_for_what_is_significant(errors, star):
    store = recorded("textrnn", "Cross-entropy", 0.20, 0.22, 0.21) + recorded("textrnn", "KR-LS", *errors)
    (cell,) = by_network([AG_NEWS], ["KR-LS"], store=store).table.data["KR-LS"]
    assert ("*" in cell) == star


def test_without_runs_the_line_is_all_there_is():
    assert (
        by_network([AG_NEWS], ["KR-LS"], store=[])._repr_html_().strip().startswith("<p>AG News, 15k subset: 0 of 16")
    )
