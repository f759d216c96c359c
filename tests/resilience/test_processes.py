"""Gateways and clients that are killed, stopped, or slow; each a process of the test's own where it has to be."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import mbo
from mbo.errors import RequestError, SymbolError
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.records import RecordArray
from mbo.simulator import Feature, simulate
from tests.builders import TRADES, dbn_bytes, other, write
from tests.resilience.harness import LIMIT_S, digests, rebuilt, until, write_file

pytestmark = pytest.mark.resilience

_START_S = 60.0  # of a process that may have to compile kernels

GATEWAY = """
import sys
import mbo
from mbo.live.gateway import Gateway

path, port, rate = sys.argv[1:]
with Gateway(mbo.read_dbn(path), port=int(port), rate=float(rate) or None) as gateway:
    print(gateway.port, flush=True)
    sys.stdin.read()
"""

CLIENT = """
import json, sys
from mbo.live import feed
from mbo.live.feed import Feed

feed._GRACE_S = -4.0  # so that a silent gateway is lost after one second
with Feed(sys.argv[1], heartbeat_s=5) as follower:
    for applied in follower.watch(0.02):
        print(applied, flush=True)
    books = follower.books()
    status = follower.status
    found = [[list(key), book.digest()] for key, book in books.items()]
    print(json.dumps([status.applied, status.gaps, status.connections, found]), flush=True)
"""


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python of our own, which ends with the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(mbo.__file__).parents[1],
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait(LIMIT_S)
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()


def line(child: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    found: list[str] = []
    assert child.stdout is not None
    reader = threading.Thread(target=lambda: found.append(child.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(_START_S)
    assert found, "the process says nothing"
    assert found[0], "the process has ended"
    return found[0].strip()


def serving(stack: ExitStack, path: Path, port: int = 0, rate: float = 0) -> tuple[subprocess.Popen[str], int]:
    child = stack.enter_context(process(GATEWAY, path, port, rate))
    return child, int(line(child))


@pytest.fixture(scope="module")
def tape() -> RecordArray:
    return simulate(60_000, seed=6, instruments=3, resting=60, features=Feature.ALL).records


@pytest.fixture(scope="module")
def long_tape() -> RecordArray:
    """More than the buffers of a connection hold."""
    return simulate(500_000, seed=7, instruments=4, resting=100).records


class Holder:
    """A tap that stands still at a certain record until it is let go, and keeps the bytes."""

    def __init__(self, at: int) -> None:
        self.parts: list[bytes] = []
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._at, self._count = at, 0

    def __call__(self, records: RecordArray) -> None:
        self.parts.append(records.tobytes())
        self._count += len(records)
        if self._count >= self._at and not self.reached.is_set():
            self.reached.set()
            assert self.go_on.wait(_START_S)


# -------------------------------------------------------------------- the gateway is killed


def test_gateway_killed_and_restarted(long_tape, tmp_path, caplog):
    path = write_file(tmp_path / "long.dbn", long_tape)
    holder = Holder(50_000)
    with ExitStack() as stack:
        child, port = serving(stack, path)
        feed = stack.enter_context(Feed(f"tcp://127.0.0.1:{port}", tap=holder))
        assert holder.reached.wait(LIMIT_S)
        child.kill()
        child.wait(LIMIT_S)
        holder.go_on.set()
        until(lambda: feed.stale, "the loss")
        serving(stack, path, port)
        status = feed.wait(LIMIT_S).status
        assert b"".join(holder.parts) == long_tape.tobytes()
        assert (status.applied, status.gaps, status.stale) == (len(long_tape), 0, False)
        assert status.connections >= 2  # a process that is being killed may still take one, and never answer
        assert digests(feed.books()) == rebuilt(long_tape)
    assert "the connection is lost" in caplog.text


def test_paced_gateway_killed_and_restarted(tape, tmp_path, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)
    parts: list[bytes] = []
    with ExitStack() as stack:
        child, port = serving(stack, path, rate=60_000)
        feed = stack.enter_context(Feed(f"tcp://127.0.0.1:{port}", tap=lambda batch: parts.append(batch.tobytes())))
        for mark in (12_000, 30_000):
            until(lambda mark=mark: feed.status.applied >= mark, f"{mark} records")
            assert not feed.stale
            child.kill()
            child.wait(LIMIT_S)
            until(lambda: feed.stale, "the loss")
            child, _ = serving(stack, path, port, rate=60_000)
            until(lambda: not feed.stale, "the return")
        status = feed.wait(LIMIT_S).status
        assert b"".join(parts) == tape.tobytes()
        assert (status.applied, status.gaps) == (len(tape), 0)
        assert status.connections >= 3  # a process that is being killed may still take a connection, and never answer
        assert digests(feed.books()) == rebuilt(tape)
    assert caplog.text.count("connecting again") >= 2


# -------------------------------------------------------------------- a client is killed, or stopped


def test_killed_client_disturbs_nobody(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path), rate=30_000) as gateway, ExitStack() as stack:
        victim = stack.enter_context(process(CLIENT, gateway.url))
        assert int(line(victim)) >= 0
        feed = stack.enter_context(Feed(gateway.url, start=0))
        until(lambda: len(gateway.sessions) == 2, "two clients")
        victim.kill()
        victim.wait(LIMIT_S)
        until(lambda: len(gateway.sessions) == 1, "the gateway to see it")
        status = feed.wait(LIMIT_S).status
        assert (status.applied, status.gaps, status.connections) == (len(tape), 0, 1)
        assert digests(feed.books()) == rebuilt(tape)
        with Feed(gateway.url, start=0) as late:
            assert late.wait(LIMIT_S).status.applied == len(tape)


def test_client_stopped_for_longer_than_the_silence_it_bears(tape, tmp_path):
    """What came meanwhile lies in its connection; that it heard nothing for so long was its own doing."""
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path), rate=15_000) as gateway, process(CLIENT, gateway.url) as child:
        while int(line(child)) < 5_000:
            pass
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.6)
        child.send_signal(signal.SIGCONT)
        last = line(child)
        while not last.startswith("["):
            last = line(child)
        applied, gaps, connections, found = json.loads(last)
        assert (applied, gaps, connections) == (len(tape), 0, 1)
        assert {tuple(key): digest for key, digest in found} == rebuilt(tape)


def test_client_stopped_while_its_gateway_is_killed(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with ExitStack() as stack:
        gateway, port = serving(stack, path, rate=60_000)
        client = stack.enter_context(process(CLIENT, f"tcp://127.0.0.1:{port}"))
        while int(line(client)) < 5_000:
            pass
        client.send_signal(signal.SIGSTOP)
        gateway.kill()
        gateway.wait(LIMIT_S)
        serving(stack, path, port)
        client.send_signal(signal.SIGCONT)
        last = line(client)
        while not last.startswith("["):
            last = line(client)
        applied, gaps, connections, found = json.loads(last)
        assert (applied, gaps, connections) == (len(tape), 0, 2)
        assert {tuple(key): digest for key, digest in found} == rebuilt(tape)


# -------------------------------------------------------------------- a slow reader


def memory_bytes(pid: int) -> int | None:
    """What a process has in memory of its own, where the system says so."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return found[0] if found else None


