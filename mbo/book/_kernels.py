"""What a record does to a book: the rules of `mbo.book.interface`, one pass over a batch of records.

An anomaly is found before anything has changed for its record, so that strict mode leaves the book as it was. The common cases come
first: A and C are nine records in ten. What the records change, and how, is in `_state_kernels`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mbo._jit import inline, kernel, nth
from mbo.book._ahead_kernels import begin_ahead, look_ahead, worth_it
from mbo.book._queue_kernels import (
    aggregate_of,
    clear_side,
    drop_aggregate,
    insert,
    join,
    leave,
    push_back,
    remove,
    set_aggregate,
    unlink,
)  # fmt: skip
from mbo.book._state_kernels import ASK, BID, DONE, GROW_BOOKS, NIL, existing_level, find, home, room

BROKEN: Final = 16  # strict: BROKEN + the anomaly's number
UNSOUGHT: Final = -(1 << 62)  # no position of an order in the table: whoever needs it looks for it

EQUAL_BY_VENUE: Final = 0
EQUAL_LOSES: Final = 1
EQUAL_KEEPS: Final = 2
GLBX: Final = 1  # publisher_id of GLBX.MDP3

# Of a plain integer numba makes a type of its own, and would compile `note` once for each.
UNKNOWN_CANCEL: Final = np.int64(0)
UNKNOWN_MODIFY: Final = np.int64(1)
DUPLICATE_ADD: Final = np.int64(2)
CANCEL_TOO_LARGE: Final = np.int64(3)
CANCEL_MISMATCH: Final = np.int64(4)
SIDE_CHANGE: Final = np.int64(5)
BAD_SIZE: Final = np.int64(6)
BAD_PRICE: Final = np.int64(7)
BAD_SIDE: Final = np.int64(8)
BAD_ACTION: Final = np.int64(9)
IMPLIED_CLEAR: Final = np.int64(10)
MAYBE_BAD_BOOK: Final = np.int64(11)

_ADD, _CANCEL, _MODIFY, _CLEAR, _TRADE, _FILL, _NONE = 65, 67, 77, 82, 84, 70, 78
_LAST, _TOB, _SNAPSHOT, _MBP, _MAYBE_BAD = 128, 64, 32, 16, 4
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1


@kernel
def apply_level(state: Any, book: Any, record: Any, index: Any, begins: Any) -> Any:
    """Apply an A, C or M of an F_TOB or F_MBP feed; `begins` says that an A here begins a snapshot. Returns a status."""
    action = record["action"]
    side = 2 * book + (1 if record["side"] == ASK else 0)
    price = np.int64(record["price"])
    size = np.int64(record["size"])
    top = record["flags"] & _TOB != 0
    if top and action != _ADD:
        return note(state, book, BAD_ACTION, record, index)
    if record["side"] != ASK and record["side"] != BID:
        return note(state, book, BAD_SIDE, record, index)
    if price == _UNDEF_PRICE and not top:
        return note(state, book, BAD_PRICE, record, index)
    if action != _CANCEL:
        status = room(state, side)
        if status != DONE:
            return status
    if top:
        if begins:
            begin_snapshot(state, book, record, index)
        clear_side(state, side)
        if price != _UNDEF_PRICE and size != 0 and size != _UNDEF_SIZE:
            set_aggregate(state, side, record)
        return DONE
    level = existing_level(state, side, price)
    slot = np.int64(NIL)
    if level >= 0:
        slot = aggregate_of(state, level)
    if action == _CANCEL:
        if slot < 0:
            return note(state, book, UNKNOWN_CANCEL, record, index)
        drop_aggregate(state, level, slot)
        return DONE
    if size == 0 or size == _UNDEF_SIZE:
        status = note(state, book, BAD_SIZE, record, index)
        if status == DONE and slot >= 0:
            drop_aggregate(state, level, slot)
        return status
    if action == _MODIFY and slot < 0:
        status = note(state, book, UNKNOWN_MODIFY, record, index)
        if status != DONE:
            return status
    if begins and action == _ADD:
        begin_snapshot(state, book, record, index)
    set_aggregate(state, side, record)
    return DONE


# ---------------------------------------------------------------- one record


@kernel
def note(state: Any, book: Any, kind: Any, record: Any, index: Any) -> Any:
    """Count an anomaly and keep its first record; in strict mode say BROKEN instead, before anything has changed."""
    if state.pool[0]["strict"] and kind != IMPLIED_CLEAR and kind != MAYBE_BAD_BOOK:
        return BROKEN + kind
    anomaly = state.anomalies[book, kind]
    if anomaly["count"] == 0:
        anomaly["index"] = index
        anomaly["order_id"] = record["order_id"]
        anomaly["ts_event"] = record["ts_event"]
        anomaly["sequence"] = record["sequence"]
    anomaly["count"] += 1
    return DONE


@kernel
def clear(state: Any, book: Any) -> None:
    """Empty a book; from here on it is known to be whole."""
    clear_side(state, 2 * book)
    clear_side(state, 2 * book + 1)
    state.books[nth(book)]["synced"] = 1
    state.books[nth(book)]["suspect"] = 0


@kernel
def begin_snapshot(state: Any, book: Any, record: Any, index: Any) -> None:
    """Empty a book for the snapshot whose first record this is; noted where it was not empty already."""
    if state.sides[nth(2 * book)]["length"] + state.sides[nth(2 * book + 1)]["length"] > 0:
        note(state, book, IMPLIED_CLEAR, record, index)
    clear(state, book)
    state.books[nth(book)]["in_snapshot"] = 1


@inline
def add(state: Any, book: Any, record: Any, index: Any, begins: Any, position: Any) -> Any:
    """Apply an A; returns a status."""
    if record["side"] != ASK and record["side"] != BID:
        return note(state, book, BAD_SIDE, record, index)
    if record["price"] == _UNDEF_PRICE:
        return note(state, book, BAD_PRICE, record, index)
    if record["size"] == 0 or record["size"] == _UNDEF_SIZE:
        return note(state, book, BAD_SIZE, record, index)
    side = 2 * book + (1 if record["side"] == ASK else 0)
    status = room(state, side)
    if status != DONE:
        return status
    if begins:
        begin_snapshot(state, book, record, index)
    if begins or position == UNSOUGHT:
        position = find(state, record["order_id"], book)
    if position >= 0:
        status = note(state, book, DUPLICATE_ADD, record, index)
        if status != DONE:
            return status
        remove(state, position)
        position = find(state, record["order_id"], book)
    insert(state, ~position, side, record)
    return DONE


@inline
def cancel(state: Any, book: Any, record: Any, index: Any, position: Any) -> Any:
    """Apply a C; returns a status."""
    if position == UNSOUGHT:
        position = find(state, record["order_id"], book)
    if position < 0:
        return note(state, book, UNKNOWN_CANCEL, record, index)
    taken = np.int64(record["size"])
    if taken == 0:
        return note(state, book, BAD_SIZE, record, index)
    order = state.orders[nth(state.table[nth(position)]["slot"])]
    level = state.levels[nth(order["level"])]
    if level["price"] != record["price"] or record["side"] != (ASK if level["side"] & 1 else BID):
        status = note(state, book, CANCEL_MISMATCH, record, index)
        if status != DONE:
            return status
    rest = np.int64(order["size"]) - taken
    if rest < 0:
        status = note(state, book, CANCEL_TOO_LARGE, record, index)
        if status != DONE:
            return status
    if rest <= 0:
        remove(state, position)
    else:
        order["size"] = rest
        level["size"] -= taken
    return DONE


@inline
def modify(state: Any, book: Any, record: Any, index: Any, position: Any) -> Any:
    """Apply an M; returns a status."""
    if record["side"] != ASK and record["side"] != BID:
        return note(state, book, BAD_SIDE, record, index)
    if record["price"] == _UNDEF_PRICE:
        return note(state, book, BAD_PRICE, record, index)
    side = 2 * book + (1 if record["side"] == ASK else 0)
    status = room(state, side)
    if status != DONE:
        return status
    unsized = record["size"] == 0 or record["size"] == _UNDEF_SIZE
    if position == UNSOUGHT:
        position = find(state, record["order_id"], book)
    if position < 0:
        status = note(state, book, UNKNOWN_MODIFY, record, index)
        if status == DONE and unsized:
            return note(state, book, BAD_SIZE, record, index)
        if status == DONE:
            insert(state, ~position, side, record)
        return status
    if unsized:
        status = note(state, book, BAD_SIZE, record, index)
        if status == DONE:
            remove(state, position)
        return status
    slot = np.int64(state.table[nth(position)]["slot"])
    order = state.orders[nth(slot)]
    level = state.levels[nth(order["level"])]
    if level["side"] != side:
        status = note(state, book, SIDE_CHANGE, record, index)
        if status != DONE:
            return status
    if level["side"] != side or level["price"] != record["price"]:
        leave(state, slot)
        join(state, slot, side, record)
        return DONE
    more = np.int64(record["size"]) - np.int64(order["size"])
    level["size"] += more
    order["size"] = record["size"]
    if more > 0 or (more == 0 and state.books[nth(book)]["equal_loses"]):
        order["ts_event"] = record["ts_event"]
        if order["next"] >= 0:
            unlink(state, slot, order["level"])
            push_back(state, slot, order["level"])
    return DONE


@inline
def apply_record(state: Any, book: Any, record: Any, index: Any, position: Any = UNSOUGHT) -> Any:
    """Apply one record; where the status that it returns is not DONE, nothing has changed.

    `position` is what `find` gives for its order, where the caller has asked already and changed nothing since.
    """
    action = record["action"]
    flags = record["flags"]
    slot = state.books[nth(book)]
    status = DONE
    if action == _TRADE or action == _FILL or action == _NONE:
        pass
    elif action == _CLEAR:
        clear(state, book)
        slot["in_snapshot"] = 1 if flags & _SNAPSHOT != 0 else 0
    elif action == _ADD or action == _CANCEL or action == _MODIFY:
        restores = flags & _SNAPSHOT != 0
        begins = restores and slot["in_snapshot"] == 0
        if flags & (_TOB | _MBP) != 0:
            status = apply_level(state, book, record, index, begins)
        elif action == _ADD:
            status = add(state, book, record, index, begins, position)
        elif action == _CANCEL:
            status = cancel(state, book, record, index, position)
        else:
            status = modify(state, book, record, index, position)
        if not restores and status == DONE:
            slot["in_snapshot"] = 0
    else:
        status = note(state, book, BAD_ACTION, record, index)
    if status == DONE:
        if flags & _LAST != 0:  # a snapshot ends with its event
            slot["in_snapshot"] = 0
        if flags & _MAYBE_BAD != 0:
            note(state, book, MAYBE_BAD_BOOK, record, index)
            slot["suspect"] = 1
    return status


# ---------------------------------------------------------------- a batch of records


@inline
def key_home(key: Any, mask: Any) -> Any:
    """Give where the search for a book's key begins."""
    return home(np.uint64(key), 0, mask)


