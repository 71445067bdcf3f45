"""Plots for the book, in one colour for each method."""

from labelreg.figures.comparisons import (
    paired_differences,
    parameter_curves,
    recorded_curves,
    reliability_diagrams,
    sensitivity,
    training_curves,
)
from labelreg.figures.embeddings import embeddings
from labelreg.figures.labels import as_images, label_bars, label_heatmaps, label_histories, sample_grid
from labelreg.figures.methods import METHOD_COLOURS, method_map, method_name, method_style
from labelreg.figures.regression import disturbed_regression

__all__ = [
    "METHOD_COLOURS",
    "as_images",
    "disturbed_regression",
    "embeddings",
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
    "training_curves",
]
