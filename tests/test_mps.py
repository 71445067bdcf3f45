"""NVIDIA's MPS: a daemon of one's own for the time of a block, as a program of its name that notes what it is told."""

import os
from pathlib import Path

import joblib
import pytest
from joblib.externals.loky import get_reusable_executor

from labelreg import mps

# answers where the folder that it is shown has a daemon, or there is one already
CONTROL = """#!/bin/sh
home=$(dirname "$0")
if [ "$1" = -d ]; then
    echo "start in $CUDA_MPS_PIPE_DIRECTORY, $CUDA_MPS_LOG_DIRECTORY; devices $CUDA_VISIBLE_DEVICES" >>"$home/told"
    [ ! -e "$home/broken" ] && touch "$CUDA_MPS_PIPE_DIRECTORY/daemon"
else
    read -r line
    echo "$line" >>"$home/told"
    [ -e "$home/running" ] || [ -e "$CUDA_MPS_PIPE_DIRECTORY/daemon" ]
fi
"""


@pytest.fixture
def control(tmp_path, monkeypatch):
    """The folder of the program, on the path."""
    program = tmp_path / "bin" / mps.CONTROL
    program.parent.mkdir()
    program.write_text(CONTROL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.delenv(mps.LOGS, raising=False)
    return program.parent


def told(control):
    return (control / "told").read_text().splitlines() if (control / "told").exists() else []


def pipes_of_processes():
    return set(joblib.Parallel(2)(joblib.delayed(os.environ.get)(mps.PIPES) for _ in range(2)))


def test_serves_the_processes_of_the_block_and_no_others(control, monkeypatch):
    """joblib keeps its processes for later calls; none may stay from before the daemon, or after it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert pipes_of_processes() == {None}
    with mps.serving():
        pipes, logs = os.environ[mps.PIPES], os.environ[mps.LOGS]
        assert pipes_of_processes() == {pipes}
        assert Path(pipes).is_dir()
        assert Path(logs).is_dir()
        assert told(control) == ["get_server_list", f"start in {pipes}, {logs}; devices "]
    assert told(control)[2:] == ["quit"]
    assert not Path(pipes).parent.exists()
    assert not {mps.PIPES, mps.LOGS} & os.environ.keys()
    assert pipes_of_processes() == {None}
    get_reusable_executor().shutdown()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_ends_on_an_error_and_an_interrupt(error, control):
    with pytest.raises(error), mps.serving():
        raise error
    assert told(control)[-1] == "quit"
    assert mps.PIPES not in os.environ


@pytest.mark.parametrize("reason", ["no program", "told of one", "one answers"])
def test_leaves_alone_what_others_run(reason, control, monkeypatch):
    if reason == "no program":
        (control / mps.CONTROL).unlink()
    elif reason == "told of one":
        monkeypatch.setenv(mps.PIPES, "elsewhere")
    else:
        (control / "running").touch()
    before = dict(os.environ)
    with mps.serving():
        assert dict(os.environ) == before
    assert told(control) == (["get_server_list"] if reason == "one answers" else [])


def test_goes_on_without_a_daemon_that_does_not_start(control):
    (control / "broken").touch()
    with pytest.warns(UserWarning, match="in turns"), mps.serving():
        pass
    assert mps.PIPES not in os.environ
