"""Files into the tables: exactly one copy of every row, however often it is tried and wherever it was cut short.

A file is cut into chunks that depend on its content alone; each is inserted as one block under a token of its own. At every start
the table is asked what it has, so that a chunk is inserted once. Rows count when the ledger says so, which is written last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo import dbn
from mbo.ahead import ahead, side_by_side
from mbo.errors import InternalError
from mbo.progress import track
from mbo.records import MBO_DTYPE, RecordArray
from mbo.store import columns, snapshots
from mbo.store.derived import Snapshots, SourcedMbp
from mbo.store.ledger import Target
from mbo.store.survey import CHUNK_ROWS, Survey, changed, crc, cut

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.store.backend import Backend

MBP10_CHUNK_ROWS: Final = 100_000
"""Of 61 more columns than a message: blocks of this size keep the memory of it all at about 1.5 GB."""
INSERTERS: Final = 2
"""Blocks that are inserted side by side; a statement works on one thread."""
_SNAPSHOT_CHUNK_ORDERS: Final = 500_000
_SNAPSHOT_CHUNK_BOOKS: Final = 2_000
_APPLY_RECORDS: Final = 1 << 16

DAY: Final = "intDiv(toUnixTimestamp64Nano(ts_recv), 86400000000000)"
BETWEEN: Final = (
    "(ts_recv BETWEEN fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND fromUnixTimestamp64Nano({high:Int64}, 'UTC') "
    "OR ts_recv = fromUnixTimestamp64Nano(toInt64(-1), 'UTC'))"
)
"""What tells the engine where to look: the bounds of the known times, and the mark of the missing one."""
Waiting = deque[tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]]
"""MBP-10 records that make no whole block yet, and the numbers of their messages."""
_NUMBER: Final = {"messages": ("row_num", CHUNK_ROWS), "mbp10": ("record_num", MBP10_CHUNK_ROWS)}


class Block(NamedTuple):
    """Rows that are inserted together."""

    target: Target
    place: str
    """Which part of the file: chunk and day."""
    rows: pa.RecordBatch
    read_bytes: int


class Share(NamedTuple):
    """Which blocks are one's own, where several insert a file: every `of`-th, beginning with `number`."""

    number: int = 0
    of: int = 1


@dataclass(slots=True)
class Written:
    """What one run did: rows in all by target, and how many blocks it inserted or found there."""

    rows: dict[Target, int] = field(default_factory=dict)
    inserted: int = 0
    found: int = 0
    repaired: set[Target] = field(default_factory=set)
    """Tables where part of a chunk stood, which its whole was laid over."""


def write(backend: Backend, file: dbn.DbnFile, found: Survey, targets: tuple[Target, ...], *, attempt: int) -> Written:
    """Bring all of a file into the tables `targets`; what stands there already is left alone.

    `FormatError` where the file is not any more what it was when it was looked through; `InternalError` where rows that were
    inserted are not there.
    """
    for generation in (str(attempt), f"{attempt}.{time.time_ns()}"):
        # The second time is for rows that somebody deleted: their tokens are remembered, and a block under them is ignored.
        written = _insert_missing(_Run(backend, file, found, targets), generation)
        if not written.inserted or _Run(backend, file, found, targets).holds(written.rows):
            for target in sorted(written.repaired):
                name = backend.layout.local(target) + backend.layout.on_cluster
                backend.command(f"OPTIMIZE TABLE {name} FINAL")
            return written
    raise InternalError(f"{file.path.name}: rows that were inserted are not in the store")


def write_share(
    backend: Backend, file: dbn.DbnFile, found: Survey, targets: tuple[Target, ...], share: Share, *, attempt: int
) -> Written:
    """Insert one's own blocks of a file that several work on. Its `rows` are those of the whole file.

    Nothing of it counts before `holds` or `write` has found all of it.
    """
    return _insert_missing(_Run(backend, file, found, targets, share), str(attempt))


def holds(backend: Backend, file: dbn.DbnFile, found: Survey, rows: dict[Target, int]) -> bool:
    """Say whether the tables have so many rows of a file, each of them, and none twice."""
    run = _Run(backend, file, found, tuple(rows))
    return run.holds(rows) and run.has_none_twice


