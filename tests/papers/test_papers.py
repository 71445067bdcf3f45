"""Every paper: its tables and figures as experiments, and the printed numbers beside recorded runs."""

import math
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from labelreg import data, methods, networks, papers, paths
from labelreg.experiments import PROFILES, Experiment
from labelreg.papers import COLUMNS, Item, Paper, Row, compare, reported
from labelreg.papers.measures import METRICS
from labelreg.results import Result, Store

PAPERS = pytest.mark.parametrize("key", papers.papers)
TABLES = [(key, name) for key, paper in papers.papers.items() for name in paper.tables]


def record(experiment, last=0.2, best=0.1, top5=0.02):
    """A made-up recorded run of two epochs, the first of them the best."""
    history = {"test_error": [best, last], "test_top5_error": [top5 / 2, top5], "test_ece": [0.01, 0.04]}
    if experiment.network == "lstm":
        history |= {f"{split}_perplexity": [best, last] for split in ("validation", "test")}
    observations = {"recall_at_1": np.array([1 - best, 1 - last])} if "embedding" in experiment.observe else {}
    result = Result(experiment.key, experiment.as_dict(), {"epoch": [1, 2]} | history, {}, observations)
    Store().save(result, experiment.name)


class TestPapers:
    def test_are_found_by_their_modules(self):
        assert {"alr", "kr"} <= papers.papers.keys()
        assert all(paper.key == key and isinstance(paper, Paper) for key, paper in papers.papers.items())

    @PAPERS
    def test_have_titles_authors_and_items(self, key):
        paper = papers.papers[key]
        assert paper.title
        assert paper.authors
        assert paper.venue
        assert paper.seeds >= 1
        assert paper.items == {**paper.tables, **paper.figures}
        for item in paper.items.values():
            assert item.title
            assert len(item) == len(item.rows) == len(list(item)) > 0
            assert all(isinstance(experiment, Experiment) for experiment in item)
            assert [item[index] for index in range(len(item))] == list(item)

    @PAPERS
    def test_rows_are_told_apart_by_data_set_network_and_method(self, key):
        for item in papers.papers[key].items.values():
            labels = [(row.dataset, row.network, row.method) for row in item.rows]
            assert len(set(labels)) == len(labels)
            assert len({experiment.key for experiment in item}) == len(labels)

    @PAPERS
    def test_rows_are_called_after_what_they_run(self, key):
        for item in papers.papers[key].items.values():
            for row in item.rows:
                assert (row.experiment.dataset, row.experiment.network) == (row.dataset, row.network)
                assert row.experiment.method in methods.names()
                assert row.experiment.seed == 0

    @PAPERS
    def test_what_learns_from_a_teacher_has_one(self, key):
        for item in papers.papers[key].items.values():
            for experiment in item:
                inside = dict(experiment.options).get("method", "cross_entropy")
                asks = any("teacher" in methods.options(method) for method in (experiment.method, inside))
                assert asks == (experiment.teacher is not None)


class TestReported:
    @pytest.mark.parametrize("key", sorted(path.stem for path in paths.reported_root().glob("*.csv")))
    def test_has_the_agreed_columns_and_kinds(self, key):
        table = reported(key)
        assert tuple(table.columns) == COLUMNS == ("item", "dataset", "network", "method", "metric", "value", "std")
        assert not table.duplicated(["item", "dataset", "network", "method", "metric"]).any()
        assert not table[["item", "dataset", "network", "metric", "value"]].isna().any().any()
        assert table[table.metric.isin(METRICS)].value.between(0, 100).all()
        assert table["std"].dropna().between(0, 10).all()

    @PAPERS
    def test_every_measured_number_has_its_experiment_and_every_experiment_its_number(self, key):
        measured = reported(key).query("metric in @METRICS")
        printed = {tuple(row) for row in measured[["item", "dataset", "network", "method"]].itertuples(index=False)}
        rows = {
            (name, row.dataset, row.network, row.method)
            for name, item in papers.papers[key].tables.items()
            for row in item.rows
        }
        assert printed == rows

    def test_unknown_paper(self):
        with pytest.raises(ValueError, match="no paper with reported numbers is called 'krr'; did you mean kr"):
            reported("krr")


