"""The book engine's inner loop: flat arrays, integers, one pass over a batch of records.

Why it is built like this (a message is about 25 ns, so a cache miss is most of one):

* One pool of 32-byte orders and one of 32-byte levels for all instruments: what a message needs of either is in one cache
  line, and an empty instrument costs a few hundred bytes.
* Orders of a level form a doubly linked list in priority order, so an order leaves from anywhere in constant time, and its
  level, with the cached sum and count, is one index away.
* Order ids are found by open addressing in a table of pool index and hash, at most half full: an order's line is touched only
  where the hash agrees, and is then needed anyway. Deletion shifts followers back, by their hashes alone, so no tombstones pile
  up over a day of 40 % cancels; and a larger table is filled from the smaller one in order, without an order being looked at.
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

from mbo._jit import inline, kernel, nth

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
ENTRY_SLOT: Final = np.dtype(
    [("slot", "<i4"), ("hash", "<u4")]
)  # of an order: its place in the pool, or NIL; of its id and book
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
        ("unused", "<i8"),  # a cache line each
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
        ("ahead_from", "<i4"),  # from so many orders on, later records are looked at; see `_ahead_kernels`
        ("strict", "u1"),
        ("equal_size", "u1"),  # EQUAL_...
    ],
    align=True,
)


class State(NamedTuple):
    """All books of one stream. Every array is one-dimensional but `anomalies`."""

    orders: npt.NDArray[Any]  # ORDER_SLOT, the pool
    table: npt.NDArray[Any]  # ENTRY_SLOT, by the hash of (order_id, book); a power of two long
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
    ahead: npt.NDArray[np.int64]  # what has been found out about the records to come; see `_ahead_kernels`


DONE: Final = 0
GROW_ORDERS: Final = 1
GROW_LEVELS: Final = 2
GROW_RUNGS: Final = 3
GROW_BOOKS: Final = 4

AGGREGATE: Final = 1 << 30  # marks `level` of a pool entry that stands for a whole F_TOB or F_MBP level
ASK, BID = 65, 66  # the letters' codes
_FIRST_BLOCK = 3  # log2 of a side's first block of rungs
_NEAR = 12  # rungs walked from the best before a search bisects
_GOLDEN = np.uint64(0x9E3779B1)  # odd numbers without a pattern
_SILVER = np.uint64(0x85EBCA6B)
_BRONZE = np.uint64(0xC2B2AE35)
_COPPER = np.uint64(0xCC9E2D51)  # for the second product: GOLDEN twice would be nearly 0
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


# ---------------------------------------------------------------- order ids -> pool


@inline
def hash_of(order_id: Any, book: Any) -> Any:
    """Give the hash (32 bits) of an order's id and book.

    The halves of the id and the book are multiplied apart, for ids may be counted per instrument, or differ in one half only. Every
    factor is odd, so of one id no two books have the same hash: id and hash together say which order it is. All products are of 32
    bits, so that nothing wraps and plain Python agrees.
    """
    mixed = ((order_id & _LOW) * _GOLDEN) ^ ((order_id >> _32) * _SILVER) ^ (np.uint64(book) * _BRONZE)
    return ((mixed & _LOW) * _COPPER) & _LOW


@inline
def spread(hashed: Any, mask: Any) -> Any:
    """Give the position where a search for this hash begins."""
    return np.int64((np.uint64(hashed) * np.uint64(mask + 1)) >> _32)


@inline
def home(order_id: Any, book: Any, mask: Any) -> Any:
    """Give the table position where a search for this id begins."""
    return spread(hash_of(order_id, book), mask)


@inline
def find(state: Any, order_id: Any, book: Any) -> Any:
    """Give the table position of an order, or where it would be entered as ~position (negative)."""
    mask = state.table.shape[0] - 1
    hashed = hash_of(order_id, book)
    position = spread(hashed, mask)
    while True:
        entry = state.table[nth(position)]
        if entry["slot"] < 0:
            return ~position
        if entry["hash"] == hashed and state.orders[nth(entry["slot"])]["order_id"] == order_id:
            return position
        position = (position + 1) & mask


@inline
def remember(state: Any, position: Any, slot: Any, order_id: Any, book: Any) -> None:
    """Enter an order into the table, at the free position that `find` gave."""
    entry = state.table[nth(position)]
    entry["slot"] = slot
    entry["hash"] = hash_of(order_id, book)


@inline
def forget(state: Any, position: Any) -> None:
    """Take the entry at `position` out, and shift back what its place had pushed on."""
    table = state.table
    mask = table.shape[0] - 1
    hole = position
    while True:
        position = (position + 1) & mask
        entry = table[nth(position)]
        if entry["slot"] < 0:
            break
        wanted = spread(entry["hash"], mask)
        if ((position - wanted) & mask) >= ((position - hole) & mask):
            table[nth(hole)] = entry
            hole = position
    table[nth(hole)]["slot"] = NIL


@kernel
def rehash(old: Any, new: Any) -> None:
    """Enter every order of a table into a larger one that was just made (all NIL): both are gone through in order."""
    mask = new.shape[0] - 1
    for k in range(old.shape[0]):
        if old[nth(k)]["slot"] >= 0:
            position = spread(old[nth(k)]["hash"], mask)
            while new[nth(position)]["slot"] >= 0:
                position = (position + 1) & mask
            new[nth(position)] = old[nth(k)]


# ---------------------------------------------------------------- levels, best at the end


@inline
def sort_key(side: Any, price: Any) -> Any:
    """Give what a level is sorted by: larger is better."""
    return price ^ -np.int64(side & 1)


@inline
def search(state: Any, side: Any, key: Any) -> Any:
    """Give the last rung of a side whose key is not above `key`; one before the block's start if there is none."""
    start = state.sides[nth(side)]["start"]
    rung = start + state.sides[nth(side)]["length"] - 1
    near = max(start, rung - _NEAR)
    while rung >= near and state.rungs[nth(rung)]["key"] > key:
        rung -= 1
    if rung >= near or rung < start:
        return rung
    low = start - 1  # bisect: the answer is in [low, rung]
    while low < rung:
        middle = (low + rung + 1) >> 1
        if state.rungs[nth(middle)]["key"] > key:
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
    slot = state.sides[nth(side)]
    if slot["length"] == slot["capacity"]:
        power = block_power(slot["capacity"])
        if state.free_blocks[nth(power)] < 0 and pool["rungs"] + (1 << power) > state.rungs.shape[0]:
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
    slot = state.sides[nth(side)]
    power = block_power(slot["capacity"])
    start = np.int64(state.free_blocks[nth(power)])
    if start >= 0:
        state.free_blocks[nth(power)] = state.rungs[nth(start)]["level"]
    else:
        start = np.int64(state.pool[0]["rungs"])
        state.pool[0]["rungs"] = start + (1 << power)
    old = np.int64(slot["start"])
    for k in range(slot["length"]):
        state.rungs[nth(start + k)] = state.rungs[nth(old + k)]
    if slot["capacity"] > 0:
        state.rungs[nth(old)]["level"] = state.free_blocks[nth(power - 1)]
        state.free_blocks[nth(power - 1)] = old
    slot["start"] = start
    slot["capacity"] = 1 << power


