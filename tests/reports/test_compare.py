"""The printed numbers beside recorded runs."""

import math
import random

import numpy as np
import pandas as pd
import pytest

from labelreg import data, networks
from labelreg.papers import papers, reported
from labelreg.reports import compare, recorded_runs
from labelreg.results import Result, Store

TABLES = [(key, name) for key, paper in papers.items() for name in paper.tables]
NAMES = {"dataset": "cifar100", "network": "wrn28_10", "method": "Baseline"}
KR = papers["kr"].tables["table1"].find(*NAMES.values()).experiment  # KR prints errors
ALR = papers["alr"].tables["table1"].find(*NAMES.values()).experiment  # and ALR accuracies


def result(experiment, *errors, **history):
    """A made-up run with these test errors, one per epoch; the numbers of its other metrics follow from them."""
    errors = np.array(errors)
    history = {
        "test_error": errors,
        "test_top5_error": errors / 10,
        "test_ece": errors / 5,
        "test_nll": errors,
        **history,
    }
    if experiment.network == "lstm":
        history |= {f"{split}_perplexity": errors for split in ("validation", "test")}
    observations = {"recall_at_1": 1 - errors} if "embedding" in experiment.observe else {}
    return Result(experiment, {name: list(values) for name, values in history.items()}, {"seconds": 1.0}, observations)


def cell(key, table, results, **names):
    cells = compare(key, table, results)
    (found,) = cells[np.logical_and.reduce([cells[name] == value for name, value in names.items()])].itertuples()
    return found


class TestTable:
    @pytest.mark.parametrize(("key", "table"), TABLES)
    def test_has_one_row_per_printed_number_in_their_order(self, key, table):
        printed = reported(key).query("item == @table").reset_index(drop=True)
        cells = compare(key, table, [])
        names = ["dataset", "network", "method", "metric"]
        pd.testing.assert_frame_equal(cells[names], printed[names])
        np.testing.assert_array_equal(cells.printed, printed.value)
        np.testing.assert_array_equal(cells.printed_std, printed["std"])
        assert ((cells.profile == "") & (cells.seeds == 0)).all()
        numbers = ["ours", "ours_std", "difference", "half_width", "gap"]
        assert cells[numbers].isna().all(axis=None)
        for each in cells.itertuples():
            assert each.runnable == (each.dataset in data.names() and each.network in networks.names())

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("krr", "table1"), "no paper is called 'krr'; did you mean kr"),
            (("kr", "table9"), "no table of kr is called 'table9'; did you mean table"),
            (("kr", "figure5"), "no table of kr is called 'figure5'"),
            (("shared", "resnet8"), "no paper is called 'shared'"),
        ],
    )
    def test_refuses(self, names, message):
        with pytest.raises(ValueError, match=message):
            compare(*names)

    @pytest.mark.parametrize("profile", ["fast", "paper"])
    @pytest.mark.parametrize(("key", "table"), TABLES)
    def test_every_row_is_found_in_its_unit(self, key, table, profile):
        """A run of two epochs, the better one first: at the end is the second, or the median of both, or the best."""
        generator = random.Random(0)
        errors = {row: generator.random() for row in papers[key].tables[table].rows}
        runs = [result(row.experiment.at(profile), error / 2, error) for row, error in errors.items()]
        cells = compare(key, table, runs)
        assert ((cells.profile == profile) & (cells.seeds == 1)).all()
        assert cells[["ours", "gap"]].notna().all(axis=None)
        share = {0: 0.5, 1: 1.0, 5: 0.75}[papers[key].last_epochs]
        by_names = {(row.dataset, row.network, row.method): error for row, error in errors.items()}
        for each in cells[cells.metric != "relative_improvement"].itertuples():
            error = by_names[each.dataset, each.network, each.method]
            scale = 10 if each.metric.startswith("top5") else 100
            units = {"error": (0, scale), "accuracy": (100, -scale), "recall_at_1": (100, -100), "ece": (0, 20)}
            units["perplexity"] = (0, 1)
            ((offset, scale),) = [unit for name, unit in units.items() if each.metric.endswith(name)]
            assert each.ours == pytest.approx(offset + scale * share * error)


