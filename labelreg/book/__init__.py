"""What the notebooks of the book call: their session, tables and figures."""

from labelreg.book.session import Session, show_source
from labelreg.book.tables import recorded

__all__ = ["Session", "recorded", "show_source"]
