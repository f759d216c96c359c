"""The market by price that the simulated exchange knows of itself: what its own grid of ticks shows, and when.

Nothing here is read off the records or kept from one to the next. How deep a level lies is counted on the grid at the moment when
an order of it changes, and what the levels hold is summed over the orders in their queues. Where no market by price is asked for
(`levels` is 0), all of it is one comparison a change.

The rules are those of Databento's `mbp-1` and `mbp-10`. A trade comes out with the book before the event, and without F_LAST
unless it ends an event that changes nothing visible. An event that touches one of the levels comes out once, at its end: with the
fields of its last change, the shallowest depth it touched, and the side that did, or no side if both did. A snapshot is one such
record.
"""

from __future__ import annotations

from typing import Any

from mbo._jit import inline, kernel
from mbo._simulator_state_kernels import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CLEAR,
    DEEP,
    LAST,
    MODIFY,
    NO_SIDE,
    NONE,
    REFILL,
    TRADE,
    best_ask_from,
    best_bid_from,
    place_of,
    price_of,
)  # fmt: skip
from mbo.units import UNDEF_PRICE


@kernel
def depth_of(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Count the levels that are better than a tick, or as many as are shown."""
    levels = s.stream[0]["levels"]
    step = -1 if side == BID else 1
    at = s.instruments[i]["best_bid"] if side == BID else s.instruments[i]["best_ask"]
    depth = 0
    while at != tick and depth < levels:
        if s.queues[place_of(s, i, side, at)]["head"] != NONE:
            depth += 1
        at += step
    return depth


@inline
def see(s: Any, i: Any, side: Any, tick: Any) -> None:
    """Note that a level is touched: before an order of it leaves or changes, after one has come."""
    stream = s.stream[0]
    if stream["levels"] > 0:
        depth = depth_of(s, i, side, tick)
        if depth < stream["levels"]:
            if side == BID:
                stream["bid_depth"] = min(stream["bid_depth"], depth)
            else:
                stream["ask_depth"] = min(stream["ask_depth"], depth)


@inline
def see_order(s: Any, i: Any, slot: Any) -> None:
    see(s, i, s.slots[slot]["side"], s.slots[slot]["tick"])


@inline
def see_all(s: Any) -> None:
    """Note that the whole book is touched."""
    s.stream[0]["bid_depth"] = 0
    s.stream[0]["ask_depth"] = 0


@inline
def see_nothing(s: Any) -> None:
    s.stream[0]["bid_depth"] = DEEP
    s.stream[0]["ask_depth"] = DEEP


@kernel
def show(s: Any, i: Any, record: Any, side: Any, flags: Any, depth: Any) -> None:
    """Write the next row: a record's fields, and both sides of the book as it stands."""
    stream = s.stream[0]
    row = stream["rows"]
    stream["rows"] = row + 1
    head = s.heads[row]
    head["publisher_id"] = record["publisher_id"]
    head["instrument_id"] = record["instrument_id"]
    head["ts_event"] = record["ts_event"]
    head["price"] = record["price"]
    head["size"] = record["size"]
    head["action"] = record["action"]
    head["side"] = side
    head["flags"] = flags
    head["depth"] = depth
    head["ts_recv"] = record["ts_recv"]
    head["ts_in_delta"] = record["ts_in_delta"]
    head["sequence"] = record["sequence"]
    bid = s.instruments[i]["best_bid"]
    ask = s.instruments[i]["best_ask"]
    for level in range(stream["levels"]):
        pair = s.pairs[row, level]
        pair["bid_px"], pair["bid_sz"], pair["bid_ct"] = level_at(s, i, BID, bid)
        pair["ask_px"], pair["ask_sz"], pair["ask_ct"] = level_at(s, i, ASK, ask)
        bid = best_bid_from(s, i, bid - 1)
        ask = best_ask_from(s, i, ask + 1)


@inline
def level_at(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Sum a level up: (price, size, orders), UNDEF and zeros off the grid."""
    if tick < 0 or tick >= s.stream[0]["ticks"]:
        return UNDEF_PRICE, 0, 0
    size = 0
    orders = 0
    slot = s.queues[place_of(s, i, side, tick)]["head"]
    while slot != NONE:
        size += s.slots[slot]["size"]
        orders += 1
        slot = s.slots[slot]["behind"]
    return price_of(s, i, tick), size, orders


@inline
def show_trade(s: Any, i: Any, record: Any) -> None:
    """Show a T: no change of its event has been made yet, so the book is the one before it."""
    if s.stream[0]["levels"] > 0:
        show(s, i, record, record["side"], 0, 0)


@kernel
def show_event(s: Any, out: Any, first: Any, n: Any, i: Any) -> None:
    """Show what the event of records `first` to `n` - 1 has touched, and give its trades their flags."""
    stream = s.stream[0]
    row = stream["event_row"]
    change = first
    for k in range(first, n):
        record = out[k]
        if record["action"] == TRADE:
            s.heads[row]["flags"] = record["flags"] & (255 - LAST)
            row += 1
        elif (
            record["action"] == ADD
            or record["action"] == CANCEL
            or record["action"] == MODIFY
            or record["action"] == CLEAR
        ):
            change = k
    depth = min(stream["bid_depth"], stream["ask_depth"])
    if depth < stream["levels"]:
        side = BID if stream["bid_depth"] == depth else ASK
        if stream["bid_depth"] == stream["ask_depth"]:
            side = NO_SIDE
        show(s, i, out[change], side, out[change]["flags"] | LAST, depth)
    elif out[n - 1]["action"] == TRADE:
        s.heads[row - 1]["flags"] |= LAST
    stream["event_row"] = stream["rows"]
    see_nothing(s)


@inline
def show_restored(s: Any, i: Any, record: Any) -> None:
    """Show a book that was written out whole, by the last of its records; a snapshot without orders shows nothing."""
    stream = s.stream[0]
    if stream["levels"] > 0 and (record["action"] == ADD or stream["mode"] == REFILL):
        show(s, i, record, NO_SIDE, record["flags"], 0)
        stream["event_row"] = stream["rows"]
