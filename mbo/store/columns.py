"""Records to the tables' columns and back, bit by bit: Arrow over numpy's memory, integers as they are.

The tables hold what DBN holds. A missing price keeps its mark, and a time is the 64 bits of the record, so that what comes back is
equal byte by byte; it is for queries to leave the marks out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, RecordArray
from mbo.schemas import dtype_of, level_columns

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]

BUILD: Final = 1
"""Of the derived tables: raised when the same messages would give other rows."""
MESSAGE_COLUMNS: Final = (
    "publisher_id", "instrument_id", "ts_recv", "ts_event", "sequence", "order_id", "action", "side", "price", "size",
    "channel_id", "flags", "ts_in_delta",
)  # fmt: skip
MBP10_COLUMNS: Final = (
    "publisher_id", "instrument_id", "ts_recv", "ts_event", "sequence", "action", "side", "depth", "price", "size", "flags",
    "ts_in_delta", *level_columns(10),
)  # fmt: skip
_MBP10_DTYPE: Final = dtype_of("mbp-10")
_CACHED_BYTES: Final = 1 << 18
_DAY_NS: Final = 86_400_000_000_000


def days(records: Array) -> npt.NDArray[np.int64]:
    """Count the days of the records' ts_recv since 1970, as the tables' partitions do."""
    times = records["ts_recv"].view(np.int64) if records["ts_recv"].flags.c_contiguous else _signed(records["ts_recv"])
    whole: npt.NDArray[np.int64] = times // _DAY_NS
    whole[(times < 0) & (times % _DAY_NS != 0)] += 1  # SQL's intDiv goes towards zero
    return whole


def _signed(times: Array) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(times).view(np.int64)


def message_rows(records: RecordArray, file_id: int, row_nums: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Make rows of mbo.messages."""
    import pyarrow as pa

    rows = {name: to_column(name, values) for name, values in _apart([records], MESSAGE_COLUMNS).items()}
    rows |= {"file_id": _constant(file_id, len(records), np.uint64), "row_num": pa.array(row_nums)}
    return pa.record_batch(rows)


def mbp10_rows(pieces: Sequence[Array], file_id: int, row_nums: Array, record_nums: Array) -> pa.RecordBatch:
    """Make rows of mbo.mbp10: the records, piece after piece, their messages' numbers and their own."""
    import pyarrow as pa

    rows = {name: to_column(name, values) for name, values in _apart(pieces, MBP10_COLUMNS).items()}
    rows |= {
        "file_id": _constant(file_id, len(row_nums), np.uint64),
        "row_num": pa.array(row_nums),
        "record_num": pa.array(record_nums),
        "build": _constant(BUILD, len(row_nums), np.uint16),
    }
    return pa.record_batch(rows)


def _apart(pieces: Sequence[Array], names: tuple[str, ...]) -> dict[str, Array]:
    """Take records apart into columns, by stretches that stay in the cache while one field after the other is read."""
    dtype, count = pieces[0].dtype, sum(map(len, pieces))
    columns = {name: np.empty(count, dtype[name]) for name in names}
    step, done = max(1, _CACHED_BYTES // dtype.itemsize), 0
    for piece in pieces:
        for start in range(0, len(piece), step):
            stretch = piece[start : start + step]
            for name, column in columns.items():
                column[done : done + len(stretch)] = stretch[name]
            done += len(stretch)
    return columns


def to_column(name: str, values: Array) -> pa.Array:
    """Hand one field of records to Arrow; only what lies apart in memory is copied, once."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if name in ("action", "side"):
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(1), len(values), [None, pa.py_buffer(values)])
    if name in ("ts_recv", "ts_event"):
        return pa.array(values.view(np.int64), pa.timestamp("ns", "UTC"))
    return pa.array(values)


def from_column(name: str, column: pa.ChunkedArray) -> Array:
    """Read one field back."""
    import pyarrow as pa

    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunks, in some versions
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    if name in ("action", "side"):
        letters: Array = np.frombuffer(whole.buffers()[1] or b"", np.uint8)[whole.offset :][: len(whole)]
        return letters
    if pa.types.is_timestamp(whole.type):
        whole = whole.view(pa.int64())
    values: Array = whole.to_numpy(zero_copy_only=False)
    return values


def to_messages(table: pa.Table) -> RecordArray:
    """Read rows of mbo.messages back as MBO records."""
    records = np.empty(table.num_rows, MBO_DTYPE)
    records["length"], records["rtype"] = MBO_LENGTH, RTYPE_MBO
    return _filled(records, table, MESSAGE_COLUMNS)


def to_mbp10(table: pa.Table) -> Array:
    """Read rows of mbo.mbp10 back as MBP-10 records."""
    records = np.empty(table.num_rows, _MBP10_DTYPE)
    records["length"], records["rtype"] = _MBP10_DTYPE.itemsize // 4, 0x0A
    return _filled(records, table, MBP10_COLUMNS)


def _filled(records: Array, table: pa.Table, names: tuple[str, ...]) -> Array:
    for name in names:
        values = from_column(name, table.column(name))
        records[name] = values.view(np.uint64) if name in ("ts_recv", "ts_event") else values
    return records


def _constant(value: int, count: int, dtype: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(np.full(count, value, dtype))