class TestCompare:
    @pytest.mark.parametrize(("key", "table"), TABLES)
    def test_has_a_row_a_printed_number_in_their_order(self, key, table):
        printed = reported(key).query("item == @table").reset_index(drop=True)
        cells = compare(key, table)
        names = ["dataset", "network", "method", "metric"]
        pd.testing.assert_frame_equal(cells[names], printed[names])
        np.testing.assert_array_equal(cells.printed, printed.value)
        np.testing.assert_array_equal(cells.printed_std, printed["std"])
        assert (cells.profile == "").all()
        assert (cells.seeds == 0).all()
        assert cells[["ours", "ours_std", "best", "chosen", "gap"]].isna().all().all()

    @pytest.mark.parametrize(("key", "table"), TABLES)
    def test_says_what_can_be_run_and_how(self, key, table):
        cells = compare(key, table)
        for cell in cells.itertuples():
            there = cell.dataset in data.names() and cell.network in networks.names()
            assert cell.runnable == there
            assert cell.command.startswith(f"labelreg run --profile=paper --seeds={papers.papers[key].seeds} ")

    def test_unknown_names(self):
        with pytest.raises(ValueError, match="no paper is called 'krr'; did you mean kr"):
            compare("krr", "table1")
        with pytest.raises(ValueError, match="no table of kr is called 'table9'; did you mean table"):
            compare("kr", "table9")
        with pytest.raises(ValueError, match="no table of kr is called 'figure5'"):
            compare("kr", "figure5")


