"""One line on a table or figure: how much of it is recorded, which command records the rest, and how long it takes."""

from collections.abc import Iterable, Mapping, Sequence

from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS, Row
from labelreg.reports.compare import is_runnable, runs_at_a_profile, runs_of
from labelreg.results import Recorded, Result, Store
from labelreg.sweeps import Runtimes


def progress(collection: str, name: str, profile: str = "", store: Iterable[Result] | None = None) -> str:
    """Say in a line of HTML how much of a table or figure is recorded, and how to record the rest.

    The line says how the recorded runs were made, see :func:`made`; which methods are missing, if all are on one data
    set and network; which command records for an hour; and how long the missing runs take, one after another, as far as
    recorded runs tell.

    Args:
        collection: key of a paper, or ``"shared"``.
        name: name of the table or figure.
        profile: profile of the runs; if empty, that of :func:`recorded_runs`, or ``"fast"`` if nothing is recorded.
        store: the recorded runs, by default those in ``data/results``.
    """
    results, item = list(Store() if store is None else store), COLLECTIONS[collection].items[name]
    recorded = Recorded(results)
    profile, runs = runs_at_a_profile(item.rows, profile, recorded)
    rows, missing = [row for row in item.rows if is_runnable(row)], {}
    for row in rows:
        wanted = row.experiment.at(profile).with_seeds(item.runs(row, profile))
        if left := [each for each in wanted if recorded.find(each) is None]:
            missing[row] = left
    line = f"{len(runs)} of {len(rows)} experiments recorded"
    on_part = [row for row in rows if row not in runs and row.subset and runs_of(row, profile, recorded, row.subset)]
    line += f", another {len(on_part)} on a part of the training samples" if on_part else ""
    line += f" (profile {profile}, {made(runs)})." if runs else "."
    absent = [row.method for row in rows if row not in runs]
    if runs and absent and len({(row.dataset, row.network) for row in rows}) == 1:
        line += f" Missing: {'; '.join(absent)}."
    if not missing:
        return line
    at = "" if profile == "fast" else f" --profile {profile}"
    command = f"labelreg reproduce --papers {collection} --items {name}{at} --minutes 60"
    worth = f"<code>{command}</code> records an hour's worth"
    left = [each for runs_left in missing.values() for each in runs_left]
    return f"{line} {worth}{' of the rest' if runs else ''}{_estimate(left, results)}."


def made(runs: Mapping[Row, Sequence[Result]]) -> str:
    """Say how recorded runs were made: epochs, seeds, devices and versions of PyTorch."""
    results = [result for group in runs.values() for result in group]
    counts = {
        "epoch": {result.experiment.epochs for result in results},
        "seed": {len(group) for group in runs.values()},
    }
    devices = {result.provenance["device"] for result in results}
    versions = {f"torch {result.provenance['torch']}" for result in results}
    said = [f"{_either(each)} {name}{'s' * (each != {1})}" for name, each in counts.items()]
    return ", ".join([*said, *sorted(devices), *sorted(versions)])


def _either(counts: Iterable[int]) -> str:
    *others, last = map(str, sorted(counts))
    return f"{', '.join(others)} or {last}" if others else last


def _estimate(missing: Sequence[Experiment], results: Sequence[Result]) -> str:
    """How long runs take on the device for which most of them are known; empty if none is known."""
    hours: dict[str, list[float]] = {}
    for device in sorted({result.provenance.get("device", "") for result in results}):
        runtimes = Runtimes(results, device)
        hours[device] = [each / 3600 for each in map(runtimes.seconds, missing) if each == each]
    device, longest = max(hours.items(), key=lambda each: len(each[1]), default=("", []))
    if not longest:
        return ""
    known, total = len(longest), sum(longest)
    time = f"{total:.1f} hours" if total >= 1 else f"{60 * total:.0f} minutes"
    part = f"{known} of the {len(missing)}" if known < len(missing) else f"the {known}"
    return f"; about {time} on one {device} for {part} runs left"
