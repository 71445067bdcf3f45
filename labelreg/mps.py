"""NVIDIA's multi-process service (MPS), with which processes compute on a GPU at once instead of in turns."""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib.externals.loky import get_reusable_executor

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
SECONDS = 20  # how long to wait for an answer


@contextmanager
def serving() -> Iterator[None]:
    """Run a separate MPS daemon, with its own folders, for joblib's processes in the block.

    If MPS is not installed, or a daemon is already running or configured, nothing is done. The GPU's settings are not
    changed.
    """
    if not shutil.which(CONTROL) or {PIPES, LOGS} & os.environ.keys() or _tell("get_server_list"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="labelreg-mps-", ignore_cleanup_errors=True) as folder:
        folders = {PIPES: f"{folder}/pipes", LOGS: f"{folder}/logs"}
        for each in folders.values():
            Path(each).mkdir()
        # a process keeps the daemon that it found when it started
        get_reusable_executor().shutdown()
        os.environ.update(folders)
        try:
            if not _start():
                warnings.warn(f"{CONTROL} -d failed; processes will use the card in turns", stacklevel=3)
            yield
        finally:
            # a daemon that is told to quit waits for its processes
            get_reusable_executor().shutdown(kill_workers=True)
            _tell("quit")
            for each in folders:
                del os.environ[each]


def _start() -> bool:
    """Start a daemon; return whether it runs."""
    # The daemon numbers the devices that it sees from 0. If it saw only device 1, a process that is restricted to
    # device 1 would look for the second of one device.
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    # a separate session: Ctrl-C must reach only the runs, which end before the daemon
    return _control(["-d"], env=seen, stdin=subprocess.DEVNULL, start_new_session=True)


def _tell(command: str) -> bool:
    """Send the daemon a command; return whether a daemon has answered."""
    return _control([], input=f"{command}\n".encode())


def _control(arguments: list[str], **options: object) -> bool:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": SECONDS}
    try:
        return subprocess.run([CONTROL, *arguments], **quiet, **options).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
