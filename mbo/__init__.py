"""Order books you can trust from Databento's market-by-order data.

>>> import mbo
>>> day = mbo.read_dbn(mbo.SIMULATED)
>>> book = day.book("SIM1")
>>> book.synced, book.crossed
(True, False)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

SIMULATED: Final = Path(__file__).parent / "data" / "simulated.mbo.dbn.zst"
"""A small simulated session that comes with the package, so that everything can be tried without data."""

if TYPE_CHECKING:
    from mbo import analytics
    from mbo.book import Book, Books, ReferenceBook
    from mbo.comparison import compare
    from mbo.errors import DataError, InternalError, MboError, RequestError
    from mbo.live import connect, serve_gateway
    from mbo.recorder import record
    from mbo.records import MBO_DTYPE, Action, Flag, Side
    from mbo.replay import Records, read_dbn
    from mbo.simulator import simulate
    from mbo.store import Store
    from mbo.verification import verify

# Everything is imported on first use: numba alone takes longer than `import mbo` may.
_HOME: Final = {
    "Action": "mbo.records",
    "Book": "mbo.book",
    "Books": "mbo.book",
    "DataError": "mbo.errors",
    "Flag": "mbo.records",
    "InternalError": "mbo.errors",
    "MBO_DTYPE": "mbo.records",
    "MboError": "mbo.errors",
    "Records": "mbo.replay",
    "ReferenceBook": "mbo.book",
    "RequestError": "mbo.errors",
    "Side": "mbo.records",
    "Store": "mbo.store",
    "compare": "mbo.comparison",
    "connect": "mbo.live",
    "read_dbn": "mbo.replay",
    "record": "mbo.recorder",
    "serve_gateway": "mbo.live",
    "simulate": "mbo.simulator",
    "verify": "mbo.verification",
}

__all__ = [
    "MBO_DTYPE", "SIMULATED", "Action", "Book", "Books", "DataError", "Flag", "InternalError", "MboError", "Records",
    "ReferenceBook", "RequestError", "Side", "Store", "__version__", "analytics", "compare", "connect", "read_dbn", "record",
    "serve_gateway", "simulate", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "analytics":
        return import_module("mbo.analytics")
    if name not in _HOME:
        raise AttributeError(f"module 'mbo' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
