"""What is run next, and how much of every table is recorded."""

import math
import sys

import pandas as pd
import pytest

from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS, Item, Paper, Row
from labelreg.reports import compare, coverage, overview, plan, printed_methods
from labelreg.results import Recorded, Result

BASE = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
METHODS = {"Baseline": "cross_entropy", "LS": "label_smoothing", "KR": "knowledge_refinery"}


def row(method, network="mlp", dataset="digits", **settings):
    return Row(method, BASE.but(method=METHODS[method], network=network, dataset=dataset, **settings))


def paper(key, **items):
    return Paper(key, tables={name: Item(name, rows, seeds=2) for name, rows in items.items()})


@pytest.fixture
def collections(monkeypatch):
    """A large and a small network, a paper that repeats a run of another, and one data set that is not asked for."""
    found = {
        "one": paper(
            "one",
            table1=(row("KR", "resnet8"), row("Baseline", "resnet8"), row("LS"), row("Baseline")),
            table2=(row("Baseline", dataset="toy"),),
        ),
        "two": paper("two", table1=(row("Baseline"), row("KR"))),
    }
    monkeypatch.setattr(sys.modules[plan.__module__], "COLLECTIONS", found)
    return found


def names(todo):
    return [(task.collection, task.row.network, task.row.method, task.experiment.seed) for task in todo]


def result(experiment):
    return Result(experiment, {"test_error": [0.2], "test_ece": [0.1]}, {})


class TestPlan:
    def test_baseline_first_with_all_seeds_small_networks_first_nothing_twice(self, collections):
        expected = [
            ("one", "mlp", "Baseline"),
            ("one", "mlp", "LS"),
            ("two", "mlp", "KR"),
            ("one", "resnet8", "Baseline"),
            ("one", "resnet8", "KR"),
        ]
        todo = plan("paper", collections=collections, datasets=["digits"])
        assert names(todo) == [(*each, seed) for each in expected for seed in range(2)]
        assert [task.experiment for task in todo[:2]] == row("Baseline").experiment.with_seeds(2)
        assert {task.item for task in todo} == {"table1"}
        # longer runs come after shorter ones
        collections["one"] = paper("one", table1=(row("Baseline", epochs=4),), table2=(row("KR", epochs=3),))
        todo = plan("paper", collections=["one"], datasets=["digits"], seeds=1)
        assert [task.item for task in todo] == ["table2", "table1"]

    def test_takes_the_seeds_of_the_table_or_those_asked_for(self, collections):
        for arguments, expected in (({"profile": "fast"}, 2), ({"profile": "paper"}, 2), ({"seeds": 4}, 4)):
            todo = plan(**arguments, collections=["two"], datasets=["digits"])
            assert [task.experiment.seed for task in todo] == [*range(expected)] * 2
        first = plan("fast", collections=["two"], datasets=["digits"])[0]
        assert first.experiment == row("Baseline").experiment.at("fast")

    def test_filters(self, collections):
        chosen = {"collections": collections, "datasets": ["digits"]}
        assert {task.row.network for task in plan(**chosen, networks=["resnet8"])} == {"resnet8"}
        assert {task.row.method for task in plan(**chosen, methods=["KR", "LS"])} == {"KR", "LS"}
        assert plan(collections=["two"], datasets=["toy"]) == []
        every = plan("paper", collections=["one", "two"], datasets=[])
        assert {task.item for task in every} > {"table1"}
        some = plan("paper", collections=["one", "two"], items=["table1"], datasets=[])
        assert some == [task for task in every if task.item == "table1"]
        assert {task.collection for task in plan(datasets=["digits"])} == {"one", "two"}

    def test_what_cannot_be_run_or_is_the_same_run_is_left_out(self, collections):
        spelt_out = row("LS", options={"epsilon": 0.1})
        collections["one"] = paper("one", table1=(row("LS"), spelt_out, row("LS", "bert")))
        todo = plan("paper", collections=["one"], datasets=["digits"])
        assert names(todo) == [("one", "mlp", "LS", seed) for seed in range(2)]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"profile": "fats"}, "no profile is called 'fats'; did you mean fast"),
            ({"collections": ["tow"]}, "no paper is called 'tow'; did you mean two"),
            ({"items": ["table3"]}, "no table or figure is called 'table3'; did you mean table"),
            ({"datasets": ["digit"]}, "no data set is called 'digit'; did you mean digits"),
            ({"networks": ["resnet"]}, "no network is called 'resnet'; did you mean resnet8"),
            ({"methods": ["RK"]}, "no method in any table or figure is called 'RK'"),
        ],
    )
    def test_unknown_names(self, arguments, message, collections):
        with pytest.raises(ValueError, match=message):
            plan(**{"collections": ["two"], "datasets": ["digits"]} | arguments)

    def test_of_all_that_is_printed_on_cifar100(self):
        todo = plan("fast")
        assert len({task.experiment for task in todo}) == len(todo) > 500
        assert {task.experiment.dataset for task in todo} == {"cifar100"}
        assert todo[0].row.method == "Cross-entropy"
        assert {task.row.method for task in todo} <= set(printed_methods())