@inline
def book_of(state: Any, key: Any) -> Any:
    """Give the index of a book, a new one at its first record; NIL where there is no room for it."""
    mask = state.keys.shape[0] - 1
    position = key_home(key, mask)
    while state.keys[nth(position)] >= 0:
        book = np.int64(state.keys[nth(position)])
        if state.books[nth(book)]["key"] == key:
            return book
        position = (position + 1) & mask
    return new_book(state, key, position)


@kernel
def new_book(state: Any, key: Any, position: Any) -> Any:
    """Enter a book at a free position of the table of keys; NIL where there is no room for it."""
    pool = state.pool[0]
    book = np.int64(pool["books"])
    if book == state.books.shape[0]:
        return np.int64(NIL)
    pool["books"] = book + 1
    state.keys[nth(position)] = book
    state.books[nth(book)]["key"] = key
    by_venue = pool["equal_size"] == EQUAL_BY_VENUE and key >> 32 == GLBX
    state.books[nth(book)]["equal_loses"] = 1 if by_venue or pool["equal_size"] == EQUAL_LOSES else 0
    return book


@kernel
def rekey(state: Any) -> None:
    """Enter every book into a table of keys that was just made (all NIL)."""
    mask = state.keys.shape[0] - 1
    for book in range(state.pool[0]["books"]):
        position = key_home(state.books[nth(book)]["key"], mask)
        while state.keys[nth(position)] >= 0:
            position = (position + 1) & mask
        state.keys[nth(position)] = book


