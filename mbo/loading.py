"""Records back into structured arrays, from DBN files and from tables with Databento's columns.

A table's columns are copied into the fields of DBN's own record: nothing here looks at one record at a time. What a table does not
say, such as the length byte, is what DBN would have there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo import dbn
from mbo.errors import FormatError, RecordError, RequestError, TruncatedError
from mbo.records import MBO_DTYPE, RTYPES
from mbo.schemas import columns_of, dtype_of
from mbo.units import PRICE_SCALE, UNDEF_PRICE, UNDEF_TIMESTAMP

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]


class RecordFile(NamedTuple):
    """A file's records in memory: their schema, the records in the file's order and DBN's layout, the symbols it names."""

    schema: str
    records: Array
    symbols: dict[int, str]
    """By instrument id; where an instrument had several names, the last of them."""
    fragment: bool = False
    """The file is a piece of an integer-coded array; what was cut at its end is left out."""


RECOGNISED: Final = ("mbo", "mbp-10", "mbp-1", "trades", "bbo-1s")
"""Schemas that columns tell. Those of tbbo are those of mbp-1, and taken for them."""
RTYPE_OF: Final = {name: rtype for rtype, name in RTYPES.items()} | {"tbbo": 0x01}


# ---------------------------------------------------------------- DBN


def from_dbn(path: Path) -> RecordFile:
    """Read a DBN file of one schema, plain or compressed, of any version."""
    file = dbn.open_any(path)
    schema = "mbo" if file.metadata.schema is None else str(file.metadata.schema)
    if schema == "mbo":
        batches = [batch.records for batch in file.batches()]
        records = np.concatenate(batches) if batches else np.empty(0, MBO_DTYPE)
    else:
        records = _uniform(file, schema)
    symbol_map = file.symbol_map()
    ids = np.unique(records["instrument_id"]).tolist() if len(symbol_map) else []
    names = {number: symbol_map.symbol(number) for number in ids}
    return RecordFile(schema, records, {number: name for number, name in names.items() if name != str(number)})


