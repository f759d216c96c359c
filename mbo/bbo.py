"""BBO at intervals: Databento's `bbo-1s` and `bbo-1m`, sampled from MBP-1.

A record stamped with the end of a second or minute says what stood there then and what traded last, if the interval (start, end] on
ts_recv saw either. What it did not see is carried over from before. (https://databento.com/docs/schemas-and-data-formats/bbo)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError
from mbo.records import Action, Side
from mbo.schemas import mbp_dtype
from mbo.selection import book_keys
from mbo.units import NS_PER_S, UNDEF_PRICE, UNDEF_TIMESTAMP

INTERVALS: Final = {"1s": (NS_PER_S, 0xC3), "1m": (60 * NS_PER_S, 0xC4)}
"""By name: nanoseconds, and the rtype of the records."""


def sample(arrays: Iterable[npt.NDArray[Any]], interval: str) -> Iterator[npt.NDArray[Any]]:
    """Sample MBP-1 records (`mbp_dtype(1)`, in order of ts_recv) into BBO records, by interval, publisher and instrument.

    Memory is that of one interval. A record that is late (a snapshot) counts for the interval that is open when it comes.
    """
    if interval not in INTERVALS:
        raise RequestError(f"bbo({interval!r}): the intervals are {', '.join(map(repr, INTERVALS))}")
    sampler = _Sampler(*INTERVALS[interval])
    for array in arrays:
        if len(out := sampler.apply(array)):
            yield out
    if len(out := sampler.close()):
        yield out


class _Sampler:
    def __init__(self, length: int, rtype: int) -> None:
        self.length = np.uint64(length)
        self.rtype = rtype
        self.rows: dict[
            int, npt.NDArray[Any]
        ] = {}  # by book key: its record in the making, kept for what it carries over
        self.touched: set[int] = set()  # the books that the open interval saw
        self.end = np.uint64(0)

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take records in; give those of the intervals that are over."""
        one = np.uint64(1)
        ends = np.maximum.accumulate(
            np.maximum(((array["ts_recv"] - one) // self.length + one) * self.length, self.end)
        )
        borders = np.flatnonzero(np.diff(ends, prepend=self.end))
        done = []
        for part, end in zip(np.split(array, borders), [self.end, *ends[borders]], strict=True):
            if end != self.end:
                done.append(self.close())
                self.end = end
            self.take(part)
        return np.concatenate([np.empty(0, mbp_dtype(1)), *done])

    def take(self, part: npt.NDArray[Any]) -> None:
        """Take the records of one interval in: of each book its last one, and its last trade."""
        if not len(part):
            return
        last_trade = _last(part[part["action"] == Action.TRADE])
        for book, record in _last(part).items():
            row = self.rows.setdefault(book, self.blank())
            traded = last_trade.get(book, row[0])
            kept = {name: traded[name] for name in ("price", "size", "side", "ts_event")}
            row[0] = record
            for name, value in kept.items():
                row[name] = value
            row["rtype"], row["action"], row["depth"], row["ts_in_delta"] = self.rtype, 0, 0, 0
            self.touched.add(book)

    def blank(self) -> npt.NDArray[Any]:
        """Make the record of a book that has not traded."""
        row = np.zeros(1, mbp_dtype(1))
        row["price"], row["side"], row["ts_event"] = UNDEF_PRICE, Side.NONE, UNDEF_TIMESTAMP
        return row

    def close(self) -> npt.NDArray[Any]:
        """Give the records of the open interval."""
        out = np.concatenate([np.empty(0, mbp_dtype(1)), *(self.rows[book] for book in sorted(self.touched))])
        out["ts_recv"] = self.end
        self.touched.clear()
        return out


def _last(part: npt.NDArray[Any]) -> dict[int, Any]:
    """Give the last record of every book, by its key."""
    keys, places = np.unique(book_keys(part)[::-1], return_index=True)
    return {key: part[len(part) - 1 - place] for key, place in zip(keys.tolist(), places.tolist(), strict=True)}
