"""A book written as the MBO records that restore it: what seeds another book, answers a live client, and is kept in a Store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, Action, Flag, RecordArray, Side
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    from mbo.book.engine import Books
    from mbo.book.interface import L3Book

_RESTORED: Final = int(Flag.SNAPSHOT | Flag.BAD_TS_RECV)


def snapshot(book: L3Book, *, ts_recv: int, ts_event: int | None = None) -> RecordArray:
    """Write a book as Databento's snapshots are: an R, then an A for every order in priority order, bids before asks, best first.

    `ts_recv` (ns UTC) is every record's; the R has `ts_event`, by default the first order's, or the book's if it is empty. An A has
    the order's `ts_event` but sequence 0, for the book does not keep that. The last record has F_LAST if and only if the book is
    `valid`: what was written between two records of an event is a part of that event. The R has F_MAYBE_BAD_BOOK if the book is
    suspect or not synced, so a book restored from it is suspect. Raises `RequestError` at a book that has seen no records.

    Records that follow do to the restored book, if made with the same `equal_size`, what they do to this one, wherever in the
    stream it was written, but for one case: a book inside an event, and the event goes on with a snapshot that has no R. To this
    book that is an implied clear, to the restored one more of its snapshot.

    Not restored are counters and anomalies, sequences, bits of `flags` that do not change the book, and whether an aggregated
    level came from an F_TOB or an F_MBP feed: it is written as F_MBP, which restores it in its place, whatever else its side holds.

    >>> from mbo.book import Book
    >>> from mbo.simulator import simulate
    >>> book, other = Book(), Book()
    >>> book.apply(simulate(1_000).records)
    >>> other.apply(snapshot(book, ts_recv=book.status.ts_recv))
    >>> other.digest() == book.digest()
    True
    """
    status, orders = book.status, book._all_orders()
    if not status.messages:
        raise RequestError("this book has seen no records: there is no instrument to write a snapshot of")
    records = np.zeros(len(orders) + 1, MBO_DTYPE)
    records["length"], records["rtype"], records["ts_recv"] = MBO_LENGTH, RTYPE_MBO, ts_recv
    for name in ("publisher_id", "instrument_id", "channel_id"):
        records[name] = getattr(status, name)
    records["flags"] = _RESTORED
    clear, adds = records[:1], records[1:]
    for name in ("order_id", "side", "price", "size", "ts_event"):
        adds[name] = orders[name]
    adds["action"] = Action.ADD
    adds["flags"][orders["aggregate"]] |= np.uint8(Flag.MBP)
    clear["action"], clear["side"], clear["price"] = Action.CLEAR, Side.NONE, UNDEF_PRICE
    first = int(orders["ts_event"][0]) if len(orders) else status.ts_event
    clear["ts_event"] = first if ts_event is None else ts_event
    if status.suspect or not status.synced:
        clear["flags"] |= np.uint8(Flag.MAYBE_BAD_BOOK)
    if status.valid:
        records["flags"][-1] |= np.uint8(Flag.LAST)
    return records


def snapshots(books: Books, *, ts_recv: int, ts_event: int | None = None) -> RecordArray:
    """Write every book as `snapshot` does, one after another in the order of `books`; no records where there are no books."""
    parts = [snapshot(book, ts_recv=ts_recv, ts_event=ts_event) for book in books.values()]
    return np.concatenate([np.empty(0, MBO_DTYPE), *parts])
