"""One look at a file before anything of it is stored: what it is, whether it is whole, and what there is to insert."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo import dbn
from mbo.errors import FormatError
from mbo.progress import track
from mbo.records import RecordArray, times_of
from mbo.selection import book_keys
from mbo.symbols import Mapping, SymbolMap
from mbo.units import UNDEF_TIMESTAMP

CHUNK_ROWS: Final = 500_000
"""Messages of one chunk; within it, every UTC day is inserted by itself."""
_READ_BYTES: Final = 1 << 22


@dataclass(slots=True)
class BookSpan:
    """When one book has messages: of what ts_recv are known, and of all times (ts_event where ts_recv is missing), ns UTC."""

    rows: int = 0
    recv_min: int = UNDEF_TIMESTAMP
    recv_max: int = 0
    time_min: int = UNDEF_TIMESTAMP
    time_max: int = 0


@dataclass(slots=True)
class Survey:
    """What a file of MBO records is; `sha256` is of its uncompressed content, so that copies of a file are one file."""

    path: str
    sha256: bytes
    header: bytes
    """The DBN header, of version 3 and without sending times."""
    dataset: str
    mappings: tuple[Mapping, ...]
    rows: int = 0
    books: dict[int, BookSpan] = field(default_factory=dict)
    checksums: list[int] = field(default_factory=list)
    """CRC-32 of every chunk's records."""

    @property
    def file_id(self) -> int:
        """The first eight bytes of the digest, as a number."""
        return int.from_bytes(self.sha256[:8], "big")

    @property
    def recv_range(self) -> tuple[int, int]:
        """The first and the last known ts_recv (ns UTC); (0, 0) where there is none."""
        spans = [span for span in self.books.values() if span.recv_min != UNDEF_TIMESTAMP]
        return (min(s.recv_min for s in spans), max(s.recv_max for s in spans)) if spans else (0, 0)

    @property
    def instruments(self) -> list[int]:
        """Every instrument id, in order."""
        return sorted({key & 0xFFFFFFFF for key in self.books})


def survey(file: dbn.DbnFile) -> Survey:
    """Read a file through. What is wrong with it is raised here, before anything is stored: see `DbnFile.batches`."""
    skipped = dbn.Skipped()
    before = _state_of(file)
    found = Survey(str(file.path), b"", b"", str(file.metadata.dataset), ())
    with ThreadPoolExecutor(1, "mbo-digest") as digester:
        digest = digester.submit(_digest, file)
        batches = track(file.batches(skipped), file.size_bytes, lambda batch: batch.read_bytes, "looking through")
        for batch in batches:
            add(found, batch.records)
        found.sha256 = digest.result()
    if _state_of(file) != before:
        raise changed(file)
    found.mappings = tuple(file.symbol_map()) or tuple(SymbolMap(skipped.mappings))
    found.header = header_of(file)
    return found


def add(found: Survey, records: RecordArray) -> None:
    """Count records that follow those counted so far."""
    for number, part in cut(records, found.rows, CHUNK_ROWS):
        if number == len(found.checksums):
            found.checksums.append(0)
        found.checksums[number] = crc(part, found.checksums[number])
    found.rows += len(records)
    keys, first, own = np.unique(book_keys(records), return_index=True, return_inverse=True)
    times, recv = times_of(records), np.ascontiguousarray(records["ts_recv"])
    known = recv != UNDEF_TIMESTAMP
    rows = np.bincount(own, minlength=len(keys))
    extremes = [_extremes(own, times, len(keys)), _extremes(own[known], recv[known], len(keys))]
    for number in np.argsort(first).tolist():  # books in the order of their appearance, as the engine has them
        span = found.books.setdefault(int(keys[number]), BookSpan())
        span.rows += int(rows[number])
        span.time_min, span.time_max = _wider(span.time_min, span.time_max, extremes[0], number)
        span.recv_min, span.recv_max = _wider(span.recv_min, span.recv_max, extremes[1], number)


def cut(records: RecordArray, first: int, rows: int) -> Iterator[tuple[int, RecordArray]]:
    """Cut records, of which the first has the number `first`, at multiples of `rows`; give (chunk, its part)."""
    start = 0
    while start < len(records):
        chunk = (first + start) // rows
        stop = min((chunk + 1) * rows - first, len(records))
        yield chunk, records[start:stop]
        start = stop


def crc(records: RecordArray, before: int = 0) -> int:
    """Compute the CRC-32 of records that follow those whose CRC-32 is `before`."""
    return zlib.crc32(records.view(np.uint8).data, before)


def changed(file: dbn.DbnFile) -> FormatError:
    """Say that somebody writes to the file."""
    return FormatError(
        f"{file.path} changed while it was read: ingest it again when it is complete", path=str(file.path)
    )


def header_of(file: dbn.DbnFile) -> bytes:
    """Encode the header as DBN version 3, without the sending times, which are not stored."""
    from mbo.streams import header

    meta = file.metadata
    mappings = file.symbol_map() if meta.schema is not None else SymbolMap()
    encoded: bytes = header(meta, "mbo", end=meta.end, symbol_map=mappings).encode()
    return encoded


def _state_of(file: dbn.DbnFile) -> tuple[int, int, int]:
    stat = os.stat(file.path)  # noqa: PTH116 - the three that change with the content
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _digest(file: dbn.DbnFile) -> bytes:
    """Hash the file's content, uncompressed."""
    digest = hashlib.sha256()
    with file.path.open("rb") as plain:
        source: Any = plain
        if file.compressed:
            import pyarrow as pa

            source = pa.CompressedInputStream(pa.PythonFile(plain, "r"), "zstd")
        try:
            while block := source.read(_READ_BYTES):
                digest.update(block)
        except OSError as error:
            if error.errno is not None:
                raise
            return b""  # damaged: whoever reads the records says so
    return digest.digest()


def _extremes(own: Any, times: npt.NDArray[np.uint64], books: int) -> tuple[Any, Any]:
    low, high = np.full(books, UNDEF_TIMESTAMP, np.uint64), np.zeros(books, np.uint64)
    np.minimum.at(low, own, times)
    np.maximum.at(high, own, times)
    return low, high


def _wider(low: int, high: int, extremes: tuple[Any, Any], number: int) -> tuple[int, int]:
    return min(low, int(extremes[0][number])), max(high, int(extremes[1][number]))
