"""What the database computes: bars, spreads, depth, orders' lives. A missing price is left out, as SQL has to with these tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mbo.errors import RequestError
from mbo.store.ledger import Entry
from mbo.store.stored import pushed_down
from mbo.units import NS_PER_S, UNDEF_PRICE, parse_interval

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.selection import Selection
    from mbo.store.backend import Backend

_DAY_S: Final = 86_400
_BUCKET: Final = "toDateTime64(toStartOfInterval(ts_recv, toIntervalSecond({seconds:UInt32}), 'UTC'), 9, 'UTC')"


def seconds_of(interval: str) -> int:
    """Read an interval such as "1s", "5m", "1h" or "1d", at most a day.

    >>> seconds_of("5m")
    300
    """
    seconds, rest = divmod(parse_interval(interval), NS_PER_S)
    if rest or seconds > _DAY_S:
        raise RequestError(
            f"{interval!r} is not an interval of whole seconds, at most a day: write '1s', '1m', '1h' or '1d'"
        )
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


def depth(backend: Backend, entries: Sequence[Entry], chosen: Selection, interval: str, levels: int) -> pa.Table:
    """Compute what rests on the best `levels` levels of each side: the mean over the MBP-10 records, and after the last of them."""
    if not 1 <= levels <= 10:
        raise RequestError(f"depth of {levels} levels: MBP-10 has 1 to 10")
    sums = {
        f"{side}_{what}": " + ".join(f"toUInt64({side}_{what}_{level:02})" for level in range(levels))
        for side in ("bid", "ask")
        for what in ("sz", "ct")
    }
    columns = ", ".join(
        f"avg({total}) AS {name}_mean, argMax({total}, record_num) AS {name}_last" for name, total in sums.items()
    )
    sql = f"""
        SELECT {_BUCKET} AS ts, publisher_id, instrument_id, {columns}, count() AS records
        FROM mbo.mbp10
        WHERE file_id = {{file_id:UInt64}}
    """  # noqa: S608
    return _over(backend, entries, chosen, sql, interval)


def lifetimes(backend: Backend, entries: Sequence[Entry], chosen: Selection) -> pa.Table:
    """Follow every order from its first message to its last; see `Store.lifetimes`."""
    import pyarrow as pa

    tables = []
    for entry in entries:
        where, params, _ = pushed_down(chosen, entry)
        table = backend.arrow(_LIFETIMES.replace("{where}", where), file_id=entry.file_id, **params)
        tables.append(_named(table, entry, "ts_first"))
    return pa.concat_tables(tables)


# Every order's messages are gathered, a few for each. `last` is its last A or M: what then was cancelled is taken off its size.
_LIFETIMES: Final = """
    WITH clears AS (
        SELECT publisher_id, instrument_id, groupArray(row_num) AS numbers FROM mbo.messages
        WHERE file_id = {file_id:UInt64} AND action = 'R' {where} GROUP BY publisher_id, instrument_id
    ), orders AS (
        SELECT publisher_id, instrument_id, order_id, arrayCount(number -> number < row_num, numbers) AS life,
            length(any(numbers)) AS lives, toString(any(side)) AS side,
            arraySort(groupArray((row_num, action, size, price, ts_event))) AS m,
            arrayLastIndex(x -> x.2 IN ('A', 'M'), m) AS last, arrayLastIndex(x -> x.2 = 'C', m) AS gone,
            last > 0 AND m[last].3 > arraySum(x -> if(x.1 > m[last].1 AND x.2 = 'C', x.3, 0), m) AS rests,
            arraySum(x -> if(x.2 = 'F' AND x.5 = m[gone].5, x.3, 0), m) AS taken
        FROM mbo.messages LEFT JOIN clears USING (publisher_id, instrument_id)
        WHERE file_id = {file_id:UInt64} AND action IN ('A', 'C', 'M', 'F') AND order_id != 0 {where}
        GROUP BY publisher_id, instrument_id, order_id, life
    )
    SELECT publisher_id, instrument_id, order_id, side,
        if(m[1].2 = 'A', m[1].4, NULL) AS price, if(m[1].2 = 'A', m[1].3, NULL) AS size,
        if(m[1].2 = 'A', m[1].5, NULL) AS ts_entered, m[1].5 AS ts_first, if(rests, NULL, m[-1].5) AS ts_ended,
        arrayCount(x -> x.2 = 'M', m) AS modifies, arrayCount(x -> x.2 = 'F', m) AS fills,
        arraySum(x -> if(x.2 = 'F', x.3, 0), m) AS filled,
        multiIf(
            rests AND life < lives, 'cleared', rests, 'open', gone = 0, 'unseen', taken >= m[gone].3, 'filled', 'cancelled'
        ) AS outcome
    FROM orders ORDER BY m[1].1
"""


def _over(backend: Backend, entries: Sequence[Entry], chosen: Selection, sql: str, interval: str) -> pa.Table:
    import pyarrow as pa

    tables = []
    for entry in entries:
        where, params, _ = pushed_down(chosen, entry)
        bound: dict[str, Any] = {"file_id": entry.file_id, "seconds": seconds_of(interval)} | params
        table = backend.arrow(
            f"{sql}{where} GROUP BY ts, publisher_id, instrument_id ORDER BY ts, publisher_id, instrument_id", **bound
        )
        tables.append(_named(table, entry, "ts"))
    return pa.concat_tables(tables)


def _named(table: pa.Table, entry: Entry, time: str) -> pa.Table:
    """Add the symbols, as they were at the column `time`."""
    import pyarrow as pa

    names = entry.symbol_map
    keys = zip(table["instrument_id"].to_pylist(), table[time].cast(pa.int64()).to_pylist(), strict=True)
    return table.append_column("symbol", pa.array([names.symbol(number, ts) for number, ts in keys], pa.string()))
