"""The figures of the book, drawn with seaborn, in one colour per method."""

from labelreg.book.figures.comparisons import embeddings, paired_differences, reliability_diagrams
from labelreg.book.figures.curves import curves, parameter_curves, recorded_curves, sensitivity, training_curves
from labelreg.book.figures.labels import (
    as_images,
    disturbed_regression,
    image_grid,
    label_bars,
    label_heatmaps,
    label_histories,
    sample_grid,
)
from labelreg.book.figures.methods import method_map, method_name, method_style
from labelreg.book.figures.style import set_style

__all__ = [
    "as_images",
    "curves",
    "disturbed_regression",
    "embeddings",
    "image_grid",
    "label_bars",
    "label_heatmaps",
    "label_histories",
    "method_map",
    "method_name",
    "method_style",
    "paired_differences",
    "parameter_curves",
    "recorded_curves",
    "reliability_diagrams",
    "sample_grid",
    "sensitivity",
    "set_style",
    "training_curves",
]
