"""Fills as witnesses of price-time priority: whom an F names, against the queue as it stands before C and M take the size off.

The exchange fills the best price first, and there the first in the queue. F change no book: they come before the C and M that do.
So several fills of one event eat the queue in order, and what is eaten is remembered on the orders. An order that is passed over
needs an excuse of its own, in the records of the same event: an F still to come that uses it up, or a C without any F. One without
an excuse, and the fill is unexplained.

The same walk asks the rules of priority that are wrong on purpose: each has stamps of its own for who came first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel, nth
from mbo.book._state_kernels import AGGREGATE, ASK, BID, NIL, sort_key
from mbo.verification._mark_kernels import (
    AGGRESSOR,
    AUCTION,
    FILL_BEST,
    FILL_FRONT,
    FILL_KNOWN,
    FILL_PRICE,
    FILL_SIDES,
    FRONT,
    GAP,
    HELD,
    ICEBERG,
    IN_TURN,
    LISTED_LATER,
    OPENING,
    POWER_ALONE,
    POWER_CHECKED,
    POWER_EXPLAINED,
    POWER_REFUTED,
    POWER_RIGHT,
    SELF_MATCH,
    SHUFFLED,
    TRADE_SIZE,
    UNEXPLAINED,
    fresh_mark,
    judge,
    slot_of,
    unknown_class,
)  # fmt: skip
from mbo.verification._trade_kernels import price_class, right_side, used_up, withdrawn

_ADD, _CANCEL, _MODIFY, _TRADE, _FILL = 65, 67, 77, 84, 70


@kernel
def foresee(state: Any, proof: Any, records: Any, book: Any) -> None:
    """Mark the orders that a trade event fills or cancels, before any of it is applied."""
    cursor = proof.cursor[0]
    aggressor = np.uint64(0)
    trade = np.int64(-1)
    for k in range(cursor["first"], cursor["end"]):
        record = records[nth(k)]
        action = record["action"]
        if action == _TRADE:
            aggressor = record["order_id"]
            trade = np.int64(k)
        if action != _FILL and action != _CANCEL:
            continue
        slot = slot_of(state, record["order_id"], book)
        if slot < 0:
            continue
        mark = fresh_mark(proof, slot)
        if action == _CANCEL:
            mark["cancelled"] = 1
        else:
            mark["filled"] += np.int64(record["size"])
            mark["trade"] = trade
            if record["order_id"] == aggressor:
                mark["own"] = 1
            else:
                cursor["sides"] |= 1 << (np.int64(state.levels[nth(state.orders[nth(slot)]["level"])]["side"]) & 1)
    for k in range(cursor["first"], cursor["end"]):
        record = records[nth(k)]
        slot = slot_of(state, record["order_id"], book) if record["action"] == _CANCEL else np.int64(NIL)
        if slot >= 0 and withdrawn(proof, slot):
            cursor["withdrawn"] += np.int64(state.orders[nth(slot)]["size"])


@inline
def excuse(state: Any, proof: Any, slot: Any) -> Any:
    """Say why an order may be passed over by one of its own price; its own fills so far have not used it up."""
    mark = proof.marks[slot]
    if withdrawn(proof, slot):
        return SELF_MATCH
    size = np.int64(state.orders[nth(slot)]["size"])
    if mark["event"] == proof.cursor[0]["event"]:
        if mark["filled"] > size:
            return ICEBERG
        if mark["filled"] == size and mark["trade"] == proof.cursor[0]["trade"]:
            return LISTED_LATER
    return ICEBERG if mark["refilled"] != 0 else UNEXPLAINED


@inline
def join(verdict: Any, why: Any) -> Any:
    """Add an order that was passed over to a verdict: the first excuse names it, one without is decisive."""
    return why if verdict == HELD or why == UNEXPLAINED else verdict


@kernel
def better_prices(state: Any, proof: Any, level: Any) -> Any:
    """Give the verdict on the levels that are better than one."""
    side = np.int64(state.levels[nth(level)]["side"])
    key = sort_key(side, state.levels[nth(level)]["price"])
    start = state.sides[nth(side)]["start"]
    rung = start + state.sides[nth(side)]["length"] - 1
    verdict = HELD
    while rung >= start and state.rungs[nth(rung)]["key"] > key and verdict != UNEXPLAINED:
        slot = np.int64(state.levels[nth(state.rungs[nth(rung)]["level"])]["head"])
        while slot >= 0 and verdict != UNEXPLAINED:
            if state.orders[nth(slot)]["level"] < AGGREGATE and not used_up(state, proof, slot):
                verdict = join(verdict, SELF_MATCH if withdrawn(proof, slot) else UNEXPLAINED)
            slot = np.int64(state.orders[nth(slot)]["next"])
        rung -= 1
    return verdict


@inline
def shuffled(order_id: Any) -> Any:
    """Give an order's place where a hash of the ids decides."""
    low = (order_id & np.uint64(0xFFFFFFFF)) * np.uint64(0x9E3779B1)
    return ((low & np.uint64(0xFFFFFFFF)) ^ (order_id >> np.uint64(32))) * np.uint64(0x85EBCA6B) & np.uint64(0xFFFFFFFF)


