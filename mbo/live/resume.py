"""Going on after a lost connection without losing or repeating a record.

The protocol's only position is `start`, a ts_event, which many records share; two records may even be equal to the byte. So a
client asks again from a time that it has seen, and gets records a second time. Which these are is known: a gateway begins at the
first record, of whatever instrument, at or after `start`, and the client knows at which of its own that time was first reached.
They are compared with the last ones applied, in order and multiplicity, and dropped. Where they differ, something was lost in
between. Only who joined a stream in its middle cannot know whether that time had been reached before: he looks for the first place
at which all that he has comes again in a row.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.live.stream import BUFFER_BYTES, Arrival
from mbo.records import MBO_DTYPE, RecordArray
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP

_BACK: Final = 1000  # records that are asked for again, and
_BACK_NS: Final = NS_PER_S  # at most so long before the latest: clocks of different channels are not quite in order
_MOST_KEPT: Final = 2 * BUFFER_BYTES // MBO_DTYPE.itemsize  # records, of all connections that are over
_MOST_READINGS: Final = 64
_AT_A_TIME: Final = 4  # batches that are forgotten when one is added
_RAW: Final = np.dtype(("V", MBO_DTYPE.itemsize))


class Point(NamedTuple):
    """From where to go on: the `start` (ns, ts_event) to ask for, and the number of the first record that reaches it."""

    start: int
    number: int


class History:
    """The last records that were applied, as they lie in the stream's own buffers, and how many there were in all."""

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        """The time (ns, ts_event) of the first of all."""
        self._kept: deque[tuple[RecordArray, int]] = deque()
        self._kept_from = 0  # the number of the first record that is kept
        self._peak = Point(0, 0)  # the latest time before those, and the first record that had it

    def add(self, arrival: Arrival) -> None:
        """Note records that were applied."""
        # What lies three buffers back is there until the next one begins; so the work can be spread over many calls before.
        due = _AT_A_TIME
        while self._kept and (self._kept[0][1] < arrival.buffer - 2 or (due and self._kept[0][1] < arrival.buffer - 1)):
            self._forget()
            due = max(0, due - 1)
        if not self.count and len(arrival.records):
            self.first = int(_times(arrival.records[:1])[0])
        self._kept.append((arrival.records, arrival.buffer))
        self.count += len(arrival.records)

    def _forget(self) -> None:
        """Let go of the oldest, before their buffer is used again."""
        records, _ = self._kept.popleft()
        times = _times(records)
        if len(times) and times.max() > self._peak.start:
            first = int(times.argmax())
            self._peak = Point(int(times[first]), self._kept_from + first)
        self._kept_from += len(records)

    def reconnected(self) -> None:
        """Let another stream with buffers of its own follow: those of the last one are let go, however often that happens."""
        kept = self.tail(self._kept_from)
        more = max(0, len(kept) - _MOST_KEPT)
        self._kept = deque([(kept[:more], 0), (kept[more:], 0)])
        self._forget()

    def restart(self) -> None:
        """Forget all: what comes next follows nothing that was seen."""
        self.__init__()  # type: ignore[misc]

    def tail(self, number: int) -> RecordArray:
        """Give the records from this number on, or all that are kept where it lies before them."""
        parts = [records for records, _ in self._kept] or [np.empty(0, MBO_DTYPE)]
        return np.concatenate(parts)[max(0, number - self._kept_from) :]

    def point(self) -> Point | None:
        """Choose from where to ask again; None where nothing has been applied yet.

        A time whose first record is known for sure is one that was later than everything before it.
        """
        if not self.count:
            return None
        times = _times(self.tail(self._kept_from))
        peaks = np.maximum.accumulate(np.maximum(times, np.uint64(self._peak.start)))
        new = np.flatnonzero(np.diff(peaks, prepend=np.uint64(self._peak.start)))
        latest = int(peaks[-1]) if len(peaks) else self._peak.start
        near = new[peaks[new] >= max(0, latest - _BACK_NS)]
        if not len(near):
            return self._peak
        early = near[self._kept_from + near <= self.count - _BACK]
        index = int(early[-1] if len(early) else near[0])
        return Point(int(peaks[index]), self._kept_from + index)


