"""What a live stream holds besides market data: its metadata, and the gateway's own records, to bytes and from bytes.

Their layout hangs on the DBN version that the metadata states: records of another one do not fail, they give empty texts.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mbo.errors import ProtocolError, RequestError
from mbo.live.protocol import DATASET_CHARS, STYPES
from mbo.records import HEADER_DTYPE, HEADER_FIELDS, MAPPING_DTYPE, MAPPING_V1_DTYPE, RTYPE_SYMBOL_MAPPING
from mbo.units import UNDEF_TIMESTAMP

RTYPE_ERROR: Final = 0x15
RTYPE_SYSTEM: Final = 0x17
SYSTEM_DTYPE: Final = np.dtype([*HEADER_FIELDS, ("msg", "S303"), ("code", "u1")])
ERROR_DTYPE: Final = np.dtype([*HEADER_FIELDS, ("err", "S302"), ("code", "u1"), ("is_last", "u1")])
"""320 bytes, DBN versions 2 and 3."""
SYSTEM_V1_DTYPE: Final = np.dtype([*HEADER_FIELDS, ("msg", "S64")])
ERROR_V1_DTYPE: Final = np.dtype([*HEADER_FIELDS, ("err", "S64")])
"""80 bytes."""
_LAYOUTS: Final = {
    RTYPE_SYSTEM: (SYSTEM_V1_DTYPE, SYSTEM_DTYPE),
    RTYPE_ERROR: (ERROR_V1_DTYPE, ERROR_DTYPE),
    RTYPE_SYMBOL_MAPPING: (MAPPING_V1_DTYPE, MAPPING_DTYPE),
}
_TS_OUT_BYTES: Final = 8
_Code = TypeVar("_Code", bound=IntEnum)

END_OF_REPLAY: Final = "End of replay"
"""The system message, without a code of its own, by which our gateway says that a file has come to its end."""


class SystemCode(IntEnum):
    """What a system message is about."""

    HEARTBEAT = 0  # nothing else was sent for the interval
    SUBSCRIPTION_ACK = 1
    SLOW_READER_WARNING = 2
    REPLAY_COMPLETED = 3  # a subscription with a start has reached the present
    END_OF_INTERVAL = 4
    UNSUBSCRIBE_ACK = 5
    UNSET = 255


class ErrorCode(IntEnum):
    """What an error message is about."""

    AUTH_FAILED = 1
    API_KEY_DEACTIVATED = 2
    CONNECTION_LIMIT_EXCEEDED = 3
    SYMBOL_RESOLUTION_FAILED = 4  # one for each symbol
    INVALID_SUBSCRIPTION = 5
    INTERNAL_ERROR = 6
    SKIPPED_RECORDS_AFTER_SLOW_READING = 7
    REPLAY_DATA_AGED_OUT = 8
    UNSET = 255

    @property
    def fatal(self) -> bool:
        """Whether the gateway closes the connection behind it."""
        return self not in (ErrorCode.SYMBOL_RESOLUTION_FAILED, ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING)


class SystemMessage(NamedTuple):
    """The gateway says how things stand."""

    text: str
    code: SystemCode
    ts_event: int  # ns UTC, the gateway's clock


class ErrorMessage(NamedTuple):
    """The gateway says what is wrong."""

    text: str
    code: ErrorCode
    ts_event: int
    is_last: bool = True  # of the errors from one cause


class SymbolMessage(NamedTuple):
    """From here on `instrument_id` stands for `symbol`, which was `asked` for by this name."""

    instrument_id: int
    asked: str
    symbol: str
    ts_event: int


def session_metadata(dataset: str, start: int, *, ts_out: bool, version: int = 3) -> bytes:
    """Make the DBN header that a live session from `start` (ns UTC) begins with: any schema, no end, no symbols yet."""
    from databento_dbn import Metadata, SType

    _check_version(version)
    if not (0 < len(dataset) <= DATASET_CHARS and dataset.isascii() and dataset.isprintable()):
        raise RequestError(f"dataset is {dataset[:40]!r}, not 1 to {DATASET_CHARS} ASCII characters")
    metadata = Metadata(
        dataset=dataset, start=start, end=None, limit=None, schema=None, stype_in=None, stype_out=SType.from_str("instrument_id"),
        ts_out=ts_out, version=version,
    )  # fmt: skip
    return metadata.encode()


class Writer:
    """Makes a gateway's own records in the layout of a DBN version, with their sending time behind them if there is `ts_out`.

    Every `ts` is the present, in ns UTC.
    """

    def __init__(self, version: int, ts_out: bool) -> None:
        _check_version(version)
        self._version = version
        self.ts_out = ts_out

    def system(self, text: str, code: SystemCode, ts: int) -> bytes:
        """Make a system message; a text that is too long is cut, and version 1 has no code."""
        return self._record(RTYPE_SYSTEM, ts, msg=text, code=code)

    def error(self, text: str, code: ErrorCode, ts: int, is_last: bool = True) -> bytes:
        """Make an error message; a text that is too long is cut, and version 1 has no code."""
        return self._record(RTYPE_ERROR, ts, err=text, code=code, is_last=is_last)

    def mapping(self, instrument_id: int, asked: str, symbol: str, ts: int, *, stype_in: str) -> bytes:
        """Say that an instrument's raw symbol is `symbol` and that it was `asked` for as `stype_in` (a name out of `STYPES`)."""
        if stype_in not in STYPES:
            raise RequestError(f"stype_in is {stype_in!r}, not one of {', '.join(STYPES)}")
        return self._record(
            RTYPE_SYMBOL_MAPPING, ts, instrument_id=instrument_id,
            stype_in=STYPES.index(stype_in), stype_in_symbol=asked,
            stype_out=STYPES.index("raw_symbol"), stype_out_symbol=symbol,
            start_ts=UNDEF_TIMESTAMP, end_ts=UNDEF_TIMESTAMP,
        )  # fmt: skip

    def _record(self, rtype: int, ts: int, **values: str | int) -> bytes:
        dtype = _layout(rtype, self._version)
        record = np.zeros(1, dtype)
        length = dtype.itemsize + (_TS_OUT_BYTES if self.ts_out else 0)
        for name, value in {"length": length // 4, "rtype": rtype, "ts_event": ts, **values}.items():
            if name in (dtype.names or ()):
                record[name] = _cstring(name, value, dtype[name].itemsize - 1) if isinstance(value, str) else value
        return record.tobytes() + (ts.to_bytes(_TS_OUT_BYTES, "little") if self.ts_out else b"")


def read_control(
    record: bytes | memoryview, version: int, ts_out: bool
) -> SystemMessage | ErrorMessage | SymbolMessage | None:
    """Read one record of the gateway's own; `None` is one of another type, `ProtocolError` one whose length is not its type's.

    A code newer than this module is `UNSET`, and so are version 1's, but for the messages that are told by their words.
    """
    if len(record) < HEADER_DTYPE.itemsize:
        raise ProtocolError(f"a record has {len(record)} bytes, fewer than its header")
    rtype = record[1]
    if rtype not in _LAYOUTS:
        return None
    dtype = _layout(rtype, version)
    length = dtype.itemsize + (_TS_OUT_BYTES if ts_out else 0)
    if len(record) != length or record[0] * 4 != length:
        raise ProtocolError(
            f"a record of type 0x{rtype:02x} has {len(record)} bytes and says {record[0] * 4}: in DBN version {version} "
            f"{'with' if ts_out else 'without'} ts_out it has {length}"
        )
    one = np.frombuffer(record, dtype, 1)
    ts_event = int(one["ts_event"][0])
    if rtype == RTYPE_SYMBOL_MAPPING:
        return SymbolMessage(
            int(one["instrument_id"][0]), _words(one, "stype_in_symbol"), _words(one, "stype_out_symbol"), ts_event
        )
    if rtype == RTYPE_SYSTEM:
        text = _words(one, "msg")
        return SystemMessage(text, _told(text) if version == 1 else _code(SystemCode, one), ts_event)
    is_last = version == 1 or bool(one["is_last"][0])
    text = _words(one, "err")
    return ErrorMessage(text, _meant(text) if version == 1 else _code(ErrorCode, one), ts_event, is_last)


def _check_version(version: int) -> None:
    if version not in (1, 2, 3):
        raise RequestError(f"there is no DBN version {version}, but 1, 2 and 3")


def _layout(rtype: int, version: int) -> np.dtype[Any]:
    return _LAYOUTS[rtype][version > 1]


def _cstring(name: str, text: str, most: int) -> bytes:
    """Encode a text for a field that has room for `most` bytes: words may be cut there, between two characters; symbols not."""
    data = text.encode()
    if len(data) <= most:
        return data
    if name not in ("msg", "err"):
        raise RequestError(f"symbol {text[:80]!r} has {len(data)} bytes; in this DBN version there is room for {most}")
    return data[:most].decode(errors="ignore").encode()


def _words(one: npt.NDArray[Any], name: str) -> str:
    """Read a C string, and mark what damage made of it, so that it can stand in a sentence and on a terminal."""
    text = one[name][0].partition(b"\0")[0].decode(errors="replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _code(codes: type[_Code], one: npt.NDArray[Any]) -> _Code:
    value = int(one["code"][0]) if "code" in (one.dtype.names or ()) else 255
    return codes(value if value in list(codes) else 255)


def _told(text: str) -> SystemCode:
    """Tell version 1's messages apart by their words, as `databento_dbn` does."""
    if text == "Heartbeat":
        return SystemCode.HEARTBEAT
    if text.startswith("Subscription request ") and text.endswith(" succeeded"):
        return SystemCode.SUBSCRIPTION_ACK
    if text.startswith("Warning: slow reading"):
        return SystemCode.SLOW_READER_WARNING
    if text.startswith("Finished ") and text.endswith(" replay"):
        return SystemCode.REPLAY_COMPLETED
    if text.startswith("End of interval for "):
        return SystemCode.END_OF_INTERVAL
    return SystemCode.UNSET


def _meant(text: str) -> ErrorCode:
    """Tell version 1's errors that are no reason to end by the words that a gateway of ours has for them."""
    if text.startswith("No instrument found for "):
        return ErrorCode.SYMBOL_RESOLUTION_FAILED
    return ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING if " records were skipped" in text else ErrorCode.UNSET
