"""Where the API has its books from: a feed that is looked at, one question for all who want something of it.

The feed's thread has records to apply. So a look copies levels and nothing else: documents are made from the copies, elsewhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from mbo.book import Book, Books
from mbo.book.engine import Key
from mbo.book.interface import Anomaly, Status
from mbo.errors import LostError, MboError, RefusedError, SymbolError
from mbo.live.feed import Feed
from mbo.live.status import FeedStatus
from mbo.records import MBO_DTYPE, RTYPE_MBO, Action, Flag, RecordArray, Side
from mbo.symbols import SymbolMap

log: Final = logging.getLogger("mbo.api")

Levels = npt.NDArray[Any]
"""Levels of a side, `LEVEL_DTYPE`, best first."""
FOREVER_S: Final = 1e9
_ASK_S: Final = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Want(NamedTuple):
    """What somebody wants to see of a book: so many levels a side (None is all), its orders, its digest, one order's place."""

    depth: int | None = 10
    orders: bool = False
    digest: bool = False
    order_id: int | None = None


class View(NamedTuple):
    """A book as it stood between two events; `read_ns` is the time (ns UTC) at which it was looked at."""

    symbol: str
    status: Status
    crossed: bool
    bids: Levels
    asks: Levels
    depths: tuple[int, int]
    """How many levels each side has, shown or not."""
    anomalies: dict[str, Anomaly]
    read_ns: int
    digest: str | None = None
    orders: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
    order: Any = None

    def first(self, depth: int | None) -> View:
        """Show no more than `depth` levels a side."""
        if depth is None or depth >= max(len(self.bids), len(self.asks)):
            return self
        return self._replace(bids=self.bids[:depth], asks=self.asks[:depth])


class Instrument(NamedTuple):
    """An instrument that the source has told of, and the book of it, where there is one yet."""

    symbol: str
    instrument_id: int
    status: Status | None


