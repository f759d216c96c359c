"""Bars of trades: by time, by number of trades, by volume, by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mbo.analytics.columns import (
    KEYS,
    Array,
    Columns,
    Source,
    book_columns,
    by_book,
    columns,
    keys_of,
    nullable,
    prices,
)
from mbo.analytics.quotes import interval_starts
from mbo.errors import RequestError
from mbo.records import Action, Side
from mbo.schemas import times_column
from mbo.units import PRICE_SCALE, UNDEF_PRICE, parse_interval

if TYPE_CHECKING:
    import pyarrow as pa

BarsBy = Literal["time", "tick", "volume", "dollar"]


def bars(trades: Source, every: str | int | float, *, by: BarsBy = "time") -> pa.Table:
    """Make bars of trades, apart for every book.

    * by="time": `every` is an interval such as "1m"; a bar is the trades of one interval of ts_recv.
    * by="tick": a bar is `every` trades.
    * by="volume": a bar ends with the trade that brings its sizes to `every`.
    * by="dollar": a bar ends with the trade that brings its sum of |price| * size, in currency units, to `every`; a contract's
      multiplier is not in the data.

    A trade is never split, the last bar of a book is what is left, and an interval without trades has no bar (López de Prado 2018,
    "Advances in financial machine learning", chapter 2). Takes `day.trades()`, or any rows with those columns, of which those
    that are no trades are left out.

    Columns: `ts` (begin of the interval, else ts_recv of the first trade) and `ts_last` (of the last trade); open, high, low, close
    (int64, 1e-9, null where no trade of the bar has a price); volume, buy_volume, sell_volume (by the exchange's aggressor; trades
    without one are in `volume` alone); trades; vwap = sum(price * size) / sum(size), float64, in units of 1e-9. Ordered by ts,
    publisher_id, instrument_id.
    """
    import pyarrow as pa

    opened = columns(trades, [*KEYS, "action", "side", "price", "size"])
    rows, first = by_book({name: values[opened["action"] == Action.TRADE] for name, values in opened.items()})
    if by == "time":
        if not isinstance(every, str):
            raise RequestError(f"every={every!r}: bars by time need an interval such as '1m'")
        ts = interval_starts(rows["ts_recv"], parse_interval(every))
        begins = first | (np.diff(ts, prepend=-1) != 0)
        if (
            len(ts) and (np.diff(ts)[~first[1:]] < 0).any()
        ):  # a late trade belongs to its own interval, which is open already
            order = np.lexsort((ts, keys_of(rows)))
            rows, ts = {name: values[order] for name, values in rows.items()}, ts[order]
            begins = first | (np.diff(ts, prepend=-1) != 0)
    else:
        number = _numbers(rows, first, every, by)
        begins, ts = np.diff(number, prepend=-1) != 0, rows["ts_recv"].astype(np.int64)
    starts = np.flatnonzero(begins)
    made = _made(rows, begins, starts)
    keys = keys_of(rows)[starts]
    order = np.lexsort((keys, ts[starts]))
    table = pa.table({"ts": times_column(ts[starts].view(np.uint64)), **book_columns(keys), **made})
    return table.take(pa.array(order))


def _numbers(rows: Columns, first: Array, every: str | int | float, by: BarsBy) -> Array:
    """Give each trade the number of its bar."""
    from mbo.analytics import _bar_kernels as kernels

    if isinstance(every, (str, bool)) or not 0 < every < float("inf"):
        raise RequestError(f"every={every!r}: bars by {by} need a number above 0")
    if by == "tick":
        values, threshold = np.ones(len(first)), float(every)
    elif by == "volume":
        values, threshold = rows["size"].astype(np.float64), float(every)
    elif by == "dollar":
        # In units of 1e-9, of which a double counts the first nine million dollars exactly.
        priced = np.where(rows["price"] == UNDEF_PRICE, 0, rows["price"])
        values, threshold = np.abs(priced.astype(np.float64)) * rows["size"], float(every) * PRICE_SCALE
    else:
        raise RequestError(f"by={by!r}: bars are by 'time', 'tick', 'volume' or 'dollar'")
    number = np.empty(len(first), np.int64)
    kernels.number_bars(values, first, threshold, number)
    return number


def _made(rows: Columns, begins: Array, starts: Array) -> dict[str, pa.Array]:
    """Reduce every bar's trades."""
    import pyarrow as pa

    size, price = rows["size"].astype(np.int64), rows["price"]
    unpriced = price == UNDEF_PRICE
    bar = np.cumsum(begins) - 1
    empty = _sums((~unpriced).astype(np.int64), starts) == 0
    lows = np.minimum.reduceat(price, starts) if len(starts) else price
    highs = np.maximum.reduceat(np.where(unpriced, -UNDEF_PRICE, price), starts) if len(starts) else price
    places = np.arange(len(price))
    opens = np.minimum.reduceat(np.where(unpriced, len(price), places), starts) if len(starts) else places
    closes = np.maximum.reduceat(np.where(unpriced, -1, places), starts) if len(starts) else places
    opens = np.where(empty, UNDEF_PRICE, price[np.where(empty, 0, opens)])
    closes = np.where(empty, UNDEF_PRICE, price[np.where(empty, 0, closes)])
    counted = _sums(np.where(unpriced, 0, size), starts)
    # From the first price on: the differences are small, so that their products and sums are exact integers.
    offsets = np.where(unpriced, 0, (price - opens[bar]) * size)
    vwap = opens + _sums(offsets, starts) / np.maximum(counted, 1)
    return {
        "open": prices(opens),
        "high": prices(np.where(empty, UNDEF_PRICE, highs)),
        "low": prices(lows),
        "close": prices(closes),
        "volume": pa.array(_sums(size, starts)),
        "buy_volume": pa.array(_sums(np.where(rows["side"] == Side.BID, size, 0), starts)),
        "sell_volume": pa.array(_sums(np.where(rows["side"] == Side.ASK, size, 0), starts)),
        "trades": pa.array(np.diff(np.append(starts, len(size)))),
        "vwap": nullable(vwap, empty | (counted == 0)),
        "ts_last": times_column(
            rows["ts_recv"][np.append(starts[1:], len(size)) - 1] if len(starts) else rows["ts_recv"]
        ),
    }


def _sums(values: Array, starts: Array) -> Array:
    sums: Array = np.add.reduceat(values, starts) if len(starts) else values
    return sums
