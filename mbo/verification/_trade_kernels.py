"""What an F, its T, and the C or M after it have to agree on: price, side and size."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel, nth
from mbo.book._state_kernels import AGGREGATE, ASK, BID, sort_key
from mbo.verification._mark_kernels import (
    AGGRESSOR,
    AUCTION,
    BEYOND,
    FILL_SETTLED,
    HELD,
    ICEBERG,
    IMPLIED,
    OFF_BOOK,
    TRADE_SIZE,
    UNEXPLAINED,
    judge,
    slot_of,
)  # fmt: skip

_FILL = 70


@inline
def price_class(state: Any, proof: Any, record: Any, trade: Any, level: Any, own: Any, has_trade: Any) -> Any:
    """Judge an F's price; `level` is its order's, or -1."""
    price = np.int64(record["price"])
    if has_trade and price != np.int64(trade["price"]):
        return UNEXPLAINED
    if own or level < 0 or price == state.levels[nth(level)]["price"]:
        return HELD
    better = (
        price > state.levels[nth(level)]["price"]
        if state.levels[nth(level)]["side"] & 1
        else price < state.levels[nth(level)]["price"]
    )
    if has_trade and trade["side"] != ASK and trade["side"] != BID and better:
        return AUCTION if proof.cursor[0]["sides"] == 3 else IMPLIED
    return UNEXPLAINED


@inline
def right_side(state: Any, record: Any, trade: Any, level: Any, own: Any, has_trade: Any) -> Any:
    """Judge an F's side; `level` is its order's, or -1."""
    side = record["side"]
    if has_trade:
        if trade["side"] != ASK and trade["side"] != BID:
            return side != ASK and side != BID
        if side != ASK and side != BID:
            return False
        if (side == trade["side"]) != own:
            return False
    elif side != ASK and side != BID:
        return True
    return level < 0 or side == (ASK if state.levels[nth(level)]["side"] & 1 else BID)


@inline
def used_up(state: Any, proof: Any, slot: Any) -> Any:
    """Say whether the event's fills so far have taken all that an order shows."""
    mark = proof.marks[slot]
    return mark["event"] == proof.cursor[0]["event"] and mark["eaten"] >= np.int64(state.orders[nth(slot)]["size"])


@inline
def withdrawn(proof: Any, slot: Any) -> Any:
    """Say whether the event cancels an order that it does not fill."""
    mark = proof.marks[slot]
    return mark["event"] == proof.cursor[0]["event"] and mark["cancelled"] != 0 and mark["filled"] == 0


@kernel
def exhausted(state: Any, proof: Any, book: Any, trade: Any) -> Any:
    """Say whether the event's fills so far have left no order that a sided T could have met at its price."""
    side = 2 * book + (1 if trade["side"] == BID else 0)
    key = sort_key(side, np.int64(trade["price"]))
    start = state.sides[nth(side)]["start"]
    rung = start + state.sides[nth(side)]["length"] - 1
    while rung >= start and state.rungs[nth(rung)]["key"] >= key:
        slot = np.int64(state.levels[nth(state.rungs[nth(rung)]["level"])]["head"])
        while slot >= 0:
            if state.orders[nth(slot)]["level"] >= AGGREGATE:
                return False
            if not used_up(state, proof, slot) and not withdrawn(proof, slot):
                return False
            slot = np.int64(state.orders[nth(slot)]["next"])
        rung -= 1
    return True


@kernel
def begin_trade(state: Any, proof: Any, records: Any, at: Any, numbers: Any, base: Any, book: Any) -> None:
    """Take up a T, and close the one before it."""
    cursor = proof.cursor[0]
    record = records[nth(at)]
    before = np.int64(cursor["trade"])
    same = before >= 0 and records[nth(max(before, 0))]["order_id"] == record["order_id"]
    end_trade(state, proof, records, numbers, base, book)
    cursor["aggressor_size"] = np.int64(record["size"]) + (cursor["aggressor_size"] if same else 0)
    cursor["trade"] = at
    cursor["others"] = 0
    cursor["bids"] = 0
    cursor["asks"] = 0
    if record["side"] == ASK or record["side"] == BID:
        cursor["sided"] += 1


@kernel
def end_trade(state: Any, proof: Any, records: Any, numbers: Any, base: Any, book: Any) -> None:
    """Judge whether a T is as large as its F: of an auction, each side's."""
    cursor = proof.cursor[0]
    at = np.int64(cursor["trade"])
    if at < 0:
        return
    record = records[nth(at)]
    size = np.int64(record["size"])
    total = np.int64(cursor["others"])
    why = UNEXPLAINED
    both = cursor["bids"] <= size and cursor["asks"] <= size  # of an unknown order the side is unknown
    if total == size:
        why = HELD
    elif record["side"] != ASK and record["side"] != BID and total == 2 * size and both:
        why = AUCTION
    if why == UNEXPLAINED and cursor["trades"] == 1 and cursor["fills"] == 0 and cursor["changes"] == 0:
        why = OFF_BOOK
    sided = record["side"] == ASK or record["side"] == BID
    if why == UNEXPLAINED and sided and size - total > cursor["withdrawn"] and exhausted(state, proof, book, record):
        why = BEYOND
    index = numbers[at] if numbers.shape[0] > 0 else base + at
    judge(proof, TRADE_SIZE, why, record, index, at)
    cursor["trade"] = -1


@kernel
def settled(proof: Any, slot: Any, before: Any, after: Any, in_place: Any, record: Any, index: Any, at: Any) -> None:
    """Judge what a C or M at its own price (`in_place`) or not has left of an order that was filled.

    `before` and `after` are the sizes that it showed.
    """
    mark = proof.marks[slot]
    eaten = np.int64(mark["eaten"])
    why = UNEXPLAINED
    if after == before - eaten:
        why = HELD
    elif mark["own"] != 0 and after == 0:
        why = AGGRESSOR
    elif in_place and eaten >= before and (after > 0 or eaten > before):
        why = ICEBERG
    judge(proof, FILL_SETTLED, why, record, index, at)
    mark["eaten"] = 0
    if why == ICEBERG and 0 < after < before:
        mark["refilled"] = 1


@kernel
def unsettled(state: Any, proof: Any, records: Any, numbers: Any, base: Any, book: Any) -> None:
    """Find the orders that the event has filled and left as they were."""
    for at in range(proof.cursor[0]["first"], proof.cursor[0]["end"]):
        record = records[nth(at)]
        if record["action"] != _FILL:
            continue
        slot = slot_of(state, record["order_id"], book)
        if slot < 0:
            continue
        mark = proof.marks[slot]
        if mark["event"] == proof.cursor[0]["event"] and mark["eaten"] > 0:
            index = numbers[at] if numbers.shape[0] > 0 else base + at
            judge(proof, FILL_SETTLED, UNEXPLAINED, record, index, at)
            mark["eaten"] = 0