def _insert_missing(run: _Run, generation: str) -> Written:
    file, written = run.file, run.written
    token = f"{run.found.file_id}:{{}}:{columns.BUILD}:{{}}:{generation}"
    insert = partial(_insert, run.backend, token, written.repaired)
    blocks = side_by_side(ahead(run.blocks(), 1), insert, INSERTERS)
    with run.backend.filling():  # no longer: a database that does not merge does not delete either
        for _ in track(blocks, file.size_bytes, lambda block: block.read_bytes, f"storing {file.path.name}"):
            written.inserted += 1
    return written


def _insert(backend: Backend, token: str, repaired: set[Target], block: Block) -> Block:
    again = f".{time.time_ns()}" if block.target in repaired else ""
    backend.insert(block.target, block.rows, token.format(block.target, block.place) + again)
    return block


def by_day(days: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64] | slice]]:
    """Find where each day has its rows, given the day of every row: (day, places)."""
    if len(days) and (days == days[0]).all():
        yield int(days[0]), slice(None)
        return
    for day in np.unique(days).tolist():
        yield day, np.flatnonzero(days == day)


def _taken(waiting: Waiting, count: int) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.uint64]]:
    """Take so many records, or all there are, from the front: (pieces, the numbers of their messages)."""
    pieces, sources = [], []
    while waiting and count:
        piece, numbers = waiting.popleft()
        if len(piece) > count:
            waiting.appendleft((piece[count:], numbers[count:]))
            piece, numbers = piece[:count], numbers[:count]
        pieces.append(piece)
        sources.append(numbers)
        count -= len(piece)
    return pieces, np.concatenate(sources)


