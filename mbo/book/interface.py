"""What a book is, whichever way it is built: the one interface of `Book` and `ReferenceBook`, and the rules both obey.

The rules, from Databento's documents and from what its data shows (for each field's meaning see `mbo.records`):

* A adds an order at the back of its level. C takes `size` away from the order with this id, and the order leaves when nothing
  is left. M gives it a new price and size. R clears the book. T, F and N never touch it.
* M at the same price keeps the order's place if the size gets smaller and loses it if the size gets larger. An equal size loses it
  on GLBX.MDP3 (an iceberg shows its next tip) and keeps it elsewhere. M to another price or side goes to the back there.
* An A with F_SNAPSHOT that follows on no other of its event begins a restored book: an implied clear, where no R said so.
* F_TOB: an A is all that is known of its side, a level without orders; UNDEF price or size 0 empties the side.
* F_MBP: A and M set a whole level, keyed by side and price; C removes it. Such a level holds a size but no order.
* The book is valid only after a record with F_LAST. A crossed book is data, not an error.

Where a record breaks a rule the lenient book does the next best thing and counts it under one of `ANOMALIES`, with the first
record that did it; `strict=True` raises `RuleError` instead and leaves the book as it stood before that record.
"""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.book.rows import Level, Levels, Order, Orders, queued
from mbo.errors import OrderError, RequestError
from mbo.records import RecordArray, Side

ANOMALIES: Final[Mapping[str, str]] = {
    "unknown_cancel": "C of an order (or level) that is not in the book: ignored",
    "unknown_modify": "M of an order (or level) that is not in the book: inserted as if it were an A",
    "duplicate_add": "A of an order that is in the book: the old one is replaced and its place lost",
    "cancel_too_large": "C of more than the order has: the order is removed",
    "cancel_mismatch": "C whose price or side is not the order's: the order with that id is cancelled all the same",
    "side_change": "M to the other side: the order moves to the back there",
    "bad_size": "A, C or M of zero, or A or M of UNDEF: an A or C is ignored, an M removes the order (or level)",
    "bad_price": "A or M (or a level's C) without a price: ignored",
    "bad_side": "A or M (or a level's C) on neither side: ignored",
    "bad_action": "an action that is none of A C M R T F N, or one that a top-of-book feed does not have: ignored",
    "implied_clear": "snapshot records without an R before them: the book was cleared for them",
    "maybe_bad_book": "F_MAYBE_BAD_BOOK: the venue's channel had a gap; the book is suspect until the next clear or snapshot",
}
"""What can be wrong with a record, and what the lenient book does about it. The last two are not errors, strict or not."""
TOLERATED: Final = frozenset({"implied_clear", "maybe_bad_book"})

_DIGEST_DTYPE: Final = np.dtype([("side", "u1"), ("price", "<i8"), ("order_id", "<u8"), ("size", "<u4")])

EqualSize = Literal["venue", "loses", "keeps"]
"""What an M of equal size at the same price does to the order's place; "venue": loses it on GLBX.MDP3, keeps it elsewhere."""
GLBX_PUBLISHER: Final = 1

SideLike = Side | Literal["bid", "ask", "B", "A"]


