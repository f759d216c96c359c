"""`mbo bench live`: how fast and how late records come over TCP to the book, for one client and for many.

The gateway is a process of its own; the clients are in this one. Every client keeps its own books, whose digests have to be those
of the file, and has to have applied all that was sent. Latency is from when a record was due to when it was applied.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from mbo.bench.apart import need_room
from mbo.bench.crowd import check, crowd_of, digests_of, follow
from mbo.bench.plain import PlainBook
from mbo.bench.row import Aim, Row
from mbo.bench.timing import write_turns
from mbo.book.engine import compile_kernels
from mbo.errors import InternalError, LostError
from mbo.live.feed import Feed
from mbo.live.latency import Latency
from mbo.live.process import GatewayProcess
from mbo.records import MBO_DTYPE
from mbo.simulator import write_session

TURN: Final = 4_000_000  # messages of a session, which is repeated: it begins with clears
SECONDS: Final = 10  # of a paced run
PACED: Final = (  # messages a second for each of so many clients, the fastest first: the file gets shorter
    (5_000_000, 1), (1_000_000, 1), (500_000, 1), (500_000, 10), (50_000, 1), (50_000, 10), (50_000, 100), (5_000, 100)
)  # fmt: skip
RUNS: Final = 3
OFFICIAL: Final = 2_000_000
_LEAD_NS: Final = 100_000_000
_AIMS: Final = {
    500_000: (Aim(0.2, "p50", most=True), Aim(1, most=True), Aim(5, "p99.9", most=True)), 5_000_000: (Aim(10, most=True),)
}  # fmt: skip


def live() -> Iterator[Row]:
    """Measure the way from a file through a gateway over TCP to the book."""
    compile_kernels()
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        path = Path(folder) / "session.dbn"
        need_room(folder, PACED[0][0] * SECONDS * MBO_DTYPE.itemsize)
        _, header = write_turns(path, TURN, -(-PACED[0][0] * SECONDS // TURN))
        yield _unpaced(path)
        for rate, clients in PACED:
            os.truncate(path, min(header + MBO_DTYPE.itemsize * rate * SECONDS, path.stat().st_size))
            yield _paced(path, rate) if clients == 1 else _crowd(path, rate, clients)
        yield from _official(path)


def _unpaced(path: Path) -> Row:
    rates, records = _rates(path)
    return Row("TCP to the book, unpaced", records, rates, "M/s", [Aim(12)])


def _rates(path: Path) -> tuple[list[float], int]:
    """Stream a file as fast as it goes, several times after a first: (M/s of each, how many records)."""
    rates, expected, records = [], digests_of(path), 0
    for _ in range(RUNS + 1):
        with GatewayProcess([path]) as gateway, Feed(gateway.url) as feed:
            begun = time.monotonic_ns()
            gateway.begin(begun)
            feed.wait()
            rates.append(feed.status.applied / (time.monotonic_ns() - begun) * 1e3)
            check(gateway, feed.status.applied, feed.ask(lambda books: books), expected, 1)
            records = gateway.records
    return rates[1:], records


def _paced(path: Path, rate: int) -> Row:
    expected = digests_of(path)
    with GatewayProcess([path], rate=rate) as gateway, Feed(gateway.url) as feed:
        begin = time.monotonic_ns() + _LEAD_NS
        feed.measure(begin, rate)
        gateway.begin(begin)
        feed.wait()
        check(gateway, feed.status.applied, feed.ask(lambda books: books), expected, 1)
        return _late(f"paced at {rate:,} a second", gateway.records, feed.latency, _AIMS.get(rate, ()))


def _late(name: str, records: int, latency: Latency, aims: Sequence[Aim]) -> Row:
    figures = {"p50": latency.percentile(50) / 1e6, "p99.9": latency.percentile(99.9) / 1e6, "max": latency.max / 1e6}
    return Row(name, records, [latency.percentile(99) / 1e6], "ms p99", aims, figures=figures)


def _crowd(path: Path, rate: int, clients: int) -> Row:
    expected, latency = digests_of(path), Latency()
    with GatewayProcess([path], rate=rate) as gateway, crowd_of(gateway, clients) as crowd:
        begin = time.monotonic_ns() + _LEAD_NS
        gateway.begin(begin)

        def note(before: int, now: int) -> None:
            latency.note_paced(time.monotonic_ns(), before, now, begin=begin, per_s=rate)

        follow(crowd, 6 * SECONDS, note)
        for client in crowd:
            check(gateway, client.applied, client.books, expected, clients)
        name = f"{clients} clients at {rate:,} a second each"
        return _late(name, clients * gateway.records, latency, [Aim(10, most=True)])


# ---------------------------------------------------------------- Databento's own client


def _official(path: Path) -> Iterator[Row]:
    """Time the official client on a stream, counting records and keeping a book of them, and ours on the same stream."""
    if find_spec("databento") is None:  # it comes with the extra `dev` only
        return
    write_session(path, OFFICIAL, seed=1)
    expected = digests_of(path)
    counting = Row("databento.Live, counting, no book", OFFICIAL, _theirs(path, None), "M/s")
    yield counting
    booked = Row("databento.Live to a plain book", OFFICIAL, _theirs(path, expected), "M/s")
    yield booked
    ours, _ = _rates(path)
    median = sorted(ours)[RUNS // 2]
    yield Row(
        "the same to our books", OFFICIAL, ours, "M/s", [Aim(30, "the client with a book")],
        {"the client with a book": median / booked.median, "counting": median / counting.median},
    )  # fmt: skip


def _theirs(path: Path, expected: dict[tuple[int, int], str] | None) -> list[float]:
    """Time the official client: with `expected`, the digests of all books, it keeps a book, and otherwise counts."""
    databento = import_module("databento")
    rates = []
    for _ in range(RUNS + 1):
        counted, book = 0, PlainBook()

        def count(record: object) -> None:
            nonlocal counted
            counted += isinstance(record, databento.MBOMsg)

        def keep(record: Any) -> None:
            nonlocal counted
            if isinstance(record, databento.MBOMsg):
                counted += 1
                action, side = ord(record.action.value), ord(record.side.value)
                book.apply([(action, side, record.order_id, record.price, record.size)])  # noqa: B023

        with GatewayProcess([path]) as gateway:
            client = databento.Live(key="db-bench", gateway="127.0.0.1", port=int(gateway.url.rsplit(":", 1)[1]))
            client.subscribe("*", "mbo", symbols="ALL_SYMBOLS")
            client.add_callback(count if expected is None else keep)
            client.start()
            begun = time.monotonic_ns()
            gateway.begin(begun)
            client.block_for_close(60)
            rates.append(counted / (time.monotonic_ns() - begun) * 1e3)
            if counted != gateway.records:
                raise LostError(f"the official client got {counted:,} of {gateway.records:,} records")
            if expected is not None and [book.digest()] != list(expected.values()):
                raise InternalError("the plain book that the official client fed differs from the file's")
    return rates[1:]
