"""When which record is due: at a fixed rate, at a multiple of the recorded speed, or at once."""

from __future__ import annotations

import math
import threading
from typing import Final

from mbo.errors import RequestError
from mbo.live.source import Source
from mbo.units import NS_PER_S

FOREVER: Final = 1 << 62
"""A number, and a time in ns, that no stream reaches."""


class Clock:
    """The present of a replay: how many records of `source` have happened at an instant of the machine's monotonic clock (ns).

    With `rate` record k is due at t0 + k / rate, with `speed` at t0 + (its ts_recv - the first ts_recv) / speed, computed from t0
    each time and so without drift. With neither nothing is due before anything else: every session begins at the first record, or
    where `seek` has put it, and runs to the end. The clock stands still until `start`. It computes in whole numbers: `due(k)` is
    the first instant at which `present` is more than k.
    """

    def __init__(
        self, source: Source, *, rate: float | None = None, speed: float | None = None, hold: bool = False
    ) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._speed: float | None = None
        self._ratio = (1, 1)  # so many records, or ns of the data, in so many ns
        self._index = 0  # how many had happened ...
        self._time = 0  # (the data's time then, for `speed`)
        self._since: int | None = None  # ... at this instant; None while time stands still
        self._started = False
        self._hold_start = hold  # until `begin`
        self._pace(rate, speed)

    def _pace(self, rate: float | None, speed: float | None) -> None:
        if rate is not None and speed is not None:
            raise RequestError("a replay has a rate or a speed, not both")
        for name, value in (("rate", rate), ("speed", speed)):
            if value is not None and not (0 < value < math.inf):
                raise RequestError(f"{name}={value!r}: it has to be more than 0")
        self._rate, self._speed = rate, speed
        if rate is not None:
            records, seconds = float(rate).as_integer_ratio()
            self._ratio = records, seconds * NS_PER_S
        elif speed is not None:
            self._ratio = float(speed).as_integer_ratio()

    def _gone(self, elapsed: int) -> int:
        """Say how many records, or ns of the data, so many ns are, rounded down."""
        return elapsed * self._ratio[0] // self._ratio[1]

    def _takes(self, amount: int) -> int:
        """Say how many ns so many records, or ns of the data, take, rounded up."""
        return -(-amount * self._ratio[1] // self._ratio[0])

    @property
    def paced(self) -> bool:
        """Whether there is a present that moves."""
        return self._rate is not None or self._speed is not None

    @property
    def paused(self) -> bool:
        """Whether the clock was started and stands still."""
        return self._started and self._since is None

    @property
    def started_ns(self) -> int | None:
        """With `rate`, the instant for which record 0 is due, whether it was sent or not: record k is due k / rate later."""
        with self._lock:
            if self._since is None or self._rate is None:
                return None
            return self._since + self._takes(-self._index)

    def present(self, now: int) -> int:
        """Count the records that have happened."""
        with self._lock:
            return self._present(now)

    def _present(self, now: int) -> int:
        end = FOREVER if self._source.end is None else self._source.end
        if self._since is None:
            return end if not (self.paced or self._hold_start or self._started) else min(end, self._index)
        if now < self._since:
            return min(end, self._index)
        if not self.paced:
            return end
        gone = self._gone(now - self._since)
        if self._rate is not None:
            return min(end, self._index + gone + 1)
        return min(end, max(self._index, self._source.first_reaching(self._time + gone + 1)))

    def due(self, number: int) -> int:
        """Give the instant at which a record is due; `FOREVER` while the clock stands still."""
        with self._lock:
            if not self.paced:
                return 0
            if self._since is None or (self._source.end is not None and number >= self._source.end):
                return FOREVER
            if self._rate is not None:
                return self._since + self._takes(number - self._index)
            return self._since + self._takes(self._source.time_of(number) - self._time)

    def start(self, now: int, at: int | None = None) -> None:
        """Begin at record `at`, else where `seek` has put it; what has started already goes on as it is."""
        with self._lock:
            if self._started or self._hold_start:
                return
            self._started = True
            self._place(at if at is not None and self.paced else self._index)
            self._since = now

    def begin(self, at_ns: int) -> None:
        """Start at an instant, which may lie ahead, though the clock is on hold; once started, it goes on as it is."""
        self._hold_start = False
        self.start(at_ns)

    def _place(self, number: int) -> None:
        self._index = number
        if self._speed is not None:
            self._time = self._time_at(number)

    def _time_at(self, number: int) -> int:
        """Give the data's time when so many records have happened and the next is due."""
        end = self._source.end
        return self._source.time_of(number if end is None or number < end else end - 1)

    def join(self, now: int) -> int:
        """Say at which record a session begins that does not say: with what is due from now on; unpaced, at the beginning."""
        with self._lock:
            return self._present(now - 1) if self.paced else self._index

    def pause(self, now: int) -> None:
        """Stand still; a clock that has not started waits for `resume` then, one on hold for `begin` as before."""
        with self._lock:
            if self._since is not None:
                self._hold(now)
            elif not self._hold_start:
                self._started = True

    def _hold(self, now: int) -> None:
        assert self._since is not None
        if self.paced:
            self._index = self._present(now)
        if self._speed is not None:
            self._time += self._gone(now - self._since)
        self._since = None

    def resume(self, now: int) -> None:
        """Go on from where it stands."""
        with self._lock:
            if self._started and self._since is None:
                self._since = now

    def seek(self, number: int, now: int) -> None:
        """Make `number` the present."""
        with self._lock:
            self._place(number)
            if self._since is not None:
                self._since = now

    def set_pace(
        self, now: int, *, rate: float | None = None, speed: float | None = None, at: int | None = None
    ) -> None:
        """Change the pace from now on; with neither, nothing is paced any more. What was unpaced goes on at `at`, if given."""
        with self._lock:
            running, time_ns = self._since, self._time
            index = self._present(now) if self.paced else self._index if at is None else at
            if self._speed is not None and running is not None:
                time_ns += self._gone(now - running)
            went_on = self._speed is not None and speed is not None  # between the same two records
            self._pace(rate, speed)
            self._place(index)
            if went_on:
                self._time = time_ns
            if running is not None:
                self._since = max(now, running)
