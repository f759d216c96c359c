"""Hands books out to all who follow them: one task looks at the books, writes each message once, and gives it to everybody.

A client is written to only when its connection has taken all of the last message, and while it answers a ping each second. One
that reads too slowly gets the latest state later, and nothing of what lay between: nothing is queued. One that reads nothing for a
while is let go. A thousand clients are served in slices with pauses between them, for the feed's thread and its books come first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from mbo.api.channels import Channel
from mbo.api.desk import Desk
from mbo.api.frames import Format, frame
from mbo.api.source import Want
from mbo.errors import LostError, MboError

if TYPE_CHECKING:
    from mbo.config import Settings
    from mbo.telemetry import ClientFigures, Telemetry

log: Final = logging.getLogger("mbo.api")

SLOW: Final = 4408
"""Close code of a client that was let go because it read nothing."""
_IDLE_S: Final = 60.0  # that a channel without clients is kept, for them to come back to
_RETRY_S: Final = 0.5  # before a book that was not there is looked for again: a look at none costs as much as at one
_PING: Final = b"\x89\x00"
_SLICE: Final = 50
"""Clients that are served in one go. uvloop writes to all of them without once letting go of the interpreter's lock, for some 5 us
each: in one go a thousand clients held up every book for 5 ms, and moved its p99 by eight times."""
_PAUSE_S: Final = 0.001  # the shortest that uvloop's timers know
_ASK_S: Final = 1.0  # after an answer to a ping, until the next goes along with a message
_ANSWER_S: Final = 0.5
"""For an answer. The system takes hundreds of kilobytes for one who reads nothing: old when they are read, and 5 us a message."""


class Follower(Protocol):
    """A client's connection, as the hub sees it."""

    form: Format
    places: list[Place]
    unread_since: float
    """Since when it has taken nothing (monotonic); 0 where it has taken all."""
    pinged: float
    """When it was asked for a sign of life that has not come; 0 where it has."""
    answered: float
    """When the last has come; minus infinity before the first."""

    def unwritten(self) -> int:
        """How many bytes it has not taken yet."""

    def push(self, data: bytes) -> None:
        """Send frames."""

    def drop(self, code: int, reason: str) -> None:
        """Close the connection, for this reason."""


class Place:
    """How far a client is in a channel."""

    __slots__ = ("channel", "seen", "told")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.seen = 0
        self.told: str | None = None


class _Round:
    """The clients that are served at the same rate."""

    def __init__(self, hz: float) -> None:
        self.period = 1 / hz
        self.due = time.monotonic()
        self.followers: dict[Follower, None] = {}


