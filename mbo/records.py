"""The MBO record: one numpy dtype for file, kernel and wire, and the names of what its bytes mean.

Layout and meaning are DBN's own, unchanged in its versions 1 to 3 (https://databento.com/docs/schemas-and-data-formats/mbo).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mbo.errors import RecordError
from mbo.units import UNDEF_TIMESTAMP

HEADER_FIELDS: Final = [
    ("length", "u1"),  # of the record with this header, in words of 4 bytes
    ("rtype", "u1"),
    ("publisher_id", "<u2"),  # dataset and venue
    ("instrument_id", "<u4"),  # unique within a dataset and a day
    ("ts_event", "<u8"),  # ns UTC, the matching engine's clock
]
HEADER_DTYPE: Final = np.dtype(HEADER_FIELDS)

MBO_DTYPE: Final = np.dtype(
    [
        *HEADER_FIELDS,
        ("order_id", "<u8"),
        ("price", "<i8"),  # 1e-9
        ("size", "<u4"),
        ("flags", "u1"),  # bits of Flag
        ("channel_id", "u1"),
        ("action", "u1"),  # a letter of Action
        ("side", "u1"),  # a letter of Side
        ("ts_recv", "<u8"),  # ns UTC, the capture clock; orders records of one instrument
        ("ts_in_delta", "<i4"),  # ns from the venue's sending to ts_recv
        ("sequence", "<u4"),  # the venue's packet number, repeated within a packet
    ]
)
"""56 bytes, packed: a view of the file's own bytes."""
MBO_LENGTH: Final = MBO_DTYPE.itemsize // 4
RTYPE_MBO: Final = 0xA0
RTYPE_SYMBOL_MAPPING: Final = 0x16

MAPPING_V1_DTYPE: Final = np.dtype(
    [
        *HEADER_FIELDS,
        ("stype_in_symbol", "S22"),  # as it was subscribed to
        ("stype_out_symbol", "S22"),  # what that stands for
        ("", "V4"),
        ("start_ts", "<u8"),  # ns UTC, in live streams usually missing
        ("end_ts", "<u8"),
    ]
)
MAPPING_DTYPE: Final = np.dtype(
    [
        *HEADER_FIELDS,
        ("stype_in", "u1"),
        ("stype_in_symbol", "S71"),
        ("stype_out", "u1"),
        ("stype_out_symbol", "S71"),
        ("start_ts", "<u8"),
        ("end_ts", "<u8"),
    ]
)
"""A symbol-mapping record of a live stream, DBN versions 2 and 3; the other one is version 1."""

RTYPES: Final = {
    0x00: "trades", 0x01: "mbp-1", 0x0A: "mbp-10", 0x11: "ohlcv", 0x12: "status", 0x13: "definition",
    0x14: "imbalance", 0x15: "error", 0x16: "symbol-mapping", 0x17: "system", 0x18: "statistics", 0x20: "ohlcv-1s",
    0x21: "ohlcv-1m", 0x22: "ohlcv-1h", 0x23: "ohlcv-1d", 0x24: "ohlcv-eod", 0xA0: "mbo", 0xB1: "cmbp-1",
    0xC0: "cbbo-1s", 0xC1: "cbbo-1m", 0xC2: "tcbbo", 0xC3: "bbo-1s", 0xC4: "bbo-1m",
}  # fmt: skip
"""Every record type DBN has had, by its rtype byte."""

RecordArray = npt.NDArray[Any]
"""A one-dimensional array of `MBO_DTYPE`, in the order of the stream."""
TimeField = Literal["ts_recv", "ts_event"]
"""The two times of a record: when it was captured, or the matching engine's."""


class Action(IntEnum):
    """What a record says; the value is the letter's code."""

    ADD = ord("A")
    CANCEL = ord("C")
    MODIFY = ord("M")
    CLEAR = ord("R")
    TRADE = ord("T")
    FILL = ord("F")
    NONE = ord("N")


class Side(IntEnum):
    """Which side; the value is the letter's code. Of a trade it is the aggressor's, of a fill the resting order's."""

    BID = ord("B")
    ASK = ord("A")
    NONE = ord("N")


class Flag(IntFlag):
    """Bits of `flags`: test bits, never equality, for the lower ones vary with the year."""

    LAST = 128  # last record of an event of this instrument: the book is valid
    TOB = 64  # a top-of-book level, not an order
    SNAPSHOT = 32  # restores a book
    MBP = 16  # an aggregated price level, not an order
    BAD_TS_RECV = 8
    MAYBE_BAD_BOOK = 4  # the channel had a gap that could not be repaired
    PUBLISHER_SPECIFIC = 2


def times_of(records: npt.NDArray[Any], clock: TimeField = "ts_recv") -> npt.NDArray[np.uint64]:
    """Give the records' times (ns UTC); one whose ts_recv is missing, as a snapshot of an empty book may be, has its ts_event."""
    times: npt.NDArray[np.uint64] = records[clock]
    missing = times == UNDEF_TIMESTAMP
    return np.where(missing, records["ts_event"], times) if missing.any() else times


def as_records(values: object) -> RecordArray:
    """View an array or bytes as MBO records, in one dimension and read-only, without a copy where the layout allows it.

    Read-only on purpose: the kernels are compiled for one kind of array, and what a caller hands in is never written to.
    Raises `RecordError` where it is not whole MBO records.
    """
    if isinstance(values, np.ndarray):
        if values.dtype != MBO_DTYPE:
            raise RecordError(f"these are not MBO records: the dtype is {values.dtype}, not mbo.MBO_DTYPE")
        records = np.ascontiguousarray(values).reshape(-1).view()
    else:
        data = memoryview(values)  # type: ignore[arg-type]
        if data.nbytes % MBO_DTYPE.itemsize:
            raise RecordError(f"{data.nbytes} bytes are not a whole number of 56-byte MBO records")
        records = np.frombuffer(data, MBO_DTYPE)
    records.flags.writeable = False
    return records


def letter(code: int) -> str:
    """Write an action or side code as its letter, or in hexadecimal where it is not one.

    >>> letter(Action.ADD), letter(7)
    ('A', '0x07')
    """
    return chr(code) if 65 <= code <= 90 else f"0x{code:02x}"
