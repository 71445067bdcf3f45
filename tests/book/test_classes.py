"""Which classes come out as related, and whether by chance."""

import numpy as np
import pytest

from labelreg.book import figures
from labelreg.data.corpora import NEWSGROUPS
from labelreg.experiment import Experiment
from labelreg.papers import Row
from labelreg.results import Result

GROUPS = ("a", "b", "a", "b", "c")


def labels(within, groups=GROUPS):
    """Residual labels that give a class of the same group so many times the weight of another."""
    groups = np.array(groups)
    weights = np.where(groups[:, None] == groups, within, 1.0) * (1 - np.eye(len(groups)))
    return weights / weights.sum(1, keepdims=True)


class TestRelatedness:
    def test_compares_means_within_and_between_groups_without_the_diagonal(self):
        within, between, _ = figures.relatedness(labels(3.0) + 9 * np.eye(5), GROUPS)
        assert within == pytest.approx(3 / 6)
        assert between == pytest.approx((12 / 6 + 4 / 4) / 16)

    def test_is_significant_only_of_the_groups_that_are_there(self):
        """Of 20 Newsgroups, and of the same labels with the groups dealt out anew."""
        groups = NEWSGROUPS.superclasses
        dealt_anew = labels(2.0, (*groups[::3], *groups[1::3], *groups[2::3]))
        assert figures.relatedness(labels(2.0, groups), groups)[2] == pytest.approx(1e-4)
        assert figures.relatedness(dealt_anew, groups)[2] > 0.01
        assert figures.relatedness(labels(1.0, groups), groups)[2] == 1

    def test_refuses_groups_of_other_classes(self):
        with pytest.raises(ValueError, match=r"\(K, K\) for the 4 groups of K classes, got \(5, 5\)"):
            figures.relatedness(labels(1.0), GROUPS[:4])


def test_related_classes_are_drawn_side_by_side_in_multiples_of_the_uniform_label():
    figure = figures.related_classes({"mine": labels(3.0)}, GROUPS)
    axes = figure.axes[0]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["a", "b", "c"]
    drawn = axes.collections[0].get_array()
    assert drawn.mask.diagonal().all()
    assert drawn[0].tolist() == [None, *[pytest.approx(each) for each in (2, 2 / 3, 2 / 3, 2 / 3)]]
    assert axes.get_title() == "mine"
    assert axes.get_xlabel().startswith("within 50.0 %\nbetween ")


def test_recorded_runs_show_what_was_learned_or_else_put_out_at_the_end():
    """The mean over the seeds."""
    low, high = labels(1.0, NEWSGROUPS.superclasses), labels(5.0, NEWSGROUPS.superclasses)
    baseline = [{"residual_outputs": np.stack([low, each])} for each in (low, high)]
    learned = [{"residual_outputs": low[None], "residual_labels": high[None]}]
    runs = {
        Row(name, Experiment()): [Result(Experiment(), {}, {}, each) for each in observations]
        for name, observations in (("Cross-entropy", baseline), ("ALR-S", learned))
    }
    figure = figures.recorded_newsgroups(runs)
    shown = [each for each in figure.axes if each.get_title()]
    means = [figures.relatedness(each, NEWSGROUPS.superclasses)[0] for each in ((low + high) / 2, high)]
    for axes, title, mean in zip(shown, ("Cross-entropy:\noutputs", "ALR-S:\nlabels"), means, strict=True):
        assert axes.get_title() == title
        assert axes.get_xlabel().startswith(f"within {100 * mean:.1f} %")