class Hub:
    """The one task that serves all clients; `join` and `leave` are for their connections, on the same event loop."""

    def __init__(self, desk: Desk, settings: Settings, telemetry: Telemetry) -> None:
        self._desk = desk
        self._stream = settings.stream
        self._telemetry = telemetry
        self._channels: dict[tuple[str, int], Channel] = {}
        self._rounds: dict[float, _Round] = {}
        self._seq = time.time_ns() // 1_000_000  # larger than any that an earlier server of this machine has given out
        self._read = (-1, True)  # up to which batch, and whether the source was stale then
        self._unread: set[tuple[str, int]] = set()  # channels that have not been looked at since they were made
        self._beat = time.monotonic()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._updates = self._conflated = self._bytes = 0
        self._dropped = Counter(slow=0, silent=0)  # shown from the beginning: from nothing to 1 is no rise

    # ------------------------------------------------------------ start and end

    def start(self) -> None:
        """Serve from now on."""
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Serve no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def clients(self) -> int:
        """How many there are."""
        return sum(len(one.followers) for one in self._rounds.values())

    def figures(self) -> ClientFigures:
        """Say how it goes, for those who operate it."""
        from mbo.telemetry import ClientFigures

        followers = [follower for one in list(self._rounds.values()) for follower in list(one.followers)]
        waiting = sum(follower.unwritten() for follower in followers)
        return ClientFigures(len(followers), self._updates, self._conflated, self._bytes, waiting, dict(self._dropped))

    # ------------------------------------------------------------ coming and going

    def join(self, follower: Follower, symbols: Iterable[str], depth: int, hz: float, since: int | None) -> None:
        """Serve a client from now on; with `since` it gets what it has missed first, if that is known."""
        follower.places = [Place(self._channel(symbol, depth)) for symbol in symbols]
        for place in follower.places:
            place.channel.clients += 1
            missed = None if since is None or since > self._seq else place.channel.missed(since, follower.form)
            if missed is not None:
                place.seen = place.channel.seq
                if missed:
                    follower.push(missed)
        served = self._rounds.setdefault(hz, _Round(hz))
        served.followers[follower] = None
        self._wake.set()

    def leave(self, follower: Follower, hz: float) -> None:
        """Serve a client no more."""
        served = self._rounds.get(hz)
        if served is None or follower not in served.followers:
            return
        del served.followers[follower]
        if not served.followers:
            del self._rounds[hz]
        for place in follower.places:
            place.channel.clients -= 1
            place.channel.idle_since = time.monotonic()

    def _channel(self, symbol: str, depth: int) -> Channel:
        key = (symbol, depth)
        found = self._channels.get(key)
        if found is None:
            found = self._channels[key] = Channel(symbol, depth, self._stream.history)
            self._unread.add(key)
        return found

    # ------------------------------------------------------------ the task

    async def _run(self) -> None:
        while True:
            if not self._rounds:
                self._wake.clear()
                await self._wake.wait()
            now = time.monotonic()
            due = [one for one in self._rounds.values() if one.due <= now]
            if due:
                try:
                    await self._serve(due)
                except Exception:
                    log.exception("a round of updates failed")
                for one in due:  # without catching up on rounds that were missed
                    one.due += one.period * max(1, math.ceil((now - one.due) / one.period))
            wait = min((one.due for one in self._rounds.values()), default=now) - time.monotonic()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._wake.wait()

    async def _serve(self, due: list[_Round]) -> None:
        followers = [follower for one in due for follower in one.followers]
        wanted = {(place.channel.symbol, place.channel.depth) for follower in followers for place in follower.places}
        with self._telemetry.span("publish", channels=len(wanted), clients=len(followers)):
            await self._look(wanted)
            now = time.monotonic()
            async for follower in self._each(due):
                self._hand(follower, now)
        if now - self._beat >= self._stream.heartbeat_s:
            self._beat = now
            await self._heartbeat(now)

    async def _each(self, rounds: Iterable[_Round]) -> AsyncIterator[Follower]:
        """Give the clients of rounds, but who has left, in slices; the pauses between take half of the shortest period at most."""
        found = [(one, follower) for one in rounds for follower in one.followers]
        period = min((one.period for one in self._rounds.values()), default=math.inf)
        size = max(_SLICE, math.ceil(len(found) * 2 * _PAUSE_S / period))
        for number, (one, follower) in enumerate(found, 1):
            if follower in one.followers:
                yield follower
            if number % size == 0 and number < len(found):
                await asyncio.sleep(_PAUSE_S)

    async def _look(self, wanted: set[tuple[str, int]]) -> None:
        """Look at the books that may have changed, and publish what is new of them."""
        source = self._desk.source
        stamp = (source.batches, source.stale)
        self._unread |= wanted if stamp != self._read else set()
        moment = time.monotonic()
        now = {key for key in wanted & self._unread if self._channels[key].retry <= moment}
        if not now:
            return
        wants: dict[str, Want] = {}
        for symbol, depth in now:
            wants[symbol] = Want(max(depth, wants[symbol].depth or 0) if symbol in wants else depth)
        try:
            found = await self._desk.look(wants)
        except LostError:
            return
        if stamp != self._read:  # others, that are due later, are behind from now on
            self._unread |= set(self._channels)
            self._read = stamp
        self._unread -= now
        self._seq += 1
        for symbol, depth in now:
            view, channel = found[symbol], self._channels.get((symbol, depth))
            if channel is None:
                continue
            if isinstance(view, MboError):
                channel.trouble, channel.retry = str(view), moment + _RETRY_S
                self._unread.add((symbol, depth))  # there is no book yet
            else:
                channel.trouble = None
                self._updates += channel.publish(view, self._seq, stale=source.stale)

    def _hand(self, follower: Follower, now: float) -> None:
        """Give a client what is new for it, if it has taken all of what it was given before."""
        silent = now - follower.pinged if follower.pinged else 0.0
        if silent > _ANSWER_S:  # looked at first: there may be a thousand of these
            self._conflated += _behind(follower)
            if silent > self._stream.stall_s:
                self._let_go(follower)
            return
        if follower.unwritten():
            self._conflated += _behind(follower)
            follower.unread_since = follower.unread_since or now
            if now - follower.unread_since > self._stream.stall_s:
                self._let_go(follower)
            return
        follower.unread_since = 0.0
        if silent > self._stream.stall_s:
            self._let_go(follower)
            return
        frames = []
        for place in follower.places:
            channel = place.channel
            if place.seen != channel.seq:
                frames.append(channel.after(place.seen, follower.form))
                place.seen = channel.seq
            elif channel.trouble is not None and place.told != channel.trouble:
                place.told = channel.trouble
                frames.append(_said({"type": "error", "symbol": channel.symbol, "detail": channel.trouble}))
        if frames:
            if not follower.pinged and now - follower.answered > _ASK_S:
                frames.append(_PING)
                follower.pinged = now
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._bytes += len(data)
            follower.push(data)

    def _let_go(self, follower: Follower) -> None:
        limit_s = self._stream.stall_s
        if follower.unwritten():
            why, reason = "slow", f"nothing was read for {limit_s:g} s"
        else:
            why, reason = "silent", f"there was no sign of life for {limit_s:g} s"
        self._dropped[why] += 1
        log.info("a client is let go: %s", reason)
        follower.drop(SLOW, reason)

    async def _heartbeat(self, now: float) -> None:
        """Show everybody a sign of life, ask for one, and forget channels that nobody follows any more."""
        document: dict[str, Any] = {"type": "heartbeat", "seq": self._seq, "stale": self._desk.source.stale}
        data = _said(document | {"ts": str(time.time_ns())}) + _PING
        async for follower in self._each(list(self._rounds.values())):
            if not follower.unwritten():
                follower.push(data)
                follower.pinged = follower.pinged or now
        for key, channel in list(self._channels.items()):
            if not channel.clients and now - channel.idle_since > _IDLE_S:
                del self._channels[key]
                self._unread.discard(key)


def _behind(follower: Follower) -> bool:
    for place in follower.places:  # noqa: SIM110 - a generator costs more than all else here, 20,000 times a second
        if place.seen != place.channel.seq:
            return True
    return False


def _said(document: dict[str, Any]) -> bytes:
    return frame(orjson.dumps(document), text=True)
