"""What recorded runs say in the units of print: errors in percent, accuracies, perplexities."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from labelreg.results import Result, difference_on_common_seeds

# how a printed metric is called where it is recorded or observed every epoch
METRICS = {
    "error": "test_error",
    "accuracy": "test_error",
    "top1_error": "test_error",
    "top1_accuracy": "test_error",
    "top5_error": "test_top5_error",
    "top5_accuracy": "test_top5_error",
    "ece": "test_ece",
    "recall_at_1": "recall_at_1",
    "valid_perplexity": "validation_perplexity",
    "test_perplexity": "test_perplexity",
}


def as_printed(result: Result, metric: str) -> np.ndarray:
    """Return a metric after every epoch of a run, in the unit of print."""
    recorded = result.epochs(METRICS[metric])
    if metric.endswith("perplexity"):
        return recorded
    return 100 * (1 - recorded if metric.endswith("accuracy") else recorded)


def number(result: Result, metric: str, last_epochs: int = 1) -> float:
    """Return a metric of a run in the unit of print, at the epochs that :attr:`.Paper.last_epochs` names."""
    values = as_printed(result, metric)
    if last_epochs:
        return np.median(values[-last_epochs:])
    validated = any(name.startswith("validation_") for name in result.history)
    return values[result.best_epoch("validation" if validated else "test")]


def measured(results: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the means over runs: ``ours``, by :func:`number`, and its standard deviation ``ours_std``; at the ``last``
    epoch; and at the ``best`` epoch on the test set. All are NaN where there are no runs.
    """
    if not results:
        return dict.fromkeys(("ours", "ours_std", "last", "best"), np.nan)
    ours = [number(result, metric, last_epochs) for result in results]
    return {
        "ours": np.mean(ours),
        "ours_std": np.std(ours, ddof=1) if len(ours) > 1 else np.nan,
        "last": np.mean([number(result, metric) for result in results]),
        "best": np.mean([as_printed(result, metric)[result.best_epoch("test")] for result in results]),
    }


def paired(results: Sequence[Result], others: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the ``difference`` to other runs on the seeds that both have, ``half_width`` of its 95 % interval, and
    their number, ``common``.
    """
    ours, theirs = (
        {result.experiment.seed: number(result, metric, last_epochs) for result in group} for group in (results, others)
    )
    difference, half_width = difference_on_common_seeds(ours, theirs)
    return {"difference": difference, "half_width": half_width, "common": len(ours.keys() & theirs.keys())}


def p_values(tables: Iterable[pd.DataFrame]) -> list[pd.Series]:
    """Return the p-values of the differences in tables with columns ``difference, half_width, common``.

    They are those of a two-sided paired t-test, after Holm's correction (1979) for the number of differences in all
    tables; a difference of 0 without an interval, as that of a baseline to itself, is none.
    """
    from scipy.special import stdtr, stdtrit

    tables = list(tables)
    frame = pd.concat(dict(enumerate(tables)))[["difference", "half_width", "common"]].astype(float)
    tested = frame[frame.half_width.notna() & ((frame.difference != 0) | (frame.half_width > 0))]
    freedom = tested.common - 1
    with np.errstate(divide="ignore"):
        statistic = tested.difference.abs() / tested.half_width * stdtrit(freedom, 0.975)
    ordered = pd.Series(2 * stdtr(freedom, -statistic), tested.index).sort_values()
    corrected = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1).reindex(frame.index)
    return [corrected[number] if len(table) else corrected for number, table in enumerate(tables)]


def epochs_until(results: Sequence[Result], error: float) -> int:
    """Return after how many epochs the mean test error of runs of one experiment is as low as an error, in [0, 1].

    It is one more than they have where it never is.
    """
    errors = np.mean([result.epochs("test_error") for result in results], axis=0)
    return 1 + int(np.argmax([*(errors <= error), True]))