class HalfAnHour:
    @staticmethod
    def seconds(experiment):
        return 1800.0 if experiment.network == "mlp" else math.nan


def test_overview_counts_what_is_recorded(collections):
    todo = plan("paper", collections=collections, datasets=["digits"])
    store = [result(row("Baseline").experiment), result(row("LS").experiment.with_seeds(2)[1])]
    table = overview(todo, Recorded(store), HalfAnHour())
    assert [*table] == ["collection", "item", "dataset", "network", "runs", "recorded", "left", "hours"]
    assert table.drop(columns=["item", "dataset", "hours"]).values.tolist() == [
        ["one", "mlp", 4, 2, 2],
        ["two", "mlp", 2, 0, 2],
        ["one", "resnet8", 4, 0, 4],
    ]
    assert table.hours.tolist() == pytest.approx([1, 1, math.nan], nan_ok=True)


class TestCoverage:
    def test_of_tables_figures_and_the_benchmark(self):
        table = COLLECTIONS["kr"].tables["table1"][0]
        curve = COLLECTIONS["kr"].figures["figure5"][1]
        shared = COLLECTIONS["shared"].tables["resnet18"][4]
        store = [result(each) for each in (*table.with_seeds(2), curve.at("fast"), shared.at("fast"), shared)]
        rows = coverage(store).set_index(["collection", "item"])
        assert [*rows] == [
            "shows",
            "cells",
            "runnable",
            "at fast",
            "own protocol",
            "on a subset",
            "mean gap",
            "largest gap",
        ]
        assert list(rows.index) == [(key, name) for key, each in COLLECTIONS.items() for name in each.items]
        assert rows.loc[("kr", "table1"), ["cells", "at fast", "own protocol"]].tolist() == [16, 0, 1]
        assert rows.loc[("kr", "table1"), "mean gap"] == pytest.approx(20 - 4.72)
        assert rows.loc[("kr", "figure5"), ["cells", "at fast", "own protocol"]].tolist() == [6, 1, 0]
        assert pd.isna(rows.loc[("kr", "figure5"), "mean gap"])
        methods = len(COLLECTIONS["shared"].tables["resnet18"])
        counts = rows.loc[("shared", "resnet18"), ["cells", "runnable", "at fast", "own protocol"]].tolist()
        assert counts == [methods, methods, 0, 1]
        assert rows[["at fast", "own protocol"]].sum().sum() == 3
        assert (rows.runnable <= rows.cells).all()

    def test_the_largest_gap_is_signed(self):
        rows = COLLECTIONS["kr"].tables["table1"].rows
        store = [result(each.experiment) for each in rows if each.dataset == "cifar100"]  # all at 20 %
        expected = max(compare("kr", "table1", store).gap.dropna(), key=abs)
        assert expected < 0
        assert coverage(store).set_index(["collection", "item"]).loc[("kr", "table1"), "largest gap"] == expected

    def test_of_runs_on_a_subset(self):
        row = COLLECTIONS["kr"].tables["table3"].find("ag_news", "textrnn", "KR-LS")
        on_a_subset = result(row.experiment.at("fast", subset=row.subset))
        of_another_size = result(row.experiment.at("fast", subset=row.subset + 1))
        counts = ["at fast", "own protocol", "on a subset"]
        for store, expected in (
            ([on_a_subset], [0, 0, 1]),
            ([of_another_size], [0, 0, 0]),
            ([on_a_subset, result(row.experiment.at("fast"))], [1, 0, 0]),
        ):
            table = coverage(store).set_index(["collection", "item"]).loc[("kr", "table3")]
            assert table[counts].tolist() == expected
            assert math.isnan(table["mean gap"]) == (expected != [1, 0, 0])
