"""Plots: that they show what they are given."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from labelreg import figures, methods
from labelreg.data import Split
from labelreg.experiments import Experiment
from labelreg.papers import Row
from labelreg.results import Result
from labelreg.tables import against_baseline


def result(errors, **observations) -> Result:
    history = {"test_error": errors, "test_ece": [0.1] * len(errors), "test_nll": [1.0] * len(errors)}
    return Result("k", {}, history, {}, {name: np.array(values) for name, values in observations.items()})


def test_every_method_has_a_colour_of_its_own():
    assert set(methods.names()) <= set(figures.METHOD_COLOURS)
    assert len(set(figures.METHOD_COLOURS.values())) == len(figures.METHOD_COLOURS)


def test_smoothing_is_dashed_in_the_colour_of_its_method():
    plain = figures.method_style(Experiment(method="knowledge_refinery"))
    smoothed = figures.method_style(Experiment(method="knowledge_refinery", options={"smoothing": 0.1}))
    assert plain["color"] == smoothed["color"]
    assert (plain["linestyle"], smoothed["linestyle"]) == ("-", "--")
    for outer, inner in (("mixup", "network_as_regularization"), ("network_as_regularization", "cross_entropy")):
        style = figures.method_style(Experiment(method=outer, options={"method": inner} if outer == "mixup" else {}))
        assert style["color"] == figures.METHOD_COLOURS["network_as_regularization"]
        assert style["linestyle"] == ("-." if outer == "mixup" else "-")
    within = Experiment(method="class_wise_self_distillation", options={"method": "knowledge_distillation"})
    assert figures.method_style(within)["color"] == figures.METHOD_COLOURS["class_wise_self_distillation"]


def test_recorded_curves_have_a_panel_a_network_and_one_legend():
    rows = [Row("digits", network, label, Experiment(network=network)) for network in "ab" for label in ("x", "y")]
    figure = figures.recorded_curves({row: [result([0.5, 0.25])] for row in rows[:3]})
    first, second = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["digits, a", "digits, b"]
    assert (len(first.lines), len(second.lines)) == (2, 1)
    np.testing.assert_allclose(first.lines[0].get_ydata(), [50, 25])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    assert first.get_ylabel() == "test error, %"
    assert [line.get_linestyle() for line in first.lines] == ["-", "--"]  # of one method, yet to be told apart


def test_curves_are_means_in_a_band_of_one_deviation():
    axes = Figure().subplots()
    group = [result([0.5, 0.2], seen=[1.0, 3.0]), result([0.3, 0.2], seen=[2.0, 3.0])]
    figures.training_curves(axes, {"a": group}, "test_error", {"a": {"color": "C1"}}, scale=-100, offset=100)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 60], [2, 80]])
    bounds = axes.collections[0].get_paths()[0].vertices
    assert bounds[:, 1].min() == pytest.approx(50)
    figures.training_curves(axes, {"a": group}, "seen", {"a": {}})
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [1.5, 3.0])


def test_heatmaps_have_titles_one_scale_a_row_and_class_names():
    rows = {"soft": [np.eye(3), np.eye(3) / 2], "residual": [np.full((3, 3), 0.1), np.full((3, 3), 0.4)]}
    figure = figures.label_heatmaps(rows, ["first", "last"], ["cat", "dog", "ship"])
    grid = figure.axes[:4]
    assert [axes.get_title() for axes in grid] == ["first", "last", "", ""]
    assert [axes.images[0].get_clim() for axes in grid] == [(0, 1), (0, 1), (0, 0.4), (0, 0.4)]
    assert [label.get_text() for label in grid[2].get_xticklabels()] == ["cat", "dog", "ship"]


def test_heatmaps_of_many_classes_leave_the_names_out():
    figure = figures.label_heatmaps({"soft": [np.eye(100)]}, ["only"], [str(k) for k in range(100)])
    assert not figure.axes[0].get_xticks().size


def test_differences_leave_the_baseline_out_and_mark_conditions():
    groups = {"base": [result([0.1]), result([0.2])], "new": [result([0.05]), result([0.1])]}
    tables = {"clean": against_baseline(groups, "base"), "noisy": against_baseline(groups, "base")}
    figure = figures.paired_differences(tables, {"base": "#000000", "new": "#0072B2"}, "base")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["clean", "noisy"]
    drawn = [line for line in axes.lines if to_rgb(line.get_color()) == to_rgb("#0072B2") and line.get_marker() == "o"]
    assert drawn[0].get_xdata()[0] == pytest.approx(-7.5)


def test_samples_stand_in_the_column_of_their_class():
    inputs = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    figure = figures.sample_grid(Split(inputs, torch.tensor([1, 0, 1, 0])), ["zero", "one"], rows=3)
    first_row = [axes.images[0].get_array()[0, 0] for axes in figure.axes[:2]]
    assert first_row == [1.0, 0.0]
    assert not figure.axes[4].images  # a class with fewer samples leaves its place empty


def test_colour_images_keep_their_channels():
    grey, colour = torch.zeros(1, 1, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    assert figures.as_images(grey)[0].shape == (4, 5)
    assert figures.as_images(colour)[0].shape == (4, 5, 3)


def test_label_bars_draw_every_distribution():
    label = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    figure = figures.label_bars([np.zeros((2, 2))] * 2, [0, 2], {"soft": label}, {"soft": "C0"}, ["a", "b", "c"])
    heights = [[bar.get_height() for bar in axes.patches] for axes in (figure.axes[1], figure.axes[3])]
    np.testing.assert_allclose(heights, label)
    assert figure.axes[2].get_title() == "c"


def test_method_map_names_every_method():
    texts = {text.get_text() for text in figures.method_map().axes[0].texts}
    for name in set(figures.METHOD_COLOURS) - {"forest_as_regularization"}:  # no method of its own, but a kind of NaR
        assert figures.method_name(name) in texts


def test_reliability_averages_bins_by_their_samples():
    bins = {"bin_confidence": [[0.25, 0.75]], "bin_accuracy": [[0.0, 1.0]], "bin_share": [[0.5, 0.5]]}
    empty = {"bin_confidence": [[np.nan, 0.55]], "bin_accuracy": [[np.nan, 0.4]], "bin_share": [[0.0, 1.0]]}
    figure = figures.reliability_diagrams({"a": [result([0.1], **bins), result([0.1], **empty)]}, {"a": "C0"})
    drawn = figure.axes[0].collections[0]
    np.testing.assert_allclose(drawn.get_offsets(), [[0.25, 0.0], [(0.375 + 0.55) / 1.5, (0.5 + 0.4) / 1.5]])
    assert drawn.get_sizes()[1] == pytest.approx(3 * drawn.get_sizes()[0])
    assert figure.axes[0].get_title() == "a\nECE 10.0 %"


def test_parameter_curves_leave_the_baseline_out_and_draw_it_as_a_line():
    groups = {"base": [result([0.1]), result([0.2])], "1": [result([0.05]), result([0.1])], "2": [result([0.3])] * 2}
    axes = Figure().subplots()
    figures.parameter_curves(axes, {"net": against_baseline(groups, "base")}, "base", {"net": "C1"})
    curve, *_, line = axes.lines
    np.testing.assert_allclose(curve.get_xydata(), [[0, 7.5], [1, 30]])
    np.testing.assert_allclose(line.get_ydata(), 15)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_embeddings_draw_every_sample_in_the_colour_of_its_group():
    features = torch.cat([torch.randn(40, 5), 30 + torch.randn(40, 5)]).numpy()
    groups = [0] * 40 + [1] * 40
    figure = figures.embeddings({"a": features, "b": features}, groups, ["x", "y"], {"a": "1", "b": "2"})
    first, second = figure.axes[0].collections
    assert len(first.get_offsets()) == len(second.get_offsets()) == 40
    # two clouds that lie far apart stay apart
    centres = [np.mean(cloud.get_offsets(), 0) for cloud in (first, second)]
    spread = max(np.std(cloud.get_offsets(), 0).max() for cloud in (first, second))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    assert figure.axes[0].get_title() == "a\n1"
    assert not figure.axes[2].axison


def test_embeddings_refuse_more_groups_than_colours():
    with pytest.raises(ValueError, match="at most 20 groups"):
        figures.embeddings({"a": np.zeros((50, 2))}, range(50), [str(k) for k in range(21)], {"a": ""})
