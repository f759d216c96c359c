"""The ledger: which files are stored, how far, and what has to be known of each without reading its messages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from mbo.errors import RequestError
from mbo.store.columns import BUILD
from mbo.store.schema import migrations
from mbo.store.survey import CHUNK_ROWS, BookSpan, Survey
from mbo.symbols import Mapping, SymbolMap

if TYPE_CHECKING:
    from mbo.store.backend import Backend

Target = Literal["messages", "mbp10", "book_snapshots"]
TARGETS: Final[tuple[Target, ...]] = ("messages", "mbp10", "book_snapshots")
State = Literal["committed", "recording", "replaced", "removed"]
"""`recording`: a session that goes on. `replaced`: another file took its place, and its rows are being removed."""
VISIBLE: Final = ("committed", "recording")
_SPAN_FIELDS: Final = ("rows", "recv_min", "recv_max", "time_min", "time_max")


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file: what its ledger rows say. Times are ns UTC."""

    file_id: int
    sha256: bytes
    name: str
    dataset: str
    rows: int
    """Messages."""
    ts_min: int
    ts_max: int
    """The first and the last known ts_recv."""
    state: State = "committed"
    attempt: int = 0
    targets: frozenset[str] = frozenset()
    """The tables that hold all of it."""
    derived: dict[str, int] = field(default_factory=dict)
    """Rows in every table."""
    header: bytes = b""
    mappings: tuple[Mapping, ...] = ()
    books: dict[int, BookSpan] = field(default_factory=dict)
    updated_at: int = 0

    @classmethod
    def of(cls, found: Survey, name: str) -> Entry:
        """Describe a file that was looked through."""
        ts_min, ts_max = found.recv_range
        if ts_max >= 2**63:  # damaged times, which the tables hold as negative ones
            ts_min, ts_max = -(2**63), 2**63 - 1
        return cls(
            found.file_id, found.sha256, name, found.dataset, found.rows, ts_min, ts_max,
            header=found.header, mappings=found.mappings, books=found.books,
        )  # fmt: skip

    @property
    def instruments(self) -> list[int]:
        """Every instrument id, in order."""
        return sorted({key & 0xFFFFFFFF for key in self.books})

    @property
    def symbol_map(self) -> SymbolMap:
        """Which symbol each instrument id stands for."""
        return SymbolMap(self.mappings)

    def covers(self, at: int) -> bool:
        """Say whether an instant lies in what the header says the file was made for, or among its messages."""
        first, last = self.header_covers
        return min(first, self.ts_min or first) <= at <= max(last, self.ts_max)

    @property
    def header_covers(self) -> tuple[int, int]:
        """The first and the last nanosecond of the header; see `Records.covers`."""
        from databento_dbn import Metadata

        from mbo.units import UNDEF_TIMESTAMP

        meta = Metadata.decode(self.header)
        end = meta.end
        return meta.start, end - 1 if end not in (None, UNDEF_TIMESTAMP) else meta.start

    def __repr__(self) -> str:
        return f"<{self.name}: {self.rows:,} messages of {self.dataset}, {self.state}, {self.sha256.hex()[:12]}>"


def entries(backend: Backend, *, file_id: int | None = None) -> list[Entry]:
    """Read the ledger: one entry for each file that has all its messages, oldest first, whatever its state."""
    where = "" if file_id is None else "WHERE file_id = {file_id:UInt64}"
    params = {} if file_id is None else {"file_id": file_id}
    sql = f"SELECT * FROM mbo.ingest_ledger FINAL {where} ORDER BY updated_at, file_id"  # noqa: S608
    rows = backend.arrow(sql, **params).to_pylist()
    found = {row["file_id"]: _entry(row) for row in rows if row["target"] == "messages"}
    for row in rows:
        if (entry := found.get(row["file_id"])) and row["build"] == BUILD and row["state"] in VISIBLE:
            derived = entry.derived | {row["target"]: row["n_rows"]}
            found[row["file_id"]] = replace(entry, targets=entry.targets | {row["target"]}, derived=derived)
    return list(found.values())


def visible(backend: Backend) -> list[Entry]:
    """Read the entries of the files that can be asked for."""
    return [entry for entry in entries(backend) if entry.state in VISIBLE]


