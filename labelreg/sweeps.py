"""Many runs: on all cores of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import joblib
import torch

from labelreg import methods
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
            memory, and nothing is written: for results that must be of this very moment. Then runs that differ in
            nothing but their method's ``shareable_options`` have in common what these leave alone.
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
    # what is recorded may be resumed, and then the runs it has something in common with are gone
    groups = [[each] for each in todo] if record else _sharing(todo)
    on_gpu = device != "cpu" and torch.cuda.is_available()
    workers = min(jobs or (1 if on_gpu else joblib.cpu_count()), len(groups)) or 1
    every_epoch = progress if workers == 1 else None
    # joblib divides the cores' threads among its processes
    calls = (joblib.delayed(_run_group)(group, record, device, results, every_epoch) for group in groups)
    finished: dict[Experiment, Result] = {}
    for group, of_group in zip(groups, joblib.Parallel(workers, return_as="generator")(calls), strict=True):
        before = len(finished)
        finished |= zip(group, of_group, strict=True)
        if progress is not None and len(finished) * 10 // len(todo) > before * 10 // len(todo):
            progress(f"{len(finished)} of {len(todo)} runs done")
    return {each: finished[each] for each in todo}


def _sharing(experiments: Iterable[Experiment]) -> list[list[Experiment]]:
    """Group experiments that differ in nothing but what their method can share between runs.

    What is shared must not follow the target, as its learning rate would on a plateau, nor be looked at.
    """
    groups: dict[Experiment, list[Experiment]] = {}
    for each in experiments:
        alone = each.schedule == "plateau" or "disturbed_labels" in each.observe
        shareable = frozenset() if alone else methods.find(each.method).shareable_options
        common = {name: value for name, value in each.options if name not in shareable}
        groups.setdefault(replace(each, options=common), []).append(each)
    return list(groups.values())


def _run_group(
    group: list[Experiment],
    record: bool,
    device: str,
    results: Path | str | None,
    progress: Callable[[str], None] | None,
) -> list[Result]:
    if record:
        return [run(each, results=results, device=device, progress=progress) for each in group]
    shared: dict | None = {} if len(group) > 1 else None
    return [train(each, device=device, progress=progress, shared=shared).result for each in group]
