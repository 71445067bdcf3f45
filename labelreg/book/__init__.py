"""What the notebooks of the book use: their session, tables and figures."""

from labelreg.book.session import Session
from labelreg.book.tables import recorded

__all__ = ["Session", "recorded"]
