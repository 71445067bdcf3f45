"""What the notebooks of the book call: their session, tables and figures."""

from labelreg.book.recorded import recorded
from labelreg.book.session import Session, show_source

__all__ = ["Session", "recorded", "show_source"]
