"""The figures of the book, drawn with seaborn, in one colour per method.

``runs`` and ``results`` map a label, or a row of a paper's table or figure, to the results of one experiment;
``colours`` and ``styles`` map a label to a colour or a line's keywords; and ``tables`` map a condition or curve to a
table of :func:`labelreg.book.tables.against_baseline`. Images are arrays (H, W) or (H, W, 3); ``classes`` are the names
of the K classes.
"""

from labelreg.book.figures.augmentation import layer_trade_off, recorded_weights
from labelreg.book.figures.classes import recorded_newsgroups, related_classes, relatedness
from labelreg.book.figures.comparisons import (
    difference_columns,
    embeddings,
    recorded_embeddings,
    reliability_diagrams,
)
from labelreg.book.figures.curves import (
    curves,
    decays,
    divergence_and_accuracy,
    parameter_curves,
    recorded_curves,
    sensitivity,
    training_curves,
)
from labelreg.book.figures.drawings import drawing
from labelreg.book.figures.labels import (
    as_images,
    disturbed_regression,
    image_grid,
    label_bars,
    label_development,
    label_histories,
    sample_grid,
)
from labelreg.book.figures.side_by_side import (
    error_against,
    gain_curves,
    growth,
    method_matrix,
    rank_plot,
    relative_costs,
)
from labelreg.book.figures.style import hues, legend, method_name, method_style, panels, set_style, shades

__all__ = ["as_images", "curves", "decays", "difference_columns", "disturbed_regression", "divergence_and_accuracy"]
__all__ += ["drawing", "embeddings", "error_against", "gain_curves", "growth", "hues", "image_grid", "label_bars"]
__all__ += ["label_development", "label_histories", "layer_trade_off", "legend", "method_matrix", "method_name"]
__all__ += ["method_style", "panels", "parameter_curves", "rank_plot", "recorded_curves", "recorded_embeddings"]
__all__ += ["recorded_newsgroups", "recorded_weights", "related_classes", "relatedness", "relative_costs"]
__all__ += ["reliability_diagrams", "sample_grid", "sensitivity", "set_style", "shades", "training_curves"]
