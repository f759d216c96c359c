"""`mbo bench mbp`: what MBP records cost beside the book, and their way to Arrow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import mbo
from mbo.bench.row import Aim, Row
from mbo.bench.timing import BATCH, MESSAGES, RUNS, books_row, expect
from mbo.errors import InternalError
from mbo.mbp import Mbp
from mbo.simulator import Session, simulate
from mbo.streams import RecordStream


def mbp() -> Iterator[Row]:
    """Measure MBP records, and their way to Arrow."""
    session = simulate(MESSAGES, seed=1, resting=300)
    book_only = books_row("book only", session)
    for levels, aims in ((10, [Aim(15)]), (1, [])):
        rates = [_pass(session, levels) for _ in range(RUNS + 1)][1:]
        ratios = {"the time of the book only": book_only.median / statistics.median(rates)}
        yield Row(f"with MBP-{levels} records", len(session.records), rates, "M/s", aims, ratios)
    day = mbo.read_dbn(mbo.SIMULATED)
    stream = RecordStream(
        "mbp-10", lambda: _pieces(session, Mbp(10)), metadata=day.files[0].metadata, symbol_map=day.symbol_map
    )
    rows, rates = sum(map(len, stream.batches())), []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        made = sum(batch.num_rows for batch in stream.reader())
        rates.append(made / (time.perf_counter() - begun) / 1e6)
        if made != rows:
            raise InternalError(f"the bench made {made:,} Arrow rows of {rows:,} records")
    yield Row("MBO records to Arrow MBP-10", rows, rates[1:], "M rows/s", [Aim(4)])


def _pass(session: Session, levels: int) -> float:
    stream, begun = Mbp(levels), time.perf_counter()
    for _ in _pieces(session, stream):
        pass
    elapsed = time.perf_counter() - begun
    expect(stream.books, session)
    return len(session.records) / elapsed / 1e6


def _pieces(session: Session, stream: Mbp) -> Iterator[Any]:
    for start in range(0, len(session.records), BATCH):
        yield from stream.apply(session.records[start : start + BATCH])
