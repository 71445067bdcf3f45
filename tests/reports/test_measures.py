"""What recorded runs say."""

import numpy as np
import pytest
from scipy import stats

from labelreg.experiment import Experiment
from labelreg.reports import epochs_until
from labelreg.reports.measures import against_each_other, critical_difference, measured, on_common_seeds, ranks
from labelreg.results import Result, paired_difference


@pytest.mark.parametrize(("error", "epochs"), [(0.5, 1), (0.3, 2), (0.25, 3), (0.1, 4)])
def test_epochs_until_the_mean_error_is_as_low(error, epochs):
    histories = ([0.6, 0.4, 0.2], [0.4, 0.2, 0.2])  # their mean is 0.5, 0.3, 0.2
    runs = [Result(Experiment(), {"test_error": np.array(each)}, {}, {}) for each in histories]
    assert epochs_until(runs, error + 1e-9) == epochs


def runs(*errors):
    return [
        Result(Experiment(seed=seed), {"test_error": np.array([error])}, {}, {}) for seed, error in enumerate(errors)
    ]


def test_refuses_a_metric_that_is_not_known():
    with pytest.raises(ValueError, match="no metric is called 'errors'; did you mean error"):
        measured([], "errors")


class TestAgainstEachOther:
    ERRORS = {"a": (0.30, 0.32, 0.31), "b": (0.20, 0.22, 0.205), "c": (0.31, 0.30, 0.32)}  # noqa: RUF012

    def test_is_every_paired_test_with_holms_correction_for_the_pairs(self):
        table = against_each_other({label: runs(*errors) for label, errors in self.ERRORS.items()})
        assert sorted(table.index) == [(one, other) for one in "abc" for other in "abc" if one != other]
        pairs = {pair: stats.ttest_rel(*(self.ERRORS[each] for each in pair)) for pair in ("ab", "bc", "ac")}
        low, middle, high = sorted(each.pvalue for each in pairs.values())
        expected = {low: 3 * low, middle: max(3 * low, 2 * middle), high: max(3 * low, 2 * middle, high)}
        for (one, other), each in pairs.items():
            interval = each.confidence_interval()
            for names, sign in (((one, other), 1), ((other, one), -1)):
                found = table.loc[names]
                assert found.difference == pytest.approx(sign * 50 * (interval.low + interval.high))
                assert found.half_width == pytest.approx(50 * (interval.high - interval.low))
                assert found.p == pytest.approx(min(1, expected[each.pvalue]))

    def test_of_one_seed_nothing_is_known(self):
        table = against_each_other({"a": runs(0.1), "b": runs(0.2, 0.3)}, "accuracy")
        assert table.difference["a", "b"] == pytest.approx(10)
        assert table[["half_width", "p"]].isna().all(axis=None)


def test_ranks_in_every_condition_for_the_seeds_that_all_have():
    conditions = {"x": {"a": runs(0.1, 0.4), "b": runs(0.2, 0.3, 0.1)}, "y": {"a": runs(0.2), "b": runs(0.2)}}
    found = ranks(conditions)
    assert found.to_dict("index") == {
        ("x", 0): {"a": 1, "b": 2},
        ("x", 1): {"a": 2, "b": 1},
        ("y", 0): {"a": 1.5, "b": 1.5},
    }


@pytest.mark.parametrize(("methods", "blocks", "expected"), [(4, 14, 1.25), (5, 30, 2.728 * (30 / 180) ** 0.5)])
def test_critical_difference_is_that_of_demsar(methods, blocks, expected):
    """Section 3.2.2 and table 5a."""
    assert critical_difference(methods, blocks) == pytest.approx(expected, abs=0.005)


def test_values_are_paired_by_seed():
    ours, theirs = {0: 2.0, 1: 4.0, 2: 6.0, 7: 99.0}, {2: 3.0, 1: 2.0, 0: 1.0, 8: -99.0}
    difference, half_width = paired_difference([2, 4, 6], [1, 2, 3])
    assert on_common_seeds(ours, theirs) == {"difference": difference, "half_width": half_width, "common": 3}
    nothing = on_common_seeds({0: 1.0}, {1: 1.0})
    assert np.isnan([nothing["difference"], nothing["half_width"]]).all()
