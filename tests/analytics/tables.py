"""Tables for the tests of the analytics: market by price and trades of tapes, and rows made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from mbo.mbp import Mbp
from mbo.records import Flag, RecordArray
from mbo.schemas import columns_of, level_columns, mbp_dtype, to_arrow, trades_of
from mbo.units import UNDEF_PRICE
from tests.book.tapes import TICK

Row = dict[str, Any]


def mbp_table(records: RecordArray, levels: int = 10, **options: Any) -> pa.Table:
    """Market by price of MBO records, as `day.mbp(levels)` gives it."""
    pieces = [np.empty(0, mbp_dtype(levels)), *Mbp(levels).apply(records)]
    return pa.Table.from_batches([to_arrow(np.concatenate(pieces), columns_of(f"mbp-{levels}"), **options)])


def trades_table(records: RecordArray, **options: Any) -> pa.Table:
    return pa.Table.from_batches([to_arrow(trades_of(records), columns_of("trades"), **options)])


def quote_rows(*lines: str, levels: int = 1, **fields: Any) -> pa.Table:
    """Market by price from lines like `100x5 99x3 | 101x2` (price in ticks x size, best first), a microsecond apart from 1 s on.

    `fields` are columns for all rows, or lists of them.
    """
    array = np.zeros(len(lines), mbp_dtype(levels))
    for name in level_columns(levels):
        if "_px_" in name:
            array[name] = UNDEF_PRICE
    array["ts_recv"] = array["ts_event"] = 10**9 + 1_000 * np.arange(len(lines))
    array["publisher_id"], array["instrument_id"], array["action"], array["side"] = 1, 7, ord("A"), ord("N")
    for row, line in zip(array, lines, strict=True):
        for side, text in zip(("bid", "ask"), line.split("|"), strict=True):
            for level, entry in enumerate(text.split()):
                price, size = entry.split("x")
                row[f"{side}_px_{level:02}"], row[f"{side}_sz_{level:02}"] = round(float(price) * TICK), int(size)
    for name, values in fields.items():
        array[name] = [ord(value) for value in values] if name in ("action", "side") else values
    return pa.Table.from_batches(
        [
            to_arrow(
                array,
                columns_of(f"mbp-{levels}" if levels in (1, 10) else "mbp-10")[:13] + tuple(level_columns(levels)),
            )
        ]
    )


def column(table: pa.Table, name: str) -> list[Any]:
    """A column as plain values; times as nanoseconds."""
    values = table[name]
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return values.to_pylist()


def rows_of(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(column(table, name) for name in names), strict=True))


def books_of(table: pa.Table) -> list[tuple[int, int]]:
    return rows_of(table, "publisher_id", "instrument_id")


def event_ends(records: RecordArray) -> Iterator[tuple[int, int]]:
    """The records of each event of a stream in which events do not interleave: (first, one after the last)."""
    ends = [0, *(np.flatnonzero(records["flags"] & int(Flag.LAST)) + 1).tolist()]
    return pairwise(ends)


def same(one: pa.Table, other: pa.Table, names: Sequence[str] | None = None) -> bool:
    """Whether two tables hold the same values, however they are chunked."""
    names = one.column_names if names is None else names
    return all(column(one, name) == column(other, name) for name in names)
