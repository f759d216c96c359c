"""What else may happen at the simulated exchange, by the bits of `Feature`: icebergs, auctions, lost records and the like.

Trades are matched in two steps. First it is settled who trades how much, and T and F are written, while the book stands as it was;
then what became of each order, as records and in the book at once. An order that is filled several times has one F, at the last.

It is one long module because what trades, for whatever reason, goes through the same two steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel
from mbo._simulator_event_kernels import (
    aggressor_side,
    begin_snapshot,
    cancel_apart,
    clear_apart,
    one_record_apart,
    quote_apart,
)
from mbo._simulator_state_kernels import (
    ADD,
    ASK,
    AUCTIONS,
    BARE,
    BID,
    CANCEL,
    CROSSING,
    FILL,
    GAPS,
    GLBX,
    LONE_TRADES,
    MAX_EVENT,
    MAX_FILLS,
    MODIFY,
    NO_SIDE,
    NONE,
    NOTHING,
    REFILL,
    RESETS,
    RESTORE,
    SELF_MATCH,
    SPREADS,
    STOPS,
    TRADE,
    TRAILING,
    below,
    best_ask_from,
    best_bid_from,
    dequeue,
    draw_order,
    draw_size,
    enqueue,
    new_id,
    next_packet,
    one_in,
    order_after,
    place_of,
    price_of,
    put,
    put_order,
    rest,
)  # fmt: skip
from mbo._simulator_truth_kernels import see_nothing, see_order, show_trade
from mbo.units import UNDEF_PRICE


@inline
def other(side: Any) -> Any:
    return ASK if side == BID else BID


@inline
def best_of(s: Any, i: Any, side: Any) -> Any:
    """Give the tick of a side's best level, off the grid if there is none."""
    return s.instruments[i]["best_bid"] if side == BID else s.instruments[i]["best_ask"]