class Ledger:
    """The visible entries, read again only when something was written since: a question to a store begins with them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stamp: tuple[int, ...] = ()
        self._entries: list[Entry] = []

    def visible(self) -> list[Entry]:
        """Give the entries of the files that can be asked for."""
        sql = "SELECT uniqExact(file_id, target), max(updated_at), sum(updated_at) FROM mbo.ingest_ledger SETTINGS max_threads = 1"
        stamp = tuple(column[0].as_py() for column in self._backend.arrow(sql).columns)
        if stamp != self._stamp:
            self._entries, self._stamp = visible(self._backend), stamp
        return list(self._entries)


def _entry(row: dict[str, Any]) -> Entry:
    mappings = zip(*(row[f"mapping_{name}"] for name in ("symbol", "instrument_id", "start", "end")), strict=True)
    spans = zip(row["book_key"], *(row[f"book_{name}"] for name in _SPAN_FIELDS), strict=True)
    return Entry(
        row["file_id"], _bytes(row["sha256"]), row["name"], row["dataset"], row["n_rows"], row["ts_min"], row["ts_max"],
        row["state"], row["attempt"], header=bytes.fromhex(row["header"]), mappings=tuple(Mapping(*one) for one in mappings),
        books={key: BookSpan(*values) for key, *values in spans}, updated_at=row["updated_at"],
    )  # fmt: skip


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def write(backend: Backend, entry: Entry, counts: dict[Target, int]) -> None:
    """Write an entry's rows, one for each target in `counts`, which gives the rows stored there; they replace earlier ones."""
    import pyarrow as pa

    now = max(time.time_ns(), entry.updated_at + 1)
    targets = list(counts)
    whole = {
        "file_id": (entry.file_id, pa.uint64()), "sha256": (entry.sha256, pa.binary(32)), "name": (entry.name, pa.string()),
        "dataset": (entry.dataset, pa.string()), "schema": ("mbo", pa.string()), "ts_min": (entry.ts_min, pa.int64()),
        "ts_max": (entry.ts_max, pa.int64()), "instruments": (entry.instruments, pa.list_(pa.uint32())),
        "chunk_rows": (CHUNK_ROWS, pa.uint32()), "build": (BUILD, pa.uint16()), "attempt": (entry.attempt, pa.uint32()),
        "ddl_version": (migrations()[-1].version, pa.uint32()), "state": (entry.state, pa.string()),
        "updated_at": (now, pa.uint64()), "header": (entry.header.hex(), pa.string()),
        "mapping_symbol": ([one.symbol for one in entry.mappings], pa.list_(pa.string())),
        "mapping_instrument_id": ([one.instrument_id for one in entry.mappings], pa.list_(pa.uint32())),
        "mapping_start": ([one.start for one in entry.mappings], pa.list_(pa.uint64())),
        "mapping_end": ([one.end for one in entry.mappings], pa.list_(pa.uint64())),
        "book_key": (list(entry.books), pa.list_(pa.uint64())),
    }  # fmt: skip
    for name in _SPAN_FIELDS:
        whole[f"book_{name}"] = ([getattr(span, name) for span in entry.books.values()], pa.list_(pa.uint64()))
    rows = {name: pa.array([value] * len(targets), kind) for name, (value, kind) in whole.items()}
    rows["target"] = pa.array(targets, pa.string())
    rows["n_rows"] = pa.array(list(counts.values()), pa.uint64())
    backend.insert("ingest_ledger", pa.record_batch(rows), f"ledger:{entry.file_id}:{now}")


def pick(found: Iterable[Entry], name: str | int) -> Entry:
    """Find a file by its name, its path's last part, its digest's beginning (8 digits or more) or its id; else `RequestError`."""
    everything = list(found)
    fits = [entry for entry in everything if _fits(entry, name)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise RequestError(f"no file {name!r} is stored")
    digests = ", ".join(entry.sha256.hex()[:12] for entry in fits)
    raise RequestError(f"{len(fits)} stored files are named {name!r}: say which by its digest ({digests})")


def _fits(entry: Entry, name: str | int) -> bool:
    if isinstance(name, int):
        return entry.file_id == name
    return name in (entry.name, entry.name.rsplit("/", 1)[-1]) or (
        len(name) >= 8 and entry.sha256.hex().startswith(name.lower())
    )


def attempted(entry: Entry, attempt: int, there: Entry | None) -> Entry:
    """Carry over what an earlier entry of the same file says."""
    if there is None:
        return replace(entry, attempt=attempt)
    return replace(entry, attempt=attempt, name=there.name, updated_at=there.updated_at)
