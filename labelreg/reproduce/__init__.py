"""Recording what the papers' tables and figures need, the most telling runs first, within a budget of time."""

from labelreg.reproduce.planning import COLLECTIONS, Task, printed_methods, tasks
from labelreg.reproduce.progress import Clock, coverage, overview, results_so_far
from labelreg.reproduce.recording import record

__all__ = [
    "COLLECTIONS",
    "Clock",
    "Task",
    "coverage",
    "overview",
    "printed_methods",
    "record",
    "results_so_far",
    "tasks",
]
