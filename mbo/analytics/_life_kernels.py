"""What becomes of every order: one row for each, written while the engine applies the records.

The engine decides what a record does; here it is only seen whether the order rested before and after. A table of ids leads to the
latest row of an order, also after it has left, for a fill may be told after the cancel it causes. Nothing is allocated: a kernel
that finds no room returns FULL before it has changed anything.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.book._kernels import apply_record, book_of, settle
from mbo.book._state_kernels import AGGREGATE, ASK, BID, DONE, GROW_BOOKS, NIL, find, home

LIFE: Final = np.dtype(
    [
        ("key", "<i8"),  # publisher_id << 32 | instrument_id
        ("order_id", "<u8"),
        ("price", "<i8"),  # at its beginning, UNDEF where only fills were seen
        ("ts_entered", "<u8"),  # ns UTC, ts_event like the next two; UNDEF where it has not happened, or was not seen
        ("ts_first_fill", "<u8"),
        ("ts_ended", "<u8"),
        ("queue_ahead", "<i8"),  # at its beginning, NIL where that was not seen
        ("distance", "<i8"),  # of its price from the best before it (1e-9, negative: better), UNDEF where unknown
        ("filled", "<i8"),
        ("pending", "<i8"),  # filled in event `event`, and not yet told by a C or M
        ("event", "<i8"),
        ("size", "<u4"),  # shown at its beginning
        ("modifies", "<u4"),
        ("book", "<i4"),
        ("clear", "<i4"),  # the number of the clear that ended it
        ("side", "u1"),
        ("began", "u1"),  # ADDED ...
        ("outcome", "u1"),  # OPEN ...
    ],
    align=True,
)
ADDED: Final = 0
SNAPSHOT: Final = 1  # restored by a snapshot, so there before it
UNKNOWN: Final = 2  # named by an M, C or F without having been seen to enter
MOVED: Final = 3  # one place after another of the same order

OPEN: Final = 0
FILLED: Final = 1
CANCELLED: Final = 2
MODIFIED: Final = 3  # lost this place by an M
CLEARED: Final = 4
REPLACED: Final = 5  # by an A of the same id
UNSEEN: Final = 6  # fills of it were seen, it never was in the book

FULL: Final = 8


class Lives(NamedTuple):
    """The rows so far, and what leads to them."""

    rows: npt.NDArray[Any]  # LIFE
    table: npt.NDArray[np.int32]  # hash of (order_id, book) -> its latest row, or NIL; a power of two long
    used: npt.NDArray[np.int64]  # [1]: rows in use
    clears: npt.NDArray[np.int64]  # how often each book was cleared
    places: bool  # a row for every place that an order had in a queue, not one for the order


_ADD, _CANCEL, _MODIFY, _CLEAR, _FILL = 65, 67, 77, 82, 70
_TOB, _SNAPSHOT, _MBP = 64, 32, 16
_UNDEF_PRICE = 2**63 - 1
_HALF = 2**62 - 1
_UNDEF_SIZE = 2**32 - 1
_UNDEF_TIME = np.uint64(2**64 - 1)


@inline
def spot(lives: Any, order_id: Any, book: Any) -> Any:
    """Give the table position of an order's row, or the free one where it belongs."""
    mask = lives.table.shape[0] - 1
    position = home(order_id, book, mask)
    while lives.table[position] >= 0:
        row = lives.rows[lives.table[position]]
        if row["order_id"] == order_id and row["book"] == book:
            break
        position = (position + 1) & mask
    return position


@kernel
def reindex(lives: Any) -> None:
    """Enter every order's latest row into a table that was just made (all NIL)."""
    for number in range(lives.used[0]):
        row = lives.rows[number]
        lives.table[spot(lives, row["order_id"], np.int64(row["book"]))] = number


@inline
def begin(state: Any, lives: Any, position: Any, book: Any, record: Any, began: Any, outcome: Any) -> Any:
    """Write a new row at a table position and return its number."""
    number = lives.used[0]
    lives.used[0] = number + 1
    lives.table[position] = number
    row = lives.rows[number]
    row["key"] = state.books[nth(book)]["key"]
    row["order_id"] = record["order_id"]
    row["price"] = record["price"]
    row["ts_entered"] = _UNDEF_TIME if began == UNKNOWN else record["ts_event"]
    row["ts_first_fill"] = _UNDEF_TIME
    row["ts_ended"] = _UNDEF_TIME
    row["queue_ahead"] = NIL
    row["distance"] = _UNDEF_PRICE
    row["filled"] = 0
    row["pending"] = 0
    row["event"] = NIL
    row["size"] = record["size"]
    row["modifies"] = 0
    row["book"] = book
    row["clear"] = 0
    row["side"] = record["side"]
    row["began"] = began
    row["outcome"] = outcome
    return number


