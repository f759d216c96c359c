"""Store: files of messages in a database, and the same questions as a file answers, asked of all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from mbo import dbn
from mbo.errors import RequestError
from mbo.records import RecordArray
from mbo.schemas import PriceAs
from mbo.selection import Clock, Selection
from mbo.store import backend as backends
from mbo.store import choice, filing, ledger, queries, recording, replacing, schema, verification
from mbo.store.ledger import TARGETS, Entry, Target
from mbo.store.report import Ingested, Report, Verified
from mbo.store.stored import StoredFile, StoredRecords, mbp10_arrays
from mbo.store.timetravel import Marks, book_of
from mbo.streams import RecordStream
from mbo.symbols import SymbolMap
from mbo.units import Time, parse_time

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from mbo.book import Book
    from mbo.book.interface import EqualSize
    from mbo.mbp import Emit
    from mbo.store.backend import Parameter

PathLike = str | os.PathLike[str]
Overlap = Literal["error", "replace", "allow"]


class Store:
    """Order books and messages in ClickHouse.

    `url` is `chdb:///dir` for the embedded database (one process to a directory), by default in the user's data directory, or
    `http(s)://user@host:8123/mbo?layout=single|replicated|sharded&cluster=NAME` for a server; a password comes from
    MBO_CLICKHOUSE_PASSWORD alone. The tables are made, or brought up to date, at once.

    A file is known by its content. Every stored file stands for itself: the book at an instant is that of the file which covers
    it. Only files that are complete can be asked for, and recordings as far as they got.
    """

    def __init__(self, url: str | None = None) -> None:
        address = backends.Address.parse(url)
        self.url = address.url
        self._backend = backends.connect(address)
        self._ledger = ledger.Ledger(self._backend)
        self._marks: Marks = {}
        try:
            self.applied = schema.migrate(self._backend)
        except BaseException:
            self._backend.close()
            raise

    def close(self) -> None:
        """Let go of the database; a second time does nothing."""
        self._backend.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ in

    def ingest(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        overlap: Overlap = "error",
        durability: Literal["fsync"] | None = None,
        mbp10: bool = True,
    ) -> Report:
        """Store DBN files of MBO records, their MBP-10 records and books every so often; what is stored already stays as it is.

        Cut short anywhere, it goes on when it is called again. A damaged or truncated file is refused before anything of it is
        stored. `overlap` says what to do where a stored file has messages of the same instruments at the same time: "error"
        (`RequestError`), "replace" it, or "allow" both. With `durability="fsync"` inserts reach the disk before they count, from
        now on, for all who write to these tables.
        """
        if overlap not in ("error", "replace", "allow"):
            raise RequestError(f"overlap={overlap!r}: it is 'error', 'replace' or 'allow'")
        if durability not in (None, "fsync"):
            raise RequestError(f"durability={durability!r}: it is 'fsync' or None")
        if durability:
            schema.make_durable(self._backend)
        chosen = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        targets = tuple(target for target in TARGETS if mbp10 or target != "mbp10")
        files = [dbn.open_file(os.fspath(path)) for path in chosen]
        return Report(tuple(self._ingest(file, targets, overlap) for file in files))

    def _ingest(self, file: dbn.DbnFile, targets: tuple[Target, ...], overlap: Overlap) -> Ingested:
        started = time.monotonic()
        plan = filing.look(self._backend, file, targets)
        if plan.others and overlap == "error":
            raise plan.beside(f"{plan.others[0].name}, which is stored", "ingest with overlap='replace' or 'allow'")
        done = filing.finish(self._backend, file, plan)
        replaced = plan.others if overlap == "replace" else ()
        for other in replaced:
            replacing.remove(self._backend, other)
        return replace(done, seconds=time.monotonic() - started, replaced=tuple(other.name for other in replaced))

    def append(
        self,
        records: RecordArray,
        *,
        session: str,
        dataset: str,
        symbols: SymbolMap | None = None,
        row: int | None = None,
    ) -> int:
        """Store MBO records of a session that goes on, and give how many it has now.

        `row` is the number of the first of them in the session; those that are stored already are left out, so that whoever does
        not know what arrived may send it again. By default they follow what is there. `symbols` are added to the session's.
        """
        return recording.append(self._backend, records, session, dataset, symbols, row)

    def recorded(self, session: str) -> int:
        """Say how many messages a session has, those included with which an `append` came no further than into the table."""
        return recording.recorded(self._backend, session)

    # ------------------------------------------------------------ what there is

    def files(self) -> list[Entry]:
        """List the stored files, oldest first."""
        return self._ledger.visible()

    def query(self, sql: str, **params: Parameter) -> pa.Table:
        """Run SQL and give an Arrow table; name parameters `{name:Type}` and hand their values over as keywords.

        The tables hold files that are not complete too: `file_id IN (SELECT file_id FROM mbo.files)` leaves them out.
        """
        return self._backend.arrow(sql, **params)

    def verify(self, path: PathLike) -> Verified:
        """Compare what is stored of a file with it: every message, every MBP-10 record. `RequestError` where it is not stored."""
        return verification.verify(self._backend, dbn.open_file(os.fspath(path)))

    # ------------------------------------------------------------ out

    def records(
        self,
        symbol: str | int | Iterable[str | int] | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
        by: Clock = "recv",
    ) -> StoredRecords:
        """Give MBO records of the stored files, or of one `file` (name, digest or id), as `mbo.read_dbn` does: in the files' order.

        They are what was stored, byte by byte. Files that hold the same time of the same instruments cannot be read as one:
        `RequestError`.
        """
        chosen = choice.several(self._stored(), file, None if symbol is None else _names(symbol), _ns(start), _ns(end))
        records = StoredRecords(tuple(StoredFile.of(self._backend, entry) for entry in chosen), Selection())
        if symbol is None and start is None and end is None:
            return records
        return records.select(symbol, start=start, end=end, by=by)

    def trades(
        self,
        symbol: str | int | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
        px: PriceAs = "fixed",
    ) -> RecordStream:
        """Give the trades as Databento's `trades`."""
        return self.records(symbol, start=start, end=end, file=file).trades(px=px)

    def mbp(
        self,
        levels: int = 10,
        symbol: str | int | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
        emit: Emit = "touch",
        px: PriceAs = "fixed",
    ) -> RecordStream:
        """Give the book by price as Databento's `mbp-10` or `mbp-1`; the records of a time are those of the whole file's book.

        MBP-10 comes from its table; what is not stored is made from the messages.
        """
        records = self.records(symbol, start=start, end=end, file=file)
        wanted = records.selection
        stored = levels == 10 and emit == "touch" and all("mbp10" in one.entry.targets for one in records._stored)
        whole = StoredRecords(records._stored, _untimed(wanted), records.symbol_map)
        stream = whole.mbp(levels, emit=emit, px=px)

        def arrays() -> Iterator[npt.NDArray[Any]]:
            sources = (mbp10_arrays(one, wanted) for one in records._stored) if stored else (stream.batches(),)
            for array in (array for source in sources for array in source):
                left = _of(wanted, array)
                if len(left):
                    yield left

        return RecordStream(stream.schema, arrays, metadata=stream.metadata, symbol_map=records.symbol_map, px=px)

    def bars(
        self,
        interval: str = "1m",
        symbol: str | int | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
    ) -> pa.Table:
        """Compute open, high, low, close (int64, 1e-9), volume of the trades in each interval of ts_recv, such as "1s" or "5m"."""
        records = self.records(symbol, start=start, end=end, file=file)
        return queries.bars(self._backend, [one.entry for one in records._stored], records.selection, interval)

    def spread(
        self,
        interval: str = "1m",
        symbol: str | int | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
    ) -> pa.Table:
        """Compute the spread (1e-9) over the MBP-10 records of each interval of ts_recv: lowest, highest, mean; how many cross."""
        records = self.records(symbol, start=start, end=end, file=file)
        return queries.spread(self._backend, _with_mbp10(records), records.selection, interval)

    def depth(
        self,
        interval: str = "1m",
        symbol: str | int | None = None,
        *,
        levels: int = 10,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
    ) -> pa.Table:
        """Compute what rests on the best `levels` levels of each side, by interval of ts_recv: sizes and orders (counts).

        `..._mean` is over the MBP-10 records of the interval, `..._last` after the last of them.
        """
        records = self.records(symbol, start=start, end=end, file=file)
        return queries.depth(self._backend, _with_mbp10(records), records.selection, interval, levels)

    def lifetimes(
        self,
        symbol: str | int | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        file: str | int | None = None,
    ) -> pa.Table:
        """Follow every order from its first message to its last, in one row, in the order of the first; computed in the database.

        `price` (1e-9), `size` and `ts_entered` are those of its A, null where it rested before; times are ts_event. `modifies`
        counts its M, `fills` and `filled` are the number and the sum of its F. `outcome`: "filled" if the last C took away no more
        than what F of the same time had filled, else "cancelled"; "open" at the end, "cleared" by an R, after which what a snapshot
        restores is another row; "unseen" if only fills of it were seen. Where it stood in its queue only the book knows: see
        `mbo.analytics.lifetimes`.
        """
        records = self.records(symbol, start=start, end=end, file=file)
        return queries.lifetimes(self._backend, [one.entry for one in records._stored], records.selection)

    def book(
        self,
        symbol: str | int | None = None,
        *,
        at: Time | None = None,
        by: Clock = "recv",
        file: str | int | None = None,
        strict: bool = False,
        equal_size: EqualSize = "venue",
    ) -> Book:
        """Give the book of one instrument as `mbo.Records.book` does, errors too: after the file's end, or at an instant.

        The file is the one that covers `at`; where several do, or there is no `at`, `file` says which. A book by ts_recv comes from
        a kept one and the messages since, any other from the file's messages from the start.
        """
        moment = _ns(at)
        entry = choice.one(self._stored(), file, symbol, moment)
        records = StoredRecords((StoredFile.of(self._backend, entry),), Selection())
        chosen = records if symbol is None else records.select(symbol)
        if by == "recv" and not strict and equal_size == "venue":
            book = book_of(self._backend, entry, chosen, moment, self._marks)
            if book is not None:
                return book
        return records.book(symbol, at=at, by=by, strict=strict, equal_size=equal_size)

    def _stored(self) -> list[Entry]:
        if not (entries := self.files()):
            raise RequestError(f"nothing is stored in {self.url}")
        return entries

    def __repr__(self) -> str:
        return f"<Store {self.url}>"


def _names(symbol: str | int | Iterable[str | int]) -> list[str | int]:
    return [symbol] if isinstance(symbol, str | int) or not isinstance(symbol, Iterable) else list(symbol)


def _with_mbp10(records: StoredRecords) -> list[Entry]:
    for one in records._stored:
        if "mbp10" not in one.entry.targets:
            raise RequestError(f"{one.entry.name} was stored without MBP-10: ingest it again, with mbp10=True")
    return [one.entry for one in records._stored]


def _ns(value: Time | None) -> int | None:
    return None if value is None else parse_time(value)


def _untimed(chosen: Selection) -> Selection:
    return Selection(chosen.instruments, chosen.publisher_id)


def _of(chosen: Selection, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from mbo.selection import Stretch

    return chosen.of(Stretch(array)).records
