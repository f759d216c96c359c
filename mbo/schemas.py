"""Structured arrays as Arrow: Databento's column names and order, missing values null, prices and times exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError
from mbo.records import HEADER_FIELDS, MBO_DTYPE, Action, RecordArray
from mbo.units import PRICE_SCALE, UNDEF_PRICE

if TYPE_CHECKING:
    import pyarrow as pa

PriceAs = Literal["fixed", "decimal", "float"]
"""How prices leave: int64 in units of 1e-9, decimal128(28, 9), or float64 in currency units; a missing one is null."""

MBO_COLUMNS: Final = (
    "ts_recv", "ts_event", "rtype", "publisher_id", "instrument_id", "action", "side", "price", "size", "channel_id", "order_id",
    "flags", "ts_in_delta", "sequence",
)  # fmt: skip
TRADES_COLUMNS: Final = (
    "ts_recv", "ts_event", "rtype", "publisher_id", "instrument_id", "action", "side", "depth", "price", "size", "flags",
    "ts_in_delta", "sequence",
)  # fmt: skip
BBO_COLUMNS: Final = (
    "ts_recv", "ts_event", "rtype", "publisher_id", "instrument_id", "side", "price", "size", "flags", "sequence",
)  # fmt: skip
"""The bytes of action, depth and ts_in_delta are reserved in a BBO record."""
_LEVEL_COLUMNS: Final = ("bid_px", "ask_px", "bid_sz", "ask_sz", "bid_ct", "ask_ct")

TRADES_FIELDS: Final = [
    *HEADER_FIELDS,
    ("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1"),
    ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
TRADES_DTYPE: Final = np.dtype(TRADES_FIELDS)
"""Databento's `trades` record, 48 bytes; in `mbp-1` and `mbp-10` the levels follow."""
LEVEL_PAIR_DTYPE: Final = np.dtype([(name, "<i8" if name.endswith("px") else "<u4") for name in _LEVEL_COLUMNS])
"""One level of both sides, 32 bytes: prices in 1e-9, sizes, and counts of orders. A missing one is (UNDEF_PRICE, 0, 0)."""


def level_columns(levels: int) -> list[str]:
    """Name the columns of the levels as Databento does: bid_px_00, ask_px_00, bid_sz_00 ... ask_ct_09."""
    return [f"{name}_{level:02}" for level in range(levels) for name in _LEVEL_COLUMNS]


def mbp_dtype(levels: int) -> np.dtype[Any]:
    """Give Databento's `mbp-1` (80 bytes) or `mbp-10` (368 bytes) record with a field for every column."""
    kinds = [LEVEL_PAIR_DTYPE[name] for name in _LEVEL_COLUMNS] * levels
    return np.dtype([*TRADES_FIELDS, *zip(level_columns(levels), kinds, strict=True)])


_LEVELS: Final = {"mbp-10": 10, "mbp-1": 1, "tbbo": 1, "bbo-1s": 1, "bbo-1m": 1}


def dtype_of(schema: str) -> np.dtype[Any]:
    """Give the record of a schema, in DBN's own layout."""
    if schema == "mbo":
        return MBO_DTYPE
    if schema == "trades":
        return TRADES_DTYPE
    if schema in _LEVELS:
        return mbp_dtype(_LEVELS[schema])
    raise RequestError(f"no schema {schema!r}: there are mbo, trades, {', '.join(_LEVELS)}")


def columns_of(schema: str) -> tuple[str, ...]:
    """Name the columns of a schema in Databento's order, without ts_out and symbol."""
    if schema == "mbo":
        return MBO_COLUMNS
    own = BBO_COLUMNS if schema.startswith("bbo-") else TRADES_COLUMNS
    return (*own, *level_columns(_LEVELS.get(schema, 0)))


def trades_of(records: RecordArray) -> npt.NDArray[Any]:
    """Take the trades (action T) out of MBO records, as `TRADES_DTYPE`, in their order; their depth is 0."""
    found = records[records["action"] == Action.TRADE]
    trades = np.zeros(len(found), TRADES_DTYPE)
    for name in set(TRADES_DTYPE.names or ()) - {"length", "rtype", "depth"}:
        trades[name] = found[name]
    trades["length"] = TRADES_DTYPE.itemsize // 4
    return trades


def to_arrow(
    array: npt.NDArray[Any], columns: Iterable[str], *, px: PriceAs = "fixed", extra: Mapping[str, Any] | None = None
) -> pa.RecordBatch:
    """Copy columns of a structured array to an Arrow record batch; `extra` are finished Arrow columns that follow them."""
    import pyarrow as pa

    built = {name: _column(name, array[name], px) for name in columns} | dict(extra or {})
    return pa.record_batch(built)


def _column(name: str, values: npt.NDArray[Any], px: PriceAs) -> pa.Array:
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if name == "price" or name.endswith("_px") or "_px_" in name:
        return _prices(values, px)
    if name.startswith("ts_") and values.dtype == np.uint64:
        return times_column(values)
    if name in ("action", "side"):
        index = values.astype(np.int8) - np.int8(ord("A"))  # what is no letter becomes negative, or more than 25
        return pa.DictionaryArray.from_arrays(
            pa.array(index, mask=_mask((index < 0) | (index > 25))), pa.array(_LETTERS)
        )
    return pa.array(values)


def times_column(values: npt.NDArray[np.uint64]) -> pa.Array:
    """Copy nanoseconds to timestamp[ns, UTC]; a missing one is null, and so is one after 2262, which Arrow has no room for."""
    import pyarrow as pa

    mask = values > _LATEST if len(values) and values.max() > _LATEST else None
    return pa.array(values.view(np.int64), pa.timestamp("ns", "UTC"), mask=mask)


_LETTERS: Final = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
_LATEST: Final = 2**63 - 1


def _mask(missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    return missing if missing.any() else None


def _prices(values: npt.NDArray[np.int64], px: PriceAs) -> pa.Array:
    import pyarrow as pa

    mask = values == UNDEF_PRICE if len(values) and values.max() == UNDEF_PRICE else None
    if px == "fixed":
        return pa.array(values, mask=mask)
    if px == "float":
        return pa.array(values / PRICE_SCALE, mask=mask)
    if px == "decimal":
        wide = np.stack([values, values >> 63], axis=1)  # 128 bits, little-endian: the value, then its sign
        validity = None if mask is None else pa.py_buffer(np.packbits(~mask, bitorder="little"))
        return pa.Array.from_buffers(pa.decimal128(28, 9), len(values), [validity, pa.py_buffer(wide)])
    raise RequestError(f"px={px!r}: prices are 'fixed', 'decimal' or 'float'")


class ArrowStream:
    """A lazy table: it hands itself to polars, pyarrow or DuckDB batch by batch, and may be read any number of times.

    >>> ArrowStream(lambda: iter([to_arrow(np.zeros(2, [("size", "<u4")]), ["size"])])).read().num_rows
    2
    """

    def __init__(self, batches: Callable[[], Iterator[pa.RecordBatch]], description: str = "ArrowStream") -> None:
        self._batches = batches
        self._description = description

    def reader(self) -> pa.RecordBatchReader:
        """Open a pyarrow reader over all batches."""
        import pyarrow as pa

        batches = self._batches()
        first = next(batches)  # every stream gives at least one batch, if an empty one, for its schema
        return pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))

    def read(self) -> pa.Table:
        """Read all of it into one pyarrow table."""
        return self.reader().read_all()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return self._description


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
