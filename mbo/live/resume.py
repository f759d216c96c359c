"""Going on after a lost connection without losing or repeating a record.

The protocol's only position is `start`, a ts_event, which many records share; two records may even be equal to the byte. So a
client asks again from a time that it has seen, and gets records a second time. Which these are is known: a gateway begins at the
first record at or after `start`, and the client knows at which of its records that time was first reached. They are compared with
the last ones applied, in order and multiplicity, and dropped. Where they differ, something was lost in between.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.live.stream import Arrival
from mbo.records import MBO_DTYPE, RecordArray
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP

_BACK: Final = 1000  # records that are asked for again, and
_BACK_NS: Final = NS_PER_S  # at most so long before the latest: clocks of different channels are not quite in order


class Point(NamedTuple):
    """From where to go on: the `start` (ns, ts_event) to ask for, and the number of the first record that reaches it."""

    start: int
    number: int


class History:
    """The last records that were applied, as they lie in the stream's own buffers, and how many there were in all."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[tuple[RecordArray, int]] = deque()
        self._kept_from = 0  # the number of the first record that is kept
        self._peak = Point(0, 0)  # the latest time before those, and the first record that had it

    def add(self, arrival: Arrival) -> None:
        """Note records that were applied."""
        while self._kept and self._kept[0][1] < arrival.buffer - 1:
            self._forget()
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
        """Let another stream with buffers of its own follow: those of the last one are never written to again."""
        self._kept = deque((records, 0) for records, _ in self._kept)

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
        points = [self._peak] if self._peak.start else []
        latest = int(peaks[-1]) if len(peaks) else self._peak.start
        enough = self.count - _BACK
        early = new[self._kept_from + new <= max(enough, self._kept_from)][-1:]
        late = new[self._kept_from + new > enough]
        points += [Point(int(peaks[index]), self._kept_from + int(index)) for index in (*early, *late)]
        near = [point for point in points if point.start >= latest - _BACK_NS]
        return near[0] if near else Point(0, 0)


def _times(records: RecordArray) -> npt.NDArray[np.uint64]:
    times: npt.NDArray[np.uint64] = records["ts_event"]
    return np.where(times == UNDEF_TIMESTAMP, np.uint64(0), times)


class Overlap:
    """Drops what comes a second time after a reconnection at `point`, and says if it is not what it should be.

    Two things may differ from what the client has: records before the point may come too, for the gateway looks for the time
    among the records of all instruments; and a gateway may leave out single records that are older than `start`. So every reading
    that fits is followed until one is complete.
    """

    def __init__(self, history: History, point: Point) -> None:
        self.dropped = 0
        self.lost = False
        self._point = point
        self._known = history.tail(0)
        first = history.count - len(self._known)
        self._before = max(0, point.number - first)  # of what is known, how many come before the point
        skip = max(0, first - point.number)  # records that came before what is known: they cannot be compared
        known = self._known[self._before :]
        younger = known[_times(known) >= point.start]
        self._open = [_Reading(skip, known)]
        if len(younger) < len(known):
            self._open.append(_Reading(skip, younger))
        self._begun = False

    @property
    def done(self) -> bool:
        """Whether all that was seen before has come again."""
        return any(reading.complete for reading in self._open)

    def take(self, records: RecordArray) -> RecordArray:
        """Take records as they come; gives those that are new. Sets `lost` where they do not go on from what was seen."""
        if self.done or self.lost or not len(records):
            return records
        if not self._begun:
            self._begin(records)
        following = [left for reading in self._open if (left := reading.after(records)) is not None]
        self._open = following
        self.lost = not following
        complete = [reading.used for reading in following if reading.complete]
        used = 0 if self.lost else min(complete, default=len(records))
        self.dropped += used
        return records[used:]

    def _begin(self, records: RecordArray) -> None:
        """Look where the records begin, if that is before the point."""
        self._begun = True
        if _times(records[:1])[0] < self._point.start:
            earlier = self._known[: self._before]
            places = np.flatnonzero(earlier.view(_RAW) == np.ascontiguousarray(records[:1]).view(_RAW))
            self._open += [_Reading(0, self._known[place:]) for place in places[-_MOST_READINGS:]]


_RAW: Final = np.dtype(("V", MBO_DTYPE.itemsize))
_MOST_READINGS: Final = 64


class _Reading(NamedTuple):
    """One way to read what comes: so many records unseen, then these; `used` is how many of the last ones taken it needed."""

    skip: int
    expected: RecordArray
    used: int = 0

    @property
    def complete(self) -> bool:
        return not self.skip and not len(self.expected)

    def after(self, records: RecordArray) -> _Reading | None:
        """Give what is left when these have come, or None where they are others."""
        skipped = min(self.skip, len(records))
        count = min(len(records) - skipped, len(self.expected))
        if records[skipped : skipped + count].tobytes() != self.expected[:count].tobytes():
            return None
        return _Reading(self.skip - skipped, self.expected[count:], skipped + count)
