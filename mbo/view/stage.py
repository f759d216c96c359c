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

    All histories have the same beginning and columns of the same duration. `applied` counts the records of each book.
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
        for piece, time_ns in self._pieces(records):
            own = {key: self.own(key, piece) for key in self.histories}
            refilled = {key: self._refilled(key, records) for key, records in own.items()}
            self.books.apply(piece)
            self.latest = time_ns
            for key, history in self.histories.items():
                if key in self.books:
                    book = self.books[key]
                    history.capture(history.number_of(time_ns), book)
                    first = book.status.messages - len(own[key])
                    history.trade(own[key], first)
                    self._note(key, refilled[key], first)

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

    def _refilled(self, key: Key, records: RecordArray) -> list[tuple[int, int]]:
        """Find orders (id, row) that were filled and, in the same event, changed at the same price to another size than was left.

        That is how an iceberg's next tip shows at CME (no field says it). Looked for before the records are applied, when the book
        still has the sizes shown before.
        """
        filled = np.flatnonzero(records["action"] == Action.FILL)
        if not len(filled):
            return []
        changed = np.flatnonzero(records["action"] == Action.MODIFY)
        changed = changed[np.isin(records["order_id"][changed], records["order_id"][filled])]
        if not len(changed) or key not in self.books:
            return []
        book, found = self.books[key], []
        events = np.cumsum(records["flags"] & int(Flag.LAST) != 0) - (records["flags"] & int(Flag.LAST) != 0)
        for row in changed.tolist():
            order_id = int(records["order_id"][row])
            fills = filled[(records["order_id"][filled] == order_id) & (filled < row) & (events[filled] == events[row])]
            shown = _shown(book, records, order_id, int(fills[0]) if len(fills) else 0)
            if not len(fills) or shown is None or shown[1] != int(records["price"][row]):
                continue
            if int(records["size"][row]) != shown[0] - int(records["size"][fills].sum(dtype=np.int64)):
                found.append((order_id, row))
        return found

    def _note(self, key: Key, refilled: Iterable[tuple[int, int]], first: int) -> None:
        known = self.icebergs[key]
        for order_id, row in refilled:
            known.setdefault(order_id, first + row + 1)
        while len(known) > _HIDDEN:
            known.pop(next(iter(known)))


def _shown(book: Book, records: RecordArray, order_id: int, before: int) -> tuple[int, int] | None:
    """Give the size and price that an order showed before a record: what the batch said last of it, or else the book."""
    earlier = records[:before]
    own = earlier[(earlier["order_id"] == order_id) & np.isin(earlier["action"], (Action.ADD, Action.MODIFY))]
    if len(own):
        return int(own["size"][-1]), int(own["price"][-1])
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
