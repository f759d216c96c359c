"""A client of a live gateway, ours or Databento's, with the books behind it.

One thread reads and applies, and it alone touches the books: whoever wants something of them asks, and is answered between two
batches. Nothing is queued: what is not yet read stays in the connection, and slows down the gateway.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import numpy as np

from mbo.book import Books
from mbo.book.engine import compile_kernels
from mbo.errors import LostError, MboError, ProtocolError, RefusedError, SymbolError
from mbo.live import protocol
from mbo.live.address import address_of, dataset_for, key_for
from mbo.live.handshake import ClientHandshake
from mbo.live.latency import Latency, warm_up
from mbo.live.link import CONNECT_S, HANDSHAKE_S, Link, readable
from mbo.live.messages import END_OF_REPLAY, ErrorCode, ErrorMessage, SymbolMessage, SystemCode, SystemMessage
from mbo.live.protocol import Subscription
from mbo.live.questions import Questions
from mbo.live.resume import History, Overlap
from mbo.live.status import FeedStatus, Gap
from mbo.live.stream import Arrival, Stream
from mbo.records import Flag, RecordArray
from mbo.symbols import Mapping, SymbolMap
from mbo.units import UNDEF_TIMESTAMP, Time, parse_time

if TYPE_CHECKING:
    from mbo.book import Book
    from mbo.book.interface import EqualSize

log: Final = logging.getLogger("mbo.feed")

RECONNECT_S: Final = 60.0
_GRACE_S: Final = 5.0  # beyond the heartbeat's interval, before a silent gateway counts as lost
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_LOOK_S: Final = 0.5  # how often a silent connection is looked at

_Answer = TypeVar("_Answer")


class _ReseedError(Exception):
    """Records are missing: connect again, for a snapshot."""


class _TapError(Exception):
    """The tap failed: connecting again is of no use."""


class Feed:
    """Follows a gateway and keeps the books of what was subscribed to; use `mbo.connect`, and as a context manager.

    A lost connection is made again, with growing pauses, for up to `reconnect_s` seconds without a word; the stream then goes on
    where it was, with nothing lost or repeated (see `mbo.live.resume`), or else with a counted gap and a fresh snapshot. With
    `after`, all that an earlier feed of this stream applied, it goes on behind that in the same way. `tap` is called on the reading
    thread with every batch after it was applied; it has to be quick, and to copy what it keeps.
    """

    def __init__(
        self,
        url: str,
        symbols: str | int | Iterable[str | int] = protocol.ALL_SYMBOLS,
        *,
        key: str | None = None,
        dataset: str | None = None,
        stype_in: str = "raw_symbol",
        start: Time | None = None,
        snapshot: bool = False,
        ts_out: bool = False,
        compression: str = "none",
        heartbeat_s: int = 30,
        reconnect_s: float = RECONNECT_S,
        strict: bool = False,
        equal_size: EqualSize = "venue",
        after: Iterable[RecordArray] = (),
        tap: Callable[[RecordArray], None] | None = None,
    ) -> None:
        self._address = address_of(url)
        names = (symbols,) if isinstance(symbols, str | int) else tuple(symbols)
        self._subscription = Subscription(
            tuple(map(str, names)), stype_in=stype_in, snapshot=snapshot,
            start=None if start is None else 0 if start == 0 else parse_time(start),
        )  # fmt: skip
        secret, dataset = key_for(self._address[0], key), dataset_for(self._address[0], dataset)
        self._handshake: Callable[[], ClientHandshake] = lambda: ClientHandshake(
            secret, dataset, ts_out=ts_out, compression=compression, heartbeat_interval_s=heartbeat_s
        )
        self._handshake()  # what cannot be sent is said now
        self._compressed = compression == "zstd"
        self._silence_s = heartbeat_s + _GRACE_S
        self._reconnect_s = reconnect_s
        self._after = after
        self._tap = tap
        self.latency = Latency()
        """From when a record was due (see `measure`), or sent (with `ts_out`), to when it was applied; ns."""
        self._books = Books(strict=strict, equal_size=equal_size)
        self._mappings: dict[Mapping, None] = {}
        self._named = True
        self._stream: Stream | None = None
        self._history = History()
        self._overlap: Overlap | None = None
        self._joined = start is None  # perhaps in the middle of a stream
        self._seeding = self._renewing = False
        self._applied = self._dropped = self._connections = self._slow = 0
        self._connected = self._ended = self._reseed = False
        self._let_in = False  # once: a connection that is lost later is made again
        self._gaps: list[Gap] = []
        self._gap_count = 0
        self._unknown: list[str] = []
        self._pace: tuple[int, float] | None = None
        self._between = True  # two events
        self._heard = 0.0
        self._questions = Questions()
        self._ready: Future[None] = Future()
        self._closing = threading.Event()
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ start and end

    def start(self) -> Self:
        """Connect, and read from a thread of its own from then on.

        `LostError` where nobody answers, `RefusedError` where the key or the subscription is refused, `SymbolError` where there is
        none of the symbols, `ProtocolError` where the other side speaks something else.
        """
        compile_kernels()
        warm_up()
        self._catch_up()
        self._thread = threading.Thread(target=self._run, name="mbo-feed", daemon=True)
        self._thread.start()
        try:
            self._ready.result(CONNECT_S + HANDSHAKE_S + 5)
        except TimeoutError:
            self.close()
            raise LostError(f"{self._name} took us in and said nothing more") from None
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the connection; the books stay as they are."""
        self._closing.set()
        self._questions.wake()
        if self._thread is not None:
            self._thread.join(CONNECT_S + HANDSHAKE_S)
        self._questions.close()

    def fail(self, error: Exception) -> None:
        """End the connection because of something that is not the gateway's; `wait` raises it."""
        self._error = error
        self._closing.set()
        self._questions.wake()

    def wait(self, timeout_s: float | None = None) -> Self:
        """Wait until the replay has ended; `TimeoutError` where it has not within `timeout_s`, and the error that ended the feed.

        Without `timeout_s` the wait lasts as long as the gateway gives signs of life.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._done.wait(0.2 if deadline is None else max(0.0, min(0.2, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self!r} has not ended within {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        return self

    def watch(self, every_s: float = 0.1) -> Iterator[int]:
        """Give again and again how many records were applied, until the end; then raise as `wait` does."""
        while not self._done.wait(every_s):
            yield self._applied
        self.wait()

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def __repr__(self) -> str:
        state = "ended" if self._ended else "stale" if self.stale else "live"
        return f"<Feed of {self._name}, {self._applied:,} records, {state}>"

    # ------------------------------------------------------------ what it knows

    @property
    def stale(self) -> bool:
        """Whether a book may be behind the exchange's; see `FeedStatus`."""
        return not self._ended and (not self._connected or self._reseed or self._catching_up)

    @property
    def _catching_up(self) -> bool:
        return self._overlap is not None and not self._overlap.done

    @property
    def symbols(self) -> SymbolMap:
        """Which symbol each instrument id stands for, as far as the gateway has said."""
        return self._books.symbols

    @property
    def dataset(self) -> str | None:
        """Databento's code of what the gateway sends; None before it has said so."""
        metadata = None if self._stream is None else self._stream.metadata
        return None if metadata is None else str(metadata.dataset)

    @property
    def status(self) -> FeedStatus:
        """How it stands now."""
        return FeedStatus(
            self._applied, self._dropped, self._connections, self._connected, self.stale, self._ended, self._gap_count,
            self._gaps[0] if self._gaps else None, self._slow, tuple(self._unknown),
        )  # fmt: skip

    def ask(self, question: Callable[[Books], _Answer], timeout_s: float = 10.0) -> _Answer:
        """Have a function of the books run between two batches, on the reading thread, and give what it returns.

        It has to be quick, and must not keep the books. `TimeoutError` where it had no turn within `timeout_s`.
        """
        if self._done.is_set() or self._thread is None:
            self._name_books()
            return question(self._books)
        answer = self._questions.ask(question)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return answer.result(0.05)
            if self._done.is_set() and not answer.done():  # the thread ended before it saw the question
                return question(self._books)
        answer.cancel()
        raise TimeoutError(f"{self!r} did not answer within {timeout_s:g} s")

    def book(self, symbol: str | int | None = None, timeout_s: float = 10.0) -> Book:
        """Copy the book of a symbol, or the only one, as it stands after the last event that has come."""
        return self.ask(lambda books: copy.copy(books.book(symbol)), timeout_s)

    def books(self, timeout_s: float = 10.0) -> Books:
        """Copy the books of all instruments."""
        return self.ask(copy.deepcopy, timeout_s)

    def measure(self, begin_ns: int, per_s: float) -> None:
        """Measure latency from when records were due: record k at `begin_ns` (monotonic) + k / `per_s`, k counted from 0 here."""
        self._pace = begin_ns, per_s

    # ------------------------------------------------------------ the reading thread

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as raised:
            error = raised.__cause__ if isinstance(raised, _TapError) and raised.__cause__ is not None else raised
            self._error = error
            if not self._ready.done():
                self._ready.set_exception(error)
            elif not isinstance(error, MboError):
                log.exception("the feed failed")
        finally:
            self._connected = False
            self._name_books()
            if not self._ready.done():
                self._ready.set_result(None)
            self._done.set()
            self._answer()

    def _catch_up(self) -> None:
        """Apply what an earlier feed of this stream had applied, as if it had come before a connection was lost."""
        count = 0
        for number, records in enumerate(self._after):
            self._books.apply(records)
            count += len(records)
            restored = np.flatnonzero(records["flags"] & int(Flag.SNAPSHOT))
            if len(restored):  # perhaps it came out of turn: then nothing up to it can be looked for in the stream
                self._history.restart()
                self._joined = True
                records = records[int(restored[-1]) + 1 :]
            if len(records):
                self._history.add(Arrival(records, None, number))
                self._between = bool(records["flags"][-1] & int(Flag.LAST))
        if count and not self._history.count:
            self._note_gap("what the earlier feed had ends with a snapshot: there is no place to go on from")
            self._reseed = True

    def _follow(self) -> None:
        """Connect as often as it takes, and read until the end."""
        pause = _FIRST_PAUSE_S
        self._heard = time.monotonic()
        while not self._closing.is_set():
            applied = self._applied
            try:
                self._converse()
                return
            except _ReseedError:
                self._reseed = True
            except (LostError, ProtocolError, RefusedError, OSError) as error:
                if isinstance(error, RefusedError) and error.code is not None:
                    raise  # said of a session that was let in: it will be said again
                lost = error if isinstance(error, MboError) else LostError(f"{self._name}: {_words(error)}")
                if self._ended or self._closing.is_set():
                    return
                if not self._let_in:
                    raise lost from None
                silent = time.monotonic() - self._heard
                if silent > self._reconnect_s:
                    raise LostError(f"{lost}; nothing was heard for {silent:.0f} s") from None
                log.warning("the connection is lost: %s; connecting again in %.2f s", lost, pause)
            finally:
                self._connected = False
            pause = _FIRST_PAUSE_S if self._applied > applied else min(2 * pause, _LONGEST_PAUSE_S)
            self._idle(pause * random.uniform(0.5, 1))  # noqa: S311 - so that a hundred clients do not come at once

    def _idle(self, seconds: float) -> None:
        """Wait, but answer."""
        deadline = time.monotonic() + seconds
        while not self._closing.is_set() and (left := deadline - time.monotonic()) > 0:
            self._answer()
            if readable((self._questions.bell,), left):
                self._questions.heard()

    def _breathe(self) -> None:
        """See to what else there is, while a gateway keeps us waiting."""
        if self._closing.is_set():
            raise LostError("the feed is closed")
        self._answer()

    def _converse(self) -> None:
        """Connect and read one session to its end, or until it is lost."""
        with Link(self._address, compressed=self._compressed, silence_s=self._silence_s) as link:
            self._connections += 1
            self._stream = link.stream
            self._history.reconnected()
            for item in link.subscribe(self._handshake(), self._resubscription(), self._breathe):
                self._take(item)
            while not self._closing.is_set():
                self._let_in |= link.stream.metadata is not None
                if self._questions and self._between:
                    self._answer()
                items, idle = link.receive(), True
                if items is None:
                    if self._ended:
                        return
                    raise LostError(f"the gateway closed the connection{link.torn}")
                for item in items:
                    if not isinstance(item, ErrorMessage):  # whatever is wrong behind it, we were let in
                        self._welcome()
                    self._take(item)
                    idle = False
                if not idle:
                    self._heard = time.monotonic()
                if idle:
                    self._answer()  # inside an event too, if no more of it comes
                    if link.wait(self._questions.bell, _LOOK_S):
                        self._questions.heard()

    def _resubscription(self) -> Subscription:
        """Ask for what was asked for at first, from where the stream was lost."""
        own = self._subscription
        self._overlap, self._seeding = None, own.snapshot
        self._unknown.clear()
        if self._reseed:
            self._history.restart()
            self._seeding = self._joined = self._renewing = True
            return replace(own, start=None, snapshot=True)
        point = self._history.point()
        if point is None:
            return own
        self._overlap, self._seeding = Overlap(self._history, point, joined=self._joined), False
        return replace(own, start=point.start, snapshot=False)

    def _welcome(self) -> None:
        if self._connected:
            return
        self._connected = self._let_in = True
        self._heard = time.monotonic()
        if not self._ready.done():
            self._ready.set_result(None)

    # ------------------------------------------------------------ what comes

    def _take(self, item: Arrival | SystemMessage | ErrorMessage | SymbolMessage) -> None:
        if isinstance(item, Arrival):
            self._receive(item)
        elif isinstance(item, SymbolMessage):
            self._renew()
            name = item.asked if item.symbol.isdigit() else item.symbol
            self._mappings[Mapping(name, item.instrument_id, 0, UNDEF_TIMESTAMP)] = None
            self._named = False
        elif isinstance(item, ErrorMessage):
            self._fail(item)
        elif item.text == END_OF_REPLAY:
            if self._catching_up:
                self._lose("the gateway's replay ended before all that had come before came again")
            self._ended = True
        elif item.code == SystemCode.HEARTBEAT:
            if not self._renewing and len(self._books):
                self._reseed = False  # the snapshot has come, and nothing since
        elif item.code == SystemCode.SLOW_READER_WARNING:
            self._slow += 1
            log.warning("the gateway says: %s", item.text)

    def _fail(self, message: ErrorMessage) -> None:
        """Do what an error of the gateway's asks for."""
        log.warning("the gateway says: %s", message.text)
        if message.code == ErrorCode.SYMBOL_RESOLUTION_FAILED:
            self._unknown.append(message.text)
            if len(self._unknown) >= len(self._subscription.symbols):
                raise SymbolError(f"the gateway has none of the symbols: {self._unknown[0]}")
        elif message.code in (ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING, ErrorCode.REPLAY_DATA_AGED_OUT):
            self._lose(message.text)
        elif message.code.fatal:
            raise RefusedError(f"the gateway says: {message.text}", code=int(message.code))

    def _lose(self, reason: str) -> None:
        """Count a gap and have the books restored from a snapshot."""
        self._note_gap(reason)
        raise _ReseedError

    def _note_gap(self, reason: str) -> None:
        last = self._history.tail(self._history.count - 1)
        gap = Gap(self._applied, int(last["ts_event"][-1]) if len(last) else 0, reason)
        self._gap_count += 1
        if len(self._gaps) < 100:
            self._gaps.append(gap)
        log.error("records are missing after %d that were applied: %s", self._applied, reason)

    def _receive(self, arrival: Arrival) -> None:
        records, ts_out = arrival.records, arrival.ts_out
        if self._overlap is not None:
            left = self._overlap.take(records)
            if self._overlap.lost:
                self._lose("what the gateway sent after the reconnection does not go on from what had come before")
            self._dropped += len(records) - len(left)
            if not len(left):
                return
            arrival = Arrival(left, None if ts_out is None else ts_out[len(records) - len(left) :], arrival.buffer)
            self._overlap = None
        self._apply(arrival)

    def _apply(self, arrival: Arrival) -> None:
        records = arrival.records
        self._renew()
        if not self._named:
            self._name_books()
        self._books.apply(records)
        now = time.monotonic_ns()
        if self._pace is not None:
            begin, per_s = self._pace
            self.latency.note_paced(now, self._applied, len(records), begin=begin, per_s=per_s)
        elif arrival.ts_out is not None:
            wall = max(0, time.time_ns())  # a clock that was never set may stand before 1970
            self.latency.note(wall, arrival.ts_out)
        self._applied += len(records)
        self._between = bool(records["flags"][-1] & int(Flag.LAST))
        if self._seeding:
            arrival = self._seed(arrival)
        if len(arrival.records):
            self._history.add(arrival)
        if self._tap is not None:
            try:
                self._tap(records)
            except Exception as error:
                raise _TapError from error

    def _seed(self, arrival: Arrival) -> Arrival:
        """Keep a snapshot's records out of the stream that a reconnection goes on with."""
        ordinary = arrival.records["flags"] & int(Flag.SNAPSHOT) == 0
        if not ordinary.any():
            return arrival._replace(records=arrival.records[:0])
        self._seeding = self._reseed = False
        return arrival._replace(records=arrival.records[int(ordinary.argmax()) :])

    def _renew(self) -> None:
        """Let go of books that records are missing from, once those that take their place begin to come."""
        if self._renewing:
            self._renewing = False
            self._books = Books(strict=self._books.strict, equal_size=self._books.equal_size)
            self._mappings.clear()
            self._named = False

    def _name_books(self) -> None:
        self._books.symbols = SymbolMap(self._mappings)
        self._named = True

    def _answer(self) -> None:
        """Answer what was asked, once every book is between two events; where nothing more comes, as they are."""
        if self._questions:
            if not self._named:
                self._name_books()
            self._questions.answer(self._books)


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