@kernel
def queue_verdicts(state: Any, proof: Any, slot: Any) -> Any:
    """Fill `verdicts` by every rule of priority on the queue that an order stands in; returns how many others were left there."""
    verdicts = proof.verdicts
    for rule in range(SHUFFLED + 1):
        verdicts[rule] = HELD
    mine = proof.marks[slot]
    place = shuffled(state.orders[nth(slot)]["order_id"])
    level = np.int64(state.orders[nth(slot)]["level"])
    others = np.int64(0)
    before = True
    other = np.int64(state.levels[nth(level)]["head"])
    while other >= 0:
        if other == slot:
            before = False
        elif state.orders[nth(other)]["level"] < AGGREGATE and not used_up(state, proof, other):
            others += 1
            why = excuse(state, proof, other)
            if before:
                verdicts[0] = join(verdicts[0], why)
            for rule in range(1, SHUFFLED):
                if proof.marks[other]["stamps"][rule] < mine["stamps"][rule]:
                    verdicts[rule] = join(verdicts[rule], why)
            if shuffled(state.orders[nth(other)]["order_id"]) < place:
                verdicts[SHUFFLED] = join(verdicts[SHUFFLED], why)
        other = np.int64(state.orders[nth(other)]["next"])
    return others


@inline
def in_doubt(state: Any, book: Any, verdict: Any, opening: Any) -> Any:
    """Explain what no order's excuse explains: the filled one's own place is unknown, or records are lost."""
    if verdict != UNEXPLAINED:
        return verdict
    if opening:
        return OPENING
    return GAP if state.books[nth(book)]["suspect"] != 0 else UNEXPLAINED


@kernel
def weigh_rules(proof: Any) -> None:
    """Count by every rule of priority whether it named the order that was filled."""
    right = proof.verdicts[0] == HELD
    for rule in range(SHUFFLED + 1):
        verdict = proof.verdicts[rule]
        proof.power[rule, POWER_CHECKED] += 1
        if verdict == HELD:
            proof.power[rule, POWER_RIGHT] += 1
            if not right:
                proof.power[rule, POWER_ALONE] += 1
        else:
            if verdict != UNEXPLAINED:
                proof.power[rule, POWER_EXPLAINED] += 1
            if right:
                proof.power[rule, POWER_REFUTED] += 1


@kernel
def named_once(proof: Any, records: Any, at: Any) -> Any:
    """Say whether no A, C or M of the event names the order of record `at`: the book never showed it."""
    for k in range(proof.cursor[0]["first"], proof.cursor[0]["end"]):
        record = records[nth(k)]
        action = record["action"]
        changes = action == _ADD or action == _CANCEL or action == _MODIFY
        if changes and record["order_id"] == records[nth(at)]["order_id"]:
            return False
    return True