class Source(Protocol):
    """What the API asks of whatever has the books. `batches` grows whenever a book may have changed."""

    batches: int

    @property
    def stale(self) -> bool:
        """Whether the books may be behind the exchange's."""

    @property
    def trouble(self) -> str | None:
        """What keeps the source from its stream."""

    @property
    def status(self) -> FeedStatus | None:
        """How the stream stands; None before there was one."""

    def look(self, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        """Look at books, all at the same instant; may wait, and raises `LostError` where there is nothing to look at."""

    def instruments(self) -> list[Instrument]:
        """List the instruments."""

    def renew(self) -> None:
        """Follow the stream again, where it had ended."""


def view_of(book: Book, want: Want) -> View:
    """Copy of a book what is wanted."""
    orders = order = None
    if want.orders:
        orders = book.orders(Side.BID).array, book.orders(Side.ASK).array
    if want.order_id is not None:
        order = book.order(want.order_id)
    return View(
        book.symbol, book.status, book.crossed, book.levels(Side.BID, want.depth).array, book.levels(Side.ASK, want.depth).array,
        (book.depth(Side.BID), book.depth(Side.ASK)), book.anomalies, time.time_ns(), book.digest() if want.digest else None,
        orders, order,
    )  # fmt: skip


def warm_up() -> None:
    """Load the kernels that look at books: the feed's thread should not wait for them at the first look."""
    order = np.zeros(1, MBO_DTYPE)
    order["length"], order["rtype"], order["size"], order["flags"] = (
        MBO_DTYPE.itemsize // 4,
        RTYPE_MBO,
        1,
        int(Flag.LAST),
    )
    order["action"], order["side"], order["price"], order["order_id"] = Action.ADD, Side.BID, 1, 1
    book = Book()
    book.apply(order)
    view_of(book, Want(1, orders=True, digest=True, order_id=1))


class _Places:
    """Which book a symbol means, remembered until there are other books or names."""

    def __init__(self) -> None:
        self._known: dict[str, Key] = {}
        self._of: tuple[Books, int, SymbolMap] | None = None

    def find(self, books: Books, symbol: str) -> Book:
        of = self._of
        if of is None or of[0] is not books or of[1] != len(books) or of[2] is not books.symbols:
            self._of, self._known = (books, len(books), books.symbols), {}
        if symbol not in self._known:
            status = books.book(symbol).status
            self._known[symbol] = (status.publisher_id, status.instrument_id)
        return books[self._known[symbol]]


class LiveSource:
    """Follows a gateway, whatever happens to it; `start` returns at once, whether there is one or not.

    `tap` is called with every batch on the feed's thread, before it counts here. `options` are those of `mbo.live.feed.Feed`.
    A feed that fails is followed by another, which begins with a snapshot; until that has come the last books are served, and
    are stale.
    """

    def __init__(
        self,
        url: str,
        symbols: str | Iterable[str] = "ALL_SYMBOLS",
        *,
        tap: Callable[[RecordArray], object] | None = None,
        **options: Any,
    ) -> None:
        self.batches = 0
        self._tap = tap
        self._places = _Places()
        self._trouble: str | None = "not connected yet"
        self._feed: Feed | None = None
        self._closing = threading.Event()
        self._again = threading.Event()
        options = {"reconnect_s": FOREVER_S} | options
        self._make: Callable[[], Feed] = lambda: Feed(url, symbols, tap=self._note, **options)
        self._make().close()  # what cannot be asked for is said now
        self._thread = threading.Thread(target=self._run, name="mbo-source", daemon=True)

    def start(self) -> Self:
        """Follow from now on, from a thread of its own."""
        self._thread.start()
        return self

    def close(self) -> None:
        """End the connection; the books stay as they are."""
        self._closing.set()
        self._again.set()
        if self._feed is not None:
            self._feed.close()
        if self._thread.is_alive():
            self._thread.join(30)

    def __enter__(self) -> Self:
        return self if self._thread.is_alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def feed(self) -> Feed | None:
        """The feed that has the books; None before there is one."""
        return self._feed

    @property
    def stale(self) -> bool:
        """Whether the books may be behind the exchange's."""
        return self._feed is None or self._feed.stale

    @property
    def trouble(self) -> str | None:
        """What keeps it from its stream."""
        return self._trouble if self._trouble is not None else "the connection is lost" if self.stale else None

    @property
    def status(self) -> FeedStatus | None:
        """How the feed stands."""
        return None if self._feed is None else self._feed.status

    def look(self, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        """Look at books with one question; see `Source`."""
        if self._feed is None:
            raise LostError(f"there are no books yet: {self._trouble}")
        return self._feed.ask(lambda books: self._look(books, wants), _ASK_S)

    def instruments(self) -> list[Instrument]:
        """List the instruments that the gateway has told of, and those that have books."""
        if self._feed is None:
            raise LostError(f"there are no books yet: {self._trouble}")
        return self._feed.ask(_instruments, _ASK_S)

    def renew(self) -> None:
        """Follow the stream again, where it had ended."""
        if self._feed is not None and self._feed.status.ended:
            self._again.set()

    # ------------------------------------------------------------ the feed's thread

    def _note(self, records: RecordArray) -> None:
        if self._tap is not None:
            self._tap(records)
        self.batches += 1

    def _look(self, books: Books, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        found: dict[str, View | MboError] = {}
        for symbol, want in wants.items():
            try:
                found[symbol] = view_of(self._places.find(books, symbol), want)
            except MboError as error:
                found[symbol] = error
        return found

    # ------------------------------------------------------------ a thread that follows

    def _run(self) -> None:
        warm_up()
        pause = _FIRST_PAUSE_S
        while not self._closing.is_set():
            feed = self._make()
            try:
                feed.start()
                if self._closing.is_set():
                    feed.close()
                    return
                last, self._feed, self._trouble, pause = self._feed, feed, None, _FIRST_PAUSE_S
                self.batches += 1
                if last is not None:
                    last.close()
                feed.wait()
                self.batches += 1
                self._again.wait()
                self._again.clear()
            except MboError as error:
                self._trouble = str(error)
                if feed is not self._feed:
                    feed.close()
                if not self._closing.is_set():
                    say = log.warning if isinstance(error, LostError | RefusedError | SymbolError) else log.error
                    say("there is no feed: %s; trying again in %.1f s", error, pause)
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)


def _instruments(books: Books) -> list[Instrument]:
    having = [Instrument(book.symbol, book.status.instrument_id, book.status) for book in books.values()]
    known = {one.instrument_id for one in having}
    named = {mapping.instrument_id: mapping.symbol for mapping in books.symbols if mapping.instrument_id not in known}
    return [*having, *(Instrument(symbol, number, None) for number, symbol in named.items())]
