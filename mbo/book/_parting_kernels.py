"""Records sorted by instrument, so that each book is worked on for a while and stays in the cache.

Copying to places comes out cheaper than fetching from them: the records are read once in their order, and the ends of all the
stretches that are written fit into the cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mbo._jit import inline, kernel, nth

STRETCHES: Final = 1 << 11  # instruments that share one are mixed in it, and nothing else comes of it
_GOLDEN, _LOW, _TO_BITS = np.uint64(0x9E3779B1), np.uint64(0xFFFFFFFF), np.uint64(32 - 11)


@inline
def stretch_of(record: Any) -> Any:
    """Give the stretch that an instrument's records go to."""
    return np.int64((np.uint64(record["instrument_id"]) * _GOLDEN & _LOW) >> _TO_BITS)


@kernel
def take(records: Any, numbers: Any, first: Any, begin: Any, end: Any, ends: Any, taken: Any, rows: Any) -> Any:
    """Copy the records of the stretches from `begin` to before `end` to `taken`, one stretch after another; returns how many.

    Those of one instrument stay in their order. `rows` gets their numbers, out of `numbers` or, where that is empty, counted from
    `first`. `ends` (STRETCHES) is room to work in.
    """
    for stretch in range(begin, end):
        ends[nth(stretch)] = 0
    for i in range(records.shape[0]):
        stretch = stretch_of(records[nth(i)])
        if begin <= stretch < end:
            ends[nth(stretch)] += 1
    count = np.int64(0)
    for stretch in range(begin, end):
        length = ends[nth(stretch)]
        ends[nth(stretch)] = count
        count += length
    for i in range(records.shape[0]):
        stretch = stretch_of(records[nth(i)])
        if begin <= stretch < end:
            place = ends[nth(stretch)]
            ends[nth(stretch)] = place + 1
            taken[nth(place)] = records[nth(i)]
            rows[nth(place)] = numbers[nth(i)] if numbers.shape[0] > 0 else first + i
    return count
