"""Tables for the notebooks."""

from dataclasses import replace

import numpy as np
import pytest
from IPython.display import HTML
from scipy import stats

from labelreg import methods
from labelreg.book import tables
from labelreg.book.figures import recorded_curves
from labelreg.experiment import Experiment
from labelreg.papers import BENCHMARK, papers, reported
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
    return Result(experiment, metrics | history, {"seconds": 1.0, "device": "a card", "torch": "2"})


class TestAgainstBaseline:
    def test_difference_and_interval_are_those_of_a_paired_t_test(self):
        baseline, method = [0.10, 0.12, 0.11, 0.15], [0.08, 0.11, 0.10, 0.11]
        table = tables.against_baseline({"base": results(baseline), "new": results(method)}, "base")
        interval = stats.ttest_rel(np.multiply(100, method), np.multiply(100, baseline)).confidence_interval()
        assert table.value["new"] == pytest.approx(10)
        assert table.difference["new"] == pytest.approx((interval.high + interval.low) / 2)
        assert table.half_width["new"] == pytest.approx((interval.high - interval.low) / 2)
        assert (table.ece["new"], table.nll["new"]) == pytest.approx((10, 0.4))

    def test_the_baseline_must_be_there(self):
        with pytest.raises(ValueError, match="no label is called 'bass'; did you mean base"):
            tables.against_baseline({"base": results([0.1])}, "bass")

    def test_of_other_seeds_the_common_ones_are_compared(self):
        table = tables.against_baseline({"base": results([0.1]), "new": results([0.2, 0.4])}, "base")
        (shown,) = tables.show_against_baseline({"clean": table}).data["clean", "against the baseline"].tail(1)
        assert shown == "+10.0, common seeds: 1"

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
    alike = tables.against_baseline({"base": results([0.1, 0.2]), "better": results([0.0, 0.1])}, "base")
    assert p_values([alike])[0].isna().all(), "two seeds that differ alike are a coincidence of few test samples"
    shifted = tables.against_baseline({"base": results([0.1]), "one": results([0.3])}, "base")
    assert p_values([shifted])[0].isna().all()


def printed(paper, item, store=()):
    return tables.beside_printed(paper, item, store).table.data


