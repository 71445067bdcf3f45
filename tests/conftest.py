"""What every test is given: folders of its own, one thread, and time."""

import signal

import pytest
import torch
from hypothesis import settings

settings.register_profile("labelreg", deadline=None)  # the first example pays for what is imported late
settings.load_profile("labelreg")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tests run side by side, and the networks here are too small to share."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """No test reads or writes the recorded runs; programs that a test starts are told the same."""
    monkeypatch.setenv("LABELREG_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LABELREG_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """A shell has interrupts ignored by what it runs in the background, and what ignores them hands that down."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
