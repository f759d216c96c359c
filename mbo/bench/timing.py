"""Sessions that the simulator knows the end of: to time books on, one kind and another in turn, and to stream many times over."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import mbo
from mbo.bench.row import Aim, Row
from mbo.book import Books, BooksByKey
from mbo.errors import InternalError
from mbo.records import Flag
from mbo.simulator import Session, write_session

RUNS: Final = 5
MESSAGES: Final = 4_000_000  # of one session: far more than any cache holds
PER_RUN: Final = 50_000_000  # a session is repeated until a run has so many,
LONGEST_S: Final = 10  # or lasts so long
TURN_S: Final = 0.2
BATCH: Final = 1 << 16


class Built(Protocol):
    """Whatever has a book's orders."""

    def digest(self) -> str:
        """Hash the orders as every book does."""


Build = Callable[[], Built]
"""Builds a book of records that it has: what is timed. The digest is not."""


def books_row(
    name: str, session: Session, *aims: Aim, make: Callable[[], BooksByKey] = Books, batch: int = BATCH
) -> Row:
    """Time the flow of a session after its opening snapshots; a session begins with clears, so it can be repeated."""
    opening = int((session.records["flags"] & int(Flag.SNAPSHOT) == 0).argmax())
    flow = session.records[opening:]
    books, rates, messages = make(), [], 0
    for run in range(RUNS + 1):
        elapsed, messages = 0.0, 0
        while elapsed < LONGEST_S and messages < (PER_RUN if run else 1):
            books.apply(session.records[:opening])
            begun = time.perf_counter()
            for start in range(0, len(flow), batch):
                books.apply(flow[start : start + batch])
            elapsed += time.perf_counter() - begun
            messages += len(flow)
        expect(books, session)
        rates.append(messages / elapsed / 1e6)
    return Row(name, messages, rates[1:], "M/s", aims)


def expect(books: BooksByKey, session: Session) -> None:
    """Raise InternalError where the books are not those of the session's end."""
    digests = {book.status.instrument_id: book.digest() for book in books.values()}
    if digests != {number: session.digest(number) for number in session.instrument_ids}:
        raise InternalError("the bench built a book that differs from the simulator's own")


def in_turn(messages: int, expected: str, builds: Mapping[str, Build]) -> dict[str, list[float]]:
    """Build each book in turn, and again, several times after a first: M messages/s of each.

    In its turn a book is built as often as takes a moment that can be measured, and is as warm as in a stream then.

    Raises InternalError where a book has another digest than the one expected.
    """
    rates: dict[str, list[float]] = {name: [] for name in builds}
    gc.collect()
    gc.freeze()  # what is made for one of them beforehand is no work for another's collector
    try:
        for _ in range(RUNS + 1):
            for name, build in builds.items():
                begun, built = time.perf_counter(), 0
                while built == 0 or time.perf_counter() - begun < TURN_S:
                    book = build()
                    built += 1
                rates[name].append(built * messages / (time.perf_counter() - begun) / 1e6)
                if book.digest() != expected:
                    raise InternalError(f"{name} ends in another book than the engine")
    finally:
        gc.unfreeze()
    return {name: found[1:] for name, found in rates.items()}


def write_turns(path: Path, messages: int, turns: int) -> tuple[dict[str, str], int]:
    """Write a session several times over, for it begins with clears: (the books' digests by symbol, bytes of the file's header)."""
    digests = dict(write_session(path, messages, seed=1).digests)
    header = mbo.read_dbn(path).files[0].header_bytes
    with path.open("r+b") as file:
        file.seek(header)
        turn = file.read()
        for _ in range(turns - 1):
            file.write(turn)
    return digests, header
