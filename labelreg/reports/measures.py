"""What recorded runs say in the units of print: errors in percent, accuracies, perplexities."""

from collections.abc import Sequence

import numpy as np

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


def at_the_end(result: Result, metric: str, last_epochs: int = 1) -> float:
    """Return a metric of a run: the median over the last ``last_epochs`` epochs."""
    return np.median(as_printed(result, metric)[-last_epochs:])


def measured(results: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the means over runs: ``ours`` at the end, with the standard deviation ``ours_std``, and those at the epoch
    ``best`` on the test set and ``chosen`` on the validation split; NaN where there is nothing to compute them from.
    """
    if not results:
        return dict.fromkeys(("ours", "ours_std", "best", "chosen"), np.nan)
    ours = [at_the_end(result, metric, last_epochs) for result in results]

    def at_best(split: str) -> float:
        return np.mean([as_printed(result, metric)[result.best_epoch(split)] for result in results])

    validated = any(name.startswith("validation_") for name in results[0].history)
    return {
        "ours": np.mean(ours),
        "ours_std": np.std(ours, ddof=1) if len(ours) > 1 else np.nan,
        "best": at_best("test"),
        "chosen": at_best("validation") if validated else np.nan,
    }


def paired(results: Sequence[Result], others: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the ``difference`` to other runs on the seeds that both have, and ``half_width`` of its 95 % interval."""
    ours, theirs = (
        {result.experiment.seed: at_the_end(result, metric, last_epochs) for result in group}
        for group in (results, others)
    )
    difference, half_width = difference_on_common_seeds(ours, theirs)
    return {"difference": difference, "half_width": half_width}
