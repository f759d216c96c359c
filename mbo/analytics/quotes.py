"""Quotes out of market by price: spread, mid, imbalance, depth at a distance, order-flow imbalance.

Prices and spreads are int64 in units of 1e-9, and null where a side of the book is empty.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from mbo.analytics.columns import (
    KEYS,
    Array,
    Columns,
    Source,
    batches,
    before,
    book_columns,
    by_book,
    columns,
    key_columns,
    keys_of,
    level_count,
    nullable,
    prices,
    reader,
)  # fmt: skip
from mbo.errors import RequestError
from mbo.schemas import times_column
from mbo.units import UNDEF_PRICE, parse_interval

if TYPE_CHECKING:
    import pyarrow as pa

TOP: Final = ("bid_px_00", "ask_px_00", "bid_sz_00", "ask_sz_00")
_FARTHEST: Final = 2**63 - 1


def quotes(mbp: Source, *, levels: int = 1) -> pa.Table:
    """Give spread, mid, weighted mid and imbalance, row for row with market by price of any number of levels.

    With the best bid and ask Pb, Pa and their sizes Qb, Qa:

    * spread = Pa - Pb: int64, 1e-9; zero in a locked book, negative in a crossed one.
    * mid = (Pb + Pa) / 2: int64, 1e-9, exact wherever Pb + Pa is even; half a unit of 1e-9 is rounded down.
    * weighted_mid = (Pb Qa + Pa Qb) / (Qb + Qa): float64, in units of 1e-9. Also called "microprice" by some (Gatheral and Oomen
      2010); Stoikov's micro-price, which is a martingale and this is not, is `microprice`.
    * imbalance = (Qb - Qa) / (Qb + Qa): float64, from -1 (asks only) to 1; here Qb and Qa are summed over the first `levels`
      levels (Cao, Hansch and Wang 2009 look at deeper ones).

    A row with an empty side has nulls. Raises `RequestError` where the rows have fewer levels.
    """
    import pyarrow as pa

    opened = reader(mbp)
    names = _sized(opened.schema.names, levels)
    parts = [_quotes(rows, levels) for rows in batches(opened, [*KEYS, *TOP[:2], *names])]
    return pa.Table.from_batches(parts or [_quotes(_nothing([*KEYS, *TOP[:2], *names]), levels)])


def _sized(there: list[str], levels: int) -> list[str]:
    _at_most(levels, level_count(there))
    return [f"{side}_sz_{level:02}" for level in range(levels) for side in ("bid", "ask")]


def _at_most(levels: int, there: int) -> None:
    if not 1 <= levels <= there:
        raise RequestError(f"levels={levels}: these rows have 1 to {there}")


def _nothing(names: Iterable[str]) -> Columns:
    kinds = {"ts": np.uint64, "publisher": np.uint16, "instrument": np.uint32}
    return {
        name: np.empty(0, np.int64 if "_px" in name else kinds.get(name.split("_")[0], np.uint32)) for name in names
    }


def _quotes(rows: Columns, levels: int) -> pa.RecordBatch:
    import pyarrow as pa

    bid, ask = rows["bid_px_00"], rows["ask_px_00"]
    missing = (bid == UNDEF_PRICE) | (ask == UNDEF_PRICE)
    bid, ask = np.where(missing, 0, bid), np.where(missing, 0, ask)
    bid_sz, ask_sz = rows["bid_sz_00"].astype(np.int64), rows["ask_sz_00"].astype(np.int64)
    bids = sum((rows[f"bid_sz_{level:02}"].astype(np.int64) for level in range(levels)), np.int64(0))
    asks = sum((rows[f"ask_sz_{level:02}"].astype(np.int64) for level in range(levels)), np.int64(0))
    unsized = missing | (bid_sz + ask_sz == 0)
    spread = ask - bid
    # From the bid on, so that a large price does not cost the small difference its digits.
    weighted = bid + spread * (bid_sz / np.where(unsized, 1, bid_sz + ask_sz))
    ratio = (bids - asks) / np.where(unsized, 1, bids + asks)
    return pa.record_batch(
        {
            **key_columns(rows),
            "spread": nullable(spread, missing),
            "mid": nullable(bid + (spread >> 1), missing),
            "weighted_mid": nullable(weighted, unsized),
            "imbalance": nullable(ratio, unsized),
        }
    )


# ---------------------------------------------------------------- depth


def depth(mbp: Source, ticks: Iterable[int] = (1, 5, 10), *, tick_size: int | None = None) -> pa.Table:
    """Sum the sizes that stand at the N best prices of the tick grid of each side, for every N in `ticks`; row for row.

    bid_depth_N = the sum of bid sizes at prices above Pb - N * tick, ask_depth_N = the sum of ask sizes at prices below
    Pa + N * tick: N = 1 is the best price alone, and an empty tick counts as one. `tick_size` is in units of 1e-9 (10_000_000 is
    0.01); without it every book has its own, by `tick_sizes`. An empty side has depth 0. Where the rows show too few levels to
    tell (more than as many ticks as they have levels), it is null, never too small.
    """
    import pyarrow as pa

    wanted = [_whole("ticks", tick) for tick in ticks]
    opened = reader(mbp)
    levels = level_count(opened.schema.names)
    names = [f"{side}_{what}_{level:02}" for side in ("bid", "ask") for what in ("px", "sz") for level in range(levels)]
    if tick_size is not None:
        tick = _whole("tick_size", tick_size)
        parts: Iterator[Columns] = batches(opened, [*KEYS, *names])
        tables = [_depth(rows, np.int64(tick), wanted, levels) for rows in parts]
        return pa.Table.from_batches(tables or [_depth(_nothing([*KEYS, *names]), np.int64(tick), wanted, levels)])
    rows = columns(opened, [*KEYS, *names])
    keys, place = np.unique(keys_of(rows), return_inverse=True)
    found = _ticks(rows, keys, place, [name for name in names if "_px_" in name])
    return pa.Table.from_batches([_depth(rows, found[place], wanted, levels)])


def _whole(name: str, value: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        whole = 0
    if whole < 1:
        meant = (
            "a whole number of units of 1e-9, such as 10_000_000 for 0.01"
            if name == "tick_size"
            else "whole numbers from 1 on"
        )
        raise RequestError(f"{name}={value!r}: it has to be {meant}")
    return whole


def _depth(rows: Columns, tick: Array | np.int64, wanted: list[int], levels: int) -> pa.RecordBatch:
    import pyarrow as pa

    out = key_columns(rows)
    for side in ("bid", "ask"):
        best = rows[f"{side}_px_00"]
        away = []
        for level in range(levels):
            price = rows[f"{side}_px_{level:02}"]
            gap = best - price if side == "bid" else price - best
            away.append(np.where(price == UNDEF_PRICE, _FARTHEST, gap))
        for count in wanted:
            total = np.zeros(len(best), np.int64)
            for level in range(levels):
                total += np.where(away[level] < count * tick, rows[f"{side}_sz_{level:02}"], 0)
            out[f"{side}_depth_{count}"] = nullable(total, away[-1] < (count - 1) * tick)
    return pa.record_batch(out)


def tick_sizes(mbp: Source) -> pa.Table:
    """Infer the tick size of every book: the greatest common divisor of all prices that it shows, int64 in units of 1e-9.

    It is the tick, or a multiple of it where too few prices were seen. Null where none was.
    """
    import pyarrow as pa

    opened = reader(mbp)
    names = [f"{side}_px_{level:02}" for level in range(level_count(opened.schema.names)) for side in ("bid", "ask")]
    rows = columns(opened, [*KEYS, *names])
    keys, place = np.unique(keys_of(rows), return_inverse=True)
    found = _ticks(rows, keys, place, names)
    return pa.table({**book_columns(keys), "tick_size": nullable(found, found == 0)})


def _ticks(rows: Columns, keys: Array, place: Array, names: list[str]) -> Array:
    found = np.zeros(len(keys), np.int64)
    for number in range(len(keys)):
        own = place == number
        for name in names:
            seen = np.unique(rows[name][own])
            found[number] = np.gcd(found[number], np.gcd.reduce(seen[seen != UNDEF_PRICE], initial=0))
    return found


# ---------------------------------------------------------------- order flow


def order_flow_imbalance(mbp: Source, interval: str = "1s", *, levels: int = 1) -> pa.Table:
    """Sum the order-flow imbalance (OFI) of each interval of ts_recv and book, in contracts or shares (int64).

    For two rows of market by price that follow each other, with the bid (Pb, Qb), the ask (Pa, Qa), and ' for the row before:

        e = [Pb >= Pb'] Qb - [Pb <= Pb'] Qb' - [Pa <= Pa'] Qa + [Pa >= Pa'] Qa'

    and OFI is the sum of e over the rows of the interval (Cont, Kukanov and Stoikov 2014, "The price impact of order book events").
    ofi_00 is that of the best level; with `levels` more, ofi_01 and on are the same formula at deeper levels, the multi-level OFI
    of Xu, Gould and Howison 2018. An empty level is a price worse than any, of size 0. The first row of a book adds nothing.

    One row for every interval that has rows: `ts` is its begin, `records` counts its rows, `mid` (1e-9) is the last one, null where
    a side was empty then. Ordered by ts, publisher_id, instrument_id. Rows without a ts_recv count for none and raise.
    """
    import pyarrow as pa

    step = parse_interval(interval)
    opened = reader(mbp)
    _at_most(levels, level_count(opened.schema.names))
    names = [f"{side}_{what}_{level:02}" for side in ("bid", "ask") for what in ("px", "sz") for level in range(levels)]
    rows, first = by_book(columns(opened, [*KEYS, *names]))
    keys, ts = keys_of(rows), interval_starts(rows["ts_recv"], step)
    order = np.lexsort((keys, ts))  # stable: the rows of one interval and book stay in their order
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1) | (np.diff(ts[order], prepend=-1) != 0))
    flows = {
        f"ofi_{level:02}": np.add.reduceat(_flow(rows, first, level)[order], starts)
        if len(starts)
        else np.empty(0, np.int64)
        for level in range(levels)
    }
    last = order[np.append(starts[1:], len(order)) - 1] if len(starts) else order
    bid, ask = rows["bid_px_00"][last], rows["ask_px_00"][last]
    missing = (bid == UNDEF_PRICE) | (ask == UNDEF_PRICE)
    mid = np.where(missing, UNDEF_PRICE, bid + ((np.where(missing, bid, ask) - bid) >> 1))
    return pa.table(
        {
            "ts": times_column(ts[last].view(np.uint64)),
            **book_columns(keys[last]),
            **flows,
            "mid": prices(mid),
            "records": np.diff(np.append(starts, len(order))),
        }
    )


def interval_starts(times: Array, step: int) -> Array:
    """Give the begin of each time's interval, int64 nanoseconds; `RequestError` where a time is missing."""
    if len(times) and int(times.max()) > _FARTHEST:
        raise RequestError("a row has no ts_recv: leave such rows out, they are of no interval")
    signed = times.astype(np.int64)
    return signed // step * step


def _flow(rows: Columns, first: Array, level: int) -> Array:
    """Give e of every row at a level."""
    flow = np.zeros(len(first), np.int64)
    for side, sign in (("bid", 1), ("ask", -1)):
        price, size = rows[f"{side}_px_{level:02}"], rows[f"{side}_sz_{level:02}"].astype(np.int64)
        rank = np.where(price == UNDEF_PRICE, -_FARTHEST, price * sign)  # the higher the better, on both sides
        rank_before, size_before = before(rank, first, 0), before(size, first, 0)
        flow += sign * (np.where(rank >= rank_before, size, 0) - np.where(rank <= rank_before, size_before, 0))
    flow[first] = 0
    return flow
