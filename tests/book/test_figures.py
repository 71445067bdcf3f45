"""Figures: what is drawn, read back from the axes, equals what was given."""

import itertools
import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from labelreg import methods
from labelreg.book import figures
from labelreg.book.figures import style
from labelreg.book.tables import against_baseline
from labelreg.book.toy_regression import DisturbedRegression
from labelreg.data import Split, load
from labelreg.experiment import Experiment
from labelreg.observers import tsne
from labelreg.papers import Row, papers
from labelreg.papers.sba import at_layers
from labelreg.results import Result, paired_difference

PHONE = 350  # pixels that a phone has for a figure


def smallest_text(figure: Figure) -> float:
    """Return the size of the smallest visible text, in pixels, of a figure as a phone shows it."""
    texts = [each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip()]
    shown = figure.get_tightbbox().padded(matplotlib.rcParams["savefig.pad_inches"])
    return min(text.get_fontsize() for text in texts) * PHONE / (72 * shown.width)


@pytest.fixture(autouse=True)
def on_a_phone(monkeypatch):
    """Whatever figure a test draws can be read on a phone."""
    made = []
    monkeypatch.setattr(style, "Figure", lambda *args, **options: made.append(Figure(*args, **options)) or made[-1])
    with matplotlib.rc_context():
        figures.set_style()
        yield
    for figure in made:
        with warnings.catch_warnings(action="error"):  # a layout that has collapsed warns
            figure.draw_without_rendering()
        assert smallest_text(figure) >= 7


def result(errors, seed=0, **observations) -> Result:
    history = {"test_error": errors, "test_ece": [0.1] * len(errors), "test_nll": [1.0] * len(errors)}
    seen = {name: np.array(values) for name, values in observations.items()}
    return Result(Experiment(seed=seed), history, {"seconds": 60.0}, seen)


def texts(items) -> list[str]:
    return [each.get_text() for each in items]


def key(figure: Figure) -> list[str]:
    return texts(figure.legends[0].get_texts())


