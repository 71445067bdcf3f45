"""The runs that tables and figures need, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labelreg.benchmark import BENCHMARK
from labelreg.checks import unknown
from labelreg.data import names as dataset_names
from labelreg.experiments import PROFILES, Experiment, training_operations
from labelreg.networks import names as network_names
from labelreg.papers import Paper, Row, is_runnable, papers

COLLECTIONS: dict[str, Paper] = {BENCHMARK.key: BENCHMARK, **papers}


@dataclass(frozen=True)
class Task:
    """A run that a table or figure needs.

    Attributes:
        collection: key of the paper, or ``"shared"``.
        item: the table or figure.
        row: whose run it is.
        experiment: at its profile, of one seed.
    """

    collection: str
    item: str
    row: Row
    experiment: Experiment

    @property
    def name(self) -> str:
        """What is run, in a few words."""
        where = f"{self.experiment.dataset}, {self.experiment.network}, seed {self.experiment.seed}"
        return f"{self.collection} {self.item}: {self.row.method} on {where}"


def tasks(
    profile: str = "fast",
    *,
    collections: Iterable[str] = (),
    datasets: Iterable[str] = ("cifar100",),
    networks: Iterable[str] = (),
    methods: Iterable[str] = (),
    seeds: int = 0,
) -> list[Task]:
    """List the runs that tables and figures need, each once, in the order in which they teach most a minute.

    What compares methods on one data set and network stays together, small networks before large ones. In it the
    baseline comes first, with all seeds, and then one method after another with the same.

    Args:
        profile: how much.
        collections: keys of papers, or ``"shared"`` for the benchmark of all methods; all if empty.
        datasets: names of data sets, which have to be on disk.
        networks: names of networks; all if empty.
        methods: methods as the tables and figures call them; all if empty.
        seeds: runs of each experiment; 0 for the profile's number, or at ``"paper"`` the paper's.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: a data set is not on disk and cannot be fetched.
    """
    collections, datasets = list(collections) or list(COLLECTIONS), list(datasets)
    networks, methods = list(networks) or network_names(), list(methods) or printed_methods()
    for kind, names, known in (
        ("profile", [profile], PROFILES),
        ("collection", collections, COLLECTIONS),
        ("data set", datasets, dataset_names()),
        ("network", networks, network_names()),
        ("method in any table or figure", methods, printed_methods()),
    ):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    comparisons = [
        comparison
        for key in collections
        for name, item in COLLECTIONS[key].items.items()
        for comparison in _comparisons(key, name, item.rows)
        if comparison[0].row.dataset in datasets
        and comparison[0].row.network in networks
        and is_runnable(comparison[0].row)
    ]
    comparisons.sort(key=lambda comparison: training_operations(comparison[0].experiment.at(profile)))
    found: dict[Experiment, Task] = {}
    for task in (task for comparison in comparisons for task in comparison if task.row.method in methods):
        count = seeds or (COLLECTIONS[task.collection].seeds if profile == "paper" else PROFILES[profile].seeds)
        for each in task.experiment.at(profile).with_seeds(count):
            found.setdefault(each.resolved(), Task(task.collection, task.item, task.row, each))
    return list(found.values())


def printed_methods() -> list[str]:
    """Return the methods as the tables and figures call them."""
    items = (item for collection in COLLECTIONS.values() for item in collection.items.values())
    return list(dict.fromkeys(row.method for item in items for row in item.rows))


def _comparisons(collection: str, item: str, rows: Sequence[Row]) -> list[list[Task]]:
    """Group the rows of a table or figure by data set and network, each group's baseline first."""
    groups: dict[tuple[str, str], list[Task]] = {}
    for row in rows:
        task = Task(collection, item, row, row.experiment)
        groups.setdefault((row.dataset, row.network), []).append(task)
    baseline = COLLECTIONS[collection].baseline
    return [sorted(group, key=lambda task: task.row.method != baseline) for group in groups.values()]
