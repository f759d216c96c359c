"""`mbo bench`: how fast the books are, with slow ones beside them.

Every run is seeded and warm, ends in the digest that the simulator knows, and reports the median and the spread of several. Ratios
are of the same records; absolute figures are worth what the machine is.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

import mbo
from mbo.bench_dashboard import dashboard
from mbo.bench_live import live
from mbo.bench_plain import PlainBook
from mbo.bench_row import Row
from mbo.bench_serve import serve
from mbo.bench_store import store
from mbo.book import Book, Books, ReferenceBook
from mbo.errors import InternalError
from mbo.mbp import Mbp
from mbo.progress import track
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray, Side
from mbo.simulator import Session, simulate
from mbo.streams import RecordStream
from mbo.units import UNDEF_PRICE

RUNS: Final = 5
MESSAGES: Final = 4_000_000  # of one session: far more than any cache holds
PER_RUN: Final = 50_000_000  # a session is repeated until a run has so many,
LONGEST_S: Final = 10  # or lasts so long
SLOW_MESSAGES: Final = 200_000
RESTING: Final = (1_000, 10_000, 1_000_000)
INSTRUMENTS: Final = 1_000
BATCH: Final = 1 << 16
ROWS: Final = 9  # without MBO_DATA


def machine() -> str:
    """Say in a line what the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, numba {version('numba')}"
    return f"{cpu}, {os.cpu_count()} cores, {versions}, mbo {mbo.__version__}"


def core() -> list[Row]:
    """Measure the books alone, and starting up."""
    steps: list[Callable[[], list[Row]]] = [_small_book, _resting, _instruments, _start_up]
    done = enumerate((row for step in steps for row in step()), 1)
    return [row for _, row in track(done, ROWS, lambda step: step[0], "bench core")]


def mbp() -> list[Row]:
    """Measure MBP-10 records, and their way to Arrow."""
    done = enumerate(_mbp_rows(), 1)
    return [row for _, row in track(done, 3, lambda step: step[0], "bench mbp")]


SUITES: Final = {"core": core, "mbp": mbp, "live": live, "store": store, "serve": serve, "dashboard": dashboard}


def _small_book() -> list[Row]:
    session = simulate(MESSAGES, seed=1, resting=300)
    records = session.records[:SLOW_MESSAGES]
    same = _rates(records, _fast(records))  # the ratios are of the very same records
    slow = [
        Row("ReferenceBook", len(records), _rates(records, _reference(records)), "M/s"),
        Row("dict + SortedDict, decoded tuples", len(records), _rates(records, _plain(records)), "M/s"),
    ]
    fast = _books_row("book only, 300 orders resting", session, "25 (floor 15)")
    fast.ratios.update({row.name: statistics.median(same) / row.median for row in slow})
    return [fast, *slow, *_real_book()]


def _resting() -> list[Row]:
    targets = ("", "15", "at most 3 x the time with 1,000")
    rows = [
        _books_row(f"{n:,} orders resting", simulate(MESSAGES, seed=2, resting=n), target)
        for n, target in zip(RESTING, targets, strict=True)
    ]
    rows[-1].ratios[f"the time with {RESTING[0]:,}"] = rows[0].median / rows[-1].median
    return rows


def _instruments() -> list[Row]:
    session = simulate(MESSAGES, seed=3, instruments=INSTRUMENTS, resting=100)
    return [_books_row(f"{INSTRUMENTS:,} instruments interleaved", session, "15")]


def _books_row(name: str, session: Session, target: str) -> Row:
    """Time the flow of a session after its opening snapshots; a session begins with clears, so it can be repeated."""
    opening = int((session.records["flags"] & int(Flag.SNAPSHOT) == 0).argmax())
    flow = session.records[opening:]
    books, rates, messages = Books(), [], 0
    for run in range(RUNS + 1):
        elapsed, messages = 0.0, 0
        while elapsed < LONGEST_S and messages < (PER_RUN if run else 1):
            books.apply(session.records[:opening])
            begun = time.perf_counter()
            for start in range(0, len(flow), BATCH):
                books.apply(flow[start : start + BATCH])
            elapsed += time.perf_counter() - begun
            messages += len(flow)
        _expect({book.status.instrument_id: book.digest() for book in books.values()}, session)
        rates.append(messages / elapsed / 1e6)
    return Row(name, messages, rates[1:], "M/s", target)


def _expect(digests: dict[int, str], session: Session) -> None:
    if digests != {number: session.digest(number) for number in session.instrument_ids}:
        raise InternalError("the bench built a book that differs from the simulator's own")


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
    return [Row("book only, CLX5 repeated", book.status.messages, rates[1:], "M/s", "25 (floor 15)")]


# ---------------------------------------------------------------- by price


def _mbp_rows() -> Iterator[Row]:
    session = simulate(MESSAGES, seed=1, resting=300)
    book_only = _books_row("book only", session, "")
    for levels, target in ((10, "15 (floor 8)"), (1, "")):
        rates = [_mbp_pass(session, levels) for _ in range(RUNS + 1)][1:]
        ratios = {"the time of the book only": book_only.median / statistics.median(rates)}
        yield Row(f"with MBP-{levels} records", len(session.records), rates, "M/s", target, ratios)
    day = mbo.read_dbn(mbo.SIMULATED)
    stream = RecordStream(
        "mbp-10", lambda: _mbp_pieces(session, Mbp(10)), metadata=day.files[0].metadata, symbol_map=day.symbol_map
    )
    rows, rates = sum(map(len, stream.batches())), []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        made = sum(batch.num_rows for batch in stream.reader())
        rates.append(made / (time.perf_counter() - begun) / 1e6)
        if made != rows:
            raise InternalError(f"the bench made {made:,} Arrow rows of {rows:,} records")
    yield Row("MBO records to Arrow MBP-10", rows, rates[1:], "M rows/s", "4 (floor 3)")


def _mbp_pass(session: Session, levels: int) -> float:
    stream, begun = Mbp(levels), time.perf_counter()
    for _ in _mbp_pieces(session, stream):
        pass
    elapsed = time.perf_counter() - begun
    _expect({book.status.instrument_id: book.digest() for book in stream.books.values()}, session)
    return len(session.records) / elapsed / 1e6


def _mbp_pieces(session: Session, stream: Mbp) -> Iterator[Any]:
    for start in range(0, len(session.records), BATCH):
        yield from stream.apply(session.records[start : start + BATCH])


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
        Row("import mbo (beyond python itself)", 0, imported, "s", "at most 0.3"),
        Row("mbo book FILE, start to end", 0, shown, "s", "at most 1.5"),
    ]


def _seconds(command: list[str]) -> list[float]:
    times = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)  # noqa: S603 - our own interpreter
        times.append(time.perf_counter() - begun)
    return times[1:]
