"""Recorder: a live stream into a store while it goes on, bounded and in order; after a crash, on from where it was."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from mbo.errors import LostError, RefusedError
from mbo.live.address import address_of
from mbo.live.feed import Feed
from mbo.records import MBO_DTYPE, RecordArray
from mbo.units import format_time

if TYPE_CHECKING:
    from types import TracebackType

    from mbo.store import Store

log: Final = logging.getLogger("mbo.recorder")

FLUSH_ROWS: Final = 1 << 17
FLUSH_S: Final = 1.0
BUFFER_ROWS: Final = 1 << 20
"""59 MB: two seconds of half a million records a second."""
PATIENCE_S: Final = 600.0
_PAUSE_S: Final = 1.0  # after a store that did not answer has been asked several times
_CLOSE_LIMIT_S: Final = 30.0
_STATEMENT_S: Final = 60.0


class RecorderStatus(NamedTuple):
    """How a recording stands.

    `stored` counts all rows of the session, those of earlier runs too, `waiting` those that were received and are not stored yet.
    `waits` says how often, and `waited_s` how long, the stream was held up because as many waited as may. `flush_s` is what all
    flushes took. `failures` counts flushes that the store did not take at once, `trouble` says why the last did not, while it does.
    `ended` says that all is stored, and no more will come.
    """

    stored: int
    waiting: int
    waits: int
    waited_s: float
    flushes: int
    flush_s: float
    longest_flush_s: float
    failures: int
    trouble: str | None
    ended: bool = False


class Recorder:
    """Records what a gateway sends into a session of a store; use `mbo.record`, and as a context manager.

    `feed` has the books, as if it had been there since the session's beginning: what was recorded earlier is applied first, and the
    stream goes on behind it, without a gap or a row twice where the gateway still has what came in between. A session must have one
    recorder at a time. Rows are flushed when there are `flush_rows`, after `flush_s` seconds, or when there is no room for more: at
    most `buffer_rows` wait, and the stream is held up until a flush has made room. After `patience_s` without one that succeeds the
    recording fails with `LostError`. `options` are those of `mbo.live.feed.Feed`.
    """

    def __init__(
        self,
        url: str,
        store: Store,
        symbols: str | int | Iterable[str | int] = "ALL_SYMBOLS",
        *,
        session: str | None = None,
        flush_rows: int = FLUSH_ROWS,
        flush_s: float = FLUSH_S,
        buffer_rows: int = BUFFER_ROWS,
        patience_s: float = PATIENCE_S,
        **options: Any,
    ) -> None:
        self.session = session_name(url) if session is None else session
        self._store = store
        self._flush_rows, self._flush_s = flush_rows, flush_s
        self._buffer_rows, self._patience_s = buffer_rows, patience_s
        self._stored = store.recorded(self.session)
        self._blocks: deque[RecordArray] = deque()
        self._waiting = self._waits = self._flushes = self._failures = 0
        self._waited_s = self._flush_total_s = self._longest_s = 0.0
        self._since = 0.0  # monotonic, of the oldest that waits
        self._trouble: str | None = None
        self._error: Exception | None = None
        self._dataset: str | None = None
        self._held = 0  # rows that there is no room for
        self._leaving = self._closing = self._ended = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="mbo-recorder", daemon=True)
        self.feed = Feed(url, symbols, after=self._earlier(), tap=self._take, **options)

    def start(self) -> Self:
        """Connect, and record from then on; raises what `Feed.start` raises."""
        self._thread.start()
        try:
            self.feed.start()
        except BaseException:
            self._finish()
            raise
        return self

    def close(self) -> None:
        """End the connection, and store what has come; `LostError` where that fails."""
        with self._change:
            self._leaving = True
            self._change.notify_all()
        self.feed.close()
        self._finish()
        if self._error is not None:
            raise self._error

    def wait(self, timeout_s: float | None = None) -> Self:
        """Wait until the replay has ended, and all that came is stored; raises as `Feed.wait` does, and what ends the recording."""
        self.feed.wait(timeout_s)
        self.close()
        return self

    @property
    def status(self) -> RecorderStatus:
        """How it stands now."""
        return RecorderStatus(
            self._stored, self._waiting, self._waits, self._waited_s, self._flushes, self._flush_total_s, self._longest_s,
            self._failures, self._trouble, self._ended,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder of {self.session}, {self._stored:,} rows stored, {self._waiting:,} waiting>"

    # ------------------------------------------------------------ the feed's thread

    def _earlier(self) -> Iterator[RecordArray]:
        """Give what the session has already."""
        if self._stored:
            yield from self._store.records(file=self.session).batches()

    def _take(self, records: RecordArray) -> None:
        """Keep a copy of records that came, once there is room."""
        with self._change:
            self._dataset = self.feed.dataset
            if self._waiting + len(records) > self._buffer_rows:
                self._hold_up(len(records))
            if self._error is not None:
                raise self._error
            if not self._waiting:
                self._since = time.monotonic()
            self._blocks.append(records.copy())
            self._waiting += len(records)
            if self._waiting >= self._flush_rows:
                self._change.notify_all()

    def _hold_up(self, count: int) -> None:
        begun = time.monotonic()
        if not self._waits:
            log.warning("there is no room for more: the stream is held up while %d rows are stored", self._waiting)
        self._waits += 1
        self._held = count  # a flush does not wait for more, which cannot come
        self._change.notify_all()

        def settled() -> bool:
            room = not self._waiting or self._waiting + count <= self._buffer_rows
            return room or self._leaving or self._error is not None

        there = self._change.wait_for(settled, self._patience_s)
        self._held = 0
        self._waited_s += time.monotonic() - begun
        if self._leaving:  # what is left out here comes again when the recording goes on
            raise LostError("the recording is closed")
        if not there:
            raise LostError(f"the store has taken nothing for {self._patience_s:g} s")

    # ------------------------------------------------------------ the thread that stores

    def _run(self) -> None:
        try:
            while self._await_rows():
                self._flush()
        except Exception as error:  # noqa: BLE001 - raised where the recording is used
            with self._change:
                self._error = error
                self._trouble = str(error)
                self._change.notify_all()
            self.feed.fail(error)
            log.error("the recording failed: %s", error)

    def _await_rows(self) -> bool:
        """Wait until a flush is due; False when all is done."""
        with self._change:
            while not self._closing:
                due = self._since + self._flush_s if self._waiting else None
                left = self._flush_s if due is None else due - time.monotonic()
                enough = self._flush_rows if not self._held else max(1, self._buffer_rows - self._held + 1)
                if self._waiting >= enough or (due is not None and left <= 0):
                    return True
                self._change.wait(left)
            return self._waiting > 0

    def _flush(self) -> None:
        """Store what waits, however often it takes."""
        with self._change:
            records = np.concatenate(self._blocks) if self._blocks else np.empty(0, MBO_DTYPE)
        begun = time.monotonic()
        while True:
            try:
                stored = self._append(records)
                break
            except (LostError, RefusedError, OSError) as error:
                self._failures += 1
                self._trouble = str(error)
                if time.monotonic() - begun > self._patience_s or self._closing_in_vain(begun):
                    raise LostError(f"{len(records):,} rows were received and not stored: {error}") from None
                log.warning("the store does not take %d rows, which are kept: %s", len(records), error)
                time.sleep(_PAUSE_S)
        if self._trouble is not None:
            log.warning("the store takes rows again")
        with self._change:
            taken = 0
            while taken < len(records):
                taken += len(self._blocks.popleft())
            self._waiting -= taken
            self._since = time.monotonic()
            self._stored, self._trouble = stored, None
            self._flushes += 1
            took = time.monotonic() - begun
            self._flush_total_s, self._longest_s = self._flush_total_s + took, max(self._longest_s, took)
            self._change.notify_all()

    def _append(self, records: RecordArray) -> int:
        assert self._dataset is not None, "records come behind a header"
        return self._store.append(
            records, session=self.session, dataset=self._dataset, symbols=self.feed.symbols, row=self._stored
        )

    def _closing_in_vain(self, begun: float) -> bool:
        return self._closing and time.monotonic() - begun > min(self._patience_s, _CLOSE_LIMIT_S)

    def _finish(self) -> None:
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(_CLOSE_LIMIT_S + _STATEMENT_S)
        if self._thread.is_alive() and self._error is None:
            self._error = LostError(f"the store did not take the last {self._waiting:,} rows")
        self._ended = self._error is None


def session_name(url: str) -> str:
    """Name the session that is recorded from a gateway today (UTC): what is started again on the same day goes on."""
    host, port = address_of(url)
    return f"{host}:{port}@{format_time(time.time_ns())[:10]}"


def record(
    url: str, store: Store, symbols: str | int | Iterable[str | int] = "ALL_SYMBOLS", **options: Any
) -> Recorder:
    """Follow a gateway as `mbo.connect` does, and record what it sends into a store until the `with` block ends.

    >>> with mbo.Store("chdb:///tmp/day") as store, mbo.record(gateway.url, store) as recorder:  # doctest: +SKIP
    ...     recorder.wait()

    The options are those of `Recorder` and of `mbo.live.feed.Feed`; `session` names the recording, by default after the gateway and
    the day. Started again, it goes on behind what was recorded.
    """
    return Recorder(url, store, symbols, **options).start()
