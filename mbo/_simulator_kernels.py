"""The simulated exchange: price-time matching over dense grids, writing what happens as MBO records.

It is a witness against the book engine, so it is built of other things. A price is a place in the instrument's own
grid of ticks, not an entry of a sorted array; a tick holds nothing but the head and the tail of its queue. An order
is found by its slot: the exchange never looks one up by id, so there is no hash table. Orders of an instrument live
in a block of slots of its own, and one is picked at random by trying slots until one is taken. Both sides share one
grid, for between events a tick never has both. The best prices are kept, and found again by walking the grid where a
best level empties.

Integers only, and a generator of shifts and xors: the bytes are the same on every machine and with the JIT off. A
change in the order of the draws changes every session.

An event is written whole (at most `MAX_EVENT` records), except a snapshot: it stops at the end of the output and goes
on in the next call, and nothing else happens until it is complete. So the bytes do not depend on how large the
outputs are.

It is one long module because every part reads the same few structs: chance, the book, records and time, events, entry
points.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mbo._jit import inline, kernel
from mbo.records import MBO_LENGTH, RTYPE_MBO, Action, Flag, Side
from mbo.units import UNDEF_PRICE

ADD, CANCEL, MODIFY = int(Action.ADD), int(Action.CANCEL), int(Action.MODIFY)
CLEAR, TRADE, FILL = int(Action.CLEAR), int(Action.TRADE), int(Action.FILL)
BID, ASK, NO_SIDE = int(Side.BID), int(Side.ASK), int(Side.NONE)
LAST, RESTORED, UNTIMED = int(Flag.LAST), int(Flag.SNAPSHOT | Flag.BAD_TS_RECV), int(Flag.BAD_TS_RECV)

PUBLISHER = 1  # GLBX.MDP3.GLBX
CHANNEL = 26
MAX_FILLS = 48  # of one aggressor
MAX_EVENT = 128  # records: 4 T, 48 F, 48 C or M, and an A are the most
MAX_AHEAD = 66  # how many gaps the clock may be ahead of what is due: 64 by one jump, and what two steps add
MAX_LATENCY = 10_000_000  # ns from ts_event to ts_recv; 5 ms are kept, the rest is room for a last packet
NONE = -1  # no slot

STREAM_DTYPE = np.dtype(
    [
        ("now", "<i8"),  # ns UTC, ts_event of the present event
        ("recv", "<i8"),  # ns UTC, ts_recv of the present packet
        ("delta", "<i8"),  # ns, ts_in_delta of the present packet
        ("sequence", "<i8"),  # of the present packet
        ("next_id", "<i8"),  # order_id of the next order
        ("focus", "<i8"),  # row of the instrument whose event this is
        ("start", "<i8"),  # ns UTC
        ("gap", "<i8"),  # ns a record, on average
        ("paced", "<i8"),  # records written, without snapshots; the one at `paced` is due at start + paced * gap
        ("unopened", "<i8"),  # the first row without an opening snapshot
        ("snapshot_left", "<i8"),  # records the present snapshot still lacks
        ("snapshot_slot", "<i8"),  # the order it gave last; NONE before its R
        ("resting", "<i8"),  # orders an instrument should have
        ("slots", "<i8"),  # orders an instrument can have
        ("ticks", "<i8"),  # ticks of a grid
        (
            "near_bits",
            "<i8",
        ),  # a new order lies less than 2 ** bits ticks off: bits is drawn from near_bits to far_bits
        ("far_bits", "<i8"),
    ]
)
INSTRUMENT_DTYPE = np.dtype(
    [
        ("instrument_id", "<i8"),
        ("origin", "<i8"),  # price of tick 0, 1e-9
        ("tick", "<i8"),  # price between two ticks, 1e-9
        ("fair", "<i8"),  # tick of the lowest ask that would be right; wanders over the middle half of the grid
        ("best_bid", "<i8"),  # tick; -1 where there is none
        ("best_ask", "<i8"),  # tick; `ticks` where there is none
        ("count", "<i8"),  # resting orders
        ("free", "<i8"),  # first free slot
    ]
)
SLOT_DTYPE = np.dtype(
    [
        ("order_id", "<i8"),
        ("ts_event", "<i8"),  # ns UTC, since when it has its place in the queue
        ("sequence", "<i8"),  # of the packet that gave it
        ("size", "<i4"),  # 0: the slot is free
        ("tick", "<i4"),
        ("side", "<i4"),
        ("ahead", "<i4"),  # slot of the order before it in the queue; NONE for the first
        ("behind", "<i4"),  # slot of the order after it; NONE for the last. In a free slot: the next free one
        ("unused", "<i4"),
    ]
)
QUEUE_DTYPE = np.dtype([("head", "<i4"), ("tail", "<i4")])  # slots; both NONE where a tick has no orders


class State(NamedTuple):
    """The whole exchange."""

    rng: Any  # uint64 [1], never 0
    stream: Any  # STREAM_DTYPE [1]
    instruments: Any  # INSTRUMENT_DTYPE [instruments]
    slots: Any  # SLOT_DTYPE [instruments * slots], a block for each instrument
    queues: Any  # QUEUE_DTYPE [instruments * ticks], a grid for each instrument
    fills: Any  # int64 [MAX_FILLS], slots that the present aggressor meets


# --- chance


@inline
def below(s: Any, bound: Any) -> Any:
    """Draw from 0 up to and without `bound` (< 2**31): xorshift64, of which the high bits are taken."""
    x = s.rng[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    s.rng[0] = x
    return (np.int64(x >> np.uint64(33)) * np.int64(bound)) >> np.int64(31)


@inline
def one_in(s: Any, chances: Any) -> Any:
    return below(s, chances) == 0


@inline
def draw_size(s: Any) -> Any:
    kind = below(s, 32)
    if kind < 18:
        return 1 + below(s, 3)
    if kind < 29:
        return 1 + below(s, 10)
    if kind < 31:
        return 5 * (1 + below(s, 20))
    return 1 + below(s, 500)


@inline
def fit(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Move a tick to where an order of this side may rest: within the grid, not across the other side."""
    instrument = s.instruments[i]
    last = s.stream[0]["ticks"] - 1
    if side == BID:
        return max(min(tick, instrument["best_ask"] - 1, last - 1), 0)
    return min(max(tick, instrument["best_bid"] + 1, 1), last)


