"""Latencies of millions of records a second in a histogram of constant size: percentiles to 1/64, in whole nanoseconds."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError
from mbo.live import _latency_kernels as kernels
from mbo.units import NS_PER_S

Times = npt.NDArray[np.int64] | npt.NDArray[np.uint64]

_SHIFTS = np.maximum(0, np.arange(kernels.BINS) // kernels.SUB_BINS - 1)
BIN_EDGES_NS: Final = (
    (np.arange(kernels.BINS) - _SHIFTS * kernels.SUB_BINS + 1).astype(np.uint64) << _SHIFTS.astype(np.uint64)
) - np.uint64(1)
"""The greatest latency (ns) of each bin."""
_NS_PER_MS: Final = 1_000_000
_LATEST: Final = 2**63 - 1
_PERCENTILES: Final = {"p50": (50, 1), "p99": (99, 1_000), "p99.9": (99.9, 100_000)}  # q, and the fewest records for it


class Latency:
    """A histogram of latencies in ns, from 0 to 2^63 - 1, with 64 bins per power of two: 29 KiB, whatever it holds.

    A latency below zero (a clock was set, or a record came before it was due) is entered as 0 and counted as `negative` besides.
    `count`, `min`, `max` and `mean` are exact, a percentile is at most 1/64 too high. One thread enters, others may read
    meanwhile; the kernels are compiled, or loaded, at the first call of `note` and `note_paced`, empty or not.

    >>> latency = Latency()
    >>> latency.note(1_000, np.array([900, 950, 999]))
    >>> latency.count, latency.percentile(50), latency.max
    (3, 50, 100)
    """

    def __init__(self) -> None:
        totals = np.zeros(1, kernels.TOTALS)
        totals["least"] = _LATEST
        self._state = kernels.State(np.zeros(kernels.BINS, np.int64), totals)

    def note(self, now: int, times: Times) -> None:
        """Enter `now - time` for each of the `times` (all ns since the same zero, int64 or uint64).

        A time that is missing (UNDEF_TIMESTAMP), as any from 2^63 on or below 0, counts as later than now: negative. Raises
        `RequestError` where the times are of another type, or `now` is no time.
        """
        if times.dtype != np.int64 and times.dtype != np.uint64:
            raise RequestError(f"times of type {times.dtype}: they are int64 or uint64, in ns")
        # A copy: columns of records are strided and may be read-only, and the kernel is compiled for one kind of array.
        kernels.note(self._state, _whole("now", now), np.array(times).reshape(-1).view(np.int64))

    def note_paced(self, now: int, first: int, count: int, *, begin: int, per_s: float) -> None:
        """Enter the latencies at `now` of records number `first` to `first + count - 1`, of which k was due at `begin + k / per_s`.

        `now` and `begin` are ns since the same zero. The time that a record was due is right to 2 ns for 50 days after `begin`,
        and later to 1 part in 10^15 of the time since. Raises `RequestError` where a number is negative, `per_s` not above 0, or
        the records are due centuries later.
        """
        elapsed = _whole("now", now) - _whole("begin", begin)
        first, end = _whole("first", first), _whole("first + count", first + _whole("count", count))
        period = NS_PER_S / float(per_s) if 0 < per_s < math.inf else math.inf
        if not end * period < _LATEST:  # nor where it is no number
            raise RequestError(f"per_s={per_s!r}: record {end:,} of so many a second is never due")
        kernels.note_paced(self._state, elapsed, first, end - first, period)

    def merge(self, other: Latency) -> None:
        """Enter all that `other` holds, as if it had been entered here."""
        mine, theirs = self._state.totals, other._state.totals
        self._state.bins[:] += other._state.bins
        low = mine["sum_low"] + theirs["sum_low"]
        mine["sum_low"], mine["sum_high"] = low & 0xFFFFFFFF, mine["sum_high"] + theirs["sum_high"] + (low >> 32)
        for name in ("count", "negative"):
            mine[name] += theirs[name]
        mine["least"] = np.minimum(mine["least"], theirs["least"])
        mine["most"] = np.maximum(mine["most"], theirs["most"])

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return self._total("count")

    @property
    def bins(self) -> npt.NDArray[np.int64]:
        """How many latencies there are in each bin, a copy; `BIN_EDGES_NS` has the bins' upper edges."""
        return self._state.bins.copy()

    @property
    def negative(self) -> int:
        """How many of them were below zero, and are entered as 0."""
        return self._total("negative")

    @property
    def min(self) -> int:
        """The least latency, ns; `RequestError` where there is none."""
        self._some()
        return self._total("least")

    @property
    def max(self) -> int:
        """The greatest latency, ns; `RequestError` where there is none."""
        self._some()
        return self._total("most")

    @property
    def mean(self) -> float:
        """The mean latency, ns; `RequestError` where there is none."""
        self._some()
        return ((self._total("sum_high") << 32) + self._total("sum_low")) / self.count

    def percentile(self, q: float) -> int:
        """Give the latency (ns) that `q` percent of all do not exceed, by nearest rank: the upper edge of its bin, at most `max`.

        Raises `RequestError` where there is none, or `q` is not from 0 to 100.
        """
        if not 0 <= q <= 100:
            raise RequestError(f"q={q!r}: a percentile is from 0 to 100")
        self._some()
        heights = np.cumsum(self._state.bins)
        # As it is written, for 99.9 as a double is not quite that, and the rank may be one too high.
        rank = max(1, math.ceil(Fraction(str(q)) * int(heights[-1]) / 100))
        place = int(np.searchsorted(heights, rank))
        shift = max(0, place // kernels.SUB_BINS - 1)
        return min(((place - shift * kernels.SUB_BINS + 1) << shift) - 1, self.max)

    def document(self) -> dict[str, int | None]:
        """Describe the latencies, in ns, as plain values: `p50`, `p99`, `p99.9`, `max` and `count`.

        What too few records cannot tell is None: the p99 below 1,000, the p99.9 below 100,000, all of it where there are none.
        """
        count = self.count
        found = {name: self.percentile(q) if count >= fewest else None for name, (q, fewest) in _PERCENTILES.items()}
        return {**found, "max": self.max if count else None, "count": count}

    def __str__(self) -> str:
        values = self.document()
        count = values.pop("count")
        shown = [f"{name} {_in_ms(ns)}" for name, ns in values.items() if ns is not None]
        return f"{', '.join(shown)} ({count:,} record{'s' * (count != 1)})" if shown else "no records"

    def __repr__(self) -> str:
        return f"<Latency {self}>"

    def _total(self, name: str) -> int:
        return int(self._state.totals[name][0])

    def _some(self) -> None:
        if not self.count:
            raise RequestError("no latencies were entered")


def warm_up() -> None:
    """Load the compiled kernels: the first record that is measured should not wait a third of a second for them."""
    unused = Latency()
    unused.note_paced(0, 0, 1, begin=0, per_s=1)
    unused.note(0, np.zeros(1, np.uint64))


def _whole(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise RequestError(
            f"{name}={value!r}: nanoseconds and numbers are whole, and doubles do not hold them all"
        ) from None
    if not 0 <= number <= _LATEST:
        raise RequestError(f"{name}={value!r} is not from 0 to 2^63 - 1")
    return number


def _in_ms(ns: int) -> str:
    """Write nanoseconds as milliseconds of two digits, or all that stand before the point.

    >>> _in_ms(123_456), _in_ms(2_149_999), _in_ms(1_234_567_890), _in_ms(0)
    ('0.12 ms', '2.1 ms', '1,235 ms', '0 ms')
    """
    decimals = max(0, 8 - len(str(ns))) if ns else 0
    return f"{ns / _NS_PER_MS:,.{decimals}f} ms"
