"""A client of a gateway that does nothing by itself: it says what a test says, and keeps every record as it came."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import databento_dbn
import numpy as np
import zstandard

import mbo
from mbo.live.handshake import answer
from mbo.live.messages import ErrorMessage, SymbolMessage, SystemMessage, read_control
from mbo.records import MBO_DTYPE, RTYPE_MBO, RecordArray, as_records
from mbo.replay import Records
from mbo.simulator import Session
from tests.builders import dbn_bytes, write

LIMIT_S = 20.0
END = "End of replay"


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until something holds, and give it; the test fails where it does not come."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.002)
    return found


def same(one: RecordArray, other: RecordArray) -> bool:
    """Whether the records are equal to the bit; a difference of millions of bytes would take minutes to print."""
    return len(one) == len(other) and one.tobytes() == other.tobytes()


def day_of(folder: Path, records: RecordArray, **header: Any) -> Records:
    """The records as a file."""
    return mbo.read_dbn(write(folder / f"{len(list(folder.iterdir()))}.dbn", dbn_bytes(records, **header)))


def day_of_session(folder: Path, session: Session) -> Records:
    """A simulated session as a file."""
    path = folder / f"{len(list(folder.iterdir()))}.dbn"
    return mbo.read_dbn(write(path, session.metadata.encode() + session.records.tobytes()))


class Received:
    """The stream behind the handshake, cut into its metadata and its records."""

    def __init__(self, *, zstd: bool = False) -> None:
        self.metadata: databento_dbn.Metadata | None = None
        self.header = b""
        self.records: list[bytes] = []
        self._buffer = b""
        self._unpack = zstandard.ZstdDecompressor().decompressobj() if zstd else None

    def feed(self, data: bytes) -> None:
        self._buffer += self._unpack.decompress(data) if self._unpack else data
        if self.metadata is None:
            length = 8 + int.from_bytes(self._buffer[4:8], "little")
            if len(self._buffer) < max(length, 9):
                return
            self.header, self._buffer = self._buffer[:length], self._buffer[length:]
            self.metadata = databento_dbn.Metadata.decode(self.header)
        at, data = 0, self._buffer
        while at < len(data) and at + 4 * data[at] <= len(data):
            assert data[at], "a record of no length"
            self.records.append(data[at : at + 4 * data[at]])
            at += 4 * data[at]
        self._buffer = data[at:]

    @property
    def torn(self) -> int:
        return len(self._buffer)

    @property
    def ts_out(self) -> bool:
        assert self.metadata is not None
        return bool(self.metadata.ts_out)

    @property
    def mbo(self) -> RecordArray:
        """The market data, without sending times."""
        rows = [record[:56] for record in self.records if record[1] == RTYPE_MBO]
        found = np.frombuffer(b"".join(rows), MBO_DTYPE).copy()
        found["length"] = 14
        return as_records(found)

    @property
    def messages(self) -> list[SystemMessage | ErrorMessage | SymbolMessage]:
        """What else there is, in its order."""
        if self.metadata is None:
            return []
        version = self.header[3]  # the decoded metadata have been brought to the latest
        read = [read_control(one, version, self.ts_out) for one in self.records if one[1] != RTYPE_MBO]
        assert None not in read
        return [one for one in read if one is not None]

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.messages if not isinstance(one, SymbolMessage)]

    @property
    def symbols(self) -> list[tuple[int, str, str]]:
        return [one[:3] for one in self.messages if isinstance(one, SymbolMessage)]


class RawClient(Received):
    """One connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, small: bool = False) -> None:
        super().__init__()
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if small:  # takes little at a time
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        self.sock.settimeout(LIMIT_S)
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise
        self._rest = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def say(self, *lines: str) -> Self:
        self.sock.sendall("".join(f"{line}\n" for line in lines).encode())
        return self

    def line(self) -> str:
        """One line of the gateway's; empty where it has closed."""
        while b"\n" not in self._rest:
            data = self.sock.recv(1 << 16)
            if not data:
                return ""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def request(self, key: str = "any", dataset: str = "GLBX.MDP3", **fields: Any) -> str:
        """Read the greeting and give the line that answers it."""
        assert self.line() == "lsg_version=0.9.0"
        name, _, cram = self.line().partition("=")
        assert name == "cram"
        if fields.get("compression") == "zstd":
            Received.__init__(self, zstd=True)
        more = "".join(f"|{name}={value}" for name, value in fields.items())
        return f"auth={answer(cram, key)}|dataset={dataset}|encoding=dbn{more}"

    def authenticate(self, key: str = "any", dataset: str = "GLBX.MDP3", **fields: Any) -> str:
        return self.say(self.request(key, dataset, **fields)).line()

    def enter(self, *subscriptions: str, **fields: Any) -> Self:
        """Be let in, subscribe, start."""
        assert self.authenticate(**fields).startswith("success=1|session_id=")
        return self.say(*subscriptions, "start_session")

    def take(self) -> bool:
        """Receive once; says whether there was something."""
        data = self.sock.recv(1 << 18)
        self.ended = not data
        if data:
            self.feed(data)
        return bool(data)

    def until(self, done: Callable[[Self], Any], what: str = "what a client waits for") -> Self:
        """Receive until something holds."""
        deadline = time.monotonic() + LIMIT_S
        while not done(self):
            assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
            assert self.take(), f"the gateway ended before {what}"
        return self

    def upto(self, count: int) -> Self:
        """Receive until so many records of market data have come."""
        return self.until(lambda one: sum(r[1] == RTYPE_MBO for r in one.records) >= count, f"{count} records came")

    def to_the_end(self) -> Self:
        """Receive until the gateway has closed."""
        deadline = time.monotonic() + LIMIT_S
        while self.take():
            assert time.monotonic() < deadline, "the gateway does not end"
        return self

    def quiet(self, seconds: float) -> bool:
        """Whether no market data come for so long."""
        before, deadline = len(self.mbo), time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.sock.settimeout(left)
                self.take()
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(LIMIT_S)
        return len(self.mbo) == before


def mbo_line(symbols: str = "ALL_SYMBOLS", *, stype_in: str = "raw_symbol", snapshot: int = 0, **fields: Any) -> str:
    more = "".join(f"|{name}={value}" for name, value in fields.items())
    return f"schema=mbo|stype_in={stype_in}|symbols={symbols}|snapshot={snapshot}{more}"