@inline
def draw_tick(s: Any, i: Any, side: Any) -> Any:
    """Draw a price: most orders are close to the fair one, a few are far off."""
    stream = s.stream[0]
    bits = stream["near_bits"] + below(s, stream["far_bits"] - stream["near_bits"] + 1)
    distance = below(s, np.int64(1) << bits)
    fair = s.instruments[i]["fair"]
    return fit(s, i, side, fair - 1 - distance if side == BID else fair + distance)


@inline
def draw_order(s: Any, i: Any) -> Any:
    """Pick a resting order, half of the time one close to the best; NONE if the book is empty."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    grid = i * stream["ticks"]
    if one_in(s, 2):
        distance = below(s, 4)
        tick = instrument["best_bid"] - distance if one_in(s, 2) else instrument["best_ask"] + distance
        slot = np.int64(s.queues[grid + tick]["tail"]) if 0 <= tick < stream["ticks"] else NONE
        steps = below(s, 8)
        while slot != NONE and steps > 0 and s.slots[slot]["ahead"] != NONE:
            slot = np.int64(s.slots[slot]["ahead"])
            steps -= 1
        if slot != NONE:
            return slot
    for _ in range(16):
        slot = i * stream["slots"] + below(s, stream["slots"])
        if s.slots[slot]["size"] > 0:
            return slot
    return first_order(s, i)


# --- the book


@inline
def best_bid_from(s: Any, i: Any, tick: Any) -> Any:
    """Find the highest tick with orders, from `tick` downwards; -1 if there is none."""
    grid = i * s.stream[0]["ticks"]
    while tick >= 0 and s.queues[grid + tick]["head"] == NONE:
        tick -= 1
    return tick


@inline
def best_ask_from(s: Any, i: Any, tick: Any) -> Any:
    """Find the lowest tick with orders, from `tick` upwards; the number of ticks if there is none."""
    ticks = s.stream[0]["ticks"]
    grid = i * ticks
    while tick < ticks and s.queues[grid + tick]["head"] == NONE:
        tick += 1
    return tick


@inline
def first_order(s: Any, i: Any) -> Any:
    """Find the first order in priority order: the best bid's, else the best ask's; NONE if there is none."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    if instrument["best_bid"] >= 0:
        return np.int64(s.queues[i * stream["ticks"] + instrument["best_bid"]]["head"])
    if instrument["best_ask"] < stream["ticks"]:
        return np.int64(s.queues[i * stream["ticks"] + instrument["best_ask"]]["head"])
    return NONE


