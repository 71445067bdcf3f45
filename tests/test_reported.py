"""The printed numbers are those of the papers: checked against what the papers print beside them."""

import csv
import re

import pandas as pd
import pytest

from labelreg.papers import reported
from labelreg.paths import reported_root

PAPERS = ("alr", "kr")
CELL = ["item", "dataset", "network", "method", "metric"]
TEXTS = ("ag_news", "yahoo_answers", "yelp_review_full")
# the same method under the other paper's name
AS_IN_KR = {"SLR": "LS", "ALR": "KR", "ALR-S": "KR-LS", "Knowledge Distillation": "KD"}


def errors() -> pd.DataFrame:
    """Every cell as an error in both papers, with its deviation."""
    alr = reported("alr").replace({"method": AS_IN_KR})
    alr["metric"] = alr["metric"].str.replace("accuracy", "error")
    alr["value"] = (100 - alr["value"]).round(2)
    return alr.merge(reported("kr"), on=CELL, suffixes=("_alr", "_kr"), validate="one_to_one")


@pytest.mark.parametrize("paper", PAPERS)
class TestForm:
    def test_every_table_is_complete(self, paper):
        assert reported(paper)["item"].value_counts().to_dict() == {
            "table1": 16,
            "table2": 24,
            "table3": 24,
            "table4": 7,
        }

    def test_columns_and_types(self, paper):
        with open(reported_root() / f"{paper}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == [*CELL, "value", "std"]
        assert all(re.fullmatch(r"\d{1,2}\.\d\d", row["value"]) for row in rows)
        assert all(re.fullmatch(r"(0\.\d\d)?", row["std"]) for row in rows)

    def test_no_cell_twice(self, paper):
        assert not reported(paper).duplicated(CELL).any()

    def test_names_are_those_of_the_package(self, paper):
        table = reported(paper)
        of = {item: (set(rows["dataset"]), set(rows["network"])) for item, rows in table.groupby("item")}
        assert of == {
            "table1": ({"cifar10", "cifar100"}, {"preact_resnet18", "wrn28_10"}),
            "table2": ({"imagenet"}, {"imagenet_resnet50", "imagenet_resnet101", "imagenet_resnet152"}),
            "table3": (set(TEXTS), {"fasttext", "textrnn", "charcnn", "transformer"}),
            "table4": ({"cifar100"}, {"resnet32", "wrn28_10"}),
        }

    def test_deviations_stand_where_printed(self, paper):
        table = reported(paper)
        own = {"alr": "ALR-S", "kr": "KR-LS"}[paper]
        printed = (table["item"] == "table1") | ((table["item"] == "table4") & (table["method"] == own))
        assert (table["std"].notna() == printed).all()


def best(table: pd.DataFrame, largest: bool) -> pd.Series:
    """The best method of every column of the tables."""
    column = ["item", "dataset", "network", "metric"]
    positions = table.groupby(column)["value"].agg("idxmax" if largest else "idxmin")
    return table.loc[positions].set_index(column)["method"]


def test_bold_numbers_of_alr_are_the_best_of_their_columns():
    bold = best(reported("alr"), largest=True)
    others = {
        ("table1", "cifar100", "wrn28_10", "accuracy"): "ALR",
        ("table2", "imagenet", "imagenet_resnet50", "top5_accuracy"): "SLR",
        ("table2", "imagenet", "imagenet_resnet101", "top5_accuracy"): "SLR",
    }
    assert bold[bold != "ALR-S"].to_dict() == others


def test_bold_numbers_of_kr_are_the_best_of_their_columns():
    assert (best(reported("kr"), largest=False) == "KR-LS").all()


# Knowledge Refinery prints, in parentheses, how far each error lies below the baseline; in the order of its tables.
PRINTED_DIFFERENCES = {
    ("table1", "preact_resnet18", "error", ("cifar10", "cifar100")): {
        "LS": (0.13, 0.70),
        "KR": (0.20, 1.11),
        "KR-LS": (0.32, 2.04),
    },
    ("table1", "wrn28_10", "error", ("cifar10", "cifar100")): {
        "LS": (0.15, -0.07),
        "KR": (0.22, 0.11),
        "KR-LS": (0.34, 0.40),
    },
    ("table2", "imagenet_resnet50", "top1_error", ("imagenet",)): {"LS": (0.12,), "KR": (0.40,), "KR-LS": (0.67,)},
    ("table2", "imagenet_resnet50", "top5_error", ("imagenet",)): {"LS": (0.21,), "KR": (0.60,), "KR-LS": (0.75,)},
    ("table2", "imagenet_resnet101", "top1_error", ("imagenet",)): {"LS": (0.13,), "KR": (0.38,), "KR-LS": (0.49,)},
    ("table2", "imagenet_resnet101", "top5_error", ("imagenet",)): {"LS": (0.11,), "KR": (0.23,), "KR-LS": (0.37,)},
    ("table2", "imagenet_resnet152", "top1_error", ("imagenet",)): {"LS": (0.22,), "KR": (0.88,), "KR-LS": (1.06,)},
    ("table2", "imagenet_resnet152", "top5_error", ("imagenet",)): {"LS": (0.13,), "KR": (0.55,), "KR-LS": (0.82,)},
    ("table3", "fasttext", "error", TEXTS): {"KR-LS": (0.16, 0.67, 0.64)},
    ("table3", "textrnn", "error", TEXTS): {"KR-LS": (0.28, 1.46, 0.82)},
    ("table3", "charcnn", "error", TEXTS): {"KR-LS": (2.13, 1.26, 0.26)},
    ("table3", "transformer", "error", TEXTS): {"KR-LS": (0.78, 0.27, 0.82)},
}


def test_printed_differences_of_kr_recompute_but_for_one():
    values = reported("kr").set_index(CELL)["value"]
    wrong, count = {}, 0
    for (item, network, metric, datasets), rows in PRINTED_DIFFERENCES.items():
        for method, printed in rows.items():
            for dataset, difference in zip(datasets, printed, strict=True):
                baseline = values[item, dataset, network, "Baseline", metric]
                computed = round(baseline - values[item, dataset, network, method, metric], 2)
                count += 1
                if computed != difference:
                    wrong[dataset, network] = (difference, computed)
    assert count == 42
    assert wrong == {("ag_news", "textrnn"): (0.28, 0.72)}


def test_gain_that_alr_names_in_its_text_recomputes():
    values = reported("alr").set_index(CELL)["value"]
    cell = ("table1", "cifar100", "preact_resnet18")
    assert round(values[*cell, "ALR-S", "accuracy"] - values[*cell, "Baseline", "accuracy"], 2) == 1.54


def test_baselines_of_the_two_papers_are_the_same_but_for_one():
    baselines = errors().query("method == 'Baseline'")
    assert len(baselines) == 24
    different = baselines[baselines["value_alr"] != baselines["value_kr"]]
    assert different[["network", "metric", "value_alr", "value_kr"]].to_numpy().tolist() == [
        ["imagenet_resnet50", "top1_error", 23.83, 23.87]
    ]
    assert baselines["std_alr"].equals(baselines["std_kr"])


def test_quoted_rows_and_label_smoothing_are_the_same_but_for_one():
    others = errors().query("method in ('LS', 'KD', 'DML')")
    assert len(others) == 13
    different = others[others["value_alr"] != others["value_kr"]]
    assert different[["dataset", "network", "value_alr", "value_kr"]].to_numpy().tolist() == [
        ["cifar10", "wrn28_10", 3.82, 3.72]
    ]


def test_text_results_of_the_two_methods_are_the_same_but_for_two():
    texts = errors().query("item == 'table3' and method == 'KR-LS'")
    different = texts[texts["value_alr"] != texts["value_kr"]]
    assert len(texts) == 12
    assert different[["dataset", "network", "value_alr", "value_kr"]].to_numpy().tolist() == [
        ["ag_news", "fasttext", 10.72, 10.87],
        ["yelp_review_full", "textrnn", 41.88, 41.99],
    ]


def test_top5_errors_lie_above_the_baseline_in_alr_and_below_it_in_kr():
    top5 = errors().query("metric == 'top5_error'").set_index(["network", "method"])
    above = {
        paper: sum(
            top5[f"value_{paper}"][network, method] > top5[f"value_{paper}"][network, "Baseline"]
            for network in top5.index.unique("network")
            for method in ("KR", "KR-LS")
        )
        for paper in PAPERS
    }
    assert above == {"alr": 5, "kr": 0}
