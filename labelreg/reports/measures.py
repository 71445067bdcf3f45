"""What recorded runs say in the units of print: errors in percent, accuracies, perplexities."""

from collections.abc import Callable, Sequence

import numpy as np

from labelreg.results import Result, difference_on_common_seeds


def _percent(fractions: np.ndarray) -> np.ndarray:
    return 100 * fractions


def _percent_right(errors: np.ndarray) -> np.ndarray:
    return 100 * (1 - errors)


# how a printed metric follows from what is recorded or observed every epoch
METRICS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "error": ("test_error", _percent),
    "accuracy": ("test_error", _percent_right),
    "top1_error": ("test_error", _percent),
    "top1_accuracy": ("test_error", _percent_right),
    "top5_error": ("test_top5_error", _percent),
    "top5_accuracy": ("test_top5_error", _percent_right),
    "ece": ("test_ece", _percent),
    "recall_at_1": ("recall_at_1", _percent),
    "valid_perplexity": ("validation_perplexity", np.asarray),
    "test_perplexity": ("test_perplexity", np.asarray),
}


def at_the_end(result: Result, metric: str, last_epochs: int = 1) -> float:
    """Return a number of a run, the median over so many last epochs."""
    name, as_printed = METRICS[metric]
    return np.median(as_printed(result.epochs(name))[-last_epochs:])


def measured(results: Sequence[Result], metric: str, last_epochs: int = 1) -> dict[str, float]:
    """Return the means over runs: ``ours`` at the end, with the standard deviation ``ours_std``, and those at the epoch
    ``best`` on the test set and ``chosen`` on the validation split; NaN where there is nothing to compute them from.
    """
    if not results:
        return dict.fromkeys(("ours", "ours_std", "best", "chosen"), np.nan)
    name, as_printed = METRICS[metric]
    ours = [at_the_end(result, metric, last_epochs) for result in results]

    def at_best(split: str) -> float:
        return np.mean([as_printed(result.epochs(name))[result.best_epoch(split)] for result in results])

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