# red-green blindness in linear RGB (Machado et al., 2009)
SIGHT = {
    "full": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


class TestMethods:
    @pytest.mark.parametrize("sight", SIGHT)
    def test_colours_are_told_apart(self, sight):
        """A distance of 2 in CIELAB can just be noticed side by side."""
        seen = {name: self.lab(methods.find(name).colour, SIGHT[sight]) for name in methods.names()}
        for one, other in itertools.combinations(seen, 2):
            assert np.linalg.norm(seen[one] - seen[other]) > 10, (one, other)

    @pytest.mark.parametrize(
        "colour", [*(methods.find(name).colour for name in methods.names()), *style.shades(6), *style.hues(20)]
    )
    def test_colours_stand_out_in_both_themes(self, colour):
        """A contrast of 3, as WCAG asks of graphics; in the dark labelreg.css turns the lightness of figures round."""
        seen = np.array(to_rgb(colour))
        turned = np.clip(seen + 1 - 2 * seen @ [0.213, 0.715, 0.072], 0, 1)  # invert(1) hue-rotate(180deg)
        for foreground, background in ((seen, "#FFFFFF"), (turned, "#14181E")):
            dark, light = sorted(self.luminance(each) for each in (foreground, to_rgb(background)))
            assert (light + 0.05) / (dark + 0.05) > 3

    @staticmethod
    def luminance(rgb):
        rgb = np.array(rgb)
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    @staticmethod
    def lab(colour, sight):
        rgb = np.array(to_rgb(colour))
        linear = np.clip(sight @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
        xyz = np.array([[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]]) @ linear
        f = np.where(xyz > 0.00886, np.cbrt(xyz), 7.787 * xyz + 0.138)
        return np.array([116 * f[1], 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    @pytest.mark.parametrize(
        ("method", "options", "coloured", "line"),
        [
            ("knowledge_refinery", {}, "knowledge_refinery", "-"),
            ("knowledge_refinery", {"smoothing": 0.1}, "knowledge_refinery", "--"),
            ("mixup", {"method": "network_as_regularization"}, "network_as_regularization", "-."),
            ("class_wise_self_distillation", {"method": "confidence_penalty"}, "class_wise_self_distillation", "-."),
        ],
    )
    def test_style_tells_smoothing_and_methods_inside_methods(self, method, options, coloured, line):
        style = figures.method_style(Experiment(method=method, options=options))
        assert style == {"color": methods.find(coloured).colour, "linestyle": line}

    def test_a_method_has_a_short_name(self):
        assert figures.method_name("knowledge_refinery") == "KR"


class TestCurves:
    def test_mean_in_a_band_of_one_standard_deviation(self):
        axes = Figure().subplots()
        group = [result([0.5, 0.2], seen=[1.0, 3.0]), result([0.3, 0.2], seen=[2.0, 3.0])]
        figures.training_curves(axes, {"a": group}, "test_error", {"a": {"color": "C1"}}, scale=-100, offset=100)
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 60], [2, 80]])
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((60 - 200**0.5, 80))
        figures.training_curves(axes, {"a": group}, "seen", {"a": {}})
        np.testing.assert_allclose(axes.lines[1].get_ydata(), [1.5, 3.0])

    def test_recorded_runs_have_one_panel_per_network_and_one_legend(self):
        rows = [Row(label, Experiment(network=network)) for network in ("mlp", "resnet8") for label in "xy"]
        figure = figures.recorded_curves({row: [result([0.5, 0.25])] for row in rows[:3]})
        first, second = figure.axes
        assert [axes.get_title() for axes in figure.axes] == ["digits, MLP", "digits, ResNet-8"]
        assert (len(first.lines), len(second.lines)) == (2, 1)
        np.testing.assert_allclose(first.lines[0].get_ydata(), [50, 25])
        assert key(figure) == ["x", "y"]
        assert figure.get_supylabel() == "test error, %"
        assert [line.get_linestyle() for line in first.lines] == ["-", "--"]  # of one method, yet told apart

    def test_parameter_curves_draw_the_baseline_as_a_line(self):
        errors = {"base": (0.1, 0.2), "1": (0.05, 0.1), "2": (0.3, 0.3)}
        groups = {label: [result([each], seed) for seed, each in enumerate(pair)] for label, pair in errors.items()}
        table = against_baseline(groups, "base")
        axes = Figure().subplots()
        figures.parameter_curves(axes, {"net": table}, "base", {"net": "C1"})
        curve, *_, line = axes.lines
        np.testing.assert_allclose(curve.get_xydata(), [[0, 7.5], [1, 30]])
        np.testing.assert_allclose(line.get_ydata(), 15)
        assert texts(axes.get_xticklabels()) == ["1", "2"]

    def test_sensitivity_shows_means_as_numbers_and_as_curves(self):
        runs = {}
        for lam, alpha in itertools.product((0.1, 0.5), (0.2, 0.3)):
            options = {"lam": lam, "alpha": alpha}
            point = Experiment(method="network_as_regularization", options=options)
            errors = [each + 0.1 * lam + alpha for each in (0.04, 0.06)]
            runs[Row(str(options), point)] = [replace(result([0.9, each]), experiment=point) for each in errors]
        figure = figures.sensitivity(runs, 30.0)
        left, right, *_ = figure.axes
        assert texts(left.texts) == ["26.0", "36.0", "30.0", "40.0"]
        np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.1, 26], [0.5, 30]])
        assert key(figure) == ["0.2", "0.3", "baseline"]
        assert key(figures.sensitivity(runs)) == ["0.2", "0.3"]


