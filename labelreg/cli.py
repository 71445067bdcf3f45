"""The command line."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor
from typing import Annotated

import pandas as pd
import typer

from labelreg import __version__, assignments, data, methods, networks, paths
from labelreg import reproduce as reproduction
from labelreg.experiments import PROFILES, Experiment, Recorded, resolve_device, throughput
from labelreg.reproduce import COLLECTIONS
from labelreg.results import Store, provenance
from labelreg.sweeps import run_all
from labelreg.training import Diverged

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train networks on softened, dynamic or decoupled labels, and compare with what the papers report.",
)


@app.command()
def run(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE...",
            help="Settings of the experiment, such as dataset=cifar100 network=resnet18 method=knowledge_refinery "
            "options.smoothing=0.1 epochs=30. An unknown name is an error.",
        ),
    ] = None,
    profile: Annotated[str, typer.Option(help=f"How much: {', '.join(PROFILES)}.")] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, the experiment's own and those after it.")] = 1,
    jobs: Annotated[int, typer.Option(min=0, help="Runs at once; 0 for as many as there are cores.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    results: Annotated[str | None, typer.Option(help="Folder of the recorded runs; by default data/results.")] = None,
) -> None:
    """Run an experiment, or return its recorded result; an interrupted run is resumed.

    A quick run is a look, not a result: it is trained anew each time, and recorded only where --results names a folder.
    """
    experiment = Experiment().at(profile, **assignments.parse(settings or []))
    results = results or None
    record = profile != "quick" or results is not None
    try:
        finished = run_all(
            experiment.with_seeds(seeds), record=record, jobs=jobs, device=device, results=results, progress=_say
        )
    except KeyboardInterrupt as interruption:  # caught here, as typer would end the program without a word
        _say(str(interruption) or "interrupted")
        raise typer.Exit(130) from None
    rows = [
        {"seed": each.seed, "error %": 100 * result.last["test_error"], "ECE %": 100 * result.last["test_ece"]}
        | {"best error %": 100 * result.best["test_error"], "key": result.key}
        for each, result in finished.items()
    ]
    _print(
        pd.DataFrame(rows).round(2), f"{experiment.method} on {experiment.dataset}, last epoch of {experiment.epochs}"
    )


@app.command()
def reproduce(
    minutes: Annotated[float, typer.Option(min=0, help="Budget of time; 0 shows what there is to run.")] = 0.0,
    profile: Annotated[str, typer.Option(help=f"How much: {', '.join(PROFILES)}.")] = "fast",
    papers: Annotated[
        str, typer.Option(help=f"Whose tables and figures, of {','.join(COLLECTIONS)}; by default all.")
    ] = "",
    dataset: Annotated[str, typer.Option(help="Data sets, separated by commas; they have to be on disk.")] = "cifar100",
    network: Annotated[str, typer.Option(help="Networks, separated by commas; by default all.")] = "",
    methods: Annotated[
        str, typer.Option(help="Methods by their printed names, separated by commas; by default all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=0, help="Runs of each experiment; by default the profile's.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once on the device.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    output: Annotated[str | None, typer.Option(help="Folder to record in; by default data/results.")] = None,
) -> None:
    """Record the runs that the papers' tables and figures need, the most telling first, until the time is over.

    The same command goes on where it was stopped; what is recorded is never run again.
    """
    todo = reproduction.tasks(
        profile,
        collections=_listed(papers),
        datasets=_listed(dataset),
        networks=_listed(network),
        methods=_listed(methods, reproduction.printed_methods()),
        seeds=seeds,
    )
    if not todo:
        typer.echo("no table or figure asks for such a run")
        return
    output = output or None
    results = reproduction.results_so_far(output)
    clock = reproduction.Clock(resolve_device(device), results, {task.experiment.dataset for task in todo})
    plan = reproduction.overview(todo, Recorded(results), clock)
    _print(plan, f"runs at {profile}, in their order")
    typer.echo(
        f"{plan.recorded.sum()} of {len(todo)} runs recorded; what is left takes about {plan.hours.sum() / jobs:.1f} "
        f"hours with jobs={jobs}" + (", guessed: nothing is recorded on such a device yet" if clock.guesses else "")
    )
    if not minutes:
        return
    try:
        failures = reproduction.record(todo, minutes=minutes, jobs=jobs, device=device, output=output, progress=_say)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from there")
        raise typer.Exit(130) from None
    if failures:
        raise typer.Exit(1)


@app.command()
def status() -> None:
    """Show how much of the papers' tables and figures is recorded, and how far it is from what they print."""
    store = list(Store())
    _print(reproduction.coverage(store), "cells of the tables and curves of the figures")
    typer.echo(f"{len(store)} recorded runs in {paths.results_root()}")


