"""Log lines that repeat: the first few of an interval are written, the rest is counted, and the count is written too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_MOST: Final = 1_000  # events that are told apart


@dataclass(slots=True)
class _Event:
    until: float
    written: int = 0
    suppressed: int = 0
    last: logging.LogRecord | None = None


class Repeats(logging.Filter):
    """Lets `most` lines of one event through in every `interval_s` seconds.

    Lines are of one event if they have the same logger, level and words before anything is put into them. When the interval is over
    `write` gets the last line that was left out, which then has `suppressed`: how many others were. Memory is bounded: of many
    different events the one that was seen first is forgotten, once its count is written.
    """

    def __init__(
        self,
        write: Callable[[logging.LogRecord], object],
        *,
        most: int,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._write, self._most, self._interval_s, self._clock = write, most, interval_s, clock
        self._events: dict[tuple[str, int, str], _Event] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is written now."""
        now, over = self._clock(), None
        key = record.name, record.levelno, _words(record.msg)
        with self._lock:
            event = self._events.get(key)
            if event is None or now >= event.until:
                over = self._events.pop(key, None)
                if over is None and len(self._events) >= _MOST:
                    over = self._events.pop(next(iter(self._events)))
                event = self._events[key] = _Event(now + self._interval_s)
            event.written += 1
            passes = event.written <= self._most or self._closed
            if not passes:
                event.suppressed += 1
                event.last = record
                self._wake()
        self._tell([over] if over is not None else [])
        return passes

    def flush(self, *, everything: bool = False) -> None:
        """Write what was left out in intervals that are over, or in all."""
        now = self._clock()
        with self._lock:
            self._timer = None
            over = {key: event for key, event in self._events.items() if everything or now >= event.until}
            for key in over:
                del self._events[key]
            if any(event.suppressed for event in self._events.values()):
                self._wake()
        self._tell(list(over.values()))

    def close(self) -> None:
        """Write what was left out so far; from now on nothing is."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
        self.flush(everything=True)

    def _wake(self) -> None:
        """Have the counts written even if nothing is logged any more; the lock is held."""
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(self._interval_s, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def _tell(self, over: list[_Event]) -> None:
        for event in over:
            if event.last is not None:
                event.last.suppressed = event.suppressed - 1
                self._write(event.last)


def _words(message: Any) -> str:
    """Give what a line says before values are put into it; structlog hands over a dict."""
    return str(message.get("event", "")) if isinstance(message, dict) else str(message)
