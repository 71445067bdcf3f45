"""NVIDIA's multi-process service (MPS), with which processes compute on a card at once instead of in turns."""

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
SECONDS = 20  # to wait for an answer


@contextmanager
def serving() -> Iterator[None]:
    """Run a daemon of this process's own, in folders of its own, for what joblib's processes compute in the block.

    Where there is no MPS, or a daemon runs or is named already, nothing is done. The card's settings stay as they are.
    """
    if not shutil.which(CONTROL) or {PIPES, LOGS} & os.environ.keys() or _tell("get_server_list"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="labelreg-mps-", ignore_cleanup_errors=True) as folder:
        folders = {PIPES: f"{folder}/pipes", LOGS: f"{folder}/logs"}
        for each in folders.values():
            Path(each).mkdir()
        # a process keeps to the daemon that there was when it began
        get_reusable_executor().shutdown()
        os.environ.update(folders)
        try:
            if not _start():
                warnings.warn(f"{CONTROL} -d failed; processes will use the card in turns", stacklevel=3)
            yield
        finally:
            # which a daemon that is told to quit waits for
            get_reusable_executor().shutdown(kill_workers=True)
            _tell("quit")
            for each in folders:
                del os.environ[each]


def _start() -> bool:
    """Start a daemon; return whether it runs."""
    # it numbers the devices it sees anew, and a process that is shown device 1 alone would look for the second of one
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    # a session of its own: Ctrl-C must reach the runs, which end before it
    return _control(["-d"], env=seen, stdin=subprocess.DEVNULL, start_new_session=True)


def _tell(command: str) -> bool:
    """Give the daemon a command; return whether one has answered."""
    return _control([], input=f"{command}\n".encode())


def _control(arguments: list[str], **options: object) -> bool:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": SECONDS}
    try:
        return subprocess.run([CONTROL, *arguments], **quiet, **options).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
