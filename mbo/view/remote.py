"""Remote: the books of an `mbo serve` elsewhere on the screen, levels only, as often as its stream sends them.

The stream has no records. So queues are empty, there are no trades and no order flow, and a column of the heatmap shows the last
book that was sent in it. Everything else is drawn as of a gateway's books.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from mbo.book.interface import Anomaly, L3Book, Status
from mbo.book.rows import ORDER_DTYPE
from mbo.errors import InternalError, MboError, RequestError
from mbo.live.latency import Latency
from mbo.live.status import FeedStatus
from mbo.records import MBO_DTYPE, RecordArray, Side
from mbo.units import UNDEF_TIMESTAMP
from mbo.view.history import History
from mbo.view.index import FINEST_NS
from mbo.view.live import Live
from mbo.view.scene import LEVELS
from mbo.view.stage import Key, Stage
from mbo.view.ticks import infer

if TYPE_CHECKING:
    from mbo.api.client import Client
    from mbo.api.following import FollowedBook
    from mbo.book import Books
    from mbo.book.rows import Order
    from mbo.live.feed import Feed

_WATCHED: Final = 64  # as many as one stream may have
_CLOSE_S: Final = 15.0
_NO_RECORDS: Final = np.zeros(0, MBO_DTYPE)


class LevelBook(L3Book):
    """The levels of a book as they were sent: a book without orders, which takes no records."""

    def __init__(self, sent: FollowedBook) -> None:
        self.symbol = sent.symbol
        self._sides = {Side.BID: sent.levels("bid").array, Side.ASK: sent.levels("ask").array}
        self._status = Status(
            sent.publisher_id, sent.instrument_id, sent.position.ts_event, sent.position.ts_recv, sent.position.sequence, 0,
            sent.valid, sent.synced, sent.suspect, True, sent.position.messages, sent.position.events,
            sum(int(levels["count"].sum()) for levels in self._sides.values()),
        )  # fmt: skip

    @property
    def key(self) -> Key:
        """Which book it is."""
        return self._status.publisher_id, self._status.instrument_id

    @property
    def time_ns(self) -> int:
        """When its last record was received, or where that is not known, when it happened."""
        known = self._status.ts_recv != UNDEF_TIMESTAMP
        return self._status.ts_recv if known else self._status.ts_event

    @property
    def prices(self) -> npt.NDArray[np.int64]:
        """The prices of all levels."""
        return np.concatenate([levels["price"] for levels in self._sides.values()])

    def apply(self, records: RecordArray) -> None:
        """Refuse records."""
        raise RequestError("a book of which only the levels are known takes no records")

    @property
    def status(self) -> Status:
        """Where the book stood; `orders` counts those of the levels that were sent."""
        return self._status

    @property
    def anomalies(self) -> dict[str, Anomaly]:
        """Nothing: they are not sent."""
        return {}

    def depth(self, side: Any) -> int:
        """Count the levels of a side that were sent."""
        return len(self._sides[Side.BID if side in (Side.BID, "bid", "B") else Side.ASK])

    def check(self) -> None:
        """Check that levels are best first."""
        for side, levels in self._sides.items():
            steps = np.diff(levels["price"]) * (-1 if side == Side.BID else 1)
            if (steps <= 0).any():
                raise InternalError(f"{self.symbol}: the {side.name.lower()} levels are not best first")

    def _order(self, order_id: int) -> Order | None:
        return None

    def _levels(self, side: Side, stop: int) -> npt.NDArray[Any]:
        return self._sides[side][:stop]

    def _orders(self, side: Side, start: int, stop: int) -> npt.NDArray[Any]:
        return np.zeros(0, ORDER_DTYPE)


class _Stream:
    """What the screen asks of a feed (`mbo.live.feed.Feed`), of an API's stream; followed from a thread of its own."""

    dataset = None

    def __init__(self, client: Client, symbols: Iterable[str]) -> None:
        self._client = client
        self._symbols = tuple(symbols)
        self._followed: dict[str, FollowedBook] = {}
        self._changed: dict[str, LevelBook] = {}
        self._lock = threading.Lock()
        self._error: MboError | None = None
        self.latency = Latency()  # of which nothing is sent
        self._thread = threading.Thread(target=self._run, name="mbo-remote", daemon=True)

    def start(self) -> None:
        if not self._symbols:
            self._symbols = tuple(one["symbol"] for one in self._client.instruments()[:_WATCHED])
        if not self._symbols:
            raise RequestError(f"{self._client.url} has no instruments yet")
        self._thread.start()

    def close(self) -> None:
        self._client.close()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            for book in self._client.stream(self._symbols, depth=LEVELS + 1):  # one more says that there are more
                with self._lock:
                    self._followed[book.symbol], self._changed[book.symbol] = book, LevelBook(book)
        except MboError as error:
            self._error = error

    def take(self) -> list[LevelBook]:
        """Give the books that have changed since the last time, as they were sent last."""
        with self._lock:
            changed, self._changed = self._changed, {}
        return list(changed.values())

    @property
    def stale(self) -> bool:
        return not self._followed or any(book.stale for book in list(self._followed.values()))

    @property
    def status(self) -> FeedStatus:
        stale = self.stale
        applied = sum(book.position.messages for book in list(self._followed.values()))
        return FeedStatus(applied, 0, 1, not stale, stale, False, 0, None, 0, ())

    def wait(self, timeout_s: float | None = None) -> Self:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"{self._client!r} is still followed")
        if self._error is not None:
            raise self._error
        return self


class Remote(Live):
    """Follows the books of an API, by default all of its instruments; `Broadcast` shows it as it shows a gateway.

    >>> Broadcast(Remote(mbo.api.Client("http://127.0.0.1:8000")).start())  # doctest: +SKIP
    """

    def __init__(self, client: Client, symbols: Iterable[str] = ()) -> None:
        self.url = f"{client.url} (levels only)"
        self.stage = Stage()
        self.skipped = self.begun = 0
        self._stream = _Stream(client, symbols)
        self.feed = cast("Feed", self._stream)
        self._books: dict[Key, LevelBook] = {}
        self.stage.books = cast("Books", self._books)
        self._rates: deque[tuple[float, int]] = deque(maxlen=120)

    def turn(self) -> dict[Key, RecordArray]:
        """Take in what has come; the books that it gives have no records."""
        now = time.monotonic()
        if not self._rates or now - self._rates[-1][0] > 0.1:
            self._rates.append((now, self._stream.status.applied))
        changed = self._stream.take()
        for book in changed:
            self._books[book.key] = book
            self.stage.latest = max(self.stage.latest, book.time_ns)
        for book in changed:
            self._watch_levels(book)
            history = self.stage.histories.get(book.key)
            if history is not None:
                history.capture(history.number_of(self.stage.latest), cast("Any", book))
        return {book.key: _NO_RECORDS for book in changed if book.key in self.stage.histories}

    def _watch_levels(self, book: LevelBook) -> None:
        """Give a book that is new a history, and one whose prices need a finer axis another."""
        prices, known = book.prices, self.stage.histories.get(book.key)
        if not len(prices):
            return
        if known is not None:
            if (prices % known.ticks.size == known.ticks.offset).all():
                return
            prices = np.concatenate([prices, [known.ticks.offset, known.ticks.offset + known.ticks.size]])
            self.begun += 1
        begin = next((history.begin_ns for history in self.stage.histories.values()), self.stage.latest)
        self.stage.watch(book.key, History(infer(prices), begin, FINEST_NS))

    def name_of(self, key: Key) -> str:
        """Give a book's symbol."""
        return self._books[key].symbol
