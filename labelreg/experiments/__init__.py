"""A run as data: what is trained, on what, how, for how long, with which seed."""

from labelreg.experiments.experiment import Experiment
from labelreg.experiments.operations import training_operations
from labelreg.experiments.profiles import PROFILES, Profile
from labelreg.experiments.recorded import Recorded, as_of_today
from labelreg.experiments.running import Trained, prepare_data, resolve_device, run, train, trained
from labelreg.experiments.throughput import throughput

__all__ = [
    "Experiment",
    "PROFILES",
    "Profile",
    "Recorded",
    "Trained",
    "as_of_today",
    "prepare_data",
    "resolve_device",
    "run",
    "train",
    "throughput",
    "trained",
    "training_operations",
]
