"""Where chosen orders stand in their queues, event by event, and where estimators that see prices only believe them to stand.

The engine applies the records. Whoever is watched marks the level it comes to; only marked levels are noted when a record touches
them, and only those are walked when the event ends. Nothing is allocated: a kernel that finds no room says which array is too
small.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.analytics._life_kernels import accepted
from mbo.book._kernels import apply_record, book_of, settle
from mbo.book._state_kernels import AGGREGATE, ASK, BID, DONE, GROW_BOOKS, NIL, existing_level, find, home

WATCHED: Final = np.dtype(
    [
        ("watch", "u1"),  # NOT ...
        ("filled", "u1"),  # whether a part of it was filled at this place
        ("others", "<i8"),  # size of the others at its price after the last event
    ],
    align=True,
)
NOT: Final = 0
NEW: Final = 1  # came to its place in this event
FOLLOWED: Final = 2

MARK: Final = np.dtype(
    [("price", "<i8"), ("side", "<i8"), ("used", "<i8")]
)  # side as in the engine: 2 * book, + 1 for asks
TOUCH: Final = np.dtype([("price", "<i8"), ("side", "<i8"), ("traded", "<i8")])
ROW: Final = np.dtype(
    [
        ("key", "<i8"),
        ("ts_recv", "<u8"),  # of the event's last record
        ("ts_event", "<u8"),
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("orders_ahead", "<u4"),
        ("queue_ahead", "<i8"),
        ("queue_behind", "<i8"),
        ("side", "u1"),
        ("watch", "u1"),  # NEW in the first row of a place
        ("filled", "u1"),
        ("depth", "u1"),  # levels that are better, DEEP or more of them
    ],
    align=True,
)
DEEP: Final = 10

TRUE: Final = 0
RISK_AVERSE: Final = 1
LOG: Final = 2
POWER: Final = 3

FULL: Final = 8  # no room for the rows that the next record may bring
FULL_TOUCHES: Final = 9


class Watch(NamedTuple):
    """Who is watched, and what was seen."""

    ids: npt.NDArray[np.uint64]  # sorted; empty: every order whose id hashes to 0 of `one_in`
    one_in: int
    orders: npt.NDArray[Any]  # WATCHED, one for each entry of the engine's pool of orders
    estimates: npt.NDArray[np.float64]  # (pool of orders, models): size ahead
    marks: npt.NDArray[Any]  # MARK, one for each entry of the engine's pool of levels
    touches: npt.NDArray[Any]  # TOUCH, (books, room): marked levels that the present event of a book has touched
    touched: npt.NDArray[np.int64]  # how many, by book
    kinds: npt.NDArray[np.int64]  # (models,): TRUE ...
    exponents: npt.NDArray[np.float64]  # (models,)
    rows: npt.NDArray[Any]  # ROW
    row_estimates: npt.NDArray[np.float64]  # (rows, models)
    used: npt.NDArray[np.int64]  # [1]: rows in use


_ADD, _CANCEL, _MODIFY, _TRADE, _FILL = 65, 67, 77, 84, 70
_LAST, _TOB, _MBP = 128, 64, 16


# ---------------------------------------------------------------- the estimators


@inline
def weight(size: Any, kind: Any, exponent: Any) -> Any:
    """Give f of Rigtorp's p = f(ahead) / (f(ahead) + f(behind))."""
    if kind == LOG:
        return np.log1p(size)
    return size**exponent


@inline
def advance(ahead: Any, others: Any, traded: Any, left: Any, kind: Any, exponent: Any) -> Any:
    """Estimate the size ahead after an event: `others` stood at the price before it, `traded` of it traded, `left` are left."""
    ahead = max(ahead - traded, 0.0)
    rest = max(others - traded, 0.0)
    cancelled = rest - left
    if cancelled > 0.0 and kind != RISK_AVERSE:
        front = weight(ahead, kind, exponent)
        back = weight(max(rest - ahead, 0.0), kind, exponent)
        if front + back > 0.0:
            ahead = max(ahead - cancelled * front / (front + back), 0.0)
    return min(ahead, left)