@kernel
def unknown_fill(state: Any, proof: Any, records: Any, at: Any, index: Any, book: Any, own: Any, sided: Any) -> None:
    """Judge an F of an order that does not rest: in an auction it may have lived inside the event only."""
    record = records[nth(at)]
    why = AGGRESSOR if own else unknown_class(state, proof, book, record["order_id"])
    if why == UNEXPLAINED and not sided and proof.cursor[0]["trade"] >= 0 and named_once(proof, records, at):
        why = AUCTION
    for rule in (FILL_KNOWN, FILL_FRONT, FILL_BEST):
        judge(proof, rule, why, record, index, at)
    proof.fills[why] += 1


@kernel
def resting_fill(state: Any, proof: Any, record: Any, index: Any, at: Any, book: Any, slot: Any) -> None:
    """Judge an F of a resting order that is not the aggressor: whether it is the next in line."""
    level = np.int64(state.orders[nth(slot)]["level"])
    opening = proof.marks[slot]["opening"] != 0
    strictly = state.levels[nth(level)]["head"] == slot
    others = queue_verdicts(state, proof, slot)
    for rule in range(SHUFFLED + 1):
        proof.verdicts[rule] = in_doubt(state, book, proof.verdicts[rule], opening)
    if others > 0:
        weigh_rules(proof)
    front = proof.verdicts[0]
    best = in_doubt(state, book, better_prices(state, proof, level), False)
    judge(proof, FILL_KNOWN, HELD, record, index, at)
    judge(proof, FILL_FRONT, front, record, index, at)
    judge(proof, FILL_BEST, best, record, index, at)
    both = UNEXPLAINED if front == UNEXPLAINED or best == UNEXPLAINED else front if front != HELD else best
    if both == HELD:
        both = FRONT if strictly else IN_TURN
    proof.fills[both] += 1


@kernel
def fill(state: Any, proof: Any, records: Any, at: Any, index: Any, book: Any) -> None:
    """Judge an F."""
    cursor = proof.cursor[0]
    record = records[nth(at)]
    size = np.int64(record["size"])
    has_trade = cursor["trade"] >= 0
    trade = records[nth(max(np.int64(cursor["trade"]), 0))]
    sided = has_trade and (trade["side"] == ASK or trade["side"] == BID)
    own = sided and record["order_id"] == trade["order_id"]
    slot = slot_of(state, record["order_id"], book)
    level = np.int64(-1)
    if slot < 0:
        unknown_fill(state, proof, records, at, index, book, own, sided)
    else:
        level = np.int64(state.orders[nth(slot)]["level"])
        if own:
            judge(proof, FILL_KNOWN, HELD, record, index, at)
            judge(proof, FILL_FRONT, AGGRESSOR, record, index, at)
            judge(proof, FILL_BEST, AGGRESSOR, record, index, at)
            proof.fills[AGGRESSOR] += 1
        else:
            resting_fill(state, proof, record, index, at, book, slot)
        mark = fresh_mark(proof, slot)
        mark["eaten"] += size
    judge(proof, FILL_PRICE, price_class(state, proof, record, trade, level, own, has_trade), record, index, at)
    holds = right_side(state, record, trade, level, own, has_trade)
    judge(proof, FILL_SIDES, HELD if holds else UNEXPLAINED, record, index, at)
    if not has_trade:
        judge(proof, TRADE_SIZE, UNEXPLAINED, record, index, at)
    elif own:
        holds = size == np.int64(trade["size"]) or size == cursor["aggressor_size"]
        judge(proof, TRADE_SIZE, HELD if holds else UNEXPLAINED, record, index, at)
    else:
        cursor["others"] += size
        if level >= 0:
            if state.levels[nth(level)]["side"] & 1:
                cursor["asks"] += size
            else:
                cursor["bids"] += size
