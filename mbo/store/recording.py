"""A session that is recorded while it goes on: a file without an end, stored by ranges of its rows."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mbo.errors import RecordError, RequestError
from mbo.records import MBO_LENGTH, RTYPE_MBO, RecordArray, as_records
from mbo.store import columns, ledger
from mbo.store.ingest import by_day
from mbo.store.ledger import Entry
from mbo.store.survey import CHUNK_ROWS, Survey, add, cut
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_TIMESTAMP

if TYPE_CHECKING:
    from mbo.store.backend import Backend

_NAME: Final = re.compile(r"[\w.:@+-]{1,200}")


def append(
    backend: Backend, records: RecordArray, session: str, dataset: str, symbols: SymbolMap | None, row: int | None
) -> int:
    """Store records of a session that are not stored yet; see `Store.append`.

    `RequestError` where rows would be missing before them, or the session is of another data set.
    """
    records = as_records(records)
    if not _NAME.fullmatch(session):
        raise RequestError(f"{session!r} is not a session's name: letters, digits and . : @ + - make one")
    wrong = (records["length"] != MBO_LENGTH) | (records["rtype"] != RTYPE_MBO)
    if wrong.any():
        raise RecordError(f"record {int(wrong.argmax())} is not an MBO record", index=int(wrong.argmax()))
    entry = _entry(backend, session, dataset)
    first = entry.rows if row is None else row
    if first > entry.rows:
        raise RequestError(f"session {session!r} has {entry.rows:,} rows: those up to {first:,} are missing")
    fresh = records[entry.rows - first :]
    counted = Survey(
        "", b"", b"", dataset, entry.mappings, entry.rows, dict(entry.books), [0] * (entry.rows // CHUNK_ROWS + 1)
    )
    for _, part in cut(fresh, entry.rows, CHUNK_ROWS):
        _insert(backend, entry.file_id, part, counted.rows)
        add(counted, part)
    names = tuple(SymbolMap((*entry.mappings, *(symbols or ()))))
    if len(fresh) or names != entry.mappings:
        span = Entry.of(counted, session)
        entry = replace(
            entry, rows=counted.rows, ts_min=span.ts_min, ts_max=span.ts_max, books=counted.books, mappings=names,
            header=entry.header or _header(dataset, counted),
        )  # fmt: skip
        ledger.write(backend, entry, {"messages": entry.rows})
    return entry.rows


def _entry(backend: Backend, session: str, dataset: str) -> Entry:
    digest = hashlib.sha256(b"mbo session\0" + session.encode()).digest()
    found = ledger.entries(backend, file_id=int.from_bytes(digest[:8], "big"))
    if not found:
        return Entry(int.from_bytes(digest[:8], "big"), digest, session, dataset, 0, 0, 0, "recording")
    if found[0].dataset != dataset:
        raise RequestError(f"session {session!r} is of {found[0].dataset}, not of {dataset}")
    return found[0]


def _insert(backend: Backend, file_id: int, records: RecordArray, first: int) -> None:
    """Insert rows, but for those that an earlier call inserted which did not live to write the ledger."""
    last = first + len(records)
    there = backend.arrow(
        "SELECT DISTINCT row_num FROM mbo.messages WHERE file_id = {file_id:UInt64} "
        "AND row_num >= {first:UInt64} AND row_num < {last:UInt64}",
        file_id=file_id, first=first, last=last,
    )  # fmt: skip
    numbers = np.arange(first, last, dtype=np.uint64)
    missing = ~np.isin(numbers, there.column(0).to_numpy())
    records, numbers = records[missing], numbers[missing]
    for day, places in by_day(records):
        chosen = numbers[places]
        rows = columns.message_rows(records[places], file_id, chosen)
        backend.insert("messages", rows, f"{file_id}:messages:rows:{chosen[0]}-{chosen[-1]}:{len(chosen)}:{day}")


def _header(dataset: str, counted: Survey) -> bytes:
    """Make the session's DBN header: it begins with its first message."""
    from databento_dbn import Metadata, Schema, SType

    starts = [span.time_min for span in counted.books.values() if span.time_min != UNDEF_TIMESTAMP]
    metadata = Metadata(
        dataset=dataset, start=min(starts, default=0), end=None, limit=None, schema=Schema.from_str("mbo"), version=3,
        stype_in=SType.from_str("raw_symbol"), stype_out=SType.from_str("instrument_id"), symbols=[], partial=[], not_found=[],
        mappings=[],
    )  # fmt: skip
    encoded: bytes = metadata.encode()
    return encoded
