"""The bytes of a live session, as they come, cut into batches of MBO records and messages; no sockets in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.dbn import leading_mbo
from mbo.errors import ProtocolError
from mbo.live.messages import ErrorMessage, SymbolMessage, SystemMessage, read_control
from mbo.records import MBO_DTYPE, RTYPES, RecordArray, as_records

if TYPE_CHECKING:
    from databento_dbn import Metadata

BUFFER_BYTES: Final = 1 << 20  # of the order of a second-level cache: what comes is soon applied
BATCH: Final = 1 << 14  # records that are handed on at a time: about a millisecond of work
_BUFFERS: Final = 4  # a batch stays as it is until the fourth buffer after its own is begun
_LEAST_ROOM: Final = 1 << 16
_PRELUDE: Final = 8

Bytes = npt.NDArray[np.uint8]
Message = SystemMessage | ErrorMessage | SymbolMessage


class Arrival(NamedTuple):
    """MBO records that came together, and when each was sent (ns UTC) if the session was asked for that."""

    records: RecordArray
    ts_out: npt.NDArray[np.uint64] | None
    buffer: int
    """Which buffer they lie in, counted on: they are overwritten once this is four less than the current one."""


class Stream:
    """One session after its handshake: hand it bytes, it gives what they hold.

    `room()` is where the next bytes may be received into, `received(n)` says how many came there. With `compressed` they are handed
    over by `feed` instead. Memory is that of four buffers of 1 MB, however long the stream.
    """

    def __init__(self, *, compressed: bool = False) -> None:
        self.metadata: Metadata | None = None
        self.others: dict[str, int] = {}
        """Records of other schemas, left out, by their names."""
        self.buffer = 0
        self._buffers = [np.empty(BUFFER_BYTES, np.uint8) for _ in range(_BUFFERS)]
        self._begin = self._end = 0
        self._handed_on = False  # whether batches lie in the present buffer
        self._stride = MBO_DTYPE.itemsize
        self._version = 0
        self._decompress: Any = None
        if compressed:
            import zstandard

            self._decompress = zstandard.ZstdDecompressor().decompressobj()

    @property
    def _data(self) -> Bytes:
        return self._buffers[self.buffer % _BUFFERS]

    def room(self) -> memoryview:
        """Give the memory for the next bytes."""
        if BUFFER_BYTES - self._end < _LEAST_ROOM:
            self._turn_over()
        return memoryview(self._data)[self._end :]  # type: ignore[arg-type]

    def _turn_over(self) -> None:
        """Begin the next buffer, or this one again if no batch lies in it, with what is left of an unfinished record."""
        rest = self._data[self._begin : self._end]
        if len(rest) > BUFFER_BYTES // 2:
            raise ProtocolError("the gateway's header is too long")
        rest, self.buffer, self._handed_on = rest.copy(), self.buffer + self._handed_on, False
        self._data[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)

    def received(self, count: int) -> Iterator[Arrival | Message]:
        """Take `count` bytes that were put into `room()`; `ProtocolError` at what cannot be DBN."""
        self._end += count
        yield from self._take()

    def feed(self, data: bytes | memoryview) -> Iterator[Arrival | Message]:
        """Take bytes from elsewhere, compressed if the session is."""
        if self._decompress is not None:
            data = self._unpacked(data)
        left = memoryview(data)
        while len(left):
            room = self.room()
            count = min(len(room), len(left))
            room[:count] = left[:count]
            left = left[count:]
            yield from self.received(count)

    def _unpacked(self, data: bytes | memoryview) -> bytes:
        import zstandard

        try:
            unpacked: bytes = self._decompress.decompress(data)
        except zstandard.ZstdError as error:
            raise ProtocolError(f"the gateway's bytes are no zstd stream: {error}") from None
        return unpacked

    @property
    def torn(self) -> int:
        """How many bytes of an unfinished record have come."""
        return self._end - self._begin

    # ------------------------------------------------------------ cutting

    def _take(self) -> Iterator[Arrival | Message]:
        if self.metadata is None and not self._read_header():
            return
        while self._end - self._begin >= 4:
            data = self._data[self._begin : self._end]
            run = min(leading_mbo(data[: BATCH * self._stride], self._stride), BATCH)
            if run:
                self._begin += run * self._stride
                self._handed_on = True
                yield self._arrival(data[: run * self._stride].reshape(run, self._stride))
                continue
            length = self._length(data)
            if length > len(data):
                return
            self._begin += length
            message = self._message(data[:length])
            if message is not None:
                yield message

    def _read_header(self) -> bool:
        data = self._data[self._begin : self._end]
        prelude = data[:_PRELUDE].tobytes()
        if prelude[:3] != b"DBN"[: len(prelude)]:
            raise ProtocolError(f"the gateway's stream begins with {prelude[:4]!r}, not with b'DBN'")
        if len(prelude) < _PRELUDE:
            return False
        length = _PRELUDE + int.from_bytes(prelude[4:], "little")
        if length > BUFFER_BYTES // 2:
            raise ProtocolError(f"the gateway's header claims to be {length:,} bytes long")
        if len(data) < length:
            return False
        self.metadata = _decoded(data[:length].tobytes())
        self._version = int(prelude[3])  # the library decodes an old header as if it were a new one
        self._begin += length
        self._stride += 8 * bool(self.metadata.ts_out)
        return True

    def _arrival(self, rows: Bytes) -> Arrival:
        if self._stride == MBO_DTYPE.itemsize:
            return Arrival(as_records(rows.reshape(-1).view(MBO_DTYPE)), None, self.buffer)
        ts_out = rows[:, MBO_DTYPE.itemsize :].copy().view("<u8")[:, 0]
        records = rows[:, : MBO_DTYPE.itemsize].copy()
        records[:, 0] = MBO_DTYPE.itemsize // 4
        return Arrival(as_records(records.reshape(-1).view(MBO_DTYPE)), ts_out, self.buffer)

    def _length(self, data: Bytes) -> int:
        """Give the length of the record that begins here, which is no whole MBO record."""
        length, rtype = 4 * int(data[0]), int(data[1])
        least = 16 + self._stride - MBO_DTYPE.itemsize
        if rtype not in RTYPES or length < least or (RTYPES[rtype] == "mbo" and length != self._stride):
            raise ProtocolError(f"the gateway sent what is no record (length byte {data[0]}, rtype 0x{rtype:02x})")
        return length

    def _message(self, record: Bytes) -> Message | None:
        assert self.metadata is not None
        message = read_control(record.tobytes(), self._version, bool(self.metadata.ts_out))
        if message is None:
            name = RTYPES[int(record[1])]
            self.others[name] = self.others.get(name, 0) + 1
        return message


def _decoded(header: bytes) -> Metadata:
    from databento_dbn import DBNError, Metadata

    if header[3] not in (1, 2, 3):
        raise ProtocolError(f"the gateway's stream is DBN version {header[3]}: only versions 1, 2 and 3 are known")
    try:
        return Metadata.decode(header)
    except BaseException as error:
        if not isinstance(error, DBNError | ValueError) and type(error).__name__ != "PanicException":
            raise
        raise ProtocolError(f"the gateway's header is damaged: {error}") from None
