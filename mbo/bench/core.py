"""`mbo bench core`: how fast the books are, with those of others beside them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

import mbo
from mbo.bench import others
from mbo.bench.machine import memory_gb_per_s
from mbo.bench.plain import PlainBook
from mbo.bench.row import Aim, Row
from mbo.bench.timing import BATCH, MESSAGES, PER_RUN, RUNS, Build, books_row, in_turn
from mbo.book import Book, ParallelBooks, ReferenceBook
from mbo.errors import InternalError
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray, Side
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE

SLOW_MESSAGES: Final = 200_000
RESTING: Final = (1_000, 10_000, 1_000_000)
INSTRUMENTS: Final = 1_000
ENGINE: Final = "the engine"
REFERENCE: Final = "ReferenceBook"
PLAIN: Final = "dict + SortedDict, decoded tuples"
AIMS: Final = {PLAIN: 20, others.NAUTILUS: 8}
"""How many times as fast as what runs beside it the engine has to be."""


def core() -> Iterator[Row]:
    """Measure the books alone, and files read, with what does the same beside them."""
    for step in (_small_book, _real_book, _resting, _instruments, others.decoders):
        yield from step()


def _small_book() -> Iterator[Row]:
    session = simulate(MESSAGES, seed=1, resting=300)
    count, rates, ratios, aims = _beside(session.records, others.books)
    fast = books_row("book only, 300 orders resting", session, Aim(25), *aims)
    fast.ratios.update(ratios)
    fast.ratios[others.MEMORY] = fast.median * MBO_DTYPE.itemsize / 1e3 / memory_gb_per_s()
    yield fast
    for name, values in rates.items():
        yield Row(name, count, values, "M/s", detail=others.DETAILS.get(name, ""))


def _beside(
    records: RecordArray, more: Callable[[RecordArray], dict[str, Build]] = lambda records: {}
) -> tuple[int, dict[str, list[float]], dict[str, float], list[Aim]]:
    """Time other books on the first records: (how many, M/s of each, how many times as fast the engine is, what it has to be)."""
    lasts = np.flatnonzero(records["flags"][:SLOW_MESSAGES] & int(Flag.LAST))
    records = records[: lasts[-1] + 1]  # whole events: one of them reads nothing less
    builds = _builds(records) | more(records)
    rates = in_turn(len(records), _engine(records).digest(), builds)  # the ratios are of the very same records
    ours = statistics.median(rates.pop(ENGINE))
    ratios = {name: ours / statistics.median(values) for name, values in rates.items()}
    return len(records), rates, ratios, [Aim(limit, name) for name, limit in AIMS.items() if name in rates]


def _resting() -> list[Row]:
    few = f"the time with {RESTING[0]:,}"
    aims: tuple[list[Aim], ...] = ([], [Aim(15)], [Aim(3, few, most=True)])
    rows = [
        books_row(f"{n:,} orders resting", simulate(MESSAGES, seed=2, resting=n), *aim)
        for n, aim in zip(RESTING, aims, strict=True)
    ]
    rows[-1].ratios[few] = rows[0].median / rows[-1].median
    return rows


def _instruments() -> list[Row]:
    session = simulate(MESSAGES, seed=3, instruments=INSTRUMENTS, resting=100)
    name = f"{INSTRUMENTS:,} instruments interleaved"
    one = books_row(f"{name}, one thread", session)
    two = books_row(f"{name}, two threads", session, Aim(15), make=ParallelBooks, batch=ParallelBooks.AT_ONCE)
    two.ratios["one thread"] = two.median / one.median
    return [one, two]


def _real_book() -> list[Row]:
    """Time the challenge's own file, repeated with fresh ids behind a clear, where `MBO_DATA` has it."""
    path = Path(os.environ.get("MBO_DATA", "")) / "CLX5_mbo.dbn"
    if not os.environ.get("MBO_DATA") or not path.exists():
        return []
    records = mbo.read_dbn(path).load()
    clear = np.zeros(1, MBO_DTYPE)
    clear[:] = records[:1]
    clear["action"], clear["side"], clear["price"], clear["flags"] = (
        Action.CLEAR,
        Side.NONE,
        UNDEF_PRICE,
        int(Flag.LAST),
    )
    turns = MESSAGES // len(records)
    stream = np.concatenate([clear, records] * turns)
    stream["order_id"] += np.repeat(np.arange(turns, dtype=np.uint64) << np.uint64(44), len(records) + 1)
    expected = Book()
    expected.apply(stream[-len(records) - 1 :])
    rates = []
    for run in range(RUNS + 1):
        book, begun = Book(), time.perf_counter()
        for _ in range(PER_RUN // len(stream) if run else 1):
            for start in range(0, len(stream), BATCH):
                book._books.apply(stream[start : start + BATCH])
        rates.append(book.status.messages / (time.perf_counter() - begun) / 1e6)
        if book.digest() != expected.digest():
            raise InternalError("the bench built two different books from the same records")
    _, _, ratios, aims = _beside(stream, others.books)
    return [Row("book only, CLX5 repeated", book.status.messages, rates[1:], "M/s", [Aim(25), *aims], ratios)]


# ---------------------------------------------------------------- what runs beside it


def _builds(records: RecordArray) -> dict[str, Build]:
    """Give what builds a book of the records: the engine, the readable book, and the one of a first afternoon.

    The records begin with a clear, so that each goes on with its own book, as in a stream.
    """
    columns = (records[name].tolist() for name in ("action", "side", "order_id", "price", "size"))
    messages = list(zip(*columns, strict=True))

    engine, reference, plain = Book(), ReferenceBook(), PlainBook()

    def engine_again() -> Book:
        engine._books.apply(records)  # as whoever follows a stream does
        return engine

    def reference_again() -> ReferenceBook:
        reference.apply(records)
        return reference

    def plain_again() -> PlainBook:
        plain.apply(messages)
        return plain

    return {ENGINE: engine_again, REFERENCE: reference_again, PLAIN: plain_again}


def _engine(records: RecordArray) -> Book:
    book = Book()
    book.apply(records)
    return book
