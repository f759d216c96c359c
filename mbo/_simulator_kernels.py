"""The simulated exchange: price-time matching over dense grids, writing what happens as MBO records. The entry points.

Its parts: `_simulator_state_kernels` the book and how a record is written, `_simulator_truth_kernels` the market by
price it knows, `_simulator_event_kernels` what happens in any session, `_simulator_feature_kernels` what else may.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import inline, kernel
from mbo._simulator_event_kernels import begin_snapshot, end_event, event, snapshot
from mbo._simulator_feature_kernels import featured_event
from mbo._simulator_state_kernels import (
    ASK,
    AUCTIONS,
    BID,
    MAX_EVENT,
    NONE,
    advance,
    below,
    draw_size,
    draw_tick,
    empty,
    first_order,
    hide,
    new_id,
    one_in,
    order_after,
    price_of,
    rest,
)  # fmt: skip
from mbo._simulator_truth_kernels import see_nothing


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
            slot = rest(s, i, new_id(s), side, draw_tick(s, i, side), draw_size(s))
            hide(s, i, slot)
        if stream["features"] & AUCTIONS != 0 and one_in(s, 2):
            s.instruments[i]["preopen"] = 20 + below(s, 60)
    see_nothing(s)
    stream["now"] = stream["start"]
    stream["recv"] = stream["start"]


@kernel
def run(s: Any, out: Any, messages: int) -> int:
    """Write the stream's next records to `out` (MBO_DTYPE, at least MAX_EVENT) and return how many.

    `messages` are still to come in all: the last ones are events of one record, so that the count is met. Where levels
    are asked for, the market by price goes to `s.heads` and `s.pairs` (as many rows as `out`), from row 0 on.
    """
    stream = s.stream[0]
    n: Any = np.int64(0)  # a plain 0 would be a type of its own: every helper compiled twice
    room = min(out.shape[0], messages)
    stream["rows"] = 0
    stream["event_row"] = 0
    while n < room:
        left = messages - n
        if stream["snapshot_left"] > 0:
            n = snapshot(s, out, n, room)
        elif stream["unopened"] < s.instruments.shape[0]:
            begin_snapshot(s, stream["unopened"], stream["opening"])
            stream["unopened"] += 1
        elif left >= MAX_EVENT and out.shape[0] - n < MAX_EVENT:
            break
        else:
            first = n
            i = next_instrument(s)
            advance(s)
            wander(s, i)
            n = event(s, out, n, left) if stream["features"] == 0 else featured_event(s, out, n, left)
            if n > first:
                n = end_event(s, out, first, n)
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