@inline
def join_queue(state: Any, lives: Any, number: Any, slot: Any, distance: Any) -> None:
    """Note where in the queue an order begins that has just come to its back."""
    order = state.orders[nth(slot)]
    lives.rows[number]["queue_ahead"] = state.levels[nth(order["level"])]["size"] - np.int64(order["size"])
    lives.rows[number]["distance"] = distance


@inline
def end(row: Any, outcome: Any, record: Any) -> None:
    row["outcome"] = outcome
    row["ts_ended"] = record["ts_event"]


@inline
def pending(state: Any, row: Any, book: Any) -> Any:
    """Give what fills of this event have not yet been told by a C or M."""
    return row["pending"] if row["event"] == state.books[nth(book)]["events"] else np.int64(0)


@inline
def distance_from_best(state: Any, side: Any, price: Any) -> Any:
    """Give how far a price is behind the best of its side; UNDEF where the side is empty, or where no int64 holds it."""
    slot = state.sides[nth(side)]
    if slot["length"] == 0:
        return np.int64(_UNDEF_PRICE)
    best = state.levels[nth(state.rungs[nth(slot["start"] + slot["length"] - 1)]["level"])]["price"]
    if abs((price >> 1) - (best >> 1)) >= _HALF:
        return np.int64(_UNDEF_PRICE)
    return price - best if side & 1 else best - price


@inline
def sized(record: Any) -> Any:
    return record["size"] != 0 and record["size"] != _UNDEF_SIZE


@inline
def accepted(record: Any) -> Any:
    """Say whether the engine does anything for an A, C or M of an order that rests."""
    if record["action"] == _CANCEL:
        return record["size"] != 0
    if (record["side"] != ASK and record["side"] != BID) or record["price"] == _UNDEF_PRICE:
        return False
    return record["action"] == _MODIFY or sized(record)


@inline
def clears(state: Any, book: Any, record: Any) -> Any:
    """Say whether the engine will empty the book for this record: an R, or the first A of a snapshot that it does not refuse."""
    if record["action"] == _CLEAR:
        return True
    flags = record["flags"]
    if record["action"] != _ADD or flags & _SNAPSHOT == 0 or state.books[nth(book)]["in_snapshot"] != 0:
        return False
    if record["side"] != ASK and record["side"] != BID:
        return False
    return flags & _TOB != 0 or (record["price"] != _UNDEF_PRICE and sized(record))


@kernel
def end_sides(state: Any, lives: Any, book: Any, record: Any, first: Any, stop: Any) -> None:
    """End the rows of all orders that rest on sides `first` to `stop` - 1, which are a book's."""
    lives.clears[book] += 1
    for side in range(first, stop):
        start = state.sides[nth(side)]["start"]
        for rung in range(start, start + state.sides[nth(side)]["length"]):
            slot = np.int64(state.levels[nth(state.rungs[nth(rung)]["level"])]["head"])
            while slot >= 0:
                order = state.orders[nth(slot)]
                if order["level"] < AGGREGATE:
                    row = lives.rows[lives.table[spot(lives, order["order_id"], book)]]
                    end(row, CLEARED, record)
                    row["clear"] = lives.clears[book]
                slot = np.int64(order["next"])


@inline
def note_fill(state: Any, lives: Any, book: Any, record: Any) -> None:
    """Add an F to its order's row, whether or not that order was ever seen."""
    if not sized(record):
        return
    position = spot(lives, record["order_id"], book)
    number = np.int64(lives.table[position])
    if number < 0:
        number = begin(state, lives, position, book, record, UNKNOWN, UNSEEN)
        lives.rows[number]["price"] = _UNDEF_PRICE  # of an F it is the trade's
    row = lives.rows[number]
    row["pending"] = pending(state, row, book) + np.int64(record["size"])
    row["event"] = state.books[nth(book)]["events"]
    row["filled"] += np.int64(record["size"])
    if row["ts_first_fill"] == _UNDEF_TIME:
        row["ts_first_fill"] = record["ts_event"]


@inline
def note_unknown_cancel(state: Any, lives: Any, book: Any, record: Any) -> None:
    """End an order that rested before it was first named."""
    position = spot(lives, record["order_id"], book)
    number = np.int64(lives.table[position])
    if number < 0:
        number = begin(state, lives, position, book, record, UNKNOWN, UNSEEN)
    row = lives.rows[number]
    if row["outcome"] == UNSEEN:
        row["price"] = record["price"]
        end(row, FILLED if pending(state, row, book) >= record["size"] else CANCELLED, record)


