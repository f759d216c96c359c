"""How an answer leaves: as what the client takes, JSON or an Arrow stream, and packed as it can unpack it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from mbo.api.problems import ProblemError

if TYPE_CHECKING:
    import pyarrow as pa

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"
_LEAST_PACKED: Final = 4096  # bytes; below, packing costs more than sending
_GZIP_LEVEL: Final = 4


def accepted(accept: str | None, offered: tuple[str, ...]) -> str:
    """Choose what the client likes best of what is offered, the first where it does not care; a problem where it takes none."""
    if not accept:
        return offered[0]
    liking = dict(_weighed(accept))

    def weight(media: str) -> float:
        kind = media.partition("/")[0]
        return next((liking[name] for name in (media, f"{kind}/*", "*/*") if name in liking), 0.0)

    best = max(offered, key=weight)
    if not weight(best):
        raise ProblemError(406, f"this can be had as {' or '.join(offered)}")
    return best


def _weighed(header: str) -> list[tuple[str, float]]:
    """Read a header such as `Accept`: what, and how much it is liked, 0 to 1."""
    found = []
    for part in header.split(","):
        name, *options = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for option in options:
            key, _, value = option.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        found.append((name.lower(), weight))
    return found


def packed(body: bytes, media: str, accept_encoding: str | None, headers: dict[str, str] | None = None) -> Response:
    """Answer with a body, packed with zstd or gzip if it is long enough and the client can unpack it."""
    headers = {"Vary": "Accept, Accept-Encoding", **(headers or {})}
    if accept_encoding and len(body) >= _LEAST_PACKED:
        liking = dict(_weighed(accept_encoding))
        if liking.get("zstd", 0) > 0:
            import zstandard

            return Response(
                zstandard.ZstdCompressor(1).compress(body), 200, {**headers, "Content-Encoding": "zstd"}, media
            )
        if liking.get("gzip", 0) > 0:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            return Response(body, 200, {**headers, "Content-Encoding": "gzip"}, media)
    return Response(body, 200, headers, media)


def arrow_bytes(table: pa.Table) -> bytes:
    """Write a table as an Arrow stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def json_rows(table: pa.Table) -> bytes:
    """Write a table as an array of JSON objects; prices and times are texts of digits (see `mbo.api.documents`)."""
    import polars as pl
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.int64()).cast(pa.string())
        elif pa.types.is_dictionary(kind) or (kind in (pa.int64(), pa.uint64()) and not name.endswith(_COUNTS)):
            column = column.cast(pa.string())
        columns[name] = column
    return pl.DataFrame(pa.table(columns)).write_json().encode()


_COUNTS: Final = ("volume", "trades")  # 64 bits in the database, and far below 2^53
