"""Which records of a stream: by instrument, publisher and time. A stretch is a batch with the numbers its records have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, RecordArray, TimeField, as_records, times_of
from mbo.symbols import Mapping

Clock = Literal["recv", "event"]
"""Which time: ts_recv, when the record was captured, or ts_event, the matching engine's."""
_Mask = npt.NDArray[np.bool_]


def clock_of(by: Clock) -> TimeField:
    """Name the field that `by` stands for."""
    if by not in ("recv", "event"):
        raise RequestError(f"by={by!r}: it is 'recv' or 'event'")
    return "ts_recv" if by == "recv" else "ts_event"


def book_keys(records: RecordArray) -> npt.NDArray[np.int64]:
    """Give each record's book as one number: publisher_id << 32 | instrument_id."""
    keys: npt.NDArray[np.int64] = records["publisher_id"].astype(np.int64) << 32 | records["instrument_id"]
    return keys


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Records that follow each other in a stream: `rows` are their numbers among all its MBO records, or the first one's."""

    records: RecordArray
    rows: int | npt.NDArray[np.int64] = 0
    ts_out: npt.NDArray[np.uint64] | None = None
    read_bytes: int = 0
    """How far the reader stood, over all files on disk."""

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The number of every record."""
        return np.arange(self.rows, self.rows + len(self.records)) if isinstance(self.rows, int) else self.rows

    def where(self, mask: _Mask) -> Stretch:
        """Keep the records where `mask` holds."""
        if mask.all():
            return self
        ts_out = None if self.ts_out is None else self.ts_out[mask]
        return replace(self, records=self.records[mask], rows=self.numbers[mask], ts_out=ts_out)

    def until(self, last_rows: dict[int, int]) -> Stretch:
        """Keep of every book (see `book_keys`) the records up to its number in `last_rows`, and none of a book not in it."""
        keys = book_keys(self.records)
        known = np.array(sorted(last_rows), np.int64)
        if not len(known):
            return self.where(np.zeros(len(keys), bool))
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        last = np.array([last_rows[key] for key in known.tolist()])[place]
        return self.where((known[place] == keys) & (self.numbers <= last))


def joined(stretches: Iterable[Stretch], length: int) -> Iterator[Stretch]:
    """Put stretches that follow each other together, to at most so many records where each has fewer; without sending times."""
    waiting: list[Stretch] = []
    for stretch in stretches:
        if waiting and sum(len(each.records) for each in [*waiting, stretch]) > length:
            whole, waiting = _join(waiting), []
            yield whole
        waiting.append(stretch)
    if waiting:
        yield _join(waiting)


def _join(stretches: list[Stretch]) -> Stretch:
    rows = stretches[0].rows
    ends = [each.rows + len(each.records) for each in stretches if isinstance(each.rows, int)]
    if not isinstance(rows, int) or [each.rows for each in stretches[1:]] != ends[:-1]:  # with gaps between
        rows = np.concatenate([each.numbers for each in stretches])
    return Stretch(
        as_records(np.concatenate([each.records for each in stretches])), rows, None, stretches[-1].read_bytes
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """What `Records.select` chose: `start` <= time < `end` on `clock`, ns UTC; None is no limit."""

    instruments: tuple[Mapping, ...] | None = None
    publisher_id: int | None = None
    start: int | None = None
    end: int | None = None
    clock: TimeField = "ts_recv"

    def of(self, stretch: Stretch) -> Stretch:
        """Narrow a stretch to what is selected."""
        masks: list[_Mask] = []
        if self.publisher_id is not None:
            masks.append(stretch.records["publisher_id"] == self.publisher_id)
        if self.start is not None:
            masks.append(times_of(stretch.records, self.clock) >= self.start)
        if self.end is not None:
            masks.append(times_of(stretch.records, self.clock) < self.end)
        if self.instruments is not None:
            masks.append(_named(self.instruments, stretch))
        return stretch.where(np.logical_and.reduce(masks)) if masks else stretch


def _named(instruments: tuple[Mapping, ...], stretch: Stretch) -> _Mask:
    """Say which records are of one of the instruments, while that one had the name that was asked for."""
    ids, times = stretch.records["instrument_id"], times_of(stretch.records)
    if not len(ids):
        return np.zeros(0, bool)
    ends = int(times.min()), int(times.max())
    always = {m.instrument_id for m in instruments if all(map(m.holds, ends))}
    named: _Mask = np.isin(ids, np.array(sorted(always), ids.dtype))
    for mapping in instruments:
        if mapping.instrument_id not in always:
            named |= (ids == mapping.instrument_id) & mapping.holds(times)
    return named


def empty(*, ts_out: bool = False) -> Stretch:
    """Give a stretch without records, for what needs the schema alone."""
    none: Any = np.empty(0, np.uint64) if ts_out else None
    return Stretch(np.empty(0, MBO_DTYPE), 0, none)
