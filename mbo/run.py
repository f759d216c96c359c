"""The main job, end to end: stream the records over TCP, rebuild every book, store, verify and write what came of it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.ahead import ahead
from mbo.errors import LostError
from mbo.files import replacing
from mbo.formats import Put, writing
from mbo.live.feed import Feed
from mbo.live.process import GatewayProcess
from mbo.progress import track
from mbo.selection import book_keys
from mbo.store import Store
from mbo.units import NS_PER_S
from mbo.verification import verify

if TYPE_CHECKING:
    from mbo.book import Book, Books
    from mbo.live.latency import Latency
    from mbo.replay import Records
    from mbo.store.report import Report
    from mbo.verification import Report as Verification


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job did. `elapsed_s` is from the first record asked for to the last one applied.

    `latency` is from when a record was due, or unpaced from its sending, to when it was applied.
    """

    books: Books
    sent: int
    messages: int
    events: int
    elapsed_s: float
    rate: float | None
    latency: Latency
    files: Mapping[str, Path]
    """The final books' documents, by symbol."""
    summary_file: Path
    mbp_files: Mapping[str, Mapping[Path, int]]
    """By symbol, the files of MBP-10 records, and how many records each has."""
    stored: Report | None
    """What the store has of the files; None where none was asked for."""
    store: str | None
    verification: Verification | None
    """How the rules held; None where that was not asked for."""


MBP_FORMATS: Final = (".dbn.zst", ".json")
_LEAD_NS: Final = 20_000_000  # before the first record is due, for the gateway to be told
_OPEN_BOOKS: Final = 64  # whose files are written in one pass: some systems let a process open no more than 256


def run(
    day: Records,
    out: str | Path,
    *,
    rate: float | None = None,
    strict: bool = False,
    store: str | bool = True,
    verified: bool = True,
) -> Outcome:
    """Stream the files of `day` from a gateway of their own over TCP, rebuild all books; store, verify and write what came of it.

    `rate` is in records a second; without, they come as fast as they are applied. Every record sent has to arrive and be applied,
    or else `LostError`. What was streamed is stored in `store`, the URL of one; or in `out/store`, where it takes the place of
    files that have the same messages (elsewhere that is an error); or nowhere if that is False. Unless `verified` is False, every
    record is checked by the rules too (`mbo.verify`); a rule that is broken is reported and raises nothing.

    Of each instrument `out/SYMBOL.book.json`, the final book, and its MBP-10 records as `out/SYMBOL.mbp-10.dbn.zst` and
    `out/SYMBOL.mbp-10.json` (see `mbo.formats`); of all `out/summary.json`. Nothing is written before all of the data has been
    read without an error; each file is written beside its place and renamed.
    """
    out = Path(out)
    books, sent, elapsed, latency = _stream(day, rate, strict)
    url, stored = _store(day, out, store)
    verification = verify(day) if verified else None
    statuses = [book.status for book in books.values()]
    named = _named(books)
    files = {name: write_json(out / f"{name}.book.json", book.document()) for name, book in named.items()}
    mbp_files = _write_mbp(day, named, out)
    messages, events = sum(s.messages for s in statuses), sum(s.events for s in statuses)
    summary = {
        "files": [file.path.name for file in day.files],
        "dataset": day.dataset,
        "sent": sent,
        "messages": messages,
        "events": events,
        "elapsed_s": round(elapsed, 6),
        "messages_per_s": round(messages / elapsed) if elapsed else None,
        "rate": rate,
        "store": None if stored is None else {"url": url, "rows": stored.rows},
        "rules": None if verification is None else _rules_summary(verification),
        "latency_ns": {"from": "sending" if rate is None else "due time"} | latency.document(),
        "books": {
            name: _book_summary(book) | {"mbp_10_records": max(mbp_files[name].values())}
            for name, book in named.items()
        },
    }
    summary_file = write_json(out / "summary.json", summary)
    return Outcome(
        books, sent, messages, events, elapsed, rate, latency, files, summary_file, mbp_files, stored, url, verification
    )  # fmt: skip


def _stream(day: Records, rate: float | None, strict: bool) -> tuple[Books, int, float, Latency]:
    """Have a gateway in another process send every record, and apply it here."""
    with GatewayProcess((file.path for file in day.files), rate=rate) as gateway:
        # Unpaced, there is no time for which a record is due: its sending time, which then comes with it, has to do.
        with Feed(gateway.url, start=0, ts_out=rate is None, strict=strict) as feed:
            begin = time.monotonic_ns() + (_LEAD_NS if rate is not None else 0)
            if rate is not None:
                feed.measure(begin, rate)
            gateway.begin(begin)
            for _ in track(feed.watch(), gateway.records, lambda applied: applied, "streaming"):
                pass
            elapsed = (time.monotonic_ns() - begin) / NS_PER_S
        sent, applied = gateway.sent, feed.status.applied
        if not sent == applied == gateway.records:
            raise LostError(f"of {gateway.records:,} records {sent:,} were sent and {applied:,} applied")
    books = feed.ask(lambda books: books)
    books.symbols = day.symbol_map
    return books, sent, elapsed, feed.latency


def _store(day: Records, out: Path, store: str | bool) -> tuple[str | None, Report | None]:
    if store is False:
        return None, None
    own = store is True
    with Store(f"chdb://{(out / 'store').absolute()}" if own else str(store)) as opened:
        report = opened.ingest([file.path for file in day.files], overlap="replace" if own else "error")
        return opened.url, report


def _write_mbp(day: Records, named: Mapping[str, Book], out: Path) -> dict[str, dict[Path, int]]:
    """Write the MBP-10 records of every book, of many books in one pass over the data."""
    written: dict[str, dict[Path, int]] = {}
    names = list(named)
    for start in range(0, len(names), _OPEN_BOOKS):
        stream = day.mbp(10)
        by_key = {_key(named[name]): name for name in names[start : start + _OPEN_BOOKS]}
        with ExitStack() as stack, ThreadPoolExecutor(1, "mbo-write") as pool:
            puts: dict[int, list[Put]] = {}
            counts = dict.fromkeys(by_key, 0)
            for key, name in by_key.items():
                written[name] = {out / f"{name}.mbp-10{suffix}": 0 for suffix in MBP_FORMATS}
                puts[key] = [stack.enter_context(writing(path, stream)) for path in written[name]]
            for array in ahead(stream.batches()):
                for key, own in _by_book(array):
                    if key in puts:
                        compressed, coded = puts[key]
                        beside = pool.submit(compressed, own)
                        coded(own)  # on this thread: polars crashes on one that is not there for long
                        beside.result()
                        counts[key] += len(own)
            for key, name in by_key.items():
                written[name] = dict.fromkeys(written[name], counts[key])
    return written


def _by_book(array: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Take records apart by book, without a copy where all are of one."""
    keys = book_keys(array)
    found = np.unique(keys).tolist()
    for key in found:
        yield key, array if len(found) == 1 else array[keys == key]


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


def _rules_summary(verification: Verification) -> dict[str, Any]:
    names = ("ok", "checked", "explained", "unexplained", "broken")
    return {"count": len(verification.rules)} | {name: getattr(verification, name) for name in names}


def _book_summary(book: Book) -> dict[str, Any]:
    document = book.document(depth=1)
    left_out = ("bids", "asks", "equal_size", "valid", "suspect")
    best = {"bid": next(iter(document["bids"]), None), "ask": next(iter(document["asks"]), None)}
    return {name: value for name, value in document.items() if name not in left_out} | best
