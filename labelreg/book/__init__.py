"""What the notebooks of the book call: their session, tables and figures."""

from labelreg.book.session import Session, show_source

__all__ = ["Session", "show_source"]