class TestRecorded:
    """KR prints errors and ALR accuracies, of the same experiment up to the method."""

    @staticmethod
    def row(key, table, **names) -> Row:
        rows = papers.papers[key].tables[table].rows
        (found,) = [row for row in rows if all(getattr(row, name) == value for name, value in names.items())]
        return found

    @staticmethod
    def cell(key, table, metric=None, **names):
        cells = compare(key, table)
        for name, value in names.items():
            cells = cells[cells[name] == value]
        if metric:
            cells = cells[cells.metric == metric]
        (found,) = cells.itertuples()
        return found

    NAMES = {"dataset": "cifar100", "network": "wrn28_10", "method": "Baseline"}  # noqa: RUF012

    @pytest.mark.parametrize("profile", ["fast", "paper"])
    def test_errors_are_means_and_deviations_over_seeds_in_percent(self, profile):
        experiment = self.row("kr", "table1", **self.NAMES).experiment.at(profile)
        errors = [0.19, 0.20, 0.18]
        for seed, error in zip(experiment.with_seeds(3), errors, strict=True):
            record(seed, last=error, best=error - 0.01)
        cell = self.cell("kr", "table1", **self.NAMES)
        assert (cell.profile, cell.seeds, cell.printed) == (profile, 3, 18.80)
        assert (cell.ours, cell.ours_std, cell.best) == pytest.approx((19.0, 1.0, 18.0))
        assert cell.gap == pytest.approx(19.0 - 18.80)
        others = compare("kr", "table1").query("profile == ''")
        assert len(others) == 15

    def test_accuracies_are_the_complement(self):
        experiment = self.row("alr", "table1", **self.NAMES).experiment
        for seed, error in zip(experiment.with_seeds(2), (0.19, 0.21), strict=True):
            record(seed, last=error, best=0.15)
        cell = self.cell("alr", "table1", **self.NAMES)
        assert (cell.ours, cell.best) == pytest.approx((80.0, 85.0))
        assert cell.ours_std == pytest.approx(math.sqrt(2))
        assert cell.gap == pytest.approx(80.0 - 81.20)

    def test_top_1_and_top_5(self):
        names = {"network": "imagenet_resnet50", "method": "KR"}
        record(self.row("kr", "table2", **names).experiment, last=0.24, top5=0.07)
        assert self.cell("kr", "table2", "top1_error", **names).ours == pytest.approx(24.0)
        assert self.cell("kr", "table2", "top5_error", **names).ours == pytest.approx(7.0)
        names = {"network": "imagenet_resnet50", "method": "ALR"}
        record(self.row("alr", "table2", **names).experiment, last=0.24, top5=0.07)
        assert self.cell("alr", "table2", "top1_accuracy", **names).ours == pytest.approx(76.0)
        assert self.cell("alr", "table2", "top5_accuracy", **names).ours == pytest.approx(93.0)

    def test_one_seed_has_no_deviation(self):
        record(self.row("kr", "table1", **self.NAMES).experiment)
        cell = self.cell("kr", "table1", **self.NAMES)
        assert (cell.seeds, cell.ours) == (1, pytest.approx(20.0))
        assert math.isnan(cell.ours_std)

    def test_the_papers_protocol_comes_before_the_fast_one(self):
        experiment = self.row("kr", "table1", **self.NAMES).experiment
        for seed in experiment.at("fast").with_seeds(3):
            record(seed, last=0.3)
        assert self.cell("kr", "table1", **self.NAMES).profile == "fast"
        record(experiment, last=0.2)
        cell = self.cell("kr", "table1", **self.NAMES)
        assert (cell.profile, cell.seeds, cell.ours) == ("paper", 1, pytest.approx(20.0))

    def test_other_settings_do_not_count(self):
        experiment = self.row("kr", "table1", **self.NAMES).experiment
        for changes in ({"epochs": 2}, {"weight_decay": 1e-4}, {"subset": 100}):
            record(experiment.at("paper", **changes))
            record(experiment.at("fast", **changes))
        record(experiment.at("quick"))
        assert (compare("kr", "table1").profile == "").all()

    @pytest.mark.parametrize("profile", ["fast", "paper"])
    def test_runs_of_other_defaults_are_passed_over_by_name(self, profile):
        experiment = self.row("kr", "table1", **self.NAMES).experiment.at(profile)
        old = replace(experiment, momentum=0.8).resolved()
        Store().save(Result(experiment.key, old.as_dict(), {"test_error": [0.2]}, {}), experiment.name)
        with pytest.warns(UserWarning, match=rf"recorded as {experiment.key}, but at momentum=0\.8, where"):
            assert self.cell("kr", "table1", **self.NAMES).profile == ""

    def test_runs_of_other_defaults_are_found_by_who_names_the_old_values(self):
        experiment = self.row("kr", "table1", **self.NAMES).experiment
        Store().save(Result("0" * 12, experiment.resolved().as_dict(), {"test_error": [0.2]}, {}), experiment.name)
        assert self.cell("kr", "table1", **self.NAMES).ours == pytest.approx(20.0)

    def test_differences_are_to_the_row_it_is_compared_with_on_common_seeds(self):
        table = papers.papers["nar"].tables["table5"]
        names = ("cifar100", "resnet32")
        errors = {"AT": (0.4, 0.5, 0.6), "AT+NaR": (0.39, 0.47), "mixup": (0.1,)}
        for label, values in errors.items():
            experiment = table.find(*names, label).experiment
            for each, error in zip(experiment.with_seeds(len(values)), values, strict=True):
                record(each, last=error)
        cells = compare("nar", "table5").query("dataset == 'cifar100' and network == 'resnet32'").set_index("method")
        assert cells.difference["AT+NaR"] == pytest.approx(-2)
        assert cells.half_width["AT+NaR"] == pytest.approx(12.706 * np.std([1, 3], ddof=1) / math.sqrt(2), rel=1e-3)
        assert cells.difference[["AT", "mixup", "mixup+NaR"]].isna().all()

    def test_differences_of_accuracies_have_the_sign_of_print(self):
        table = papers.papers["alr"].tables["table1"]
        for label, error in (("Baseline", 0.2), ("ALR", 0.15)):
            record(table.find("cifar100", "wrn28_10", label).experiment, last=error)
        assert self.cell("alr", "table1", **self.NAMES | {"method": "ALR"}).difference == pytest.approx(5)

    def test_every_row_is_compared_with_one_of_its_table(self):
        for paper in papers.papers.values():
            for item in paper.tables.values():
                for row in item.rows:
                    other = item.find(row.dataset, row.network, row.against or paper.baseline)
                    assert other is not None or row.method == "Single"

    def test_takes_a_store_or_its_results(self, tmp_path):
        record(self.row("kr", "table1", **self.NAMES).experiment)
        for store in (None, Store(), list(Store())):
            assert (compare("kr", "table1", store).seeds > 0).sum() == 1
        assert (compare("kr", "table1", Store(tmp_path / "elsewhere")).seeds > 0).sum() == 0
        assert (compare("kr", "table1", []).seeds > 0).sum() == 0

    @pytest.mark.parametrize(("key", "table"), TABLES)
    @pytest.mark.parametrize("profile", ["fast", "paper"])
    def test_every_row_is_found(self, key, table, profile):
        generator = random.Random(0)
        errors = {}
        for row in papers.papers[key].tables[table].rows:
            error = errors[row.dataset, row.network, row.method] = generator.random()
            record(row.experiment.at(profile), last=error, best=error / 2)
        cells = compare(key, table)
        assert (cells.profile == profile).all()
        assert (cells.seeds == 1).all()
        assert cells[["ours", "best", "gap"]].notna().all().all()
        at_the_end = 0.75 if papers.papers[key].last_epochs > 1 else 1.0  # the median of a run of two epochs
        for cell in cells[cells.metric.str.contains("^(?:top1_)?(?:error|accuracy)|perplexity|recall")].itertuples():
            recorded = at_the_end * errors[cell.dataset, cell.network, cell.method]
            percent = {"error": 100 * recorded, "accuracy": 100 - 100 * recorded, "1": 100 - 100 * recorded}
            expected = (percent | {"perplexity": recorded})[cell.metric.split("_")[-1]]
            assert cell.ours == pytest.approx(expected, rel=1e-4, abs=1e-3)


