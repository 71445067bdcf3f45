"""The command line. Commands import what they need when called, so that help and errors in settings appear at once."""

from __future__ import annotations

import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelreg import __version__, paths
from labelreg.experiment import MOST_SEEDS, PROFILES, Experiment

if TYPE_CHECKING:
    import pandas as pd

    from labelreg.results import Result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train networks on softened, dynamic or decoupled labels, and compare with what the papers report.",
)

_SETTINGS = (
    "Settings of the experiment, such as dataset=cifar100 method=knowledge_refinery options.smoothing=0.1 epochs=30."
)
_LONGEST = 1000  # characters of an error's line, which may quote the input
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
_Backend = Annotated[str, typer.Option(help="Where runs are made: loky for this machine, dask for a cluster.")]
_Address = Annotated[str, typer.Option(help="Scheduler of the cluster, such as tcp://HOST:8786.")]
_Mps = Annotated[bool, typer.Option(help="Let several processes on a GPU compute at once, if MPS is installed.")]
_Devices = Annotated[int, typer.Option(min=1, help="Number of GPUs, or of CPU cores, that train one network together.")]
_Nodes = Annotated[int, typer.Option(min=1, help="Machines with that many devices each, started by torchrun or Slurm.")]
_Jobs = Annotated[int, typer.Option(min=0, help="Number of runs at once; 0 for as many as there is room for.")]
_Output = Annotated[str | None, typer.Option("--output", help="Folder to record in; by default data/results.")]
_Profile = Annotated[str, typer.Option(help=f"Size of the runs: {', '.join(PROFILES)}.")]


@app.command()
def run(
    settings: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help=_SETTINGS)] = None,
    profile: _Profile = "quick",
    seeds: Annotated[
        int, typer.Option(min=1, max=MOST_SEEDS, help="Number of seeds, from the experiment's own upwards.")
    ] = 1,
    jobs: _Jobs = 1,
    device: _Device = "auto",
    backend: _Backend = "loky",
    address: _Address = "",
    mps: _Mps = True,
    devices: _Devices = 1,
    nodes: _Nodes = 1,
    output: _Output = None,
) -> None:
    """Run an experiment, or return its recorded result; an interrupted run is resumed.

    A run at the profile quick is trained anew each time, and recorded only if --output names a folder.
    """
    from labelreg.assignments import parse

    chosen = parse(settings or [])  # before any experiment is created, because that loads PyTorch
    experiment = Experiment().at(profile, **chosen)
    record = profile != "quick" or bool(output)
    where = {"record": record, "results": output or None, "device": device}
    if devices * nodes > 1:
        if jobs != 1 or backend != "loky":
            raise ValueError("several devices train one network after another: jobs must be 1, and backend loky")
        finished = _run_together(experiment.with_seeds(seeds), devices, nodes, **where)
    else:
        where |= {"jobs": jobs, "backend": backend, "address": address, "mps": mps}
        finished = _run_all(experiment.with_seeds(seeds), **where)
    rows = []
    for each, result in finished.items():
        last = {"error %": 100 * result.last["test_error"], "ECE %": 100 * result.last["test_ece"]}
        rows.append({"seed": each.seed, **last, "best error %": 100 * result.best["test_error"], "key": each.key})
    _print(rows, f"{experiment.method} on {experiment.dataset}, last epoch of {experiment.epochs}")


@app.command()
def reproduce(
    minutes: Annotated[float, typer.Option(min=0, help="Time budget in minutes; 0 only shows the plan.")] = 0.0,
    profile: _Profile = "fast",
    papers: Annotated[str, typer.Option(help="Keys of papers, or shared for the benchmark; by default all.")] = "",
    items: Annotated[str, typer.Option(help="Tables and figures, such as table1; by default all.")] = "",
    dataset: Annotated[str, typer.Option(help="Data sets; by default cifar100, or all if --items is given.")] = "",
    network: Annotated[str, typer.Option(help="Networks, separated by commas; by default all.")] = "",
    methods: Annotated[str, typer.Option(help="Methods as printed, separated by commas; by default all.")] = "",
    seeds: Annotated[int, typer.Option(min=0, max=MOST_SEEDS, help="Runs of each; by default the table's number.")] = 0,
    jobs: _Jobs = 1,
    device: _Device = "auto",
    backend: _Backend = "loky",
    address: _Address = "",
    mps: _Mps = True,
    output: _Output = None,
) -> None:
    """Record the runs that the papers' tables and figures need, the most informative first, until the time is over.

    The same command resumes where it stopped; recorded runs are never run again.
    """
    from labelreg.pools import at_once
    from labelreg.reports import overview, plan, printed_methods
    from labelreg.results import Recorded, Store
    from labelreg.sweeps import Runtimes, device_here

    target = device_here(backend, device)  # before the plan, which takes longer than to find an unknown device
    wanted = {"collections": _listed(papers), "items": _listed(items), "networks": _listed(network)}
    wanted["datasets"] = _listed(dataset) or (() if items else ("cifar100",))
    todo = plan(profile, **wanted, methods=_listed(methods, printed_methods()), seeds=seeds)
    if not todo:
        typer.echo("no table or figure asks for such a run")
        return
    results = [*Store(), *(Store(output) if output else ())]
    recorded, runtimes = Recorded(results), Runtimes(results, target)
    table = overview(todo, recorded, runtimes)
    _print(table, f"runs at {profile}, in their order")
    hours = table.hours.sum(skipna=False) / (jobs or (at_once(target) if target else 1))
    known = f"about {hours:.1f} hours" if hours == hours else "a time that no recorded run on this device tells"
    typer.echo(f"{table.recorded.sum()} of {len(todo)} runs recorded; what is left takes {known} with jobs={jobs}")
    missing = [task.experiment for task in todo if recorded.find(task.experiment) is None]
    if minutes and missing:
        where = {"jobs": jobs, "device": device, "backend": backend, "address": address, "mps": mps}
        _run_all(missing, results=output or None, minutes=minutes, **where)