@inline
def order_after(s: Any, i: Any, slot: Any) -> Any:
    """Find the next order in priority order: bids best to worst, then asks best to worst; NONE after the last."""
    stream = s.stream[0]
    order = s.slots[slot]
    if order["behind"] != NONE:
        return np.int64(order["behind"])
    if order["side"] == BID:
        tick = best_bid_from(s, i, np.int64(order["tick"]) - 1)
        if tick < 0:
            tick = s.instruments[i]["best_ask"]
    else:
        tick = best_ask_from(s, i, np.int64(order["tick"]) + 1)
    if tick >= stream["ticks"]:
        return NONE
    return np.int64(s.queues[i * stream["ticks"] + tick]["head"])


@inline
def enqueue(s: Any, i: Any, slot: Any) -> Any:
    """Put an order at the back of its tick's queue, as of now."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    order = s.slots[slot]
    tick = np.int64(order["tick"])
    queue = s.queues[i * stream["ticks"] + tick]
    order["ts_event"] = stream["now"]
    order["sequence"] = stream["sequence"]
    order["ahead"] = queue["tail"]
    order["behind"] = NONE
    if queue["tail"] == NONE:
        queue["head"] = slot
    else:
        s.slots[queue["tail"]]["behind"] = slot
    queue["tail"] = slot
    if order["side"] == BID:
        instrument["best_bid"] = max(instrument["best_bid"], tick)
    else:
        instrument["best_ask"] = min(instrument["best_ask"], tick)


@inline
def dequeue(s: Any, i: Any, slot: Any) -> Any:
    instrument = s.instruments[i]
    order = s.slots[slot]
    tick = np.int64(order["tick"])
    queue = s.queues[i * s.stream[0]["ticks"] + tick]
    if order["ahead"] == NONE:
        queue["head"] = order["behind"]
    else:
        s.slots[order["ahead"]]["behind"] = order["behind"]
    if order["behind"] == NONE:
        queue["tail"] = order["ahead"]
    else:
        s.slots[order["behind"]]["ahead"] = order["ahead"]
    if queue["head"] == NONE:
        if tick == instrument["best_bid"]:
            instrument["best_bid"] = best_bid_from(s, i, tick)
        elif tick == instrument["best_ask"]:
            instrument["best_ask"] = best_ask_from(s, i, tick)


@inline
def new_id(s: Any) -> Any:
    stream = s.stream[0]
    order_id = stream["next_id"]
    stream["next_id"] = order_id + 1 + below(s, 4)
    return order_id


@inline
def rest(s: Any, i: Any, order_id: Any, side: Any, tick: Any, size: Any) -> Any:
    """Take a new order into the book and return its slot; the instrument must have a free one."""
    instrument = s.instruments[i]
    slot = instrument["free"]
    order = s.slots[slot]
    instrument["free"] = order["behind"]
    instrument["count"] += 1
    order["order_id"] = order_id
    order["side"] = side
    order["tick"] = tick
    order["size"] = size
    enqueue(s, i, slot)
    return slot


@inline
def remove(s: Any, i: Any, slot: Any) -> Any:
    instrument = s.instruments[i]
    order = s.slots[slot]
    dequeue(s, i, slot)
    order["size"] = 0
    order["behind"] = instrument["free"]
    instrument["free"] = slot
    instrument["count"] -= 1


@inline
def empty(s: Any, i: Any) -> Any:
    """Make a book without orders, whatever was there: every tick empty, every slot free."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    for k in range(i * stream["ticks"], (i + 1) * stream["ticks"]):
        s.queues[k]["head"] = NONE
        s.queues[k]["tail"] = NONE
    first = i * stream["slots"]
    for k in range(first, first + stream["slots"]):
        s.slots[k]["size"] = 0
        s.slots[k]["behind"] = k + 1
    instrument["free"] = first
    instrument["count"] = 0
    instrument["best_bid"] = -1
    instrument["best_ask"] = stream["ticks"]


# --- records and time


