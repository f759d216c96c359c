"""Records as files: DBN, Parquet, Arrow, CSV and two shapes of JSON, the format by the name's ending.

================  ==================================================================================================
.dbn, .dbn.zst    Databento's own encoding, version 3
.parquet, .arrow  Databento's columns and `symbol`; missing prices and times null (.arrow is the file format, uncompressed)
.csv, .ndjson     by Databento's own encoder, prices and times as it writes them by default, with `symbol`
.json             one array of integer-coded records, as `serde` writes DBN's own structs: every field under its name, in
                  alphabetical order, letters as their codes, DBN's marks for what is missing; one record a line
================  ==================================================================================================
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from mbo import loading, text
from mbo.ahead import ahead
from mbo.errors import RequestError
from mbo.files import replacing
from mbo.loading import RecordFile, level_count
from mbo.records import HEADER_DTYPE
from mbo.schemas import LEVEL_PAIR_DTYPE, TRADES_DTYPE, columns_of, level_columns
from mbo.streams import RecordStream

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.mbp import Emit
    from mbo.replay import Records

Put = Callable[[npt.NDArray[Any]], None]
_SCHEMA_KEY: Final = b"mbo.schema"  # in an Arrow or Parquet file's own notes
_ROW_GROUP: Final = 1 << 16  # rows of a Parquet row group: 25 MB of MBP-10 before they are encoded
# Columns that have a dictionary in Parquet. In those of prices, sizes, times and ids it is soon full, and given up after much work:
# without one, encoding takes two thirds of the time and the file has two thirds to four fifths of the size.
_FEW_VALUES: Final = frozenset(
    ("rtype", "publisher_id", "instrument_id", "action", "side", "depth", "channel_id", "flags", "symbol")
)

SCHEMAS: Final[Mapping[str, Callable[[Records, Emit], RecordStream]]] = {
    "mbo": lambda day, emit: day.mbo(),
    "mbp-10": lambda day, emit: day.mbp(10, emit=emit),
    "mbp-1": lambda day, emit: day.mbp(1, emit=emit),
    "tbbo": lambda day, emit: day.tbbo(),
    "trades": lambda day, emit: day.trades(),
    "bbo-1s": lambda day, emit: day.bbo("1s"),
    "bbo-1m": lambda day, emit: day.bbo("1m"),
}
"""The schemas that MBO records can be converted to, and how."""


def records_as(day: Records, schema: str, *, emit: str = "touch") -> RecordStream:
    """Give the records of `day` as a stream of another schema (a key of `SCHEMAS`), or as they are ("mbo").

    `emit` is that of `Records.mbp`, and for its schemas only.
    """
    if schema not in SCHEMAS:
        raise RequestError(f"no schema {schema!r}: there are {', '.join(SCHEMAS)}")
    if emit not in ("touch", "change"):
        raise RequestError(f"emit={emit!r}: it is 'touch' or 'change'")
    if emit != "touch" and not schema.startswith("mbp-"):
        raise RequestError(f"emit={emit!r} is for mbp-10 and mbp-1: {schema} has no records to leave out")
    return SCHEMAS[schema](day, emit)  # type: ignore[arg-type]


# ---------------------------------------------------------------- reading


def read(path: str | os.PathLike[str]) -> RecordFile:
    """Read a file of records of any format that `write` writes, and Databento's own, into memory.

    Gives (schema, records, symbols, fragment), the records as one array in DBN's layout. `.json` may be either shape. A CSV or JSON
    file of tbbo says it is mbp-1, whose columns it has. A piece of an integer-coded array that begins behind the first `[{`, as
    excerpts do, is read up to its last whole record, and `fragment` is true; any other unfinished file is a `TruncatedError`.
    Raises `DataError` where the file is not what its name says, `OSError` where it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise RequestError(f"{path} is a directory: give a file")
    return _READERS[suffix_of(path)](path)


def _from_arrow(path: Path) -> RecordFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if suffix_of(path) == ".parquet":
            table = pq.ParquetFile(path).read()
        else:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise loading.damaged(path, error) from None
    said = (table.schema.metadata or {}).get(_SCHEMA_KEY)
    return loading.from_table(table, path, said and said.decode())


_READERS: Final[Mapping[str, Callable[[Path], RecordFile]]] = {
    ".dbn": loading.from_dbn,
    ".dbn.zst": loading.from_dbn,
    ".parquet": _from_arrow,
    ".arrow": _from_arrow,
    ".csv": text.from_csv,
    ".ndjson": text.from_json,
    ".json": text.from_json,
}


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Tell the format by the name's ending; `RequestError` where it is none of them."""
    name = os.fspath(path)
    for suffix in _READERS:
        if name.endswith(suffix):
            return suffix
    raise RequestError(f"{name}: the name's ending says the format, and has to be one of {', '.join(_READERS)}")


# ---------------------------------------------------------------- writing


def write(stream: RecordStream, path: str | os.PathLike[str], *, pretty: bool = True) -> int:
    """Write a stream as the format that the name's ending says, batch by batch in flat memory, and count its records.

    With `pretty=False`, CSV and ndjson have prices and times as integers, as Databento offers it. The file appears under its name
    when it is complete. Raises `RequestError` at another ending, `OSError` where it cannot be written, and what the stream raises.
    """
    count = 0
    with writing(path, stream, pretty=pretty) as put:
        for array in ahead(stream.batches()):
            put(array)
            count += len(array)
    return count


