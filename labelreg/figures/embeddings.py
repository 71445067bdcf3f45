"""Features of a network in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.manifold import TSNE


def embeddings(
    features: Mapping[str, np.ndarray],
    groups: Sequence[int],
    names: Sequence[str],
    notes: Mapping[str, str],
    columns: int = 3,
) -> Figure:
    """Draw features by t-SNE (van der Maaten and Hinton, 2008), a panel a method and a colour a group.

    Distances and sizes in such a picture mean little: every panel has a number beneath its title.

    Args:
        features: label to the features (N, D) of the same N samples.
        groups: (N,) index of the group that a sample is drawn in.
        names: of the groups, at most 20.
        notes: label to what stands beneath it.
        columns: panels side by side.

    Raises:
        ValueError: more than 20 groups, which no palette tells apart.
    """
    if len(names) > 20:
        raise ValueError(f"at most 20 groups can be told apart by colour, not {len(names)}: join some, as superclasses")
    rows = -(-len(features) // columns)
    legend_columns = max(1, min(len(names), 80 // (5 + max(map(len, names)))))
    legend_rows = -(-len(names) // legend_columns)
    figure = Figure(figsize=(2.5 * columns, 2.75 * rows + 0.2 * legend_rows + 0.2), layout="constrained")
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"].colors
    groups = np.asarray(groups)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid[len(features) :]:
        axes.axis("off")
    for axes, (label, vectors) in zip(grid, features.items(), strict=False):
        points = TSNE(init="pca", random_state=0).fit_transform(np.asarray(vectors))
        for group, name in enumerate(names):
            axes.scatter(*points[groups == group].T, s=5, color=palette[group], label=name, linewidths=0)
        axes.set_title(f"{label}\n{notes[label]}", fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#CCCCCC")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=legend_columns,
        frameon=False,
        fontsize=8,
        markerscale=2.5,
        handletextpad=0.1,
    )
    return figure
