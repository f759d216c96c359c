"""The book at an instant, without replaying the whole file: the last kept book before it, and the messages since."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mbo.book import Book, Books
from mbo.errors import TimeError
from mbo.records import Flag, RecordArray
from mbo.store import snapshots
from mbo.store.columns import BUILD, MESSAGE_COLUMNS, from_column, to_messages
from mbo.store.ingest import BETWEEN
from mbo.store.ledger import Entry
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_TIMESTAMP, format_time

if TYPE_CHECKING:
    from mbo.store.backend import Backend
    from mbo.store.stored import StoredRecords

_KEY = (
    "instrument_id = {instrument_id:UInt32} AND file_id = {file_id:UInt64} AND publisher_id = {publisher_id:UInt16} "
    "AND build = {build:UInt16}"
)


class Mark(NamedTuple):
    """Where a kept book stands; see `snapshots.Snapshot`."""

    row_num: int
    base: bool
    ts_high: int
    low: int
    high: int


Marks = dict[tuple[int, int, int], list[Mark]]
"""Where the kept books of a file stand, once read: they do not change. By file, when it was stored, and book."""


def book_of(backend: Backend, entry: Entry, records: StoredRecords, at: int | None, known: Marks) -> Book | None:
    """Build the book of the one instrument in `records` (of one file), after the file's end or at an instant (ns UTC).

    It equals `Records.book`, counters and anomalies too. None where kept books cannot tell: there are none, or the selection is not
    all messages of one book. `TimeError` as `Records.book` raises it.
    """
    key = _whole_book(entry, records)
    if key is None or "book_snapshots" not in entry.targets:
        return None
    reader = _Reader(backend, entry, key, records.symbol_map)
    place = (entry.file_id, entry.updated_at, key)
    marks = known[place] if place in known else known.setdefault(place, reader.marks())
    if at is None:
        return snapshots.restore(reader.snapshot(marks[-1]), reader.symbols).book()
    _refuse_outside(at, records.covers, entry, key)
    # The first end of an event that is later than `at` lies before the first mark whose ts_high is.
    position = bisect_right(marks, at, key=lambda mark: mark.ts_high)
    base = next((mark for mark in reversed(marks[:position]) if mark.base), None)
    upto = marks[min(position, len(marks) - 1)]
    with ThreadPoolExecutor(1, "mbo-at") as other:  # two statements side by side take little longer than the longer one
        kept = None if base is None else other.submit(reader.snapshot, base)
        rows, numbers = reader.messages(base, upto)
    last = last_end(rows, at)
    if base is None and last < 0:
        raise TimeError(f"no event of {', '.join(records.symbols) or 'the selection'} is complete at {format_time(at)}")
    books = Books(symbols=reader.symbols) if kept is None else snapshots.restore(kept.result(), reader.symbols)
    books.apply(rows[: last + 1], rows=numbers[: last + 1])
    return books.book()


def last_end(records: RecordArray, at: int) -> int:
    """Find the last end of an event before the first later than `at`, -1 where there is none; only those with a time count."""
    times = records["ts_recv"]
    ends = np.flatnonzero((records["flags"] & int(Flag.LAST) != 0) & (times != UNDEF_TIMESTAMP))
    late = times[ends] > at
    if late.any():
        ends = ends[: int(late.argmax())]
    return int(ends[-1]) if len(ends) else -1


def _whole_book(entry: Entry, records: StoredRecords) -> int | None:
    """Give the key of the only book in the selection, if all of its messages are selected."""
    chosen = records.selection
    if chosen.start is not None or chosen.end is not None or chosen.publisher_id is not None:
        return None
    keys = list(entry.books)
    if chosen.instruments is not None:
        wanted = {mapping.instrument_id for mapping in chosen.instruments}
        keys = [key for key in keys if key & 0xFFFFFFFF in wanted]
    if len(keys) != 1:
        return None
    span = entry.books[keys[0]]
    ends = (span.time_min, span.time_max)
    named = chosen.instruments is None or any(
        mapping.instrument_id == keys[0] & 0xFFFFFFFF and all(map(mapping.holds, ends))
        for mapping in chosen.instruments
    )
    return keys[0] if named and span.time_max < 2**63 else None


def _refuse_outside(at: int, covers: tuple[int, int], entry: Entry, key: int) -> None:
    first, last = covers
    span = entry.books[key]
    if span.recv_min != UNDEF_TIMESTAMP:
        first, last = min(first, span.recv_min), max(last, span.recv_max)
    if not first <= at <= last:
        where = f"from {format_time(first)} to {format_time(last)}"
        raise TimeError(f"{format_time(at)} is outside the data, which goes {where}")


class _Reader:
    """Reads what is kept of one book."""

    def __init__(self, backend: Backend, entry: Entry, key: int, symbols: SymbolMap) -> None:
        self.symbols = symbols
        self._backend = backend
        self._key: dict[str, Any] = {
            "file_id": entry.file_id, "instrument_id": key & 0xFFFFFFFF, "publisher_id": key >> 32, "build": BUILD,
        }  # fmt: skip

    def marks(self) -> list[Mark]:
        """List the kept books, in the order of the messages."""
        columns = "row_num, base, ts_high, segment_low, segment_high"
        table = self._backend.arrow(
            f"SELECT DISTINCT {columns} FROM mbo.book_snapshots WHERE {_KEY} ORDER BY row_num",  # noqa: S608
            **self._key,
        )
        return [Mark(*values) for values in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def snapshot(self, mark: Mark) -> snapshots.Snapshot:
        """Read one kept book."""
        sql = f"SELECT * FROM mbo.book_snapshots WHERE {_KEY} AND row_num = {{row_num:UInt64}} LIMIT 1 "  # noqa: S608
        table = self._backend.arrow(sql + "SETTINGS max_threads = 1", row_num=mark.row_num, **self._key)
        return snapshots.from_row(table)

    def messages(self, after: Mark | None, upto: Mark) -> tuple[RecordArray, Any]:
        """Read the messages behind one mark up to another, and their numbers."""
        key = {name: value for name, value in self._key.items() if name != "build"}
        table = self._backend.arrow(
            f"SELECT {', '.join(MESSAGE_COLUMNS)}, row_num FROM mbo.messages "  # noqa: S608
            f"WHERE instrument_id = {{instrument_id:UInt32}} AND {BETWEEN} AND file_id = {{file_id:UInt64}} "
            "AND publisher_id = {publisher_id:UInt16} AND row_num > {after:Int64} AND row_num <= {upto:UInt64} ORDER BY row_num "
            "SETTINGS max_threads = 1",
            low=upto.low, high=upto.high, after=after.row_num if after else -1, upto=upto.row_num, **key,
        )  # fmt: skip
        return to_messages(table), from_column("row_num", table.column("row_num")).astype(np.int64)