@contextmanager
def writing(path: str | os.PathLike[str], like: RecordStream, *, pretty: bool = True) -> Iterator[Put]:
    """Open a file for records of the schema, header and symbols of a stream; gives what takes one array of them after another."""
    writer = _WRITERS[suffix_of(path)]
    with replacing(Path(path)) as file, writer(file, like, pretty) as put:
        yield put


@contextmanager
def _dbn(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    file.write(like.metadata.encode())
    yield lambda array: _drop(file.write(np.ascontiguousarray(array).view(np.uint8).data))


@contextmanager
def _dbn_zst(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    """Compress at the usual level 3, or at 1 where there are levels: those come out as small, in three fifths of the time."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=1 if level_count(like.schema) else 3)
    with compressor.stream_writer(file, closefd=False) as target, _dbn(target, like, pretty) as put:
        yield put


@contextmanager
def _csv(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    with _encoded("csv", file, like, pretty) as put:
        yield put


@contextmanager
def _ndjson(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    with _encoded("json", file, like, pretty) as put:
        yield put


@contextmanager
def _encoded(encoding: str, file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    """Write text by Databento's own encoder, through memory: a full disk is then our own `OSError`, not what it makes of it."""
    from databento_dbn import Compression, Encoding, Schema, Transcoder

    buffer = io.BytesIO()
    encoder = Transcoder(
        buffer, Encoding.from_str(encoding), Compression.from_str("none"), pretty_px=pretty, pretty_ts=pretty, map_symbols=True,
        schema=Schema.from_str(like.schema),
    )  # fmt: skip

    def put(data: bytes) -> None:
        encoder.write(data)
        encoder.flush()
        file.write(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()

    put(like.metadata.encode())
    yield lambda array: put(array.tobytes())


@contextmanager
def _coded(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    """Write the integer-coded array: one record a line, so that it can be compared and searched as text too."""
    before = b"[\n"

    def put(array: npt.NDArray[Any]) -> None:
        nonlocal before
        if len(array):
            file.write(before)
            file.write(memoryview(integer_coded(array, like.schema).replace(b"\n", b",\n"))[: -len(b",\n")])
            before = b",\n"

    yield put
    file.write(b"\n]\n" if before == b",\n" else b"[\n]\n")


def integer_coded(array: npt.NDArray[Any], schema: str) -> bytes:
    """Write records as `serde` writes DBN's structs, one object a line: `hd` and `levels` nested, keys in alphabetical order."""
    import polars as pl
    import pyarrow as pa

    header, pairs = HEADER_DTYPE.names or (), level_columns(level_count(schema))
    own = [name for name in columns_of(schema) if name not in (*header, *pairs)]
    columns: dict[str, Any] = {name: pa.array(np.ascontiguousarray(array[name])) for name in own}
    columns["hd"] = _struct(array, header)
    if pairs:
        raw = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)
        levels = np.ascontiguousarray(raw[:, TRADES_DTYPE.itemsize :]).view(LEVEL_PAIR_DTYPE)
        offsets = pa.array(np.arange(len(array) + 1, dtype=np.int32) * levels.shape[1])
        flat = _struct(levels.reshape(-1), LEVEL_PAIR_DTYPE.names or ())
        columns["levels"] = pa.ListArray.from_arrays(offsets, flat)
    frame: Any = pl.from_arrow(pa.table(dict(sorted(columns.items()))))
    lines = io.BytesIO()
    frame.write_ndjson(lines)
    return lines.getvalue()


def _struct(array: npt.NDArray[Any], names: tuple[str, ...]) -> pa.StructArray:
    import pyarrow as pa

    names = tuple(sorted(names))
    return pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(array[name])) for name in names], list(names))


@contextmanager
def _arrow(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    import pyarrow as pa

    with pa.ipc.new_file(file, _arrow_schema(like)) as target:
        yield lambda array: _drop(target.write_batch(like._to_arrow(array)))


@contextmanager
def _parquet(file: BinaryIO, like: RecordStream, pretty: bool) -> Iterator[Put]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow_schema(like)
    few = [name for name in schema.names if name in _FEW_VALUES]
    target = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=few)
    waiting: list[pa.RecordBatch] = []
    under_way: list[Future[None]] = []

    def put(array: npt.NDArray[Any], least: int = _ROW_GROUP) -> None:
        waiting.append(like._to_arrow(array))
        if (rows := sum(len(batch) for batch in waiting)) >= least:
            finish()
            under_way.append(encoder.submit(target.write_table, pa.Table.from_batches(waiting), row_group_size=rows))
            waiting.clear()

    def finish() -> None:
        while under_way:
            under_way.pop().result()

    try:
        # A row group is encoded while the next one is made: it takes longer than making it.
        with ThreadPoolExecutor(1, "mbo-parquet") as encoder:
            yield put
            put(np.empty(0, like.dtype), least=1)
            finish()
        target.close()
    except BaseException:
        target.is_open = False  # else its destructor would finish a file that is gone
        raise


def _arrow_schema(like: RecordStream) -> pa.Schema:
    """Give the columns, and the name of the schema as a note: those of tbbo and mbp-1 are the same."""
    return like._to_arrow(np.empty(0, like.dtype)).schema.with_metadata({_SCHEMA_KEY: like.schema.encode()})


def _drop(_: object) -> None:
    """Forget how much was written."""


_WRITERS: Final[Mapping[str, Callable[[BinaryIO, RecordStream, bool], AbstractContextManager[Put]]]] = {
    ".dbn": _dbn,
    ".dbn.zst": _dbn_zst,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".json": _coded,
}