class TestRuns:
    @pytest.mark.parametrize("profile", ["fast", "paper"])
    def test_means_and_deviations_over_seeds(self, profile):
        errors = {0: 0.19, 1: 0.20, 2: 0.18}
        runs = [result(each, errors[each.seed] - 0.01, errors[each.seed]) for each in KR.at(profile).with_seeds(3)]
        found = cell("kr", "table1", runs, **NAMES)
        assert (found.profile, found.seeds, found.printed) == (profile, 3, 18.80)
        assert (found.ours, found.ours_std, found.gap) == pytest.approx((19.0, 1.0, 0.2))
        assert (compare("kr", "table1", runs).profile == "").sum() == 15

    def test_the_papers_protocol_comes_before_the_fast_one(self):
        fast = [result(each, 0.3) for each in KR.at("fast").with_seeds(3)]
        assert cell("kr", "table1", fast, **NAMES).profile == "fast"
        found = cell("kr", "table1", [*fast, result(KR, 0.2)], **NAMES)
        assert (found.profile, found.seeds, found.ours) == ("paper", 1, pytest.approx(20))
        assert math.isnan(found.ours_std)  # of one seed

    def test_other_settings_do_not_count(self):
        changes = ({"epochs": 2}, {"weight_decay": 1e-4}, {"subset": 100}, {"momentum": 0.8})
        others = [KR.at(profile, **each) for profile in ("fast", "paper") for each in changes]
        runs = [result(each, 0.2) for each in (*others, KR.at("quick"))]
        assert (compare("kr", "table1", runs).profile == "").all()

    def test_takes_a_store_or_its_results(self, tmp_path):
        Store().save(result(KR, *[0.2] * KR.epochs))
        for store in (None, Store(), list(Store())):
            assert (compare("kr", "table1", store).seeds > 0).sum() == 1
            assert len(recorded_runs(papers["kr"].tables["table1"].rows, "paper", store)) == 1
        assert (compare("kr", "table1", Store(tmp_path / "elsewhere")).seeds == 0).all()

    def test_recorded_runs_by_row_in_the_order_of_seeds(self):
        rows = papers["kr"].tables["table1"].rows[:3]
        runs = [result(each, 0.2) for row in rows[:2] for each in reversed(row.experiment.at("fast").with_seeds(2))]
        found = recorded_runs(rows, "fast", runs)
        assert list(found) == [*rows[:2]]
        assert [run.experiment.seed for row in found for run in found[row]] == [0, 1, 0, 1]
        assert recorded_runs(rows, "paper", runs) == {}
        assert recorded_runs(rows, store=runs) == found
        paper = [result(row.experiment.at("paper"), 0.2) for row in rows[1:]]
        assert list(recorded_runs(rows, store=[*runs, *paper])) == [*rows[1:]]

    def test_more_seeds_than_the_profiles_have_are_found(self):
        row = papers["kr"].tables["table1"].rows[0]
        runs = [result(each, 0.2) for each in row.experiment.at("fast").with_seeds(20)]
        assert len(recorded_runs([row], "fast", runs)[row]) == 20
        assert len(recorded_runs([row], "fast", runs[1:])[row]) == 7, "the first ones only, as one of them is missing"


class TestDifferences:
    def test_are_to_the_row_it_is_compared_with_on_common_seeds(self):
        table = papers["nar"].tables["table5"]
        runs = []
        for label, errors in {"AT": (0.4, 0.5, 0.6), "AT+NaR": (0.39, 0.47), "mixup": (0.1,)}.items():
            experiments = table.find("cifar100", "resnet32", label).experiment.with_seeds(len(errors))
            runs += map(result, experiments, errors)
        cells = compare("nar", "table5", runs)
        cells = cells.query("dataset == 'cifar100' and network == 'resnet32'").set_index("method")
        assert cells.difference["AT+NaR"] == pytest.approx(-2)
        assert cells.half_width["AT+NaR"] == pytest.approx(12.706 * np.std([1, 3], ddof=1) / math.sqrt(2), rel=1e-3)
        assert cells.difference[["AT", "mixup", "mixup+NaR"]].isna().all()

    def test_of_accuracies_have_the_sign_of_print(self):
        method = papers["alr"].tables["table1"].find("cifar100", "wrn28_10", "ALR").experiment
        runs = [result(ALR, 0.2), result(method, 0.15)]
        assert cell("alr", "table1", runs, **NAMES | {"method": "ALR"}).difference == pytest.approx(5)


class TestReportedEpoch:
    SBA = papers["sba"].tables["table1"][0]

    def test_the_median_over_the_last_ones(self):
        found = compare("sba", "table1", [result(self.SBA, 0.01, 0.50, 0.10, 0.90, 0.11, 0.12)]).iloc[0]
        assert found.ours == pytest.approx(12)

    def test_medians_are_taken_run_by_run(self):
        errors = ([0.1, 0.1, 0.1, 0.9, 0.9], [0.3] * 5)
        runs = [result(each, *values) for each, values in zip(self.SBA.with_seeds(2), errors, strict=True)]
        found = compare("sba", "table1", runs).iloc[0]
        assert (found.seeds, found.ours, found.ours_std) == (2, pytest.approx(20), pytest.approx(math.sqrt(200)))

    @pytest.mark.parametrize(("dataset", "chosen"), [("cifar100", 30), ("cub200", 20)])
    def test_the_one_that_validation_chooses_or_where_nothing_is_held_out_the_best(self, dataset, chosen):
        row = next(row for row in papers["cskd"].tables["table2"].rows if row.dataset == dataset)
        validation = {"validation_error": [0.10, 0.40, 0.20]} if row.experiment.holdout else {}
        runs = [result(row.experiment, 0.30, 0.20, 0.25, **validation)]
        found = cell("cskd", "table2", runs, dataset=dataset, method=row.method)
        assert found.ours == pytest.approx(chosen)


class TestRelativeImprovement:
    TABLE = papers["sba"].tables["table1"]
    NAMES = {"network": "resnet44", "dataset": "cifar10", "metric": "relative_improvement"}  # noqa: RUF012

    def test_recomputes_what_is_printed_from_the_printed_errors(self):
        """All eight of SBA's table 1, from errors as if they had been measured."""
        errors = reported("sba").query("metric == 'error'").set_index(["dataset", "network", "method"]).value / 100
        rows = self.TABLE.rows
        runs = [result(row.experiment, errors[row.dataset, row.network, row.method]) for row in rows]
        cells = compare("sba", "table1", runs).query("metric == 'relative_improvement'")
        assert len(cells) == 8
        assert cells.gap.abs().max() < 0.0051
        assert cells.ours_std.isna().all()

    def test_takes_the_baseline_of_the_same_profile(self):
        baseline, sba = (self.TABLE.find("cifar10", "resnet44", label).experiment for label in ("Baseline", "SBA"))
        runs = [result(sba, 0.1), result(baseline.at("fast"), 0.2)]
        found = cell("sba", "table1", runs, **self.NAMES)
        assert (found.profile, found.seeds, math.isnan(found.ours)) == ("", 0, True)
        found = cell("sba", "table1", [*runs, result(sba.at("fast"), 0.15)], **self.NAMES)
        assert (found.profile, found.ours) == ("fast", pytest.approx(25))
