"""Stored files as `mbo.Records`: the same methods, the same answers, read from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mbo import dbn
from mbo.ahead import side_by_side
from mbo.records import RecordArray
from mbo.replay import Records
from mbo.selection import Clock, Selection, Stretch
from mbo.store.columns import MBP10_COLUMNS, MESSAGE_COLUMNS, Array, from_column, to_mbp10, to_messages
from mbo.store.ingest import BETWEEN
from mbo.store.ledger import Entry
from mbo.symbols import SymbolMap
from mbo.units import Time

if TYPE_CHECKING:
    from databento_dbn import Metadata

    from mbo.store.backend import Backend, Parameter

PAGE_ROWS: Final = 250_000
_EVERY: Final = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store, with what `Records` asks of one on a disk."""

    backend: Backend
    entry: Entry
    metadata: Metadata

    @classmethod
    def of(cls, backend: Backend, entry: Entry) -> StoredFile:
        """Open a stored file."""
        from databento_dbn import Metadata

        return cls(backend, entry, Metadata.decode(entry.header))

    @property
    def path(self) -> Path:
        """The file's name."""
        return Path(self.entry.name)

    @property
    def size_bytes(self) -> int:
        """Of its messages, as DBN."""
        return self.entry.rows * 56

    def symbol_map(self) -> SymbolMap:
        """Which symbol each instrument id stands for."""
        return self.entry.symbol_map

    def whole(self) -> RecordArray | None:
        """Nothing can be viewed without reading it."""
        return None

    def pages(self, table: str, where: str, params: dict[str, Any], share: float = 1.0) -> Iterator[tuple[Any, int]]:
        """Read rows in the file's order, page by page: (Arrow table, number after the page's last).

        `where` narrows them further; `share` says how much of the file that leaves, so that pages are of a size.
        """
        number, names, rows = (
            ("row_num", MESSAGE_COLUMNS, self.entry.rows)
            if table == "messages"
            else ("record_num", MBP10_COLUMNS, self.entry.derived[table])
        )
        low, high = recv_bounds(self.entry)
        bound = {"file_id": self.entry.file_id, "low": low, "high": high} | params
        condition = f"file_id = {{file_id:UInt64}} AND {BETWEEN} {where}"
        first, stop = 0, rows
        if where:
            sql = f"SELECT min({number}), max({number}), count() FROM mbo.{table} WHERE {condition}"  # noqa: S608
            ends = self.backend.arrow(sql, **bound)
            first, last, count = (column[0].as_py() for column in ends.columns)
            stop = min(last + 1, rows) if count else first
        step = int(PAGE_ROWS / max(share, 1e-3))
        sql = (
            f"SELECT {', '.join(names)}, row_num FROM mbo.{table} WHERE {condition} "  # noqa: S608
            f"AND {number} >= {{first:UInt64}} AND {number} < {{stop:UInt64}} ORDER BY {number} SETTINGS max_threads = 1"
        )

        def read(start: int) -> tuple[Any, int]:
            end = min(start + step, stop)
            return self.backend.arrow(sql, first=start, stop=end, **bound), end

        yield from side_by_side(range(first, stop, step), read)


def recv_bounds(entry: Entry) -> tuple[int, int]:
    """Bound the known ts_recv of a file's messages, as the tables have them: signed."""
    return (entry.ts_min, entry.ts_max) if 0 <= entry.ts_min <= entry.ts_max else _EVERY


class StoredRecords(Records):
    """MBO records of stored files, in the files' order; see `mbo.Records`. The database narrows them, so that less is read."""

    def __init__(self, files: tuple[StoredFile, ...], chosen: Selection, symbol_map: SymbolMap | None = None) -> None:
        super().__init__(cast("tuple[dbn.DbnFile, ...]", files), chosen, symbol_map)
        self._stored = files

    def select(
        self,
        symbol: str | int | Iterable[str | int] | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        publisher_id: int | None = None,
        by: Clock = "recv",
    ) -> StoredRecords:
        """Narrow as `Records.select` does."""
        chosen = super().select(symbol, start=start, end=end, publisher_id=publisher_id, by=by)
        return StoredRecords(self._stored, chosen.selection, self.symbol_map)

    def _everything(self, skipped: dbn.Skipped | None) -> Iterator[Stretch]:
        rows = read = 0
        for file in self._stored:
            where, params, share = pushed_down(self.selection, file.entry)
            for table, end in file.pages("messages", where, params, share):
                records = to_messages(table)
                records.flags.writeable = False
                numbers = from_column("row_num", table.column("row_num")).astype(np.int64)
                yield Stretch(records, rows + numbers, None, read + end * 56)
            rows += file.entry.rows
            read += file.size_bytes


def pushed_down(chosen: Selection, entry: Entry) -> tuple[str, dict[str, Parameter], float]:
    """Write what a selection leaves as SQL, rather too much than too little: (conditions, parameters, share of the file)."""
    where, share = "", 1.0
    params: dict[str, Parameter] = {}
    if chosen.publisher_id is not None:
        where += " AND publisher_id = {publisher_id:Int64}"
        params["publisher_id"] = int(chosen.publisher_id)
    if chosen.instruments is not None:
        ids = sorted({mapping.instrument_id for mapping in chosen.instruments})
        where += " AND instrument_id IN {instruments:Array(UInt32)}"
        params["instruments"] = ids
        wanted = set(ids)
        share = sum(s.rows for key, s in entry.books.items() if key & 0xFFFFFFFF in wanted) / max(entry.rows, 1)
    for name, sign, bound in (("start", ">=", chosen.start), ("stop_time", "<", chosen.end)):
        if bound is not None and bound < 2**63:
            # Where ts_recv is missing, ts_event counts in its place: those few are judged when they have been read.
            missing = " OR ts_recv = fromUnixTimestamp64Nano(toInt64(-1), 'UTC')" if chosen.clock == "ts_recv" else ""
            late = f" OR {chosen.clock} < fromUnixTimestamp64Nano(toInt64(0), 'UTC')" if sign == ">=" else ""
            where += f" AND ({chosen.clock} {sign} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC'){missing}{late})"
            params[name] = bound
    return where, params, share


def mbp10_arrays(file: StoredFile, chosen: Selection) -> Iterator[Array]:
    """Read MBP-10 records of a stored file in their order."""
    where, params, share = pushed_down(chosen, file.entry)
    for table, _ in file.pages("mbp10", where, params, share):
        yield to_mbp10(table)