class TestAugmentation:
    def test_recorded_weights_are_curves_per_network_in_a_panel_per_data_set(self):
        errors = {
            "mlp": {"eta = 10": 0.4, "eta = 0": 0.3, "eta = 0.1": 0.2},
            "resnet8": {"eta = 0.1": 0.3},  # its baseline is not recorded
        }
        runs = {
            Row(label, Experiment(network=network)): [result([error + 0.02 * seed], seed) for seed in (0, 1)]
            for network, found in errors.items()
            for label, error in found.items()
        }
        figure = figures.recorded_weights(runs)
        (axes,) = figure.axes
        assert axes.get_title() == "digits"
        assert key(figure) == ["MLP", "ResNet-8"]
        assert texts(axes.get_xticklabels()) == ["0.1", "10"]
        curves = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(curves, [[21, 41], [31, np.nan]])
        dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        np.testing.assert_allclose(dotted, [31, np.nan])

    def test_layers_are_compared_by_operations_until_both_are_as_good(self):
        adopted = Experiment(method="stochastic_batch_augmentation", options={"virtual": 8})
        rows = at_layers(adopted, {"image": "features", "end": "head"})
        errors = {
            "BA image": [[0.5, 0.4, 0.2, 0.1]] * 2,
            "SBA image": [[0.5, 0.2, 0.2, 0.2]] * 2,  # as good as in the end after two epochs, BA after three
            "SBA end": [[0.3] * 4, [0.4] * 4],
        }
        runs = {row: [result(each) for each in errors[row.method]] for row in rows if row.method in errors}
        figure = figures.layer_trade_off(runs)
        left, right = figure.axes
        image, end = (bar.get_height() for bar in left.patches)
        assert image == pytest.approx(3 * (1 + 8) / (2 * (1 + 8 / 2)))
        assert np.isnan(end)  # without BA there
        assert texts(right.get_xticklabels()) == texts(left.get_xticklabels()) == ["image", "end"]
        assert key(figure) == ["BA", "SBA"]
        points = [list(line.get_ydata()) for line in right.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points, [[70, np.nan], [80, 65]])


class TestDecoupled:
    """Figures of ALR and KR, which draw live runs by label and recorded ones by the row of the figure."""

    @staticmethod
    def run(errors, seed=0, method="knowledge_refinery", observed=None, **options) -> Result:
        experiment = Experiment(method=method, options=options, epochs=len(errors), seed=seed)
        history = {"test_error": errors, "train_accuracy": [1 - each for each in errors]}
        return Result(experiment, history, {}, observed or {})

    def test_labels_are_drawn_at_four_epochs(self):
        matrices = np.arange(30)[:, None, None] * np.ones((3, 3))
        run = self.run(list(np.linspace(0.9, 0.32, 30)), observed={"residual_labels": matrices})
        figure = figures.label_development({"ALR": [run, self.run([0.5])]}, {"label": "residual_labels"})
        grid = figure.axes[:4]
        drawn = [axes.collections[0].get_array()[0, 0] for axes in grid]
        assert drawn == [0, 2, 9, 29]
        assert grid[2].get_title() == "epoch 10, $\\mu$ = 0.28"
        assert texts(grid[0].get_yticklabels()) == ["0", "1", "2"]

    def test_divergence_is_drawn_where_it_was_observed(self):
        seen = {"residual_divergence": np.array([0.1, 0.3])}
        kr, plain = self.run([0.5, 0.2], observed=seen), self.run([0.5, 0.4], method="cross_entropy")
        rows = {Row("KR", kr.experiment): [kr], Row("Baseline", plain.experiment): [plain]}
        for runs in (rows, {"KR": [kr], "Baseline": [plain]}):
            left, right = figures.divergence_and_accuracy(runs, lowest=40).axes
            assert [line.get_label() for line in left.lines] == ["KR"]
            np.testing.assert_allclose(left.lines[0].get_ydata(), [0.1, 0.3])
            assert [line.get_label() for line in right.lines] == ["KR", "Baseline"]
            np.testing.assert_allclose(right.lines[1].get_xydata(), [[1, 50], [2, 60]])
            assert right.get_ylim()[0] == 40
            assert [line.get_color() for line in right.lines] == ["#0072B2", "#000000"]

    def test_decays_draw_weights_and_errors_on_common_seeds(self):
        plain = [self.run([0.5, 0.4, each], seed, gamma=0.0) for seed, each in enumerate((0.3, 0.5))]
        half = [self.run([0.5, 0.4, each], seed, gamma=0.5) for seed, each in enumerate((0.2, 0.3, 0.4))]
        cut = [self.run([0.5, 0.4, 0.1], 5, gamma=1.0, truncate=2)]
        runs = {
            Row(f"gamma = {name}", group[0].experiment): group
            for name, group in zip("0h1", (plain, half, cut), strict=True)
        }
        left, right = figures.decays(runs).axes
        weights = [line.get_ydata() for line in left.lines]
        np.testing.assert_allclose(weights, [[0, 0, 0], [1, 0.5, 0.25], [1, 1, 0]])
        np.testing.assert_allclose([bar.get_height() for bar in right.patches], [40, 30, 10])
        (low, _), (high, _) = np.array(right.collections[0].get_segments()[0])[:, ::-1]
        assert (high - low) / 2 == pytest.approx(paired_difference([20, 30], [30, 50])[1])
        assert texts(right.get_xticklabels()) == ["0", "h", "1"]


