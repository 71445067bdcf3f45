"""What a paper is here: the experiments behind every table and figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from labelreg.experiment import PROFILES, Experiment


@dataclass(frozen=True)
class Row:
    """One experiment of a table or figure, under the names that ``data/reported`` uses.

    Attributes:
        method: the method as the paper prints it.
        experiment: the experiment, with the paper's protocol.
        against: the method of the row it is compared with, on the same data set and network; the paper's baseline if
            empty.
        subset: number of training samples of runs on a subset, which are shown with a mark if there are no runs on all
            samples; 0 for no such runs.
    """

    method: str
    experiment: Experiment
    against: str = ""
    subset: int = 0

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.experiment.dataset

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.experiment.network


@dataclass(frozen=True)
class Item(Sequence[Experiment]):
    """A table or figure under its title: a sequence of experiments, with one row per printed row or curve.

    ``seeds`` is the number of runs that the paper averages over, 0 where it does not say.
    """

    title: str
    rows: tuple[Row, ...]
    seeds: int = 0

    def runs(self, row: Row, profile: str) -> int:
        """Return the number of runs of a row at a profile.

        It is at most the paper's number or, where the paper states none, at most one on ImageNet and three elsewhere.
        """
        return min(PROFILES[profile].seeds, self.seeds or (1 if row.dataset == "imagenet" else 3))

    def find(self, dataset: str, network: str, method: str) -> Row | None:
        """Return the row of these names, or None."""
        names = (dataset, network, method)
        return next((row for row in self.rows if (row.dataset, row.network, row.method) == names), None)

    def __getitem__(self, index: int) -> Experiment:
        return self.rows[index].experiment

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Paper:
    """A paper as data.

    Attributes:
        key: short name, as in ``data/reported/<key>.csv``.
        last_epochs: number of last epochs whose median is the number of a run; 0 for the number at the best epoch, on
            the validation split if there is one and otherwise on the test set.
        baseline: printed name of the method that the others are compared with.
        tables, figures: name, such as ``"table1"``, to the experiments behind it.
        experiments: function from a data set and network of the tables to the paper's methods on them, by printed
            names; by default the methods in the tables.
    """

    key: str
    last_epochs: int = 1
    baseline: str = "Baseline"
    tables: Mapping[str, Item] = field(default_factory=dict)
    figures: Mapping[str, Item] = field(default_factory=dict)
    experiments: Callable[[str, str], Mapping[str, Experiment]] | None = None

    @property
    def items(self) -> dict[str, Item]:
        """Tables and figures together."""
        return {**self.tables, **self.figures}

    def nearest(self, dataset: str = "", network: str = "") -> tuple[Item, Row]:
        """Return the row of the tables nearest to a data set and network, either of which may be empty, and its table.

        The same network counts most, because recipes are made for networks; then the same data set; then the likeness
        of the networks' names. If nothing is alike, it is the first row.
        """

        def likeness(found: tuple[Item, Row]) -> tuple[bool, bool, float]:
            row = found[1]
            alike = SequenceMatcher(None, row.network, network).ratio()
            return row.network == network, row.dataset == dataset, alike

        return max(((item, row) for item in self.tables.values() for row in item.rows), key=likeness)

    def compared(self, dataset: str, network: str) -> dict[str, Experiment]:
        """Return the methods on a data set and network of the tables, by printed names, at the paper's protocol."""
        if self.experiments:
            return dict(self.experiments(dataset, network))
        found: dict[str, Experiment] = {}
        for row in (row for item in self.tables.values() for row in item.rows):
            if (row.dataset, row.network) == (dataset, network):
                found.setdefault(row.method, row.experiment)
        return found
