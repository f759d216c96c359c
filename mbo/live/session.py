"""One client of a gateway, on the writer's side: its place in the source, what it wants, and the bytes on their way to it."""

from __future__ import annotations

import socket
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo.live.clock import FOREVER
from mbo.live.messages import END_OF_REPLAY, ErrorCode, SystemCode, Writer
from mbo.live.source import Source
from mbo.records import MBO_DTYPE, Flag, RecordArray
from mbo.units import NS_PER_S

BLOCK: Final = 4096  # records that are made ready at a time: 224 KiB
_BUDGET: Final = 1 << 20  # bytes for one client before the next has its turn
_LOOKED_AT: Final = 1 << 12  # what a step counts that brought nothing to send
_WARN_AFTER_S: Final = 1  # a client that takes nothing for so long is told that it is slow, or skipped
_WARN_EVERY_S: Final = 30
STALL_LIMIT_S: Final = 300  # and after so long it is let go

_STAMPED: Final = np.dtype([("record", MBO_DTYPE), ("ts_out", "<u8")])


class Step(Enum):
    """How a client stands after its turn."""

    IDLE = auto()  # it has all there is for it
    MORE = auto()  # it would take more
    BLOCKED = auto()  # it takes nothing at the moment
    ENDED = auto()  # it has everything there will ever be
    GONE = auto()  # the connection is lost


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which instruments: all, or those with one of these ids."""

    everything: bool = False
    ids: frozenset[int] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.everything or other.everything, self.ids | other.ids)

    def __bool__(self) -> bool:
        return self.everything or bool(self.ids)

    def has(self, instrument_id: int) -> bool:
        """Say whether an instrument is one of these."""
        return self.everything or instrument_id in self.ids

    def of(self, records: RecordArray) -> RecordArray:
        """Keep the records of these instruments."""
        if self.everything:
            return records
        ids = records["instrument_id"]
        mask = np.isin(ids, np.array(sorted(self.ids), ids.dtype))
        return records if mask.all() else records[mask]


@dataclass(frozen=True, slots=True)
class Entrance:
    """From record `number` on a client gets these instruments too, with these bytes before the first of them."""

    number: int
    wanted: Wanted
    first: bytes = b""


@dataclass(slots=True)
class Blocks:
    """Blocks that were made for one client and fit others that stand at the same place, as all do who keep up."""

    source: Source
    made: dict[tuple[Any, ...], tuple[memoryview, int]] = field(default_factory=dict)

    def get(self, begin: int, end: int, wanted: Wanted, ts_out: bool) -> tuple[memoryview, int, int]:
        """Give the bytes of the records from `begin` to at most `end`, how many they are, and where they end in the source."""
        records, turn = self.source.piece(begin, end)
        stop = begin + len(records)
        if wanted.everything and not turn and not ts_out:
            return stamped(records, False), len(records), stop
        key = (begin, stop, wanted, ts_out)
        if key not in self.made:
            if len(self.made) > 64:
                self.made.clear()
            self.made[key] = self._make(wanted.of(records), turn, ts_out)
        return *self.made[key], stop

    def _make(self, records: RecordArray, turn: int, ts_out: bool) -> tuple[memoryview, int]:
        if turn:
            records = self.source.moved(records, turn)
        return stamped(records, ts_out), len(records)


def stamped(records: RecordArray, ts_out: bool) -> memoryview:
    """Give the bytes of records, with `ts_out` each followed by the time now, as its sending time."""
    if not ts_out:
        return _bytes(records)
    longer = np.empty(len(records), _STAMPED)
    longer["record"] = records
    longer["record"]["length"] = _STAMPED.itemsize // 4
    longer["ts_out"] = time.time_ns()
    return _bytes(longer)


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """View an array as what a socket takes, without a copy."""
    return memoryview(np.ascontiguousarray(array)).cast("B")  # type: ignore[arg-type]


class Session:
    """What the writer thread knows of a client; nobody else touches it once it streams.

    Nothing is queued for it but the block on its way: the source keeps the rest.
    """

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        source: Source,
        messages: Writer,
        *,
        ts_out: bool = False,
        compressed: bool = False,
        heartbeat_s: int = 30,
        skips: bool = False,
    ) -> None:
        self.number = number
        self.sock = sock
        self.messages = messages
        self.cursor = 0
        self.records = 0  # sent, or on their way
        self.bytes = 0  # sent
        self.skipped = 0
        self.held = False  # at its place, until somebody has looked up what it needs there
        self.wanted = Wanted()
        self._source = source
        self.ts_out = ts_out
        self._heartbeat_ns = heartbeat_s * NS_PER_S
        self._skips = skips
        self._entrances: deque[Entrance] = deque()
        self._outbox: deque[bytes] = deque()
        self._restoring = b""  # behind those
        self._pending: memoryview | None = None
        self._zstd = compressor() if compressed else None
        self._mid_event = False
        now = time.monotonic_ns()
        self._sent_at, self._warned_at = now, now - _WARN_EVERY_S * NS_PER_S
        self._farewell: bytes | None = None
        self._ended = False

    # ------------------------------------------------------------ what is asked of it

    def enter(self, entrances: list[Entrance]) -> None:
        """Add instruments from certain records on; those whose time has come enter now. The first ones say where it begins."""
        if not self.wanted and not self._entrances and entrances:
            self.cursor = min(entrance.number for entrance in entrances)
        self._entrances = deque(sorted([*self._entrances, *entrances], key=lambda entrance: entrance.number))
        self._admit()

    def say(self, message: bytes) -> None:
        """Send a message before the next record."""
        self._outbox.append(message)

    def jump(self, number: int, first: bytes) -> None:
        """Go on at another record, with these bytes before it."""
        self.wanted = self.everything_wanted
        self._entrances.clear()
        self.cursor = number
        self._mid_event = False
        self._restoring = first  # in the place of what an earlier jump still owes

    def end(self, farewell: bytes = b"") -> None:
        """Finish the event that is being sent, say this, and end."""
        if self._farewell is None:
            self._farewell = farewell

    @property
    def owes(self) -> bool:
        """Whether it has something to say that the client has not taken yet."""
        return bool(self._outbox or self._restoring)

    @property
    def everything_wanted(self) -> Wanted:
        """All it gets, now or later."""
        wanted = self.wanted
        for entrance in self._entrances:
            wanted |= entrance.wanted
        return wanted

    # ------------------------------------------------------------ the writer's turn

    def step(self, blocks: Blocks, head: int, now: int, *, paced: bool = True) -> Step:
        """Send what is due (records before number `head`) and can be sent without waiting; unpaced, nobody can be too slow."""
        budget = _BUDGET
        while budget > 0:
            if self._pending is None:
                if not self._next(blocks, head, now):
                    return Step.ENDED if self._ended else Step.IDLE
                budget -= _LOOKED_AT
                continue
            try:
                sent = self.sock.send(self._pending)
            except BlockingIOError:
                return self._blocked(head if paced else self.cursor, now)
            except OSError:
                return Step.GONE
            budget -= sent
            self.bytes += sent
            self._sent_at = now
            self._pending = self._pending[sent:] if sent < len(self._pending) else None
        return Step.MORE

    def _next(self, blocks: Blocks, head: int, now: int) -> bool:
        """Go one step on: a message, or a block of the source, of which there may be nothing for this client."""
        data = self._message(now)
        if data is None and self._may_go_on:
            data = self._block(blocks, head)
        if data is None:
            data = self._last_words()
        if data is None:
            return False
        self._pending = self._packed(data) if len(data) else None
        return True

    def _message(self, now: int) -> memoryview | None:
        if self._outbox:
            return memoryview(self._outbox.popleft())
        if self._restoring:
            data, self._restoring = memoryview(self._restoring), b""
            return data
        if now - self._sent_at >= self._heartbeat_ns:
            return memoryview(self.messages.system("Heartbeat", SystemCode.HEARTBEAT, time.time_ns()))
        return None

    @property
    def _may_go_on(self) -> bool:
        return not (self.held or self._ended or (self._farewell is not None and not self._mid_event))

    def _block(self, blocks: Blocks, head: int) -> memoryview | None:
        if self._farewell is not None:  # the event is finished, due or not, however much more there is
            head = self.cursor + 1 if self._source.end is None else min(self.cursor + 1, self._source.end)
        limit = min(head, self._entrances[0].number) if self._entrances else head
        if self.cursor >= limit or (limit >= FOREVER and not self.wanted):
            return None
        data, count = memoryview(b""), 0
        if self.wanted:
            limit = min(limit, self.cursor + BLOCK)
            data, count, limit = blocks.get(self.cursor, limit, self.wanted, self.ts_out)
        self.cursor = limit
        self.records += count
        if count:
            length = len(data) // count
            self._mid_event = not data[len(data) - length + _FLAGS_AT] & Flag.LAST
        self._admit()
        return data

    def _last_words(self) -> memoryview | None:
        """End, where all has been sent that was wanted, or where it was asked for."""
        if self._ended or self.held:
            return None
        if self._farewell is not None:
            self._ended = not self._mid_event or self.cursor == self._source.end
            return memoryview(self._farewell) if self._ended else None
        if self._source.end is not None and self.cursor >= self._source.end and not self._entrances:
            self._ended = True
            return memoryview(self.messages.system(END_OF_REPLAY, SystemCode.UNSET, time.time_ns()))
        return None

    def _admit(self) -> None:
        while self._entrances and self._entrances[0].number <= self.cursor:
            entrance = self._entrances.popleft()
            self.wanted |= entrance.wanted
            if entrance.first:
                self._outbox.append(entrance.first)

    def _packed(self, data: memoryview) -> memoryview:
        if self._zstd is None:
            return data
        import zstandard

        packed = self._zstd.compress(data) + self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return memoryview(packed)

    def _blocked(self, head: int, now: int) -> Step:
        """Say once in a while that the client is slow, or leave out what it missed; let go of one that has stopped reading."""
        waited = now - self._sent_at
        if waited > STALL_LIMIT_S * NS_PER_S:
            return Step.GONE
        if waited > _WARN_AFTER_S * NS_PER_S and now - self._warned_at > _WARN_EVERY_S * NS_PER_S:
            behind = head - self.cursor
            if self._skips and behind > 0 and not self._entrances:
                self._warned_at = now
                self.skipped += behind
                self.cursor = head
                text = f"{behind} records were skipped: the client read too slowly"
                self._outbox.append(
                    self.messages.error(text, ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING, time.time_ns())
                )
            elif behind > 0:
                self._warned_at = now
                text = f"Warning: slow reading: {behind} records behind"
                self._outbox.append(self.messages.system(text, SystemCode.SLOW_READER_WARNING, time.time_ns()))
        return Step.BLOCKED


_FLAGS_AT: Final = int(MBO_DTYPE.fields["flags"][1])  # type: ignore[index]


def compressor() -> Any:
    """Begin a zstd stream: fast, for it is made while the client waits."""
    import zstandard

    return zstandard.ZstdCompressor(level=1).compressobj()