class TestComparisons:
    def test_differences_leave_the_baseline_out_in_a_panel_per_condition(self):
        groups = {"base": [result([0.1]), result([0.2], 1)], "new": [result([0.05]), result([0.1], 1)]}
        tables = {"clean": against_baseline(groups, "base")}
        tables["one seed"] = against_baseline({label: group[:1] for label, group in groups.items()}, "base")
        figure = figures.difference_columns(tables, {"base": "#000000", "new": "#0072B2"}, "base")
        first, _ = figure.axes
        assert [axes.get_title() for axes in figure.axes] == ["clean", "one seed"]
        assert texts(first.get_yticklabels()) == ["new"]
        dot, single = (next(line for line in axes.lines if line.get_color() == "#0072B2") for axes in figure.axes)
        assert dot.get_xdata()[0] == pytest.approx(-7.5)
        assert single.get_markerfacecolor() == "none"
        (low, _), (high, _) = first.collections[0].get_segments()[0]
        assert (high - low) / 2 == pytest.approx(tables["clean"].half_width["new"])

    def test_reliability_averages_bins_by_their_samples(self):
        bins = {"bin_confidence": [[0.25, 0.75]], "bin_accuracy": [[0.0, 1.0]], "bin_share": [[0.5, 0.5]]}
        empty = {"bin_confidence": [[np.nan, 0.55]], "bin_accuracy": [[np.nan, 0.4]], "bin_share": [[0.0, 1.0]]}
        figure = figures.reliability_diagrams({"a": [result([0.1], **bins), result([0.1], **empty)]})
        dots = figure.axes[0].collections[0]
        np.testing.assert_allclose(dots.get_offsets(), [[0.25, 0.0], [(0.375 + 0.55) / 1.5, (0.5 + 0.4) / 1.5]])
        assert dots.get_sizes()[1] == pytest.approx(3 * dots.get_sizes()[0])
        assert figure.axes[0].get_title() == "a\nECE 10.0 ± 0.0 %"

    def test_embeddings_draw_every_sample_in_the_colour_of_its_group(self):
        features = torch.cat([torch.randn(40, 5), 30 + torch.randn(40, 5)])
        places, groups = tsne(features), [0] * 40 + [1] * 40
        shown = {"a": places, "b": places[::-1]}, {"a": groups, "b": groups[::-1]}, {"a": "1", "b": "2"}
        figure = figures.embeddings(*shown, "xy")
        cloud = figure.axes[0].collections[0]
        points, colours = np.array(cloud.get_offsets()), cloud.get_facecolors()
        assert len(points) == 80
        assert (colours == colours[[0] * 40 + [-1] * 40]).all()
        np.testing.assert_array_equal(figure.axes[1].collections[0].get_facecolors(), colours[::-1])
        assert not (colours[0] == colours[-1]).all()
        # two clouds that lie far apart stay apart
        assert np.linalg.norm(points[:40].mean(0) - points[40:].mean(0)) > 2 * points[:40].std(0).max()
        assert [axes.get_title() for axes in figure.axes] == ["a\n1", "b\n2"]
        assert key(figure) == ["x", "y"]
        assert not figures.embeddings(*shown).legends
        assert tsne(features[:4]).shape == (4, 2)
        with pytest.raises(ValueError, match="at most 20 groups"):
            figures.embeddings({"a": places}, {"a": [*range(21)]}, {"a": ""})

    def test_recorded_figures_are_of_the_rows_runs(self):
        experiments = Experiment(), Experiment(method="class_wise_self_distillation")
        rows = [Row(label, each) for label, each in zip(("plain", "CS-KD"), experiments, strict=True)]
        seen = {"bin_confidence": [[0.5]], "bin_accuracy": [[0.4]], "bin_share": [[1.0]], "variance_ratio": [9.0, 0.5]}
        places = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]
        first, second = (result([0.1], **seen, feature_map=[each], feature_group=[[0.0, 1.0]]) for each in places)
        runs = {rows[0]: [first, second], rows[1]: [second]}
        drawn = figures.recorded_embeddings(runs)
        for axes, expected in zip(drawn.axes, places, strict=True):
            np.testing.assert_array_equal(axes.collections[0].get_offsets(), expected)
        assert [axes.get_title().split("\n") for axes in drawn.axes][1] == ["CS-KD", "within : between = 0.50"]
        runs[rows[1]] = [replace(second, experiment=experiments[1])]
        axes = figures.reliability_diagrams(runs).axes[1]
        assert axes.get_title() == "CS-KD\nECE 10.0 %"
        assert to_rgb(axes.collections[0].get_facecolors()[0]) == to_rgb(
            methods.find("class_wise_self_distillation").colour
        )


