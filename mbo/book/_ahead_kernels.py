"""Reading ahead: what later records will need is asked for while this one is applied.

A large book does not fit into the nearer caches, and where an order lies is known only from its id: the table, the order, its
level and its neighbours in the queue are each a miss of some 100 ns, one after the other. So the place in the table is asked for
`_FAR` records before it is needed, the order `_NEAR` records before, its level `_CLOSE` records before: by then each has come. What
was guessed wrong, because a record between has changed it, costs a little time and changes nothing.

A book that the cache holds would only pay for this, so `worth_it` is asked once a batch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mbo._jit import inline, nth, prefetch
from mbo.book._state_kernels import AGGREGATE, NIL, home

AHEAD: Final = 32  # places kept: a power of two above _FAR
_FAR, _NEAR, _CLOSE = 24, 12, 6  # records


@inline
def worth_it(state: Any) -> Any:
    """Say whether the books have ever held so many orders that the cache cannot."""
    return state.pool[0]["orders"] >= state.pool[0]["ahead_from"]


@inline
def look_far(state: Any, records: Any, i: Any) -> None:
    """Ask for the table's entry of record `i`, and for its book."""
    record = records[nth(i)]
    key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
    mask = state.keys.shape[0] - 1
    position = home(np.uint64(key), 0, mask)
    book = np.int64(state.keys[nth(position)])
    while book >= 0 and state.books[nth(book)]["key"] != key:
        position = (position + 1) & mask
        book = np.int64(state.keys[nth(position)])
    entry = np.int64(NIL)
    if book >= 0:
        entry = home(record["order_id"], book, state.table.shape[0] - 1)
        prefetch(state.table, entry)
        prefetch(state.sides, 2 * book)
    state.ahead[nth(i & (AHEAD - 1))] = entry


@inline
def look_near(state: Any, i: Any) -> None:
    """Ask for the order that the table has for record `i`."""
    place = i & (AHEAD - 1)
    entry = state.ahead[nth(place)]
    if entry >= 0:
        slot = np.int64(state.table[nth(entry)]["slot"])
        state.ahead[nth(place)] = slot
        if slot >= 0:
            prefetch(state.orders, slot)


@inline
def look_close(state: Any, i: Any) -> None:
    """Ask for the level of that order, and for those before and behind it."""
    slot = state.ahead[nth(i & (AHEAD - 1))]
    if slot >= 0:
        order = state.orders[nth(slot)]
        prefetch(state.levels, np.int64(order["level"]) & (AGGREGATE - 1))
        prefetch(state.orders, np.int64(order["prev"]) & (AGGREGATE - 1))
        prefetch(state.orders, np.int64(order["next"]) & (AGGREGATE - 1))


@inline
def begin_ahead(state: Any, records: Any, start: Any) -> None:
    """Look at the first records of a batch."""
    for i in range(start, min(start + _FAR, records.shape[0])):
        look_far(state, records, i)
    for i in range(start, min(start + _NEAR, records.shape[0])):
        look_near(state, i)


@inline
def look_ahead(state: Any, records: Any, i: Any) -> None:
    """Look at the records that follow record `i`."""
    last = records.shape[0] - 1
    if i + _FAR <= last:
        look_far(state, records, i + _FAR)
    if i + _NEAR <= last:
        look_near(state, i + _NEAR)
    if i + _CLOSE <= last:
        look_close(state, i + _CLOSE)
