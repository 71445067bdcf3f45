"""The README's commands and code run as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labelreg.paths import project_root

README = (project_root() / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)


def run(command: list[str], tmp_path: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LABELREG_RESULTS": str(tmp_path / "results"),
        "LABELREG_RUNS": str(tmp_path / "runs"),
    }
    finished = subprocess.run(command, cwd=project_root(), env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_two_commands_are_the_only_ones_of_make():
    commands = [line for language, block in BLOCKS for line in block.splitlines() if line.startswith("make")]
    assert commands == ["make book", "make test"]


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python_runs_as_printed(block, tmp_path):
    assert float(run([sys.executable, "-c", block], tmp_path).removeprefix("loss ")) < 3


@pytest.mark.parametrize(
    "command",
    [
        line
        for language, block in BLOCKS
        if language == "bash"
        for line in block.splitlines()
        if line.startswith(("labelreg", "papermill"))
    ],
)
def test_command_runs_as_printed(command, tmp_path):
    (project_root() / "_build").mkdir(exist_ok=True)
    assert run(["bash", "-c", command], tmp_path) or command.startswith("papermill")
