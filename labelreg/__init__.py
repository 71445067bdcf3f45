"""labelreg: training networks on softened, dynamic or decoupled labels."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Experiment", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # on first use: neither help nor an import of one loss should load the whole package
    if name == "Experiment":
        from labelreg.experiment import Experiment

        return Experiment
    if name == "run":
        from labelreg.running import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
