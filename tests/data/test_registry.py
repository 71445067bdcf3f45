"""Loading by name, where files are looked for, and how a data set is added."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

import labelreg
from labelreg.data import load, names, register, registry

NEW_DATASET = """
import torch
from labelreg.data.dataset import Dataset, Split
from labelreg.data.registry import register

@register("parity")
def parity(root):
    split = Split(torch.arange(8.0).view(8, 1), torch.arange(8) % 2)
    return Dataset("parity", split, split, classes=("even", "odd"))
"""


def test_names_are_sorted_and_hold_the_data_sets_of_this_package():
    assert {"digits", "toy", "cifar10", "cifar100", "fashion_mnist", "ptb", "pydoc"} <= set(names())
    assert {"tinyimagenet", "imagenet", "cub200", "stanford_dogs", "mit67"} <= set(names())
    assert list(names()) == sorted(names())


def test_load_hands_the_root_to_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_datasets", dict(registry._datasets))
    roots = []
    register("spy")(roots.append)
    load("spy", root=tmp_path)
    assert roots == [tmp_path]


def test_subset_shrinks_the_training_split_alone():
    whole, part = load("digits"), load("digits", subset=25)
    counts = part.train.targets.bincount(minlength=10)
    assert len(part.train) == 25
    assert counts.max() - counts.min() == 1
    assert torch.equal(part.test.inputs, whole.test.inputs)
    assert part.mean != whole.mean  # statistics are of what is trained on


def test_a_new_data_set_is_one_new_file(tmp_path):
    copy = tmp_path / "labelreg"
    shutil.copytree(Path(labelreg.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data" / "parity.py").write_text(NEW_DATASET)
    script = "from labelreg.data import load, names; print(load('parity', subset=3).train.targets.tolist(), names())"
    # in the folder of the copy, which is looked at before the installed package
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert "[0, 1, 0]" in done.stdout, done.stderr
    assert "'parity'" in done.stdout
