"""Drawings that a reader moves, by mouse, touch or keyboard: SVG and a short script, without a library or a request.

Every drawing includes its style and script, so that it moves in the book, in JupyterLab and in Colab. It is drawn in
its first state, which is also what a printed page or a browser without scripts shows.
"""

from labelreg.book.moving.history import label_history
from labelreg.book.moving.regression import regression
from labelreg.book.moving.triangle import label_triangle

__all__ = ["label_history", "label_triangle", "regression"]
