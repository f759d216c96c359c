"""Arrow tables for people: on the terminal, and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from mbo.errors import RequestError
from mbo.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS: Final = 40


def text_of(table: pa.Table) -> str:
    """Draw a table, its first and last rows if it is long."""
    import polars as pl

    table = _lettered(table)
    with pl.Config(
        tbl_rows=_MOST_ROWS, tbl_cols=-1, tbl_width_chars=200, fmt_str_lengths=60, tbl_hide_column_data_types=True
    ):
        return str(pl.from_arrow(table))


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as the format that the name's ending says, whole or not at all; `RequestError` at another ending."""
    writer = next((write for suffix, write in _WRITERS.items() if path.name.endswith(suffix)), None)
    if writer is None:
        raise RequestError(f"{path}: the name's ending says the format, and has to be one of {', '.join(_WRITERS)}")
    with replacing(path) as file:
        writer(_lettered(table), file)


def _lettered(table: pa.Table) -> pa.Table:
    """Show single bytes, such as actions and sides, as the letters they are, unless damage made them something else."""
    import pyarrow as pa

    for index, column in enumerate(table.schema):
        if pa.types.is_fixed_size_binary(column.type):
            with suppress(pa.ArrowInvalid):
                table = table.set_column(index, column.name, table.column(index).cast(pa.binary()).cast(pa.string()))
    return table


def _parquet(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, file, compression="zstd")


def _arrow(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow as pa

    with pa.ipc.new_file(file, table.schema) as target:
        target.write_table(table)


def _csv(table: pa.Table, file: BinaryIO) -> None:
    from pyarrow import csv

    csv.write_csv(table, file)


_WRITERS: Final[Mapping[str, Callable[[Any, BinaryIO], None]]] = {".parquet": _parquet, ".arrow": _arrow, ".csv": _csv}
