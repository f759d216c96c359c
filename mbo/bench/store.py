"""`mbo bench store`: how fast messages and MBP-10 come into the embedded database and back, and how small they are there.

Every step runs in a process of its own, whose memory is measured. What comes back has to be what went in, byte by byte, and a book
at an instant has to be the one that a replay of the file gives.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import mbo
from mbo.bench.apart import apart, most_memory, need_room
from mbo.bench.row import Aim, Row
from mbo.errors import InternalError
from mbo.records import MBO_DTYPE
from mbo.simulator import write_session
from mbo.store import Store
from mbo.store.survey import CHUNK_ROWS, crc, cut

MESSAGES: Final = 10_000_000
INSTANTS: Final = 200
CHECKED: Final = 5  # of the instants, against a replay
READS: Final = 3
_COMPRESSED_ROWS: Final = 500_000  # of a Parquet row group


def store() -> Iterator[Row]:
    """Measure a store: in, on disk, at an instant, out."""
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        path, url = Path(folder) / "session.dbn", f"chdb://{folder}/store"
        need_room(folder, 4 * MESSAGES * MBO_DTYPE.itemsize)  # the file, the store, two Parquet files
        write_session(path, MESSAGES, seed=1)
        peaks = []
        for table, rate in (("messages", 2), ("mbp10", 0.7)):
            count, seconds, size, peak = apart(ingest, path, url, table)
            yield Row(f"{table} into the store", count, [count / seconds / 1e6], "M rows/s", [Aim(rate)])
            yield Row(f"{table} on disk", count, [size / count], "bytes a row", [Aim(16, most=True)])
            peaks.append(peak)
        yield Row("memory of the second, at its highest", MESSAGES, [peaks[1]], "GB", [Aim(1.5, most=True)])
        yield Row("book(at=), median of random instants", MESSAGES, apart(look, path, url), "ms", [Aim(20, most=True)])
        yield Row("messages read back", MESSAGES, apart(read_back, path, url), "M rows/s", [Aim(5)])
        for name, write in (("polars", parquet_by_polars), ("duckdb", parquet_by_duckdb)):
            if find_spec(name) is not None:
                seconds, size = apart(write, path, Path(folder) / f"{name}.parquet")
                yield Row(
                    f"messages to Parquet by {name}", MESSAGES, [MESSAGES / seconds / 1e6], "M rows/s",
                    detail=f"{size / MESSAGES:.3g} bytes a row",
                )  # fmt: skip


def ingest(path: Path, url: str, table: str) -> tuple[int, float, int, float]:
    """Store a file's messages and books, or its MBP-10 too: (rows, seconds, bytes on disk, highest memory in GB)."""
    with Store(url) as there:
        report = there.ingest(path, mbp10=table == "mbp10")
        sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'mbo' AND table = {table:String}"
        size = there.query(sql, table=table).column(0)[0].as_py()
        peak = most_memory() / 1e3
        if table == "mbp10" and not there.verify(path):
            raise InternalError("what is stored differs from the file")
    return report.rows[table], report.files[0].seconds, size, peak


def look(path: Path, url: str) -> list[float]:
    """Time the book at random instants; ms."""
    with Store(url) as there:
        entry = there.files()[0]
        chance = random.Random(1)  # noqa: S311 - instants, no secrets
        instants = [chance.randrange(entry.ts_min, entry.ts_max) for _ in range(INSTANTS)]
        there.book(at=instants[0])
        times = []
        for number, at in enumerate(instants):
            begun = time.perf_counter()
            book = there.book(at=at)
            times.append((time.perf_counter() - begun) * 1e3)
            if number < CHECKED and book.digest() != mbo.read_dbn(path).book(at=at).digest():
                raise InternalError(f"the book at {at} differs from the replay's")
    return times


def read_back(path: Path, url: str) -> list[float]:
    """Time reading all messages, several times; M rows/s."""
    expected = _sums(batch for batch in mbo.read_dbn(path).batches())
    rates = []
    with Store(url) as there:
        for run in range(READS):
            begun = time.perf_counter()
            rows = sum(len(batch) for batch in there.records().batches())
            rates.append(rows / (time.perf_counter() - begun) / 1e6)
            if run == 0 and _sums(there.records().batches()) != expected:
                raise InternalError("what comes back differs from the file")
    return rates


def parquet_by_polars(path: Path, out: Path) -> tuple[float, int]:
    """Write the messages with polars, from the same memory: (seconds, bytes)."""
    import polars as pl

    from mbo.store import columns

    begun = time.perf_counter()
    records = mbo.read_dbn(path).load()
    frame = pl.DataFrame({name: records[name].copy() for name in columns.MESSAGE_COLUMNS})
    frame.write_parquet(out, compression="zstd", compression_level=1, row_group_size=_COMPRESSED_ROWS)
    return time.perf_counter() - begun, out.stat().st_size


def parquet_by_duckdb(path: Path, out: Path) -> tuple[float, int]:
    """Write them with DuckDB, from Arrow."""
    import pyarrow as pa

    from mbo.store import columns

    duckdb = import_module("duckdb")
    begun = time.perf_counter()
    records = mbo.read_dbn(path).load()
    messages = pa.table({name: columns.to_column(name, records[name]) for name in columns.MESSAGE_COLUMNS})
    with duckdb.connect() as database:
        database.register("messages", messages)
        database.execute(
            "COPY messages TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)", {"out": str(out)}
        )
    return time.perf_counter() - begun, out.stat().st_size


def _sums(batches: Iterator[Any]) -> dict[int, int]:
    """Sum up records chunk by chunk, however they come."""
    sums: dict[int, int] = {}
    rows = 0
    for batch in batches:
        for number, part in cut(batch, rows, CHUNK_ROWS):
            sums[number] = crc(part, sums.get(number, 0))
        rows += len(batch)
    return sums
