"""What a stream's records tell of orders that nobody has seen come: a watch kept over the book engine's own pass.

An order is unknown when the book does not hold it, as the engine itself decides; so what is gathered here is what the engine counts
as unknown cancels and modifies, and the fills that go with them. Watching ends for a book with its first clear or snapshot.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.book._kernels import apply_record, book_of, settle
from mbo.book._state_kernels import ASK, BID, DONE, GROW_BOOKS, NIL, find, home

UNKNOWN: Final = np.dtype(
    [
        ("order_id", "<u8"),
        ("price", "<i8"),  # where it stood at the start
        ("size", "<i8"),  # what it showed at the start, as far as it is told
        ("fill_price", "<i8"),  # of the last fill
        ("pending", "<i8"),  # filled since the last C: an M tells what is left, without it
        ("first_fill", "<i8"),  # number of the record that filled it first, NIL if none did
        ("filled_in", "<i8"),  # and of the event, counted for each book
        ("left_in", "<i8"),  # number of the last event that found it where it stood
        ("book", "<i4"),
        ("side", "u1"),
        ("by", "u1"),  # what is known of it: ONLY_FILLED ...
        ("attacks", "u1"),  # it was filled as the aggressor: not where it stood
        ("closed", "u1"),  # whatever follows is not about the start
    ],
    align=True,
)
TRADE: Final = np.dtype([("key", "<i8"), ("order_id", "<u8"), ("side", "u1")], align=True)
START: Final = np.dtype([("ts_event", "<u8"), ("channel_id", "u1")], align=True)


class Watch(NamedTuple):
    """What was seen so far."""

    orders: npt.NDArray[Any]  # UNKNOWN, in the order of their first record
    table: npt.NDArray[np.int32]  # hash of (order_id, book) -> index into orders, or NIL; a power of two long
    used: npt.NDArray[np.int64]  # how many orders there are, one element
    trade: npt.NDArray[Any]  # TRADE, one element: the last T of the present event; key NIL if there is none
    starts: npt.NDArray[Any]  # START, one a book: its first record


ONLY_FILLED: Final = 0
CANCELLED: Final = 1
FILLED: Final = 2
MODIFIED: Final = 3
DAMAGED: Final = 4
DOUBTFUL: Final = 5

GROW_UNKNOWN: Final = 9  # no room for one more unknown order

_ADD, _CANCEL, _MODIFY, _TRADE, _FILL = 65, 67, 77, 84, 70
_LAST, _TOB, _MBP, _MAYBE_BAD = 128, 64, 16, 4
_NO_SIDE = 78
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1


@inline
def entry(watch: Any, order_id: Any, book: Any) -> Any:
    """Give the index of an unknown order, or NIL."""
    mask = watch.table.shape[0] - 1
    position = home(order_id, book, mask)
    while watch.table[position] >= 0:
        slot = np.int64(watch.table[position])
        if watch.orders[slot]["order_id"] == order_id and watch.orders[slot]["book"] == book:
            return slot
        position = (position + 1) & mask
    return np.int64(NIL)


@inline
def enter(watch: Any, slot: Any) -> None:
    """Enter an order into the table."""
    mask = watch.table.shape[0] - 1
    order = watch.orders[slot]
    position = home(order["order_id"], np.int64(order["book"]), mask)
    while watch.table[position] >= 0:
        position = (position + 1) & mask
    watch.table[position] = slot


@kernel
def enter_all(watch: Any) -> None:
    """Enter every order into a table that was just made (all NIL)."""
    for slot in range(watch.used[0]):
        enter(watch, slot)


@kernel
def begin(watch: Any, order_id: Any, book: Any) -> Any:
    """Begin with an order that was not named before; the caller has seen that there is room."""
    slot = np.int64(watch.used[0])
    watch.used[0] += 1
    order = watch.orders[slot]
    order["order_id"] = order_id
    order["book"] = book
    order["first_fill"] = NIL
    enter(watch, slot)
    return slot


@kernel
def fill(watch: Any, order: Any, record: Any, key: Any, row: Any, event: Any) -> None:
    """Take note of an F: its order stands at the front of its queue, unless it is the aggressor itself."""
    trade = watch.trade[0]
    own = trade["order_id"] == record["order_id"] or (trade["side"] == record["side"] and trade["side"] != _NO_SIDE)
    if trade["key"] == key and own:
        order["attacks"] = 1
        return
    order["pending"] += np.int64(record["size"])
    order["fill_price"] = record["price"]
    if order["first_fill"] < 0:
        order["first_fill"] = row
        order["filled_in"] = event


@kernel
def leave(order: Any, record: Any, event: Any) -> None:
    """Take note of a C: it bears the order's own side and price, and the size that went.

    All of it on GLBX; elsewhere a part, and the parts make up the whole.
    """
    if order["by"] != CANCELLED:
        order["side"] = record["side"]
        order["price"] = record["price"]
        order["by"] = CANCELLED
    order["size"] += np.int64(record["size"])
    order["pending"] = 0
    order["left_in"] = event


@kernel
def change(order: Any, record: Any, event: Any) -> None:
    """Take note of an M: what it says is the order's new price and size, and from here on the book knows the order.

    After a fill, though, it is the fill that changed the size, and the price is the old one: it is no worse than the one that was
    traded at. An aggressor's M may say any price.
    """
    order["closed"] = 1
    order["left_in"] = event
    if order["by"] == CANCELLED:  # parts of it had gone before
        order["size"] += np.int64(record["size"]) + order["pending"]
        return
    order["by"] = MODIFIED
    fits = record["price"] >= order["fill_price"] if record["side"] == BID else record["price"] <= order["fill_price"]
    if order["pending"] > 0 and order["attacks"] == 0 and fits:
        order["by"] = FILLED
        order["side"] = record["side"]
        order["price"] = record["price"]
        order["size"] = np.int64(record["size"]) + order["pending"]


@kernel
def testify(watch: Any, book: Any, key: Any, record: Any, row: Any, event: Any, doubted: Any) -> None:
    """Take note of a C, M or F of an order that the book does not hold."""
    slot = entry(watch, record["order_id"], book)
    if slot < 0:
        slot = begin(watch, record["order_id"], book)
        if doubted:  # its A may be among what was lost
            watch.orders[slot]["by"] = DOUBTFUL
    order = watch.orders[slot]
    if order["closed"] != 0 or doubted:
        return
    if record["action"] == _FILL:
        fill(watch, order, record, key, row, event)
        return
    sized = record["size"] != 0 and record["size"] != _UNDEF_SIZE
    sided = record["side"] == ASK or record["side"] == BID
    if not sized or not sided or record["price"] == _UNDEF_PRICE:
        if order["by"] == ONLY_FILLED:
            order["by"] = DAMAGED
    elif record["action"] == _CANCEL:
        leave(order, record, event)
    else:
        change(order, record, event)


@kernel
def watch_over(state: Any, watch: Any, records: Any, rows: Any, start: Any) -> tuple[int, int]:
    """Apply `records[start:]` and take note of what they tell of unknown orders; returns (status, how many are applied).

    `rows` numbers the records, as in `apply`.
    """
    before = state.pool[0]["position"]
    key = np.int64(NIL)
    book = np.int64(NIL)
    status = DONE
    done = start
    for i in range(start, records.shape[0]):
        record = records[nth(i)]
        this_key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        if this_key != key:
            book = book_of(state, this_key)
            if book < 0:
                status = GROW_BOOKS
                break
            key = this_key
        if watch.used[0] == watch.orders.shape[0]:
            status = GROW_UNKNOWN
            break
        action = record["action"]
        flags = record["flags"]
        index = rows[nth(i)] if rows.shape[0] > 0 else before + i
        slot = state.books[nth(book)]
        names = action == _CANCEL or action == _MODIFY or action == _FILL
        unknown = names and slot["synced"] == 0 and flags & (_TOB | _MBP) == 0
        if unknown:
            unknown = find(state, record["order_id"], book) < 0
        added = action == _ADD and slot["synced"] == 0
        doubted = slot["suspect"] != 0 or flags & _MAYBE_BAD != 0
        status = apply_record(state, book, record, index)
        if status != DONE:
            break
        if unknown:
            testify(watch, book, key, record, index, slot["events"], doubted)
        elif added:
            found = entry(watch, record["order_id"], book)
            if found >= 0:
                watch.orders[found]["closed"] = 1
        elif action == _TRADE:
            watch.trade[0]["key"] = key
            watch.trade[0]["order_id"] = record["order_id"]
            watch.trade[0]["side"] = record["side"]
        if flags & _LAST != 0 and watch.trade[0]["key"] == key:
            watch.trade[0]["key"] = NIL
        if slot["messages"] == 0:
            watch.starts[book]["ts_event"] = record["ts_event"]
            watch.starts[book]["channel_id"] = record["channel_id"]
        settle(state, book, record, 1, np.int64(flags) >> 7)
        done = i + 1
    return status, done
