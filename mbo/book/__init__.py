"""Order books: the fast one, the readable one that judges it, and the rules both obey."""

from __future__ import annotations

from mbo.book.engine import Book, Books, BooksByKey
from mbo.book.interface import ANOMALIES, BBO, Anomaly, L3Book, Status
from mbo.book.parallel import ParallelBooks
from mbo.book.reference import ReferenceBook
from mbo.book.rows import Level, Levels, Order, Orders

__all__ = [
    "ANOMALIES", "BBO", "Anomaly", "Book", "Books", "BooksByKey", "L3Book", "Level", "Levels", "Order", "Orders",
    "ParallelBooks", "ReferenceBook", "Status",
]  # fmt: skip