@inline
def settle(state: Any, book: Any, last: Any, messages: Any, events: Any) -> None:
    """Write what a run of records of one book has left: kept apart from the loop, for a run is often a whole batch."""
    slot = state.books[nth(book)]
    if messages > 0:
        slot["ts_event"] = last["ts_event"]
        slot["ts_recv"] = last["ts_recv"]
        slot["sequence"] = last["sequence"]
        slot["flags"] = last["flags"]
        slot["channel_id"] = last["channel_id"]
        slot["messages"] += messages
        slot["events"] += events


@kernel
def apply(state: Any, records: Any, rows: Any, start: Any) -> tuple[int, int]:
    """Apply `records[start:]` (MBO) and return (status, how many of `records` are applied).

    `rows` (int64) numbers the records for the anomalies; empty, they are numbered on from the pool's position.
    """
    before = state.pool[0]["position"]
    key = np.int64(NIL)
    book = np.int64(NIL)
    run = start  # where the records of this book began
    events = np.int64(0)
    status = DONE
    done = start
    ahead = worth_it(state)
    if ahead:
        begin_ahead(state, records, start)
    for i in range(start, records.shape[0]):
        record = records[nth(i)]
        if ahead:
            look_ahead(state, records, i)
        this_key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        if this_key != key:
            if book >= 0:
                settle(state, book, records[nth(i - 1)], i - run, events)
            book = book_of(state, this_key)
            if book < 0:
                status = GROW_BOOKS
                break
            key = this_key
            run = i
            events = np.int64(0)
        index = rows[nth(i)] if rows.shape[0] > 0 else before + i
        status = apply_record(state, book, record, index)
        if status != DONE:
            break
        events += np.int64(record["flags"]) >> 7
        done = i + 1
    if book >= 0 and done > run:
        settle(state, book, records[nth(done - 1)], done - run, events)
    return status, done
