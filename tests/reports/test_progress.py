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
    counts = dict(zip(CURVES.rows, (3, 1), strict=False))
    runs = {row: list(map(run, row.experiment.at("fast").with_seeds(count))) for row, count in counts.items()}
    assert made(runs) == "30 epochs, 1 or 3 seeds, a card, torch 2.11"
    assert made({CURVES.rows[0]: [run(CURVES[0])]}) == "200 epochs, 1 seed, a card, torch 2.11"


def test_of_nothing_it_is_the_command():
    assert progress("kr", CURVES, store=[]) == (
        "0 of 6 experiments recorded. <code>labelreg reproduce --papers kr --dataset cifar100 --network preact_resnet18"
        " --minutes 60</code> records an hour's worth."
    )


def test_counts_and_names_what_is_missing_and_says_how_long_it_takes():
    runs = [run(each) for row in CURVES.rows[:4] for each in row.experiment.at("fast").with_seeds(3)]
    line = progress("kr", CURVES, store=runs[:-1])
    assert line.startswith("4 of 6 experiments recorded (profile fast, 30 epochs, 2 or 3 seeds, a card, torch 2.11). ")
    assert "Missing: gamma = 0.999; gamma = 1*. <code>labelreg reproduce" in line
    assert line.endswith(" records an hour's worth of the rest; about 4 minutes on one a card for the 7 runs left.")


def test_all_recorded_leaves_nothing_to_do():
    runs = [run(each) for row in CURVES.rows for each in row.experiment.at("fast").with_seeds(3)]
    assert progress("kr", CURVES, store=runs).endswith("(profile fast, 30 epochs, 3 seeds, a card, torch 2.11).")


@pytest.mark.parametrize(("asked", "used"), [("", "paper"), ("fast", "fast")])
def test_the_profile_is_the_one_with_more_runs_or_the_one_asked_for(asked, used):
    runs = [run(row.experiment) for row in CURVES.rows[:2]] + [run(CURVES[0].at("fast"))]
    line = progress("kr", CURVES, asked, runs)
    assert f"{2 if used == 'paper' else 1} of 6 experiments recorded (profile {used}, " in line
    assert ("--profile paper" in line) == (used == "paper")
    assert "--profile paper" in progress("kr", CURVES, "paper", [])


def test_names_only_settings_with_something_left_and_no_methods_of_several():
    first = [row for row in TABLE.rows if (row.dataset, row.network) == ("cifar10", "plaincnn6")]
    other = [row for row in TABLE.rows if row.dataset == "cifar100"]
    runs = [run(each) for row in (*first, *other) for each in row.experiment.at("fast").with_seeds(3)]
    line = progress("nar", TABLE, store=runs)
    assert "--dataset cifar10 --network resnet32,wrn28_10 --minutes" in line
    assert "Missing" not in line


def test_time_is_that_of_the_device_of_which_most_is_known():
    """And of a part, where nothing is known of the other networks."""
    known = TABLE.find("cifar100", "plaincnn6", "Baseline").experiment.at("fast")
    runs = [run(known, "slow", 7200.0), run(known.but(dataset="digits"), "a toaster", 1.0)]
    assert progress("nar", TABLE, store=runs).endswith("about 28.0 hours on one slow for 14 of the 89 runs left.")


def test_nothing_is_known_of_a_network_of_other_options():
    small = COLLECTIONS["shared"].tables["lstm"][0]
    assert "about" in progress("shared", COLLECTIONS["shared"].tables["lstm"], "paper", [run(small)])
    assert "about" not in progress("nar", papers["nar"].tables["table4"], "paper", [run(small)])
