"""Queues of orders: how an order, or a level's aggregated size, enters and leaves, and how a book is read."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel, nth
from mbo.book._state_kernels import (
    AGGREGATE,
    ASK,
    BID,
    NIL,
    drop_level,
    find,
    forget,
    level_at,
    remember,
)  # fmt: skip

# ---------------------------------------------------------------- queues


@inline
def push_back(state: Any, slot: Any, level: Any) -> None:
    """Put a pool entry at the back of a level's queue; the sum and the count are the caller's."""
    queue = state.levels[nth(level)]
    tail = queue["tail"]
    state.orders[nth(slot)]["prev"] = tail
    state.orders[nth(slot)]["next"] = NIL
    if tail >= 0:
        state.orders[nth(tail)]["next"] = slot
    else:
        queue["head"] = slot
    queue["tail"] = slot


@inline
def unlink(state: Any, slot: Any, level: Any) -> None:
    """Take a pool entry out of its level's queue; the sum and the count are the caller's."""
    queue = state.levels[nth(level)]
    after = state.orders[nth(slot)]["next"]
    before = state.orders[nth(slot)]["prev"]
    if before >= 0:
        state.orders[nth(before)]["next"] = after
    else:
        queue["head"] = after
    if after >= 0:
        state.orders[nth(after)]["prev"] = before
    else:
        queue["tail"] = before


@inline
def take_slot(state: Any) -> Any:
    """Take a free pool entry; `room` said that there is one."""
    pool = state.pool[0]
    slot = np.int64(pool["free_order"])
    if slot >= 0:
        pool["free_order"] = state.orders[nth(slot)]["next"]
    else:
        slot = np.int64(pool["orders"])
        pool["orders"] = slot + 1
    return slot


@inline
def free_slot(state: Any, slot: Any) -> None:
    """Give a pool entry back."""
    state.orders[nth(slot)]["next"] = state.pool[0]["free_order"]
    state.pool[0]["free_order"] = slot


@inline
def join(state: Any, slot: Any, side: Any, record: Any) -> None:
    """Put an order, as the record has it, at the back of its level; `room` said that there is place for one more."""
    level = level_at(state, side, np.int64(record["price"]))
    order = state.orders[nth(slot)]
    order["ts_event"] = record["ts_event"]
    order["size"] = record["size"]
    order["level"] = level
    push_back(state, slot, level)
    state.levels[nth(level)]["size"] += np.int64(record["size"])
    state.levels[nth(level)]["count"] += 1


@inline
def leave(state: Any, slot: Any) -> None:
    """Take an order out of its level, and the level with the last of its orders."""
    level = np.int64(state.orders[nth(slot)]["level"])
    queue = state.levels[nth(level)]
    queue["size"] -= np.int64(state.orders[nth(slot)]["size"])
    queue["count"] -= 1
    unlink(state, slot, level)
    if queue["head"] < 0:
        drop_level(state, level)


@inline
def insert(state: Any, position: Any, side: Any, record: Any) -> None:
    """Add the record's order, whose place in the table `find` gave; `room` said that there is place."""
    slot = take_slot(state)
    state.orders[nth(slot)]["order_id"] = record["order_id"]
    join(state, slot, side, record)
    state.books[nth(side >> 1)]["orders"] += 1
    remember(state, position, slot, record["order_id"], side >> 1)


@inline
def remove(state: Any, position: Any) -> None:
    """Remove the order at a table position, and its level with the last of it."""
    slot = np.int64(state.table[nth(position)]["slot"])
    forget(state, position)
    state.books[nth(state.levels[nth(state.orders[nth(slot)]["level"])]["side"] >> 1)]["orders"] -= 1
    leave(state, slot)
    free_slot(state, slot)


@kernel
def clear_side(state: Any, side: Any) -> None:
    """Remove everything from a side."""
    slot = state.sides[nth(side)]
    book = np.int64(side >> 1)
    for rung in range(slot["start"], slot["start"] + slot["length"]):
        level = state.rungs[nth(rung)]["level"]
        entry = np.int64(state.levels[nth(level)]["head"])
        while entry >= 0:
            following = np.int64(state.orders[nth(entry)]["next"])
            if state.orders[nth(entry)]["level"] < AGGREGATE:
                forget(state, find(state, state.orders[nth(entry)]["order_id"], book))
                state.books[nth(book)]["orders"] -= 1
            free_slot(state, entry)
            entry = following
        state.levels[nth(level)]["head"] = NIL
    for rung in range(slot["start"], slot["start"] + slot["length"]):
        level = state.rungs[nth(rung)]["level"]
        state.levels[nth(level)]["side"] = state.pool[0]["free_level"]
        state.pool[0]["free_level"] = level
    slot["length"] = 0


