"""What importing the ground floor costs: no library that is slow to import and only needed by some functions."""

import subprocess
import sys

import pytest

SLOW = {"torchvision", "torchmetrics", "sklearn", "scipy", "pandas", "PIL", "matplotlib"}


@pytest.mark.parametrize("room", ["networks", "data", "metrics", "paths", "costs"])
def test_no_slow_library_is_imported_with(room):
    script = f"import sys, torch; before = set(sys.modules); import labelreg.{room}; print(*set(sys.modules) - before)"
    added = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert f"labelreg.{room}" in added
    assert set(added) & SLOW == set()
    # costs are counted in training, so that alone of these is built on the methods
    assert ("labelreg.methods" in added) is (room == "costs")
    assert len(added) < 300  # pydantic and this package
