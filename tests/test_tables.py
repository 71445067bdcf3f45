"""Tables for the notebooks."""

import numpy as np
import pytest
from scipy import stats

from labelreg.papers import papers
from labelreg.results import Result, Store
from labelreg.tables import against_baseline, beside_printed, observed, show_against_baseline


def results(errors, experiment=None) -> list[Result]:
    return [
        Result(
            key=f"k{seed}",
            experiment={"seed": seed},
            history={"test_error": [0.9, error], "test_ece": [0.5, 0.1], "test_nll": [2.0, 0.4]},
            provenance={},
        )
        for seed, error in enumerate(errors)
    ]


def test_difference_and_interval_are_those_of_a_paired_t_test():
    baseline, method = [0.10, 0.12, 0.11, 0.15], [0.08, 0.11, 0.10, 0.11]
    table = against_baseline({"base": results(baseline), "new": results(method)}, "base")
    interval = stats.ttest_rel(np.multiply(100, method), np.multiply(100, baseline)).confidence_interval()
    assert table.error["new"] == pytest.approx(10)
    assert table.difference["new"] == pytest.approx((interval.high + interval.low) / 2)
    assert table.half_width["new"] == pytest.approx((interval.high - interval.low) / 2)
    assert table.ece["new"] == pytest.approx(10)
    assert table.nll["new"] == pytest.approx(0.4)


def test_the_baseline_must_be_there_with_as_many_seeds():
    with pytest.raises(ValueError, match="no label is called 'bass'; did you mean base"):
        against_baseline({"base": results([0.1])}, "bass")
    with pytest.raises(ValueError, match="the same seeds"):
        against_baseline({"base": results([0.1]), "new": results([0.1, 0.2])}, "base")


def test_shown_table_has_a_sign_and_leaves_the_baseline_empty():
    table = against_baseline({"base": results([0.10, 0.12]), "new": results([0.08, 0.11])}, "base")
    html = show_against_baseline({"clean": table}).to_html()
    assert "-1.5 ± 6.4" in html
    assert html.count("±") == 1


def test_one_seed_has_no_interval():
    table = against_baseline({"base": results([0.10]), "new": results([0.08])}, "base")
    assert "-2.0" in show_against_baseline({"clean": table}).to_html()


def test_cells_not_run_show_their_command(tmp_path):
    html = beside_printed("kr", "table1", Store(tmp_path)).to_html()
    assert html.count("not yet run") == 16
    assert "labelreg run --profile=paper --seeds=5" in html
    assert "gap" not in html


def test_a_recorded_run_stands_beside_the_printed_number(tmp_path):
    experiment = papers["kr"].tables["table1"][0]
    store = Store(tmp_path)
    for each, error in zip(experiment.with_seeds(2), (0.05, 0.06), strict=True):
        history = {"test_error": [0.04, error], "test_ece": [0.1, 0.1]}
        store.save(Result(each.key, each.as_dict(), history, {}), each.name)
    html = beside_printed("kr", "table1", store).to_html()
    assert "5.50 ± 0.71" in html
    assert "+0.78" in html  # 5.50 against 4.72
    assert "paper, 2 seeds" in html
    assert html.count("not yet run") == 15


@pytest.mark.parametrize("validated", [True, False])
def test_the_epoch_that_validation_chooses_is_shown_where_there_is_one(tmp_path, validated):
    experiment = papers["cskd"].tables["table2"][0]
    history = {"test_error": [0.31, 0.20, 0.25]} | ({"validation_error": [0.1, 0.3, 0.2]} if validated else {})
    store = Store(tmp_path)
    store.save(Result(experiment.key, experiment.as_dict(), history, {}), experiment.name)
    html = beside_printed("cskd", "table2", store).to_html()
    assert ("best validation epoch" in html) is validated
    assert ("31.00" in html) is validated
    assert "nan" not in html


def test_observed_takes_metrics_and_observations_at_the_last_epoch():
    def seen(errors, depths):
        return Result("k", {}, {"test_error": errors}, {}, {"depth": np.array(depths)})

    groups = {("a", "clean"): [seen([0.5, 0.2], [1.0, 3.0]), seen([0.5, 0.4], [1.0, 5.0])], "b": [seen([0.1], [2.0])]}
    frame = observed(groups, {"test_error": "error, %", "depth": "depth"}).data
    assert frame["error, %"].tolist() == ["30.0 ± 14.1", "10.0"]
    assert frame["depth"].tolist() == ["4.00 ± 1.41", "2.00"]
