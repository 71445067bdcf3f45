"""The line on how much of a table or figure is recorded."""

import pytest

from labelreg.papers import COLLECTIONS, papers
from labelreg.reports import made, progress
from labelreg.results import Result

CURVES = papers["kr"].figures["figure5"]
TABLE = papers["nar"].tables["table2"]


def run(experiment, device="a card", seconds=36.0):
    return Result(experiment, {"test_error": [0.2]}, {"device": device, "torch": "2.11", "seconds": seconds})


def test_says_how_runs_were_made():
    counts = dict(zip(CURVES.rows, (3, 1, 2), strict=False))
    runs = {row: list(map(run, row.experiment.at("fast").with_seeds(count))) for row, count in counts.items()}
    assert made(runs) == "30 epochs, 1, 2 or 3 seeds, a card, torch 2.11"
    assert made({CURVES.rows[0]: [run(CURVES[0])]}) == "200 epochs, 1 seed, a card, torch 2.11"


def test_of_nothing_it_is_the_command():
    assert progress("kr", "figure5", store=[]) == (
        "0 of 6 experiments recorded. <code>labelreg reproduce --papers kr --items figure5 --minutes 60</code> records"
        " an hour's worth."
    )


def test_counts_and_names_what_is_missing_and_says_how_long_it_takes():
    runs = [run(each) for row in CURVES.rows[:4] for each in row.experiment.at("fast").with_seeds(3)]
    line = progress("kr", "figure5", store=runs[:-1])
    assert line.startswith("4 of 6 experiments recorded (profile fast, 30 epochs, 2 or 3 seeds, a card, torch 2.11). ")
    assert "Missing: gamma = 0.999; gamma = 1*. <code>labelreg reproduce" in line
    assert line.endswith(" records an hour's worth of the rest; about 4 minutes on one a card for the 7 runs left.")


def test_all_recorded_leaves_nothing_to_do():
    runs = [run(each) for row in CURVES.rows for each in row.experiment.at("fast").with_seeds(3)]
    assert progress("kr", "figure5", store=runs).endswith("(profile fast, 30 epochs, 3 seeds, a card, torch 2.11).")


@pytest.mark.parametrize(("asked", "used"), [("", "paper"), ("fast", "fast")])
def test_the_profile_is_the_one_with_more_runs_or_the_one_asked_for(asked, used):
    runs = [run(row.experiment) for row in CURVES.rows[:2]] + [run(CURVES[0].at("fast"))]
    line = progress("kr", "figure5", asked, runs)
    assert f"{2 if used == 'paper' else 1} of 6 experiments recorded (profile {used}, " in line
    assert ("--profile paper" in line) == (used == "paper")
    assert "--profile paper" in progress("kr", "figure5", "paper", [])


def test_methods_of_several_settings_are_not_named():
    runs = [run(each) for row in TABLE.rows[:4] for each in row.experiment.at("fast").with_seeds(3)]
    assert "Missing" not in progress("nar", "table2", store=runs)


def test_runs_on_a_part_of_the_samples_are_counted_apart():
    row = papers["kr"].tables["table3"].find("ag_news", "fasttext", "Baseline")
    runs = [run(row.experiment.at("fast", subset=row.subset))]
    line = progress("kr", "table3", store=runs)
    assert line.startswith("0 of 24 experiments recorded, another 1 on a part of the training samples. <code>")


def test_time_is_that_of_the_device_of_which_most_is_known():
    """And of a part, where nothing is known of the other networks."""
    known = TABLE.find("cifar100", "plaincnn6", "Baseline").experiment.at("fast")
    runs = [run(known, "slow", 7200.0), run(known.but(dataset="digits"), "a toaster", 1.0)]
    assert progress("nar", "table2", store=runs).endswith("about 28.0 hours on one slow for 14 of the 89 runs left.")


def test_nothing_is_known_of_a_network_of_other_options():
    small = COLLECTIONS["shared"].tables["lstm"][0]
    assert "about" in progress("shared", "lstm", "paper", [run(small)])
    assert "about" not in progress("nar", "table4", "paper", [run(small)])
