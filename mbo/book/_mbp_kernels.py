"""When a market-by-price record comes out, and what it says: Databento's emission rules over the book.

A trade comes out when it is seen, with the book as it stands then, before its effect. The changes of an event come out as at most
one record, at its F_LAST, with the book after it: if one of them touched a visible level. That record has the fields of the event's
last change, the shallowest touched depth, and the side that touched it, or N if both did. Fills never come out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.book._kernels import apply_record, book_of, settle
from mbo.book._queue_kernels import aggregate_of
from mbo.book._state_kernels import ASK, BID, DONE, GROW_BOOKS, NIL, existing_level, find

CANDIDATE: Final = np.dtype(
    [
        ("ts_event", "<u8"),  # of the event's last change so far, like all down to `side`
        ("ts_recv", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("sequence", "<u4"),
        ("ts_in_delta", "<i4"),
        ("action", "u1"),
        ("flags", "u1"),
        ("open", "u1"),  # whether anything visible was touched
        ("restart", "u1"),  # a trade came out since: the next touch begins depth and sides anew
        ("sides", "u1"),  # which sides touched `depth`: 1 bids, 2 asks, 3 both
        ("depth", "u1"),
        ("stale_bids", "u1"),  # from this depth on, what is kept as shown of the bids may be out of date
        ("stale_asks", "u1"),
        ("differs", "u1"),  # whether bringing it up to date changed anything since the last event's end
    ],
    align=True,
)


class Emission(NamedTuple):
    """What comes out, and what is about to. `heads` and `levels` are two views of the same records."""

    candidates: npt.NDArray[Any]  # CANDIDATE, one a book
    heads: npt.NDArray[Any]  # TRADES_DTYPE, the first 48 bytes of each record
    levels: npt.NDArray[Any]  # LEVEL_PAIR_DTYPE, (records, levels)
    shown: npt.NDArray[Any]  # LEVEL_PAIR_DTYPE, (books, levels): what a book showed last
    only_changes: bool  # leave an event out that touched what is visible and changed nothing of it


FULL: Final = 8  # no room for what one more record may bring out: two

_ADD, _CANCEL, _MODIFY, _CLEAR, _TRADE, _NONE = 65, 67, 77, 82, 84, 78
_LAST, _TOB, _SNAPSHOT, _MBP = 128, 64, 32, 16
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1


@inline
def depth_at(state: Any, side: Any, price: Any, visible: Any) -> Any:
    """Give a price's place on its side, 0 the best; `visible` where it is deeper than that or has no level."""
    slot = state.sides[nth(side)]
    top = slot["start"] + slot["length"] - 1
    key = price ^ -np.int64(side & 1)
    for depth in range(min(visible, np.int64(slot["length"]))):
        if state.rungs[nth(top - depth)]["key"] == key:
            return np.int64(depth)
    return np.int64(visible)


@inline
def depth_before(state: Any, book: Any, record: Any, visible: Any) -> Any:
    """Give (side, depth) of what the record is about to change: the order with its id, or for F_MBP its level."""
    side = 2 * book + (1 if record["side"] == ASK else 0)
    if record["flags"] & _TOB != 0:
        return side, np.int64(visible)
    if record["flags"] & _MBP != 0:
        level = existing_level(state, side, np.int64(record["price"]))
        if level < 0 or aggregate_of(state, level) < 0:
            return side, np.int64(visible)
        return side, depth_at(state, side, np.int64(record["price"]), visible)
    position = find(state, record["order_id"], book)
    if position < 0:
        return side, np.int64(visible)
    level = state.levels[nth(state.orders[nth(state.table[nth(position)]["slot"])]["level"])]
    side = np.int64(level["side"])
    return side, depth_at(state, side, np.int64(level["price"]), visible)


@inline
def touch(candidate: Any, depth: Any, sides: Any) -> None:
    """Note that a visible level was touched."""
    if candidate["open"] == 0 or candidate["restart"] != 0 or depth < candidate["depth"]:
        candidate["depth"] = depth
        candidate["sides"] = sides
    elif depth == candidate["depth"]:
        candidate["sides"] |= sides
    candidate["open"] = 1
    candidate["restart"] = 0


@inline
def remember_source(candidate: Any, record: Any) -> None:
    """Keep the fields of the event's last change."""
    candidate["ts_event"] = record["ts_event"]
    candidate["ts_recv"] = record["ts_recv"]
    candidate["price"] = record["price"]
    candidate["size"] = record["size"]
    candidate["sequence"] = record["sequence"]
    candidate["ts_in_delta"] = record["ts_in_delta"]
    candidate["action"] = record["action"]
    candidate["flags"] = record["flags"]


@inline
def stale(candidate: Any, side: Any, depth: Any) -> None:
    """Note that a side has to be read again from `depth` on: a level that comes or goes moves all that is deeper."""
    if side & 1:
        candidate["stale_asks"] = min(np.int64(candidate["stale_asks"]), np.int64(depth))
    else:
        candidate["stale_bids"] = min(np.int64(candidate["stale_bids"]), np.int64(depth))


@inline
def level_at_depth(state: Any, side: Any, depth: Any) -> Any:
    """Read the level at a depth of a side: (price, size, count), where there is none (UNDEF, 0, 0)."""
    slot = state.sides[nth(side)]
    if depth >= slot["length"]:
        return np.int64(_UNDEF_PRICE), np.int64(0), np.int64(0)
    level = state.levels[nth(state.rungs[nth(slot["start"] + slot["length"] - 1 - depth)]["level"])]
    return np.int64(level["price"]), min(np.int64(level["size"]), np.int64(_UNDEF_SIZE)), np.int64(level["count"])