class TestLabels:
    def test_development_has_titles_one_scale_per_row_and_class_names(self):
        matrices = {"soft": np.stack([np.eye(3), np.eye(3) / 2]), "residual": np.stack([np.full((3, 3), 0.1)] * 2) * 2}
        run = replace(result([0.5, 0.4], **matrices), experiment=Experiment(epochs=2))
        run.history["train_accuracy"] = [0.25, 0.5]
        shown = {"soft label": "soft", "residual output": "residual"}
        grid = figures.label_development({"a": [run, run]}, shown, ["cat", "dog", "ship"]).axes[:4]
        assert [axes.get_title() for axes in grid] == ["epoch 1, $\\mu$ = 0.25", "epoch 2, $\\mu$ = 0.50", "", ""]
        assert [axes.collections[0].get_clim() for axes in grid] == [(0, 1), (0, 1), (0, 0.2), (0, 0.2)]
        np.testing.assert_array_equal(grid[1].collections[0].get_array(), np.eye(3) / 2)
        assert texts(grid[2].get_xticklabels()) == texts(grid[0].get_yticklabels()) == ["cat", "dog", "ship"]
        run.observations["soft"] = np.ones((2, 100, 100))
        of_many_classes = figures.label_development({"a": [run]}, {"soft label": "soft"})
        assert not of_many_classes.axes[0].get_xticks().size

    def test_bars_draw_every_distribution(self):
        label = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
        figure = figures.label_bars([np.zeros((2, 2))] * 2, [0, 2], {"soft": label}, {"soft": "C0"}, ["a", "b", "c"])
        heights = [[bar.get_height() for bar in axes.patches] for axes in (figure.axes[1], figure.axes[3])]
        np.testing.assert_allclose(heights, label)
        assert figure.axes[2].get_title() == "c"

    def test_histories_draw_the_largest_classes_in_colour(self):
        history = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
        image, axes = figures.label_histories([np.zeros((2, 2))], [history], ["a", "b", "c"], shown=1).axes
        assert texts(image.get_legend().get_texts()) == ["b"]
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines[:3]], history.T[[2, 0, 1]])

    def test_samples_stand_in_the_column_of_their_class(self):
        inputs = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
        figure = figures.sample_grid(Split(inputs, torch.tensor([1, 0, 1, 0])), ["zero", "one"], rows=3)
        assert [axes.images[0].get_array()[0, 0] for axes in figure.axes[:4]] == [1, 0, 3, 2]
        assert [axes.get_title() for axes in figure.axes[:2]] == ["zero", "one"]
        grey, colour = torch.zeros(1, 1, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
        assert [figures.as_images(each)[0].shape for each in (grey, colour)] == [(4, 5), (4, 5, 3)]


class TestDrawings:
    @pytest.mark.parametrize("paper", papers)
    def test_no_text_lies_on_another(self, paper):
        figure = figures.drawing(paper)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        written = {text: text.get_window_extent() for each in (axes, *axes.child_axes) for text in each.texts}
        for (one, place), (other, taken) in itertools.combinations(written.items(), 2):
            assert not place.overlaps(taken), (one, other)

    def test_unknown_paper(self):
        with pytest.raises(ValueError, match="no drawing is called 'cs-kd'; did you mean cskd"):
            figures.drawing("cs-kd")


def test_disturbed_regression_draws_three_standard_deviations():
    toy = load("toy")
    targets = torch.stack([toy.train.targets.squeeze(1) + shift for shift in (-1.0, 2.0)])[None]
    runs = DisturbedRegression(torch.tensor([50]), targets, torch.zeros(1, 2), torch.zeros(1, 2, 200))
    top, bottom = figures.disturbed_regression(toy, runs, panels=[0]).axes
    assert top.get_title() == "epoch 50"
    bars = np.array(bottom.collections[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(bars.mean(1), 0.5, atol=1e-4)
    np.testing.assert_allclose(bars[:, 1] - bars[:, 0], 2 * 3 * 4.5**0.5, rtol=1e-4)


class TestCosts:
    def test_are_drawn_as_multiples_in_a_row_per_method(self):
        table = pd.DataFrame({"operations": [1, 2], "time": [1.1, 2.2], "memory": [1, 1.9]}, ["KR", "NaR"])
        figure = figures.relative_costs(table)
        (axes,) = figure.axes
        drawn = {line.get_label(): line.get_xdata().tolist() for line in axes.lines if line.get_label() in table}
        assert drawn == {kind: values.tolist() for kind, values in table.items()}
        assert texts(axes.get_yticklabels()) == ["KR", "NaR"]
        assert texts(figure.legends[0].get_texts()) == list(table)

    def test_grow_over_a_size_a_line_per_method(self):
        table = pd.DataFrame({"KR": [1.0, 4.0], "NaR": [2.0, 9.0]}, [10, 1000])
        styles = {"KR": {"color": "blue"}, "NaR": {"color": "red", "linestyle": ":"}}
        figure = figures.growth({"step, ms": table, "memory, MB": 2 * table}, styles, "classes")
        for axes, factor in zip(figure.axes, (1, 2), strict=True):
            assert [line.get_ydata().tolist() for line in axes.lines] == (factor * table.T).to_numpy().tolist()
            assert [line.get_color() for line in axes.lines] == ["blue", "red"]
            assert texts(axes.get_xticklabels()) == ["10", "1,000"]
        assert [axes.get_ylabel() for axes in figure.axes] == ["step, ms", "memory, MB"]
