"""Metrics of recorded runs in the units in which papers print them: errors in percent, accuracies, perplexities."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labelreg.names import unknown
from labelreg.results import Result, paired_difference

# printed metric to its name in the history or observations, and to the heading of its column
METRICS = {
    "error": ("test_error", "error, %"),
    "accuracy": ("test_error", "accuracy, %"),
    "top1_error": ("test_error", "top-1 error, %"),
    "top1_accuracy": ("test_error", "top-1 accuracy, %"),
    "top5_error": ("test_top5_error", "top-5 error, %"),
    "top5_accuracy": ("test_top5_error", "top-5 accuracy, %"),
    "ece": ("test_ece", "ECE, %"),
    "recall_at_1": ("recall_at_1", "R@1, %"),
    "valid_perplexity": ("validation_perplexity", "validation perplexity"),
    "test_perplexity": ("test_perplexity", "test perplexity"),
    "relative_improvement": ("", "relative improvement, %"),
}


def number(result: Result, metric: str, last_epochs: int = 1) -> float:
    """Return a metric of a run in its printed unit, at the epochs that :attr:`.Paper.last_epochs` names."""
    values = result.epochs(METRICS[metric][0])
    if not metric.endswith("perplexity"):
        values = 100 * (1 - values if metric.endswith("accuracy") else values)
    if last_epochs:
        return np.median(values[-last_epochs:])
    validated = any(name.startswith("validation_") for name in result.history)
    return values[result.best_epoch("validation" if validated else "test")]


def measured(results: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the mean over runs, ``ours``, of :func:`number`, and its standard deviation ``ours_std``.

    Without runs, both are NaN; with one run, the standard deviation is NaN.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    values = pd.Series([number(result, metric, last_epochs) for result in results], dtype=float)
    return {"ours": values.mean(), "ours_std": values.std()}


def paired(results: Sequence[Result], others: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Compare the :func:`number` of runs with that of others by :func:`on_common_seeds`."""
    return on_common_seeds(
        *({each.experiment.seed: number(each, metric, last_epochs) for each in group} for group in (results, others))
    )


def on_common_seeds(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[str, float]:
    """Compare values by seed, on the seeds that both have.

    Return their mean ``difference``, the ``half_width`` of its 95 % interval, and the number of these seeds,
    ``common``. The first two are NaN if there are none.
    """
    common = sorted(ours.keys() & theirs.keys())
    pairs = [ours[seed] for seed in common], [theirs[seed] for seed in common]
    difference, half_width = paired_difference(*pairs) if common else (np.nan, np.nan)
    return {"difference": difference, "half_width": half_width, "common": len(common)}


def at_the_end(result: Result, name: str) -> float:
    """Return a metric of the history or an observation after the last epoch.

    If an observation has several numbers, the name includes an index, such as ``"fgsm_error[2]"``.
    """
    name, _, place = name.rstrip("]").partition("[")
    last = result.epochs(name)[-1]
    return float(last[int(place)] if place else last)


def against_each_other(results: Mapping[str, Sequence[Result]], metric: str = "error") -> pd.DataFrame:
    """Compare every method with every other on the seeds that both have.

    Args:
        results: label to the results of one experiment.
        metric: key of :data:`METRICS`; values are in its printed unit.

    Returns:
        One row per ordered pair of labels, ``method`` and ``other``: the ``difference``, the first minus the second,
        the ``half_width`` of its 95 % interval, the number of ``common`` seeds, and ``p`` after Holm's correction for
        all unordered pairs.
    """
    pairs = list(itertools.combinations(results, 2))
    index = pd.MultiIndex.from_tuples(pairs, names=["method", "other"])
    table = pd.DataFrame([paired(results[one], results[other], metric) for one, other in pairs], index)
    (table["p"],) = p_values([table])
    mirrored = table.assign(difference=-table.difference)
    mirrored.index = pd.MultiIndex.from_tuples([pair[::-1] for pair in pairs], names=index.names)
    return pd.concat([table, mirrored])


def ranks(conditions: Mapping[Any, Mapping[str, Sequence[Result]]], metric: str = "error") -> pd.DataFrame:
    """Rank methods, 1 for the lowest value, in every condition and for every seed that all of them have.

    ``conditions`` maps each condition to its results by label, see :func:`against_each_other`. The rows are (condition,
    seed), the columns the labels; equal values share the mean of their ranks.
    """
    values = {
        condition: pd.DataFrame(
            {label: {each.experiment.seed: number(each, metric) for each in group} for label, group in results.items()}
        )
        for condition, results in conditions.items()
    }
    return pd.concat(values).dropna().rank(axis=1)


def critical_difference(methods: int, blocks: int, level: float = 0.05) -> float:
    """Return how far mean ranks over a number of blocks must differ to be significant: the Nemenyi test (Demsar, 2006).

    Blocks count as independent; if they are seeds under few conditions, the conclusion is on these conditions only.
    """
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def p_values(tables: Iterable[pd.DataFrame]) -> list[pd.Series]:
    """Return the p-values of the differences in tables with columns ``difference, half_width, common``.

    They are those of a two-sided paired t-test, after Holm's correction (1979) for the number of differences in all
    tables. Differences that do not vary, such as that of a baseline to itself, have none and do not count.
    """
    from scipy.special import stdtr, stdtrit

    if not (tables := list(tables)):
        return []
    frame = pd.concat(dict(enumerate(tables)))[["difference", "half_width", "common"]].astype(float)
    tested = frame[frame.half_width > 0]
    freedom = tested.common - 1
    statistic = tested.difference.abs() / tested.half_width * stdtrit(freedom, 0.975)
    ordered = pd.Series(2 * stdtr(freedom, -statistic), tested.index).sort_values()
    corrected = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1).reindex(frame.index)
    return [corrected[number] if len(table) else corrected for number, table in enumerate(tables)]


def epochs_until(results: Sequence[Result], error: float) -> int:
    """Return after how many epochs the mean test error of runs of one experiment is as low as an error, in [0, 1].

    If it never is, return one more than their number of epochs.
    """
    errors = np.mean([result.epochs("test_error") for result in results], axis=0)
    return 1 + int(np.argmax([*(errors <= error), True]))
