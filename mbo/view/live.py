"""Live: a gateway followed for the screen, with books of its own beside the feed's, all watched symbols with their history."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mbo.errors import RequestError, SymbolError
from mbo.live.feed import Feed
from mbo.records import Action, Flag, RecordArray
from mbo.selection import book_keys
from mbo.view.history import History
from mbo.view.index import FINEST_NS
from mbo.view.stage import Key, Stage
from mbo.view.ticks import infer

if TYPE_CHECKING:
    from types import TracebackType

    from mbo.book import Books

_OPTIONS: Final = {
    "snapshot": True,
    "ts_out": True,
    "heartbeat_s": 5,
}  # its sending times are what latency is measured from
_WAITING: Final = 1 << 21  # records that may wait for the screen: 117 MB, four seconds at half a million a second
_WATCHED: Final = 64  # books with a history, the first to come


class Live:
    """Follows a gateway; `turn` has to be called again and again, by one thread, and takes in what has come.

    The feed's thread only hands its batches over. If nobody takes them, it is not held up: what waits is let go, counted in
    `skipped`, and the books begin anew from the feed's own.
    """

    def __init__(self, url: str, symbols: str | int | Iterable[str | int] = "ALL_SYMBOLS", **options: Any) -> None:
        self.url = url
        self.stage = Stage()
        self.skipped = 0
        self.begun = 0
        """How often the histories began anew: at the start, and whenever something was skipped or a finer price came."""
        self._batches: deque[RecordArray] = deque()
        self._waiting = 0
        self._overrun = False
        self._lock = threading.Lock()
        self._rest: RecordArray | None = None  # of an event that is not over
        self.feed = Feed(url, symbols, tap=self._tap, **(_OPTIONS | options))
        self._rates: deque[tuple[float, int]] = deque(maxlen=120)

    def start(self) -> Self:
        """Connect; raises what `Feed.start` raises."""
        self.feed.start()
        return self

    def close(self) -> None:
        """End the connection; what was seen stays."""
        self.feed.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def symbols(self) -> list[str]:
        """The symbols with a history, in the order of their coming."""
        return [self.name_of(key) for key in self.stage.histories]

    def key_of(self, symbol: str | None = None) -> Key:
        """Find the book of a symbol, by default the first; `SymbolError` where nothing of it has come."""
        for key in self.stage.histories:
            if symbol is None or self.name_of(key) == symbol:
                return key
        raise SymbolError(f"nothing has come of {symbol}" if symbol else "nothing has come yet")

    @property
    def rate(self) -> float:
        """Records a second over the last seconds."""
        if len(self._rates) < 2:
            return 0.0
        (begin, first), (end, last) = self._rates[0], self._rates[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    # ------------------------------------------------------------ the feed's thread

    def _tap(self, records: RecordArray) -> None:
        with self._lock:
            if self._waiting + len(records) > _WAITING:
                self.skipped += self._waiting + len(records)
                self._batches.clear()
                self._waiting, self._overrun = 0, True
                return
            self._batches.append(records.copy())
            self._waiting += len(records)

    # ------------------------------------------------------------ the screen's thread

    def turn(self) -> dict[Key, RecordArray]:
        """Take in what has come; gives the records of whole events that were applied."""
        with self._lock:
            batches, self._batches = list(self._batches), deque()
            self._waiting, overrun, self._overrun = 0, self._overrun, False
        now = time.monotonic()
        if not self._rates or now - self._rates[-1][0] > 0.1:
            self._rates.append((now, self.feed.status.applied))
        if overrun:
            self._begin_anew()
            return {}
        if self._rest is not None:
            batches.insert(0, self._rest)
        if not batches:
            return {}
        records = np.concatenate(batches)
        ends = np.flatnonzero(records["flags"] & int(Flag.LAST))
        whole = int(ends[-1]) + 1 if len(ends) else 0
        self._rest = records[whole:] if whole < len(records) else None
        if self._rest is not None and len(self._rest) > _WAITING:
            raise RequestError(
                f"{len(self._rest):,} records came without the end of an event: these are no books to draw"
            )
        records = records[:whole]
        self._watch(records)
        self.stage.apply(records)
        return {key: self.stage.own(key, records) for key in self.stage.histories}

    def _watch(self, records: RecordArray) -> None:
        """Give every book that is new a history, and every one whose prices need a finer axis another."""
        if not len(records):
            return
        books = book_keys(records)
        alone = bool((books == books[0]).all())
        for number in [int(books[0])] if alone else np.unique(books).tolist():
            key = (number >> 32, number & 0xFFFFFFFF)
            own = records if alone else records[books == number]
            prices = own["price"][np.isin(own["action"], (Action.ADD, Action.MODIFY))]
            known = self.stage.histories.get(key)
            if known is not None:
                step = known.ticks.size
                if len(prices) == 0 or (prices % step == known.ticks.offset).all():
                    continue
                prices = np.concatenate([prices, [known.ticks.offset, known.ticks.offset + step]])
                self.begun += 1
            elif len(self.stage.histories) >= _WATCHED or not len(prices):
                continue
            self.stage.watch(key, History(infer(prices), self._begin(records), FINEST_NS))

    def _begin(self, records: RecordArray) -> int:
        """Give the beginning of all histories: the first record that is no part of a snapshot, for those may be of long before."""
        for history in self.stage.histories.values():
            return history.begin_ns
        own = records[records["flags"] & int(Flag.SNAPSHOT) == 0]
        return int((own if len(own) else records[-1:])["ts_recv"][0])

    def _begin_anew(self) -> None:
        """Take the feed's books after something was skipped."""
        stage = Stage()
        stage.books = self.feed.ask(self._copied)
        stage.latest = self.stage.latest
        for key, history in self.stage.histories.items():
            stage.watch(key, history)
        self.stage, self._rest = stage, None
        self.begun += 1

    def _copied(self, books: Books) -> Books:
        """Copy the feed's books on its own thread, so that what comes afterwards, and only that, waits."""
        with self._lock:
            self._batches.clear()
            self._waiting = 0
        return copy.deepcopy(books)

    def name_of(self, key: Key) -> str:
        """Give a book's symbol."""
        return self.feed.symbols.symbol(key[1])
