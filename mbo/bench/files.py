"""`mbo bench files`: from a file, a store or a command line to what was asked for, end to end.

Unlike the other suites it counts everything on the way: opening, reading, and of commands their imports and the compiled kernels'
cache. What comes out is compared with the session's records byte by byte, or with the digest that the simulator knows; comparing
is not timed. Polars does the same work beside it where it can.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import mbo
from mbo import formats, loading
from mbo.bench.apart import apart
from mbo.bench.row import Aim, Row
from mbo.bench.timing import RUNS
from mbo.errors import InternalError
from mbo.records import MBO_DTYPE
from mbo.replay import Records
from mbo.schemas import MBO_COLUMNS
from mbo.simulator import write_session
from mbo.store import Store
from mbo.streams import RecordStream

MESSAGES: Final = 2_000_000
POLARS: Final = "polars"
_LIMIT_S: Final = 600  # of one command: the first one compiles
_MBO: Final = (sys.executable, "-m", "mbo")
_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Way:
    """Something to time, and whether what it gave is right, which is not timed."""

    name: str
    work: Callable[[], Any]
    right: Callable[[Any], bool]


def files() -> Iterator[Row]:
    """Measure files to Arrow, Parquet and books, a store to books, and commands."""
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as name:
        folder = Path(name)
        plain, packed = folder / "session.dbn", folder / "session.dbn.zst"
        digest = write_session(plain, MESSAGES, seed=1).digests["SIM1"]
        write_session(packed, MESSAGES, seed=1)
        yield from _to_arrow(plain, packed)
        yield from _to_parquet(plain, folder)
        yield _to_book("Zstandard file to book", mbo.read_dbn(packed), digest)
        rates = apart(from_store, plain, f"chdb://{folder}/store", digest)
        yield Row("store to book, every message in order", MESSAGES, rates, "M/s")
        yield from _start_up()
        yield from _main_job(folder, folder / "kernels")


# ---------------------------------------------------------------- files and stores


def _to_arrow(plain: Path, packed: Path) -> Iterator[Row]:
    day = mbo.read_dbn(plain)
    records, mbp = day.load(), day.mbp(10)
    same = partial(_same_table, records)
    polars = Way(POLARS, partial(_columns_in_polars, plain), lambda frame: bool(len(frame) == len(records)))
    yield _row(len(records), Way("file to Arrow", day.mbo().read, same), polars)
    yield _row(len(records), Way("Zstandard file to Arrow", mbo.read_dbn(packed).mbo().read, same))
    whole = partial(_same_table, np.concatenate(list(mbp.batches())))
    yield _row(len(records), Way("file to Arrow, as MBP-10", mbp.read, whole))


def _to_parquet(plain: Path, folder: Path) -> Iterator[Row]:
    day = mbo.read_dbn(plain)
    mbp = day.mbp(10)
    yield _parquet_row("file to Parquet", day.mbo(), folder, partial(_columns_in_polars, plain))
    yield _parquet_row("file to Parquet, as MBP-10", mbp, folder, partial(_stream_in_polars, mbp))


def _parquet_row(name: str, stream: RecordStream, folder: Path, frame: Callable[[], Any]) -> Row:
    """Time writing a stream, and a frame of polars with the same rows, compressed alike."""
    ours, theirs = folder / "ours.parquet", folder / "polars.parquet"
    expected = np.concatenate(list(stream.batches()))
    row = _row(
        MESSAGES,
        Way(
            name, partial(formats.write, stream, ours), lambda count: count == len(expected) and _holds(ours, expected)
        ),
        Way(
            POLARS,
            lambda: frame().write_parquet(theirs, compression="zstd", compression_level=1),
            lambda _: _rows_of(theirs) == len(expected),
        ),
    )
    sizes = [path.stat().st_size / len(expected) for path in (ours, theirs)]
    return replace(row, detail=f"{sizes[0]:.3g} bytes a row, by polars {sizes[1]:.3g}")


def _to_book(name: str, day: Records, digest: str) -> Row:
    return _row(MESSAGES, Way(name, partial(day.book, "SIM1"), lambda book: bool(book.digest() == digest)))


def from_store(path: Path, url: str, digest: str) -> list[float]:
    """Store a file and replay what is stored, in a process that has the store to itself; M messages/s."""
    with Store(url) as there:
        there.ingest(path, mbp10=False)
        return list(_to_book("store to book", there.records(), digest).values)


def _row(messages: int, own: Way, *beside: Way) -> Row:
    """Time our way and others in turn, several times after a first; ratios are of the same records.

    Raises InternalError where one gives what it should not.
    """
    rates: dict[str, list[float]] = {way.name: [] for way in (own, *beside)}
    for _ in range(RUNS + 1):
        for way in (own, *beside):
            begun = time.perf_counter()
            found = way.work()
            rates[way.name].append(messages / (time.perf_counter() - begun) / 1e6)
            if not way.right(found):
                raise InternalError(f"{way.name}: what came out is not what the session holds")
            del found  # before the next one needs the memory
    median = {name: statistics.median(found[1:]) for name, found in rates.items()}
    ratios = {way.name: median[own.name] / median[way.name] for way in beside}
    return Row(own.name, messages, rates[own.name][1:], "M/s", ratios=ratios)


def _same_table(expected: _Array, table: Any) -> bool:
    return _same(loading.from_table(table, Path("Arrow")).records, expected)


def _holds(path: Path, expected: _Array) -> bool:
    return _same(formats.read(path).records, expected)


def _same(found: _Array, expected: _Array) -> bool:
    return found.dtype == expected.dtype and np.array_equal(
        np.ascontiguousarray(found).view(np.uint8), np.ascontiguousarray(expected).view(np.uint8)
    )


def _columns_in_polars(path: Path) -> Any:
    """Make a frame of a plain file's bytes, as one does by hand: no missing values, no symbols, times as numbers."""
    import polars as pl

    records = np.fromfile(path, MBO_DTYPE, offset=mbo.read_dbn(path).files[0].header_bytes)
    return pl.DataFrame({name: records[name].copy() for name in MBO_COLUMNS})


