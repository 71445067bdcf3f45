"""Tables and figures of the papers from recorded runs: drawn where there are any, named where there are none."""

from collections.abc import Callable, Mapping, Sequence

from IPython.display import Markdown, display
from matplotlib.figure import Figure

from labelreg.papers import COLLECTIONS, Row
from labelreg.reports import recorded_runs
from labelreg.results import Result


def recorded(collection: str, item: str, draw: Callable[[Mapping[Row, Sequence[Result]]], Figure]) -> Figure | Markdown:
    """Draw the recorded runs of a table or figure, such as ``"kr"`` and ``"figure5"``, under a line that says which.

    ``draw`` is given the rows that have runs, see :func:`labelreg.reports.recorded_runs`. Where there are none, the
    command that makes them is returned instead.
    """
    rows = COLLECTIONS[collection].items[item].rows
    runs = recorded_runs(rows)
    names = {option: ",".join(dict.fromkeys(getattr(row, option) for row in rows)) for option in ("dataset", "network")}
    command = f"labelreg reproduce --papers {collection} --dataset {names['dataset']} --network {names['network']}"
    if not runs:
        return Markdown(f"Nothing of it is recorded yet; `{command} --minutes 60` records an hour's worth.")
    display(Markdown(f"*Recorded: {made(runs)}; {len(runs)} of {len(rows)} rows.*"))
    return draw(runs)


def made(runs: Mapping[Row, Sequence[Result]]) -> str:
    """Say with what recorded runs were made: epochs, seeds, devices and versions of PyTorch."""
    results = [result for group in runs.values() for result in group]
    facts = {
        "epochs": {str(result.experiment.epochs) for result in results},
        "seeds": {str(len(group)) for group in runs.values()},
    }
    devices = {result.provenance["device"] for result in results}
    versions = {f"torch {result.provenance['torch']}" for result in results}
    numbers = [f"{' or '.join(sorted(values, key=int))} {name}" for name, values in facts.items()]
    return ", ".join([*numbers, *sorted(devices), *sorted(versions)])