@inline
def put(s: Any, out: Any, n: Any, action: Any, side: Any, order_id: Any, price: Any, size: Any) -> Any:
    """Write record `n` of the present event, without flags, and return the next one's number."""
    stream = s.stream[0]
    record = out[n]
    record["length"] = MBO_LENGTH
    record["rtype"] = RTYPE_MBO
    record["publisher_id"] = PUBLISHER
    record["instrument_id"] = s.instruments[stream["focus"]]["instrument_id"]
    record["ts_event"] = stream["now"]
    record["order_id"] = order_id
    record["price"] = price
    record["size"] = size
    record["flags"] = 0
    record["channel_id"] = CHANNEL
    record["action"] = action
    record["side"] = side
    record["ts_recv"] = stream["recv"]
    record["ts_in_delta"] = stream["delta"]
    record["sequence"] = stream["sequence"]
    return n + 1


@inline
def price_of(s: Any, i: Any, tick: Any) -> Any:
    return s.instruments[i]["origin"] + np.int64(tick) * s.instruments[i]["tick"]


@inline
def put_order(s: Any, out: Any, n: Any, action: Any, slot: Any, size: Any) -> Any:
    order = s.slots[slot]
    price = price_of(s, s.stream[0]["focus"], order["tick"])
    return put(s, out, n, action, np.int64(order["side"]), order["order_id"], price, np.int64(size))


@inline
def end_event(s: Any, out: Any, first: Any, n: Any) -> Any:
    out[n - 1]["flags"] = LAST
    s.stream[0]["paced"] += n - first
    return n


@inline
def next_packet(s: Any, earliest: Any, step: Any) -> Any:
    """Begin a packet, received at `earliest` or `step` ns after the last one; where capture lags by 5 ms it hurries."""
    stream = s.stream[0]
    if stream["recv"] - stream["now"] > 5_000_000:
        step = np.int64(1)
    stream["recv"] = max(earliest, stream["recv"] + step)
    stream["delta"] = 9_000 + below(s, 10_000)
    stream["sequence"] += 1 + below(s, 3)  # other instruments use the channel too


@inline
def advance(s: Any) -> Any:
    """Let time pass until the next event: bursts and pauses, never more than `MAX_AHEAD` gaps ahead of what is due."""
    stream = s.stream[0]
    gap = stream["gap"]
    step = 1 + (below(s, gap) >> below(s, 6))
    lag = stream["start"] + stream["paced"] * gap - stream["now"]
    if lag > 0 and one_in(s, 8):
        step += below(s, min(lag, 64 * gap) >> 7) << 8  # up to twice what is lacking
    stream["now"] += step
    if stream["now"] + 30_000 > stream["recv"] or one_in(s, 2):  # else the event still goes into the last packet
        latency = 60_000 + below(s, 60_000)
        if one_in(s, 64):
            latency += below(s, 2_000_000)
        next_packet(s, stream["now"] + latency, 1 + below(s, 200))


# --- events


@inline
def add(s: Any, out: Any, n: Any, i: Any) -> Any:
    side = BID if one_in(s, 2) else ASK
    slot = rest(s, i, new_id(s), side, draw_tick(s, i, side), draw_size(s))
    return put_order(s, out, n, ADD, slot, s.slots[slot]["size"])


