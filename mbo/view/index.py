"""Index: a book's records gone through once, so that any instant of them is there at once, with all that came before it."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError, SymbolError
from mbo.live.source import Source
from mbo.records import Action, Flag, RecordArray
from mbo.selection import book_keys
from mbo.view.history import CAPACITY, History
from mbo.view.stage import Key, Stage
from mbo.view.ticks import Ticks, infer

if TYPE_CHECKING:
    from mbo.book import Books
    from mbo.book.interface import EqualSize
    from mbo.replay import Records

log: Final = logging.getLogger("mbo.view")

FINEST_NS: Final = 250_000_000
"""A column's least duration."""
_CHECKPOINT: Final = 1 << 16  # records between two at first
_CHECKPOINTS_BYTES: Final = 1 << 28
_STEP: Final = 1 << 16
_SAMPLE: Final = 1 << 20  # records whose prices say what the tick is


class Kept(NamedTuple):
    """A book kept on the way: how many records it has seen, what restores it, and what that does not: counters and trust."""

    place: int
    records: RecordArray
    events: int
    anomalies: dict[str, int]
    synced: bool
    suspect: bool


class Index:
    """The records of one book, all of `day`, their history, and books kept on the way; made by a thread that `start` begins.

    `reached` says up to which record (an event's end) it has come: nothing beyond is there yet. All who look at a book share it.
    """

    def __init__(
        self,
        day: Records,
        symbol: str = "",
        *,
        ticks: Ticks | None = None,
        equal_size: EqualSize = "venue",
    ) -> None:
        self.source = Source(day)
        self.records: RecordArray = self.source.records
        self.key = _only_key(self.records)
        self.symbol = symbol or day.symbol_map.symbol(self.key[1], self.source.time_of(0))
        self.equal_size = equal_size
        self.ticks = ticks if ticks is not None else infer(_prices(self.records))
        self.begin_ns = self.source.time_of(_first_own(self.records))
        self.end_ns = max(self.begin_ns, self.source.time_of(len(self.records) - 1))
        column_ns = max(FINEST_NS, -(-(self.end_ns - self.begin_ns + 1) // CAPACITY))
        self.history = History(self.ticks, self.begin_ns, column_ns, trades=1 << 40)
        self.reached = 0
        self.error: Exception | None = None
        self._stage = Stage(equal_size=equal_size)
        self._stage.watch(self.key, self.history)
        self._kept = [Kept(0, self.records[:0], 0, {}, synced=False, suspect=False)]
        self._kept_bytes, self._spacing = 0, _CHECKPOINT
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mbo-index", daemon=True)

    def start(self) -> Index:
        """Begin to go through the records."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop; what is there stays."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def wait(self, timeout_s: float = 600.0) -> Index:
        """Wait until all records are gone through; `TimeoutError` where that takes longer."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"{len(self.records):,} records were not gone through within {timeout_s:g} s")
        if self.error is not None:
            raise self.error
        return self

    @property
    def done(self) -> bool:
        """Whether all records are gone through."""
        return self.reached == len(self.records)

    @property
    def icebergs(self) -> dict[int, int]:
        """By order id, how many records had come when an order proved to be an iceberg."""
        return self._stage.icebergs[self.key]

    def place_of(self, time_ns: int) -> int:
        """Give how many records make up the book at an instant: all up to the last event that ended then, as far as is reached.

        The rule is that of `Records.book(at=)`.
        """
        place = min(self.source.first_reaching(time_ns + 1), self.reached)
        return self.event_end(place)

    def event_end(self, place: int) -> int:
        """Give the number of records up to the last event's end at or before `place`."""
        while place > 0:
            begin = max(0, place - 4096)
            ends = np.flatnonzero(self.records["flags"][begin:place] & int(Flag.LAST))
            if len(ends):
                return begin + int(ends[-1]) + 1
            place = begin
        return 0

    def event_after(self, place: int) -> int:
        """Give the number of records up to the first event's end after `place`; `place` itself where none is reached."""
        begin = place
        while begin < self.reached:
            end = min(begin + 4096, self.reached)
            ends = np.flatnonzero(self.records["flags"][begin:end] & int(Flag.LAST))
            if len(ends):
                return begin + int(ends[0]) + 1
            begin = end
        return place

    def checkpoint(self, place: int) -> Kept:
        """Give the last book kept at or before `place`."""
        kept = self._kept  # another list takes its place when one more is kept
        return kept[bisect_right(kept, place, key=lambda one: one.place) - 1]

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._go_through()
        except Exception as error:
            self.error = error
            log.exception("the records of %s cannot be gone through", self.symbol)

    def _go_through(self) -> None:
        place, total = 0, len(self.records)
        next_kept = self._spacing
        while place < total and not self._closing.is_set():
            end = min(place + _STEP, total)
            whole = self.event_end(end) if end < total else total
            if whole <= place:  # one event of more records than a step
                whole = self._long_event(end)
            self._stage.apply(self.records[place:whole])
            self.reached = place = whole
            if place >= next_kept:
                self._keep(place, self._stage.books)
                next_kept = place + self._spacing

    def _long_event(self, place: int) -> int:
        while place < len(self.records):
            ends = np.flatnonzero(self.records["flags"][place : place + _STEP] & int(Flag.LAST))
            if len(ends):
                return place + int(ends[0]) + 1
            place += _STEP
        return len(self.records)

    def _keep(self, place: int, books: Books) -> None:
        """Keep the book; where that has come to too much memory, every second one, and from then on at twice the distance."""
        book = books[self.key]
        status, anomalies = book.status, {rule: anomaly.count for rule, anomaly in book.anomalies.items()}
        kept = Kept(place, book.snapshot(), status.events, anomalies, status.synced, status.suspect)
        self._kept = [*self._kept, kept]
        self._kept_bytes += kept.records.nbytes
        while self._kept_bytes > _CHECKPOINTS_BYTES and len(self._kept) > 2:
            self._kept = self._kept[::2]
            self._kept_bytes = sum(one.records.nbytes for one in self._kept)
            self._spacing *= 2


def _only_key(records: RecordArray) -> Key:
    key = int(book_keys(records[:1])[0])
    for begin in range(0, len(records), 1 << 20):
        keys = book_keys(records[begin : begin + (1 << 20)])
        if (keys != key).any():
            raise SymbolError("these are records of several books: choose one instrument and publisher")
    return key >> 32, key & 0xFFFFFFFF


def _prices(records: RecordArray) -> npt.NDArray[Any]:
    """Give the prices of orders, of a sample from the beginning, the middle and the end where there are very many."""
    if len(records) > 3 * _SAMPLE:
        middle = len(records) // 2
        records = np.concatenate([records[:_SAMPLE], records[middle : middle + _SAMPLE], records[-_SAMPLE:]])
    prices: npt.NDArray[Any] = records["price"][np.isin(records["action"], (Action.ADD, Action.MODIFY))]
    return prices


def _first_own(records: RecordArray) -> int:
    """Find the first record that is no part of a snapshot, whose time may be of long before; 0 where there is none."""
    for begin in range(0, len(records), _STEP):
        own = records["flags"][begin : begin + _STEP] & int(Flag.SNAPSHOT) == 0
        if own.any():
            return begin + int(own.argmax())
    if not len(records):
        raise RequestError("there are no records")
    return 0
