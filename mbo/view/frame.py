"""Frames: what is drawn at one moment as bytes, for the component and whoever else wants to read them.

A frame is little-endian: a uint32, the length of the header; the header, JSON, padded with blanks so that what follows begins at
a multiple of 8; the sections one after another, each at a multiple of 8. The header's `sections` says of each where it begins
behind the header, in bytes, and how many rows it has. What the header and rows mean is said in `mbo.view.scene`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo.errors import DataError
from mbo.view.history import CELLS, COLUMN_DTYPE, TRADE_DTYPE

VERSION: Final = 1
LEVEL_DTYPE: Final = np.dtype([("tick", "<i4"), ("size", "<i4"), ("count", "<i4"), ("delta", "<i4")])
VOLUME_DTYPE: Final = np.dtype(
    [("tick", "<i4"), ("sold", "<i4"), ("bought", "<i4"), ("sold_recently", "<i4"), ("bought_recently", "<i4")]
)
QUEUE_DTYPE: Final = np.dtype(
    [("order_id", "<u8"), ("time", "<f8"), ("size", "<u4"), ("ahead", "<u4"), ("flags", "<u4"), ("", "V4")]
)
ICEBERG: Final = 1
FOLLOWED: Final = 2

SECTIONS: Final[Mapping[str, np.dtype[Any]]] = {
    "bids": LEVEL_DTYPE,
    "asks": LEVEL_DTYPE,
    "volume": VOLUME_DTYPE,
    "trades": TRADE_DTYPE,
    "columns": COLUMN_DTYPE,
    "cells": np.dtype((np.uint8, CELLS)),
    "queue": QUEUE_DTYPE,
}

Part = tuple[bytes, int]
"""A section's bytes and how many rows they are."""


def part(rows: npt.NDArray[Any]) -> Part:
    """Give rows as a section."""
    return rows.tobytes(), len(rows)


def pack(header: Mapping[str, Any], parts: Mapping[str, Part]) -> bytes:
    """Write a frame.

    >>> data = pack({"n": 1}, {"bids": part(np.zeros(3, LEVEL_DTYPE))})
    >>> header, sections = unpack(data)
    >>> header["n"], len(sections["bids"])
    (1, 3)
    """
    places: dict[str, tuple[int, int]] = {}
    body: list[bytes] = []
    offset = 0
    for name, (data, rows) in parts.items():
        places[name] = offset, rows
        padding = -len(data) % 8
        body += [data, bytes(padding)]
        offset += len(data) + padding
    text = json.dumps({"v": VERSION, **header, "sections": places}, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *body])


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a frame: its header, and its sections as arrays; `DataError` where it is none."""
    try:
        (length,) = struct.unpack_from("<I", data)
        header = json.loads(data[4 : 4 + length])
        sections = {
            name: np.frombuffer(data, SECTIONS[name], rows, 4 + length + offset)
            for name, (offset, rows) in header["sections"].items()
        }
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise DataError(f"this is not a frame: {error}") from None
    return header, sections