@inline
def level_at(state: Any, side: Any, price: Any) -> Any:
    """Give the level of a price, a new and empty one where there was none."""
    key = sort_key(side, price)
    rung = search(state, side, key)
    if rung >= state.sides[nth(side)]["start"] and state.rungs[nth(rung)]["key"] == key:
        return np.int64(state.rungs[nth(rung)]["level"])
    if state.sides[nth(side)]["length"] == state.sides[nth(side)]["capacity"]:
        before = state.sides[nth(side)]["start"]
        enlarge(state, side)
        rung += state.sides[nth(side)]["start"] - before
    pool = state.pool[0]
    level = np.int64(pool["free_level"])
    if level >= 0:
        pool["free_level"] = state.levels[nth(level)]["side"]
    else:
        level = np.int64(pool["levels"])
        pool["levels"] = level + 1
    slot = state.levels[nth(level)]
    slot["price"] = price
    slot["size"] = 0
    slot["count"] = 0
    slot["head"] = NIL
    slot["tail"] = NIL
    slot["side"] = side
    k = state.sides[nth(side)]["start"] + state.sides[nth(side)]["length"]
    while k > rung + 1:
        state.rungs[nth(k)] = state.rungs[nth(k - 1)]
        k -= 1
    state.rungs[nth(k)]["key"] = key
    state.rungs[nth(k)]["level"] = level
    state.sides[nth(side)]["length"] += 1
    return level


@inline
def existing_level(state: Any, side: Any, price: Any) -> Any:
    """Give the level of a price, or NIL."""
    key = sort_key(side, price)
    rung = search(state, side, key)
    if rung >= state.sides[nth(side)]["start"] and state.rungs[nth(rung)]["key"] == key:
        return np.int64(state.rungs[nth(rung)]["level"])
    return np.int64(NIL)


@inline
def drop_level(state: Any, level: Any) -> None:
    """Take an empty level out of its side."""
    slot = state.levels[nth(level)]
    side = np.int64(slot["side"])
    rung = search(state, side, sort_key(side, slot["price"]))
    end = state.sides[nth(side)]["start"] + state.sides[nth(side)]["length"] - 1
    while rung < end:
        state.rungs[nth(rung)] = state.rungs[nth(rung + 1)]
        rung += 1
    state.sides[nth(side)]["length"] -= 1
    slot["side"] = state.pool[0]["free_level"]
    state.pool[0]["free_level"] = level
