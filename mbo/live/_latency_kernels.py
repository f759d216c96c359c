"""How latencies enter their histogram: integers, one pass over a batch, nothing allocated."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel

SUB_BITS: Final = 6  # log2 of the bins per power of two
SUB_BINS: Final = 1 << SUB_BITS
BINS: Final = (63 - SUB_BITS + 1) * SUB_BINS  # up to 2^63 - 1 ns, so there is no latency without a bin: 29 KiB

TOTALS: Final = np.dtype(
    [
        ("count", "<i8"),
        ("negative", "<i8"),
        ("least", "<i8"),  # ns
        ("most", "<i8"),  # ns
        ("sum_low", "<i8"),  # ns, below 2^32
        ("sum_high", "<i8"),  # 2^32 ns: 10^11 latencies of a second would not fit into one word
    ]
)


class State(NamedTuple):
    """A histogram."""

    bins: npt.NDArray[
        np.int64
    ]  # (BINS,): how many latencies; bins 0 to 63 are 0 to 63 ns, then 64 bins for each power of two
    totals: npt.NDArray[Any]  # TOTALS, one element


@inline
def enter(state: Any, latency: Any) -> None:
    """Count one latency (ns, not negative)."""
    shift = 0  # the largest that leaves 64 or more, which are then fewer than 128: the bin is 2^shift ns wide
    step = 32
    while step > 0:
        if latency >> (shift + step) >= SUB_BINS:
            shift += step
        step >>= 1
    state.bins[shift * SUB_BINS + (latency >> shift)] += 1
    totals = state.totals[0]
    low = totals["sum_low"] + (latency & 0xFFFFFFFF)
    totals["sum_low"] = low & 0xFFFFFFFF
    totals["sum_high"] += (latency >> 32) + (low >> 32)
    if latency < totals["least"]:
        totals["least"] = latency
    if latency > totals["most"]:
        totals["most"] = latency


@kernel
def note(state: Any, now: Any, times: Any) -> None:
    """Enter `now - times[i]` for every i; a time after `now`, or one that as int64 is below 0, makes a negative latency."""
    negative = 0
    for i in range(times.shape[0]):
        time = times[i]
        if time < 0 or time > now:
            negative += 1
            enter(state, np.int64(0))
        else:
            enter(state, now - time)
    state.totals[0]["count"] += times.shape[0]
    state.totals[0]["negative"] += negative


@kernel
def note_paced(state: Any, elapsed: Any, first: Any, count: Any, period: Any) -> None:
    """Enter `elapsed - k * period` (ns, `period` a double) for `count` numbers k from `first` on.

    Only the time since the beginning is a double, never a time of day, and it is multiplied, never summed: so it does not drift.
    """
    negative = 0
    for k in range(first, first + count):
        due = np.int64(np.float64(k) * period)
        if due > elapsed:
            negative += 1
            enter(state, np.int64(0))
        else:
            enter(state, elapsed - due)
    state.totals[0]["count"] += count
    state.totals[0]["negative"] += negative
