"""The papers as data: their printed numbers, and the experiments behind every table and figure.

Every module of this package that defines a ``PAPER`` is one paper. A new paper needs only such a module and its file of
reported numbers.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from labelreg import paths
from labelreg.names import unknown
from labelreg.papers.paper import Item, Paper, Row
from labelreg.papers.shared import BENCHMARK

if TYPE_CHECKING:
    import pandas as pd

_modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
papers: dict[str, Paper] = {module.PAPER.key: module.PAPER for module in _modules if hasattr(module, "PAPER")}
# the benchmark of all methods is planned and recorded like a paper, but has no printed numbers to compare with
COLLECTIONS: dict[str, Paper] = {BENCHMARK.key: BENCHMARK, **papers}


def reported(paper: str) -> "pd.DataFrame":
    """Return the numbers that a paper, such as ``"kr"``, prints, one row per number.

    The columns are ``item, dataset, network, method, metric, value, std``; ``std`` is NaN where none is printed.
    """
    import pandas as pd

    path = paths.reported_root() / f"{paper}.csv"
    if not path.exists():
        raise unknown("paper with reported numbers", paper, [each.stem for each in path.parent.glob("*.csv")])
    return pd.read_csv(path)


__all__ = ["BENCHMARK", "COLLECTIONS", "Item", "Paper", "Row", "papers", "reported"]
