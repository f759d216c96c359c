"""What goes over the WebSocket: snapshots and updates of a book's levels, as JSON or in a binary form, written once for all.

A message stands for one look at one book. A *snapshot* has all its levels (as many as were asked for), an *update* only those that
changed since the message `prev`; a level that is gone has size and count 0. `seq` grows, by no fixed step. Whoever has applied the
message `prev` applies the update, keeps the best `depth` levels of each side, and then has the levels of which `checksum` is the
CRC-32: bids, then asks, best first, each packed as in the binary form.

Binary form, little-endian, no padding: a header of 70 bytes, then the symbol (UTF-8), then bids and asks.

    offset  type  field              offset  type  field
    0       u8    version, 1         24      u64   ts_recv (ns UTC)
    1       u8    1 snapshot,        32      u64   ts_event (ns UTC)
                  2 update           40      u64   messages
    2       u8    flags (see below)  48      u64   events
    3       u8    length of symbol   56      u32   sequence (the venue's)
    4       u16   bids               60      u32   instrument_id
    6       u16   asks               64      u16   publisher_id
    8       u64   seq                66      u32   checksum
    16      u64   prev, 0 in a snapshot

Flags: 1 valid, 2 synced, 4 suspect, 8 crossed, 16 stale. A level is 20 bytes: price i64 (1e-9), size u64, count u32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from mbo.book.rows import LEVEL_DTYPE
from mbo.errors import ProtocolError

if TYPE_CHECKING:
    from mbo.api.source import View

Format = Literal["json", "binary"]
FORMATS: Final[tuple[Format, ...]] = ("json", "binary")
SUBPROTOCOL: Final = "mbo.v1"
"""What a browser offers beside `bearer.KEY`, for it takes no headers."""
_HEADER: Final = struct.Struct("<BBBBHHQQQQQQIIHI")
_VERSION: Final = 1
_SNAPSHOT, _UPDATE = 1, 2
_VALID, _SYNCED, _SUSPECT, _CROSSED, _STALE = 1, 2, 4, 8, 16
_FLAGS: Final = ("valid", "synced", "suspect", "crossed", "stale")
_TEXT, _BINARY = 0x81, 0x82  # final frames of a WebSocket


class Position(NamedTuple):
    """Where a book stands: the venue's times (ns UTC) and number of its last record, and how many it has seen."""

    ts_recv: int
    ts_event: int
    sequence: int
    messages: int
    events: int


class Message(NamedTuple):
    """A snapshot (`prev` is 0) or an update; levels as `LEVEL_DTYPE`, best first, of an update those that changed."""

    seq: int
    prev: int
    symbol: str
    instrument_id: int
    publisher_id: int
    position: Position
    valid: bool
    synced: bool
    suspect: bool
    crossed: bool
    stale: bool
    checksum: int
    bids: npt.NDArray[Any]
    asks: npt.NDArray[Any]


def message_of(view: View, seq: int, prev: int, *, stale: bool) -> Message:
    """Make the snapshot of a book; an update has other levels, see `changed`."""
    status = view.status
    position = Position(status.ts_recv, status.ts_event, status.sequence, status.messages, status.events)
    return Message(
        seq, prev, view.symbol, status.instrument_id, status.publisher_id, position, status.valid, status.synced,
        status.suspect, view.crossed, stale, checksum(view.bids, view.asks), view.bids, view.asks,
    )  # fmt: skip


def checksum(bids: npt.NDArray[Any], asks: npt.NDArray[Any]) -> int:
    """Compute the CRC-32 of levels."""
    return zlib.crc32(asks.tobytes(), zlib.crc32(bids.tobytes()))