@inline
def cancel(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    n = put_order(s, out, n, CANCEL, slot, s.slots[slot]["size"])
    remove(s, i, slot)
    return n


@inline
def modify(s: Any, out: Any, n: Any, i: Any, slot: Any) -> Any:
    """Change the price (to the back there), raise the size (to the back) or lower it (the place is kept)."""
    order = s.slots[slot]
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
    elif size == 1 or (kind == 1 and size < 2_000):
        order["size"] = size + 1 + below(s, 20)
        dequeue(s, i, slot)
        enqueue(s, i, slot)
    else:
        order["size"] = size - 1 - below(s, size - 1)
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
        slot = np.int64(s.queues[i * stream["ticks"] + tick]["head"])
        while slot != NONE and left > 0 and fills < MAX_FILLS:
            size = min(left, np.int64(s.slots[slot]["size"]))
            n = put_order(s, out, n, FILL, slot, size)
            left -= size
            s.fills[fills] = slot
            fills += 1
            last_fill = size
            slot = np.int64(s.slots[slot]["behind"])
        put(s, out, trade_at, TRADE, side, aggressor, price_of(s, i, tick), before - left)
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
            s.slots[slot]["size"] = size - last_fill
            n = put_order(s, out, n, MODIFY, slot, size - last_fill)
        else:
            n = cancel(s, out, n, i, slot)
    if rests:
        slot = rest(s, i, aggressor, side, limit, left)
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
    """Write the next event, or begin a snapshot; `left` records are still to come."""
    stream = s.stream[0]
    i = next_instrument(s)
    advance(s)
    wander(s, i)
    first = n
    if left >= MAX_EVENT:
        count = s.instruments[i]["count"]
        if one_in(s, 4_096 + 64 * stream["resting"]):
            if one_in(s, 4):
                return end_event(s, out, first, clear(s, out, n, i))
            if count < left:
                begin_snapshot(s, i)
                return n
        kind = below(s, 1024)
        if kind < 24:
            side = aggressor_side(s, i)
            if side != NO_SIDE:
                return end_event(s, out, first, trade(s, out, n, i, side))
        elif kind < 32 and count + 8 < stream["slots"]:
            return end_event(s, out, first, quote(s, out, n, i))
    return end_event(s, out, first, one_record(s, out, n, i))


@inline
def begin_snapshot(s: Any, i: Any) -> Any:
    stream = s.stream[0]
    stream["focus"] = i
    stream["snapshot_left"] = s.instruments[i]["count"] + 1
    stream["snapshot_slot"] = NONE


@inline
def snapshot(s: Any, out: Any, n: Any, room: Any) -> Any:
    """Go on with the present snapshot: an R, then an A for every order in priority order with its time and sequence."""
    stream = s.stream[0]
    i = stream["focus"]
    while n < room and stream["snapshot_left"] > 0:
        record = out[n]
        if stream["snapshot_left"] == s.instruments[i]["count"] + 1:
            n = put(s, out, n, CLEAR, NO_SIDE, 0, UNDEF_PRICE, 0)
            slot = first_order(s, i)
            record["sequence"] = 0
        else:
            slot = stream["snapshot_slot"]
            n = put_order(s, out, n, ADD, slot, s.slots[slot]["size"])
            record["ts_event"] = s.slots[slot]["ts_event"]
            record["sequence"] = s.slots[slot]["sequence"]
            slot = order_after(s, i, slot)
        if record["action"] == CLEAR and slot != NONE:
            record["ts_event"] = s.slots[slot]["ts_event"]
        stream["snapshot_slot"] = slot
        stream["snapshot_left"] -= 1
        record["ts_in_delta"] = 0
        record["flags"] = RESTORED | LAST if stream["snapshot_left"] == 0 else RESTORED
    return n


# --- entry points


@kernel
def populate(s: Any, first_event: int, step: int) -> None:
    """Fill every book with its resting orders, `step` ns apart from `first_event` on, without a record of it."""
    stream = s.stream[0]
    stream["now"] = first_event
    for i in range(s.instruments.shape[0]):
        empty(s, i)
        for _ in range(stream["resting"]):
            stream["now"] += step
            stream["sequence"] += 1
            side = BID if one_in(s, 2) else ASK
            rest(s, i, new_id(s), side, draw_tick(s, i, side), draw_size(s))
    stream["now"] = stream["start"]
    stream["recv"] = stream["start"]


@kernel
def run(s: Any, out: Any, messages: int) -> int:
    """Write the stream's next records to `out` (MBO_DTYPE, at least MAX_EVENT) and return how many.

    `messages` are still to come in all: the last ones are events of one record, so that the count is met.
    """
    stream = s.stream[0]
    n = np.int64(0)  # a plain 0 would be a type of its own: every helper compiled twice
    room = min(out.shape[0], messages)
    while n < room:
        left = messages - n
        if stream["snapshot_left"] > 0:
            n = snapshot(s, out, n, room)
        elif stream["unopened"] < s.instruments.shape[0]:
            begin_snapshot(s, stream["unopened"])
            stream["unopened"] += 1
        elif left >= MAX_EVENT and out.shape[0] - n < MAX_EVENT:
            break
        else:
            n = event(s, out, n, left)
    return int(n)


@kernel
def list_orders(s: Any, i: int, out: Any) -> int:
    """Write an instrument's orders in priority order to `out` (ORDER_DTYPE, at least `count`) and return how many."""
    n = 0
    slot = first_order(s, i)
    while slot != NONE:
        order = s.slots[slot]
        row = out[n]
        row["order_id"] = order["order_id"]
        row["side"] = order["side"]
        row["price"] = price_of(s, i, order["tick"])
        row["size"] = order["size"]
        row["ts_event"] = order["ts_event"]
        row["aggregate"] = False
        n += 1
        slot = order_after(s, i, slot)
    return n
