"""Every method computes what it computed when ``golden/values.json`` was recorded."""

import json

import pytest
import torch
from golden import record

from labelreg import methods

GOLDEN = json.loads(record.VALUES.read_text())
# beside float64, what is computed in float32 by design: a forest's predictions and the shares of a vote
LOOSE = {name for name in GOLDEN if "ForestAsRegularization" in name or "vote" in name}

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="without MKL, dropout draws other numbers"
)


@pytest.fixture
def double():
    with record.default_dtype(torch.float64):
        yield


def assert_same(recorded, golden, rtol):
    recorded = {name: value for name, value in recorded.items() if name != "sha256"}
    assert recorded.keys() == golden.keys()
    for name, value in golden.items():
        # what has cancelled out is no number to compare with by its own size
        assert recorded[name] == pytest.approx(value, rel=rtol, abs=rtol), name


def test_every_method_is_here_and_all_that_is_recorded_is_compared():
    assert record.CASES.keys() == set(methods.names())
    assert GOLDEN.keys() == record.all_cases().keys() | record.RUNS.keys()


@pytest.mark.parametrize("name", record.all_cases())
def test_case(name, double):
    assert_same(record.record_case(name), GOLDEN[name], 1e-5 if name in LOOSE else 1e-9)


@pytest.mark.parametrize("name", record.RUNS)
def test_whole_run(name):
    if not record.is_here(record.RUNS[name]["dataset"]):
        pytest.skip("LABELREG_DATA does not hold the data set")
    recorded = record.record_run(name)
    for part in ("history", "observed"):
        assert_same(recorded[part], GOLDEN[name][part], 1e-4)
