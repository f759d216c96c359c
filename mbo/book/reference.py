"""The readable book: dictionaries and a sorted dictionary, one record at a time. Slow, obvious, and the judge of the fast one."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sortedcontainers import SortedDict

from mbo.book.interface import TOLERATED, Anomaly, EqualSize, L3Book, SideLike, Status, as_side, equal_loses
from mbo.book.rows import LEVEL_DTYPE, ORDER_DTYPE, Order
from mbo.errors import InternalError, RequestError, RuleError
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray, Side, as_records
from mbo.units import UNDEF_PRICE, UNDEF_SIZE


class _Record(NamedTuple):
    """One MBO record as plain numbers, in the order of `MBO_DTYPE`."""

    length: int
    rtype: int
    publisher_id: int
    instrument_id: int
    ts_event: int
    order_id: int
    price: int
    size: int
    flags: int
    channel_id: int
    action: int
    side: int
    ts_recv: int
    ts_in_delta: int
    sequence: int


assert _Record._fields == MBO_DTYPE.names
_NO_RECORD: Final = _Record(*[0] * len(_Record._fields))


_AGGREGATE: Final = None  # the key, in a level's queue, of a size that is not an order's


class _Resting:
    """An order in its queue, or the aggregated size of an F_TOB or F_MBP level."""

    __slots__ = ("price", "side", "size", "ts_event")

    def __init__(self, record: _Record) -> None:
        self.side: int = record.side
        self.price: int = record.price
        self.size: int = record.size
        self.ts_event: int = record.ts_event


class ReferenceBook(L3Book):
    """A book of dictionaries: order id -> order, and per side price -> queue, a dict in order of priority.

    Adding, cancelling and modifying cost O(log levels), reading a level O(its orders). For what `strict` and `equal_size` mean
    see `mbo.book.interface`.
    """

    def __init__(self, *, strict: bool = False, equal_size: EqualSize = "venue", symbol: str = "") -> None:
        equal_loses(equal_size, 0)  # refuses what it does not know
        self.symbol = symbol
        self.strict = strict
        self.equal_size = equal_size
        self._order_of: dict[int, _Resting] = {}
        self._sides: dict[int, SortedDict] = {Side.BID: SortedDict(), Side.ASK: SortedDict()}
        self._anomalies: dict[str, Anomaly] = {}
        self._key: tuple[int, int] | None = None
        self._last = _NO_RECORD
        self._messages = 0
        self._events = 0
        self._synced = False
        self._suspect = False
        self._in_snapshot = False

    def apply(self, records: RecordArray) -> None:
        for values in as_records(records).tolist():
            record = _Record(*values)
            self._key = self._key or (record.publisher_id, record.instrument_id)
            if (record.publisher_id, record.instrument_id) != self._key:
                raise RequestError(
                    f"this is the book of instrument {self._key[1]} (publisher {self._key[0]}): "
                    f"it does not take records of {record.instrument_id} (publisher {record.publisher_id})"
                )
            self._apply(record)
            self._last = record
            if record.flags & Flag.LAST:
                self._events += 1
                self._in_snapshot = False  # a snapshot ends with its event
            if record.flags & Flag.MAYBE_BAD_BOOK:
                self._note("maybe_bad_book", record)
                self._suspect = True
            self._messages += 1

    # ------------------------------------------------------------ rules

    def _apply(self, record: _Record) -> None:
        action = record.action
        if action in (Action.TRADE, Action.FILL, Action.NONE):
            return
        if action == Action.CLEAR:
            self._clear()
            self._in_snapshot = bool(record.flags & Flag.SNAPSHOT)
        elif action in (Action.ADD, Action.CANCEL, Action.MODIFY):
            if record.flags & Flag.TOB:
                self._apply_top(record)
            elif record.flags & Flag.MBP:
                self._apply_level(record)
            elif action == Action.ADD:
                self._add(record)
            elif action == Action.CANCEL:
                self._cancel(record)
            else:
                self._modify(record)
            if not record.flags & Flag.SNAPSHOT:
                self._in_snapshot = False
        else:
            self._note("bad_action", record)

    def _add(self, record: _Record) -> None:
        if not self._has_side(record) or not self._has_price(record):
            return
        if _unsized(record):
            self._note("bad_size", record)
            return
        self._begin_snapshot(record)
        if record.order_id in self._order_of:
            self._note("duplicate_add", record)
            self._remove(record.order_id)
        self._insert(record)

    def _cancel(self, record: _Record) -> None:
        order = self._order_of.get(record.order_id)
        if order is None:
            self._note("unknown_cancel", record)
            return
        if record.size == 0:
            self._note("bad_size", record)
            return
        if (record.side, record.price) != (order.side, order.price):
            self._note("cancel_mismatch", record)
        if record.size > order.size:
            self._note("cancel_too_large", record)
        if record.size >= order.size:
            self._remove(record.order_id)
        else:
            order.size -= record.size

    def _modify(self, record: _Record) -> None:
        if not self._has_side(record) or not self._has_price(record):
            return
        order = self._order_of.get(record.order_id)
        if order is None:
            self._note("unknown_modify", record)
            if _unsized(record):
                self._note("bad_size", record)
            else:
                self._insert(record)
            return
        if _unsized(record):
            self._note("bad_size", record)
            self._remove(record.order_id)
            return
        if record.side != order.side:
            self._note("side_change", record)
        moves = (record.side, record.price) != (order.side, order.price)
        larger = record.size > order.size
        equal = record.size == order.size
        if moves or larger or (equal and equal_loses(self.equal_size, record.publisher_id)):
            self._remove(record.order_id)
            self._insert(record)
        else:
            order.size = record.size

    def _apply_top(self, record: _Record) -> None:
        """F_TOB: an A is all that is known of its side."""
        if record.action != Action.ADD:
            self._note("bad_action", record)
        elif self._has_side(record):
            self._begin_snapshot(record)
            self._clear_side(record.side)
            if record.price != UNDEF_PRICE and not _unsized(record):
                self._queue(record.side, record.price)[_AGGREGATE] = _Resting(record)

    def _apply_level(self, record: _Record) -> None:
        """F_MBP: a record sets or removes the whole level at its side and price."""
        if not self._has_side(record) or not self._has_price(record):
            return
        there = _AGGREGATE in self._sides[record.side].get(record.price, ())
        if record.action == Action.CANCEL:
            if there:
                self._remove_aggregate(record.side, record.price)
            else:
                self._note("unknown_cancel", record)
        elif _unsized(record):
            self._note("bad_size", record)
            if there:
                self._remove_aggregate(record.side, record.price)
        else:
            if record.action == Action.MODIFY and not there:
                self._note("unknown_modify", record)
            if record.action == Action.ADD:
                self._begin_snapshot(record)
            self._queue(record.side, record.price)[_AGGREGATE] = _Resting(record)

    def _begin_snapshot(self, record: _Record) -> None:
        if record.flags & Flag.SNAPSHOT and not self._in_snapshot:
            if any(self._sides.values()):
                self._note("implied_clear", record)
            self._clear()
            self._in_snapshot = True

    def _clear(self) -> None:
        self._clear_side(Side.BID)
        self._clear_side(Side.ASK)
        self._synced = True
        self._suspect = False

    def _has_side(self, record: _Record) -> bool:
        if record.side in (Side.BID, Side.ASK):
            return True
        self._note("bad_side", record)
        return False

    def _has_price(self, record: _Record) -> bool:
        if record.price != UNDEF_PRICE:
            return True
        self._note("bad_price", record)
        return False

    def _note(self, rule: str, record: _Record) -> None:
        place = {
            "index": self._messages,
            "order_id": record.order_id,
            "ts_event": record.ts_event,
            "sequence": record.sequence,
        }
        if self.strict and rule not in TOLERATED:
            raise RuleError(rule, **place)
        self._anomalies[rule] = self._anomalies.get(rule, Anomaly(0, **place)).again()

    # ------------------------------------------------------------ orders and queues

    def _queue(self, side: int, price: int) -> dict[int | None, _Resting]:
        queue: dict[int | None, _Resting] = self._sides[side].setdefault(price, {})
        return queue

    def _insert(self, record: _Record) -> None:
        order = _Resting(record)
        self._order_of[record.order_id] = order
        self._queue(order.side, order.price)[record.order_id] = order

    def _remove(self, order_id: int) -> None:
        order = self._order_of.pop(order_id)
        self._leave(order.side, order.price, order_id)

    def _remove_aggregate(self, side: int, price: int) -> None:
        self._leave(side, price, _AGGREGATE)

    def _leave(self, side: int, price: int, key: int | None) -> None:
        queue = self._sides[side][price]
        del queue[key]
        if not queue:
            del self._sides[side][price]

    def _clear_side(self, side: int) -> None:
        for queue in self._sides[side].values():
            for key in queue:
                self._order_of.pop(key, None)
        self._sides[side].clear()

    # ------------------------------------------------------------ what the interface asks for

    @property
    def status(self) -> Status:
        last = self._last
        publisher_id, instrument_id = self._key or (0, 0)
        return Status(
            publisher_id=publisher_id,
            instrument_id=instrument_id,
            ts_event=last.ts_event,
            ts_recv=last.ts_recv,
            sequence=last.sequence,
            channel_id=last.channel_id,
            valid=bool(last.flags & Flag.LAST),
            synced=self._synced,
            suspect=self._suspect,
            equal_size_loses=equal_loses(self.equal_size, publisher_id),
            messages=self._messages,
            events=self._events,
            orders=len(self._order_of),
        )

    @property
    def anomalies(self) -> dict[str, Anomaly]:
        return dict(self._anomalies)

    def depth(self, side: SideLike) -> int:
        return len(self._sides[as_side(side)])

    def _order(self, order_id: int) -> Order | None:
        if order_id not in self._order_of:
            return None
        order = self._order_of[order_id]
        ahead = 0
        for key, other in self._sides[order.side][order.price].items():
            if key == order_id:
                break
            ahead += other.size
        return Order(order_id, Side(order.side), order.price, order.size, ahead, order.ts_event)

    def check(self) -> None:
        seen = 0
        for side, levels in self._sides.items():
            for price, queue in levels.items():
                _require(len(queue) > 0, f"an empty level at {price}")
                for key, order in queue.items():
                    _require((order.side, order.price) == (side, price), f"order {key} is in another order's level")
                    _require(0 < order.size < UNDEF_SIZE, f"order {key} has size {order.size}")
                    if key is not _AGGREGATE:
                        seen += 1
                        _require(self._order_of.get(key) is order, f"order {key} is not in the index")
        _require(seen == len(self._order_of), "the index has orders that are in no queue")

    def _best_first(self, side: Side) -> Any:
        levels = self._sides[side]
        return reversed(levels.items()) if side == Side.BID else iter(levels.items())

    def _levels(self, side: Side, stop: int) -> npt.NDArray[Any]:
        rows = [
            (price, sum(order.size for order in queue.values()), len(queue) - (_AGGREGATE in queue))
            for (price, queue), _ in zip(self._best_first(side), range(stop), strict=False)
        ]
        return np.array(rows, LEVEL_DTYPE)

    def _orders(self, side: Side, start: int, stop: int) -> npt.NDArray[Any]:
        rows = [
            (key or 0, side, price, order.size, order.ts_event, key is _AGGREGATE)
            for k, (price, queue) in zip(range(stop), self._best_first(side), strict=False)
            if k >= start
            for key, order in queue.items()
        ]
        return np.array(rows, ORDER_DTYPE)


def _unsized(record: _Record) -> bool:
    return record.size in (0, UNDEF_SIZE)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InternalError(f"the reference book is broken: {what}")
