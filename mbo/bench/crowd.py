"""Clients of a gateway, all read by one thread, and whether what they and the gateway say fits the file."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mbo
from mbo.book import Books
from mbo.errors import InternalError, LostError
from mbo.live.handshake import ClientHandshake
from mbo.live.link import Link
from mbo.live.messages import END_OF_REPLAY, SystemMessage
from mbo.live.process import GatewayProcess
from mbo.live.protocol import ALL_SYMBOLS, ANY_DATASET, Subscription
from mbo.live.stream import Arrival

Digests = dict[tuple[int, int], str]
"""Of books, by (publisher_id, instrument_id)."""


class Client:
    """One of a crowd: a connection and its own books."""

    def __init__(self, gateway: GatewayProcess) -> None:
        host, port = gateway.url.removeprefix("tcp://").rsplit(":", 1)
        self.link = Link((host, int(port)), compressed=False, silence_s=60)
        self.books = Books()
        self.applied = 0
        for _ in self.link.subscribe(ClientHandshake("bench", ANY_DATASET), Subscription((ALL_SYMBOLS,))):
            pass

    def read(self, note: Callable[[int, int], None]) -> bool:
        """Apply what has come, and `note` (how many were applied before, how many now); False at the end."""
        items = self.link.receive()
        for item in items or ():
            if isinstance(item, Arrival):
                self.books.apply(item.records)
                note(self.applied, len(item.records))
                self.applied += len(item.records)
            elif isinstance(item, SystemMessage) and item.text == END_OF_REPLAY:
                return False
        return items is not None


@contextmanager
def crowd_of(gateway: GatewayProcess, size: int) -> Iterator[list[Client]]:
    """Connect so many clients, and close them in the end."""
    with ExitStack() as stack:
        crowd = []
        for _ in range(size):
            crowd.append(Client(gateway))
            stack.enter_context(crowd[-1].link)
        yield crowd


def follow(
    crowd: Sequence[Client], limit_s: float, note: Callable[[int, int], None] = lambda before, now: None
) -> None:
    """Apply what comes to each, until the replay has ended for all. `LostError` where that takes longer than the limit."""
    deadline = time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        for client in crowd:
            selector.register(client.link.socket, selectors.EVENT_READ, client)
        while selector.get_map():
            for key, _ in selector.select(1):
                if not key.data.read(note):
                    selector.unregister(key.fileobj)
            if time.monotonic() > deadline:
                raise LostError(f"{len(selector.get_map())} of {len(crowd)} clients did not come to the end")


def digests_of(path: Path) -> Digests:
    """Give what the books of a file end in."""
    return {key: book.digest() for key, book in mbo.read_dbn(path).books().items()}


def check(gateway: GatewayProcess, applied: int, books: Books, expected: Digests, clients: int) -> None:
    """Raise LostError where a record is missing, InternalError where a book is another."""
    if applied != gateway.records or gateway.sent != clients * gateway.records:
        raise LostError(f"{gateway.sent:,} records were sent to {clients} clients, {applied:,} applied by one of them")
    if {key: book.digest() for key, book in books.items()} != expected:
        raise InternalError("a book that came over TCP differs from the file's")
