"""A book that is kept from the stream's messages, without a socket: what a client does with what it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlencode

import numpy as np

from mbo.api import frames
from mbo.api.frames import Format, Message, Position
from mbo.book.rows import LEVEL_DTYPE, Levels
from mbo.errors import LostError, ProtocolError, RefusedError, RequestError

NO_KEY: Final = 4401
_NOTHING: Final = np.empty(0, LEVEL_DTYPE)


class FollowedBook:
    """The best levels of a book, as the server's last message left them."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.seq = 0
        self.position = Position(0, 0, 0, 0, 0)
        self.instrument_id = self.publisher_id = 0
        self.valid = self.synced = self.suspect = self.crossed = False
        self.stale = True
        self.updates = self.snapshots = 0
        """How many messages of each kind were applied."""
        self._bids = self._asks = _NOTHING

    def levels(self, side: Literal["bid", "ask"]) -> Levels:
        """Give the levels of a side, best first."""
        return Levels((self._bids if side == "bid" else self._asks).copy())

    @property
    def checksum(self) -> int:
        """The CRC-32 of the levels."""
        return frames.checksum(self._bids, self._asks)

    def apply(self, message: Message) -> None:
        """Apply a message; `ProtocolError` where it does not follow on the last one, or leads to other levels than the server's."""
        if message.prev and message.prev != self.seq:
            raise ProtocolError(
                f"{self.symbol}: message {message.seq} follows on {message.prev}, and {self.seq} was the last"
            )
        if message.prev:
            bids = frames.apply(self._bids, message.bids, descending=True)
            asks = frames.apply(self._asks, message.asks, descending=False)
        else:
            bids, asks = message.bids, message.asks
        if frames.checksum(bids, asks) != message.checksum:
            raise ProtocolError(f"{self.symbol}: message {message.seq} leads to other levels than the server has")
        self._bids, self._asks, self.seq, self.position = bids, asks, message.seq, message.position
        self.instrument_id, self.publisher_id = message.instrument_id, message.publisher_id
        self.valid, self.synced, self.suspect = message.valid, message.synced, message.suspect
        self.crossed, self.stale = message.crossed, message.stale
        self.updates += message.prev > 0
        self.snapshots += message.prev == 0

    def __repr__(self) -> str:
        return f"<FollowedBook {self.symbol} {len(self._bids)} x {len(self._asks)} levels{', stale' if self.stale else ''}>"


class Following:
    """The books of one subscription, over any number of connections."""

    def __init__(
        self, symbols: str | Iterable[str], *, depth: int | None, hz: float | None, form: Format, since: int | None
    ) -> None:
        self.symbols = (symbols,) if isinstance(symbols, str) else tuple(symbols)
        self.books: dict[str, FollowedBook] = {}
        self.since = since
        """The last message that was applied, of whichever book."""
        self._query: dict[str, Any] = {"symbols": ",".join(self.symbols), "depth": depth, "hz": hz, "format": form}

    def path(self) -> str:
        """Say what to ask the server for, so that it goes on behind what has come."""
        query = {**self._query, "since": self.since}
        return "/v1/stream?" + urlencode({name: value for name, value in query.items() if value is not None})

    def take(self, payload: str | bytes) -> FollowedBook | None:
        """Take a message; gives the book that it changed. `RequestError` where the server knows none of the symbols."""
        message = frames.read(payload)
        if isinstance(message, Message):
            book = self.books.setdefault(message.symbol, FollowedBook(message.symbol))
            book.apply(message)
            self.since = max(self.since or 0, message.seq)
            return book
        self._note(message)
        return None

    def _note(self, message: Mapping[str, Any]) -> None:
        if message.get("type") == "error" and len(self.symbols) == 1:
            raise RequestError(str(message.get("detail")))
        if message.get("type") == "heartbeat" and message.get("stale"):
            for book in self.books.values():
                book.stale = True

    def lost(self, *, forget: bool = False) -> None:
        """Note that the connection is lost: until it is back all is stale. With `forget`, begin again with snapshots."""
        for book in self.books.values():
            book.stale = True
        if forget:
            self.since = None


def ended(code: int | None, reason: str, status: int | None = None) -> Exception:
    """Say why a stream ended, as the error that fits: a `LostError` may be tried again."""
    if status in (401, 403) or code == NO_KEY:
        return RefusedError(reason or "the server wants another key")
    if status is not None and 400 <= status < 500 and status != 429:
        return RequestError(reason or f"the server answers {status}")
    return LostError(f"the stream ended: {reason or code or status}")
