"""Tables for the notebooks."""

import numpy as np
import pytest
from scipy import stats

from labelreg.book import tables
from labelreg.experiment import Experiment
from labelreg.papers import BENCHMARK, Item, papers
from labelreg.reports.measures import p_values
from labelreg.results import Result, Store


def results(errors) -> list[Result]:
    """One run per seed, from seed to last error, or from a sequence of errors."""
    errors = errors if isinstance(errors, dict) else dict(enumerate(errors))
    return [
        Result(
            Experiment(seed=seed),
            {"test_error": [error - 0.01, error], "test_ece": [0.5, 0.1], "test_nll": [2.0, 0.4]},
            {"seconds": 60.0 * (seed + 1)},
        )
        for seed, error in errors.items()
    ]


def recorded(experiment, *errors, **history):
    """A made-up run that a store takes for one."""
    metrics = {"test_error": [*errors], "test_ece": [0.1] * len(errors), "test_nll": [1.0] * len(errors)}
    return Result(experiment, metrics | history, {"seconds": 1.0})


class TestAgainstBaseline:
    def test_difference_and_interval_are_those_of_a_paired_t_test(self):
        baseline, method = [0.10, 0.12, 0.11, 0.15], [0.08, 0.11, 0.10, 0.11]
        table = tables.against_baseline({"base": results(baseline), "new": results(method)}, "base")
        interval = stats.ttest_rel(np.multiply(100, method), np.multiply(100, baseline)).confidence_interval()
        assert table.error["new"] == pytest.approx(10)
        assert table.difference["new"] == pytest.approx((interval.high + interval.low) / 2)
        assert table.half_width["new"] == pytest.approx((interval.high - interval.low) / 2)
        assert (table.ece["new"], table.nll["new"]) == pytest.approx((10, 0.4))

    def test_the_baseline_must_be_there_with_as_many_seeds(self):
        with pytest.raises(ValueError, match="no label is called 'bass'; did you mean base"):
            tables.against_baseline({"base": results([0.1])}, "bass")
        with pytest.raises(ValueError, match="the same seeds"):
            tables.against_baseline({"base": results([0.1]), "new": results([0.1, 0.2])}, "base")

    @pytest.mark.parametrize(("seeds", "shown", "intervals"), [(2, "-1.5 ± 6.4", 1), (1, "-2.0", 0)])
    def test_shown_table_has_a_sign_and_leaves_the_baseline_empty(self, seeds, shown, intervals):
        table = tables.against_baseline(
            {"base": results([0.10, 0.12][:seeds]), "new": results([0.08, 0.11][:seeds])}, "base"
        )
        html = tables.show_against_baseline({"clean": table}).to_html()
        assert shown in html
        assert html.count("±") == intervals


def test_a_star_is_for_what_holm_leaves_significant():
    """Four seeds, differences of the same spread: p-values of .0003, .014 and .027 against .05/3, .05/2 and .05."""
    spread = np.array([-0.01, 0.01, -0.01, 0.01])
    groups = {"base": results([0.3] * 4)}
    groups |= {f"{shift}": results(0.3 + shift + spread) for shift in (-0.1, 0.03, 0.024, 0.001)}
    table = tables.against_baseline(groups, "base")
    raw = [stats.ttest_1samp(shift + spread, 0).pvalue for shift in (-0.1, 0.03, 0.024, 0.001)]
    (corrected,) = p_values([table])
    first, second, third, last = raw
    expected = [4 * first, 3 * second, max(3 * second, 2 * third), max(3 * second, 2 * third, last)]
    np.testing.assert_allclose(corrected, [np.nan, *expected])
    assert [corrected.lt(0.05).sum() for corrected in p_values([table, table])] == [1, 1]
    html = tables.show_against_baseline({"clean": table}).data["clean", "against the baseline"]
    assert [each.endswith("*") for each in html] == [False, True, *(each < 0.05 for each in expected[1:])]


def test_of_equal_runs_and_single_ones_nothing_is_significant():
    table = tables.against_baseline({"base": results([0.1, 0.2]), "same": results([0.1, 0.2])}, "base")
    assert p_values([table])[0].isna().all()
    shifted = tables.against_baseline({"base": results([0.1]), "one": results([0.3])}, "base")
    assert p_values([shifted])[0].isna().all()


def test_a_recorded_run_stands_beside_the_printed_number(tmp_path):
    store = Store(tmp_path)
    html = tables.beside_printed("kr", "table1", store).to_html()
    assert (html.count("not yet run"), "gap" in html) == (16, False)
    for each, error in zip(papers["kr"].tables["table1"][0].with_seeds(2), (0.05, 0.06), strict=True):
        store.save(recorded(each, 0.04, error))
    html = tables.beside_printed("kr", "table1", store).to_html()
    for shown in ("5.50 ± 0.71", "+0.78", "paper, 2 seeds", "labelreg run --profile=paper --seeds=5"):
        assert shown in html  # +0.78: against 4.72
    assert html.count("not yet run") == 15


@pytest.mark.parametrize("validated", [True, False])
def test_the_epoch_that_validation_chooses_is_ours_where_the_paper_chooses_so(tmp_path, validated):
    experiment = papers["cskd"].tables["table2"][0]
    chosen = {"validation_error": [0.1, 0.3, 0.2]} if validated else {}
    store = Store(tmp_path)
    store.save(recorded(experiment, 0.31, 0.20, 0.25, **chosen))
    html = tables.beside_printed("cskd", "table2", store).to_html()
    assert ("31.00" if validated else "20.00") in html
    assert ("last epoch" in html, "25.00" in html) == (True, True)
    assert "nan" not in html


