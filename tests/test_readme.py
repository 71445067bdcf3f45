"""The README's commands and code run as printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from labelreg import cli, paths

ROOT = paths.project_root()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]


def commands(program):
    return [line for line in COMMANDS if line.startswith(program)]


def test_there_are_two_commands_of_make_and_no_unknown_ones():
    assert commands("make") == ["make book", "make test"]
    assert len(COMMANDS) == sum(len(commands(program)) for program in ("make", "labelreg", "papermill", "mkdir"))


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python_runs_as_printed(block, capsys):
    exec(block, {})
    name, number = capsys.readouterr().out.split()
    assert name in ("loss", "error")
    assert float(number) < 3


@pytest.mark.parametrize("command", commands("labelreg"))
def test_labelreg_runs_as_printed(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("command", commands("papermill"))
def test_papermill_runs_as_printed(command):
    (ROOT / "_build").mkdir(exist_ok=True)
    program, *arguments = shlex.split(f"{command} -p jobs 1")  # no more processes than this test's one
    finished = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("page", ["README.md", "data/README.md", "data/results/README.md", "book/running.md"])
def test_pages_name_files_and_modules_that_exist(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:labelreg|notebooks|benchmarks|book|data/(?:reported|results))/[\w./-]*)`", text):
        assert (ROOT / name).exists() or "NAME" in name, name
    for name in re.findall(r"from (labelreg[\w.]*) import", text):
        __import__(name)