@inline
def note_entry(state: Any, lives: Any, book: Any, record: Any, slot: Any, distance: Any) -> None:
    """Begin the row of an order that has come into the book, or take up the one it had."""
    position = spot(lives, record["order_id"], book)
    number = np.int64(lives.table[position])
    restored = record["action"] == _ADD and record["flags"] & _SNAPSHOT != 0
    if number >= 0:
        row = lives.rows[number]
        if restored and row["outcome"] == CLEARED and row["clear"] == lives.clears[book]:
            row["outcome"] = OPEN
            row["ts_ended"] = _UNDEF_TIME
            return
        if record["action"] == _MODIFY and row["outcome"] == UNSEEN:
            row["outcome"] = OPEN
            row["price"] = record["price"]
            row["modifies"] += 0 if pending(state, row, book) > 0 else 1
            row["pending"] = 0
            return
    if record["action"] == _MODIFY:
        number = begin(state, lives, position, book, record, UNKNOWN, OPEN)
        lives.rows[number]["modifies"] = 1
    elif restored:
        begin(state, lives, position, book, record, SNAPSHOT, OPEN)
    else:
        number = begin(state, lives, position, book, record, ADDED, OPEN)
        join_queue(state, lives, number, slot, distance)


@inline
def note_change(
    state: Any, lives: Any, book: Any, record: Any, slot: Any, distance: Any, shown: Any, moved: Any
) -> None:
    """Note what an A, C or M has done to an order that rests before and after it; `shown` is the size it had."""
    position = spot(lives, record["order_id"], book)
    row = lives.rows[lives.table[position]]
    if record["action"] == _ADD:
        end(row, REPLACED, record)
        number = begin(state, lives, position, book, record, ADDED, OPEN)
        join_queue(state, lives, number, slot, distance)
        return
    told = pending(state, row, book)
    row["modifies"] += 0 if told > 0 else 1
    row["pending"] = 0
    if moved and lives.places:
        end(row, FILLED if told >= shown else MODIFIED, record)
        number = begin(state, lives, position, book, record, MOVED, OPEN)
        join_queue(state, lives, number, slot, distance)


@kernel
def follow(state: Any, lives: Any, records: Any, start: Any) -> tuple[int, int]:
    """Apply `records[start:]` and write what becomes of their orders; returns (status, how many of them are applied)."""
    key = np.int64(NIL)
    book = np.int64(NIL)
    status = DONE
    done = start
    for i in range(start, records.shape[0]):
        if lives.used[0] == lives.rows.shape[0]:
            status = FULL
            break
        record = records[nth(i)]
        this_key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        if this_key != key:
            book = book_of(state, this_key)
            if book < 0:
                status = GROW_BOOKS
                break
            key = this_key
        action = record["action"]
        clearing = clears(state, book, record)
        changes = (action == _ADD or action == _CANCEL or action == _MODIFY) and record["flags"] & (_TOB | _MBP) == 0
        rested = False
        moved: Any = False
        shown = np.int64(0)
        distance = np.int64(_UNDEF_PRICE)
        side = 2 * book + (1 if record["side"] == ASK else 0)
        if clearing:
            end_sides(state, lives, book, record, 2 * book, 2 * book + 2)
        elif action == _ADD and record["flags"] & _TOB != 0 and (record["side"] == ASK or record["side"] == BID):
            end_sides(state, lives, book, record, side, side + 1)  # it is all that is known of its side
        elif changes:
            if action != _CANCEL and record["price"] != _UNDEF_PRICE:
                distance = distance_from_best(state, side, np.int64(record["price"]))
            position = find(state, record["order_id"], book)
            if position >= 0:
                rested = True
                order = state.orders[nth(state.table[nth(position)]["slot"])]
                level = state.levels[nth(order["level"])]
                shown = np.int64(order["size"])
                size = np.int64(record["size"])
                moved = level["side"] != side or level["price"] != record["price"] or size > shown
                moved = moved or (size == shown and state.books[nth(book)]["equal_loses"] != 0)
        status = apply_record(state, book, record, i)
        if status != DONE:
            break
        if action == _FILL:
            note_fill(state, lives, book, record)
        elif changes:
            position = find(state, record["order_id"], book)
            if position >= 0 and rested:
                if accepted(record):
                    note_change(state, lives, book, record, state.table[nth(position)]["slot"], distance, shown, moved)
            elif position >= 0:
                note_entry(state, lives, book, record, state.table[nth(position)]["slot"], distance)
            elif rested:
                row = lives.rows[lives.table[spot(lives, record["order_id"], book)]]
                told = pending(state, row, book)
                end(row, FILLED if told >= shown and action == _CANCEL else CANCELLED, record)
            elif action == _CANCEL and record["size"] != 0:
                note_unknown_cancel(state, lives, book, record)
        settle(state, book, record, 1, np.int64(record["flags"]) >> 7)
        done = i + 1
    return status, done