class TestBesidePrinted:
    """Printed numbers, and recorded runs in the same cells."""

    ITEM = papers["kr"].tables["table1"]

    @pytest.mark.parametrize(("key", "item"), [(key, name) for key, paper in papers.items() for name in paper.tables])
    def test_every_printed_number_has_a_cell_and_none_is_empty_throughout(self, key, item):
        numbers = reported(key).query("item == @item")
        written = [
            f"{value:.2f}" + ("" if np.isnan(std) else f" ± {std:.2f}")
            for value, std in numbers[["value", "std"]].values
        ]
        shown = printed(key, item)
        assert sorted(each for each in shown.values.ravel() if each) == sorted(written)
        assert shown.shape[1] <= tables.MOST_COLUMNS
        assert (shown != "").any(axis=0).all()
        assert (shown != "").any(axis=1).all()

    @pytest.mark.parametrize(
        ("key", "item", "row", "column", "cell"),
        [
            ("kr", "table1", "LS (label smoothing)", ("CIFAR-100", "WRN-28-10"), "18.87 ± 0.11"),
            ("kr", "table3", ("AG News", "CharCNN"), "Baseline (cross entropy)", "14.22"),  # turned
            ("kr", "table4", "DML (deep mutual learning)", "WRN-28-10", "19.82"),  # one data set
            ("nar", "table4", "Label noise (DisturbLabel)", "test perplexity", "77.67"),  # and one network
            ("nar", "table5", "AT+NaR (adversarial training)", ("CIFAR-100", "ResNet-32"), "29.19 ± 0.10"),
            ("cskd", "table4", ("ECE, %", "Virtual-softmax"), "MIT67", "11.21 ± 1.00"),
            ("sba", "table1", ("ImageNet", "VGG-16"), ("relative improvement, %", "SBA"), "18.54"),
        ],
    )
    def test_a_number_is_found_by_its_names(self, key, item, row, column, cell):
        assert printed(key, item).loc[[row], [column]].values.tolist() == [[cell]]

    def test_a_table_of_one_setting_and_one_metric(self, monkeypatch):
        cells = reported("nar").query("item == 'table4' and metric == 'test_perplexity'").reset_index(drop=True)
        shown, common = tables._arranged(cells.assign(shown="x"))
        assert (shown.shape, common) == ((7, 1), ["ptb", "lstm"])

    def test_ours_stand_before_the_printed_number(self):
        first, second = self.ITEM[0].with_seeds(2)
        shown = tables.beside_printed("kr", "table1", [recorded(first, 0.04, 0.05), recorded(second, 0.04, 0.06)])
        cell = shown.table.data.loc["Baseline (cross entropy)", ("CIFAR-10", "pre-activation ResNet-18")]
        assert cell == "<b>5.50 ± 0.71</b> / 4.72 ± 0.21"
        assert sum("/" in each for each in shown.table.data.values.ravel()) == 1
        html = shown._repr_html_()
        assert "error, %, <b>ours</b> / printed</caption>" in html
        assert "1 of 16 experiments recorded (profile paper, 200 epochs" in html
        assert "significant" not in html

    def test_a_star_marks_significant_differences_to_our_baseline(self):
        errors = {"Baseline": (0.30, 0.31, 0.32), "LS": (0.29, 0.32, 0.31), "KR": (0.20, 0.211, 0.222)}
        runs = [
            recorded(self.ITEM.find("cifar100", "wrn28_10", name).experiment.but(seed=seed), error)
            for name, values in errors.items()
            for seed, error in enumerate(values)
        ]
        shown = tables.beside_printed("kr", "table1", runs)
        column = shown.table.data["CIFAR-100", "WRN-28-10"]
        assert [" * / " in each for each in column] == [False, False, True, False]
        assert "* our difference to the baseline is significant" in shown._repr_html_()

    @pytest.mark.parametrize("validated", [True, False])
    def test_the_epoch_that_validation_chooses_is_ours_where_the_paper_chooses_so(self, validated):
        chosen = {"validation_error": [0.1, 0.3, 0.2]} if validated else {}
        run = recorded(papers["cskd"].tables["table2"][0], 0.31, 0.20, 0.25, **chosen)
        cell = printed("cskd", "table2", [run]).loc["Cross-entropy", "CIFAR-100"]
        assert cell == f"<b>{31 if validated else 20:.2f}</b> / 25.82 ± 0.26"


def test_pairs_differ_by_the_first_minus_the_second_on_common_seeds():
    runs = {"new": results([0.08, 0.11, 0.3]), "old": results([0.10, 0.12])}
    shown = tables.pairs([("clean", runs, "new", "old"), ("noisy", runs, "old", "old")], ["error", "ece"]).data
    interval = stats.ttest_rel([8, 11], [10, 12]).confidence_interval()
    assert shown["error, points"].to_dict() == {
        ("clean", "new minus old"): f"-1.50 ± {(interval.high - interval.low) / 2:.2f}",
        ("noisy", "old minus old"): "+0.00 ± 0.00",
    }
    assert shown["ECE, points"].iloc[0] == "+0.00 ± 0.00"
    single = {"new": results([0.1]), "old": results([0.2])}
    assert tables.pairs([("clean", single, "new", "old")]).data.iloc[0, 0] == "-10.00"


def test_observed_takes_metrics_and_observations_at_the_last_epoch():
    def seen(errors, depths):
        return Result(Experiment(), {"test_error": errors}, {}, {"depth": np.array(depths)})

    groups = {("a", "clean"): [seen([0.5, 0.2], [1.0, 3.0]), seen([0.5, 0.4], [1.0, 5.0])], "b": [seen([0.1], [2.0])]}
    frame = tables.observed(groups, {"test_error": "error, %", "depth": "depth"}).data
    assert frame["error, %"].tolist() == ["30.0 ± 14.1", "10.0"]
    assert frame["depth"].tolist() == ["4.00 ± 1.41", "2.00"]


