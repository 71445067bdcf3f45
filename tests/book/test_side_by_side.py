"""Figures of methods side by side: what is drawn, read back from the axes, equals what was given."""

import numpy as np
import pandas as pd
import pytest

from labelreg.book import figures
from labelreg.reports.measures import critical_difference


def texts(items) -> list[str]:
    return [each.get_text() for each in items if each.get_text()]


def test_matrix_has_the_best_first_and_numbers_where_significant():
    differences = {("b", "a"): (-2.0, 0.01), ("b", "c"): (-12.3, 0.04), ("a", "c"): (-10.3, 0.2)}
    pairs = differences | {pair[::-1]: (-difference, p) for pair, (difference, p) in differences.items()}
    table = pd.DataFrame(pairs.values(), pd.MultiIndex.from_tuples(pairs), ["difference", "p"])
    axes = figures.method_matrix(table).axes[0]
    assert texts(axes.get_yticklabels()) == ["b  1", "a  2", "c  3"]
    assert texts(axes.get_xticklabels()) == ["1", "2", "3"]
    assert texts(axes.texts) == ["-2.0", "-12", "2.0", "12"]
    coloured = axes.collections[0].get_array()
    np.testing.assert_allclose(coloured.filled(np.nan), [[np.nan, -2, -12.3], [2, np.nan, -10.3], [12.3, 10.3, np.nan]])


def test_ranks_have_whiskers_of_half_the_critical_difference():
    ranks = pd.DataFrame([[2, 1, 3], [3, 1, 2], [2, 1, 3], [2, 1, 3]] * 2, columns=["b", "a", "c"])
    axes = figures.rank_plot(ranks, dict.fromkeys("abc", "#123456")).axes[0]
    assert texts(axes.get_yticklabels()) == ["a", "b", "c"]
    dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[[1, 0]], [[2.25, 1]], [[2.75, 2]]]
    ((low, _), (high, _)) = axes.collections[0].get_segments()[0]
    assert high - low == pytest.approx(critical_difference(3, 8))


def test_errors_stand_beside_costs_the_lowest_first():
    errors, cost = {"a": 21.0, "b": 20.0}, {"a": 1.0, "b": 17.0}
    left, right = figures.error_against(cost, errors, dict.fromkeys("ab", "#123456"), "cost").axes
    assert texts(left.get_yticklabels()) == ["b", "a"]
    drawn = [[line.get_xydata()[0].tolist() for line in axes.lines] for axes in (left, right)]
    assert drawn == [[[20, 0], [21, 1]], [[17, 0], [1, 1]]]


def test_gains_are_differences_with_their_intervals():
    tables = {
        size: pd.DataFrame({"difference": [0.0, shift], "half_width": [0.0, 0.5]}, index=["base", "new"])
        for size, shift in ((100, -3.0), (1400, -1.0))
    }
    figure = figures.gain_curves(tables, {"new": {"color": "#123456", "linestyle": "--"}}, "base", "samples")
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0, -3], [1, -1]])
    (container,) = axes.containers
    segments = container.lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in segments], [[-3.5, -2.5], [-1.5, -0.5]])
    assert texts(axes.get_xticklabels()) == ["100", "1400"]
    assert texts(figure.legends[0].get_texts()) == ["new"]
