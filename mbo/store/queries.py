"""What the database computes: bars and spreads. A missing price is left out, as SQL has to do it with these tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mbo.errors import RequestError
from mbo.store.ledger import Entry
from mbo.store.stored import pushed_down
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.selection import Selection
    from mbo.store.backend import Backend

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BUCKET: Final = "toDateTime64(toStartOfInterval(ts_recv, toIntervalSecond({seconds:UInt32}), 'UTC'), 9, 'UTC')"


def seconds_of(interval: str) -> int:
    """Read an interval such as "1s", "5m", "1h" or "1d", at most a day.

    >>> seconds_of("5m")
    300
    """
    found = re.fullmatch(r"([1-9]\d{0,4})([smhd])", interval, re.ASCII)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= 86_400:
        raise RequestError(f"{interval!r} is not an interval: write '1s', '1m', '1h' or '1d', at most a day")
    return seconds


def bars(backend: Backend, entries: Sequence[Entry], chosen: Selection, interval: str) -> pa.Table:
    """Compute bars of the trades by ts_recv; first and last are by the file's order, `volume` is the sum of sizes."""
    sql = f"""
        SELECT {_BUCKET} AS ts, publisher_id, instrument_id, argMin(price, row_num) AS open, max(price) AS high,
            min(price) AS low, argMax(price, row_num) AS close, sum(size) AS volume, count() AS trades
        FROM mbo.messages
        WHERE file_id = {{file_id:UInt64}} AND action = 'T' AND price != {UNDEF_PRICE}
    """  # noqa: S608 - what is pasted is this module's own
    return _over(backend, entries, chosen, sql, interval)


def spread(backend: Backend, entries: Sequence[Entry], chosen: Selection, interval: str) -> pa.Table:
    """Compute the spread of the best prices over the MBP-10 records that have both sides; it is negative in a crossed book."""
    sql = f"""
        SELECT {_BUCKET} AS ts, publisher_id, instrument_id, min(ask_px_00 - bid_px_00) AS spread_min,
            max(ask_px_00 - bid_px_00) AS spread_max, avg(ask_px_00 - bid_px_00) AS spread_mean,
            countIf(bid_px_00 >= ask_px_00) AS crossed, count() AS records
        FROM mbo.mbp10
        WHERE file_id = {{file_id:UInt64}} AND bid_px_00 != {UNDEF_PRICE} AND ask_px_00 != {UNDEF_PRICE}
    """  # noqa: S608
    return _over(backend, entries, chosen, sql, interval)


def _over(backend: Backend, entries: Sequence[Entry], chosen: Selection, sql: str, interval: str) -> pa.Table:
    import pyarrow as pa

    tables = []
    for entry in entries:
        where, params, _ = pushed_down(chosen, entry)
        bound: dict[str, Any] = {"file_id": entry.file_id, "seconds": seconds_of(interval)} | params
        table = backend.arrow(
            f"{sql}{where} GROUP BY ts, publisher_id, instrument_id ORDER BY ts, publisher_id, instrument_id", **bound
        )
        names = entry.symbol_map
        keys = zip(table["instrument_id"].to_pylist(), table["ts"].cast(pa.int64()).to_pylist(), strict=True)
        column = pa.array([names.symbol(number, ts) for number, ts in keys], pa.string())
        tables.append(table.append_column("symbol", column))
    return pa.concat_tables(tables)
