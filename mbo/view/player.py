"""Player: a place in a book's records that moves with a clock, by events, or to any instant."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mbo.book import Books
from mbo.errors import RequestError
from mbo.units import NS_PER_S
from mbo.view.index import Index, Kept

if TYPE_CHECKING:
    from mbo.book import Book
    from mbo.records import RecordArray

FASTEST: Final = 0.0
"""The speed "as fast as it goes"."""
SPEEDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1000.0, FASTEST)
_AT_ONCE: Final = 1 << 17  # records in one turn: some 10 ms of work


class Player:
    """One viewer's place in an `Index`: `place` records are applied to `book`, `now_ns` is the time shown.

    `turn` has to be called again and again while it plays; the rest answers at once. Nothing beyond what the index has reached is
    shown. `clock` gives seconds.
    """

    def __init__(self, index: Index, *, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.index = index
        self.playing = False
        self.place = 0
        self.now_ns = index.begin_ns
        self._clock = clock
        self._last = clock()
        self.speed = speed
        self._sought: int | None = None
        self._book: Book | None = None
        self._from: Kept
        self._own_events: int
        self._restore(index.checkpoint(0))

    @property
    def speed(self) -> float:
        """How many seconds of the recording pass in one; 0 is as fast as it goes."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        if not 0 <= value <= 100_000:
            raise RequestError(f"speed={value!r}: it is 0 (as fast as it goes) to 100,000")
        self._speed = float(value)

    @property
    def book(self) -> Book | None:
        """The book at this place; None before its first record."""
        if self._book is None:
            self._book = self._books.get(self.index.key)
        return self._book

    @property
    def events(self) -> int:
        """How many events have ended up to here."""
        book = self.book
        return self._from.events + (0 if book is None else book.status.events - self._own_events)

    @property
    def anomalies(self) -> dict[str, int]:
        """How often each rule was broken up to here."""
        own, before = _counts(self.book), self._from.anomalies
        counts = {
            rule: before.get(rule, 0) + own.get(rule, 0) - self._own_anomalies.get(rule, 0) for rule in before | own
        }
        return {rule: count for rule, count in counts.items() if count}

    @property
    def synced(self) -> bool:
        """Whether the book saw a clear or a snapshot of the venue's."""
        return self.book is not None and (
            self.book.synced if self._from.synced or not self._own_events else not self.book.status.suspect
        )

    @property
    def suspect(self) -> bool:
        """Whether the venue's channel had a gap since the last clear or snapshot."""
        if self.book is None or not self.book.status.suspect:
            return False
        return self._from.synced or self._from.suspect or not self._own_events

    @property
    def ended(self) -> bool:
        """Whether the last record has been shown."""
        return self.place == len(self.index.records)

    # ------------------------------------------------------------ moving

    def play(self) -> None:
        """Go on from here, or from the beginning where this is the end."""
        if self.ended:
            self.seek(self.index.begin_ns)
        self.playing = True
        self._last = self._clock()

    def wake(self) -> None:
        """Take no notice of the time since the last turn, in which nobody looked."""
        self._last = self._clock()

    def pause(self) -> None:
        """Stay here."""
        self.playing = False

    def turn(self) -> RecordArray:
        """Move on to where the clock says, at most some 10 ms of work; gives the records that were applied."""
        now = self._clock()
        elapsed, self._last = now - self._last, now
        if self._sought is not None:
            self.seek(self._sought)
        if not self.playing or self._sought is not None:
            return self.index.records[:0]
        index = self.index
        if self.speed == FASTEST:
            target, to = index.event_end(min(self.place + _AT_ONCE, index.reached)), None
        else:
            to = min(self.now_ns + round(elapsed * self.speed * NS_PER_S), index.end_ns)
            target = index.place_of(to)
            if target > self.place + _AT_ONCE:
                target, to = index.event_end(self.place + _AT_ONCE), None
        begin = self.place
        if target > begin:
            self._apply(target)
        elif to is None and index.reached > begin:  # an event of very many records
            self._apply(index.event_after(begin))
        # Where the index is not there yet, the clock waits for it.
        waiting = to is not None and not index.done and self.place == index.reached
        self.now_ns = self._time() if to is None or waiting else to
        if self.ended:
            self.playing = False
        return index.records[begin : self.place]

    def step(self, events: int) -> RecordArray:
        """Move on by so many events, back if below 0, and stay there; gives the records that were applied anew."""
        self.pause()
        self._sought = None
        begin = self.place
        if events >= 0:
            for _ in range(events):
                end = self.index.event_after(self.place)
                self._apply(end)
        else:
            target = begin
            for _ in range(-events):
                target = self.index.event_end(target - 1)
            self._go_to(target)
        self.now_ns = self._time()
        return self.index.records[begin : self.place]

    def seek(self, time_ns: int) -> None:
        """Go to an instant: the book is that of `Records.book(at=)`; outside the data its first or last one.

        Where the index has not come so far, the book follows it there, turn by turn.
        """
        time_ns = max(self.index.begin_ns, min(time_ns, self.index.end_ns))
        reached = self.index.reached
        self._go_to(self.index.place_of(time_ns))
        self._sought = None if self.index.source.first_reaching(time_ns + 1) <= reached else time_ns
        self.now_ns = time_ns
        self._last = self._clock()

    def _go_to(self, target: int) -> None:
        kept = self.index.checkpoint(target)
        if not kept.place <= self.place <= target:
            self._restore(kept)
        self._apply(target)

    def _restore(self, kept: Kept) -> None:
        self._books = Books(equal_size=self.index.equal_size)
        self._book = None
        self._books.apply(kept.records)
        self._from, self.place = kept, kept.place
        self._own_events = self.book.status.events if self.book is not None else 0
        self._own_anomalies = _counts(self.book)  # a snapshot of a suspect book says so

    def _apply(self, target: int) -> None:
        self._books.apply(self.index.records[self.place : target], rows=self.place)
        self.place = target

    def _time(self) -> int:
        return (
            max(self.index.begin_ns, self.index.source.time_of(self.place - 1)) if self.place else self.index.begin_ns
        )


def _counts(book: Book | None) -> dict[str, int]:
    return {} if book is None else {rule: anomaly.count for rule, anomaly in book.anomalies.items()}
