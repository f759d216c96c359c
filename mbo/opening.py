"""The opening book of a stream that begins without its resting orders, inferred from what became of them later.

A file cut in the middle of a session names orders whose A it does not hold. What each record says of where its order stood at the
start:

* A C bears the order's own side and price, and the size that went: all of it on GLBX, elsewhere a part, and the parts are summed.
* An F says that its order was the first of its queue. The C or M of the same event says the rest: after an F, the M has the old
  price and what is left of the size. (The F's own price is the trade's, which an auction or an aggressor sets.) An iceberg that
  was refreshed by that M is taken to have shown the sum, which is too much.
* An M without an F says that the order rested, but bears only the price and size it went to, and nearly all of them change the
  price. Such an order is counted and left out: a book without it lacks an order, one with it would have a wrong one.

All of them stood before every order that came later. Among themselves, at one price, whoever is filled stands before whoever is
still there then; where no fill decides, the lower order id stands first, as ids rise with the time of entry on GLBX and XNAS. So an
order that had lost its place before the start, and is not filled, is taken for an earlier one than it was.

An order that no later record names cannot be known. So what is inferred is a part of the book, the better the longer the stream
goes on and the nearer to the best price. It looks ahead, and is for work offline: nobody knew this book at that instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo import _jit
from mbo import _opening_kernels as kernels
from mbo.book import Books
from mbo.book._state_kernels import NIL
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, Action, Flag, RecordArray, Side, as_records, times_of
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP

if TYPE_CHECKING:
    from mbo.book.interface import EqualSize

EVIDENCE: Final[Mapping[str, str]] = {
    "cancel": "a C came first: it has the order's side, price and size",
    "fill": "an F came first, then a C or M in its event: it stood at the front of its queue",
}
"""What tells of an order that was inferred."""
LEFT_OUT: Final[Mapping[str, str]] = {
    "modify": "an M came first: it rested, but where and how large is not told",
    "fill_only": "named by fills alone: whether it rested is not told",
    "damaged": "its records lack a side, a price or a size",
    "doubt": "named first after a gap in the venue's channel: it may have come in the gap",
}
"""Why an unknown order was not inferred."""

_MARKED: Final = int(Flag.SNAPSHOT | Flag.BAD_TS_RECV | Flag.MAYBE_BAD_BOOK)
_LARGEST: Final = 2**32 - 2  # UNDEF is one more
_FIRST: Final = 256  # unknown orders there is room for at first


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """The inferred book of every instrument at the start of a stream, as records that go before the stream's own.

    `records` are a snapshot in the order of `mbo.book.snapshot`: for a book an R, then an A for every order in priority order, bids
    before asks, best first; the last one has F_LAST. A book of which nothing is inferred has none.

    All have F_SNAPSHOT and F_BAD_TS_RECV and, since DBN has no flag for what is inferred, F_MAYBE_BAD_BOOK: a book that begins with
    them is suspect until the venue clears or restores it, and market by price that is made of them says so too. `ts_recv` is that
    of the stream's first record and `ts_event` that of the book's first record, for all of them: the orders have stood since then
    or longer. `sequence` is 0.

    `evidence` counts the orders in it, by the keys of `EVIDENCE`, and `left_out` those that are not, by the keys of `LEFT_OUT`.
    """

    records: RecordArray
    evidence: Mapping[str, int]
    left_out: Mapping[str, int]
    symbols: SymbolMap

    @property
    def orders(self) -> int:
        """How many orders were inferred."""
        return sum(self.evidence.values())

    def books(self, *, strict: bool = False, equal_size: EqualSize = "venue") -> Books:
        """Make books that begin with it; the records applied to them next are numbered from 0, as if it were not there.

        In strict mode the orders that were left out still break the rules.
        """
        books = Books(strict=strict, equal_size=equal_size, symbols=self.symbols)
        books.apply(self.records, rows=-len(self.records))
        return books

    def document(self) -> dict[str, Any]:
        """Describe it in plain values, ready for JSON: what was inferred, by which evidence, and the orders of every book."""
        books = [
            {
                "symbol": book.symbol,
                "instrument_id": book.status.instrument_id,
                "publisher_id": book.status.publisher_id,
                "orders": book.status.orders,
                "crossed": book.crossed,
            }
            for book in self.books().values()
        ]
        return {
            "inferred": True,
            "ts_recv": int(self.records["ts_recv"][0]) if len(self.records) else None,
            "orders": self.orders,
            "evidence": dict(self.evidence),
            "left_out": dict(self.left_out),
            "books": books,
        }

    def __repr__(self) -> str:
        books = int(np.count_nonzero(self.records["action"] == Action.CLEAR))
        left_out = sum(self.left_out.values())
        return f"<Opening of {books} books, {self.orders:,} orders inferred, {left_out:,} unknown ones left out>"


def infer(batches: Iterable[RecordArray], *, symbols: SymbolMap | None = None) -> Opening:
    """Infer the opening of a stream of MBO records, given in batches, in one pass; `symbols` gives the books their names.

    Memory grows with the orders that rest at a time and with the unknown ones, not with the records. Broken records are tolerated,
    as a lenient book does.

    >>> from mbo.simulator import simulate
    >>> records = simulate(10_000).records
    >>> infer([records])  # it begins with its snapshot
    <Opening of 0 books, 0 orders inferred, 0 unknown ones left out>
    >>> opening = infer([records[5_000:]])
    >>> opening.orders > 0, opening.books().book().crossed
    (True, False)
    """
    watch = _Watching()
    start = UNDEF_TIMESTAMP
    for batch in batches:
        records = as_records(batch)
        if start == UNDEF_TIMESTAMP and len(records):
            start = int(times_of(records[:1])[0])
        watch.books._drive(watch.apply, records, None)
    orders = watch.orders
    told = (orders["by"] == kernels.CANCELLED) | (orders["by"] == kernels.FILLED)
    told &= orders["size"] <= _LARGEST
    filled = told & (orders["first_fill"] >= 0)
    left_out = {
        "modify": orders["by"] == kernels.MODIFIED,
        "fill_only": orders["by"] == kernels.ONLY_FILLED,
        "damaged": (orders["by"] == kernels.DAMAGED) | (orders["size"] > _LARGEST),
        "doubt": orders["by"] == kernels.DOUBTFUL,
    }
    return Opening(
        watch.written(orders[told], start),
        {"cancel": int(np.count_nonzero(told & ~filled)), "fill": int(np.count_nonzero(filled))},
        {why: int(np.count_nonzero(mask)) for why, mask in left_out.items()},
        SymbolMap() if symbols is None else symbols,
    )


class _Watching:
    """The kernel's memory, and the room that it asks for."""

    def __init__(self) -> None:
        _jit.announce("watch_over")
        self.books = Books()
        trade = np.zeros(1, kernels.TRADE)
        trade["key"] = NIL
        self._watch = kernels.Watch(
            orders=np.zeros(0, kernels.UNKNOWN), table=np.empty(0, np.int32), used=np.zeros(1, np.int64),
            trade=trade, starts=np.zeros(0, kernels.START),
        )  # fmt: skip

    @property
    def orders(self) -> npt.NDArray[Any]:
        """The unknown orders so far (`UNKNOWN`), in the order in which they were named."""
        return self._watch.orders[: int(self._watch.used[0])]

    def apply(self, state: Any, records: RecordArray, rows: npt.NDArray[np.int64], start: int) -> tuple[int, int]:
        """Apply records as `Books._drive` has it: called again whenever something has no room."""
        watch = self._watch
        if len(self.orders) == len(watch.orders):
            orders = _longer(watch.orders, max(_FIRST, 2 * len(watch.orders)))
            watch = watch._replace(orders=orders, table=np.full(2 * len(orders), NIL, np.int32))
            kernels.enter_all(watch)
        if len(watch.starts) < len(state.books):
            watch = watch._replace(starts=_longer(watch.starts, len(state.books)))
        self._watch = watch
        status, done = kernels.watch_over(state, watch, records, rows, start)
        return status, done

    def written(self, orders: npt.NDArray[Any], ts_recv: int) -> RecordArray:
        """Write orders as snapshots, book by book in the order of their first records."""
        asks = orders["side"] == Side.ASK
        # best first: the complement turns a bid's price round, and cannot overflow
        depth = np.where(asks, orders["price"], ~orders["price"])
        orders = orders[np.lexsort((depth, asks, orders["book"]))]
        level = orders[["book", "side", "price"]]
        queues = np.split(orders, np.flatnonzero(level[1:] != level[:-1]) + 1)
        orders = np.concatenate([queue[_priority(queue)] for queue in queues])
        parts = np.split(orders, np.flatnonzero(np.diff(orders["book"])) + 1)
        written = [self._snapshot(part, ts_recv) for part in parts if len(part)]
        return as_records(np.concatenate([np.empty(0, MBO_DTYPE), *written]))

    def _snapshot(self, orders: npt.NDArray[Any], ts_recv: int) -> RecordArray:
        """Write the orders of one book, which are in priority order."""
        book = int(orders["book"][0])
        key, start = int(self.books._state.books["key"][book]), self._watch.starts[book]
        records = np.zeros(len(orders) + 1, MBO_DTYPE)
        records["length"], records["rtype"], records["flags"] = MBO_LENGTH, RTYPE_MBO, _MARKED
        records["publisher_id"], records["instrument_id"] = key >> 32, key & 0xFFFFFFFF
        records["ts_recv"], records["ts_event"], records["channel_id"] = ts_recv, start["ts_event"], start["channel_id"]
        clear, adds = records[:1], records[1:]
        clear["action"], clear["side"], clear["price"] = Action.CLEAR, Side.NONE, UNDEF_PRICE
        adds["action"] = Action.ADD
        for name in ("order_id", "side", "price", "size"):
            adds[name] = orders[name]
        records["flags"][-1] |= np.uint8(Flag.LAST)
        return records


def _priority(queue: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Put the orders of one price (`UNKNOWN`) into the order in which they stood.

    Those that were filled stand in the order of their first fills. Any other has its place between them by its id, but behind all
    that were filled while it was still there.
    """
    filled = np.flatnonzero(queue["first_fill"] >= 0)
    filled = filled[np.argsort(queue["first_fill"][filled])]
    others = np.flatnonzero(queue["first_fill"] < 0)
    # one that breaks the order of the ids had lost its place: it is old, and yet behind
    highest = np.maximum.accumulate(queue["order_id"][filled])
    by_id = np.searchsorted(highest, queue["order_id"][others])
    at_least = np.searchsorted(queue["filled_in"][filled], queue["left_in"][others])
    before = np.concatenate([np.arange(len(filled)), np.maximum(by_id, at_least)])  # of those that were filled
    places = np.concatenate([filled, others])
    waits = np.repeat([1, 0], [len(filled), len(others)])
    return places[np.lexsort((queue["order_id"][places], waits, before))]


def _longer(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer
