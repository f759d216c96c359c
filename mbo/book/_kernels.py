"""The book engine's inner loop: flat arrays, integers, one pass over a batch of records.

Why it is built like this (a message is about 25 ns, so a cache miss is most of one):

* One pool of 32-byte orders and one of 32-byte levels for all instruments: what a message needs of either is in one cache
  line, and an empty instrument costs a few hundred bytes.
* Orders of a level form a doubly linked list in priority order, so an order leaves from anywhere in constant time, and its
  level, with the cached sum and count, is one index away.
* Order ids are found by open addressing in a table of 32-bit pool indices, at most half full, so that a small book's table
  stays in the first-level cache; the id itself is compared in the pool, whose line is needed next anyway. Deletion shifts
  followers back, so no tombstones pile up over a day of 40 % cancels.
* Each side keeps its levels sorted with the best at the end, where nearly all changes are: a search walks a few rungs from the
  end, an insertion moves a few. The sort key of an ask is `~price`, so that one code serves both sides (and no price overflows).
* The kernels never allocate. One that finds no room returns GROW_... before it has changed anything for that record; the caller
  enlarges the arrays and enters again at the same record.

Everything here also runs, slowly, as plain Python (`NUMBA_DISABLE_JIT=1`), hence the explicit casts: numpy, like numba, turns
uint64 with int64 into float64.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel

NIL: Final = -1

ORDER_SLOT: Final = np.dtype(
    [
        ("order_id", "<u8"),
        ("ts_event", "<u8"),  # since when the order stands where it stands
        ("size", "<u4"),
        ("level", "<i4"),
        ("next", "<i4"),  # behind it in the queue; in a free slot the next free one
        ("prev", "<i4"),
    ]
)
LEVEL_SLOT: Final = np.dtype(
    [
        ("price", "<i8"),
        ("size", "<i8"),  # sum over the queue
        ("count", "<i4"),  # orders in the queue, an aggregate not counted
        ("head", "<i4"),  # front of the queue
        ("tail", "<i4"),
        ("side", "<i4"),  # index into `sides`: 2 * book, + 1 for asks; in a free slot the next free one
    ]
)
RUNG: Final = np.dtype([("key", "<i8"), ("level", "<i4"), ("unused", "<i4")])
SIDE_SLOT: Final = np.dtype([("start", "<i8"), ("length", "<i4"), ("capacity", "<i4")])
BOOK_SLOT: Final = np.dtype(
    [
        ("key", "<i8"),  # publisher_id << 32 | instrument_id
        ("ts_event", "<u8"),  # of the last record, like the next five
        ("ts_recv", "<u8"),
        ("sequence", "<u4"),
        ("flags", "u1"),
        ("channel_id", "u1"),
        ("synced", "u1"),
        ("suspect", "u1"),
        ("in_snapshot", "u1"),
        ("equal_loses", "u1"),  # whether an M of equal size at the same price goes to the back
        ("orders", "<i4"),
        ("messages", "<i8"),
        ("events", "<i8"),
    ],
    align=True,
)
ANOMALY_SLOT: Final = np.dtype(
    [("count", "<i8"), ("index", "<i8"), ("order_id", "<u8"), ("ts_event", "<u8"), ("sequence", "<u4")], align=True
)
POOL: Final = np.dtype(
    [
        ("position", "<i8"),  # records applied so far
        ("rungs", "<i8"),  # first never used one
        ("orders", "<i4"),  # likewise
        ("levels", "<i4"),
        ("books", "<i4"),
        ("free_order", "<i4"),  # heads of the free lists
        ("free_level", "<i4"),
        ("live_orders", "<i4"),
        ("strict", "u1"),
        ("equal_size", "u1"),  # EQUAL_...
    ],
    align=True,
)


class State(NamedTuple):
    """All books of one stream. Every array is one-dimensional but `anomalies`."""

    orders: npt.NDArray[Any]  # ORDER_SLOT, the pool
    table: npt.NDArray[np.int32]  # hash of (order_id, book) -> index into orders, or NIL; a power of two long
    levels: npt.NDArray[Any]  # LEVEL_SLOT, the pool
    rungs: npt.NDArray[
        Any
    ]  # RUNG, blocks of a power of two; a free block's first `level` is the next free one of its size
    free_blocks: npt.NDArray[np.int32]  # by log2 of the capacity: first rung of a free block, or NIL
    sides: npt.NDArray[Any]  # SIDE_SLOT: the block of each side of each book
    books: npt.NDArray[Any]  # BOOK_SLOT, in order of appearance
    keys: npt.NDArray[np.int32]  # hash of a book's key -> index into books, or NIL; a power of two long
    anomalies: npt.NDArray[Any]  # ANOMALY_SLOT, (books, kinds): how often, and the first record
    pool: npt.NDArray[Any]  # POOL, one element


DONE: Final = 0
GROW_ORDERS: Final = 1
GROW_LEVELS: Final = 2
GROW_RUNGS: Final = 3
GROW_BOOKS: Final = 4
BROKEN: Final = 16  # strict: BROKEN + the anomaly's number

EQUAL_BY_VENUE: Final = 0
EQUAL_LOSES: Final = 1
EQUAL_KEEPS: Final = 2
GLBX: Final = 1  # publisher_id of GLBX.MDP3

UNKNOWN_CANCEL: Final = 0
UNKNOWN_MODIFY: Final = 1
DUPLICATE_ADD: Final = 2
CANCEL_TOO_LARGE: Final = 3
CANCEL_MISMATCH: Final = 4
SIDE_CHANGE: Final = 5
BAD_SIZE: Final = 6
BAD_PRICE: Final = 7
BAD_SIDE: Final = 8
BAD_ACTION: Final = 9
IMPLIED_CLEAR: Final = 10
MAYBE_BAD_BOOK: Final = 11
KINDS: Final = 12

_A, _C, _M, _R, _T, _F, _N, _B = 65, 67, 77, 82, 84, 70, 78, 66
_LAST, _TOB, _SNAPSHOT, _MBP, _MAYBE_BAD = 128, 64, 32, 16, 4
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1
AGGREGATE: Final = 1 << 30  # marks `level` of a pool entry that stands for a whole F_TOB or F_MBP level
_FIRST_BLOCK = 3  # log2 of a side's first block of rungs
_NEAR = 12  # rungs walked from the best before a search bisects
_GOLDEN = np.uint64(0x9E3779B1)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


# ---------------------------------------------------------------- order ids -> pool


@inline
def home(order_id: Any, book: Any, mask: Any) -> Any:
    """Give the table position where a search for this id begins.

    Fibonacci hashing on 32 bits: its product fits 64, so nothing wraps and plain Python agrees. The book takes part, for ids
    may be counted per instrument.
    """
    folded = (order_id ^ (order_id >> _32) ^ (np.uint64(book) * _GOLDEN)) & _LOW
    hashed = (folded * _GOLDEN) & _LOW
    return np.int64((hashed * np.uint64(mask + 1)) >> _32)


@inline
def find(state: Any, order_id: Any, book: Any) -> Any:
    """Give the table position of an order, or NIL."""
    mask = state.table.shape[0] - 1
    position = home(order_id, book, mask)
    while True:
        slot = state.table[position]
        if slot < 0:
            return np.int64(NIL)
        order = state.orders[slot]
        if order["order_id"] == order_id and state.levels[order["level"]]["side"] >> 1 == book:
            return position
        position = (position + 1) & mask


@inline
def remember(state: Any, slot: Any, order_id: Any, book: Any) -> None:
    """Enter an order into the table."""
    mask = state.table.shape[0] - 1
    position = home(order_id, book, mask)
    while state.table[position] >= 0:
        position = (position + 1) & mask
    state.table[position] = slot


@inline
def forget(state: Any, position: Any) -> None:
    """Take the entry at `position` out, and shift back what its place had pushed on."""
    table = state.table
    mask = table.shape[0] - 1
    hole = position
    while True:
        position = (position + 1) & mask
        slot = table[position]
        if slot < 0:
            break
        order = state.orders[slot]
        wanted = home(order["order_id"], state.levels[order["level"]]["side"] >> 1, mask)
        if ((position - wanted) & mask) >= ((position - hole) & mask):
            table[hole] = slot
            hole = position
    table[hole] = NIL


@kernel
def rehash(state: Any) -> None:
    """Enter every order into a table that was just made (all NIL)."""
    for side in range(2 * state.pool[0]["books"]):
        start = state.sides[side]["start"]
        for rung in range(start, start + state.sides[side]["length"]):
            slot = state.levels[state.rungs[rung]["level"]]["head"]
            while slot >= 0:
                order = state.orders[slot]
                if order["level"] < AGGREGATE:
                    remember(state, slot, order["order_id"], np.int64(side >> 1))
                slot = order["next"]


# ---------------------------------------------------------------- levels, best at the end


@inline
def sort_key(side: Any, price: Any) -> Any:
    """Give what a level is sorted by: larger is better."""
    return price ^ -np.int64(side & 1)


@inline
def search(state: Any, side: Any, key: Any) -> Any:
    """Give the last rung of a side whose key is not above `key`; one before the block's start if there is none."""
    start = state.sides[side]["start"]
    rung = start + state.sides[side]["length"] - 1
    near = max(start, rung - _NEAR)
    while rung >= near and state.rungs[rung]["key"] > key:
        rung -= 1
    if rung >= near or rung < start:
        return rung
    low = start - 1  # bisect: the answer is in [low, rung]
    while low < rung:
        middle = (low + rung + 1) >> 1
        if state.rungs[middle]["key"] > key:
            rung = middle - 1
        else:
            low = middle
    return rung


@inline
def room(state: Any, side: Any) -> Any:
    """Say whether one more order at a new price of this side finds place: DONE, or which array has to grow first."""
    pool = state.pool[0]
    if pool["free_order"] < 0 and pool["orders"] == state.orders.shape[0]:
        return GROW_ORDERS
    if pool["free_level"] < 0 and pool["levels"] == state.levels.shape[0]:
        return GROW_LEVELS
    slot = state.sides[side]
    if slot["length"] == slot["capacity"]:
        power = block_power(slot["capacity"])
        if state.free_blocks[power] < 0 and pool["rungs"] + (1 << power) > state.rungs.shape[0]:
            return GROW_RUNGS
    return DONE


@inline
def block_power(capacity: Any) -> Any:
    """Give log2 of the block that follows one of `capacity` rungs (0 or a power of two)."""
    power = _FIRST_BLOCK
    while (1 << power) <= capacity:
        power += 1
    return power


@kernel
def enlarge(state: Any, side: Any) -> None:
    """Move a side to a block of twice the size; `room` said that there is one."""
    slot = state.sides[side]
    power = block_power(slot["capacity"])
    start = np.int64(state.free_blocks[power])
    if start >= 0:
        state.free_blocks[power] = state.rungs[start]["level"]
    else:
        start = np.int64(state.pool[0]["rungs"])
        state.pool[0]["rungs"] = start + (1 << power)
    old = np.int64(slot["start"])
    for k in range(slot["length"]):
        state.rungs[start + k] = state.rungs[old + k]
    if slot["capacity"] > 0:
        state.rungs[old]["level"] = state.free_blocks[power - 1]
        state.free_blocks[power - 1] = old
    slot["start"] = start
    slot["capacity"] = 1 << power


@inline
def level_at(state: Any, side: Any, price: Any) -> Any:
    """Give the level of a price, a new and empty one where there was none."""
    key = sort_key(side, price)
    rung = search(state, side, key)
    if rung >= state.sides[side]["start"] and state.rungs[rung]["key"] == key:
        return np.int64(state.rungs[rung]["level"])
    if state.sides[side]["length"] == state.sides[side]["capacity"]:
        before = state.sides[side]["start"]
        enlarge(state, side)
        rung += state.sides[side]["start"] - before
    pool = state.pool[0]
    level = np.int64(pool["free_level"])
    if level >= 0:
        pool["free_level"] = state.levels[level]["side"]
    else:
        level = np.int64(pool["levels"])
        pool["levels"] = level + 1
    slot = state.levels[level]
    slot["price"] = price
    slot["size"] = 0
    slot["count"] = 0
    slot["head"] = NIL
    slot["tail"] = NIL
    slot["side"] = side
    k = state.sides[side]["start"] + state.sides[side]["length"]
    while k > rung + 1:
        state.rungs[k] = state.rungs[k - 1]
        k -= 1
    state.rungs[k]["key"] = key
    state.rungs[k]["level"] = level
    state.sides[side]["length"] += 1
    return level


@inline
def drop_level(state: Any, level: Any) -> None:
    """Take an empty level out of its side."""
    slot = state.levels[level]
    side = np.int64(slot["side"])
    rung = search(state, side, sort_key(side, slot["price"]))
    end = state.sides[side]["start"] + state.sides[side]["length"] - 1
    while rung < end:
        state.rungs[rung] = state.rungs[rung + 1]
        rung += 1
    state.sides[side]["length"] -= 1
    slot["side"] = state.pool[0]["free_level"]
    state.pool[0]["free_level"] = level


# ---------------------------------------------------------------- queues


@inline
def push_back(state: Any, slot: Any, level: Any) -> None:
    """Put a pool entry at the back of a level's queue; the sum and the count are the caller's."""
    queue = state.levels[level]
    tail = queue["tail"]
    state.orders[slot]["prev"] = tail
    state.orders[slot]["next"] = NIL
    if tail >= 0:
        state.orders[tail]["next"] = slot
    else:
        queue["head"] = slot
    queue["tail"] = slot


@inline
def unlink(state: Any, slot: Any, level: Any) -> None:
    """Take a pool entry out of its level's queue; the sum and the count are the caller's."""
    queue = state.levels[level]
    after = state.orders[slot]["next"]
    before = state.orders[slot]["prev"]
    if before >= 0:
        state.orders[before]["next"] = after
    else:
        queue["head"] = after
    if after >= 0:
        state.orders[after]["prev"] = before
    else:
        queue["tail"] = before


@inline
def take_slot(state: Any) -> Any:
    """Take a free pool entry; `room` said that there is one."""
    pool = state.pool[0]
    slot = np.int64(pool["free_order"])
    if slot >= 0:
        pool["free_order"] = state.orders[slot]["next"]
    else:
        slot = np.int64(pool["orders"])
        pool["orders"] = slot + 1
    return slot


@inline
def free_slot(state: Any, slot: Any) -> None:
    """Give a pool entry back."""
    state.orders[slot]["next"] = state.pool[0]["free_order"]
    state.pool[0]["free_order"] = slot


@inline
def insert(state: Any, side: Any, record: Any) -> None:
    """Add the record's order at the back of its level; `room` said that there is place."""
    level = level_at(state, side, np.int64(record["price"]))
    slot = take_slot(state)
    order = state.orders[slot]
    order["order_id"] = record["order_id"]
    order["ts_event"] = record["ts_event"]
    order["size"] = record["size"]
    order["level"] = level
    push_back(state, slot, level)
    state.levels[level]["size"] += np.int64(record["size"])
    state.levels[level]["count"] += 1
    state.books[side >> 1]["orders"] += 1
    remember(state, slot, record["order_id"], side >> 1)


@inline
def remove(state: Any, position: Any) -> None:
    """Remove the order at a table position, and its level with the last of it."""
    slot = np.int64(state.table[position])
    forget(state, position)
    level = np.int64(state.orders[slot]["level"])
    queue = state.levels[level]
    queue["size"] -= np.int64(state.orders[slot]["size"])
    queue["count"] -= 1
    state.books[queue["side"] >> 1]["orders"] -= 1
    unlink(state, slot, level)
    free_slot(state, slot)
    if queue["head"] < 0:
        drop_level(state, level)


@kernel
def clear_side(state: Any, side: Any) -> None:
    """Remove everything from a side."""
    slot = state.sides[side]
    book = np.int64(side >> 1)
    for rung in range(slot["start"], slot["start"] + slot["length"]):
        level = state.rungs[rung]["level"]
        entry = np.int64(state.levels[level]["head"])
        while entry >= 0:
            following = np.int64(state.orders[entry]["next"])
            if state.orders[entry]["level"] < AGGREGATE:
                # forget() asks the levels of later entries for their book, so the levels are freed only below
                forget(state, find(state, state.orders[entry]["order_id"], book))
                state.books[book]["orders"] -= 1
            free_slot(state, entry)
            entry = following
        state.levels[level]["head"] = NIL
    for rung in range(slot["start"], slot["start"] + slot["length"]):
        level = state.rungs[rung]["level"]
        state.levels[level]["side"] = state.pool[0]["free_level"]
        state.pool[0]["free_level"] = level
    slot["length"] = 0


# ---------------------------------------------------------------- whole levels: F_TOB and F_MBP


@inline
def aggregate_of(state: Any, level: Any) -> Any:
    """Give the pool entry that stands for a level's aggregated size, or NIL."""
    slot = np.int64(state.levels[level]["head"])
    while slot >= 0 and state.orders[slot]["level"] < AGGREGATE:
        slot = np.int64(state.orders[slot]["next"])
    return slot


@inline
def set_aggregate(state: Any, side: Any, record: Any) -> None:
    """Set the aggregated size at the record's price; `room` said that there is place."""
    level = level_at(state, side, np.int64(record["price"]))
    slot = aggregate_of(state, level)
    if slot < 0:
        slot = take_slot(state)
        state.orders[slot]["order_id"] = 0
        state.orders[slot]["size"] = 0
        state.orders[slot]["level"] = level | AGGREGATE
        push_back(state, slot, level)
    order = state.orders[slot]
    state.levels[level]["size"] += np.int64(record["size"]) - np.int64(order["size"])
    order["size"] = record["size"]
    order["ts_event"] = record["ts_event"]


@inline
def drop_aggregate(state: Any, level: Any, slot: Any) -> None:
    """Take an aggregated size away, and its level if no orders rest there."""
    state.levels[level]["size"] -= np.int64(state.orders[slot]["size"])
    unlink(state, slot, level)
    free_slot(state, slot)
    if state.levels[level]["head"] < 0:
        drop_level(state, level)


@inline
def existing_level(state: Any, side: Any, price: Any) -> Any:
    """Give the level of a price, or NIL."""
    key = sort_key(side, price)
    rung = search(state, side, key)
    if rung >= state.sides[side]["start"] and state.rungs[rung]["key"] == key:
        return np.int64(state.rungs[rung]["level"])
    return np.int64(NIL)


@kernel
def apply_level(state: Any, book: Any, record: Any, index: Any, begins: Any) -> Any:
    """Apply an A, C or M of an F_TOB or F_MBP feed; `begins` says that an A here begins a snapshot. Returns a status."""
    action = record["action"]
    side = 2 * book + (1 if record["side"] == _A else 0)
    price = np.int64(record["price"])
    size = np.int64(record["size"])
    top = record["flags"] & _TOB != 0
    if top and action != _A:
        return note(state, book, BAD_ACTION, record, index)
    if record["side"] != _A and record["side"] != _B:
        return note(state, book, BAD_SIDE, record, index)
    if price == _UNDEF_PRICE and not top:
        return note(state, book, BAD_PRICE, record, index)
    if action != _C:
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
    if action == _C:
        if slot < 0:
            return note(state, book, UNKNOWN_CANCEL, record, index)
        drop_aggregate(state, level, slot)
        return DONE
    if size == 0 or size == _UNDEF_SIZE:
        status = note(state, book, BAD_SIZE, record, index)
        if status == DONE and slot >= 0:
            drop_aggregate(state, level, slot)
        return status
    if action == _M and slot < 0:
        status = note(state, book, UNKNOWN_MODIFY, record, index)
        if status != DONE:
            return status
    if begins and action == _A:
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
    state.books[book]["synced"] = 1
    state.books[book]["suspect"] = 0


@kernel
def begin_snapshot(state: Any, book: Any, record: Any, index: Any) -> None:
    """Empty a book for the snapshot whose first record this is; noted where it was not empty already."""
    if state.sides[2 * book]["length"] + state.sides[2 * book + 1]["length"] > 0:
        note(state, book, IMPLIED_CLEAR, record, index)
    clear(state, book)


@inline
def add(state: Any, book: Any, record: Any, index: Any, begins: Any) -> Any:
    """Apply an A; returns a status."""
    if record["side"] != _A and record["side"] != _B:
        return note(state, book, BAD_SIDE, record, index)
    if record["price"] == _UNDEF_PRICE:
        return note(state, book, BAD_PRICE, record, index)
    if record["size"] == 0 or record["size"] == _UNDEF_SIZE:
        return note(state, book, BAD_SIZE, record, index)
    side = 2 * book + (1 if record["side"] == _A else 0)
    status = room(state, side)
    if status != DONE:
        return status
    if begins:
        begin_snapshot(state, book, record, index)
    position = find(state, record["order_id"], book)
    if position >= 0:
        status = note(state, book, DUPLICATE_ADD, record, index)
        if status != DONE:
            return status
        remove(state, position)
    insert(state, side, record)
    return DONE


@inline
def cancel(state: Any, book: Any, record: Any, index: Any) -> Any:
    """Apply a C; returns a status."""
    position = find(state, record["order_id"], book)
    if position < 0:
        return note(state, book, UNKNOWN_CANCEL, record, index)
    taken = np.int64(record["size"])
    if taken == 0:
        return note(state, book, BAD_SIZE, record, index)
    order = state.orders[state.table[position]]
    level = state.levels[order["level"]]
    if level["price"] != record["price"] or record["side"] != (_A if level["side"] & 1 else _B):
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
def modify(state: Any, book: Any, record: Any, index: Any) -> Any:
    """Apply an M; returns a status."""
    if record["side"] != _A and record["side"] != _B:
        return note(state, book, BAD_SIDE, record, index)
    if record["price"] == _UNDEF_PRICE:
        return note(state, book, BAD_PRICE, record, index)
    side = 2 * book + (1 if record["side"] == _A else 0)
    status = room(state, side)
    if status != DONE:
        return status
    unsized = record["size"] == 0 or record["size"] == _UNDEF_SIZE
    position = find(state, record["order_id"], book)
    if position < 0:
        status = note(state, book, UNKNOWN_MODIFY, record, index)
        if status == DONE and unsized:
            return note(state, book, BAD_SIZE, record, index)
        if status == DONE:
            insert(state, side, record)
        return status
    if unsized:
        status = note(state, book, BAD_SIZE, record, index)
        if status == DONE:
            remove(state, position)
        return status
    slot = np.int64(state.table[position])
    order = state.orders[slot]
    level = state.levels[order["level"]]
    if level["side"] != side:
        status = note(state, book, SIDE_CHANGE, record, index)
        if status != DONE:
            return status
    if level["side"] != side or level["price"] != record["price"]:
        remove(state, position)
        insert(state, side, record)
        return DONE
    more = np.int64(record["size"]) - np.int64(order["size"])
    level["size"] += more
    order["size"] = record["size"]
    if more > 0 or (more == 0 and state.books[book]["equal_loses"]):
        order["ts_event"] = record["ts_event"]
        if order["next"] >= 0:
            unlink(state, slot, order["level"])
            push_back(state, slot, order["level"])
    return DONE


# ---------------------------------------------------------------- a batch of records


@inline
def key_home(key: Any, mask: Any) -> Any:
    """Give where the search for a book's key begins."""
    return home(np.uint64(key), 0, mask)


@kernel
def book_of(state: Any, key: Any) -> Any:
    """Give the index of a book, a new one at its first record; NIL where there is no room for it."""
    mask = state.keys.shape[0] - 1
    position = key_home(key, mask)
    while state.keys[position] >= 0:
        if state.books[state.keys[position]]["key"] == key:
            return np.int64(state.keys[position])
        position = (position + 1) & mask
    pool = state.pool[0]
    book = np.int64(pool["books"])
    if book == state.books.shape[0]:
        return np.int64(NIL)
    pool["books"] = book + 1
    state.keys[position] = book
    state.books[book]["key"] = key
    by_venue = pool["equal_size"] == EQUAL_BY_VENUE and key >> 32 == GLBX
    state.books[book]["equal_loses"] = 1 if by_venue or pool["equal_size"] == EQUAL_LOSES else 0
    return book


@kernel
def rekey(state: Any) -> None:
    """Enter every book into a table of keys that was just made (all NIL)."""
    mask = state.keys.shape[0] - 1
    for book in range(state.pool[0]["books"]):
        position = key_home(state.books[book]["key"], mask)
        while state.keys[position] >= 0:
            position = (position + 1) & mask
        state.keys[position] = book


@inline
def settle(state: Any, book: Any, last: Any, messages: Any, events: Any) -> None:
    """Write what a run of records of one book has left: kept apart from the loop, for a run is often a whole batch."""
    slot = state.books[book]
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
    in_snapshot = False
    status = DONE
    done = start
    for i in range(start, records.shape[0]):
        record = records[i]
        this_key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        if this_key != key:
            if book >= 0:
                state.books[book]["in_snapshot"] = in_snapshot
                settle(state, book, records[i - 1], i - run, events)
            book = book_of(state, this_key)
            if book < 0:
                status = GROW_BOOKS
                break
            key = this_key
            run = i
            events = np.int64(0)
            in_snapshot = state.books[book]["in_snapshot"] != 0
        action = record["action"]
        flags = record["flags"]
        index = rows[i] if rows.shape[0] > 0 else before + i
        if action == _T or action == _F or action == _N:
            pass
        elif action == _R:
            clear(state, book)
            in_snapshot = flags & _SNAPSHOT != 0
        elif action == _A or action == _C or action == _M:
            restores = flags & _SNAPSHOT != 0
            begins = restores and not in_snapshot
            if flags & (_TOB | _MBP) != 0:
                status = apply_level(state, book, record, index, begins)
            elif action == _A:
                status = add(state, book, record, index, begins)
            elif action == _C:
                status = cancel(state, book, record, index)
            else:
                status = modify(state, book, record, index)
            if status != DONE:
                break
            in_snapshot = restores
        else:
            status = note(state, book, BAD_ACTION, record, index)
            if status != DONE:
                break
        if flags & _MAYBE_BAD != 0:
            note(state, book, MAYBE_BAD_BOOK, record, index)
            state.books[book]["suspect"] = 1
        events += np.int64(flags) >> 7
        done = i + 1
    if book >= 0:
        state.books[book]["in_snapshot"] = in_snapshot
        if done > run:
            settle(state, book, records[done - 1], done - run, events)
    return status, done


# ---------------------------------------------------------------- reading a book


@kernel
def list_levels(state: Any, side: Any, out: Any) -> None:
    """Copy the best levels of a side to `out` (price, size, count), best first, as many as it holds."""
    top = state.sides[side]["start"] + state.sides[side]["length"] - 1
    for k in range(out.shape[0]):
        level = state.levels[state.rungs[top - k]["level"]]
        out[k]["price"] = level["price"]
        out[k]["size"] = np.uint64(level["size"])
        out[k]["count"] = np.uint32(level["count"])


@kernel
def list_orders(state: Any, side: Any, first: Any, last: Any, out: Any) -> int:
    """Copy the queues of levels `first` to `last` - 1 of a side to `out`, in priority order; returns how many entries.

    Those beyond the end of `out` are counted, not copied, so an empty `out` asks for the number.
    """
    top = state.sides[side]["start"] + state.sides[side]["length"] - 1
    n = 0
    for k in range(first, last):
        level = state.levels[state.rungs[top - k]["level"]]
        slot = np.int64(level["head"])
        while slot >= 0:
            order = state.orders[slot]
            if n < out.shape[0]:
                out[n]["order_id"] = order["order_id"]
                out[n]["side"] = _A if side & 1 else _B
                out[n]["price"] = level["price"]
                out[n]["size"] = order["size"]
                out[n]["ts_event"] = order["ts_event"]
                out[n]["aggregate"] = order["level"] >= AGGREGATE
            n += 1
            slot = np.int64(order["next"])
    return n


@kernel
def locate(state: Any, order_id: Any, book: Any) -> int:
    """Give the table position of an order, or NIL."""
    return int(find(state, order_id, book))


@kernel
def size_ahead(state: Any, slot: Any) -> int:
    """Sum the sizes that stand before a pool entry in its queue."""
    ahead = np.int64(0)
    slot = np.int64(state.orders[slot]["prev"])
    while slot >= 0:
        ahead += np.int64(state.orders[slot]["size"])
        slot = np.int64(state.orders[slot]["prev"])
    return int(ahead)
