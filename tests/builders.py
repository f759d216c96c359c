"""DBN files made to order: any version, schema and mixture of records, plain or compressed in any number of frames."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn
import numpy as np
import zstandard

from mbo.records import HEADER_DTYPE, MAPPING_DTYPE, MAPPING_V1_DTYPE, MBO_DTYPE, RecordArray
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP, parse_time

DAY = parse_time("2025-01-06")
NOON = DAY + 43_200 * NS_PER_S
SYMBOLS = {"AAA": 7}
TRADES, MBP_10, SYSTEM, DEFINITION = (0x00, 48), (0x0A, 368), (0x17, 320), (0x13, 520)  # rtype, bytes

Interval = tuple[str, str, str]
"""First day, first day after the last, instrument id."""


def metadata(
    *,
    version: int = 3,
    dataset: str = "GLBX.MDP3",
    schema: str | None = "mbo",
    ts_out: bool = False,
    start: int = DAY,
    end: int | None = DAY + 86_400 * NS_PER_S,
    symbols: dict[str, int] | None = None,
    intervals: dict[str, list[Interval]] | None = None,
    stypes: tuple[str, str] = ("raw_symbol", "instrument_id"),
) -> databento_dbn.Metadata:
    """A header; `symbols` are mapped for the one day 2025-01-06, `intervals` as they say. A live stream's is `schema=None`."""
    if intervals is None:
        symbols = symbols if symbols is not None else {} if schema is None else SYMBOLS
        intervals = {symbol: [("2025-01-06", "2025-01-07", str(number))] for symbol, number in symbols.items()}
    dates = dt.date.fromisoformat
    return databento_dbn.Metadata(
        dataset=dataset, start=start, end=end, version=version, ts_out=ts_out, symbols=list(intervals),
        schema=schema and databento_dbn.Schema.from_str(schema),
        stype_in=schema and databento_dbn.SType.from_str(stypes[0]),
        stype_out=databento_dbn.SType.from_str(stypes[1]),
        mappings=[
            SimpleNamespace(
                raw_symbol=symbol,
                intervals=[SimpleNamespace(start_date=dates(a), end_date=dates(b), symbol=number) for a, b, number in spans],
            )
            for symbol, spans in intervals.items()
        ],
    )  # fmt: skip


def other(kind: tuple[int, int], *, instrument_id: int = 7) -> bytes:
    """A record that is not MBO: its header, then zeros."""
    rtype, size = kind
    header = np.array([(size // 4, rtype, 1, instrument_id, NOON)], HEADER_DTYPE)
    return header.tobytes().ljust(size, b"\0")


def mapping(instrument_id: int, symbol: str, *, version: int = 3, asked: str = "ALL", **times: int) -> bytes:
    """A live stream's symbol mapping in the layout of its DBN version."""
    one = np.zeros(1, MAPPING_V1_DTYPE if version == 1 else MAPPING_DTYPE)
    values: dict[str, Any] = {"stype_in_symbol": asked, "stype_out_symbol": symbol, "instrument_id": instrument_id}
    values |= {"length": one.itemsize // 4, "rtype": 0x16, "publisher_id": 1, "ts_event": NOON}
    values |= {"start_ts": UNDEF_TIMESTAMP, "end_ts": UNDEF_TIMESTAMP} | times
    if version > 1:
        values |= {"stype_in": 1, "stype_out": 1}
    for name, value in values.items():
        one[name] = value
    return one.tobytes()


def sent(record: bytes, ts_out: int) -> bytes:
    """A record with its sending time behind it, counted by its length byte."""
    return bytes([record[0] + 2]) + record[1:] + ts_out.to_bytes(8, "little")


def dbn_bytes(
    records: RecordArray, *, between: dict[int, Iterable[bytes]] | None = None, ts_out: bool = False, **header: Any
) -> bytes:
    """A whole stream: `between[k]` are records that stand before MBO record k. Record j of all is sent at NOON + j."""
    all_records = []
    for number, record in enumerate([*records, b""]):
        all_records += [*(between or {}).get(number, ()), *([record.tobytes()] if number < len(records) else [])]
    if ts_out:
        all_records = [sent(record, NOON + number) for number, record in enumerate(all_records)]
    return metadata(ts_out=ts_out, **header).encode() + b"".join(all_records)


def frames(data: bytes, *cuts: int, skippable: bool = False, checksum: bool = False) -> bytes:
    """Zstandard frames that begin at 0 and at the cuts; with `skippable`, frames that hold no data stand around them all."""
    ends = [0, *cuts, len(data)]
    pieces = [
        zstandard.ZstdCompressor(write_checksum=checksum).compress(data[start:end]) for start, end in pairwise(ends)
    ]
    nothing = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello" if skippable else b""
    return nothing + nothing.join(pieces) + nothing


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def stream(count: int, *, instruments: Iterable[int] = (7,), seed: int = 1) -> RecordArray:
    """Records with every field in use, a nanosecond apart from NOON; for what never builds a book of them."""
    random = np.random.default_rng(seed)
    records = np.frombuffer(random.bytes(count * MBO_DTYPE.itemsize), MBO_DTYPE).copy()
    records["length"], records["rtype"], records["publisher_id"] = 14, 0xA0, 1
    records["instrument_id"] = random.choice(list(instruments), count)
    records["action"], records["side"] = random.choice(list(b"ACMRTFN"), count), random.choice(list(b"ABN"), count)
    records["ts_event"] = NOON + np.arange(count)
    records["ts_recv"] = records["ts_event"] + 100
    return records