class _Run:
    """One pass over a file: what of it is not in the tables yet, as blocks."""

    def __init__(
        self,
        backend: Backend,
        file: dbn.DbnFile,
        found: Survey,
        targets: tuple[Target, ...],
        share: Share = Share(),  # noqa: B008
    ) -> None:
        self.written = Written(dict.fromkeys(targets, 0))
        self.backend, self.file, self.found = backend, file, found
        self._share = share
        self._there = {target: _there(backend, found, target) for target in targets if target in _NUMBER}
        self._books_there = _books_there(backend, found) if "book_snapshots" in targets else set()
        self._mbp, self._snapshots = SourcedMbp(), Snapshots()
        self._read_bytes = 0

    def holds(self, rows: dict[Target, int]) -> bool:
        """Say whether the tables have so many rows of the file, each of them."""
        have: dict[Target, int] = {
            target: sum(unique for _, unique in at.values()) for target, at in self._there.items()
        }
        have["book_snapshots"] = len(self._books_there)
        return all(have[target] == count for target, count in rows.items())

    @property
    def has_none_twice(self) -> bool:
        """Whether no row of messages and records is there more than once."""
        return all(rows == unique for at in self._there.values() for rows, unique in at.values())

    def blocks(self) -> Iterator[Block]:
        """Read the file and give the blocks to insert."""
        wanted = self.written.rows
        waiting: Waiting = deque()
        books: list[snapshots.Snapshot] = []
        first = 0
        for records in self._chunks():
            if "messages" in wanted:
                yield from self._message_blocks(records, first)
            if "mbp10" in wanted:
                for start in range(0, len(records), _APPLY_RECORDS):
                    waiting += self._mbp.apply(records[start : start + _APPLY_RECORDS], first + start)
                    yield from self._mbp10_blocks(waiting, least=MBP10_CHUNK_ROWS)
            if "book_snapshots" in wanted:
                for one in self._snapshots.apply(records, first):
                    books.append(one)
                    if (
                        len(books) >= _SNAPSHOT_CHUNK_BOOKS
                        or sum(len(b.orders) for b in books) >= _SNAPSHOT_CHUNK_ORDERS
                    ):
                        yield from self._book_blocks(books)
            first += len(records)
        yield from self._mbp10_blocks(waiting, least=1)
        if "book_snapshots" in wanted:
            for one in self._snapshots.finish():
                books.append(one)
                if len(books) >= _SNAPSHOT_CHUNK_BOOKS or sum(len(b.orders) for b in books) >= _SNAPSHOT_CHUNK_ORDERS:
                    yield from self._book_blocks(books)
            yield from self._book_blocks(books)

    def _chunks(self) -> Iterator[RecordArray]:
        """Give the file's records chunk by chunk, each the same as when the file was looked through, in one memory for all."""
        chunk = np.empty(CHUNK_ROWS, MBO_DTYPE)
        rows = done = filled = 0
        for batch in self.file.batches():
            self._read_bytes = batch.read_bytes
            for number, part in cut(batch.records, rows, CHUNK_ROWS):
                if number > done:
                    yield self._checked(done, chunk[:filled])
                    done, filled = number, 0
                chunk[filled : filled + len(part)] = part
                filled += len(part)
            rows += len(batch.records)
        if filled:
            yield self._checked(done, chunk[:filled])
        if rows != self.found.rows:
            raise changed(self.file)

    def _checked(self, number: int, records: RecordArray) -> RecordArray:
        sums = self.found.checksums
        if number >= len(sums) or crc(records) != sums[number]:
            raise changed(self.file)
        return records

    def _message_blocks(self, records: RecordArray, first: int) -> Iterator[Block]:
        numbers = np.arange(first, first + len(records), dtype=np.uint64)
        for day, places in by_day(columns.days(records)):
            part = records[places]
            if self._missing("messages", first // CHUNK_ROWS, day, len(part)):
                rows = columns.message_rows(part, self.found.file_id, numbers[places])
                yield Block("messages", f"{first // CHUNK_ROWS}:{day}", rows, self._read_bytes)

    def _mbp10_blocks(self, waiting: Waiting, *, least: int) -> Iterator[Block]:
        while sum(len(piece) for piece, _ in waiting) >= least:
            taken, sources = _taken(waiting, MBP10_CHUNK_ROWS)
            first = self.written.rows["mbp10"]
            chunk, numbers = first // MBP10_CHUNK_ROWS, np.arange(first, first + len(sources), dtype=np.uint64)
            days = np.concatenate([columns.days(piece) for piece in taken])
            for day, places in by_day(days):
                if self._missing("mbp10", chunk, day, len(numbers[places])):
                    part = taken if isinstance(places, slice) else [np.concatenate(taken)[places]]
                    rows = columns.mbp10_rows(part, self.found.file_id, sources[places], numbers[places])
                    yield Block("mbp10", f"{chunk}:{day}", rows, self._read_bytes)

    def _book_blocks(self, books: list[snapshots.Snapshot]) -> Iterator[Block]:
        if not books:
            return
        self.written.rows["book_snapshots"] += len(books)
        keys = [(one.publisher_id, one.instrument_id, one.row_num) for one in books]
        if all(key in self._books_there for key in keys):
            self.written.found += 1
        else:
            place = "-".join(map(str, (*keys[0], *keys[-1], len(keys))))
            yield Block("book_snapshots", place, snapshots.to_rows(books, self.found.file_id), self._read_bytes)
        books.clear()

    def _missing(self, target: Target, chunk: int, day: int, expected: int) -> bool:
        """Count the rows of a block, and say whether it has to be inserted."""
        self.written.rows[target] += expected
        # Along a file either the chunk or the day goes up from block to block, so that everyone's turn comes round.
        if (chunk + day) % self._share.of != self._share.number:
            return False
        rows, unique = self._there[target].get((chunk, day), (0, 0))
        if unique == expected:
            self.written.found += 1
            if rows != unique:
                self.written.repaired.add(target)
            return False
        if rows:
            self.written.repaired.add(target)
        return True


def _there(backend: Backend, found: Survey, target: Target) -> dict[tuple[int, int], tuple[int, int]]:
    """Ask a table what it has of a file: by chunk and day, how many rows, and how many different ones."""
    number, size = _NUMBER[target]
    low, high = found.recv_range
    signed = (low, high) if high < 2**63 else (-(2**63), 2**63 - 1)
    sql = (
        f"SELECT intDiv({number}, {size}), {DAY}, count(), uniqExact({number}) FROM mbo.{target} "  # noqa: S608
        f"WHERE file_id = {{file_id:UInt64}} AND {BETWEEN}"
        f"{' AND build = ' + str(columns.BUILD) if target != 'messages' else ''} GROUP BY 1, 2"
    )
    table = backend.arrow(sql, file_id=found.file_id, low=signed[0], high=signed[1])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {(chunk, day): (count, unique) for chunk, day, count, unique in rows}


def _books_there(backend: Backend, found: Survey) -> set[tuple[int, int, int]]:
    table = backend.arrow(
        "SELECT publisher_id, instrument_id, row_num FROM mbo.book_snapshots "
        "WHERE file_id = {file_id:UInt64} AND build = {build:UInt16} AND instrument_id IN {instruments:Array(UInt32)}",
        file_id=found.file_id, build=columns.BUILD, instruments=found.instruments,
    )  # fmt: skip
    return set(zip(*(column.to_pylist() for column in table.columns), strict=True))
