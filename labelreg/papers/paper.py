"""What a paper is here: bibliographic facts, and the experiments behind every table and figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labelreg.experiment import Experiment


@dataclass(frozen=True)
class Row:
    """One experiment of a table or figure, under the names by which ``data/reported`` calls it.

    Attributes:
        method: the method as the paper prints it.
        experiment: at the paper's protocol.
        quoted: whether the paper took the number from elsewhere.
        against: the method of the row it is compared with, on the same data set and network; the paper's baseline if
            empty.
    """

    method: str
    experiment: Experiment
    quoted: bool = False
    against: str = ""

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
    """A table or figure under its title: a sequence of experiments, with one row per printed row or curve."""

    title: str
    rows: tuple[Row, ...]

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
        title, authors, venue: as printed; authors by their last names.
        seeds: number of runs that the paper averages over.
        last_epochs: a run's number is the median over that many last epochs.
        baseline: printed name of the method that the others are compared with.
        tables, figures: name, such as ``"table1"``, to the experiments behind it.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    venue: str
    seeds: int
    last_epochs: int = 1
    baseline: str = "Baseline"
    tables: Mapping[str, Item] = field(default_factory=dict)
    figures: Mapping[str, Item] = field(default_factory=dict)

    @property
    def items(self) -> dict[str, Item]:
        """Tables and figures together."""
        return {**self.tables, **self.figures}