@kernel
def advance_all(others: Any, traded: Any, kind: Any, exponent: Any, ahead: Any) -> None:
    """Estimate the size ahead after each event of one order, in place: `ahead[0]` is where it began.

    `others[i]` is the size of the others after event i, negative where it was not visible, `traded[i]` what traded in it.
    """
    last = others[0]
    unseen = 0.0  # traded while the level was not visible
    for i in range(1, others.shape[0]):
        unseen += traded[i]
        if others[i] < 0.0:
            ahead[i] = ahead[i - 1]
        else:
            ahead[i] = advance(ahead[i - 1], last, unseen, others[i], kind, exponent)
            last = others[i]
            unseen = 0.0


# ---------------------------------------------------------------- who is watched


@inline
def is_watched(watch: Any, order_id: Any) -> Any:
    """Say whether an order is one of the chosen."""
    if watch.one_in > 0:
        return home(order_id, 0, np.int64(watch.one_in) - 1) == 0
    low = 0
    high = watch.ids.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if watch.ids[middle] < order_id:
            low = middle + 1
        else:
            high = middle
    return low < watch.ids.shape[0] and watch.ids[low] == order_id


@inline
def is_marked(state: Any, watch: Any, level: Any) -> Any:
    """Say whether somebody who is watched came to this level; a slot that now is another price's level is not marked any more."""
    mark = watch.marks[level]
    return (
        mark["used"] != 0
        and mark["price"] == state.levels[nth(level)]["price"]
        and mark["side"] == state.levels[nth(level)]["side"]
    )


@inline
def touch(state: Any, watch: Any, book: Any, level: Any, traded: Any) -> None:
    """Note that the present event touches a level, if it is marked."""
    if not is_marked(state, watch, level):
        return
    price = state.levels[nth(level)]["price"]
    side = np.int64(state.levels[nth(level)]["side"])
    count = watch.touched[book]
    for k in range(count):
        entry = watch.touches[book, k]
        if entry["price"] == price and entry["side"] == side:
            entry["traded"] += traded
            return
    entry = watch.touches[book, count]
    entry["price"] = price
    entry["side"] = side
    entry["traded"] = traded
    watch.touched[book] = count + 1


@inline
def arrive(state: Any, watch: Any, book: Any, record: Any, slot: Any) -> None:
    """Watch an order that has come to the back of a queue, or do not, and touch its level."""
    level = np.int64(state.orders[nth(slot)]["level"])
    watch.orders[slot]["watch"] = NOT
    if is_watched(watch, record["order_id"]):
        watch.orders[slot]["watch"] = NEW
        watch.orders[slot]["filled"] = 0
        mark = watch.marks[level]
        mark["price"] = state.levels[nth(level)]["price"]
        mark["side"] = state.levels[nth(level)]["side"]
        mark["used"] = 1
    touch(state, watch, book, level, np.int64(0))


@inline
def trade(state: Any, watch: Any, book: Any, record: Any) -> None:
    """Note a T at the level that it met: the aggressor's other side, or either where it has none."""
    for side in range(2 * book, 2 * book + 2):
        met = ASK if side & 1 else BID
        if record["side"] != met:
            level = existing_level(state, side, np.int64(record["price"]))
            if level >= 0:
                touch(state, watch, book, level, np.int64(record["size"]))


# ---------------------------------------------------------------- the end of an event


@inline
def depth_of(state: Any, side: Any, price: Any) -> Any:
    """Count the levels of a side that are better than a price, DEEP at most."""
    slot = state.sides[nth(side)]
    top = slot["start"] + slot["length"] - 1
    for depth in range(np.int64(min(DEEP, slot["length"]))):
        if state.levels[nth(state.rungs[nth(top - depth)]["level"])]["price"] == price:
            return depth
    return DEEP