def changed(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """List the levels of `new` that are not so in `old`, then those of `old` that are gone, with size and count 0."""
    before = {price: (size, count) for price, size, count in old.tolist()}
    rows = [row for row in new.tolist() if before.pop(row[0], None) != row[1:]]
    return np.array([*rows, *((price, 0, 0) for price in before)] if before or rows else [], LEVEL_DTYPE)


def apply(levels: npt.NDArray[Any], changes: npt.NDArray[Any], *, descending: bool) -> npt.NDArray[Any]:
    """Make the levels that an update leads to."""
    if not len(changes):
        return levels
    after = {row[0]: row for row in levels.tolist()}
    for row in changes.tolist():
        if row[2] or row[1]:
            after[row[0]] = row
        else:
            after.pop(row[0], None)
    return np.array([after[price] for price in sorted(after, reverse=descending)], LEVEL_DTYPE)


# ---------------------------------------------------------------- writing


def encode(message: Message, form: Format) -> bytes:
    """Write a message as a whole WebSocket frame, unmasked, as servers send it."""
    payload = to_json(message) if form == "json" else to_binary(message)
    return frame(payload, text=form == "json")


def frame(payload: bytes, *, text: bool) -> bytes:
    """Put a payload into a WebSocket frame of a server."""
    first, length = _TEXT if text else _BINARY, len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


def to_json(message: Message) -> bytes:
    """Write a message as JSON; levels are [price, size, count], numbers of 64 bits texts (see `mbo.api.documents`)."""
    position = message.position
    document: dict[str, Any] = {
        "type": "update" if message.prev else "snapshot",
        "seq": message.seq,
        "prev": message.prev,
        "symbol": message.symbol,
        "instrument_id": message.instrument_id,
        "publisher_id": message.publisher_id,
        "ts_recv": str(position.ts_recv),
        "ts_event": str(position.ts_event),
        "sequence": position.sequence,
        "messages": position.messages,
        "events": position.events,
        "valid": message.valid,
        "synced": message.synced,
        "suspect": message.suspect,
        "crossed": message.crossed,
        "stale": message.stale,
        "checksum": message.checksum,
        "bids": [(str(price), size, count) for price, size, count in message.bids.tolist()],
        "asks": [(str(price), size, count) for price, size, count in message.asks.tolist()],
    }
    return orjson.dumps(document)


def to_binary(message: Message) -> bytes:
    """Write a message in the binary form."""
    position, symbol = message.position, message.symbol.encode()[:255]
    flags = _VALID * message.valid | _SYNCED * message.synced | _SUSPECT * message.suspect
    flags |= _CROSSED * message.crossed | _STALE * message.stale
    header = _HEADER.pack(
        _VERSION, _UPDATE if message.prev else _SNAPSHOT, flags, len(symbol), len(message.bids), len(message.asks),
        message.seq, message.prev, position.ts_recv, position.ts_event, position.messages, position.events,
        position.sequence, message.instrument_id, message.publisher_id, message.checksum,
    )  # fmt: skip
    return b"".join((header, symbol, message.bids.tobytes(), message.asks.tobytes()))


# ---------------------------------------------------------------- reading


def read(payload: bytes | str) -> Message | Mapping[str, Any]:
    """Read a message of either form, or of another type as plain values; `ProtocolError` at what is none."""
    return read_binary(payload) if isinstance(payload, bytes) else read_json(payload)


def read_json(text: str | bytes) -> Message | Mapping[str, Any]:
    """Read a message from JSON."""
    try:
        found = orjson.loads(text)
        if found["type"] not in ("snapshot", "update"):
            return dict(found)
        position = Position(
            int(found["ts_recv"]), int(found["ts_event"]), found["sequence"], found["messages"], found["events"]
        )
        bids, asks = (
            np.array([(int(price), size, count) for price, size, count in found[side]], LEVEL_DTYPE)
            for side in ("bids", "asks")
        )
        valid, synced, suspect, crossed, stale = (bool(found[name]) for name in _FLAGS)
        return Message(
            found["seq"], found["prev"], found["symbol"], found["instrument_id"], found["publisher_id"], position,
            valid, synced, suspect, crossed, stale, found["checksum"], bids, asks,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"the server sent what is no message: {error}") from None


def read_binary(payload: bytes) -> Message:
    """Read a message from the binary form."""
    try:
        version, kind, flags, length, bids, asks, seq, prev, *rest = _HEADER.unpack_from(payload)
        ts_recv, ts_event, messages, events, sequence, instrument_id, publisher_id, crc = rest
        begin = _HEADER.size + length
        symbol = payload[_HEADER.size : begin].decode()
        levels = np.frombuffer(payload, LEVEL_DTYPE, bids + asks, begin)
        if version != _VERSION or kind not in (_SNAPSHOT, _UPDATE) or len(payload) != begin + levels.nbytes:
            raise ValueError(f"version {version}, kind {kind}, {len(payload)} bytes")
    except (struct.error, ValueError) as error:
        raise ProtocolError(f"the server sent what is no message: {error}") from None
    valid, synced, suspect, crossed, stale = (
        bool(flags & bit) for bit in (_VALID, _SYNCED, _SUSPECT, _CROSSED, _STALE)
    )
    return Message(
        seq, prev, symbol, instrument_id, publisher_id, Position(ts_recv, ts_event, sequence, messages, events),
        valid, synced, suspect, crossed, stale, crc, levels[:bids], levels[bids:],
    )  # fmt: skip
