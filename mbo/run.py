"""The main job, end to end: read the records, rebuild every book, write what came of it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mbo.errors import RequestError
from mbo.files import replacing
from mbo.formats import writing
from mbo.selection import book_keys

if TYPE_CHECKING:
    from mbo.book import Book, Books
    from mbo.replay import Records


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job did. `elapsed_s` is from the first byte read to the last book rebuilt."""

    books: Books
    messages: int
    events: int
    elapsed_s: float
    files: Mapping[str, Path]
    """The final books' documents, by symbol."""
    summary_file: Path
    mbp_files: Mapping[str, Mapping[Path, int]]
    """By symbol, the files of MBP-10 records, and how many records each has."""


MBP_FORMATS: Final = (".dbn.zst", ".json")
_OPEN_BOOKS: Final = 64  # whose files are written in one pass: some systems let a process open no more than 256


def run(day: Records, out: str | Path, *, strict: bool = False) -> Outcome:
    """Rebuild the books of all instruments of `day` and write what came of it.

    Of each instrument `out/SYMBOL.book.json`, the final book, and its MBP-10 records as `out/SYMBOL.mbp-10.dbn.zst` and
    `out/SYMBOL.mbp-10.json` (see `mbo.formats`); of all `out/summary.json`. Nothing is written before all of the data has been read
    without an error; each file is written beside its place and renamed.
    """
    from mbo.book.engine import compile_kernels

    out = Path(out)
    compile_kernels()
    begun = time.perf_counter()
    books = day.books(strict=strict)
    elapsed = time.perf_counter() - begun
    if not books:
        raise RequestError(f"there are no MBO records in {', '.join(str(file.path) for file in day.files)}")
    statuses = [book.status for book in books.values()]
    named = _named(books)
    files = {name: write_json(out / f"{name}.book.json", book.document()) for name, book in named.items()}
    mbp_files = _write_mbp(day, named, out)
    messages, events = sum(s.messages for s in statuses), sum(s.events for s in statuses)
    summary = {
        "files": [file.path.name for file in day.files],
        "dataset": day.dataset,
        "messages": messages,
        "events": events,
        "elapsed_s": round(elapsed, 6),
        "messages_per_s": round(messages / elapsed) if elapsed else None,
        "books": {
            name: _book_summary(book) | {"mbp_10_records": max(mbp_files[name].values())}
            for name, book in named.items()
        },
    }
    summary_file = write_json(out / "summary.json", summary)
    return Outcome(books, messages, events, elapsed, files, summary_file, mbp_files)


def _write_mbp(day: Records, named: Mapping[str, Book], out: Path) -> dict[str, dict[Path, int]]:
    """Write the MBP-10 records of every book, of many books in one pass over the data."""
    written: dict[str, dict[Path, int]] = {}
    names = list(named)
    for start in range(0, len(names), _OPEN_BOOKS):
        stream = day.mbp(10)
        by_key = {_key(named[name]): name for name in names[start : start + _OPEN_BOOKS]}
        with ExitStack() as stack:
            puts = {}
            for key, name in by_key.items():
                written[name] = {out / f"{name}.mbp-10{suffix}": 0 for suffix in MBP_FORMATS}
                puts[key] = {path: stack.enter_context(writing(path, stream)) for path in written[name]}
            for array in stream.batches():
                keys = book_keys(array)
                for key in np.unique(keys).tolist():
                    own = array[keys == key]
                    for path, put in puts.get(key, {}).items():
                        put(own)
                        written[by_key[key]][path] += len(own)
    return written


def _key(book: Book) -> int:
    return book.status.publisher_id << 32 | book.status.instrument_id


def write_json(path: Path, document: Any) -> Path:
    """Write a document as JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")
    return path


def _named(books: Books) -> dict[str, Book]:
    """Give every book a name that is a file's: the symbol, with the publisher where two venues trade it."""
    named: dict[str, Book] = {}
    venues = Counter(book.symbol for book in books.values())
    for book in books.values():
        venue = f".{book.status.publisher_id}" if venues[book.symbol] > 1 else ""
        name = re.sub(r"[^\w.+-]", "_", book.symbol + venue)
        while name in named:  # two symbols that differ only in what a file's name cannot hold
            name += f".{book.status.instrument_id}"
        named[name] = book
    return named


def _book_summary(book: Book) -> dict[str, Any]:
    document = book.document(depth=1)
    left_out = ("bids", "asks", "equal_size", "valid", "suspect")
    best = {"bid": next(iter(document["bids"]), None), "ask": next(iter(document["asks"]), None)}
    return {name: value for name, value in document.items() if name not in left_out} | best
