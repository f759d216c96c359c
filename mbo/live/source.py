"""What a gateway replays: the records of files as one memory, over and over if it loops.

The file itself is the buffer of every client: a session keeps its place in it and nothing else, so that one who reads slowly costs
no memory and slows nobody.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo import dbn
from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, RTYPE_MBO, Action, Flag, RecordArray, Side, TimeField, as_records
from mbo.replay import Records
from mbo.selection import Selection, book_keys
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP

_CHUNK: Final = 4096  # records of which only the latest time is kept in memory
_STEP: Final = 1 << 18  # records whose times are looked at in one go


class Shift(NamedTuple):
    """What every turn of a loop adds to its records; sums wrap around, as the fields do."""

    time_ns: int = 0
    order_id: int = 0
    sequence: int = 0


class Source:
    """The records of `day`, numbered from 0; with `loop` without end, each turn behind a clear of every book.

    A plain file is a view of its own pages; what is compressed, mixed, selected, of several files or looped is laid out in a
    temporary file first. Turn n has its times, order ids and sequence numbers moved on by n shifts, so that time does not run
    backwards and no id comes twice.
    """

    def __init__(self, day: Records, *, loop: bool = False) -> None:
        self.day = day
        self.dataset = day.dataset
        self.symbol_map = day.symbol_map
        self.loop = loop
        whole = day.files[0].whole() if len(day.files) == 1 and day.selection == Selection() else None
        self.records = whole if whole is not None and not loop else _laid_out(day, loop)
        if not len(self.records):
            raise RequestError(f"there are no MBO records in {', '.join(str(file.path) for file in day.files)}")
        self.shift = _shift(self.records) if loop else Shift()
        self._latest: dict[TimeField, list[int]] = {"ts_recv": [], "ts_event": []}
        self._looking = threading.Lock()  # several threads ask for times

    @property
    def end(self) -> int | None:
        """The number of records, None where they have no end."""
        return None if self.loop else len(self.records)

    def piece(self, begin: int, end: int) -> tuple[RecordArray, int]:
        """Give records from number `begin` up to at most `end`, as far as their turn goes, not yet shifted; and their turn."""
        turn, offset = divmod(begin, len(self.records))
        stop = min(offset + end - begin, len(self.records))
        step = offset // _STEP
        if stop // _STEP > step:  # what was sent needs no memory; who is behind has it from the file again
            dbn.give_back(self.records[max(0, step - 1) * _STEP : offset])
        return self.records[offset:stop], turn

    def moved(self, records: RecordArray, turn: int) -> RecordArray:
        """Give records of a turn with their times, order ids and sequence numbers moved on; what is missing stays missing."""
        if not turn:
            return records
        moved: RecordArray = records.copy()
        for clock in ("ts_event", "ts_recv"):
            moved[clock] += np.where(
                moved[clock] == UNDEF_TIMESTAMP, np.uint64(0), np.uint64(turn * self.shift.time_ns)
            )
        more = np.uint64(turn * self.shift.order_id % 2**64)
        moved["order_id"] += np.where(moved["order_id"] == 0, np.uint64(0), more)
        moved["sequence"] += np.uint32(turn * self.shift.sequence % 2**32)
        return moved

    def between(self, begin: int, end: int) -> Iterator[RecordArray]:
        """Give the records from number `begin` up to `end`, in pieces."""
        while begin < end:
            piece, turn = self.piece(begin, min(end, begin + _STEP))
            yield self.moved(piece, turn)
            begin += len(piece)

    def turn_of(self, number: int) -> int:
        """Give the number of the first record of the turn that a record is in: no book knows anything of before."""
        return number - number % len(self.records) if self.loop else 0

    def time_of(self, number: int, clock: TimeField = "ts_recv") -> int:
        """Give the latest time (ns) of all records of the turn up to this one, itself included; a missing time is none."""
        turn, offset = divmod(number, len(self.records))
        chunk = offset // _CHUNK
        before = self._chunk_latest(clock, chunk - 1) if chunk else 0
        times = _known(self.records[clock][chunk * _CHUNK : offset + 1])
        return max(before, int(times.max())) + turn * self.shift.time_ns

    def first_reaching(self, time_ns: int, clock: TimeField = "ts_recv") -> int:
        """Find the first record whose time is at or after `time_ns`; the number of records if none is."""
        turn = 0
        if self.loop:
            latest = self._chunk_latest(clock, (len(self.records) - 1) // _CHUNK)
            turn = max(0, -((latest - time_ns) // self.shift.time_ns))  # the first that comes so far
        sought = time_ns - turn * self.shift.time_ns
        chunk = self._first_chunk(sought, clock)
        if chunk is None:
            return (turn + 1) * len(self.records)
        times = _known(self.records[clock][chunk * _CHUNK : (chunk + 1) * _CHUNK])
        return turn * len(self.records) + chunk * _CHUNK + int((times >= np.uint64(max(sought, 0))).argmax())

    def place_of(self, start: int) -> int:
        """Find where a replay from `start` (ns, ts_event; 0 is the beginning) begins: at the first record at or after it."""
        return self.first_reaching(start, "ts_event") if start else 0

    def _first_chunk(self, sought: int, clock: TimeField) -> int | None:
        latest = self._latest[clock]
        chunks = -(-len(self.records) // _CHUNK)
        while (not latest or latest[-1] < sought) and len(latest) < chunks:
            self._chunk_latest(clock, min(len(latest) + _STEP // _CHUNK, chunks) - 1)
        low, high = 0, len(latest)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if latest[middle] < sought else (low, middle)
        return low if low < len(latest) else None

    def _chunk_latest(self, clock: TimeField, chunk: int) -> int:
        """Give the latest time of all records up to the end of a chunk, which are looked at when they are first needed."""
        latest = self._latest[clock]
        with self._looking:
            while len(latest) <= chunk:
                begin = len(latest) * _CHUNK
                times = _known(self.records[clock][begin : begin + _STEP])
                peaks = np.maximum.reduceat(times, np.arange(0, len(times), _CHUNK)).tolist()
                dbn.give_back(self.records[begin : begin + _STEP])
                for peak in peaks:
                    latest.append(max(peak, latest[-1] if latest else 0))
        return latest[chunk]


def _known(times: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Take a missing time for the earliest there is: it then never is the latest."""
    return np.where(times == UNDEF_TIMESTAMP, np.uint64(0), times)