@inline
def note(
    state: Any, watch: Any, book: Any, record: Any, slot: Any, touched: Any, ahead: Any, before: Any, depth: Any
) -> None:
    """Write the row of an order with `ahead` and `before` (size and orders) in front of it, and move its estimates on."""
    order = state.orders[nth(slot)]
    own = watch.orders[slot]
    level = state.levels[nth(order["level"])]
    others = level["size"] - np.int64(order["size"])
    row = watch.rows[watch.used[0]]
    row["key"] = state.books[nth(book)]["key"]
    row["ts_recv"] = record["ts_recv"]
    row["ts_event"] = record["ts_event"]
    row["order_id"] = order["order_id"]
    row["price"] = level["price"]
    row["size"] = order["size"]
    row["orders_ahead"] = before
    row["queue_ahead"] = ahead
    row["queue_behind"] = others - ahead
    row["side"] = ASK if level["side"] & 1 else BID
    row["watch"] = own["watch"]
    row["filled"] = own["filled"]
    row["depth"] = depth
    for model in range(watch.kinds.shape[0]):
        estimate: Any = np.float64(ahead)  # whoever comes to a place knows what stands there
        if own["watch"] == NEW or watch.kinds[model] == TRUE:
            pass
        elif own["filled"] != 0:
            estimate = 0.0  # it has been filled in part, so it was in front
        else:
            estimate = advance(
                watch.estimates[slot, model], np.float64(own["others"]), np.float64(touched["traded"]), np.float64(others),
                watch.kinds[model], watch.exponents[model],
            )  # fmt: skip
        watch.estimates[slot, model] = estimate
        watch.row_estimates[watch.used[0], model] = estimate
    own["watch"] = FOLLOWED
    own["others"] = others
    watch.used[0] += 1


@kernel
def end_event(state: Any, watch: Any, book: Any, record: Any) -> None:
    """Walk the queues of the levels that the event has touched."""
    for k in range(watch.touched[book]):
        touched = watch.touches[book, k]
        side = np.int64(touched["side"])
        level = existing_level(state, side, np.int64(touched["price"]))
        if level < 0:
            continue
        depth = depth_of(state, side, touched["price"])
        ahead = np.int64(0)
        before = 0
        slot = np.int64(state.levels[nth(level)]["head"])
        while slot >= 0:
            order = state.orders[nth(slot)]
            if order["level"] < AGGREGATE:
                if watch.orders[slot]["watch"] != NOT:
                    note(state, watch, book, record, slot, touched, ahead, before, depth)
                before += 1
            ahead += np.int64(order["size"])
            slot = np.int64(order["next"])
    watch.touched[book] = 0


@kernel
def observe(state: Any, watch: Any, records: Any, start: Any) -> tuple[int, int]:
    """Apply `records[start:]` and write a row for every watched order whose level an event has touched, at the event's end.

    Returns (status, how many of `records` are applied).
    """
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
        if watch.used[0] + state.books[nth(book)]["orders"] >= watch.rows.shape[0]:
            status = FULL
            break
        if watch.touched[book] + 2 > watch.touches.shape[1]:
            status = FULL_TOUCHES
            break
        action = record["action"]
        flags = record["flags"]
        changes = (action == _ADD or action == _CANCEL or action == _MODIFY) and flags & (_TOB | _MBP) == 0
        rested = False
        arrives = action == _ADD
        if changes:
            position = find(state, record["order_id"], book)
            if position >= 0:
                rested = True
                order = state.orders[nth(state.table[nth(position)]["slot"])]
                level = state.levels[nth(order["level"])]
                if action == _MODIFY:
                    side = 2 * book + (1 if record["side"] == ASK else 0)
                    arrives = (
                        level["side"] != side or level["price"] != record["price"] or record["size"] > order["size"]
                    )
                    arrives = arrives or (
                        record["size"] == order["size"] and state.books[nth(book)]["equal_loses"] != 0
                    )
                touch(state, watch, book, np.int64(order["level"]), np.int64(0))
        elif action == _TRADE:
            trade(state, watch, book, record)
        elif flags & _MBP != 0:
            level = existing_level(state, 2 * book + (1 if record["side"] == ASK else 0), np.int64(record["price"]))
            if level >= 0:
                touch(state, watch, book, level, np.int64(0))
        elif action == _FILL:
            position = find(state, record["order_id"], book)
            if position >= 0:
                watch.orders[state.table[nth(position)]["slot"]]["filled"] = 1
        status = apply_record(state, book, record, i)
        if status != DONE:
            break
        if changes:
            position = find(state, record["order_id"], book)
            if position >= 0 and (arrives or not rested) and accepted(record):
                arrive(state, watch, book, record, np.int64(state.table[nth(position)]["slot"]))
        if flags & _LAST != 0:
            end_event(state, watch, book, record)
        settle(state, book, record, 1, np.int64(flags) >> 7)
        done = i + 1
    return status, done
