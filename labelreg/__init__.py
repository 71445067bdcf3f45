"""labelreg: training networks on softened, dynamic or decoupled labels."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Experiment", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # imported on first use, so that neither --help nor the import of one loss loads the whole package
    if name == "Experiment":
        from labelreg.experiment import Experiment

        return Experiment
    if name == "run":
        from labelreg.running import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
