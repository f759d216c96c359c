"""One pass over whole events: each record is judged against the book as it stands, applied, and what it did is judged.

What is needed of the book before a record is read before, and counted after: a record for which the engine first needs more room
comes again. The records in hand are sorted into whole events by the caller, so that what an event still brings can be looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel, nth
from mbo.book._kernels import GLBX, apply_record, book_of, settle
from mbo.book._state_kernels import AGGREGATE, ASK, BID, DONE, GROW_BOOKS, NIL
from mbo.verification._fill_kernels import fill, foresee
from mbo.verification._mark_kernels import (
    AUCTION,
    CANCEL_TERMS,
    GAP,
    HELD,
    KNOWN_ORDERS,
    LEVEL_TOTALS,
    MODIFY_SIDE,
    NEW_ORDERS,
    NOWHERE,
    OPENING,
    PRIORITY,
    QUEUE_ORDER,
    UNCROSSED,
    UNEXPLAINED,
    VALID_FIELDS,
    give_place,
    gone_place,
    judge,
    note,
    slot_of,
    unknown_class,
)  # fmt: skip
from mbo.verification._trade_kernels import begin_trade, end_trade, settled, unsettled

_ADD, _CANCEL, _MODIFY, _CLEAR, _TRADE, _FILL, _NONE = 65, 67, 77, 82, 84, 70, 78
_LAST, _TOB, _SNAPSHOT, _MBP = 128, 64, 32, 16
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1
_WALKED = np.int64(32)  # orders of a level that are walked after each change; deeper ones are when all are


@kernel
def apply_one(state: Any, book: Any, record: Any, index: Any) -> Any:
    return apply_record(state, book, record, index)


@inline
def key_of(record: Any) -> Any:
    return np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])


@kernel
def begin_event(state: Any, proof: Any, records: Any, at: Any, book: Any) -> None:
    """Find where the event ends and what it holds; mark the orders that a trade event is about."""
    cursor = proof.cursor[0]
    cursor["event"] += 1
    cursor["first"] = at
    cursor["book"] = book
    cursor["trade"] = -1
    cursor["trades"] = 0
    cursor["fills"] = 0
    cursor["changes"] = 0
    cursor["sides"] = 0
    cursor["sided"] = 0
    cursor["withdrawn"] = 0
    cursor["aggressor_size"] = 0
    key = key_of(records[nth(at)])
    end = at
    while end < records.shape[0] and key_of(records[nth(end)]) == key:
        action = records[nth(end)]["action"]
        if action == _TRADE or action == _FILL:
            cursor["trades"] += 1
            if action == _FILL:
                cursor["fills"] += 1
        elif action != _NONE:
            cursor["changes"] += 1
        end += 1
        if records[nth(end - 1)]["flags"] & _LAST != 0:
            break
    cursor["end"] = end
    if cursor["trades"] > 0:
        foresee(state, proof, records, book)


@inline
def valid(record: Any) -> Any:
    """Say whether a record has what one of its action must have."""
    action = record["action"]
    if action == _CLEAR or action == _NONE:
        return True
    sized = record["size"] != 0 and record["size"] != _UNDEF_SIZE and record["price"] != _UNDEF_PRICE
    if action == _TRADE or action == _FILL:
        return sized
    sided = record["side"] == ASK or record["side"] == BID
    return sized and sided and (action == _ADD or action == _CANCEL or action == _MODIFY)


@kernel
def walk(state: Any, proof: Any, level: Any, most: Any, record: Any, index: Any, at: Any) -> None:
    """Judge a level's sums and the order of its queue, unless it has more than `most` orders."""
    queue = state.levels[nth(level)]
    if queue["count"] > most:
        return
    size = np.int64(0)
    count = np.int64(0)
    place = np.int64(0)
    positive = True
    ordered = True
    slot = np.int64(queue["head"])
    while slot >= 0:
        order = state.orders[nth(slot)]
        positive = positive and order["size"] > 0
        size += np.int64(order["size"])
        if order["level"] < AGGREGATE:
            count += 1
            ordered = ordered and proof.marks[slot]["stamps"][0] > place
            place = np.int64(proof.marks[slot]["stamps"][0])
        slot = np.int64(order["next"])
    holds = positive and size == queue["size"] and count == queue["count"]
    judge(proof, LEVEL_TOTALS, HELD if holds else UNEXPLAINED, record, index, at)
    judge(proof, QUEUE_ORDER, HELD if ordered else UNEXPLAINED, record, index, at)


@kernel
def walk_all(state: Any, proof: Any, record: Any, index: Any) -> None:
    """Judge all levels of all books."""
    proof.cursor[0]["first"] = 0
    proof.cursor[0]["end"] = 0
    for side in range(2 * state.pool[0]["books"]):
        start = state.sides[nth(side)]["start"]
        for rung in range(start, start + state.sides[nth(side)]["length"]):
            walk(state, proof, np.int64(state.rungs[nth(rung)]["level"]), np.int64(_UNDEF_SIZE), record, index, NOWHERE)