@inline
def show(state: Any, book: Any, candidate: Any, shown: Any, out: Any) -> None:
    """Read again what is stale of a book's best levels, and copy them all to `out`.

    Most events touch one level near the top; copying ten levels from one place costs less than finding twenty in the pools.
    """
    visible = shown.shape[0]
    differs = False
    for depth in range(np.int64(candidate["stale_bids"]), visible):
        price, size, count = level_at_depth(state, 2 * book, depth)
        pair = shown[depth]
        differs |= pair["bid_px"] != price or pair["bid_sz"] != size or pair["bid_ct"] != count
        pair["bid_px"] = price
        pair["bid_sz"] = size
        pair["bid_ct"] = count
    for depth in range(np.int64(candidate["stale_asks"]), visible):
        price, size, count = level_at_depth(state, 2 * book + 1, depth)
        pair = shown[depth]
        differs |= pair["ask_px"] != price or pair["ask_sz"] != size or pair["ask_ct"] != count
        pair["ask_px"] = price
        pair["ask_sz"] = size
        pair["ask_ct"] = count
    candidate["stale_bids"] = visible
    candidate["stale_asks"] = visible
    if differs:
        candidate["differs"] = 1
    for depth in range(visible):
        out[depth] = shown[depth]


@inline
def put_trade(head: Any, record: Any, flags: Any) -> None:
    """Write a trade's fields."""
    head["publisher_id"] = record["publisher_id"]
    head["instrument_id"] = record["instrument_id"]
    head["ts_event"] = record["ts_event"]
    head["price"] = record["price"]
    head["size"] = record["size"]
    head["action"] = record["action"]
    head["side"] = record["side"]
    head["flags"] = flags
    head["depth"] = 0
    head["ts_recv"] = record["ts_recv"]
    head["ts_in_delta"] = record["ts_in_delta"]
    head["sequence"] = record["sequence"]


@inline
def put_change(head: Any, candidate: Any, record: Any) -> None:
    """Write the event's change; `record` is its last record, which may be of any action."""
    head["publisher_id"] = record["publisher_id"]
    head["instrument_id"] = record["instrument_id"]
    head["ts_event"] = candidate["ts_event"]
    head["price"] = candidate["price"]
    head["size"] = candidate["size"]
    head["action"] = candidate["action"]
    head["side"] = BID if candidate["sides"] == 1 else ASK if candidate["sides"] == 2 else _NONE
    head["flags"] = candidate["flags"] | _LAST
    head["depth"] = candidate["depth"]
    head["ts_recv"] = candidate["ts_recv"]
    head["ts_in_delta"] = candidate["ts_in_delta"]
    head["sequence"] = candidate["sequence"]


@kernel
def emit(state: Any, emission: Any, records: Any, rows: Any, start: Any) -> tuple[int, int, int]:
    """Apply `records[start:]` and write what comes out; returns (status, how many are applied, how many came out).

    `rows` numbers the records, as in `apply`.
    """
    before = state.pool[0]["position"]
    visible = np.int64(emission.levels.shape[1])
    key = np.int64(NIL)
    book = np.int64(NIL)
    out = 0
    status = DONE
    done = start
    for i in range(start, records.shape[0]):
        if out + 2 > emission.heads.shape[0]:
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
        flags = record["flags"]
        changes = action == _ADD or action == _CANCEL or action == _MODIFY
        side, depth = 2 * book, visible
        if changes:
            side, depth = depth_before(state, book, record, visible)
        index = rows[nth(i)] if rows.shape[0] > 0 else before + i
        status = apply_record(state, book, record, index)
        if status != DONE:
            break
        candidate = emission.candidates[book]
        shown = emission.shown[book]
        if action == _TRADE:
            alone = flags & _LAST != 0 and candidate["open"] == 0
            put_trade(emission.heads[out], record, flags if alone else flags & ~np.uint8(_LAST))
            show(state, book, candidate, shown, emission.levels[out])
            out += 1
            candidate["restart"] = candidate["open"]
        elif action == _CLEAR:
            stale(candidate, 0, 0)
            stale(candidate, 1, 0)
            if flags & _SNAPSHOT == 0:
                remember_source(candidate, record)
                touch(candidate, 0, 3)
        elif changes:
            sides = np.int64(1 << (side & 1))
            stale(candidate, side, depth)
            if flags & _SNAPSHOT != 0 and action == _ADD:
                depth = np.int64(0)
                sides = np.int64(3)
                candidate["restart"] = 1
                stale(candidate, 0, 0)
                stale(candidate, 1, 0)
            elif flags & _TOB != 0 and action == _ADD:
                depth = np.int64(0)
                stale(candidate, side, 0)
            elif action != _CANCEL:
                after = 2 * book + (1 if record["side"] == ASK else 0)
                at = depth_at(state, after, np.int64(record["price"]), visible)
                stale(candidate, after, at)
                if at < depth:
                    depth = at
                    sides = np.int64(1 << (after & 1))
                elif at == depth:
                    sides |= np.int64(1 << (after & 1))
            if depth < visible:
                touch(candidate, depth, sides)
                remember_source(candidate, record)
            elif candidate["open"] != 0:
                remember_source(candidate, record)
        if flags & _LAST != 0:
            if candidate["open"] != 0:
                show(state, book, candidate, shown, emission.levels[out])
                if candidate["differs"] != 0 or not emission.only_changes:
                    put_change(emission.heads[out], candidate, record)
                    out += 1
                candidate["differs"] = 0
            candidate["open"] = 0
            candidate["restart"] = 0
        settle(state, book, record, 1, np.int64(flags) >> 7)
        done = i + 1
    return status, done, out
