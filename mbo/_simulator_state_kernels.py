"""The simulated exchange: its state, chance, the book on a grid of ticks, and how a record is written.

It is a witness against the book engine, so it is built of other things. A price is a place in the instrument's own
grid of ticks, not an entry of a sorted array; a tick holds nothing but the head and the tail of its queue. An order
is found by its slot: the exchange never looks one up by id, so there is no hash table. Orders of an instrument live
in a block of slots of its own, and one is picked at random by trying slots until one is taken. Both sides share one
grid, for between events a tick never has both; where a session has features that let the book cross, each side has its
own. The best prices are kept, and found again by walking the grid where a best level empties.

Integers only, and a generator of shifts and xors: the bytes are the same on every machine and with the JIT off. A
change in the order of the draws changes every session.

It is one long module because every part reads the same few structs.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Any, NamedTuple

import numpy as np

from mbo._jit import inline
from mbo.records import MBO_LENGTH, RTYPE_MBO, Action, Flag, Side

ADD, CANCEL, MODIFY = int(Action.ADD), int(Action.CANCEL), int(Action.MODIFY)
CLEAR, TRADE, FILL, NOTHING = int(Action.CLEAR), int(Action.TRADE), int(Action.FILL), int(Action.NONE)
BID, ASK, NO_SIDE = int(Side.BID), int(Side.ASK), int(Side.NONE)
LAST, RESTORED, UNTIMED = int(Flag.LAST), int(Flag.SNAPSHOT | Flag.BAD_TS_RECV), int(Flag.BAD_TS_RECV)
MAYBE_BAD, SPECIFIC = int(Flag.MAYBE_BAD_BOOK), int(Flag.PUBLISHER_SPECIFIC)


class Feature(IntFlag):
    """What a session may have besides orders, trades of limit orders, mass quotes, clears and snapshots."""

    NONE = 0
    ICEBERGS = 1  # orders that show the next tip when one is used up
    SELF_MATCH = 2  # an order that its own firm's aggressor meets is cancelled, without an F
    SPREADS = 4  # trades implied by another book: T and F on no side, T without an order
    LONE_TRADES = 8  # a T with F_LAST, and nothing changes
    STOPS = 16  # a trade that empties a level triggers the next T in the same event
    CROSSING = 32  # an order is modified so that it crosses and trades
    AUCTIONS = 64  # matching is off for a while, the book crosses, an auction uncrosses it
    RESETS = 128  # the channel is reset: every book gets a plain R and is filled again
    GAPS = 256  # records are lost; F_MAYBE_BAD_BOOK until a snapshot, with or without an R, or a refill
    PUBLISHERS = 512  # every other instrument is a venue's where an M of equal size keeps its place and C takes parts
    TRAILING = 1_024  # an N of its own ends some events
    ALL = 2_047


ICEBERGS, SELF_MATCH, SPREADS = int(Feature.ICEBERGS), int(Feature.SELF_MATCH), int(Feature.SPREADS)
LONE_TRADES, STOPS, CROSSING = int(Feature.LONE_TRADES), int(Feature.STOPS), int(Feature.CROSSING)
AUCTIONS, RESETS, GAPS = int(Feature.AUCTIONS), int(Feature.RESETS), int(Feature.GAPS)
TRAILING = int(Feature.TRAILING)
RESTORE, BARE, REFILL = 0, 1, 2  # how a book is written out: as a snapshot, as one without its R, or as a plain R and A

GLBX = 1  # publisher: GLBX.MDP3.GLBX
CHANNEL = 26
MAX_FILLS = 48  # of one aggressor
MAX_EVENT = 128  # records: 5 T, 49 F, 49 C or M, an A and an N are the most
MAX_AHEAD = 66  # how many gaps the clock may be ahead of what is due: 64 by one jump, and what two steps add
MAX_LATENCY = 10_000_000  # ns from ts_event to ts_recv; 5 ms are kept, the rest is room for a last packet
NONE = -1  # no slot
DEEP = 1 << 20  # deeper than any level that is shown

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
        ("unopened", "<i8"),  # the first row that is still to be written out, as at the opening
        ("opening", "<i8"),  # and how
        ("mode", "<i8"),  # how the present snapshot is written
        ("snapshot_left", "<i8"),  # records it still lacks
        ("snapshot_slot", "<i8"),  # the order it gives next; NONE before its R
        ("resting", "<i8"),  # orders an instrument should have
        ("slots", "<i8"),  # orders an instrument can have
        ("ticks", "<i8"),  # ticks of a grid
        ("grid", "<i8"),  # places of an instrument in `queues`: `ticks`, or twice as many
        ("asks", "<i8"),  # how far behind the bids' places those of the asks are: 0 or `ticks`
        # a new order lies less than 2 ** bits ticks off: bits is drawn from near_bits to far_bits
        ("near_bits", "<i8"),
        ("far_bits", "<i8"),
        ("features", "<i8"),  # bits of Feature
        ("trailing", "<i8"),  # whether an N is to end the present event
        ("levels", "<i8"),  # of the market by price that is written as well; 0: none is
        ("rows", "<i8"),  # how many of its records are written
        ("event_row", "<i8"),  # the present event's first
        ("bid_depth", "<i8"),  # the shallowest level that the present event touched, DEEP if none is visible
        ("ask_depth", "<i8"),
    ]
)
INSTRUMENT_DTYPE = np.dtype(
    [
        ("instrument_id", "<i8"),
        ("publisher", "<i8"),
        ("last", "<i8"),  # flags of an event's last record
        ("origin", "<i8"),  # price of tick 0, 1e-9
        ("tick", "<i8"),  # price between two ticks, 1e-9
        ("fair", "<i8"),  # tick of the lowest ask that would be right; wanders over the middle half of the grid
        ("best_bid", "<i8"),  # tick; -1 where there is none
        ("best_ask", "<i8"),  # tick; `ticks` where there is none
        ("count", "<i8"),  # resting orders
        ("free", "<i8"),  # first free slot
        ("preopen", "<i8"),  # matching is off for so many events and an auction; 0: it is on
        ("doubt", "<i8"),  # F_MAYBE_BAD_BOOK for so many events, less one; 0: nothing was lost
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
        ("hidden", "<i4"),  # an iceberg's size that is not shown
        ("peak", "<i4"),  # what it shows at a time, if there is as much
        ("taken", "<i4"),  # what the present event trades of it; -1: it is cancelled instead
    ]
)
QUEUE_DTYPE = np.dtype([("head", "<i4"), ("tail", "<i4")])  # slots; both NONE where a tick has no orders


class State(NamedTuple):
    """The whole exchange."""

    rng: Any  # uint64 [1], never 0
    stream: Any  # STREAM_DTYPE [1]
    instruments: Any  # INSTRUMENT_DTYPE [instruments]
    slots: Any  # SLOT_DTYPE [instruments * slots], a block for each instrument
    queues: Any  # QUEUE_DTYPE [instruments * grid], a grid for each instrument, or two
    fills: Any  # int64 [MAX_FILLS], slots that the present aggressor meets
    heads: Any  # TRADES_DTYPE [rows], the first 48 bytes of the market by price that is written
    pairs: Any  # LEVEL_PAIR_DTYPE [rows, levels], the rest of it


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
    """Move a tick to where an order of this side may rest: within the grid, and not across the other side if it matches."""
    instrument = s.instruments[i]
    last = s.stream[0]["ticks"] - 1
    if instrument["preopen"] > 0:
        return min(max(tick, 0), last - 1) if side == BID else min(max(tick, 1), last)
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
    if s.instruments[i]["preopen"] > 0:
        distance -= below(s, 8)
    return fit(s, i, side, fair - 1 - distance if side == BID else fair + distance)


@inline
def draw_order(s: Any, i: Any) -> Any:
    """Pick a resting order, half of the time one close to the best; NONE if the book is empty."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    if one_in(s, 2):
        distance = below(s, 4)
        bids = one_in(s, 2)
        tick = instrument["best_bid"] - distance if bids else instrument["best_ask"] + distance
        place = place_of(s, i, BID if bids else ASK, tick)
        slot = np.int64(s.queues[place]["tail"]) if 0 <= tick < stream["ticks"] else NONE
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
def place_of(s: Any, i: Any, side: Any, tick: Any) -> Any:
    """Give a tick's place in `queues`."""
    stream = s.stream[0]
    return i * stream["grid"] + (stream["asks"] if side == ASK else 0) + tick