class BBO(NamedTuple):
    """The best level of each side, None where a side is empty."""

    bid: Level | None
    ask: Level | None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How often one rule was broken, and the first record that did it (`index` counts the stream's MBO records from 0)."""

    count: int
    index: int
    order_id: int
    ts_event: int
    sequence: int

    def again(self) -> Anomaly:
        """Count one more."""
        return replace(self, count=self.count + 1)


def equal_loses(equal_size: EqualSize, publisher_id: int) -> bool:
    """Say whether an M of equal size at the same price goes to the back of its queue."""
    if equal_size not in ("venue", "loses", "keeps"):
        raise RequestError(f"equal_size={equal_size!r}: it is 'venue', 'loses' or 'keeps'")
    return equal_size == "loses" or (equal_size == "venue" and publisher_id == GLBX_PUBLISHER)


def as_side(side: SideLike) -> Side:
    """Read a side as the API takes it.

    >>> as_side("bid"), as_side("A")
    (<Side.BID: 66>, <Side.ASK: 65>)
    """
    try:
        return _SIDES[side]
    except (KeyError, TypeError):
        raise RequestError(f"{side!r} is not a side: write 'bid' or 'ask'") from None


_SIDES: Final = {"bid": Side.BID, "ask": Side.ASK, "B": Side.BID, "A": Side.ASK, Side.BID: Side.BID, Side.ASK: Side.ASK}


def digest_of(orders: npt.NDArray[Any]) -> str:
    """Hash orders (`ORDER_DTYPE`, in priority order) to 32 hexadecimal digits.

    blake2b over packed little-endian (side, price, order_id, size): equal for equal books, across implementations, processes
    and machines.
    """
    packed = np.empty(len(orders), _DIGEST_DTYPE)
    for name in packed.dtype.names or ():
        packed[name] = orders[name]
    return hashlib.blake2b(packed.tobytes(), digest_size=16).hexdigest()


class Status(NamedTuple):
    """Where a book stands: its key, the last record it saw, and how far it can be trusted.

    `valid`: that record had F_LAST, so the book is not between two records of an event. `synced`: it saw a clear or a snapshot
    and so holds every order since. `suspect`: the venue's channel had a gap since then. `orders`: how many rest.
    """

    publisher_id: int
    instrument_id: int
    ts_event: int
    ts_recv: int
    sequence: int
    channel_id: int
    valid: bool
    synced: bool
    suspect: bool
    equal_size_loses: bool
    messages: int
    events: int
    orders: int


class L3Book(ABC):
    """The resting orders of one instrument at one venue, in price-time priority.

    Prices are int64 in units of 1e-9, times ns UTC, levels and orders best first. A subclass keeps the orders; what can be said
    of them is said here, once.
    """

    symbol: str = ""

    @abstractmethod
    def apply(self, records: RecordArray) -> None:
        """Apply MBO records of one instrument and publisher, in their order; `RuleError` in strict mode at the first bad one."""

    @property
    @abstractmethod
    def status(self) -> Status:
        """Where the book stands."""

    @property
    @abstractmethod
    def anomalies(self) -> dict[str, Anomaly]:
        """Which rules the records broke (a key of `ANOMALIES`), how often, and the first that did."""

    @abstractmethod
    def depth(self, side: SideLike) -> int:
        """Count the levels of a side."""

    @abstractmethod
    def _order(self, order_id: int) -> Order | None:
        """Find a resting order."""

    @abstractmethod
    def check(self) -> None:
        """Walk the whole structure and raise `InternalError` at the first broken invariant. O(orders)."""

    @abstractmethod
    def _levels(self, side: Side, stop: int) -> npt.NDArray[Any]:
        """Copy levels 0 to `stop` - 1 (`LEVEL_DTYPE`), best first."""

    @abstractmethod
    def _orders(self, side: Side, start: int, stop: int) -> npt.NDArray[Any]:
        """Copy the queues of levels `start` to `stop` - 1 (`ORDER_DTYPE`)."""

    @property
    def bbo(self) -> BBO:
        """The best bid and ask."""
        bid, ask = (self.levels(side, 1) for side in (Side.BID, Side.ASK))
        return BBO(bid[0] if bid else None, ask[0] if ask else None)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, as happens while a venue is not matching."""
        bid, ask = self.bbo
        return bid is not None and ask is not None and bid.price >= ask.price

    @property
    def synced(self) -> bool:
        """Whether the book saw a clear or a snapshot, and so knows every order since."""
        return self.status.synced

    def levels(self, side: SideLike, depth: int | None = None) -> Levels:
        """Copy a side's levels, best first, at most `depth` of them."""
        side = as_side(side)
        return Levels(self._levels(side, _at_most(depth, self.depth(side), "depth")))

    def orders(self, side: SideLike | None = None, *, level: int | None = None) -> Orders:
        """Copy the orders of both sides, of one, or of one `level` of it (0 is the best), in priority order."""
        if side is None:
            if level is not None:
                raise RequestError("orders(level=...) needs a side: 'bid' or 'ask'")
            return queued(self._all_orders())
        side = as_side(side)
        depth = self.depth(side)
        if level is None:
            return queued(self._orders(side, 0, depth))
        if not 0 <= level < depth:
            raise RequestError(f"no level {level} on the {side.name.lower()} side: it has {depth}")
        return queued(self._orders(side, level, level + 1))

    def order(self, order_id: int) -> Order:
        """Find a resting order; `OrderError` where there is none with this id, `RequestError` where it is not a whole number."""
        try:
            order_id = operator.index(order_id)
        except TypeError:
            raise RequestError(
                f"{order_id!r} is not an order id: ids are whole numbers, and floats do not hold them all"
            ) from None
        order = self._order(order_id)
        if order is None:
            raise OrderError(f"no order {order_id} rests in the book")
        return order

    def queue_ahead(self, order_id: int) -> int:
        """Sum the sizes that stand before an order at its price; `OrderError` where it does not rest."""
        return self.order(order_id).queue_ahead

    def digest(self) -> str:
        """Hash every order in priority order: equal for equal books, whoever built them, wherever. O(orders)."""
        return digest_of(self._all_orders())

    def snapshot(self, *, ts_recv: int | None = None, ts_event: int | None = None) -> RecordArray:
        """Write the book as the MBO records that restore it, `ts_recv` by default its own; see `mbo.book.snapshot.snapshot`."""
        from mbo.book.snapshot import snapshot

        return snapshot(self, ts_recv=self.status.ts_recv if ts_recv is None else ts_recv, ts_event=ts_event)

    def document(self, *, depth: int | None = None, orders: bool = False) -> dict[str, Any]:
        """Describe the book in plain values, ready for JSON; see `mbo.book.render.document`."""
        from mbo.book.render import document

        return document(self, depth=depth, orders=orders)

    def _all_orders(self) -> npt.NDArray[Any]:
        return np.concatenate([self._orders(side, 0, self.depth(side)) for side in (Side.BID, Side.ASK)])

    def __repr__(self) -> str:
        status = self.status
        name = self.symbol or status.instrument_id
        return f"<{type(self).__name__} {name} {status.orders} orders{'' if status.synced else ', not synced'}>"

    def __str__(self) -> str:
        from mbo.book.render import ladder_text

        return ladder_text(self)

    def _repr_html_(self) -> str:
        from mbo.book.picture import ladder_svg

        return ladder_svg(self)


def _at_most(asked: int | None, there: int, name: str) -> int:
    if asked is None:
        return there
    if asked < 0:
        raise RequestError(f"{name}={asked}: it cannot be negative")
    return min(asked, there)
