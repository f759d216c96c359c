"""What is kept beside the messages: MBP-10 records with the messages they come from, and whole books every so often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo.book import Books
from mbo.mbp import Mbp
from mbo.records import Flag, RecordArray
from mbo.selection import book_keys
from mbo.store.snapshots import Snapshot, take
from mbo.units import UNDEF_TIMESTAMP

Array = npt.NDArray[Any]

SNAPSHOT_MESSAGES: Final = 10_000
"""Messages of an instrument between two of its kept books; as many as the book has orders, where that is more."""
_LOW: Final = 0xFFFFFFFF


class SourcedMbp:
    """MBP-10 records, and for each the number of the message whose fields it bears.

    That is the trade itself, or the last change of its event. A message is the source of one record at most, so that (file, number)
    names a record. The kernel carries `sequence` from the source to the record and uses it for nothing else: the message's number
    takes its place on the way.
    """

    def __init__(self) -> None:
        self._mbp = Mbp(10)
        self._sequences: dict[int, int] = {}
        """Of sources in earlier batches, whose events have not ended, by the low half of their number."""

    def apply(self, records: RecordArray, first: int) -> Iterator[tuple[Array, npt.NDArray[np.uint64]]]:
        """Apply messages, of which the first has the number `first`; give (MBP-10 records, their sources' numbers)."""
        numbers = np.arange(first, first + len(records), dtype=np.int64)
        marked = records.copy()
        marked["sequence"] = numbers & _LOW
        last = first + len(records) - 1
        for piece in self._mbp.apply(marked, rows=first):
            low = piece["sequence"].astype(np.int64)
            sources = last - ((last - low) & _LOW)
            piece["sequence"] = self._sequence(records, first, sources)
            yield piece, sources.astype(np.uint64)
        self._carry(records, first, last)

    def _sequence(self, records: RecordArray, first: int, sources: npt.NDArray[np.int64]) -> Array:
        here = sources >= first
        found: Array = records["sequence"][np.where(here, sources - first, 0)]
        for place in np.flatnonzero(~here).tolist():
            found[place] = self._sequences[int(sources[place]) & _LOW]
        return found

    def _carry(self, records: RecordArray, first: int, last: int) -> None:
        candidates = self._mbp._candidates
        low = candidates["sequence"][candidates["open"] != 0].astype(np.int64)
        sources = last - ((last - low) & _LOW)
        kept = self._sequence(records, first, sources)
        self._sequences = dict(zip(low.tolist(), kept.tolist(), strict=True))


@dataclass(slots=True)
class _Progress:
    """Where one book stands since its last snapshot."""

    since: int = 0
    since_due: int = 0  # messages since the last place where a snapshot could have been taken
    high: int = -1  # the latest ts_recv of an event's end
    low: int = 2**63 - 1  # of the segment: the messages since the last snapshot
    top: int = -1
    row: int = -1  # the last message


class Snapshots:
    """Takes books as messages go by: after every `SNAPSHOT_MESSAGES` of an instrument, at the next end of an event with a time."""

    def __init__(self, every: int = SNAPSHOT_MESSAGES) -> None:
        self._every = every
        self._books = Books()
        self._progress: defaultdict[int, _Progress] = defaultdict(_Progress)

    def apply(self, records: RecordArray, first: int) -> Iterator[Snapshot]:
        """Apply messages, of which the first has the number `first`, and give the books that are due among them."""
        start = 0
        for stop in self._cuts(records):
            part = records[start:stop]
            self._books.apply(part, rows=first + start)
            self._note(part, first + start)
            end = records[stop - 1]
            key = int(end["publisher_id"]) << 32 | int(end["instrument_id"])
            progress = self._progress[key]
            if progress.since_due >= self._every and _is_end(end):
                progress.since_due = 0
                # A large book is written less often, so that all books together stay a fraction of the messages.
                if progress.since >= self._books[key >> 32, key & _LOW].status.orders:
                    yield self._take(key, base=True)
            start = stop

    def finish(self) -> Iterator[Snapshot]:
        """Give every book as it is after the last message: the end of its last segment."""
        for key, progress in list(self._progress.items()):
            if progress.since:
                yield self._take(key, base=False)

    def _cuts(self, records: RecordArray) -> list[int]:
        """Find where books are due: after the first timed end of an event, once an instrument has had its messages."""
        keys = book_keys(records)
        timed_ends = _is_end(records)
        cuts = set()
        for key, count in zip(*(found.tolist() for found in np.unique(keys, return_counts=True)), strict=True):
            progress = self._progress[key]
            if progress.since_due + count < self._every:
                continue
            places = np.flatnonzero(keys == key)
            ends = np.flatnonzero(timed_ends[places])
            due = max(self._every - progress.since_due, 1)
            while (next_end := np.searchsorted(ends, due - 1)) < len(ends):
                place = int(ends[next_end])
                cuts.add(int(places[place]) + 1)
                due = place + 1 + self._every
        return sorted(cuts | {len(records)}) if len(records) else []

    def _note(self, records: RecordArray, first: int) -> None:
        keys, own = _books_of(records)
        times = np.ascontiguousarray(records["ts_recv"])
        known = times != UNDEF_TIMESTAMP
        ends = known & (records["flags"] & int(Flag.LAST) != 0)
        counts = np.bincount(own, minlength=len(keys)).tolist()
        last = np.zeros(len(keys), np.int64)
        last[own] = np.arange(len(records))  # of equal places, the last one counts
        signed = times.view(np.int64)
        low, top, high = np.full(len(keys), 2**63 - 1), np.full(len(keys), -1), np.full(len(keys), -1)
        np.minimum.at(low, own[known], signed[known])
        np.maximum.at(top, own[known], signed[known])
        np.maximum.at(high, own[ends], signed[ends])
        columns = (keys.tolist(), counts, last.tolist(), low.tolist(), top.tolist(), high.tolist())
        for key, count, place, lowest, topmost, highest in zip(*columns, strict=True):
            progress = self._progress[key]
            progress.since += count
            progress.since_due += count
            progress.row = first + place
            progress.low, progress.top = min(progress.low, lowest), max(progress.top, topmost)
            progress.high = max(progress.high, highest)

    def _take(self, key: int, *, base: bool) -> Snapshot:
        progress = self._progress[key]
        book = self._books[key >> 32, key & _LOW]
        snapshot = take(
            self._books,
            book,
            row_num=progress.row,
            base=base,
            ts_high=progress.high,
            segment=(progress.low, progress.top),
        )
        self._progress[key] = _Progress(high=progress.high)
        return snapshot


def _books_of(records: RecordArray) -> tuple[Array, Array]:
    """Give the keys of the records' books, and which of them each record has; quickly where there is only one."""
    keys = book_keys(records)
    if (keys == keys[0]).all():
        return keys[:1], np.zeros(len(keys), np.intp)
    return np.unique(keys, return_inverse=True)


def _is_end(records: Any) -> Any:
    return (records["flags"] & int(Flag.LAST) != 0) & (records["ts_recv"] != UNDEF_TIMESTAMP)