@inline
def worse_than(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Give the tick of a side's next level, off the grid if there is none."""
    return best_bid_from(s, i, tick - 1) if side == BID else best_ask_from(s, i, tick + 1)


@inline
def on_grid(s: Any, tick: Any) -> Any:
    return 0 <= tick < s.stream[0]["ticks"]


@inline
def whole(s: Any, slot: Any) -> Any:
    """Give an order's size with what it hides."""
    return np.int64(s.slots[slot]["size"]) + np.int64(s.slots[slot]["hidden"])


@kernel
def volume(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Sum a level up, with what is hidden."""
    total = np.int64(0)
    slot = np.int64(s.queues[place_of(s, i, side, tick)]["head"])
    while slot != NONE:
        total += whole(s, slot)
        slot = np.int64(s.slots[slot]["behind"])
    return total


@inline
def crossed(s: Any, i: Any) -> Any:
    bid = s.instruments[i]["best_bid"]
    return bid >= 0 and bid >= s.instruments[i]["best_ask"]


# --- matching


@inline
def take(s: Any, slot: Any, size: Any) -> None:
    s.slots[slot]["taken"] += size


@kernel
def match_level(
    s: Any, out: Any, n: Any, i: Any, tick: Any, left: Any, shown: Any, aggressor: Any, side: Any, fills: Any
) -> Any:
    """Match an aggressor of `side`, shown as `shown`, with one level; its T and F become records `n` and on.

    An iceberg whose tip is used up goes to the back with its next one, and so may be met again. Returns the next record's
    number, how many of `fills` are taken, and what the aggressor has left: something only if it has met every order.
    """
    first = fills
    before = left
    slot = np.int64(s.queues[place_of(s, i, other(side), tick)]["head"])
    while slot != NONE and left > 0 and fills < MAX_FILLS:
        order = s.slots[slot]
        if left < before and s.stream[0]["features"] & SELF_MATCH != 0 and one_in(s, 12):
            order["taken"] = -1
        else:
            order["taken"] = min(left, np.int64(order["size"]))
            left -= np.int64(order["taken"])
        s.fills[fills] = slot
        fills += 1
        slot = np.int64(order["behind"])
    again = slot == NONE and left > 0
    while again:
        again = False
        k = first
        end = fills
        while k < end:
            slot = s.fills[k]
            order = s.slots[slot]
            size = min(left, np.int64(order["peak"]), whole(s, slot) - np.int64(order["taken"]))
            if np.int64(order["hidden"]) == 0 or np.int64(order["taken"]) < 0 or size == 0:
                k += 1
                continue
            order["taken"] += size
            left -= size
            for later in range(k, fills - 1):  # its F comes after those of the orders that were before it
                s.fills[later] = s.fills[later + 1]
            s.fills[fills - 1] = slot
            end -= 1
            again = left > 0
    if left == before:
        return n, fills, left
    trade_at = n
    price = price_of(s, i, tick)
    n = put(s, out, n, TRADE, shown, aggressor, price, before - left)
    for k in range(first, fills):
        order = s.slots[s.fills[k]]
        if np.int64(order["taken"]) > 0:
            passive = NO_SIDE if shown == NO_SIDE else other(side)
            n = put(s, out, n, FILL, passive, order["order_id"], price, np.int64(order["taken"]))
    show_trade(s, i, out[trade_at])
    return n, fills, left


@inline
def alone(s: Any, i: Any, slot: Any) -> Any:
    """Say whether no other order stays at an order's price."""
    found = np.int64(s.queues[place_of(s, i, s.slots[slot]["side"], s.slots[slot]["tick"])]["head"])
    while found != NONE:
        taken = np.int64(s.slots[found]["taken"])
        if found != slot and taken >= 0 and taken < whole(s, found):
            return False
        found = np.int64(s.slots[found]["behind"])
    return True


@kernel
def settle(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    """Write what became of an order that was met.

    An iceberg goes to the back with its next tip. A receiver cannot know that of a tip that is smaller than the one before:
    for him a smaller size keeps its place. So there is none unless nobody waits at that price; else the rest is withdrawn.
    """
    order = s.slots[slot]
    taken = np.int64(order["taken"])
    size = np.int64(order["size"])
    remains = whole(s, slot) - taken
    order["taken"] = 0
    tip = min(remains, np.int64(order["peak"]))
    if taken < 0 or remains == 0 or (taken >= size and tip < size and not alone(s, i, slot)):
        return cancel_apart(s, out, n, i, slot)
    see_order(s, i, slot)
    if taken < size:
        order["size"] = size - taken
        if s.instruments[i]["publisher"] != GLBX:
            return put_order(s, out, n, CANCEL, slot, taken)
        return put_order(s, out, n, MODIFY, slot, size - taken)
    order["size"] = tip
    order["hidden"] = remains - tip
    if tip >= size:
        dequeue(s, i, slot)
        enqueue(s, i, slot)
    return put_order(s, out, n, MODIFY, slot, tip)


@kernel
def remain(s: Any, out: Any, n: Any, i: Any, own: Any, order_id: Any, side: Any, tick: Any, size: Any) -> Any:
    """Rest what an aggressor has left: as a new order, or as the order `own` that was modified."""
    if own == NONE:
        slot = rest(s, i, order_id, side, tick, size)
        see_order(s, i, slot)
        return put_order(s, out, n, ADD, slot, size)
    see_order(s, i, own)
    dequeue(s, i, own)
    s.slots[own]["tick"] = tick
    s.slots[own]["size"] = size
    enqueue(s, i, own)
    see_order(s, i, own)
    return put_order(s, out, n, MODIFY, own, size)


# --- events


@kernel
def rich_trade(s: Any, out: Any, n: Any, i: Any, side: Any, own: Any) -> Any:
    """Match an aggressive order with the other side, which must not be empty; `own` is it, if it rested, else NONE.

    It may stand for a trade of another book (a spread's), or empty a level and so trigger a stop order of its side.
    """
    stream = s.stream[0]
    instrument = s.instruments[i]
    features = stream["features"]
    implied = own == NONE and features & SPREADS != 0 and one_in(s, 12)
    triggers = own == NONE and not implied and features & STOPS != 0 and one_in(s, 8)
    tick = best_of(s, i, other(side))
    levels = 1 if own != NONE or triggers or below(s, 8) < 7 else 1 + below(s, 4)
    left = draw_size(s)
    if own != NONE:
        left = np.int64(s.slots[own]["size"])
    elif triggers:
        left = volume(s, i, other(side), tick)
    elif levels > 1:
        left += below(s, 300)
    aggressor = np.int64(0)
    if own != NONE:
        aggressor = s.slots[own]["order_id"]
    elif not implied:
        aggressor = new_id(s)
    shown = NO_SIDE if implied else side
    asked = left
    limit = tick
    fills = np.int64(0)
    while left > 0 and levels > 0 and fills < MAX_FILLS and on_grid(s, tick):
        limit = tick
        n, fills, left = match_level(s, out, n, i, tick, left, shown, aggressor, side, fills)
        tick = worse_than(s, i, other(side), tick)
        levels -= 1
    if own != NONE:
        n = put(s, out, n, FILL, side, aggressor, price_of(s, i, limit), asked - left)
    if triggers and left == 0 and fills < MAX_FILLS and on_grid(s, tick):
        aggressor = new_id(s)
        limit = tick
        n, fills, left = match_level(s, out, n, i, tick, draw_size(s), side, aggressor, side, fills)
    if one_in(s, 3):
        next_packet(s, stream["recv"], 2_000 + below(s, 10_000))
    # Where something is left and fills are not used up, every order up to the limit goes.
    rests = left > 0 and fills < MAX_FILLS and not implied and 0 < limit < stream["ticks"] - 1
    rests = rests and (own != NONE or one_in(s, 2))
    early = one_in(s, 4) and instrument["count"] < stream["slots"]  # what the aggressor's order becomes comes first
    if early and rests:
        n = remain(s, out, n, i, own, aggressor, side, limit, left)
    elif early and own != NONE:
        n = cancel_apart(s, out, n, i, own)
    for k in range(fills):
        n = settle(s, out, n, i, s.fills[k])
    if not early and rests:
        n = remain(s, out, n, i, own, aggressor, side, limit, left)
    elif not early and own != NONE:
        n = cancel_apart(s, out, n, i, own)
    return n


@kernel
def cross(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Modify an order so that it crosses; nothing happens where the one that was drawn cannot."""
    slot = draw_order(s, i)
    if slot == NONE or s.slots[slot]["hidden"] > 0:
        return n
    side = np.int64(s.slots[slot]["side"])
    if not on_grid(s, best_of(s, i, other(side))):
        return n
    return rich_trade(s, out, n, i, side, slot)


@kernel
def lone_trade(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Write a T that changes nothing in the book: what traded was never in it."""
    side = BID if one_in(s, 2) else ASK
    tick = best_of(s, i, other(side))
    price = price_of(s, i, tick if on_grid(s, tick) else s.instruments[i]["fair"])
    size = draw_size(s)
    order_id = new_id(s)
    if one_in(s, 2):
        side = NO_SIDE
        order_id = 0
    n = put(s, out, n, TRADE, side, order_id, price, size)
    show_trade(s, i, out[n - 1])
    return n


@inline
def after(s: Any, i: Any, slot: Any) -> Any:
    """Find the next order in priority order of the same side."""
    found = order_after(s, i, slot)
    return found if found != NONE and s.slots[found]["side"] == s.slots[slot]["side"] else NONE


@kernel
def auction_tick(s: Any, i: Any) -> Any:
    """Find the price at which most of a crossed book trades: halfway between the last bid and ask that do."""
    bid = s.instruments[i]["best_bid"]
    ask = s.instruments[i]["best_ask"]
    buys = volume(s, i, BID, bid)
    sells = volume(s, i, ASK, ask)
    tick = bid
    while on_grid(s, bid) and on_grid(s, ask) and bid >= ask:
        tick = (bid + ask) >> 1
        traded = min(buys, sells)
        buys -= traded
        sells -= traded
        if buys == 0:
            bid = worse_than(s, i, BID, bid)
            buys = volume(s, i, BID, bid) if on_grid(s, bid) else 0
        if sells == 0:
            ask = worse_than(s, i, ASK, ask)
            sells = volume(s, i, ASK, ask) if on_grid(s, ask) else 0
    return tick


@kernel
def uncross(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Auction a crossed book at one price, best orders first; a large one takes several events, and matching waits for all."""
    price = price_of(s, i, auction_tick(s, i))
    buy = np.int64(s.queues[place_of(s, i, BID, s.instruments[i]["best_bid"])]["head"])
    sell = np.int64(s.queues[place_of(s, i, ASK, s.instruments[i]["best_ask"])]["head"])
    fills = np.int64(0)
    total = np.int64(0)
    while buy != NONE and sell != NONE and s.slots[buy]["tick"] >= s.slots[sell]["tick"] and fills + 2 <= MAX_FILLS:
        for slot in (buy, sell):
            if s.slots[slot]["taken"] == 0:
                s.fills[fills] = slot
                fills += 1
        size = min(whole(s, buy) - np.int64(s.slots[buy]["taken"]), whole(s, sell) - np.int64(s.slots[sell]["taken"]))
        take(s, buy, size)
        take(s, sell, size)
        total += size
        bought = np.int64(s.slots[buy]["taken"]) == whole(s, buy)
        if np.int64(s.slots[sell]["taken"]) == whole(s, sell):
            sell = after(s, i, sell)
        if bought:
            buy = after(s, i, buy)
    n = put(s, out, n, TRADE, NO_SIDE, 0, price, total)
    show_trade(s, i, out[n - 1])
    for k in range(fills):
        order = s.slots[s.fills[k]]
        n = put(s, out, n, FILL, NO_SIDE, order["order_id"], price, np.int64(order["taken"]))
    for k in range(fills):
        n = settle(s, out, n, i, s.fills[k])
    if not crossed(s, i):
        s.instruments[i]["preopen"] = 0
    return n


@kernel
def lose(s: Any, out: Any, n: Any, i: Any) -> Any:
    """Lose records of the channel: either none was this book's, so the doubt is needless, or some were.

    A doubted book is written out after a few events that say so. Where records of its own are lost, that is at once, for what
    else could be said of a book that nobody has? Only an N may come first.
    """
    s.stream[0]["sequence"] += 50 + below(s, 5_000)
    if not one_in(s, 3):
        s.instruments[i]["doubt"] = 2 + below(s, 4)
        return one_record_apart(s, out, n, i)
    s.instruments[i]["doubt"] = 1
    for _ in range(1 + below(s, 4)):
        if s.instruments[i]["count"] + 8 < s.stream[0]["slots"]:
            quote_apart(s, out, n, i)  # to where the next records are written over it
    see_nothing(s)
    if one_in(s, 2):
        n = put(s, out, n, NOTHING, NO_SIDE, 0, UNDEF_PRICE, 0)
    begin_snapshot(s, i, REFILL if one_in(s, 3) else RESTORE)
    return n


@inline
def reset(s: Any, left: Any) -> None:
    """Have every book written out anew, if there is room for that."""
    stream = s.stream[0]
    owed = s.instruments.shape[0]
    for i in range(s.instruments.shape[0]):
        owed += s.instruments[i]["count"]
    if owed <= left:
        stream["unopened"] = 0
        stream["opening"] = REFILL


@inline
def rare(s: Any, out: Any, n: Any, i: Any, left: Any) -> Any:
    """Write or begin something that is rare, if it is among the features; nothing may come of it."""
    stream = s.stream[0]
    features = stream["features"]
    kind = below(s, 5)
    if kind == 0:
        return clear_apart(s, out, n, i)
    if kind == 1:
        begin_snapshot(s, i, RESTORE)
    elif kind == 2 and features & AUCTIONS != 0:
        s.instruments[i]["preopen"] = 20 + below(s, 60)
        return one_record_apart(s, out, n, i)
    elif kind == 3 and features & RESETS != 0:
        reset(s, left)
    elif kind == 4 and features & GAPS != 0:
        return lose(s, out, n, i)
    return n


@kernel
def featured_event(s: Any, out: Any, n: Any, left: Any) -> Any:
    """Write the next event without its flags, or begin to write out one book or all; `left` records are still to come."""
    stream = s.stream[0]
    i = stream["focus"]
    instrument = s.instruments[i]
    features = stream["features"]
    first = n
    roomy = left >= MAX_EVENT
    count = instrument["count"]
    stream["trailing"] = 1 if roomy and features & TRAILING != 0 and one_in(s, 4) else 0
    if instrument["doubt"] > 1:
        instrument["doubt"] -= 1
        return one_record_apart(s, out, n, i)
    if instrument["doubt"] == 1 and count + 1 <= left:
        begin_snapshot(s, i, BARE if count > 0 and one_in(s, 2) else REFILL if one_in(s, 2) else RESTORE)
        return n
    if instrument["preopen"] == 1 and roomy:
        if crossed(s, i):
            return uncross(s, out, n, i)
        instrument["preopen"] = 0
    elif instrument["preopen"] > 1:
        instrument["preopen"] -= 1
    elif roomy:
        if count + 64 < left and one_in(s, 256 + 4 * stream["resting"]):
            n = rare(s, out, n, i, left)
            if n > first:
                return n
            if stream["snapshot_left"] > 0 or stream["unopened"] == 0:
                return n
        kind = below(s, 1024)
        if kind < 40:
            side = aggressor_side(s, i)
            if side != NO_SIDE:
                return rich_trade(s, out, n, i, side, np.int64(NONE))  # a constant would be a type of its own
        elif kind < 48 and features & LONE_TRADES != 0:
            return lone_trade(s, out, n, i)
        elif kind < 56 and features & CROSSING != 0:
            n = cross(s, out, n, i)
            if n > first:
                return n
    if roomy and count + 8 < stream["slots"] and one_in(s, 128):
        return quote_apart(s, out, n, i)
    return one_record_apart(s, out, n, i)
