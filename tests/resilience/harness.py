"""What the fault tests share: files made to order, a feed that keeps all it applied, and what has to hold in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import mbo
from mbo.book import Books
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.live.messages import session_metadata
from mbo.records import MBO_DTYPE, RecordArray
from tests.builders import metadata
from tests.resilience.proxy import Fault, Proxy

LIMIT_S = 30.0
"""No wait of a test is longer."""
RECORD = MBO_DTYPE.itemsize
HEADER, ACK, MAPPING = len(session_metadata("GLBX.MDP3", 1, ts_out=False)), 320, 176
"""What a session begins with: these, in this order, the last one for every instrument; bytes."""
Digests = dict[tuple[int, int], str]


def write_file(path: Path, records: RecordArray, symbols: Mapping[str, int] | None = None, version: int = 3) -> Path:
    """A plain DBN file; the symbols are S and the instrument's id where none are given."""
    if symbols is None:
        symbols = {f"S{number}": number for number in np.unique(records["instrument_id"]).tolist()}
    path.write_bytes(metadata(version=version, symbols=dict(symbols)).encode() + records.tobytes())
    return path


def digests(books: Books) -> Digests:
    return {key: book.digest() for key, book in books.items()}


def rebuilt(records: RecordArray) -> Digests:
    """The final books of records that nothing happened to."""
    books = Books()
    books.apply(records)
    return digests(books)


def until(holds: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.002)


@dataclass
class Run:
    """A gateway behind a bad network, and a feed that keeps the bytes of all records that it applied."""

    gateway: Gateway
    proxy: Proxy
    feed: Feed
    parts: list[bytes]
    stale: list[bool] = field(default_factory=list)
    """Whether the feed said that it is stale, at every connection that it made."""

    @property
    def bytes(self) -> bytes:
        return b"".join(self.parts)

    def check(self, records: RecordArray, *, faults: int | None = None) -> None:
        """The feed ended with exactly these records, after so many lost connections, each of which it noticed."""
        status = self.feed.wait(LIMIT_S).status
        assert self.bytes == records.tobytes()
        assert status.applied == len(records)
        assert status.gaps == 0
        assert status.first_gap is None
        assert faults is None or status.connections == 1 + faults
        assert status.ended
        assert not status.stale
        assert self.stale == [True] * self.proxy.connections
        assert digests(self.feed.books()) == rebuilt(records)


@contextmanager
def disturbed(
    path: Path,
    *script: Fault,
    serve: dict[str, Any] | None = None,
    tap: Any = None,
    later: int | None = None,
    **options: Any,
) -> Iterator[Run]:
    """A feed of a file that is served through a proxy with these faults; it has started.

    All but the first connection go to the gateway at the port `later`, if that is given.
    """
    parts: list[bytes] = []

    def keep(records: RecordArray) -> None:
        parts.append(records.tobytes())
        if tap is not None:
            tap(records)

    with Gateway(mbo.read_dbn(path), **serve or {}) as gateway, Proxy(gateway.url, *script) as proxy:
        feed = Feed(proxy.url, tap=keep, **options)
        run = Run(gateway, proxy, feed, parts)

        def arrived(number: int) -> None:
            run.stale.append(feed.stale)
            if later is not None and number > 1:
                proxy.target = ("127.0.0.1", later)

        proxy.arrived = arrived
        with feed:
            yield run


def marks(records: RecordArray, action: str, first: int = 0) -> int:
    """The number of the first record with this action, from `first` on."""
    return first + int((records["action"][first:] == ord(action)).argmax())
