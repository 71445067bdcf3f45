"""Which classes a network, or a matrix that a method learns, regards as related: a picture and a number."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from labelreg.book.figures.style import TEXT, WIDTH, subplots
from labelreg.data.corpora import NEWSGROUPS
from labelreg.papers import Row
from labelreg.results import Result

PERMUTATIONS = 9_999


def relatedness(labels: np.ndarray, groups: Sequence[str]) -> tuple[float, float, float]:
    """Measure how much more probable related classes are in residual labels (K, K), whose diagonal is not used.

    ``groups`` names the group of each class; classes of the same group are related. Return the mean probability of a
    wrong class of the same group, that of a class of another group, and the p-value: the share of 9,999 random
    permutations of the groups in which the first is as high.
    """
    from scipy.stats import permutation_test  # slow to import

    groups, others = np.asarray(groups), ~np.eye(len(labels), dtype=bool)
    if labels.shape != (len(groups), len(groups)):
        raise ValueError(f"labels must be (K, K) for the {len(groups)} groups of K classes, got {labels.shape}")

    def within(order: np.ndarray) -> float:
        same = groups[order][:, None] == groups[order]
        return labels[same & others].mean()

    order = np.arange(len(groups))
    draws = {"n_resamples": PERMUTATIONS, "rng": np.random.default_rng(0)}
    test = permutation_test(
        (order,), within, permutation_type="pairings", alternative="greater", vectorized=False, **draws
    )
    different = groups[:, None] != groups
    return float(test.statistic), float(labels[different].mean()), float(test.pvalue)


def related_classes(matrices: Mapping[str, np.ndarray], groups: Sequence[str]) -> Figure:
    """Draw residual labels (K, K) by title as heat maps with their relatedness; classes of a group are side by side.

    Each map has its own scale, in multiples of the uniform label 1 / (K - 1).
    """
    order = sorted(range(len(groups)), key=lambda each: [*dict.fromkeys(groups)].index(groups[each]))
    sizes = Counter(groups)  # in the order of the groups
    ends = np.cumsum([*sizes.values()])
    figure, (line,) = subplots(1, len(matrices), WIDTH, 3.6, sharey=True)
    for axes, (title, labels) in zip(line, matrices.items(), strict=True):
        within, between, p = relatedness(labels, groups)
        shown = np.ma.masked_where(np.eye(len(order), dtype=bool), labels[np.ix_(order, order)] * (len(order) - 1))
        bar = {"orientation": "horizontal", "shrink": 0.8, "pad": 0.02}
        sns.heatmap(shown, mask=shown.mask, ax=axes, square=True, cmap="viridis", cbar_kws=bar)
        axes.hlines(ends[:-1], 0, len(order), color="white", linewidth=1)
        axes.vlines(ends[:-1], 0, len(order), color="white", linewidth=1)
        axes.set(xticks=[], title=title)
        axes.set_xlabel(f"within {100 * within:.1f} %\nbetween {100 * between:.1f} %\np = {p:.1g}")
    line[0].set_yticks(ends - np.array([*sizes.values()]) / 2, [*sizes], rotation=0)
    figure.supxlabel("wrong class; colours in multiples of the uniform label", fontsize=TEXT)
    return figure


def recorded_newsgroups(runs: Mapping[Row, Sequence[Result]]) -> Figure:
    """Draw :func:`related_classes` of recorded runs on 20 Newsgroups: means over the seeds, at the last epoch.

    If a run's method learns residual labels, these are drawn, otherwise its mean outputs over the wrong classes.
    """
    matrices = {}
    for row, group in runs.items():
        learned = "residual_labels" in group[0].observations
        name, title = ("residual_labels", "labels") if learned else ("residual_outputs", "outputs")
        matrices[f"{row.method}:\n{title}"] = np.mean([each.observations[name][-1] for each in group], axis=0)
    return related_classes(matrices, NEWSGROUPS.superclasses)
