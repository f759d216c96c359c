"""`mbo bench haul`: a day of 100 million messages of 1,000 instruments through everything, in memory that does not grow with it.

The day is simulated, all of it, into a file. A gateway in a process of its own sends the file over TCP; another process applies it
to the books, once alone, so that its memory is seen without a database's, and once while it is recorded into the embedded one. Then
a third process builds every book anew from what was stored. All that was sent has to be applied and stored, and every book has to
be, each time, the one that the simulator has in its own queues.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mbo.bench.apart import apart, most_memory, need_room
from mbo.bench.row import Aim, Row
from mbo.book import Books
from mbo.errors import InternalError, LostError
from mbo.live.feed import Feed
from mbo.live.process import GatewayProcess
from mbo.progress import track
from mbo.recorder import record
from mbo.records import MBO_DTYPE
from mbo.simulator import Written, write_session
from mbo.store import Store

MESSAGES: Final = 100_000_000
INSTRUMENTS: Final = 1_000
RESTING: Final = 100
"""Orders of each instrument's book, on average."""
_STORED_BYTES: Final = 40  # a row on the disk, and while it is merged once more
_SESSION: Final = "haul"
_TOGETHER: Final = 10  # instruments that are read from the store at once: rows lie there by instrument
_QUARTER: Final = "that after a quarter"
_MEMORY: Final = (Aim(500, most=True), Aim(1.2, _QUARTER, most=True))


@dataclass(frozen=True, slots=True)
class Passage:
    """How a stream went: seconds, and the most memory (MB) of gateway and reader, after a quarter of it and in the end."""

    seconds: float
    gateway: tuple[float, float]
    reader: tuple[float, float]
    waits: int = 0
    """How often the stream was held up because the store was behind."""


def haul() -> Iterator[Row]:
    """Measure a day from the file to the store and back."""
    begun, count = time.perf_counter(), MESSAGES
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        need_room(folder, count * (MBO_DTYPE.itemsize + _STORED_BYTES))
        path, url = Path(folder) / "day.dbn", f"chdb://{folder}/store"
        seconds, written = apart(simulated, path, count, INSTRUMENTS, RESTING)
        yield Row("simulated into a file", count, [count / seconds / 1e6], "M/s")
        alone = apart(followed, path, written.digests)
        yield Row("file, gateway, TCP, books", count, [count / alone.seconds / 1e6], "M/s")
        yield _memory("memory of the gateway", count, alone.gateway, _MEMORY)
        yield _memory("memory of reader and books", count, alone.reader, _MEMORY)
        stored = apart(recorded, path, url, written.digests)
        detail = f"held up {stored.waits} times by the store"
        yield Row("file, gateway, TCP, books, store", count, [count / stored.seconds / 1e6], "M/s", detail=detail)
        yield _memory("memory of reader, books, recorder and database", count, stored.reader)
        seconds, size = apart(rebuilt, url, written.digests, count)
        yield Row("on disk", count, [size / count], "bytes a row")
        yield Row("every book built anew from the store", count, [count / seconds / 1e6], "M rows/s")
    yield Row("all of it", count, [time.perf_counter() - begun], "s", [Aim(900, most=True)])


def _memory(name: str, messages: int, most: tuple[float, float], aims: tuple[Aim, ...] = ()) -> Row:
    return Row(name, messages, [most[1]], "MB", aims, {_QUARTER: most[1] / most[0]})


def simulated(path: Path, messages: int, instruments: int, resting: int) -> tuple[float, Written]:
    """Write the day; gives the seconds, and the digests of the simulator's own books."""
    begun = time.perf_counter()
    written = write_session(path, messages, seed=1, instruments=instruments, resting=resting)
    return time.perf_counter() - begun, written