@inline
def best_bid_from(s: Any, i: Any, tick: Any) -> Any:
    """Find the highest tick with orders, from `tick` downwards; -1 if there is none."""
    grid = place_of(s, i, BID, 0)
    while tick >= 0 and s.queues[grid + tick]["head"] == NONE:
        tick -= 1
    return tick


@inline
def best_ask_from(s: Any, i: Any, tick: Any) -> Any:
    """Find the lowest tick with orders, from `tick` upwards; the number of ticks if there is none."""
    ticks = s.stream[0]["ticks"]
    grid = place_of(s, i, ASK, 0)
    while tick < ticks and s.queues[grid + tick]["head"] == NONE:
        tick += 1
    return tick


@inline
def first_order(s: Any, i: Any) -> Any:
    """Find the first order in priority order: the best bid's, else the best ask's; NONE if there is none."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    if instrument["best_bid"] >= 0:
        return np.int64(s.queues[place_of(s, i, BID, instrument["best_bid"])]["head"])
    if instrument["best_ask"] < stream["ticks"]:
        return np.int64(s.queues[place_of(s, i, ASK, instrument["best_ask"])]["head"])
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
        if tick >= 0:
            return np.int64(s.queues[place_of(s, i, BID, tick)]["head"])
        tick = s.instruments[i]["best_ask"]
    else:
        tick = best_ask_from(s, i, np.int64(order["tick"]) + 1)
    if tick >= stream["ticks"]:
        return NONE
    return np.int64(s.queues[place_of(s, i, ASK, tick)]["head"])


@inline
def enqueue(s: Any, i: Any, slot: Any) -> Any:
    """Put an order at the back of its tick's queue, as of now."""
    stream = s.stream[0]
    instrument = s.instruments[i]
    order = s.slots[slot]
    tick = np.int64(order["tick"])
    queue = s.queues[place_of(s, i, order["side"], tick)]
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
    queue = s.queues[place_of(s, i, order["side"], tick)]
    if order["ahead"] == NONE:
        queue["head"] = order["behind"]
    else:
        s.slots[order["ahead"]]["behind"] = order["behind"]
    if order["behind"] == NONE:
        queue["tail"] = order["ahead"]
    else:
        s.slots[order["behind"]]["ahead"] = order["ahead"]
    if queue["head"] == NONE:
        if order["side"] == BID:
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
    order["hidden"] = 0
    order["taken"] = 0
    enqueue(s, i, slot)
    return slot


@inline
def hide(s: Any, i: Any, slot: Any) -> None:
    """Make an iceberg of a new order now and then."""
    if s.stream[0]["features"] & ICEBERGS != 0 and s.instruments[i]["publisher"] == GLBX and one_in(s, 5):
        order = s.slots[slot]
        order["peak"] = order["size"]
        order["hidden"] = 1 + below(s, 6 * np.int64(order["size"]))


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
    for k in range(i * stream["grid"], (i + 1) * stream["grid"]):
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
    record["publisher_id"] = s.instruments[stream["focus"]]["publisher"]
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