@app.command()
def status() -> None:
    """Show how much of the papers' tables and figures is recorded, and how far runs are from the printed numbers."""
    from labelreg.reports import coverage
    from labelreg.results import Store

    store = list(Store())
    _print(coverage(store), "cells of the tables and curves of the figures")
    typer.echo(f"{len(store)} recorded runs in {paths.results_root()}")


@app.command(name="data")
def show_data(
    name: Annotated[str, typer.Argument(help="A data set; without one, show where data sets are looked for.")] = "",
    root: Annotated[str | None, typer.Option(help="Folder of the data sets.")] = None,
) -> None:
    """Load a data set, downloading it if necessary and possible, and describe it."""
    if not name:
        typer.echo(f"data sets are looked for in {paths.data_root()} (LABELREG_DATA moves it)")
        return
    from labelreg.data import load

    loaded = load(name, root=root)
    rows = []
    for split, part in (("train", loaded.train), ("test", loaded.test)):
        shape = "x".join(map(str, part.inputs.shape[1:]))
        rows.append({"split": split, "samples": len(part), "shape": shape, "type": part.inputs.dtype})
    _print(rows, f"{name}: {loaded.num_classes} classes")


@app.command(name="methods", help="List the methods and their options with defaults.")
@app.command(name="networks", help="List the networks and their options with defaults.")
def show_options(context: typer.Context) -> None:
    """List what the package with the command's name offers."""
    package = import_module(f"labelreg.{context.info_name}")
    for name in package.names():
        defaults = package.complete_options(name, {}).items()
        typer.echo(f"{name}  {' '.join(f'{key}={value}' for key, value in defaults)}".rstrip())


@app.command(name="datasets")
def show_datasets() -> None:
    """List the data sets."""
    from labelreg import data

    typer.echo("\n".join(data.names()))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _run_all(experiments: Iterable[Experiment], **options: Any) -> dict[Experiment, Result]:
    """Run experiments; report an interruption in one line, and several failures in one line each."""
    from labelreg.sweeps import run_all

    try:
        with _interruption_told():
            return run_all(experiments, progress=_say, **options)
    except ExceptionGroup as group:
        for error in group.exceptions:
            _say(_told(error))
        raise typer.Exit(2) from None


def _run_together(
    experiments: Iterable[Experiment], devices: int, nodes: int, record: bool, results: str | None, device: str
) -> dict[Experiment, Result]:
    """Run experiments one after another, each on several devices; all processes but the first exit here silently."""
    from labelreg.processes import launch
    from labelreg.running import run, train

    processes = launch(devices, nodes, device)
    options = {"progress": None if processes.rank else _say, "processes": processes}
    finished = {}
    with _interruption_told():
        try:
            for each in experiments:
                if record:
                    finished[each] = run(each, results=results, wait=False, **options)
                else:
                    finished[each] = train(each, **options).result
        except (KeyboardInterrupt, ValueError):  # raised by all processes
            if not processes.rank:
                raise
    if processes.rank:
        raise typer.Exit
    return finished


@contextmanager
def _interruption_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interruption:  # typer would print nothing
        _say(str(interruption) or "interrupted")
        raise typer.Exit(130) from None


def _listed(names: str, known: Iterable[str] = ()) -> list[str]:
    """Split at commas, except at those that are part of a known name."""
    listed = [name.strip() for name in names.split(",") if name.strip()]
    for name in known:
        parts = name.split(", ")
        for start in range(len(listed) - len(parts) + 1):
            if len(parts) > 1 and listed[start : start + len(parts)] == parts:
                listed[start : start + len(parts)] = [name]
    return listed


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print(rows: list[dict] | pd.DataFrame, title: str) -> None:
    import pandas as pd

    table = pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format="{:.2f}".format)
    typer.echo(f"{title}\n\n{table}\n")


def _told(error: Exception) -> str:
    """Describe an error in one line, with the file of its traceback if it is not from this package or the system."""
    notes = getattr(error, "__notes__", ())[:1]  # the settings of the run; the second is a traceback
    if isinstance(error, ValueError | OSError) or type(error).__module__.startswith("labelreg."):
        return f"labelreg: {'; '.join(map(_one_short_line, [str(error), *notes]))}"
    with tempfile.NamedTemporaryFile("w", prefix="labelreg-", suffix=".txt", delete=False) as file:
        file.writelines(traceback.format_exception(error))
    said = [f"{type(error).__name__}: {error}", *notes]
    where = f"if this should work, it is a mistake in labelreg, and its traceback is in {file.name}"
    return f"labelreg: {'; '.join(map(_one_short_line, [*said, where]))}"


def _one_short_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def main() -> None:
    """Run the command line; an error is one line, with exit code 2."""
    warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
    try:
        app(prog_name="labelreg")
    except Exception as error:
        _say(_told(error))
        sys.exit(2)
