"""Many runs: on all cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import joblib
import torch

from labelreg.experiments import Experiment, run, train
from labelreg.results import Result


def run_all(
    experiments: Iterable[Experiment],
    *,
    record: bool = True,
    jobs: int = 0,
    device: str = "auto",
    results: Path | str | None = None,
    progress: Callable[[str], None] | None = print,
) -> dict[Experiment, Result]:
    """Run experiments, several at once, and return each with its result.

    Args:
        experiments: what to run; each different one is run once.
        record: record the runs, and take those that are recorded already. Otherwise everything is trained anew, in
            memory, and nothing is written: for results that must be of this very moment.
        jobs: how many at once; 0 for as many as there are cores (on a GPU: 1).
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.
        results: folder of the recorded runs; by default ``data/results``.
        progress: called with a line of text at about every tenth of the way; with one job, after every epoch as well.
            None for silence.

    Raises:
        ValueError: jobs is negative; and what :func:`labelreg.experiments.run` raises, which stops the sweep. What has
            been recorded by then stays.
    """
    todo = list(dict.fromkeys(experiments))
    if jobs < 0:
        raise ValueError(f"jobs is a number of processes, 0 for as many as there are cores, not {jobs}")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    workers = min(jobs or (1 if on_gpu else os.cpu_count() or 1), len(todo)) or 1
    every_epoch = progress if workers == 1 else None
    calls = (joblib.delayed(_run_one)(each, record, device, results, every_epoch, workers) for each in todo)
    finished: dict[Experiment, Result] = {}
    for experiment, result in zip(todo, joblib.Parallel(workers, return_as="generator")(calls), strict=True):
        finished[experiment] = result
        done = len(finished)
        if progress is not None and (done * 10 // len(todo) > (done - 1) * 10 // len(todo)):
            progress(f"{done} of {len(todo)} runs done")
    return finished


def _run_one(
    experiment: Experiment,
    record: bool,
    device: str,
    results: Path | str | None,
    progress: Callable[[str], None] | None,
    workers: int,
) -> Result:
    if workers > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if record:
        return run(experiment, results=results, device=device, progress=progress)
    return train(experiment, device=device, progress=progress).result
