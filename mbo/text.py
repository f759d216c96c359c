"""Text back into records: CSV, and either shape of JSON, read by pyarrow as columns.

An integer-coded array is first cut into one object a line, by its brackets: it holds no text that could have brackets of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mbo.errors import FormatError, TruncatedError
from mbo.loading import RecordFile, damaged, from_table, level_count, schema_of
from mbo.records import HEADER_DTYPE
from mbo.schemas import LEVEL_PAIR_DTYPE, columns_of, dtype_of, level_columns

if TYPE_CHECKING:
    import pyarrow as pa

_OPENING, _CLOSING = np.zeros(256, np.int8), np.zeros(256, np.int8)
_OPENING[list(b"{[")], _CLOSING[list(b"}]")] = 1, 1
_BLANK: Final = b" \t\r\n"


def from_csv(path: Path) -> RecordFile:
    """Read CSV with Databento's columns in any order, prices and times as text or raw integers."""
    import pyarrow as pa
    import pyarrow.csv

    with path.open("rb") as file:
        header = file.readline(1 << 20).decode("utf-8", "replace")
        if not header.strip():
            raise FormatError(f"{path} is empty", path=str(path))
        file.seek(-1, 2)
        ended = file.read() == b"\n"
    names = [name.strip('"') for name in header.rstrip("\r\n").split(",")]
    schema = schema_of(names, path)
    if not ended:
        raise TruncatedError(f"{path} is cut: its last line has no end", path=str(path))
    types = {name: _text_type(name, dtype_of(schema)) for name in columns_of(schema)} | {"symbol": pa.string()}
    convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    try:
        table = pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise damaged(path, error) from None
    return from_table(table, path, schema)


def _text_type(name: str, dtype: np.dtype[Any]) -> Any:
    """Say what a column of text is read as first: what text may stand in is text, another number exactly its own type."""
    import pyarrow as pa

    own = dtype[name]
    return pa.string() if own.itemsize == 8 or name in ("action", "side") else pa.from_numpy_dtype(own)


def from_json(path: Path) -> RecordFile:
    """Read either shape of JSON: one object a line, or an integer-coded array of records.

    Of a fragment of such an array that begins behind the `[{` of its first record, the whole records are read: the cut is known
    by the fragment's own beginning. An array that does begin but does not end is a `TruncatedError`.
    """
    data = path.read_bytes()
    first = data.lstrip(_BLANK)[:1]
    if not first:
        raise FormatError(f"{path} is empty", path=str(path))
    if first not in (b"{", b"[", b'"'):
        raise FormatError(f"{path} is not JSON: it begins with {data.lstrip(_BLANK)[:8]!r}", path=str(path))
    fragment = first == b'"'
    lines = data if first == b"{" else lines_of_array(b"[{" + data if fragment else data, path, fragment=fragment)
    return _from_lines(lines, path)._replace(fragment=fragment)


def lines_of_array(data: bytes, path: Path, *, fragment: bool = False) -> bytes:
    """Make a JSON array of objects one object a line; of a fragment, up to the last whole object."""
    text = np.frombuffer(data, np.uint8).copy()
    places = np.flatnonzero((_OPENING | _CLOSING)[text])
    steps = (_OPENING - _CLOSING)[text[places]]
    depth = np.cumsum(steps, dtype=np.int64)
    starts, ends = places[(depth == 2) & (steps == 1)], places[(depth == 1) & (steps == -1)]
    whole = fragment and len(ends) > 0  # what stands behind the last whole object of a fragment is left out
    if depth[-1] > 0 and not whole:
        raise TruncatedError(f"{path} is cut: it ends inside record {max(0, len(starts) - 1)}", path=str(path))
    if not whole and (depth.min() < 0 or (depth[:-1] == 0).any() or text[places[-1] + 1 :].tobytes().strip(_BLANK)):
        raise FormatError(f"{path} is no array of records: its brackets do not match", path=str(path))
    text[(text == ord("\n")) | (text == ord("\r"))] = ord(" ")
    if not len(starts):
        raise FormatError(f"{path} holds no records, so that it does not say of which schema", path=str(path))
    gaps = starts[1:] - ends[: len(starts) - 1] - 1
    for length in np.unique(gaps).tolist():  # one for all, as a rule
        between = ends[: len(gaps)][gaps == length][:, np.newaxis] + 1 + np.arange(length)
        found = text[between]
        if ((found == ord(",")).sum(axis=1) != 1).any() or not np.isin(found, list(b", \t")).all():
            raise FormatError(f"{path} is no array of records: one comma has to stand between two", path=str(path))
        text[between] = ord("\n")
    return text[starts[0] : ends[-1] + 1].tobytes()