def _stream_in_polars(stream: RecordStream) -> Any:
    import polars as pl

    return pl.DataFrame(stream)


def _rows_of(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


# ---------------------------------------------------------------- commands


def _start_up() -> Iterator[Row]:
    """Time commands that do little, with compiled kernels in the usual place."""
    book = mbo.read_dbn(mbo.SIMULATED).book("SIM1")
    bare = statistics.median(_seconds([sys.executable, "-c", "pass"], lambda _: True))
    imported = _seconds([sys.executable, "-c", "import mbo"], lambda _: True)
    yield Row("import mbo (beyond python itself)", 0, [value - bare for value in imported], "s", [Aim(0.3, most=True)])
    yield Row("mbo --help", 0, _seconds([*_MBO, "--help"], lambda out: b"Usage" in out), "s", [Aim(0.5, most=True)])
    command = [*_MBO, "book", str(mbo.SIMULATED), "--symbol", "SIM1", "--json", "-"]
    shown = _seconds(command, lambda out: bool(json.loads(out)["digest"] == book.digest()))
    yield Row("mbo book FILE", book.status.messages, shown, "s", [Aim(1.5, most=True)])


def _main_job(folder: Path, kernels: Path) -> Iterator[Row]:
    """Time the main job of the bundled session: its first time, with nothing compiled yet, and then again."""
    books = mbo.read_dbn(mbo.SIMULATED).books()
    digests = {book.symbol: book.digest() for book in books.values()}
    seconds = []
    for turn in range(RUNS + 1):
        out = folder / f"out-{turn}"
        right = partial(_ends_in, out / "summary.json", digests)
        seconds.append(_second([*_MBO, "run", "--out", str(out)], right, MBO_CACHE_DIR=str(kernels)))
    messages = sum(book.status.messages for book in books.values())
    yield Row("mbo run, the very first", messages, seconds[:1], "s", [Aim(30, most=True)])
    yield Row("mbo run, then", messages, seconds[1:], "s", [Aim(5, most=True)])


def _ends_in(summary: Path, digests: dict[str, str], _: bytes) -> bool:
    """Say whether the main job's books are these; what it printed is not looked at."""
    books = json.loads(summary.read_text())["books"]
    return {name: book["digest"] for name, book in books.items()} == digests


def _seconds(command: list[str], right: Callable[[bytes], bool]) -> list[float]:
    """Time a command several times after a first."""
    return [_second(command, right) for _ in range(RUNS + 1)][1:]


def _second(command: list[str], right: Callable[[bytes], bool], **environment: str) -> float:
    """Time a command from start to end; `InternalError` where what it wrote is not right."""
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own interpreter
        command, check=True, stdout=subprocess.PIPE, timeout=_LIMIT_S, env=os.environ | environment
    )
    seconds = time.perf_counter() - begun
    if not right(done.stdout):
        raise InternalError(f"{' '.join(command[1:])}: what it wrote is not what the session holds")
    return seconds