@kernel
def added(state: Any, proof: Any, record: Any, index: Any, at: Any, book: Any, known: Any) -> None:
    """Judge an A that has been applied."""
    judge(proof, NEW_ORDERS, UNEXPLAINED if known else HELD, record, index, at)
    slot = slot_of(state, record["order_id"], book)
    give_place(proof, slot)
    judge(proof, PRIORITY, HELD if state.orders[nth(slot)]["next"] < 0 else UNEXPLAINED, record, index, at)
    walk(state, proof, np.int64(state.orders[nth(slot)]["level"]), _WALKED, record, index, at)


@inline
def restamp(proof: Any, slot: Any, loses: Any, moves: Any) -> None:
    """Give an order that was modified its place by each rule of priority."""
    cursor = proof.cursor[0]
    mark = proof.marks[slot]
    cursor["places"] += 1
    if loses:
        mark["stamps"][0] = cursor["places"]
        mark["opening"] = 0
        mark["refilled"] = 0
    if moves:
        mark["stamps"][1] = cursor["places"]
    if loses and not moves:
        mark["stamps"][2] = cursor["places"]
    mark["stamps"][3] = cursor["places"]


@kernel
def modified(
    state: Any, proof: Any, record: Any, index: Any, at: Any, book: Any,
    slot: Any, side: Any, price: Any, size: Any, before: Any, behind: Any,
) -> None:  # fmt: skip
    """Judge an M that has been applied; `slot` had this side, price and size, and these neighbours (NIL: none)."""
    same_side = side == (1 if record["side"] == ASK else 0)
    moves = price != record["price"] or not same_side
    more = np.int64(record["size"]) - size
    loses = moves or more > 0 or (more == 0 and state.books[nth(book)]["equal_loses"] != 0)
    judge(proof, MODIFY_SIDE, HELD if same_side else UNEXPLAINED, record, index, at)
    mark = proof.marks[slot]
    if mark["event"] == proof.cursor[0]["event"] and mark["eaten"] > 0:
        settled(proof, slot, size, np.int64(record["size"]), not moves, record, index, at)
    order = state.orders[nth(slot)]  # where an order moves, the engine takes the slot again that it has just given back
    placed = order["next"] < 0 if loses else order["prev"] == before and order["next"] == behind
    placed = placed and order["order_id"] == record["order_id"]
    judge(proof, PRIORITY, HELD if placed else UNEXPLAINED, record, index, at)
    restamp(proof, slot, loses, moves)
    walk(state, proof, np.int64(order["level"]), _WALKED, record, index, at)


@kernel
def change(state: Any, proof: Any, record: Any, index: Any, at: Any, book: Any) -> Any:
    """Apply an A, C or M of an order and judge it; returns the engine's status."""
    action = record["action"]
    begins = action == _ADD and record["flags"] & _SNAPSHOT != 0 and state.books[nth(book)]["in_snapshot"] == 0
    slot = slot_of(state, record["order_id"], book)
    level = np.int64(NIL)
    side = np.int64(0)
    price = np.int64(0)
    size = np.int64(0)
    before = np.int64(NIL)
    behind = np.int64(NIL)
    outlives: Any = False  # whether its level is there without it
    if slot >= 0:
        order = state.orders[nth(slot)]
        level = np.int64(order["level"])
        size = np.int64(order["size"])
        before = np.int64(order["prev"])
        behind = np.int64(order["next"])
        side = np.int64(state.levels[nth(level)]["side"]) & 1
        price = np.int64(state.levels[nth(level)]["price"])
        outlives = behind >= 0 or before >= 0
    why = HELD if slot >= 0 else unknown_class(state, proof, book, record["order_id"])
    status = apply_one(state, book, record, index)
    if status != DONE:
        return status
    fine = valid(record)
    judge(proof, VALID_FIELDS, HELD if fine else UNEXPLAINED, record, index, at)
    if action != _ADD:
        judge(proof, KNOWN_ORDERS, why, record, index, at)
    if action == _CANCEL:
        taken = np.int64(record["size"])
        if slot >= 0:
            alike = price == record["price"] and record["side"] == (ASK if side == 1 else BID)
            whole = np.int64(record["publisher_id"]) == GLBX
            alike = alike and (taken == size if whole else taken <= size)
            judge(proof, CANCEL_TERMS, HELD if alike else UNEXPLAINED, record, index, at)
            mark = proof.marks[slot]
            if mark["event"] == proof.cursor[0]["event"] and mark["eaten"] > 0:
                settled(proof, slot, size, max(size - taken, np.int64(0)), alike, record, index, at)
        if state.books[nth(book)]["synced"] == 0 and taken >= size:
            proof.gone[gone_place(proof, record["order_id"], book)] = record["order_id"]
    elif fine:
        if action == _ADD:
            added(state, proof, record, index, at, book, slot >= 0 and not begins)
        elif slot >= 0:
            modified(state, proof, record, index, at, book, slot, side, price, size, before, behind)
        else:
            inserted = slot_of(state, record["order_id"], book)
            give_place(proof, inserted)
            proof.marks[inserted]["opening"] = 1 if why == OPENING else 0
    left = action == _CANCEL or (action == _MODIFY and fine and price != record["price"])
    if left and outlives:
        walk(state, proof, level, _WALKED, record, index, at)
    return status