def test_observed_takes_metrics_and_observations_at_the_last_epoch():
    def seen(errors, depths):
        return Result(Experiment(), {"test_error": errors}, {}, {"depth": np.array(depths)})

    groups = {("a", "clean"): [seen([0.5, 0.2], [1.0, 3.0]), seen([0.5, 0.4], [1.0, 5.0])], "b": [seen([0.1], [2.0])]}
    frame = tables.observed(groups, {"test_error": "error, %", "depth": "depth"}).data
    assert frame["error, %"].tolist() == ["30.0 ± 14.1", "10.0"]
    assert frame["depth"].tolist() == ["4.00 ± 1.41", "2.00"]


class TestRecordedAgainstBaseline:
    LABELS = ("Cross-entropy", "Label smoothing", "Confidence penalty")
    ROWS = tuple(BENCHMARK.tables["resnet8"].find("cifar100", "resnet8", label) for label in LABELS)
    FIRST, SECOND, _ = ROWS
    ITEM = Item("", ROWS)

    def test_differences_are_over_common_seeds_and_means_over_all(self):
        errors = {0: 0.10, 1: 0.12, 2: 0.20}, {2: 0.17, 1: 0.11, 5: 0.9}
        runs = {row: results(each) for row, each in zip((self.FIRST, self.SECOND), errors, strict=True)}
        table = tables.recorded_against_baseline(runs, "Cross-entropy")
        own = table.loc["Label smoothing"]
        interval = stats.ttest_rel([11, 17], [12, 20]).confidence_interval()
        assert own.difference == pytest.approx(-2)
        assert own.half_width == pytest.approx((interval.high - interval.low) / 2)
        deviation = np.std([17, 11, 90], ddof=1)
        assert (own.ours, own.ours_std, own.best) == pytest.approx((118 / 3, deviation, 118 / 3 - 1))
        assert (own.ece, own.nll, own.seeds, own.minutes) == pytest.approx((10, 0.4, 3, 11 / 3))
        assert table.difference["Cross-entropy"] == 0

    def test_without_runs_or_common_seeds_or_baseline_there_is_no_difference(self):
        runs = {self.FIRST: results({0: 0.1}), self.SECOND: results({1: 0.1})}
        assert np.isnan(tables.recorded_against_baseline(runs, "Cross-entropy").difference["Label smoothing"])
        html = tables.show_recorded(
            tables.recorded_against_baseline({}, "Cross-entropy"), self.ITEM, "Cross-entropy", "fast"
        ).to_html()
        assert html.count("not yet run") == 3
        del runs[self.FIRST]
        table = tables.recorded_against_baseline(runs, "Cross-entropy")
        assert np.isnan(table.difference["Label smoothing"])
        assert table.ours["Label smoothing"] == pytest.approx(10)
        assert "nan" not in tables.show_recorded(table, self.ITEM, "Cross-entropy", "paper").to_html()

    def test_shown_in_the_order_of_the_rows_with_commands_for_what_is_missing(self):
        runs = {self.SECOND: results({0: 0.3}), self.FIRST: results({0: 0.25, 1: 0.35})}
        shown = tables.show_recorded(
            tables.recorded_against_baseline(runs, "Cross-entropy"), self.ITEM, "Cross-entropy", "fast"
        )
        assert [*shown.data.index] == [*self.LABELS]
        assert shown.data["error, %"][:2].tolist() == ["30.00 ± 7.07", "30.00"]
        assert shown.data["against the baseline"].tolist() == ["", "+5.00, common seeds: 1", ""]
        command = shown.data["error, %"]["Confidence penalty"]
        assert "not yet run" in command
        assert "--seeds=3 epochs=30 learning_rate=0.2 schedule=one_cycle precision=bfloat16" in command
        assert "method=confidence_penalty" in command

    def test_of_a_text_the_perplexity_at_the_end_and_at_its_lowest(self):
        item = BENCHMARK.tables["lstm"]
        rows = [item.find("ptb", "lstm", label) for label in ("Cross-entropy", "Label smoothing")]
        runs = {row: results({0: 0.8, 1: 0.7}) for row in rows}
        for factor, group in enumerate(runs.values(), start=1):
            for result in group:
                result.history["test_perplexity"] = [200.0 * factor, 80.0 * factor, 100.0 * factor]
        table = tables.recorded_against_baseline(runs, "Cross-entropy", "test_perplexity")
        assert table[["ours", "difference", "best"]].values.tolist() == [[100, 0, 80], [200, 100, 160]]
        shown = tables.show_recorded(table, item, "Cross-entropy", "paper", "test_perplexity").data
        assert shown["test perplexity"]["Cross-entropy"] == "100.00 ± 0.00"
        assert "NLL, nats" not in shown
        assert "dataset=ptb" in shown["test perplexity"]["NaR"]


def test_recorded_rows_show_their_difference_to_the_baseline(tmp_path):
    item, store = papers["kr"].tables["table1"], Store(tmp_path)
    baseline, method = (item.find("cifar100", "wrn28_10", name).experiment for name in ("Baseline", "KR"))
    for experiment, errors in ((baseline, (0.20, 0.22)), (method, (0.19, 0.20))):
        for each, error in zip(experiment.with_seeds(2), errors, strict=True):
            store.save(recorded(each, error))
    shown = tables.beside_printed("kr", "table1", store).data
    differences = shown["against the baseline"]
    assert differences[differences != ""].tolist() == ["-1.50 ± 6.35"]
