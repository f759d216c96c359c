"""Stage: books and histories driven by batches of records, whether they come from a file or from a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mbo.book import Books
from mbo.errors import OrderError
from mbo.records import Action, Flag, RecordArray, times_of
from mbo.selection import book_keys
from mbo.units import UNDEF_TIMESTAMP
from mbo.view.history import History

if TYPE_CHECKING:
    from mbo.book import Book
    from mbo.book.interface import EqualSize

Key = tuple[int, int]
"""(publisher_id, instrument_id)."""
_HIDDEN: Final = 1 << 16  # orders known to be icebergs, of one book; the oldest are forgotten


class Stage:
    """Books of a stream, a history of each that is watched, and which orders showed themselves to be icebergs.

    All histories have the same beginning and columns of the same duration.
    """

    def __init__(self, *, equal_size: EqualSize = "venue") -> None:
        self.books = Books(equal_size=equal_size)
        self.histories: dict[Key, History] = {}
        self.icebergs: dict[Key, dict[int, int]] = {}
        """Of each watched book, by order id, how many records it had seen when the order proved to be one."""
        self.latest = 0
        """The latest time (ns) so far: a clock of the stream, which never goes back."""

    def watch(self, key: Key, history: History) -> None:
        """Keep the history of a book from now on."""
        self.histories[key] = history
        self.icebergs[key] = {}
        if key in self.books and self.latest:
            history.capture(history.number_of(self.latest), self.books[key])

    def apply(self, records: RecordArray) -> None:
        """Apply records that end with an event, and note every column that ends on the way."""
        begun: dict[Key, tuple[RecordArray, int]] = {}
        for key in self.histories:
            book, own = self.books.get(key), self.own(key, records)
            begun[key] = own, 0 if book is None else book.status.messages
            self._note(key, _refilled(book, own), begun[key][1])
        for piece, time_ns in self._pieces(records):
            self.books.apply(piece)
            self.latest = time_ns
            for key, history in self.histories.items():
                if key in self.books:
                    history.capture(history.number_of(time_ns), self.books[key])
        for key, (own, first) in begun.items():
            self.histories[key].trade(own, first)

    def _pieces(self, records: RecordArray) -> Iterator[tuple[RecordArray, int]]:
        """Cut records where an event ends and the next one is of another column; with the time at each piece's end."""
        if not len(records):
            return
        times = _rising(records, self.latest)
        history = next(iter(self.histories.values()), None)
        if history is None:
            yield records, int(times[-1])
            return
        numbers = np.maximum(times.astype(np.int64) - history.begin_ns, 0) // history.column_ns
        changes = np.flatnonzero(np.diff(numbers)) + 1
        ends = np.flatnonzero(records["flags"] & int(Flag.LAST)) + 1
        # An event that goes on into the next column belongs to that one.
        before = np.searchsorted(ends, changes, side="right")
        begin = 0
        for cut in [*np.unique(ends[before[before > 0] - 1]).tolist(), len(records)]:
            if cut > begin:
                yield records[begin:cut], int(times[cut - 1])
                begin = cut

    def own(self, key: Key, records: RecordArray) -> RecordArray:
        """Give the records of one book."""
        mine = book_keys(records) == (key[0] << 32 | key[1])
        return records if mine.all() else records[mine]

    def _note(self, key: Key, refilled: Iterable[tuple[int, int]], first: int) -> None:
        known = self.icebergs[key]
        for order_id, row in refilled:
            known.setdefault(order_id, first + row + 1)
        while len(known) > _HIDDEN:
            known.pop(next(iter(known)))


def _refilled(book: Book | None, records: RecordArray) -> list[tuple[int, int]]:
    """Find orders (id, row) that were filled and, in the same event, changed at the same price to another size than was left.

    That is how an iceberg's next tip shows at CME (no field says it). Looked for before the records are applied, when the book
    still has the sizes shown before.
    """
    actions = records["action"]
    changed = np.flatnonzero(actions == Action.MODIFY)
    filled = np.flatnonzero(actions == Action.FILL)
    if not len(filled) or not len(changed):
        return []
    changed_ids = records["order_id"][changed]
    both = np.unique(changed_ids[np.isin(changed_ids, records["order_id"][filled])])
    if not len(both):
        return []
    shows = np.flatnonzero((actions == Action.ADD) | (actions == Action.MODIFY) | (actions == Action.FILL))
    lasts = records["flags"] & int(Flag.LAST) != 0
    events = (np.cumsum(lasts) - lasts)[shows]
    own = np.isin(records["order_id"][shows], both)
    return _refills(book, records[shows[own]], shows[own], events[own])


def _refills(
    book: Book | None, records: RecordArray, rows: npt.NDArray[np.int64], events: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Find refills among the A, M and F of a few orders."""
    order = np.argsort(records["order_id"], kind="stable")  # each order's records by themselves, in their order
    records, rows, events = records[order], rows[order], events[order]
    ids, sizes, prices = records["order_id"], records["size"].astype(np.int64), records["price"]
    is_fill = records["action"] == Action.FILL
    place = np.arange(len(ids))
    new = np.ones(len(ids), bool)
    new[1:] = (ids[1:] != ids[:-1]) | (events[1:] != events[:-1])
    fills = np.cumsum(np.where(is_fill, sizes, 0))
    begin = np.maximum.accumulate(np.where(new, place, 0))  # of this order's part of the event
    told = np.maximum.accumulate(
        np.where(is_fill, -1, place)
    )  # when a size was last said, of this order or one before it
    refilled = np.flatnonzero((records["action"][1:] == Action.MODIFY) & is_fill[:-1] & ~new[1:]) + 1
    found = []
    for at in refilled.tolist():
        before = int(told[at - 1])
        taken = int(fills[at - 1] - (fills[before] if before >= begin[at] else fills[begin[at]] - sizes[begin[at]]))
        known = before >= 0 and ids[before] == ids[at]
        shown = (int(sizes[before]), int(prices[before])) if known else _resting(book, int(ids[at]))
        if shown is not None and shown[1] == prices[at] and sizes[at] != shown[0] - taken:
            found.append((int(ids[at]), int(rows[at])))
    return found


def _resting(book: Book | None, order_id: int) -> tuple[int, int] | None:
    if book is None:
        return None
    try:
        order = book.order(order_id)
    except OrderError:
        return None
    return order.size, order.price


def _rising(records: RecordArray, latest: int) -> npt.NDArray[np.uint64]:
    """Give the stream's clock at every record: the latest ts_recv (or ts_event, where that is missing) up to it."""
    times = times_of(records)
    known = np.where(times == UNDEF_TIMESTAMP, np.uint64(0), times)
    clock: npt.NDArray[np.uint64] = np.maximum(np.maximum.accumulate(known), np.uint64(latest))
    return clock
