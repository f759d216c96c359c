"""The main job, end to end: read the records, rebuild every book, write what came of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbo.errors import RequestError
from mbo.files import replacing

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


def run(day: Records, out: str | Path, *, strict: bool = False) -> Outcome:
    """Rebuild the books of all instruments of `day`; write `out/SYMBOL.book.json` for each, and `out/summary.json`.

    Nothing is written before all of the data has been read without an error; each file is written beside its place and renamed.
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
    files = {}
    for name, book in _named(books).items():
        files[name] = write_json(out / f"{name}.book.json", book.document())
    messages, events = sum(s.messages for s in statuses), sum(s.events for s in statuses)
    summary = {
        "files": [file.path.name for file in day.files],
        "dataset": day.dataset,
        "messages": messages,
        "events": events,
        "elapsed_s": round(elapsed, 6),
        "messages_per_s": round(messages / elapsed) if elapsed else None,
        "books": {name: _book_summary(book) for name, book in _named(books).items()},
    }
    return Outcome(books, messages, events, elapsed, files, write_json(out / "summary.json", summary))


def write_json(path: Path, document: Any) -> Path:
    """Write a document as JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")
    return path


def _named(books: Books) -> dict[str, Book]:
    """Give every book a name that is a file's: the symbol, with the publisher where two venues trade it."""
    named: dict[str, Book] = {}
    symbols = [book.symbol for book in books.values()]
    for book in books.values():
        venue = f".{book.status.publisher_id}" if symbols.count(book.symbol) > 1 else ""
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