# ---------------------------------------------------------------- whole levels: F_TOB and F_MBP


@inline
def aggregate_of(state: Any, level: Any) -> Any:
    """Give the pool entry that stands for a level's aggregated size, or NIL."""
    slot = np.int64(state.levels[nth(level)]["head"])
    while slot >= 0 and state.orders[nth(slot)]["level"] < AGGREGATE:
        slot = np.int64(state.orders[nth(slot)]["next"])
    return slot


@inline
def set_aggregate(state: Any, side: Any, record: Any) -> None:
    """Set the aggregated size at the record's price; `room` said that there is place."""
    level = level_at(state, side, np.int64(record["price"]))
    slot = aggregate_of(state, level)
    if slot < 0:
        slot = take_slot(state)
        state.orders[nth(slot)]["order_id"] = 0
        state.orders[nth(slot)]["size"] = 0
        state.orders[nth(slot)]["level"] = level | AGGREGATE
        push_back(state, slot, level)
    order = state.orders[nth(slot)]
    state.levels[nth(level)]["size"] += np.int64(record["size"]) - np.int64(order["size"])
    order["size"] = record["size"]
    order["ts_event"] = record["ts_event"]


@inline
def drop_aggregate(state: Any, level: Any, slot: Any) -> None:
    """Take an aggregated size away, and its level if no orders rest there."""
    state.levels[nth(level)]["size"] -= np.int64(state.orders[nth(slot)]["size"])
    unlink(state, slot, level)
    free_slot(state, slot)
    if state.levels[nth(level)]["head"] < 0:
        drop_level(state, level)


# ---------------------------------------------------------------- reading a book


@kernel
def list_levels(state: Any, side: Any, out: Any) -> None:
    """Copy the best levels of a side to `out` (price, size, count), best first, as many as it holds and there are."""
    length = state.sides[nth(side)]["length"]
    top = state.sides[nth(side)]["start"] + length - 1
    for k in range(min(out.shape[0], length)):
        level = state.levels[nth(state.rungs[nth(top - k)]["level"])]
        out[k]["price"] = level["price"]
        out[k]["size"] = np.uint64(level["size"])
        out[k]["count"] = np.uint32(level["count"])


@kernel
def list_orders(state: Any, side: Any, first: Any, last: Any, out: Any) -> int:
    """Copy the queues of levels `first` to `last` - 1 of a side to `out`, in priority order; returns how many entries.

    Those beyond the end of `out` are counted, not copied, so an empty `out` asks for the number.
    """
    length = state.sides[nth(side)]["length"]
    top = state.sides[nth(side)]["start"] + length - 1
    n = 0
    for k in range(first, min(last, length)):
        level = state.levels[nth(state.rungs[nth(top - k)]["level"])]
        slot = np.int64(level["head"])
        while slot >= 0:
            order = state.orders[nth(slot)]
            if n < out.shape[0]:
                out[n]["order_id"] = order["order_id"]
                out[n]["side"] = ASK if side & 1 else BID
                out[n]["price"] = level["price"]
                out[n]["size"] = order["size"]
                out[n]["ts_event"] = order["ts_event"]
                out[n]["aggregate"] = order["level"] >= AGGREGATE
            n += 1
            slot = np.int64(order["next"])
    return n


@kernel
def locate(state: Any, order_id: Any, book: Any) -> int:
    """Give the table position of an order; negative where it is not there."""
    return int(find(state, order_id, book))


@kernel
def size_ahead(state: Any, slot: Any) -> int:
    """Sum the sizes that stand before a pool entry in its queue."""
    ahead = np.int64(0)
    slot = np.int64(state.orders[nth(slot)]["prev"])
    while slot >= 0:
        ahead += np.int64(state.orders[nth(slot)]["size"])
        slot = np.int64(state.orders[nth(slot)]["prev"])
    return int(ahead)