def _times(records: RecordArray) -> npt.NDArray[np.uint64]:
    times: npt.NDArray[np.uint64] = records["ts_event"]
    return np.where(times == UNDEF_TIMESTAMP, np.uint64(0), times)


class Overlap:
    """Drops what comes a second time after a reconnection at `point`, and says if it is not what it should be.

    Records before the point may come too, for the gateway looks for the time among the records of all instruments; and a gateway
    may leave out those that are older than `start`. `joined` says that the history's first record was not the stream's: then times
    of up to a second later may have been reached before it.
    """

    def __init__(self, history: History, point: Point, *, joined: bool = False) -> None:
        self.done = False
        """Whether all that was seen before has come again."""
        self.lost = False
        self._start = point.start
        self._joined = joined and point.start < history.first + _BACK_NS
        known = history.tail(0)
        first = history.count - len(known)
        known = known[max(0, point.number - first) :]
        skip = max(0, first - point.number)  # records that came before what is known: they cannot be compared
        self._sought = _Reading(known, point.start)
        self._open = [] if self._joined and not skip else [self._sought._replace(skip=skip)]
        self._latest = max(point.start, int(_times(known).max(initial=np.uint64(0)))) + _BACK_NS
        self._begun = False

    def take(self, records: RecordArray) -> RecordArray:
        """Take records as they come; gives those that are new. Sets `lost` where they do not go on from what was seen."""
        if self.done or self.lost:
            return records if self.done else records[:0]
        records = records[0 if self._begun else self._first(records) :]
        if not len(records):
            return records
        following = [reading.after(records) for reading in self._open]
        if self._joined:
            places = np.flatnonzero(_raw(records) == _raw(self._sought.expected[:1]))[:_MOST_READINGS]
            following += [self._sought.after(records, place) for place in places.tolist()]
        self._open = [reading for reading in following if reading is not None][:_MOST_READINGS]
        self.lost = not self._open and not (self._joined and int(_times(records).max()) <= self._latest)
        used = [reading.used for reading in self._open if not len(reading.expected)]
        self.done = bool(used)
        return records[min(used, default=len(records)) :]

    def _first(self, records: RecordArray) -> int:
        """Find the first record that reaches the point; all before were applied before it was reached for the first time."""
        reached = np.flatnonzero(_times(records) >= np.uint64(self._start))
        self._begun = len(reached) > 0
        return int(reached[0]) if self._begun else len(records)


class _Reading(NamedTuple):
    """One way to read what comes: so many records unseen, then these; `used` is how many of the last ones taken it needed."""

    expected: RecordArray
    start: int  # records older than this may be left out, all of them or none
    skip: int = 0
    older: bool = False  # whether one of them has come
    used: int = 0

    def after(self, records: RecordArray, place: int = 0) -> _Reading | None:
        """Give what is left when these have come, from a place in them on, or None where they are others."""
        begin = min(place + self.skip, len(records))
        both = min(len(records) - begin, len(self.expected))
        differing = np.flatnonzero(_raw(records[begin : begin + both]) != _raw(self.expected[:both]))
        same = int(differing[0]) if len(differing) else both
        left, old = self.expected[same:], _times(self.expected) < np.uint64(self.start)
        older = self.older or bool(old[:same].any())
        if same == both:
            return self._replace(expected=left, skip=place + self.skip - begin, older=older, used=begin + same)
        if older or not old[same] or _times(records[begin + same :][:1])[0] < np.uint64(self.start):
            return None
        return self._replace(expected=left[~old[same:]], skip=0, older=True).after(records, begin + same)


def _raw(records: RecordArray) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(records).view(_RAW)
