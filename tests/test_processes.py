"""Processes that train one network together: two of them, on a CPU, beside one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import torch
from interruption import assert_identical, outcome
from two_processes import CASES, DIGITS, trainer

from labelreg.experiment import Experiment
from labelreg.processes import Processes, launch

HERE = Path(__file__).parent
TWO = Processes(count=2)


def start(folder, *command):
    """Run a command that starts another process like itself."""
    paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    folders = {name: str(folder / name.lower()) for name in ("LABELREG_RESULTS", "LABELREG_RUNS")}
    environment = os.environ | folders | {"PYTHONPATH": os.pathsep.join(paths), "LABELREG_DATA": str(folder)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What two processes have made: a function from the name of a training to what each of them has at its end."""
    folder = tmp_path_factory.mktemp("two")
    done = start(folder, str(HERE / "two_processes.py"), str(folder))
    assert done.returncode == 0, done.stderr
    return lambda name: [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_make_what_one_makes_of_the_same_batches(name, made):
    """The parameters of the method too, ALR's training accuracy, and the history."""
    (alone := trainer(CASES[name])).fit()
    first, second = made(name)
    assert_identical(first | {"random": 0}, second | {"random": 0})
    for what in ("network", "method", "history"):
        torch.testing.assert_close(first[what], outcome(alone)[what], rtol=1e-4, atol=1e-5)


def test_interrupted_in_the_middle_of_an_epoch_both_go_on_bit_by_bit(made):
    assert made("moment") == [(1, 16)] * 2
    for resumed, straight in zip(made("resumed"), made("straight"), strict=True):
        assert_identical(resumed, straight)


def test_each_draws_and_normalises_on_its_own_and_they_end_equal(made):
    first, second = made("straight")
    assert not torch.equal(first["random"], second["random"])
    assert_identical(first["network"], second["network"])


def test_photographs_are_recorded_once(made):
    first, second = made("photographs")
    assert first == second


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (DIGITS.but(batch_size=33), "batch_size=33 of 200 samples cannot be divided into 2 parts"),
        (DIGITS.but(method="forest_as_regularization"), "ForestAsRegularization .* needs whole batches"),
        (
            DIGITS.but(method="adaptive_label_regularization", options={"tracking": "ema"}),
            "AdaptiveLabelRegularization with its options needs whole batches",
        ),
        (DIGITS.but(method="born_again", teacher=DIGITS), "born_again learns from a teacher"),
        (Experiment(dataset="pydoc", network="lstm"), "pydoc is one text"),
    ],
)
def test_what_cannot_be_divided_is_refused(experiment, message):
    with pytest.raises(ValueError, match=message):
        trainer(experiment, TWO)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"devices": 0}, "devices must be at least 1 and at most all cores of this machine, which has 4, not 0"),
        ({"devices": 5}, "which has 4, not 5"),
        ({"devices": 2, "nodes": 2}, "nodes=2 needs torchrun or Slurm"),
        ({"devices": 2, "nodes": 0}, "nodes is a number of machines, at least 1, not 0"),
        ({"devices": 2, "device": "cuda:1"}, "device must be auto, cuda or cpu"),
    ],
)
def test_devices_that_are_not_there(arguments, message, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    with pytest.raises(ValueError, match=message):
        launch(**{"device": "cpu"} | arguments)


def test_the_command_line_tells_and_records_once(tmp_path):
    settings = ("subset=40", "epochs=1", "batch_size=20", f"--output={tmp_path}/mine")
    done = start(tmp_path, "-m", "labelreg", "run", *settings, "--devices=2", "--device=cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("last epoch of 1") == done.stderr.count("epoch 1/1") == 1
    (file,) = tmp_path.glob("mine/*/*.json")
    assert json.loads(file.read_text())["provenance"]["processes"] == 2
