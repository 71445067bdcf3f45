"""The command line."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from typing import Annotated

import pandas as pd
import typer

from labelreg import __version__, assignments, data, methods, networks, paths
from labelreg import papers as reference
from labelreg.experiments import PROFILES, Experiment
from labelreg.results import Store
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
def status() -> None:
    """Show how many of the papers' numbers are recorded, and what is recorded besides."""
    rows = []
    store = list(Store())
    for key, paper in reference.papers.items():
        for name, item in paper.tables.items():
            cells = reference.compare(key, name, store)
            rows.append(
                {
                    "paper": key,
                    "item": name,
                    "shows": item.title,
                    "numbers": len(cells),
                    "runnable": cells.runnable.sum(),
                    "at fast": (cells.profile == "fast").sum(),
                    "at paper": (cells.profile == "paper").sum(),
                    "mean gap": cells.gap.mean(),
                }
            )
    _print(rows, "printed numbers")
    typer.echo(f"{len(store)} recorded runs in {paths.results_root()}")


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


def _list(names: Iterable[str]) -> None:
    for name in names:
        typer.echo(name)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print(rows: list[dict], title: str) -> None:
    table = pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format="{:.2f}".format)
    typer.echo(f"{title}\n\n{table}\n")


def main() -> None:
    """Run the command line; an error is one line, with exit code 2."""
    warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
    try:
        app()
    except (ValueError, TypeError, FileNotFoundError, Diverged) as error:
        _say(f"labelreg: {error}")
        sys.exit(2)
