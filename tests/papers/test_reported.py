"""The printed numbers are those of the papers: checked against what the papers print twice or write in their text.

That every number has its experiment, and every experiment its number, is tested in ``test_papers.py``.
"""

import csv
import re
from decimal import Decimal

import pandas as pd
import pytest
import torch

from labelreg.networks import build, count_parameters
from labelreg.papers import reported
from labelreg.paths import reported_root

CELL = ["item", "dataset", "network", "method", "metric"]
TEXTS = ("ag_news", "yahoo_answers", "yelp_review_full")
RIVALS = ("AdaCos", "Virtual-softmax", "Maximum-entropy")
# the same method under the other paper's name
AS_IN_KR = {"SLR": "LS", "ALR": "KR", "ALR-S": "KR-LS", "Knowledge Distillation": "KD"}

METRICS = {
    "alr": {"accuracy": 47, "top1_accuracy": 12, "top5_accuracy": 12},
    "kr": {"error": 47, "top1_error": 12, "top5_error": 12},
    "nar": {"parameters_millions": 4, "error": 86, "valid_perplexity": 7, "test_perplexity": 7},
    "cskd": {"top1_error": 115, "top5_error": 25, "ece": 25, "recall_at_1": 25},
    "sba": {"error": 29, "relative_improvement": 8},
}
# of the values and of the deviations of every table, added up from the papers and not from the files
SUMS = {
    ("nar", "table1"): ("40.9", "0"),
    ("nar", "table2"): ("479.47", "3.24"),
    ("nar", "table3"): ("599.64", "3.81"),
    ("nar", "table4"): ("1078.93", "0"),
    ("nar", "table5"): ("297.39", "1.05"),
    ("cskd", "table1"): ("1764.17", "24.97"),
    ("cskd", "table2"): ("712.65", "10.44"),
    ("cskd", "table3"): ("754.48", "6.45"),
    ("cskd", "table4"): ("3272.84", "61.54"),
    ("sba", "table1"): ("856.08", "0"),
}
# typed a second time, from every corner of the tables
SPOTS = """
kr    table1  cifar100       preact_resnet18       KR-LS               error                20.42±0.21
kr    table4  cifar100       wrn28_10              KR-LS               error                19.31±0.18
nar   table1  cifar100       wrn28_10              -                   parameters_millions  36.5
nar   table2  cifar10        wrn28_10              LSR                 error                4.32±0.20
nar   table2  cifar100       resnet32              BAN-2               error                29.45±0.08
nar   table2  cifar100       plaincnn6             NaR                 error                28.78±0.10
nar   table3  cifar10        plaincnn6             NaR (wrn28_10)      error                6.24±0.06
nar   table3  cifar10        resnet32              NaR (plaincnn6)     error                6.6±0.10
nar   table3  cifar10        preresnet110          Single              error                5.11±0.11
nar   table3  cifar100       preresnet110          NaR (resnet32)      error                21.75±0.12
nar   table3  cifar100       wrn28_10              NaR (preresnet110)  error                17.9±0.10
nar   table4  ptb            lstm                  Label noise         test_perplexity      77.67
nar   table4  ptb            lstm                  NaR-large           valid_perplexity     77.90
nar   table5  cifar10        resnet32              AT                  error                7.93
nar   table5  cifar100       plaincnn6             mixup+NaR           error                27.13±0.13
cskd  table1  cub200         imagenet_resnet18     Cross-entropy       top1_error           46.00±1.43
cskd  table1  tinyimagenet   densenet121           Virtual-softmax     top1_error           42.92±1.56
cskd  table1  stanford_dogs  imagenet_densenet121  AdaCos              top1_error           27.87±0.65
cskd  table1  mit67          imagenet_resnet18     Maximum-entropy     top1_error           43.36±1.62
cskd  table2  stanford_dogs  imagenet_resnet18     Mixup               top1_error           32.54±0.04
cskd  table3  tinyimagenet   resnet10              Cross-entropy       top1_error           48.09±0.54
cskd  table3  mit67          imagenet_resnet10     KD                  top1_error           38.63±0.11
cskd  table4  cifar100       resnet18              AdaCos              ece                  71.79±0.51
cskd  table4  stanford_dogs  imagenet_resnet18     Maximum-entropy     top5_error           10.9±0.31
cskd  table4  mit67          imagenet_resnet18     Maximum-entropy     recall_at_1          38.06±3.32
sba   table1  cifar10        vgg16                 Cutout              error                6.17
sba   table1  cifar100       resnet44              Cutout + BA         error                25.85
sba   table1  imagenet       imagenet_resnet50     SBA                 error                22.72
"""
# Knowledge Refinery prints, in parentheses, how far each error lies below the baseline; in the order of its tables.
SMALL = ("cifar10", "cifar100")
PRINTED_DIFFERENCES = {
    ("table1", "preact_resnet18", "error", SMALL): {"LS": (0.13, 0.70), "KR": (0.20, 1.11), "KR-LS": (0.32, 2.04)},
    ("table1", "wrn28_10", "error", SMALL): {"LS": (0.15, -0.07), "KR": (0.22, 0.11), "KR-LS": (0.34, 0.40)},
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
# in parentheses beside CS-KD's errors in Table 1: by how much of cross-entropy's error they are lower, in percent
PRINTED_REDUCTIONS = {
    "resnet18": {"cifar100": 11.9, "tinyimagenet": 4.9, "cub200": 27.2, "stanford_dogs": 14.4, "mit67": 8.9},
    "densenet121": {"cifar100": 3.7, "tinyimagenet": 2.9, "cub200": 27.2, "stanford_dogs": 17.2, "mit67": 4.9},
}


def as_text(paper: str) -> list[dict[str, str]]:
    with open(reported_root() / f"{paper}.csv", newline="") as file:
        return list(csv.DictReader(file))


def numbers(paper: str, item: str, metric: str, column: str = "value") -> pd.Series:
    """The numbers of one metric of a table, by dataset, network and method."""
    rows = reported(paper).query("item == @item and metric == @metric")
    return rows.set_index(["dataset", "network", "method"])[column].sort_index()


def errors() -> pd.DataFrame:
    """Every cell as an error in both papers, with its deviation."""
    alr = reported("alr").replace({"method": AS_IN_KR})
    alr["metric"] = alr["metric"].str.replace("accuracy", "error")
    alr["value"] = (100 - alr["value"]).round(2)
    return alr.merge(reported("kr"), on=CELL, suffixes=("_alr", "_kr"), validate="one_to_one")


def best(table: pd.DataFrame, largest: bool) -> pd.Series:
    """The best method of every column of the tables."""
    column = ["item", "dataset", "network", "metric"]
    positions = table.groupby(column)["value"].agg("idxmax" if largest else "idxmin")
    return table.loc[positions].set_index(column)["method"]


@pytest.mark.parametrize("paper", METRICS)
def test_every_paper_has_all_numbers_with_their_decimals(paper):
    assert reported(paper)["metric"].value_counts().to_dict() == METRICS[paper]
    exact = paper in ("alr", "kr")
    value, deviation = (r"\d{1,2}\.\d\d", r"0\.\d\d") if exact else (r"\d{1,2}\.\d{1,2}", r"\d\.\d\d")
    assert all(re.fullmatch(value, row["value"]) for row in as_text(paper))
    assert all(re.fullmatch(deviation, row["std"]) for row in as_text(paper) if row["std"])


class TestNumbers:
    @pytest.mark.parametrize(
        ("paper", "printed"),
        [
            ("alr", "item == 'table1' or (item == 'table4' and method == 'ALR-S')"),
            ("kr", "item == 'table1' or (item == 'table4' and method == 'KR-LS')"),
            ("nar", "item in ('table2', 'table3') or method in ('AT+NaR', 'mixup+NaR')"),
            ("cskd", "item == item"),
            ("sba", "item != item"),
        ],
    )
    def test_deviations_stand_where_printed(self, paper, printed):
        table = reported(paper)
        assert set(table.index[table["std"].notna()]) == set(table.query(printed).index)

    @pytest.mark.parametrize(("paper", "item"), SUMS)
    def test_sums(self, paper, item):
        rows = [row for row in as_text(paper) if row["item"] == item]
        sums = [sum(Decimal(row[column] or 0) for row in rows) for column in ("value", "std")]
        assert sums == [Decimal(number) for number in SUMS[paper, item]]

    @pytest.mark.parametrize("spot", SPOTS.strip().splitlines(), ids=lambda spot: " ".join(spot.split()[:5]))
    def test_spots(self, spot):
        paper, *cell, printed = re.split("  +", spot)
        value, _, std = printed.partition("±")
        cell = ["" if name == "-" else name for name in cell]
        assert dict(zip([*CELL, "value", "std"], [*cell, value, std], strict=True)) in as_text(paper)

    @pytest.mark.parametrize(
        ("paper", "cell", "higher", "lower", "gain"),
        [
            ("alr", ("cifar100", "preact_resnet18"), "ALR-S", "Baseline", 1.54),
            ("sba", ("imagenet", "imagenet_alexnet"), "Cutout + BA", "SBA", 3.33),
            # the text calls these two the gains of the rivals
            ("sba", ("cifar10", "vgg16"), "Cutout + BA", "SBA", 1.96),
            ("sba", ("cifar10", "vgg16"), "Cutout", "SBA", 3.44),
        ],
    )
    def test_gains_that_a_text_names_recompute(self, paper, cell, higher, lower, gain):
        values = numbers(paper, "table1", "accuracy" if paper == "alr" else "error")[cell]
        assert round(values[higher] - values[lower], 2) == gain


class TestAlrAndKr:
    def test_bold_numbers_are_the_best_of_their_columns(self):
        bold = best(reported("alr"), largest=True)
        others = {
            ("table1", "cifar100", "wrn28_10", "accuracy"): "ALR",
            ("table2", "imagenet", "imagenet_resnet50", "top5_accuracy"): "SLR",
            ("table2", "imagenet", "imagenet_resnet101", "top5_accuracy"): "SLR",
        }
        assert bold[bold != "ALR-S"].to_dict() == others
        assert (best(reported("kr"), largest=False) == "KR-LS").all()

    def test_printed_differences_of_kr_recompute_but_for_one(self):
        values = reported("kr").set_index(CELL)["value"]
        found = []
        for (item, network, metric, datasets), rows in PRINTED_DIFFERENCES.items():
            for method, printed in rows.items():
                for dataset, difference in zip(datasets, printed, strict=True):
                    baseline = values[item, dataset, network, "Baseline", metric]
                    computed = round(baseline - values[item, dataset, network, method, metric], 2)
                    found.append((dataset, network, difference, computed))
        assert len(found) == 42
        assert [each for each in found if each[2] != each[3]] == [("ag_news", "textrnn", 0.28, 0.72)]

    @pytest.mark.parametrize(
        ("cells", "count", "different"),
        [
            ("method == 'Baseline'", 24, [["imagenet", "imagenet_resnet50", "top1_error", 23.83, 23.87]]),
            ("method in ('LS', 'KD', 'DML')", 13, [["cifar10", "wrn28_10", "error", 3.82, 3.72]]),
            (
                "item == 'table3' and method == 'KR-LS'",
                12,
                [
                    ["ag_news", "fasttext", "error", 10.72, 10.87],
                    ["yelp_review_full", "textrnn", "error", 41.88, 41.99],
                ],
            ),
        ],
        ids=["baselines", "quoted rows and label smoothing", "text results of the two methods"],
    )
    def test_the_two_papers_print_the_same_but_for_a_few(self, cells, count, different):
        both = errors().query(cells)
        assert len(both) == count
        found = both[both["value_alr"] != both["value_kr"]]
        assert found[["dataset", "network", "metric", "value_alr", "value_kr"]].to_numpy().tolist() == different

    def test_deviations_of_the_baselines_are_the_same_in_both_papers(self):
        baselines = errors().query("method == 'Baseline'")
        assert baselines["std_alr"].equals(baselines["std_kr"])

    def test_top5_errors_lie_above_the_baseline_in_alr_and_below_it_in_kr(self):
        top5 = errors().query("metric == 'top5_error'").set_index(["network", "method"])
        for paper, count in (("alr", 5), ("kr", 0)):
            of = top5[f"value_{paper}"].unstack("method")
            assert of[["KR", "KR-LS"]].gt(of["Baseline"], axis="index").sum().sum() == count


class TestNar:
    def test_parameters_that_nar_prints_are_those_of_the_networks(self):
        for row in reported("nar").query("item == 'table1'").itertuples():
            with torch.device("meta"):
                network = build(row.network, num_classes=100)
            assert round(count_parameters(network) / 1e6, 1) == row.value

    @pytest.mark.parametrize("column", ["value", "std"])
    def test_baselines_of_nar_are_those_of_its_table_3(self, column):
        baseline = numbers("nar", "table2", "error", column).xs("Baseline", level="method")
        single = numbers("nar", "table3", "error", column).xs("Single", level="method")
        assert baseline.to_dict() == single.drop("preresnet110", level="network").to_dict()

    def test_nar_with_its_own_architecture_is_the_same_in_tables_2_and_3_but_for_three_deviations(self):
        columns = ["value", "std"]
        table2, table3 = (reported("nar").query("item == @item").set_index(CELL[1:4]) for item in ("table2", "table3"))
        deviations = {}
        for (dataset, network), own in table2[columns].xs("NaR", level="method").iterrows():
            other = table3.loc[(dataset, network, f"NaR ({network})"), columns]
            assert own["value"] == other["value"]
            if own["std"] != other["std"]:
                deviations[dataset, network] = (own["std"], other["std"])
        assert deviations == {
            ("cifar10", "resnet32"): (0.10, 0.08),
            ("cifar100", "plaincnn6"): (0.10, 0.08),
            ("cifar100", "resnet32"): (0.07, 0.05),
        }

    def test_nar_is_ahead_of_its_rivals_but_for_one_tie(self):
        errors = numbers("nar", "table2", "error").unstack("method")
        margin = (errors.drop(columns="NaR").min(axis="columns") - errors["NaR"]).round(2)
        assert margin[margin <= 0].to_dict() == {("cifar10", "plaincnn6"): 0.0}

    def test_what_nar_says_of_auxiliary_networks_holds_but_for_some(self):
        errors = numbers("nar", "table3", "error").unstack("method")
        assert (errors["NaR (plaincnn6)"] > errors["NaR (resnet32)"]).all()

        # that PreResNet-110 is the best auxiliary of residual targets
        best = errors.drop("plaincnn6", level="network").idxmin(axis="columns")
        assert best[best != "NaR (preresnet110)"].to_dict() == {("cifar100", "wrn28_10"): "NaR (wrn28_10)"}

        # that WRN-28-10 is a worse auxiliary than ResNet-32 and PreResNet-110: in three settings of eight
        worse = errors["NaR (wrn28_10)"] > errors[["NaR (resnet32)", "NaR (preresnet110)"]].max(axis="columns")
        assert set(errors.index[worse]) == {
            ("cifar10", "preresnet110"),
            ("cifar10", "wrn28_10"),
            ("cifar100", "plaincnn6"),
        }

    def test_perplexities_are_ordered_as_nar_says_but_for_one(self):
        valid = numbers("nar", "table4", "valid_perplexity")["ptb", "lstm"]
        test = numbers("nar", "table4", "test_perplexity")["ptb", "lstm"]
        for perplexity in (valid, test):
            assert perplexity.idxmin() == "NaR-small"
            assert perplexity["CP"] < perplexity[["LSR", "Label noise"]].min()
        # that BAN is slightly better than the confidence penalty
        assert test["BAN-2"] < test["CP"]
        assert valid["BAN-2"] > valid["CP"]

    def test_nar_helps_adversarial_training_and_mixup_everywhere(self):
        errors = numbers("nar", "table5", "error").unstack("method")
        baseline = numbers("nar", "table2", "error").xs("Baseline", level="method")
        assert (errors["AT+NaR"] < errors["AT"]).all()
        assert (errors["mixup+NaR"] < errors["mixup"]).all()
        assert (errors["mixup"] < baseline[errors.index]).all()
        assert (errors["AT"] > baseline[errors.index]).all()


class TestCskd:
    def test_printed_reductions_of_cskd_recompute(self):
        errors = numbers("cskd", "table1", "top1_error").unstack("method")
        reductions = 100 * (1 - errors["CS-KD"] / errors["Cross-entropy"])
        assert reductions.rename(lambda name: name.removeprefix("imagenet_")).round(1).to_dict() == {
            (dataset, network): printed
            for network, column in PRINTED_REDUCTIONS.items()
            for dataset, printed in column.items()
        }

    @pytest.mark.parametrize("column", ["value", "std"])
    def test_errors_that_cskd_prints_again_are_those_of_its_table_1(self, column):
        first, second, fourth = (numbers("cskd", f"table{number}", "top1_error", column) for number in (1, 2, 4))
        again = second[second.index.get_level_values("method").isin(["Cross-entropy", "CS-KD"])]
        assert again.to_dict() == first[again.index].to_dict()
        assert fourth.to_dict() == first[fourth.index].to_dict()

    def test_numbers_that_cskd_names_in_its_text(self):
        cub = ("cub200", "imagenet_resnet18")
        first, second = (numbers("cskd", item, "top1_error")[cub] for item in ("table1", "table2"))
        recall = numbers("cskd", "table4", "recall_at_1")[cub]
        assert first[["Cross-entropy", "CS-KD"]].tolist() == [46.00, 33.50]
        assert second[["Mixup", "Mixup + CS-KD"]].tolist() == [37.09, 31.95]
        assert recall[["CS-KD", "Virtual-softmax", "AdaCos"]].tolist() == [59.22, 55.56, 54.86]
        # the end of section 3.2 calls 39.32 the error of CS-KD, section 1 that of distillation
        third = numbers("cskd", "table3", "top1_error")["cub200", "imagenet_resnet10"]
        assert third[["CS-KD", "KD", "KD + CS-KD"]].tolist() == [39.12, 39.32, 35.36]

    def test_cskd_is_the_best_of_its_tables_but_for_one(self):
        def best(item, metric):
            table = numbers("cskd", item, metric).unstack("method")
            return table.idxmax(axis="columns") if metric == "recall_at_1" else table.idxmin(axis="columns")

        for number, method in enumerate(("CS-KD", "Mixup + CS-KD", "KD + CS-KD"), start=1):
            assert (best(f"table{number}", "top1_error") == method).all()
        for metric in ("top5_error", "ece"):
            assert (best("table4", metric) == "CS-KD").all()
        recall = best("table4", "recall_at_1")
        assert recall[recall != "CS-KD"].to_dict() == {("cifar100", "resnet18"): "Maximum-entropy"}

    def test_rivals_of_cskd_that_are_worse_than_cross_entropy(self):
        errors = numbers("cskd", "table1", "top1_error").unstack("method")
        rivals = errors[list(RIVALS)].stack()
        baseline = errors["Cross-entropy"].loc[rivals.index.droplevel("method")]
        # the text names Maximum-entropy on TinyImageNet instead of Virtual-softmax
        assert set(rivals.index[rivals.to_numpy() > baseline.to_numpy()]) == {
            ("cifar100", "densenet121", "AdaCos"),
            ("tinyimagenet", "densenet121", "Virtual-softmax"),
            ("mit67", "imagenet_densenet121", "Virtual-softmax"),
            ("mit67", "imagenet_densenet121", "Maximum-entropy"),
        }


class TestSba:
    def test_printed_improvements_of_sba_recompute(self):
        errors = numbers("sba", "table1", "error").unstack("method")
        printed = numbers("sba", "table1", "relative_improvement").xs("SBA", level="method")
        computed = (100 * (1 - errors["SBA"] / errors["Baseline"])).round(2)
        assert computed.to_dict() == printed.to_dict()
        # the two bounds that the text names
        assert printed.min() == 4.26
        assert printed["cifar10"].min() > 24

    def test_errors_of_sba_fall_from_column_to_column_but_not_by_the_gains_that_it_names(self):
        errors = numbers("sba", "table1", "error").unstack("method")
        cifar = errors.dropna()
        assert len(cifar) == 5
        assert (cifar[["Baseline", "Cutout", "Cutout + BA"]].diff(axis="columns").iloc[:, 1:] < 0).all(axis=None)
        assert (errors[["Baseline", "Cutout + BA", "SBA"]].diff(axis="columns").iloc[:, 1:] < 0).all(axis=None)
        for method, named in {"Cutout + BA": 1.96, "Cutout": 3.44}.items():
            assert not ((errors["Baseline"] - errors[method]).round(2) == named).any()
