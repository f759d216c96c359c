"""`mbo bench core`: how fast the books are, with slow ones beside them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

import mbo
from mbo.bench.plain import PlainBook
from mbo.bench.row import Aim, Row
from mbo.bench.timing import BATCH, MESSAGES, PER_RUN, RUNS, books_row
from mbo.book import Book, ReferenceBook
from mbo.errors import InternalError
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray, Side
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE

SLOW_MESSAGES: Final = 200_000
RESTING: Final = (1_000, 10_000, 1_000_000)
INSTRUMENTS: Final = 1_000


def core() -> Iterator[Row]:
    """Measure the books alone, and starting up."""
    for step in (_small_book, _resting, _instruments, _start_up):
        yield from step()


def _small_book() -> list[Row]:
    session = simulate(MESSAGES, seed=1, resting=300)
    records = session.records[:SLOW_MESSAGES]
    same = _rates(records, _fast(records))  # the ratios are of the very same records
    slow = [
        Row("ReferenceBook", len(records), _rates(records, _reference(records)), "M/s"),
        Row("dict + SortedDict, decoded tuples", len(records), _rates(records, _plain(records)), "M/s"),
    ]
    fast = books_row("book only, 300 orders resting", session, Aim(25), Aim(20, slow[1].name))
    fast.ratios.update({row.name: statistics.median(same) / row.median for row in slow})
    return [fast, *slow, *_real_book()]


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
    return [books_row(f"{INSTRUMENTS:,} instruments interleaved", session, Aim(15))]


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
    return [Row("book only, CLX5 repeated", book.status.messages, rates[1:], "M/s", [Aim(25)])]


# ---------------------------------------------------------------- what runs beside it


def _fast(records: RecordArray) -> Callable[[], Book]:
    def build() -> Book:
        book = Book()
        book.apply(records)
        return book

    return build


def _reference(records: RecordArray) -> Callable[[], ReferenceBook]:
    def build() -> ReferenceBook:
        book = ReferenceBook()
        book.apply(records)
        return book

    return build


def _plain(records: RecordArray) -> Callable[[], PlainBook]:
    columns = (records[name].tolist() for name in ("action", "side", "order_id", "price", "size"))
    messages = list(zip(*columns, strict=True))

    def build() -> PlainBook:
        book = PlainBook()
        book.apply(messages)
        return book

    return build


def _rates(records: RecordArray, build: Callable[[], Book | ReferenceBook | PlainBook]) -> list[float]:
    """Time building a book of the records, several times after a first; every one has to be the fast book."""
    expected, rates = _fast(records)().digest(), []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        book = build()
        rates.append(len(records) / (time.perf_counter() - begun) / 1e6)
        if book.digest() != expected:
            raise InternalError(f"{type(book).__name__} ends in another book than the engine")
    return rates[1:]


# ---------------------------------------------------------------- starting up


def _start_up() -> list[Row]:
    bare = _seconds([sys.executable, "-c", "pass"])
    imported = [value - statistics.median(bare) for value in _seconds([sys.executable, "-c", "import mbo"])]
    shown = _seconds(
        [sys.executable, "-c", "from mbo.cli import main; main()", "book", str(mbo.SIMULATED), "--symbol", "SIM1"]
    )
    return [
        Row("import mbo (beyond python itself)", 0, imported, "s", [Aim(0.3, most=True)]),
        Row("mbo book FILE, start to end", 0, shown, "s", [Aim(1.5, most=True)]),
    ]


def _seconds(command: list[str]) -> list[float]:
    times = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)  # noqa: S603 - our own interpreter
        times.append(time.perf_counter() - begun)
    return times[1:]