class TestEpochs:
    """Which epoch of a run is reported."""

    ROW = papers.papers["sba"].tables["table1"].rows[0]

    @staticmethod
    def save(experiment, **history):
        history = {"epoch": [*range(1, 1 + len(history["test_error"]))]} | history
        Store().save(Result(experiment.key, experiment.as_dict(), history, {}), experiment.name)

    def test_the_median_over_the_last_ones(self):
        assert papers.papers["sba"].last_epochs == 5
        self.save(self.ROW.experiment, test_error=[0.01, 0.50, 0.10, 0.90, 0.11, 0.12])
        cell = compare("sba", "table1").iloc[0]
        assert cell.ours == pytest.approx(12)
        assert cell.best == pytest.approx(1)
        assert math.isnan(cell.chosen)

    def test_medians_are_taken_run_by_run(self):
        self.save(self.ROW.experiment, test_error=[0.1, 0.1, 0.1, 0.9, 0.9])
        self.save(self.ROW.experiment.with_seeds(2)[1], test_error=[0.3, 0.3, 0.3, 0.3, 0.3])
        cell = compare("sba", "table1").iloc[0]
        assert (cell.seeds, cell.ours) == (2, pytest.approx(20))
        assert cell.ours_std == pytest.approx(math.sqrt(200))

    def test_the_one_that_validation_chooses(self):
        row = papers.papers["cskd"].tables["table2"].rows[0]
        assert row.experiment.holdout == 0.1
        self.save(row.experiment, test_error=[0.30, 0.20, 0.25], validation_error=[0.10, 0.40, 0.20])
        cell = compare("cskd", "table2").iloc[0]
        assert (cell.ours, cell.best, cell.chosen) == pytest.approx((25, 20, 30))


class TestRelativeImprovement:
    def test_recomputes_what_is_printed_from_the_printed_errors(self):
        """All eight of SBA's table 1, from errors as if they had been measured."""
        table = reported("sba")
        errors = table.query("metric == 'error'").set_index(["dataset", "network", "method"]).value
        for row in papers.papers["sba"].tables["table1"].rows:
            error = errors[row.dataset, row.network, row.method] / 100
            record(row.experiment, last=error, best=error)
        cells = compare("sba", "table1").query("metric == 'relative_improvement'")
        assert len(cells) == 8
        assert cells.gap.abs().max() < 0.0051
        np.testing.assert_allclose(cells.best, cells.ours)
        assert cells.ours_std.isna().all()

    def test_takes_the_baseline_of_the_same_profile(self):
        rows = papers.papers["sba"].tables["table1"].rows
        baseline, sba = (row.experiment for row in rows[:4] if row.method in ("Baseline", "SBA"))
        record(sba, last=0.1, best=0.1)
        record(baseline.at("fast"), last=0.2, best=0.2)
        cell = compare("sba", "table1").query("metric == 'relative_improvement'").iloc[0]
        assert (cell.profile, cell.seeds) == ("", 0)
        assert math.isnan(cell.ours)
        record(sba.at("fast"), last=0.15, best=0.15)
        cell = compare("sba", "table1").query("metric == 'relative_improvement'").iloc[0]
        assert (cell.profile, cell.ours) == ("fast", pytest.approx(25))

    def test_is_run_by_both_commands(self):
        cells = compare("sba", "table1").iloc[:5]
        commands = cells.set_index(["method", "metric"]).command
        both = f"{commands['SBA', 'error']} && {commands['Baseline', 'error']}"
        assert commands["SBA", "relative_improvement"] == both


def test_an_item_is_a_sequence_of_experiments():
    rows = tuple(Row("digits", "mlp", str(seed), Experiment(seed=seed)) for seed in range(3))
    item = Item("three", rows)
    assert list(item) == [Experiment(seed=seed) for seed in range(3)]
    assert item[1] == Experiment(seed=1)
    assert item[-1] in item
    assert len(item) == 3


def test_no_profile_makes_two_rows_of_a_table_one():
    for paper in papers.papers.values():
        for item in paper.tables.values():
            for profile in PROFILES.keys() - {"quick"}:
                assert len({experiment.at(profile).key for experiment in item}) == len(item)
