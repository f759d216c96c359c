"""What the analytics read and write: columns of any Arrow stream as numpy arrays, MBO records of any source, tables out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, RecordArray, as_records
from mbo.schemas import times_column
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
Columns = dict[str, Array]
Source = Any
"""What gives Arrow: a stream of `mbo` (`day.mbp(10)`), a pyarrow table or reader, a polars frame."""

KEYS: Final = ("ts_recv", "ts_event", "publisher_id", "instrument_id")
"""When and of which book a row is."""
_KINDS: Final = {
    "ts_recv": "<u8",
    "ts_event": "<u8",
    "publisher_id": "<u2",
    "instrument_id": "<u4",
    "order_id": "<u8",
    "flags": "u1",
}
_RECORD_COLUMNS: Final = (*KEYS, "order_id", "action", "side", "price", "size", "flags")
_RECORD_EXTRAS: Final = ("channel_id", "ts_in_delta", "sequence")


# ---------------------------------------------------------------- in


def reader(source: Source) -> pa.RecordBatchReader:
    """Open an Arrow stream over what was handed in; `RequestError` where it is none."""
    import pyarrow as pa

    if isinstance(source, pa.RecordBatchReader):
        return source
    if not hasattr(source, "__arrow_c_stream__"):
        raise RequestError(
            f"a {type(source).__name__} is not a table: give a stream of mbo, a pyarrow table or a polars frame"
        )
    return pa.RecordBatchReader.from_stream(source)


def level_count(names: Sequence[str]) -> int:
    """Count the levels that a table of market by price has, by its columns; `RequestError` where it has none."""
    count = 0
    while f"bid_px_{count:02}" in names and f"ask_px_{count:02}" in names:
        count += 1
    if not count:
        raise RequestError("these rows have no column bid_px_00: give market by price, such as day.mbp(10)")
    return count


def batches(opened: pa.RecordBatchReader, names: Iterable[str]) -> Iterator[Columns]:
    """Give the named columns batch by batch as numpy arrays.

    Prices are int64 in units of 1e-9, times uint64 nanoseconds, actions and sides the codes of their letters. What is null is
    UNDEF_PRICE, UNDEF_TIMESTAMP, or 0.
    """
    names = list(names)
    for name in names:
        if name not in opened.schema.names:
            raise RequestError(f"these rows have no column {name}: they have {', '.join(opened.schema.names[:8])} ...")
    for batch in opened:
        yield {name: _numpy(name, batch.column(name)) for name in names}


def columns(source: Source, names: Iterable[str]) -> Columns:
    """Read the named columns whole; see `batches`."""
    names = list(names)
    opened = reader(source)
    parts = list(batches(opened, names))
    if not parts:
        return {name: _numpy(name, _empty(opened.schema.field(name).type)) for name in names}
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _empty(kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.array([], kind)


def _numpy(name: str, column: pa.Array) -> Array:
    import pyarrow as pa
    from pyarrow import compute

    if name in ("action", "side"):
        return _codes(column)
    if name == "price" or "_px_" in name:
        return _prices(name, column)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    missing = UNDEF_TIMESTAMP if name.startswith("ts_") and name != "ts_in_delta" else 0
    values = column.cast(pa.uint64()) if missing else column
    values = compute.fill_null(values, pa.scalar(missing, values.type)) if values.null_count else values
    array: Array = values.to_numpy(zero_copy_only=False)
    return array.astype(_KINDS[name], copy=False) if name in _KINDS else array


def _codes(column: pa.Array) -> Array:
    """Give letters as their codes, 0 where there is none: from a dictionary, text, or single bytes."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())  # polars' text, which has no dictionaries in Arrow
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    letters = [str(value, "latin-1") if isinstance(value, bytes) else value for value in column.dictionary.to_pylist()]
    codes: Array = np.array([*(ord(letter[0]) if letter else 0 for letter in letters), 0], np.uint8)
    place = compute.fill_null(column.indices.cast(pa.int64()), len(letters)).to_numpy(zero_copy_only=False)
    taken: Array = codes[place]
    return taken


