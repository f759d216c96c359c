"""`mbo bench live`: how fast and how late records come over TCP to the book, for one client and for many.

The gateway is a process of its own; the clients are in this one. Every client keeps its own books, whose digests have to be those
of the file, and has to have applied all that was sent. Latency is from when a record was due to when it was applied.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import mbo
from mbo.bench.apart import need_room
from mbo.bench.plain import PlainBook
from mbo.bench.row import Aim, Row
from mbo.book import Books
from mbo.book.engine import compile_kernels
from mbo.errors import InternalError, LostError
from mbo.live.feed import Feed
from mbo.live.handshake import ClientHandshake
from mbo.live.latency import Latency
from mbo.live.link import Link
from mbo.live.messages import END_OF_REPLAY, SystemMessage
from mbo.live.process import GatewayProcess
from mbo.live.protocol import ALL_SYMBOLS, ANY_DATASET, Subscription
from mbo.live.stream import Arrival
from mbo.records import MBO_DTYPE
from mbo.simulator import write_session
from mbo.units import NS_PER_S

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
        header = _write(path, -(-PACED[0][0] * SECONDS // TURN))
        yield _unpaced(path)
        for rate, clients in PACED:
            os.truncate(path, min(header + MBO_DTYPE.itemsize * rate * SECONDS, path.stat().st_size))
            yield _paced(path, rate) if clients == 1 else _crowd(path, rate, clients)
        yield from _official(path)


def _write(path: Path, turns: int) -> int:
    """Write a session several times over; gives the length of the file's header."""
    write_session(path, TURN, seed=1)
    header = mbo.read_dbn(path).files[0].header_bytes
    with path.open("r+b") as file:
        file.seek(header)
        turn = file.read()
        for _ in range(turns - 1):
            file.write(turn)
    return header


def _expected(path: Path) -> dict[tuple[int, int], str]:
    return {key: book.digest() for key, book in mbo.read_dbn(path).books().items()}


def _unpaced(path: Path) -> Row:
    rates, expected, records = [], _expected(path), 0
    for _ in range(RUNS + 1):
        with GatewayProcess([path]) as gateway, Feed(gateway.url) as feed:
            begun = time.monotonic_ns()
            gateway.begin(begun)
            feed.wait()
            rates.append(feed.status.applied / (time.monotonic_ns() - begun) * 1e3)
            _check(gateway, feed.status.applied, feed.ask(lambda books: books), expected, 1)
            records = gateway.records
    return Row("TCP to the book, unpaced", records, rates[1:], "M/s", [Aim(12)])


def _paced(path: Path, rate: int) -> Row:
    expected = _expected(path)
    with GatewayProcess([path], rate=rate) as gateway, Feed(gateway.url) as feed:
        begin = time.monotonic_ns() + _LEAD_NS
        feed.measure(begin, rate)
        gateway.begin(begin)
        feed.wait()
        _check(gateway, feed.status.applied, feed.ask(lambda books: books), expected, 1)
        return _late(f"paced at {rate:,} a second", gateway.records, feed.latency, _AIMS.get(rate, ()))


def _late(name: str, records: int, latency: Latency, aims: Sequence[Aim]) -> Row:
    figures = {"p50": latency.percentile(50) / 1e6, "p99.9": latency.percentile(99.9) / 1e6, "max": latency.max / 1e6}
    return Row(name, records, [latency.percentile(99) / 1e6], "ms p99", aims, figures=figures)


def _check(
    gateway: GatewayProcess, applied: int, books: Books, expected: dict[tuple[int, int], str], clients: int
) -> None:
    if applied != gateway.records or gateway.sent != clients * gateway.records:
        raise LostError(f"{gateway.sent:,} records were sent to {clients} clients, {applied:,} applied by one of them")
    if {key: book.digest() for key, book in books.items()} != expected:
        raise InternalError("a book that came over TCP differs from the file's")


# ---------------------------------------------------------------- many clients


class _Client:
    """One of a crowd: a connection and its own books, read by the one thread that all of the crowd share."""

    def __init__(self, gateway: GatewayProcess) -> None:
        host, port = gateway.url.removeprefix("tcp://").rsplit(":", 1)
        self.link = Link((host, int(port)), compressed=False, silence_s=60)
        self.books = Books()
        self.applied = 0
        self.ended = False
        for _ in self.link.subscribe(ClientHandshake("bench", ANY_DATASET), Subscription((ALL_SYMBOLS,))):
            pass

    def read(self, latency: Latency, begin: int, rate: int) -> bool:
        """Take what has come; False at the end."""
        items = self.link.receive()
        for item in items or ():
            if isinstance(item, Arrival):
                self.books.apply(item.records)
                now = time.monotonic_ns()
                latency.note_paced(now, self.applied, len(item.records), begin=begin, per_s=rate)
                self.applied += len(item.records)
            elif isinstance(item, SystemMessage):
                self.ended |= item.text == END_OF_REPLAY
        return items is not None


def _crowd(path: Path, rate: int, clients: int) -> Row:
    expected, latency = _expected(path), Latency()
    with GatewayProcess([path], rate=rate) as gateway:
        crowd = [_Client(gateway) for _ in range(clients)]
        begin = time.monotonic_ns() + _LEAD_NS
        gateway.begin(begin)
        deadline = begin + 6 * SECONDS * NS_PER_S
        with selectors.DefaultSelector() as selector:
            for client in crowd:
                selector.register(client.link.socket, selectors.EVENT_READ, client)
            while selector.get_map():
                for key, _ in selector.select(1):
                    if not key.data.read(latency, begin, rate):
                        selector.unregister(key.fileobj)
                if time.monotonic_ns() > deadline:
                    raise LostError(f"{len(selector.get_map())} of {clients} clients did not come to the end")
        for client in crowd:
            _check(gateway, client.applied, client.books, expected, clients)
            client.link.close()
        name = f"{clients} clients at {rate:,} a second each"
        return _late(name, clients * gateway.records, latency, [Aim(10, most=True)])


# ---------------------------------------------------------------- Databento's own client


def _official(path: Path) -> Iterator[Row]:
    """Time the official client on a stream, counting records and keeping a book of them, and ours on the same stream."""
    if find_spec("databento") is None:  # it comes with the extra `dev` only
        return
    write_session(path, OFFICIAL, seed=1)
    expected = _expected(path)
    counting = Row("databento.Live, counting, no book", OFFICIAL, _theirs(path, None), "M/s")
    yield counting
    booked = Row("databento.Live to a plain book", OFFICIAL, _theirs(path, expected), "M/s")
    yield booked
    ours = []
    for _ in range(RUNS + 1):
        with GatewayProcess([path]) as gateway, Feed(gateway.url) as feed:
            begun = time.monotonic_ns()
            gateway.begin(begun)
            feed.wait()
            ours.append(feed.status.applied / (time.monotonic_ns() - begun) * 1e3)
            _check(gateway, feed.status.applied, feed.ask(lambda books: books), expected, 1)
    median = sorted(ours[1:])[RUNS // 2]
    yield Row(
        "the same to our books", OFFICIAL, ours[1:], "M/s", [Aim(30, "the client with a book")],
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
