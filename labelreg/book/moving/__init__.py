"""Drawings that a reader moves, by mouse, touch or keyboard: SVG and a short script, without a library or a request.

Style and script come with every drawing, so that it moves in the book, in JupyterLab and in Colab alike. It is drawn in
its first state, which is what paper shows, and a browser that runs no scripts.
"""

from labelreg.book.moving.history import label_history
from labelreg.book.moving.regression import regression
from labelreg.book.moving.triangle import label_triangle

__all__ = ["label_history", "label_triangle", "regression"]