def _from_lines(data: bytes, path: Path) -> RecordFile:
    """Read one object a line, all of them with the keys of the first; text is Databento's coding, integers the records' own."""
    import pyarrow as pa
    import pyarrow.json

    first = data.lstrip(_BLANK).partition(b"\n")[0]
    try:
        record = json.loads(first)
        flat = {name for name in record if name not in ("hd", "levels")} | set(record["hd"])
        levels = len(record.get("levels", ()))
        coded = not isinstance(record["hd"]["ts_event"], str | None)
        inner = set(record["levels"][0]) if levels else set()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        kind = "JSON" if isinstance(error, ValueError) else "a record"
        raise FormatError(f"{path} holds no records: its first line is not {kind}", path=str(path)) from None
    flat |= {f"{name}_{level:02}" for name in inner for level in range(levels)}
    schema = schema_of(flat, path)
    options = pyarrow.json.ParseOptions(
        explicit_schema=_line_schema(schema, coded=coded), unexpected_field_behavior="error"
    )
    try:
        table = pyarrow.json.read_json(pa.BufferReader(data), parse_options=options)
    except pa.ArrowInvalid as error:
        if _is_cut(data):
            raise TruncatedError(f"{path} is cut: its last line is not complete", path=str(path)) from None
        raise damaged(path, error) from None
    return from_table(_flattened(table, schema, path), path, schema)


def _is_cut(data: bytes) -> bool:
    last = data[data.rfind(b"\n") + 1 :]
    try:
        return bool(last) and not isinstance(json.loads(last), dict)
    except ValueError:
        return True


def _line_schema(schema: str, *, coded: bool) -> pa.Schema:
    """Describe the objects of a schema: as `serde` writes the record, or with text for letters, prices, times and ids."""
    import pyarrow as pa

    dtype, header = dtype_of(schema), set(HEADER_DTYPE.names or ())

    def kind(name: str, own: np.dtype[Any] = dtype) -> Any:
        return pa.from_numpy_dtype(own[name]) if coded else _text_type(name, own)

    columns = ["length", *columns_of(schema)] if coded else list(columns_of(schema))
    pairs = set(level_columns(level_count(schema)))
    fields = [(name, kind(name)) for name in columns if name not in header | pairs]
    fields.append(("hd", pa.struct([(name, kind(name)) for name in columns if name in header])))
    if pairs:
        pair = [(name, kind(name, LEVEL_PAIR_DTYPE)) for name in LEVEL_PAIR_DTYPE.names or ()]
        fields.append(("levels", pa.list_(pa.struct(pair))))
    return pa.schema(fields if coded else [*fields, ("ts_out", pa.string()), ("symbol", pa.string())])


def _flattened(table: pa.Table, schema: str, path: Path) -> pa.Table:
    """Make one table of the header's, the record's and the levels' columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {name: table[name] for name in table.column_names if name not in ("hd", "levels")}
    columns |= {field.name: pc.struct_field(table["hd"], field.name) for field in table.schema.field("hd").type}
    if levels := level_count(schema):
        lengths = np.asarray(pc.list_value_length(table["levels"]).fill_null(0))
        if (lengths != levels).any():
            index = int((lengths != levels).argmax())
            raise FormatError(
                f"{path} is damaged: record {index} has {lengths[index]} levels, not {levels}", path=str(path)
            )
        for level in range(levels):
            pairs = pc.list_element(table["levels"], level)
            columns |= {f"{field.name}_{level:02}": pc.struct_field(pairs, field.name) for field in pairs.type}
    return pa.table(columns)
