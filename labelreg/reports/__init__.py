"""Recorded runs beside printed numbers, and what is left to record for the tables and figures."""

from labelreg.reports.compare import compare, is_runnable, recorded_runs
from labelreg.reports.measures import epochs_until
from labelreg.reports.plan import coverage, overview, plan, printed_methods
from labelreg.reports.progress import made, progress

__all__ = ["compare", "coverage", "epochs_until", "is_runnable", "made", "overview", "plan", "printed_methods"]
__all__ += ["progress", "recorded_runs"]
