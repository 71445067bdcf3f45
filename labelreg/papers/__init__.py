"""The papers as data: their printed numbers, and the experiments behind every table and figure.

Every module of this package that defines a ``PAPER`` is one paper; a new one needs no other change than its file of
reported numbers.
"""

from __future__ import annotations

import importlib
import pkgutil

from labelreg.papers.compare import COLUMNS, compare, is_runnable, recorded_runs, reported
from labelreg.papers.paper import Item, Paper, Row
from labelreg.papers.shared import BENCHMARK

_modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
papers: dict[str, Paper] = {module.PAPER.key: module.PAPER for module in _modules if hasattr(module, "PAPER")}
# the benchmark of all methods is planned and recorded like a paper, and prints nothing to compare with
COLLECTIONS: dict[str, Paper] = {BENCHMARK.key: BENCHMARK, **papers}

__all__ = [
    "BENCHMARK",
    "COLLECTIONS",
    "COLUMNS",
    "Item",
    "Paper",
    "Row",
    "compare",
    "is_runnable",
    "papers",
    "recorded_runs",
    "reported",
]
