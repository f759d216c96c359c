"""What happens at the simulated exchange in a plain session: orders come, change and go, and aggressive ones trade.

An event is written whole (at most `MAX_EVENT` records), except a book that is written out: it stops at the end of the
output and goes on in the next call, and nothing else happens until it is complete. So the bytes do not depend on how
large the outputs are.

Every function that changes the book tells the truth kernels what it touches, in the order of the records.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel
from mbo._simulator_state_kernels import (
    ADD,
    ASK,
    BARE,
    BID,
    CANCEL,
    CLEAR,
    FILL,
    GLBX,
    MAX_EVENT,
    MAX_FILLS,
    MAYBE_BAD,
    MODIFY,
    NO_SIDE,
    NONE,
    NOTHING,
    REFILL,
    RESTORE,
    RESTORED,
    TRADE,
    UNTIMED,
    below,
    best_ask_from,
    best_bid_from,
    dequeue,
    draw_order,
    draw_size,
    draw_tick,
    empty,
    enqueue,
    first_order,
    fit,
    hide,
    new_id,
    next_packet,
    one_in,
    order_after,
    place_of,
    price_of,
    put,
    put_order,
    remove,
    rest,
)  # fmt: skip
from mbo._simulator_truth_kernels import see_all, see_order, show_event, show_restored, show_trade
from mbo.units import UNDEF_PRICE


@inline
def end_event(s: Any, out: Any, first: Any, n: Any) -> Any:
    """Give the event's records their flags and return the next record's number."""
    stream = s.stream[0]
    instrument = s.instruments[stream["focus"]]
    if stream["trailing"] != 0:
        n = put(s, out, n, NOTHING, NO_SIDE, 0, UNDEF_PRICE, 0)
    if instrument["doubt"] > 0:
        for k in range(first, n):
            out[k]["flags"] |= MAYBE_BAD
    out[n - 1]["flags"] |= instrument["last"]
    stream["paced"] += n - first
    if stream["levels"] > 0:
        show_event(s, out, first, n, stream["focus"])
    return n


@inline
def add(s: Any, out: Any, n: Any, i: Any) -> Any:
    side = BID if one_in(s, 2) else ASK
    slot = rest(s, i, new_id(s), side, draw_tick(s, i, side), draw_size(s))
    hide(s, i, slot)
    see_order(s, i, slot)
    return put_order(s, out, n, ADD, slot, s.slots[slot]["size"])


@inline
def cancel(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    n = put_order(s, out, n, CANCEL, slot, s.slots[slot]["size"])
    see_order(s, i, slot)
    remove(s, i, slot)
    return n


@inline
def modify(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    """Change the price (to the back there), raise the size (to the back) or lower it (the place is kept).

    At other venues than GLBX a size is lowered by a C of a part, and an M may say what is so already: the place is kept.
    """
    order = s.slots[slot]
    see_order(s, i, slot)
    size = np.int64(order["size"])
    tick = np.int64(order["tick"])
    kind = below(s, 4)
    target = tick
    if kind == 0:
        move = 1 + below(s, 4)
        target = fit(s, i, order["side"], tick + move if one_in(s, 2) else tick - move)
        if one_in(s, 4):
            order["size"] = draw_size(s)
    if target != tick:
        dequeue(s, i, slot)
        order["tick"] = target
        enqueue(s, i, slot)
        see_order(s, i, slot)
    elif size == 1 or (kind == 1 and size < 2_000):
        order["size"] = size + 1 + below(s, 20)
        dequeue(s, i, slot)
        enqueue(s, i, slot)
    else:
        less = 1 + below(s, size - 1)
        if s.instruments[i]["publisher"] == GLBX:
            order["size"] = size - less
        elif kind != 3:
            order["size"] = size - less
            return put_order(s, out, n, CANCEL, slot, less)
    return put_order(s, out, n, MODIFY, slot, order["size"])


@inline
def trade(s: Any, out: Any, n: Any, i: Any, side: Any) -> Any:
    """Match an aggressive order with the other side, which must not be empty.

    All T and F come first, a T for each price with its F, then what became of the resting orders. The aggressor's
    limit is the last price it reached: a remainder rests there, or is gone.
    """
    stream = s.stream[0]
    instrument = s.instruments[i]
    aggressor = new_id(s)
    levels = 1 if below(s, 8) < 7 else 1 + below(s, 4)
    left = draw_size(s)
    if levels > 1:
        left += below(s, 300)
    tick = instrument["best_ask"] if side == BID else instrument["best_bid"]
    limit = tick
    fills = 0
    last_fill = left
    while left > 0 and levels > 0 and fills < MAX_FILLS and 0 <= tick < stream["ticks"]:
        limit = tick
        before = left
        trade_at = n
        n += 1
        slot = np.int64(s.queues[place_of(s, i, ASK if side == BID else BID, tick)]["head"])
        while slot != NONE and left > 0 and fills < MAX_FILLS:
            size = min(left, np.int64(s.slots[slot]["size"]))
            n = put_order(s, out, n, FILL, slot, size)
            left -= size
            s.fills[fills] = slot
            fills += 1
            last_fill = size
            slot = np.int64(s.slots[slot]["behind"])
        put(s, out, trade_at, TRADE, side, aggressor, price_of(s, i, tick), before - left)
        show_trade(s, i, out[trade_at])
        levels -= 1
        tick = best_ask_from(s, i, tick + 1) if side == BID else best_bid_from(s, i, tick - 1)
    if one_in(s, 3):
        next_packet(s, stream["recv"], 2_000 + below(s, 10_000))
    # Where something is left and fills are not used up, every order up to the limit has gone.
    rests = left > 0 and fills < MAX_FILLS and 0 < limit < stream["ticks"] - 1 and one_in(s, 2)
    early = rests and one_in(s, 4)  # the remainder's A is sometimes written before the others' C
    if early:
        n = put(s, out, n, ADD, side, aggressor, price_of(s, i, limit), left)
    for k in range(fills):
        slot = s.fills[k]
        size = np.int64(s.slots[slot]["size"])
        if k == fills - 1 and last_fill < size:
            see_order(s, i, slot)
            s.slots[slot]["size"] = size - last_fill
            n = put_order(s, out, n, MODIFY, slot, size - last_fill)
        else:
            n = cancel(s, out, n, i, slot)
    if rests:
        slot = rest(s, i, aggressor, side, limit, left)
        see_order(s, i, slot)
        if not early:
            n = put_order(s, out, n, ADD, slot, left)
    return n


@inline
def quote(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Cancel and add several orders in one event, as a mass quote does."""
    for _ in range(2 + below(s, 5)):
        slot = draw_order(s, i)
        adds = slot == NONE or one_in(s, 2)
        n = add(s, out, n, i) if adds else cancel(s, out, n, i, slot)
    return n