def _laid_out(day: Records, loop: bool) -> RecordArray:
    """Write the records, behind the clears of a loop, to a temporary file without a name and map it."""
    with tempfile.TemporaryFile(prefix="mbo-") as file:
        if loop:
            file.write(_clears(day).tobytes())
        for batch in day.batches():
            file.write(np.ascontiguousarray(batch).data)
        if not file.tell():
            return as_records(np.empty(0, MBO_DTYPE))
        file.flush()
        return as_records(np.memmap(file, MBO_DTYPE, "r").view(np.ndarray))


def _clears(day: Records) -> RecordArray:
    """Make a clear for every book of the day, at the earliest time that there is."""
    first: dict[int, Any] = {}
    earliest: dict[str, int] = {}
    for batch in day.batches():
        for clock in ("ts_recv", "ts_event"):  # a missing time is the latest of all
            earliest[clock] = min(earliest.get(clock, UNDEF_TIMESTAMP), int(batch[clock].min()))
        keys = book_keys(batch)
        for key, index in zip(*np.unique(keys, return_index=True), strict=True):
            first.setdefault(int(key), batch[index])
    clears = np.array(list(first.values()), MBO_DTYPE) if first else np.empty(0, MBO_DTYPE)
    clears["length"], clears["rtype"] = MBO_DTYPE.itemsize // 4, RTYPE_MBO
    clears["action"], clears["side"], clears["price"] = Action.CLEAR, Side.NONE, UNDEF_PRICE
    clears["order_id"], clears["size"], clears["flags"] = 0, 0, Flag.LAST
    for clock, time_ns in earliest.items():
        clears[clock] = time_ns
    return clears


def _shift(records: RecordArray) -> Shift:
    # A turn begins when the last has been received. The orders of a snapshot are older by their ts_event, in every turn.
    span = 0
    for clock in ("ts_recv", "ts_event"):
        known = records[clock][records[clock] != UNDEF_TIMESTAMP]
        if len(known):
            span = int(known.max()) - int(known.min())
            break
    largest_id, largest_sequence = int(records["order_id"].max()), int(records["sequence"].max())
    return Shift(span + 1_000_000, (largest_id + 1) % 2**64, (largest_sequence + 1) % 2**32)