class TestMetrics:
    @staticmethod
    def runs(errors, **observed):
        return [
            replace(each, observations={name: np.array(values[seed]) for name, values in observed.items()})
            for seed, each in enumerate(results(errors))
        ]

    def test_are_those_that_every_run_has_seen(self):
        attacked = {"fgsm_error": [[[0.1, 0.5]], [[0.2, 0.6]]]}
        seen = {
            "a": self.runs([0.1, 0.2], recall_at_1=[[0.5], [0.6]], **attacked),
            "b": self.runs([0.1, 0.2], **attacked),
        }
        shown = tables.metrics(seen, "a")
        assert [*shown.data] == ["error, %", "ECE, %", "NLL, nats", "error under FGSM of 0.02, %"]
        assert shown.data.loc["b"].tolist() == ["15.0 ± 7.1", "10.0 ± 0.0", "0.40 ± 0.00", "55.0 ± 7.1"]
        assert 'class="sortable"' in shown.to_html()

    def test_stars_are_corrected_for_the_methods_of_a_column(self):
        """One p-value of .03 is significant by itself, and not when it is the smaller of two."""
        spread = np.array([0.00, 0.01, 0.02])
        errors = {"base": [0.3] * 3, "one": 0.3 + 0.033 + spread - 0.01, "same": [0.31, 0.29, 0.3]}
        p = stats.ttest_1samp(errors["one"] - 0.3, 0).pvalue
        assert 0.025 < p < 0.05
        groups = {label: self.runs(each) for label, each in errors.items()}
        assert tables.metrics(groups, "base").data["error, %"].str.endswith("*").tolist() == [False] * 3
        del groups["same"]
        assert tables.metrics(groups, "base").data["error, %"].str.endswith("*").tolist() == [False, True]

    def test_the_baseline_must_be_there(self):
        with pytest.raises(ValueError, match="no label is called 'bass'; did you mean base"):
            tables.metrics({"base": results([0.1])}, "bass")


class TestRecordedAgainstBaseline:
    FIRST, SECOND = (
        BENCHMARK.tables["resnet8"].find("cifar100", "resnet8", label) for label in ("Cross-entropy", "Label smoothing")
    )

    def test_differences_are_over_common_seeds_and_means_over_all(self):
        errors = {0: 0.10, 1: 0.12, 2: 0.20}, {2: 0.17, 1: 0.11, 5: 0.9}
        runs = {row: results(each) for row, each in zip((self.FIRST, self.SECOND), errors, strict=True)}
        table = tables.recorded_against_baseline(runs, "Cross-entropy")
        own = table.loc["Label smoothing"]
        interval = stats.ttest_rel([11, 17], [12, 20]).confidence_interval()
        assert own.difference == pytest.approx(-2)
        assert own.half_width == pytest.approx((interval.high - interval.low) / 2)
        deviation = np.std([17, 11, 90], ddof=1)
        assert (own.value, own.deviation) == pytest.approx((118 / 3, deviation))
        assert (own.ece, own.nll, own.seeds) == pytest.approx((10, 0.4, 3))
        assert table.difference["Cross-entropy"] == 0

    def test_without_common_seeds_or_baseline_there_is_no_difference(self):
        runs = {self.FIRST: results({0: 0.1}), self.SECOND: results({1: 0.1})}
        assert np.isnan(tables.recorded_against_baseline(runs, "Cross-entropy").difference["Label smoothing"])
        del runs[self.FIRST]
        table = tables.recorded_against_baseline(runs, "Cross-entropy")
        assert np.isnan(table.difference["Label smoothing"])
        assert table.value["Label smoothing"] == pytest.approx(10)


class TestShowRecorded:
    ITEM = BENCHMARK.tables["resnet8"]

    def runs(self, label, *errors):
        experiments = self.ITEM.find("cifar100", "resnet8", label).experiment.at("fast").with_seeds(len(errors))
        return [recorded(each, error) for each, error in zip(experiments, errors, strict=True)]

    def test_without_runs_there_is_the_line_alone(self):
        html = tables.show_recorded("resnet8", "fast")._repr_html_()
        assert "<table" not in html
        assert f"0 of {len(self.ITEM)} experiments recorded. <code>labelreg reproduce --papers shared" in html

    def test_without_the_baseline_there_is_no_column_of_differences(self):
        data = tables.show_recorded("resnet8", "fast", store=self.runs("Label smoothing", 0.1)).table.data
        assert [*data] == ["error, %", "ECE, %", "NLL, nats"]
        assert "nan" not in "".join(data.values.ravel())

    def test_recorded_rows_in_their_order_over_a_line_that_names_the_others(self):
        store = self.runs("Label smoothing", 0.3) + self.runs("Cross-entropy", 0.25, 0.35)
        shown = tables.show_recorded("resnet8", "fast", store=store)
        assert shown.table.data["error, %"].to_dict() == {"Cross-entropy": "30.00 ± 7.07", "Label smoothing": "30.00"}
        assert shown.table.data["against the baseline"].tolist() == ["", "+5.00, common seeds: 1"]
        assert shown.table.data["seeds"].tolist() == ["2", "1"]
        assert "1 or 2 seeds, a card, torch 2). Missing: " in shown.line
        assert 'class="sortable"' in shown._repr_html_()

    def test_of_a_text_the_perplexity_at_the_end(self):
        rows = [BENCHMARK.tables["lstm"].find("ptb", "lstm", label) for label in ("Cross-entropy", "Label smoothing")]
        store = [
            recorded(each, 0.8, 0.8, 0.8, test_perplexity=[200.0 * factor, 80.0 * factor, 100.0 * factor])
            for factor, row in enumerate(rows, start=1)
            for each in row.experiment.with_seeds(2)
        ]
        shown = tables.show_recorded("lstm", "paper", "test_perplexity", store).table.data
        assert shown["test perplexity"].tolist() == ["100.00 ± 0.00", "200.00 ± 0.00"]
        assert "NLL, nats" not in shown


