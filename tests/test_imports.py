"""What start-up costs, counted in modules, which, unlike seconds, do not depend on the machine."""

import subprocess
import sys

import pytest

SLOW = {"torchvision", "torchmetrics", "sklearn", "scipy", "pandas", "PIL", "matplotlib", "seaborn", "joblib"}


def added_by(program, before=""):
    """The modules that a program has loaded at its end, beside those that another has."""
    script = f"{before}\nimport sys\nbefore = set(sys.modules)\n{program}\nprint('added', *set(sys.modules) - before)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ended.stdout.rpartition("added")[2].split())


@pytest.mark.parametrize(
    ("rooms", "knows_methods"),
    [("networks, labelreg.data, labelreg.metrics, labelreg.paths", False), ("papers, labelreg.costs", True)],
)
def test_rooms_load_no_slow_library_beside_pytorch(rooms, knows_methods):
    added = added_by(f"import labelreg.{rooms}", before="import torch")
    assert not added & SLOW
    assert ("labelreg.methods" in added) == knows_methods
    assert len(added) < 300  # pydantic and this package


@pytest.mark.parametrize("arguments", [["--help"], ["run", "epocs=3"]])
def test_help_and_a_mistyped_setting_load_nothing_slow(arguments):
    added = added_by(
        f"""
from labelreg.cli import main
sys.argv[1:] = {arguments}
try: main()
except SystemExit: pass
"""
    )
    assert {"labelreg.cli", "typer"} <= added
    assert not added & (SLOW | {"torch", "numpy"})


def test_the_package_itself_loads_nothing():
    assert added_by("import labelreg", before="import typing, __future__") == {"labelreg"}
