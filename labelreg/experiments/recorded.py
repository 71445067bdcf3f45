"""Which experiment a recorded run is of: defaults may have changed since."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labelreg.experiments.experiment import Experiment
from labelreg.results import Result


class Recorded:
    """Recorded runs, found by the settings they had.

    A default that has changed since a run was recorded leaves the run what it was: it answers to the experiment that
    names the old value. What did not exist yet counts as the default it has today.

    Args:
        results: the runs.
    """

    def __init__(self, results: Iterable[Result]):
        self._by_key: dict[str, Result] = {}
        self._by_settings: dict[Experiment, Result] = {}
        for result in results:
            self._by_key[result.key] = result
            if (experiment := as_of_today(result.experiment)) is not None:
                self._by_settings[experiment] = result

    def find(self, experiment: Experiment) -> Result | None:
        """Return the run of an experiment, or None; warn where the run under its key had other settings."""
        result = self._by_settings.get(experiment.resolved())
        if result is None and experiment.key in self._by_key:
            recorded = self._by_key[experiment.key].experiment
            old = ", ".join(_differences(_plain(recorded), _plain(experiment.resolved().as_dict())))
            warnings.warn(
                f"a run of {experiment.name} is recorded as {experiment.key}, but at {old}, where today's defaults are "
                "others: it is passed over, and found by an experiment that names these values",
                stacklevel=2,
            )
        return result


def as_of_today(settings: Mapping[str, Any]) -> Experiment | None:
    """Return the experiment of recorded settings, resolved; None where they cannot be set any more."""
    try:
        return Experiment(**settings).resolved()
    except (TypeError, ValueError):
        return None


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read from JSON."""
    return json.loads(json.dumps(settings))


def _differences(recorded: Mapping[str, Any], today: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Name what was recorded and is not so today, with the recorded value."""
    for name, value in recorded.items():
        if isinstance(value, Mapping) and isinstance(today.get(name), Mapping):
            yield from _differences(value, today[name], f"{prefix}{name}.")
        elif name not in today or value != today[name]:
            yield f"{prefix}{name}={value}"
