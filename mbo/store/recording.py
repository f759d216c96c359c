"""A session that is recorded while it goes on: a file without an end, stored by ranges of its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mbo.errors import RecordError, RequestError
from mbo.records import MBO_LENGTH, RTYPE_MBO, RecordArray, as_records
from mbo.store import columns, ledger
from mbo.store.ledger import Entry
from mbo.store.survey import CHUNK_ROWS, BookSpan, Survey, add, cut
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_TIMESTAMP

if TYPE_CHECKING:
    from mbo.store.backend import Backend

_NAME: Final = re.compile(r"[\w.:@+-]{1,200}")


def append(
    backend: Backend, records: RecordArray, session: str, dataset: str, symbols: SymbolMap | None, row: int | None
) -> int:
    """Store records of a session that are not stored yet; see `Store.append`.

    `RequestError` where rows would be missing before them, the session is of another data set, or other records stand in their
    place.
    """
    records = as_records(records)
    wrong = (records["length"] != MBO_LENGTH) | (records["rtype"] != RTYPE_MBO)
    if wrong.any():
        raise RecordError(f"record {int(wrong.argmax())} is not an MBO record", index=int(wrong.argmax()))
    entry = _entry(backend, session)
    if entry is None:  # before the first rows: whoever goes on after a crash has to know whose they are
        entry = Entry(*_ids(session), session, dataset, 0, 0, 0, "recording", header=_header(dataset, {}))
        _extend(backend, entry, records[:0], symbols)
    elif entry.dataset != dataset:
        raise RequestError(f"session {session!r} is of {entry.dataset}, not of {dataset}")
    first = entry.rows if row is None else row
    if first > entry.rows:
        raise RequestError(f"session {session!r} has {entry.rows:,} rows: those up to {first:,} are missing")
    fresh = records[entry.rows - first :]
    for part in _parts(fresh, entry.rows):
        _insert(backend, session, part.records, part.first)
    return _extend(backend, entry, fresh, symbols)


def recorded(backend: Backend, session: str) -> int:
    """Count the rows of a session, and write into the ledger what a call that died left without; see `Store.recorded`."""
    entry = _entry(backend, session)
    if entry is None:
        return 0
    left = _rows(backend, entry.file_id, entry.rows, 2**63)
    return _extend(backend, entry, left, None)


def _ids(session: str) -> tuple[int, bytes]:
    if not _NAME.fullmatch(session):
        raise RequestError(f"{session!r} is not a session's name: letters, digits and . : @ + - make one")
    digest = hashlib.sha256(b"mbo session\0" + session.encode()).digest()
    return int.from_bytes(digest[:8], "big"), digest


def _entry(backend: Backend, session: str) -> Entry | None:
    found = ledger.entries(backend, file_id=_ids(session)[0])
    return found[0] if found else None


def _extend(backend: Backend, entry: Entry, records: RecordArray, symbols: SymbolMap | None) -> int:
    """Write into the ledger that a session has these rows too; gives how many it has now."""
    counted = Survey(
        "", b"", b"", entry.dataset, entry.mappings, entry.rows, dict(entry.books), [0] * (entry.rows // CHUNK_ROWS + 1)
    )
    add(counted, records)
    names = tuple(SymbolMap((*entry.mappings, *(symbols or ()))))
    if len(records) or names != entry.mappings or not entry.updated_at:
        span = Entry.of(counted, entry.name)
        entry = replace(
            entry, rows=counted.rows, ts_min=span.ts_min, ts_max=span.ts_max, books=counted.books, mappings=names,
            header=entry.header if entry.rows else _header(entry.dataset, counted.books),
        )  # fmt: skip
        ledger.write(backend, entry, {"messages": entry.rows})
    return entry.rows


class _Part(NamedTuple):
    """Rows that are inserted together."""

    first: int
    records: RecordArray


def _parts(records: RecordArray, first: int) -> Iterator[_Part]:
    """Cut records at multiples of a chunk and where the day changes: what stands in the table is then always without a hole."""
    for _, chunk in cut(records, first, CHUNK_ROWS):
        changes = np.flatnonzero(np.diff(columns.days(chunk))) + 1
        for part in np.split(chunk, changes):
            yield _Part(first, part)
            first += len(part)


def _insert(backend: Backend, session: str, records: RecordArray, first: int) -> None:
    """Insert rows, but for those that an earlier call inserted which did not live to write the ledger."""
    file_id, last = _ids(session)[0], first + len(records)
    there = _rows(backend, file_id, first, last)
    if there.tobytes() != records[: len(there)].tobytes():
        raise RequestError(f"session {session!r} has other rows behind its first {first:,}: somebody else records it")
    records, first = records[len(there) :], first + len(there)
    if len(records):
        rows = columns.message_rows(records, file_id, np.arange(first, last, dtype=np.uint64))
        backend.insert("messages", rows, f"{file_id}:messages:rows:{first}-{last}")


def _rows(backend: Backend, file_id: int, first: int, last: int) -> RecordArray:
    """Read rows of a session, as far as they stand there without a hole."""
    table = backend.arrow(
        f"SELECT {', '.join(columns.MESSAGE_COLUMNS)}, row_num FROM mbo.messages "  # noqa: S608
        "WHERE file_id = {file_id:UInt64} AND row_num >= {first:UInt64} AND row_num < {last:UInt64} "
        "ORDER BY row_num LIMIT 1 BY row_num",
        file_id=file_id, first=first, last=last,
    )  # fmt: skip
    numbers = columns.from_column("row_num", table.column("row_num"))
    whole = int((numbers == np.arange(first, first + len(numbers), dtype=np.uint64)).cumprod().sum())
    return columns.to_messages(table)[:whole]


def _header(dataset: str, books: dict[int, BookSpan]) -> bytes:
    """Make the session's DBN header: it begins with its first message."""
    from databento_dbn import Metadata, Schema, SType

    starts = [span.time_min for span in books.values() if span.time_min != UNDEF_TIMESTAMP]
    metadata = Metadata(
        dataset=dataset, start=min(starts, default=0), end=None, limit=None, schema=Schema.from_str("mbo"), version=3,
        stype_in=SType.from_str("raw_symbol"), stype_out=SType.from_str("instrument_id"), symbols=[], partial=[], not_found=[],
        mappings=[],
    )  # fmt: skip
    encoded: bytes = metadata.encode()
    return encoded