@kernel
def uncrossed(state: Any, proof: Any, record: Any, index: Any, at: Any, book: Any) -> None:
    """Judge the best prices after an event. Why they cross is known when they no longer do: until then it is only counted."""
    bids = state.sides[nth(2 * book)]
    asks = state.sides[nth(2 * book + 1)]
    crossed: Any = False
    if bids["length"] > 0 and asks["length"] > 0:
        bid = state.rungs[nth(bids["start"] + bids["length"] - 1)]["key"]
        ask = ~state.rungs[nth(asks["start"] + asks["length"] - 1)]["key"]  # see `sort_key`
        crossed = bid >= ask
    mark = proof.books[book]
    if mark["crossed"] > 0 and proof.cursor[0]["sided"] > 0:
        mark["matching"] = 1
    if crossed:
        if mark["crossed"] == 0:
            mark["since"] = index
            mark["matching"] = 1 if proof.cursor[0]["sided"] > 0 else 0
            mark["suspect"] = 0
        mark["crossed"] += 1
        if state.books[nth(book)]["suspect"] != 0:
            mark["suspect"] = 1
        return
    end_crossing(proof, book, record, at)
    proof.checked[UNCROSSED] += 1
    proof.held[UNCROSSED] += 1


@kernel
def end_crossing(proof: Any, book: Any, record: Any, at: Any) -> None:
    """Judge all crossed states since the last one that was not: matching was off, unless an aggressor traded meanwhile."""
    mark = proof.books[book]
    if mark["crossed"] > 0:
        why = AUCTION
        if mark["matching"] != 0:
            why = GAP if mark["suspect"] != 0 else UNEXPLAINED
        proof.checked[UNCROSSED] += mark["crossed"]
        note(proof, UNCROSSED, why, mark["crossed"], record, mark["since"], at)
        mark["crossed"] = 0


@kernel
def finish(state: Any, proof: Any, record: Any, index: Any) -> None:
    """Judge what waits for the end of the stream, of which `record` is the last one."""
    walk_all(state, proof, record, index)
    for book in range(state.pool[0]["books"]):
        end_crossing(proof, np.int64(book), record, NOWHERE)


@inline
def check_record(state: Any, proof: Any, records: Any, at: Any, index: Any, book: Any, numbers: Any, base: Any) -> Any:
    """Judge and apply one record; returns the engine's status."""
    record = records[nth(at)]
    action = record["action"]
    aggregated = record["flags"] & (_TOB | _MBP) != 0
    if (action == _ADD or action == _CANCEL or action == _MODIFY) and not aggregated:
        return change(state, proof, record, index, at, book)
    if not aggregated:
        judge(proof, VALID_FIELDS, HELD if valid(record) else UNEXPLAINED, record, index, at)
        if action == _TRADE:
            begin_trade(state, proof, records, at, numbers, base, book)
        elif action == _FILL:
            fill(state, proof, records, at, index, book)
    return apply_one(state, book, record, index)


@kernel
def check(state: Any, proof: Any, records: Any, numbers: Any, start: Any) -> tuple[int, int]:
    """Judge and apply `records[start:]`, which stand event by event; returns (status, how many are applied).

    `numbers` numbers the records; empty, they are numbered on from the pool's position. The cursor's `end` is 0 for new records.
    """
    base = state.pool[0]["position"]
    cursor = proof.cursor[0]
    status = DONE
    done = start
    for i in range(start, records.shape[0]):
        record = records[nth(i)]
        if i >= cursor["end"]:
            opened = book_of(state, key_of(record))
            if opened < 0:
                status = GROW_BOOKS
                break
            begin_event(state, proof, records, i, opened)
        book = np.int64(cursor["book"])
        index = numbers[i] if numbers.shape[0] > 0 else base + i
        status = check_record(state, proof, records, np.int64(i), index, book, numbers, base)
        if status != DONE:
            break
        settle(state, book, record, 1, np.int64(record["flags"]) >> 7)
        done = i + 1
        if done == cursor["end"]:
            if cursor["trades"] > 0:
                end_trade(state, proof, records, numbers, base, book)
                unsettled(state, proof, records, numbers, base, book)
            if record["flags"] & _LAST != 0:
                uncrossed(state, proof, record, index, np.int64(i), book)
    return status, done
