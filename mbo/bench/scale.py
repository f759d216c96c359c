"""`mbo bench scale`: what a message costs as books, instruments, files and clients grow, and what memory that takes.

Of each size there are two rows: the time of a message and the memory, each with its ratio to that of the smallest. The memory of
books is that of their arrays; of a file, the most that the process which reads it has had; of clients, the most that the gateway
has had. Books have to be the simulator's own in the end. `docs/scale.py` draws it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import mbo
from mbo.bench.apart import apart, most_memory, need_room
from mbo.bench.crowd import check, crowd_of, digests_of, follow
from mbo.bench.row import Aim, Row
from mbo.bench.timing import BATCH, expect, write_turns
from mbo.book import Books
from mbo.book.engine import compile_kernels
from mbo.errors import InternalError, LostError
from mbo.live.process import GatewayProcess
from mbo.records import MBO_DTYPE, Flag
from mbo.simulator import Session, simulate

RUNS: Final = 3
MESSAGES: Final = 4_000_000  # of a session in memory, its opening snapshots among them
RESTING: Final = (1_000, 10_000, 100_000, 1_000_000)
INSTRUMENTS: Final = (1, 10, 100, 1_000, 10_000)
EACH: Final = 100  # orders resting of each of those
TURN: Final = 1_000_000  # messages of a session, which is repeated: it begins with a clear
FILES: Final = (1, 10, 100)  # turns
CLIENTS: Final = (1, 10, 100)
_LIMIT_S: Final = 120
_FLAT: Final = (Aim(500, most=True), Aim(1.2, f"that of {TURN:,} messages in a file", most=True))


class Point(NamedTuple):
    """One size: what a message took in each run (ns), and the memory (MB)."""

    size: int
    messages: int
    times: Sequence[float]
    memory: float


def scale() -> Iterator[Row]:
    """Measure how costs grow, in four directions."""
    compile_kernels()
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        need_room(folder, TURN * FILES[-1] * MBO_DTYPE.itemsize)
        yield from _rows("orders resting", _books({n: _session(resting=n) for n in RESTING}))
        yield from _rows("instruments", _books({n: _session(instruments=n, resting=EACH) for n in INSTRUMENTS}))
        path = Path(folder) / "session.dbn"
        yield from _rows("messages in a file", _files(path), _FLAT)
        yield from _rows("clients", (_clients(path, n) for n in CLIENTS))


def _rows(what: str, points: Iterable[Point], flat: Sequence[Aim] = ()) -> Iterator[Row]:
    """Give the rows of one direction; `flat` is what the memory of all but the smallest has to keep to."""
    first: list[Row] = []
    for point in points:
        name = f"{point.size:,} {what if point.size > 1 else what.removesuffix('s')}"
        pair = [
            Row(name, point.messages, point.times, "ns a message"),
            Row(f"{name}: memory", point.messages, [point.memory], "MB", flat if first else ()),
        ]
        for row, smallest in zip(pair, first, strict=False):
            row.ratios[f"that of {first[0].name}"] = row.median / smallest.median
        first = first or pair
        yield from pair


# ---------------------------------------------------------------- books


def _session(*, resting: int, instruments: int = 1) -> Session:
    return simulate(MESSAGES, seed=2, instruments=instruments, resting=resting)


def _books(sessions: dict[int, Session]) -> Iterator[Point]:
    """Time the flow of sessions after their opening snapshots, in turns: what else the machine does falls on all of them."""
    built = {size: Books() for size in sessions}
    times: dict[int, list[float]] = {size: [] for size in sessions}
    for _ in range(RUNS + 1):
        for size, session in sessions.items():
            books, opening = built[size], _opening(session)
            books.apply(session.records[:opening])
            begun = time.perf_counter()
            for start in range(opening, len(session.records), BATCH):
                books.apply(session.records[start : start + BATCH])
            times[size].append((time.perf_counter() - begun) / (len(session.records) - opening) * 1e9)
            expect(books, session)
    for size, session in sessions.items():
        memory = sum(array.nbytes for array in built[size]._state) / 1e6
        yield Point(size, len(session.records) - _opening(session), times[size][1:], memory)


def _opening(session: Session) -> int:
    """Count the records of the snapshots that a session begins with; their clears let it be repeated."""
    return int((session.records["flags"] & int(Flag.SNAPSHOT) == 0).argmax())


# ---------------------------------------------------------------- files


def _files(path: Path) -> list[Point]:
    """Read a file of many turns, cut it, and read it again; the smallest comes first in what is given."""
    digests, header = apart(write_turns, path, TURN, FILES[-1])
    points = []
    for turns in reversed(FILES):
        os.truncate(path, header + MBO_DTYPE.itemsize * TURN * turns)
        points.append(apart(_read, path, TURN * turns, digests, RUNS))
    return points[::-1]


def _read(path: Path, messages: int, digests: dict[str, str], runs: int) -> Point:
    """Read a file to its books, several times after a first, which brings it into the system's cache."""
    times = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        books = mbo.read_dbn(path).books()
        times.append((time.perf_counter() - begun) / messages * 1e9)
        applied = sum(book.status.messages for book in books.values())
        if applied != messages:
            raise LostError(f"of {messages:,} messages in the file {applied:,} were applied")
        if {book.symbol: book.digest() for book in books.values()} != digests:
            raise InternalError("the bench read a book that differs from the simulator's own")
    return Point(messages, messages, times[1:], most_memory())


# ---------------------------------------------------------------- clients


def _clients(path: Path, size: int) -> Point:
    """Have many clients follow the file as fast as they can, several times after a first; the time is that of all together."""
    expected = digests_of(path)
    times, delivered, memory = [], 0, 0.0
    for _ in range(RUNS + 1):
        with GatewayProcess([path]) as gateway, crowd_of(gateway, size) as crowd:
            begun = time.perf_counter()
            gateway.begin(time.monotonic_ns())
            follow(crowd, _LIMIT_S)
            delivered = size * gateway.records
            times.append((time.perf_counter() - begun) / delivered * 1e9)
            memory = max(memory, most_memory(gateway.pid))
            for client in crowd:
                check(gateway, client.applied, client.books, expected, size)
    return Point(size, delivered, times[1:], memory)
