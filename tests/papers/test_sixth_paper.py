"""A sixth paper is three new files, a method, a paper and its printed numbers; a data set is one more file."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from labelreg.paths import project_root

FILES = {
    "labelreg/methods/toy_paper.py": '''
"""Toy: the temperature of the logits."""

from torch.nn.functional import cross_entropy

from labelreg.methods.base import Criterion


class Toy(Criterion):
    title = "Toy"
    paper = "toy"
    colour = "#123456"
    place = ("a toy's distribution", "before training")
    benchmark = {"Toy, hot": {"temperature": 2.0}}

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        self.temperature = temperature

    def terms(self, logits, targets):
        return {"hot": cross_entropy(logits / self.temperature, targets)}
''',
    "labelreg/papers/toy.py": '''
"""Toy."""

from labelreg.experiment import Experiment
from labelreg.papers.paper import Item, Paper, Row

PLAIN = Experiment(epochs=2, subset=100)
ROWS = (Row("Baseline", PLAIN), Row("Toy", PLAIN.but(method="toy")))
PAPER = Paper("toy", tables={"table1": Item("Toys", ROWS, seeds=1)})
''',
    "labelreg/data/parity.py": """
import torch
from labelreg.data.dataset import Dataset, Split
from labelreg.data.registry import register

@register("parity")
def parity(root):
    split = Split(torch.arange(8.0).view(8, 1), torch.arange(8) % 2)
    return Dataset("parity", split, split, classes=("even", "odd"))
""",
    "data/reported/toy.csv": """item,dataset,network,method,metric,value,std
table1,digits,mlp,Baseline,error,50.0,
table1,digits,mlp,Toy,error,40.0,0.5
""",
}
PROGRAM = """
import json
from labelreg import run
from labelreg.book import tables
from labelreg.book.figures import method_name, method_style
from labelreg.data import load, names
from labelreg.papers import COLLECTIONS, papers
from labelreg.reports import compare

for experiment in papers["toy"].tables["table1"]:
    run(experiment, progress=None)
shared = {name: [row.method for row in item.rows] for name, item in COLLECTIONS["shared"].tables.items()}
facts = {
    "cells": json.loads(compare("toy", "table1").to_json(orient="records")),
    "shared": [name for name, labels in shared.items() if "Toy, hot" in labels],
    "parity": load("parity", subset=3).train.targets.tolist(),
    "data sets": names(),
    "name": method_name("toy"),
    "style": method_style(experiment),
    "on the map": tables.method_map().data["before training"]["other"].to_dict(),
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Run Python on a copy of the project that has the new files."""
    root = tmp_path_factory.mktemp("project")
    for name in ("labelreg", "data/reported"):
        shutil.copytree(project_root() / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project_root() / "pyproject.toml", root)
    for name, text in FILES.items():
        assert not (root / name).exists()
        (root / name).write_text(text.lstrip())

    def call(*arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LABELREG_R")}
        environment["PYTHONPATH"] = str(root)
        ended = subprocess.run([sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return call


@pytest.fixture(scope="module")
def facts(python):
    return json.loads(python("-c", PROGRAM))


def test_its_runs_stand_beside_its_numbers(facts):
    plain, toy = facts["cells"]
    assert [plain[name] for name in ("method", "printed", "printed_std")] == ["Baseline", 50.0, None]
    assert [toy[name] for name in ("method", "printed", "printed_std")] == ["Toy", 40.0, 0.5]
    for each in (plain, toy):
        assert (each["profile"], each["seeds"], each["runnable"]) == ("paper", 1, True)
        assert each["gap"] == pytest.approx(each["ours"] - each["printed"])
    assert toy["difference"] == pytest.approx(toy["ours"] - plain["ours"])


def test_is_in_the_benchmark_of_all_methods_and_in_the_figures(facts):
    small = ["resnet8", "resnet8_cifar10", "resnet8_tenth", "resnet8_redrawn"]
    assert facts["shared"] == ["resnet18", "resnet32", "plaincnn6", *small, "digits", "digits_redrawn"]
    assert (facts["name"], facts["style"]) == ("Toy", {"color": "#123456", "linestyle": "-"})
    assert ">Toy<" in facts["on the map"]["a toy's distribution"]


def test_the_data_set_is_loaded_by_name(facts):
    assert facts["parity"] == [0, 1, 0]
    assert facts["data sets"] == sorted({"parity", *facts["data sets"]})


def test_is_in_the_status(python, facts):
    rows = [line.split() for line in python("-m", "labelreg", "status").splitlines()]
    # cells, runnable, at fast, own protocol
    (row,) = (row for row in rows if row[:2] == ["toy", "table1"])
    assert row[2:7] == ["Toys", "2", "2", "0", "2"]
    assert rows[-1][:3] == ["2", "recorded", "runs"]
