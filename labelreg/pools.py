"""Pools that make many calls at once: in processes of this machine, or in the workers of a cluster."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from labelreg import mps

if TYPE_CHECKING:
    from distributed import Client

BACKENDS = ("loky", "dask")
MOST_ON_A_CARD = 6  # processes on a GPU: more of them gain nothing
# estimated bytes of GPU memory per process: CUDA itself, and the widest network for 32 x 32 pixels at a batch of 128
MEMORY_OF_A_PROCESS = 8 << 30

Call = tuple[Callable, tuple, dict]  # as joblib.delayed returns it


class Killed(RuntimeError):
    """A process that was training is gone, perhaps because there was not enough memory."""


@dataclass(frozen=True)
class Pool:
    """Makes calls: ``outcomes(calls, ahead)`` yields what they return, in the order in which they end.

    A call is taken from ``calls`` only when fewer than ``ahead`` of the calls taken before have not ended. ``outcomes``
    raises :class:`Killed` when a call is lost.
    """

    workers: int  # calls that are made at once
    outcomes: Callable[[Iterator[Call], int], Iterator[Any]]


@contextmanager
def opened(
    backend: str, address: str, device: torch.device | None, jobs: int, calls: int, packed: bool
) -> Iterator[Pool]:
    """Yield a pool for a number of calls.

    Args:
        backend: ``"loky"`` for processes of this machine, ``"dask"`` for the workers of a cluster.
        address: address of the cluster's scheduler.
        device: the device that the calls use, if it is one of this machine.
        jobs: number of calls at once; 0 for :func:`at_once`, or for the number of the cluster's workers.
        calls: number of calls.
        packed: whether several processes on a GPU compute at once through MPS, if it is available.
    """
    if backend == "dask":
        with _connected(address) as client:
            if not jobs:
                client.wait_for_workers(1)
            yield Pool(min(jobs or len(client.ncores()), calls), partial(_on_cluster, client))
    else:
        workers = min(jobs or at_once(device), calls)
        with mps.serving() if packed and device.type == "cuda" and workers > 1 else nullcontext():
            yield Pool(workers, partial(_in_processes, workers))


def at_once(device: torch.device) -> int:
    """Return the number of processes that a device of this machine has room for.

    On a CPU, this is one per core. On a GPU, each process needs a core and ``MEMORY_OF_A_PROCESS`` of the free memory;
    the number is at least one, and at most ``MOST_ON_A_CARD``.
    """
    cores = joblib.cpu_count()
    if device.type != "cuda":
        return cores
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(free // MEMORY_OF_A_PROCESS, cores, MOST_ON_A_CARD))


def _in_processes(workers: int, calls: Iterator[Call], ahead: int) -> Iterator[Any]:
    # joblib divides the cores' threads among its processes; with one worker, calls run in this process
    pool = joblib.Parallel(workers, return_as="generator_unordered", pre_dispatch=ahead, batch_size=1)
    try:
        yield from pool(calls)
    except BrokenProcessPool as error:
        raise Killed("a process was killed, possibly out of memory") from error


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    if not address:
        raise ValueError("backend 'dask' needs the address of a scheduler, such as tcp://HOST:8786, and got none")
    try:
        from distributed import Client
    except ImportError as error:
        what = "backend 'dask' needs the package distributed, which is not installed: pip install labelreg[cluster]"
        raise ValueError(what) from error
    with Client(address, set_as_default=False) as client:
        yield client


def _on_cluster(client: "Client", calls: Iterator[Call], ahead: int) -> Iterator[Any]:
    """Yield outcomes; if a worker is lost, its calls are given to others.

    joblib's backend for dask is not used, because it waits forever for a call that the scheduler has given up.
    """
    from distributed import KilledWorker, as_completed

    def submit(number: int) -> None:
        for function, arguments, options in islice(calls, number):
            pending.add(client.submit(_by_itself, function, *arguments, **options, pure=False))

    pending = as_completed(loop=client.loop)
    submit(ahead)
    for future in pending:
        try:
            outcome = future.result()
        except (KilledWorker, CancelledError) as error:
            raise Killed("the cluster lost workers, possibly out of memory, or its scheduler") from error
        yield outcome
        submit(1)


_alone = threading.Lock()  # a process has one random generator, and a worker may have several threads


def _by_itself(function: Callable, *arguments: Any, **options: Any) -> Any:
    with _alone:
        return function(*arguments, **options)