@pytest.mark.parametrize("rate", [0, 400_000], ids=["unpaced", "paced"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_slow_reader_slows_nobody_and_costs_no_memory(long_tape, tmp_path, rate, compression):
    """One reads nothing more, and the other has everything all the same; then the first goes on, and misses nothing."""
    path = write_file(tmp_path / "long.dbn", long_tape)
    holder = Holder(10_000)
    with ExitStack() as stack:
        child, port = serving(stack, path, rate=rate)
        url = f"tcp://127.0.0.1:{port}"
        slow = stack.enter_context(Feed(url, tap=holder, start=0, compression=compression))
        stack.callback(holder.go_on.set)
        assert holder.reached.wait(LIMIT_S)
        before = memory_bytes(child.pid)
        fast = stack.enter_context(Feed(url, start=0, compression=compression))
        assert fast.wait(LIMIT_S).status.applied == len(long_tape)
        after = memory_bytes(child.pid)
        assert slow.status.applied < 100_000
        if before is not None and after is not None:
            assert after - before < 24 << 20  # the tape is 28 MB
        holder.go_on.set()
        status = slow.wait(LIMIT_S).status
        assert b"".join(holder.parts) == long_tape.tobytes()
        assert (status.applied, status.gaps, status.connections) == (len(long_tape), 0, 1)
        assert digests(slow.books()) == digests(fast.books()) == rebuilt(long_tape)


# -------------------------------------------------------------------- what there is too little of


def test_more_files_open_than_select_takes(tape, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_500:
        pytest.skip(f"this machine lets a process open only {hard} files")
    path = write_file(tmp_path / "tape.dbn", tape)
    with ExitStack() as stack:
        _, port = serving(stack, path, rate=60_000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_500), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1_100):
            stack.enter_context(Path(os.devnull).open())
        feed = stack.enter_context(Feed(f"tcp://127.0.0.1:{port}"))
        assert feed.wait(LIMIT_S).status.applied == len(tape)
        assert digests(feed.books()) == rebuilt(tape)


def test_file_without_records(tape, tmp_path):
    empty = write_file(tmp_path / "empty.dbn", tape[:0], {"A": 1})
    trades = write(tmp_path / "trades.dbn", dbn_bytes(tape[:0], between={0: [other(TRADES)] * 3}))
    nothing = write(tmp_path / "nothing.dbn", b"")
    for path in (empty, trades):
        with pytest.raises(RequestError, match=f"no MBO records in .*{path.name}"):
            Gateway(mbo.read_dbn(path))
    with pytest.raises(mbo.MboError, match=r"nothing\.dbn"):
        Gateway(mbo.read_dbn(nothing))


def test_symbol_that_nobody_knows(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path)) as gateway:
        with pytest.raises(SymbolError, match=r"none of the symbols.*NONE"):
            Feed(gateway.url, ["NONE"]).start()
        name = f"S{tape['instrument_id'][0]}"
        with Feed(gateway.url, [name, "NONE"]) as feed:
            status = feed.wait(LIMIT_S).status
            assert len(status.unknown_symbols) == 1
            assert status.applied == (tape["instrument_id"] == tape["instrument_id"][0]).sum()


def test_tap_that_fails_ends_the_feed_with_its_error(tape, tmp_path, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)

    def fail(records: Any) -> None:
        raise ZeroDivisionError

    with Gateway(mbo.read_dbn(path)) as gateway, Feed(gateway.url, tap=fail) as feed:
        with pytest.raises(ZeroDivisionError):
            feed.wait(LIMIT_S)
        assert len(feed.books()) > 0
    assert "the feed failed" in caplog.text


def test_gateway_that_closes_says_nothing_of_an_end(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path), rate=30_000) as gateway, Feed(gateway.url, reconnect_s=0.2) as feed:
        until(lambda: feed.status.applied > 1_000, "some records")
        gateway.close()
        with pytest.raises(mbo.MboError, match="nothing was heard"):
            feed.wait(LIMIT_S)
        assert feed.stale
        assert tape["flags"][feed.status.applied - 1] & 128, "the last event was finished"