@app.command(name="throughput")
def show_throughput(
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Settings of the experiment, as for run.")
    ] = None,
    profile: Annotated[str, typer.Option(help=f"How much: {', '.join(PROFILES)}.")] = "fast",
    steps: Annotated[int, typer.Option(min=1, help="How many training steps to time.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Measure how many samples a second an experiment trains on, beside a bare loop of cross-entropy."""
    experiment = Experiment().at(profile, **assignments.parse(settings or []))
    measured = throughput(experiment, steps=steps, device=device)
    for loop, speed in measured.items():
        typer.echo(f"{loop:9}{speed:10,.0f} samples/s")
    name = provenance(resolve_device(device))["device"]
    typer.echo(f"{measured['training'] / measured['bare']:.0%} of the bare loop, on {name}")


@app.command(name="data")
def show_data(
    name: Annotated[str, typer.Argument(help="A data set; without one, say where data is looked for.")] = "",
    root: Annotated[str | None, typer.Option(help="Folder of the data sets.")] = None,
) -> None:
    """Load a data set, downloading it where that is needed and possible, and say what is in it."""
    if not name:
        typer.echo(f"data sets are looked for in {data.data_root()} (LABELREG_DATA moves it)")
        return
    loaded = data.load(name, root=root)
    rows = [
        {
            "split": split,
            "samples": len(part),
            "shape": "x".join(map(str, part.inputs.shape[1:])),
            "type": part.inputs.dtype,
        }
        for split, part in (("train", loaded.train), ("test", loaded.test))
    ]
    _print(rows, f"{name}: {loaded.num_classes} classes")


@app.command(name="networks")
def show_networks() -> None:
    """List the networks."""
    _list(networks.names())


@app.command(name="methods")
def show_methods() -> None:
    """List the methods and their options with defaults."""
    for name in methods.names():
        options = [f"{key}={option.default}" for key, option in methods.options(name).items() if _has_default(option)]
        typer.echo(f"{name}  {' '.join(options)}".rstrip())


@app.command(name="datasets")
def show_datasets() -> None:
    """List the data sets."""
    _list(data.names())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _has_default(option: inspect.Parameter) -> bool:
    return option.default is not inspect.Parameter.empty


def _listed(names: str, known: Iterable[str] = ()) -> list[str]:
    """Split at commas, but for those that are part of a known name."""
    listed = [name.strip() for name in names.split(",") if name.strip()]
    for name in known:
        parts = name.split(", ")
        for start in range(len(listed) - len(parts) + 1):
            if len(parts) > 1 and listed[start : start + len(parts)] == parts:
                listed[start : start + len(parts)] = [name]
    return listed


def _list(names: Iterable[str]) -> None:
    for name in names:
        typer.echo(name)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print(rows: list[dict] | pd.DataFrame, title: str) -> None:
    table = pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format="{:.2f}".format)
    typer.echo(f"{title}\n\n{table}\n")


def main() -> None:
    """Run the command line; an error is one line, with exit code 2."""
    warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
    try:
        app()
    except (ValueError, TypeError, OSError, Diverged, BrokenExecutor) as error:
        _say(f"labelreg: {error}")
        sys.exit(2)
