"""A run as data: what is trained, on what, how, for how long, with which seed."""

from labelreg.experiments.experiment import Experiment
from labelreg.experiments.profiles import PROFILES, Profile
from labelreg.experiments.recorded import Recorded
from labelreg.experiments.running import Trained, prepare_data, resolve_device, run, train, trained

__all__ = [
    "Experiment",
    "PROFILES",
    "Profile",
    "Recorded",
    "Trained",
    "prepare_data",
    "resolve_device",
    "run",
    "train",
    "trained",
]