def _uniform(file: dbn.DbnFile, schema: str) -> Array:
    """Read a file in which all records are of one length."""
    try:
        dtype = dtype_of(schema)
    except RequestError:
        raise FormatError(
            f"{file.path} holds {schema} records, which cannot be read here", path=str(file.path)
        ) from None
    stride = dtype.itemsize + (8 if file.metadata.ts_out else 0)
    data = file.load()
    rows = data[: len(data) // stride * stride].reshape(-1, stride)
    wrong = (rows[:, 0] != stride // 4) | (rows[:, 1] != RTYPE_OF[schema])
    if wrong.any():
        index = int(wrong.argmax())
        raise RecordError(
            f"{file.path} is damaged: record {index} is no {schema} record "
            f"(length byte {rows[index, 0]}, rtype 0x{rows[index, 1]:02x})",
            path=str(file.path), index=index, offset_bytes=file.header_bytes + index * stride,
        )  # fmt: skip
    if len(data) % stride:
        raise TruncatedError(
            f"{file.path} is cut: it ends {len(data) % stride} bytes into record {len(rows)}",
            path=str(file.path), index=len(rows), offset_bytes=file.header_bytes + len(rows) * stride,
        )  # fmt: skip
    records = np.ascontiguousarray(rows[:, : dtype.itemsize]).reshape(-1).view(dtype)
    if file.metadata.ts_out:
        records["length"] = dtype.itemsize // 4
    return records


# ---------------------------------------------------------------- columns


def schema_of(columns: Iterable[str], path: Path) -> str:
    """Tell which schema a table comes closest to by its columns (JSON's flattened); `FormatError` says what it lacks of that."""
    there = set(columns)
    known = there & {name for schema in RECOGNISED for name in columns_of(schema)}
    schema = min(RECOGNISED, key=lambda schema: len(known ^ set(columns_of(schema))))
    lacking = [name for name in columns_of(schema) if name not in there]
    if lacking:
        names = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        raise FormatError(f"{path} holds no records that are known here: for {schema} it lacks {names}", path=str(path))
    return schema


def from_table(table: pa.Table, path: Path, schema: str | None = None) -> RecordFile:
    """Copy an Arrow table with Databento's columns, of any types that hold their values, into records of its schema.

    Prices may be integers in 1e-9, decimals, text, or floats (exact up to 9 million), times timestamps, text or integers. A missing
    price or time becomes DBN's mark for it; a missing number is a `FormatError`.
    """
    schema = schema or schema_of(table.column_names, path)
    dtype = dtype_of(schema)
    records = np.zeros(len(table), dtype)
    records["length"] = dtype.itemsize // 4
    for name in columns_of(schema):
        if name not in table.column_names:
            raise FormatError(f"{path} has no column {name}", path=str(path))
        try:
            records[name] = _values(name, dtype[name], table.column(name).combine_chunks())
        except (ValueError, NotImplementedError) as error:  # pyarrow's own errors are of these kinds
            raise FormatError(f"{path} has a wrong value in {name}: {sentence(error)}", path=str(path)) from None
    if schema == "bbo-1s" and (records["rtype"] == RTYPE_OF["bbo-1m"]).any():
        schema = "bbo-1m"
    return RecordFile(schema, records, _symbols(table))


def _values(name: str, dtype: np.dtype[Any], column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if name in ("action", "side"):
        return _letters(column)
    if name == "price" or "_px_" in name:
        return _prices(column)
    if name.startswith("ts_") and dtype == np.uint64:
        return _times(column)
    if column.null_count:
        raise ValueError(f"record {_first_null(column)} has none")
    values: Array = column.cast(pa.from_numpy_dtype(dtype)).to_numpy(zero_copy_only=False)
    return values


def _letters(column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.uint8()).fill_null(0))
    encoded = column.dictionary_encode()
    codes = []
    for value in encoded.dictionary.to_pylist():
        if not isinstance(value, str) or len(value) > 1 or not value.isascii():
            raise ValueError(f"{value!r} is not one letter")
        codes.append(ord(value) if value else 0)
    index = np.asarray(encoded.indices.fill_null(len(codes)))
    letters: Array = np.array([*codes, 0], np.uint8)[index]
    return letters


def _prices(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type):
        return np.full(len(column), UNDEF_PRICE)
    if pa.types.is_floating(column.type):
        scaled = np.rint(column.fill_null(np.nan).to_numpy(zero_copy_only=False).astype(np.float64) * PRICE_SCALE)
        if (np.abs(scaled) >= 2**63).any():
            raise ValueError("a price is too large")
        return np.where(np.isnan(scaled), UNDEF_PRICE, np.nan_to_num(scaled).astype(np.int64))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        # All are decimals, or all are integers in 1e-9: a point anywhere says which.
        pretty = pc.any(pc.match_substring(column, ".")).as_py()
        column = column.cast(pa.decimal128(28, 9) if pretty else pa.int64())
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.decimal128(28, 9))
        halves = np.frombuffer(column.fill_null(0).buffers()[1], np.int64)  # 128 bits, little-endian
        halves = halves[2 * column.offset :][: 2 * len(column)].reshape(-1, 2)
        if (halves[:, 0] >> 63 != halves[:, 1]).any():
            raise ValueError("a price is too large")
        return np.where(np.asarray(column.is_null()), UNDEF_PRICE, halves[:, 0])
    return np.asarray(column.cast(pa.int64()).fill_null(UNDEF_PRICE))


def _times(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        written = pc.any(pc.match_substring(column, "-")).as_py()
        column = column.cast(pa.timestamp("ns", "UTC") if written else pa.uint64())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    return np.asarray(column.cast(pa.uint64()).fill_null(UNDEF_TIMESTAMP))


def _first_null(column: Any) -> int:
    return int(np.asarray(column.is_null()).argmax())


def _symbols(table: pa.Table) -> dict[int, str]:
    if "symbol" not in table.column_names:
        return {}
    import pyarrow as pa

    pairs = pa.table({"id": table["instrument_id"], "symbol": table["symbol"].cast(pa.string())})
    found = pairs.group_by(["id", "symbol"], use_threads=False).aggregate([]).to_pylist()
    return {int(pair["id"]): pair["symbol"] for pair in found if pair["symbol"]}


def level_count(schema: str) -> int:
    """Count the levels of each side in a record of a schema."""
    return sum(name.startswith("bid_px_") for name in columns_of(schema))


def damaged(path: Path, error: Exception) -> FormatError:
    """Say in one sentence what a library found wrong with a file."""
    return FormatError(f"{path} is damaged: {sentence(error)}", path=str(path))


def sentence(error: Exception) -> str:
    """Take the first line of a library's message."""
    return str(error).strip().partition("\n")[0][:200]