@inline
def clear(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Lose all orders: an R that ends the event, or one with new orders in the same event."""
    empty(s, i)
    see_all(s)
    first = n
    n = put(s, out, n, CLEAR, NO_SIDE, 0, UNDEF_PRICE, 0)
    if one_in(s, 2):
        out[first]["flags"] = UNTIMED
        for _ in range(1 + min(below(s, 6), s.stream[0]["resting"])):
            n = add(s, out, n, i)
    return n


@inline
def one_record(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Write an event of one record; adds and cancels balance where the number of resting orders is as it should be."""
    stream = s.stream[0]
    count = s.instruments[i]["count"]
    modifies = one_in(s, 11)
    lacking = (stream["resting"] - count) * 2048 // stream["resting"]
    adds = below(s, 1024) < min(max(512 + lacking, 32), 992)
    slot = NONE
    if (modifies or not adds or count >= stream["slots"]) and count > 0:
        slot = draw_order(s, i)
    if slot == NONE:
        return add(s, out, n, i)
    if modifies:
        return modify(s, out, n, i, slot)
    return cancel(s, out, n, i, slot)


# The same once more, to be called instead of compiled in place: for what is not the usual.


@kernel
def cancel_apart(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    return cancel(s, out, n, i, slot)


@kernel
def quote_apart(s: Any, out: Any, n: Any, i: Any) -> Any:
    return quote(s, out, n, i)


@kernel
def clear_apart(s: Any, out: Any, n: Any, i: Any) -> Any:
    return clear(s, out, n, i)


@kernel
def one_record_apart(s: Any, out: Any, n: Any, i: Any) -> Any:
    return one_record(s, out, n, i)


@inline
def aggressor_side(s: Any, i: Any) -> Any:
    """Choose who is aggressive: mostly whoever brings the price back to the fair one; NO_SIDE where nobody can be."""
    instrument = s.instruments[i]
    buys = one_in(s, 2)
    if below(s, 8) < 7:
        if instrument["best_ask"] < instrument["fair"]:
            buys = True
        elif instrument["best_bid"] >= instrument["fair"]:
            buys = False
    if buys:
        return BID if instrument["best_ask"] < s.stream[0]["ticks"] else NO_SIDE
    return ASK if instrument["best_bid"] >= 0 else NO_SIDE


@inline
def next_instrument(s: Any) -> Any:
    """Choose whose event is next: often the last one's, and the first instruments more often than the others."""
    stream = s.stream[0]
    instruments = s.instruments.shape[0]
    if instruments > 1 and not one_in(s, 4):
        stream["focus"] = below(s, instruments)
        if one_in(s, 2):
            stream["focus"] = min(stream["focus"], below(s, instruments))
    return stream["focus"]


@inline
def wander(s: Any, i: Any) -> Any:
    """Move the fair price by a tick now and then, the slower the more orders have to follow."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    if one_in(s, 64 + stream["resting"] // 2):
        fair = instrument["fair"] + (1 if one_in(s, 2) else -1)
        instrument["fair"] = min(max(fair, stream["ticks"] // 4), stream["ticks"] - stream["ticks"] // 4)


@inline
def event(s: Any, out: Any, n: Any, left: Any) -> Any:
    """Write the next event of a plain session without its flags, or begin a snapshot; `left` records are still to come."""
    stream = s.stream[0]
    i = stream["focus"]
    if left >= MAX_EVENT:
        count = s.instruments[i]["count"]
        if one_in(s, 4_096 + 64 * stream["resting"]):
            if one_in(s, 4):
                return clear(s, out, n, i)
            if count < left:
                begin_snapshot(s, i, RESTORE)
                return n
        kind = below(s, 1024)
        if kind < 24:
            side = aggressor_side(s, i)
            if side != NO_SIDE:
                return trade(s, out, n, i, side)
        elif kind < 32 and count + 8 < stream["slots"]:
            return quote(s, out, n, i)
    return one_record(s, out, n, i)


@inline
def begin_snapshot(s: Any, i: Any, mode: Any) -> Any:
    """Have the book written out next, as RESTORE, BARE or REFILL say."""
    stream = s.stream[0]
    stream["focus"] = i
    stream["mode"] = mode
    stream["snapshot_left"] = s.instruments[i]["count"] + (0 if mode == BARE else 1)
    stream["snapshot_slot"] = first_order(s, i) if mode == BARE else NONE


@inline
def snapshot(s: Any, out: Any, n: Any, room: Any) -> Any:
    """Go on writing the book out: an R, unless it is BARE, then an A for every order in priority order.

    A snapshot's records have the times and sequences of the orders; those of a REFILL have the present ones, and the
    orders have their places since now.
    """
    stream = s.stream[0]
    i = stream["focus"]
    refills = stream["mode"] == REFILL
    while n < room and stream["snapshot_left"] > 0:
        record = out[n]
        if stream["snapshot_left"] == s.instruments[i]["count"] + 1:
            n = put(s, out, n, CLEAR, NO_SIDE, 0, UNDEF_PRICE, 0)
            slot = first_order(s, i)
            record["flags"] = UNTIMED
            if not refills:
                record["sequence"] = 0
                if slot != NONE:
                    record["ts_event"] = s.slots[slot]["ts_event"]
        else:
            slot = stream["snapshot_slot"]
            n = put_order(s, out, n, ADD, slot, s.slots[slot]["size"])
            if refills:
                s.slots[slot]["ts_event"] = record["ts_event"]
                s.slots[slot]["sequence"] = record["sequence"]
            else:
                record["ts_event"] = s.slots[slot]["ts_event"]
                record["sequence"] = s.slots[slot]["sequence"]
            slot = order_after(s, i, slot)
        stream["snapshot_slot"] = slot
        stream["snapshot_left"] -= 1
        if not refills:
            record["ts_in_delta"] = 0
            record["flags"] = RESTORED
        if stream["snapshot_left"] == 0:
            record["flags"] |= s.instruments[i]["last"]
            s.instruments[i]["doubt"] = 0
            show_restored(s, i, record)
    return n
