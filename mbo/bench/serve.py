"""`mbo bench serve`: how late books are at a hundred WebSocket clients, and what they and idle ones do to the book behind them.

The gateway is a process of its own, the API with its feed another; all clients are in this one. The age of an update is from when
the last record in it was due to when this process had read it. Every client's levels have to be those of the server at every
message, and those of the file in the end.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, cast

import mbo
from mbo.bench.row import Aim, Row
from mbo.errors import InternalError, LostError
from mbo.live.process import GatewayProcess, end
from mbo.simulator import write_session
from mbo.units import NS_PER_S

RATE: Final = 500_000
SECONDS: Final = 10
CLIENTS: Final = 100
HZ: Final = 20
IDLE: Final = 1_000
DEPTH: Final = 10
REST_S: Final = 5
REST_CONNECTIONS: Final = 16
RUNS: Final = 3
SYMBOL: Final = "SIM1"
_BASE: Final = "that without clients"
_LEAD_NS: Final = 200_000_000
_LIMIT_S: Final = 60.0


def serve() -> Iterator[Row]:
    """Measure the way from the feed to many clients."""
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        path = Path(folder) / "session.dbn"
        write_session(path, RATE * SECONDS, seed=1)
        book = mbo.read_dbn(path).book()
        levels = book.levels("bid", DEPTH).array.tobytes() + book.levels("ask", DEPTH).array.tobytes()
        expected: dict[str, Any] = {"digest": book.digest(), "levels": levels}
        alone, crowded, idle = [], [], []  # in turns, so that what else the machine does falls on all of them
        ages: list[list[float]] = []
        for _ in range(RUNS):
            with _running(path) as run:
                run.play(expected)
                alone.append(run.latency)
            with _running(path) as run:
                ages.append(sorted(age / 1e6 for age in run.play(expected, clients=CLIENTS)))
                crowded.append(run.latency)
            with _running(path) as run:
                run.play(expected, idle=IDLE)
                idle.append(run.latency)
                rest = run.rest()
            records = run.records
        base = statistics.median(latency["p99"] for latency in alone)
        yield _late("the book, no clients", records, alone, Aim(10, most=True))
        p99 = [one[int(len(one) * 0.99)] for one in ages]
        middle = statistics.median(one[len(one) // 2] for one in ages)
        rate, latest = sum(map(len, ages)) / RUNS / SECONDS, max(one[-1] for one in ages)
        figures = {"p50": middle, "max": latest}
        yield Row(
            f"{CLIENTS} clients at {HZ} updates a second: their age",
            records,
            p99,
            "ms p99",
            [Aim(50, most=True)],
            figures=figures,
            detail=f"{rate:,.0f} updates a second",
        )
        yield _late("the book meanwhile", records, crowded, Aim(10, most=True), base)
        yield _late(f"the book, {IDLE:,} clients that do not read", records, idle, Aim(2, _BASE, most=True), base)
        yield Row("REST books alone", 0, [rest], "requests/s", [Aim(2_000)])
        with _running(path) as run:
            rates: list[float] = []
            run.play(expected, beside=lambda: rates.append(run.rest()))
            figures = {"the book's p99 in ms": run.latency["p99"] / 1e6}
            yield Row(f"REST books beside {RATE:,} messages a second", records, rates, "requests/s", figures=figures)


def _late(name: str, records: int, runs: list[dict[str, int]], aim: Aim, base: float | None = None) -> Row:
    """Say how late the book was, in the median of the runs; `base` is the p99 (ns) without clients."""
    figures = {q: statistics.median(run[q] for run in runs) / 1e6 for q in ("p50", "p99.9")}
    figures["max"] = max(run["max"] for run in runs) / 1e6
    p99 = [run["p99"] / 1e6 for run in runs]
    ratios = {} if base is None else {_BASE: statistics.median(p99) * 1e6 / base}
    return Row(name, records, p99, "ms p99", [aim], ratios, figures)


# ---------------------------------------------------------------- one run


@contextmanager
def _running(path: Path) -> Iterator[_Run]:
    with GatewayProcess([path], rate=RATE) as gateway:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", "from mbo.bench.serve import child; child()", gateway.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield _Run(gateway, process)
        finally:
            end(process)


class _Run:
    """A gateway, the API's process, and what came of them."""

    def __init__(self, gateway: GatewayProcess, process: subprocess.Popen[bytes]) -> None:
        self._gateway = gateway
        self._process = process
        self.records = gateway.records
        self.latency: dict[str, int] = {}
        self._port = int(self._hear()["port"])

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LostError("the API's process has ended")
        return cast("dict[str, Any]", json.loads(line))

    def _say(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def play(self, expected: dict[str, Any], *, clients: int = 0, idle: int = 0, beside: Any = None) -> list[int]:
        """Let the replay run; gives the ages (ns) of all updates at all clients. The books have to be the file's in the end."""
        with ExitStack() as stack:
            for _ in range(idle):
                stack.enter_context(_silent(self._port))
            begin = time.monotonic_ns() + _LEAD_NS * (1 + (clients > 0))
            self._say(begin=begin, rate=RATE)
            received: list[list[tuple[int, bytes]]] = []
            if clients:
                self._gateway.begin(begin)
                received = asyncio.run(_follow(self._port, clients, self.records))
            else:
                self._gateway.begin(begin)
                if beside is not None:
                    time.sleep(1)
                    beside()
            found = self._say(wait=True)
        self.latency = found["latency"]
        if found["applied"] != self.records:
            raise LostError(f"of {self.records:,} records {found['applied']:,} were applied")
        if found["digest"] != expected["digest"]:
            raise InternalError("the API's book differs from the file's")
        return [age for one in received for age in _checked(one, begin, expected["levels"])]

    def rest(self) -> float:
        """Ask for books over many connections for a while; gives requests a second."""
        return asyncio.run(_rest(self._port))


async def _follow(port: int, clients: int, records: int) -> list[list[tuple[int, bytes]]]:
    """Follow the book with many clients until its last record; gives what each received, and when."""
    from websockets.asyncio.client import connect

    uri = f"ws://127.0.0.1:{port}/v1/stream?symbols={SYMBOL}&depth={DEPTH}&hz={HZ}&format=binary"

    async def one() -> list[tuple[int, bytes]]:
        kept: list[tuple[int, bytes]] = []
        async with connect(uri, compression=None, proxy=None, ping_interval=None) as link:
            async with asyncio.timeout(_LIMIT_S):
                while True:
                    payload = await link.recv()
                    if isinstance(payload, bytes):
                        kept.append((time.monotonic_ns(), payload))
                        if int.from_bytes(payload[40:48], "little") == records:  # the book's messages
                            return kept

    return await asyncio.gather(*(one() for _ in range(clients)))


def _checked(received: list[tuple[int, bytes]], begin: int, levels: bytes) -> Iterator[int]:
    """Apply what a client received, which checks it; gives the ages."""
    from mbo.api.following import FollowedBook
    from mbo.api.frames import read_binary

    book = FollowedBook(SYMBOL)
    for at, payload in received:
        book.apply(read_binary(payload))
        yield max(0, at - begin - (book.position.messages - 1) * NS_PER_S // RATE)
    if book.levels("bid").array.tobytes() + book.levels("ask").array.tobytes() != levels:
        raise InternalError("a client's book differs from the file's")


@contextmanager
def _silent(port: int) -> Iterator[None]:
    """Be a client that follows the book, and reads nothing of it."""
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        link.sendall(
            f"GET /v1/stream?symbols={SYMBOL}&depth={DEPTH}&hz={HZ} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        if b" 101 " not in link.recv(64):
            raise LostError("an idle client was not let in")
        yield


async def _rest(port: int) -> float:
    request = f"GET /v1/books/{SYMBOL}?depth={DEPTH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    begun = time.perf_counter()

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 0
        while time.perf_counter() - begun < REST_S:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise LostError(f"a book was refused: {head[:80]!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            count += 1
        writer.close()
        return count

    counts = await asyncio.gather(*(ask() for _ in range(REST_CONNECTIONS)))
    return sum(counts) / (time.perf_counter() - begun)


# ---------------------------------------------------------------- the API's process


def child() -> None:
    """Be the API's process: serve the gateway that is named, answer on standard output, until the input ends."""
    from mbo.api.app import create_app
    from mbo.api.server import Server
    from mbo.api.source import LiveSource
    from mbo.api.working import SWITCH_S
    from mbo.config import Settings
    from mbo.telemetry import BatchMeter, Telemetry

    sys.setswitchinterval(SWITCH_S)
    # A client that does not read is kept, so that it is there to be measured.
    settings = Settings(api={"port": 0, "rate_per_s": 1e9}, stream={"stall_s": 3_600.0})  # type: ignore[arg-type]
    with Telemetry(settings) as telemetry, LiveSource(sys.argv[1], tap=BatchMeter(telemetry.spans)) as source:
        while source.feed is None:
            time.sleep(0.01)
        with Server(create_app(source, settings=settings, keys=None, telemetry=telemetry)) as server:
            print(json.dumps({"port": int(server.url.rsplit(":", 1)[1])}), flush=True)
            for line in sys.stdin:
                command = json.loads(line)
                if "begin" in command:
                    source.feed.measure(command["begin"], command["rate"])
                    print("{}", flush=True)
                    continue
                source.feed.wait(_LIMIT_S)
                digest = source.feed.ask(lambda books: books.book().digest())
                applied = source.feed.status.applied
                found = {"latency": source.feed.latency.document(), "applied": applied, "digest": digest}
                print(json.dumps(found), flush=True)