def followed(path: Path, digests: Mapping[str, str]) -> Passage:
    """Stream the file to books and nothing else."""
    with GatewayProcess([path]) as gateway, Feed(gateway.url) as feed:
        begun = _begin(gateway)
        halfway = _watch(gateway, feed)
        seconds = time.monotonic() - begun
        _account(gateway, feed, digests)
        return Passage(seconds, *_most(gateway, halfway))


def recorded(path: Path, url: str, digests: Mapping[str, str]) -> Passage:
    """Stream it to books and into a store, until all is stored."""
    with (
        _unwarned(),
        Store(url) as store,
        GatewayProcess([path]) as gateway,
        record(gateway.url, store, session=_SESSION) as recorder,
    ):
        begun = _begin(gateway)
        halfway = _watch(gateway, recorder.feed)
        recorder.wait()
        seconds = time.monotonic() - begun
        _account(gateway, recorder.feed, digests)
        if not recorder.status.stored == store.recorded(_SESSION) == gateway.records:
            raise LostError(f"of {gateway.records:,} records {store.recorded(_SESSION):,} were stored")
        return Passage(seconds, *_most(gateway, halfway), waits=recorder.status.waits)


def rebuilt(url: str, digests: Mapping[str, str], messages: int) -> tuple[float, int]:
    """Build every book from its stored messages: (seconds, bytes on disk)."""
    symbols = list(digests)
    groups = [symbols[start : start + _TOGETHER] for start in range(0, len(symbols), _TOGETHER)]
    with Store(url) as store:
        begun, applied, found = time.perf_counter(), 0, dict[str, str]()
        for group in track(groups, len(symbols), lambda _: len(found), "building books from the store"):
            for book in store.records(group, file=_SESSION).books().values():
                found[book.symbol] = book.digest()
                applied += book.status.messages
        seconds = time.perf_counter() - begun
        if applied != messages:
            raise LostError(f"of {messages:,} records {applied:,} came back from the store")
        _compare(found, digests, "that were stored")
        sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'mbo' AND table = 'messages'"
        return seconds, store.query(sql).column(0)[0].as_py()


def _begin(gateway: GatewayProcess) -> float:
    gateway.begin(time.monotonic_ns())
    return time.monotonic()


def _watch(gateway: GatewayProcess, feed: Feed) -> tuple[float, float] | None:
    """Wait for the end of the replay; gives what memory gateway and reader had had after a quarter of it."""
    after_quarter = None
    for applied in track(feed.watch(), gateway.records, lambda applied: applied, "streaming"):
        if after_quarter is None and applied >= gateway.records // 4:
            after_quarter = _now(gateway)
    return after_quarter


def _now(gateway: GatewayProcess) -> tuple[float, float]:
    return most_memory(gateway.pid), most_memory()


def _most(
    gateway: GatewayProcess, after_quarter: tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pair what they had after a quarter with the end's, each of gateway and reader; a stream that is over at once has one time."""
    end = _now(gateway)
    early = end if after_quarter is None else after_quarter
    return (early[0], end[0]), (early[1], end[1])


def _account(gateway: GatewayProcess, feed: Feed, digests: Mapping[str, str]) -> None:
    sent, applied = gateway.sent, feed.status.applied
    if not sent == applied == gateway.records:
        raise LostError(f"of {gateway.records:,} records {sent:,} were sent and {applied:,} applied")

    def digests_of(books: Books) -> dict[str, str]:
        return {book.symbol: book.digest() for book in books.values()}

    _compare(feed.ask(digests_of), digests, "that came over TCP")


def _compare(found: Mapping[str, str], expected: Mapping[str, str], which: str) -> None:
    wrong = sorted(symbol for symbol in found.keys() | expected.keys() if found.get(symbol) != expected.get(symbol))
    if wrong:
        raise InternalError(f"{len(wrong):,} books {which} differ from the simulator's own: {', '.join(wrong[:5])}")


@contextmanager
def _unwarned() -> Iterator[None]:
    """Let the recorder not warn each time that it is held up: here the store is always behind, and the row says how often."""
    log = logging.getLogger("mbo.recorder")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