class TestByNetwork:
    @staticmethod
    def runs(network, method, *errors):
        row = BENCHMARK.tables["ag_news"].find("ag_news", network, method)
        experiments = row.experiment.at("fast").with_seeds(len(errors))
        return [recorded(each, error) for each, error in zip(experiments, errors, strict=True)]

    def test_rows_are_networks_with_differences_on_common_seeds(self):
        store = self.runs("textrnn", "Cross-entropy", 0.20, 0.22, 0.21) + self.runs("textrnn", "ALR-S", 0.19, 0.20)
        store += self.runs("fasttext", "ALR-S", 0.12)
        shown = tables.by_network(("ag_news", "20news"), ("ALR-S", "KR-LS"), store=store)
        assert shown.table.data.loc["AG News, 15k subset"].to_dict("index") == {
            "fastText": {"Cross-entropy": "", "ALR-S": "12.0", "KR-LS": ""},
            "TextRNN": {"Cross-entropy": "21.0 ± 1.0", "ALR-S": "19.5<br>(-1.5 ± 6.4, common seeds: 2)", "KR-LS": ""},
        }
        assert [line.split(" experiments")[0] for line in shown.line.split("<br>")] == [
            "AG News, 15k subset: 3 of 16",
            "20 Newsgroups: 0 of 16",
        ]

    @pytest.mark.parametrize(("errors", "star"), [((0.19, 0.2101, 0.20), True), ((0.19, 0.23, 0.20), False)])
    def test_a_star_is_for_what_is_significant(self, errors, star):
        store = self.runs("textrnn", "Cross-entropy", 0.20, 0.22, 0.21) + self.runs("textrnn", "KR-LS", *errors)
        (cell,) = tables.by_network(["ag_news"], ["KR-LS"], store=store).table.data["KR-LS"]
        assert ("*" in cell) == star

    def test_without_runs_the_line_is_all_there_is(self):
        html = tables.by_network(["ag_news"], ["KR-LS"], store=[])._repr_html_()
        assert html.strip().startswith("<p>AG News, 15k subset: 0 of 16")


def test_the_map_holds_every_method_that_has_a_place():
    shown = tables.method_map().data
    for method in map(methods.find, methods.names()):
        source, time = method.place
        if source:
            (cell,) = shown.xs(source, level=1)[time or "before training"]
            assert f">{method.title}<" in cell
    assert [*dict.fromkeys(shown.index.get_level_values(0))] == [*dict.fromkeys(tables.SOURCES.values())]


class TestRecorded:
    ITEM = papers["kr"].figures["figure5"]

    def test_is_a_command_where_nothing_is_recorded(self):
        shown = tables.recorded("kr", "figure5", recorded_curves)
        assert isinstance(shown, HTML)
        assert "labelreg reproduce --papers kr --items figure5 --minutes 60" in shown.data

    def test_draws_what_is_recorded_under_a_line_that_says_what_it_is(self):
        for experiment in (*self.ITEM[0].at("fast").with_seeds(2), self.ITEM[1].at("fast")):
            Store().save(recorded(experiment, *[0.2] * experiment.epochs))
        drawn = tables.recorded("kr", "figure5", dict)
        assert {row.method: len(group) for row, group in drawn.items()} == {"gamma = 0": 2, "gamma = 0.9": 1}
        assert tables.recorded("kr", "figure5", recorded_curves).axes
