"""Seconds that calls take, on a machine that others may use too."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def median_seconds(calls: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Return the median duration of each call over so many repetitions, in seconds.

    The calls take turns, so that whatever else the machine does meets all of them alike; a first turn is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}
