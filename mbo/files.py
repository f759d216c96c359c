"""Write files whole or not at all: beside their place first, then renamed into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    Folders on the way are made. A link is followed; what is not a file, such as /dev/stdout, is written to as it is. Where the disk
    is full or the place cannot be written, `OSError`, and what stood at `path` before stands there still.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with path.open("wb") as file:  # a directory says so here
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