def _prices(name: str, column: pa.Array) -> Array:
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_int64(column.type):
        filled = compute.fill_null(column, UNDEF_PRICE) if column.null_count else column
        array: Array = filled.to_numpy(zero_copy_only=False)
        return array
    if pa.types.is_decimal128(column.type) and column.type.scale == 9:
        words = np.frombuffer(column.buffers()[1] or b"", "<i8")[::2]  # a price needs the low one of the two words only
        values = words[column.offset : column.offset + len(column)].copy()
        values[column.is_null().to_numpy(zero_copy_only=False)] = UNDEF_PRICE
        return values
    raise RequestError(f"{name} is of type {column.type}, which is not exact: ask for px='fixed' or px='decimal'")


def record_batches(source: Source) -> Iterator[RecordArray]:
    """Give MBO records of an array of them, of `Records`, or of a table with the columns of MBO, batch by batch."""
    if isinstance(source, np.ndarray):
        yield as_records(source)
    elif hasattr(source, "batches"):  # Records, whose own arrays need no way through Arrow
        for array in source.batches():
            yield as_records(array)
    else:
        opened = reader(source)
        extras = [name for name in _RECORD_EXTRAS if name in opened.schema.names]
        for part in batches(opened, [*_RECORD_COLUMNS, *extras]):
            records = np.zeros(len(part["price"]), MBO_DTYPE)
            records["length"], records["rtype"] = MBO_LENGTH, RTYPE_MBO
            for name, values in part.items():
                records[name] = values
            yield as_records(records)


# ---------------------------------------------------------------- books


def keys_of(rows: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """Give each row's book as one number: publisher_id << 32 | instrument_id."""
    keys: npt.NDArray[np.int64] = rows["publisher_id"].astype(np.int64) << 32 | rows["instrument_id"].astype(np.int64)
    return keys


def by_book(rows: Mapping[str, Array]) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Sort rows by book, each book's in their order; and say which row is the first of its book."""
    keys = keys_of(rows)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return {name: values[order] for name, values in rows.items()}, first


def before(values: Array, first: npt.NDArray[np.bool_], missing: int) -> Array:
    """Give what stood in the row before, of the same book; `missing` in the first row of a book."""
    shifted = np.empty_like(values)
    shifted[1:] = values[:-1]
    shifted[first] = missing
    return shifted


# ---------------------------------------------------------------- out


def nullable(values: Array, missing: npt.NDArray[np.bool_]) -> pa.Array:
    """Make an Arrow column, null where `missing`."""
    import pyarrow as pa

    return pa.array(values, mask=missing if missing.any() else None)


def prices(values: Array) -> pa.Array:
    """Make a column of prices, null where they are UNDEF_PRICE."""
    return nullable(values, values == UNDEF_PRICE)


def named(codes: Array, names: Sequence[str]) -> pa.DictionaryArray:
    """Make a dictionary column of the names that `codes` number from 0."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(list(names)))


def letters(codes: Array) -> pa.DictionaryArray:
    """Make a column of the letters of sides, null where a code is none of theirs."""
    import pyarrow as pa

    place = np.full(256, -1, np.int8)
    place[[ord(letter) for letter in "ABN"]] = 0, 1, 2
    return pa.DictionaryArray.from_arrays(nullable(place[codes], place[codes] < 0), pa.array(list("ABN")))


def key_columns(rows: Mapping[str, Array]) -> dict[str, pa.Array]:
    """Make the columns that every row-by-row table begins with."""
    import pyarrow as pa

    return {name: times_column(rows[name]) if name.startswith("ts_") else pa.array(rows[name]) for name in KEYS}


def book_columns(keys: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """Make the columns publisher_id and instrument_id of books' keys."""
    import pyarrow as pa

    return {
        "publisher_id": pa.array((keys >> 32).astype(np.uint16)),
        "instrument_id": pa.array((keys & 0xFFFFFFFF).astype(np.uint32)),
    }
