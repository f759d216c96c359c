"""`mbo bench mbp`: what MBP records cost beside the book, and their way to Arrow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import mbo
from mbo.bench.row import Aim, Row
from mbo.bench.timing import BATCH, MESSAGES, RUNS, books_row
from mbo.errors import InternalError
from mbo.mbp import Mbp
from mbo.simulator import Session, simulate
from mbo.store.survey import crc
from mbo.streams import RecordStream


def mbp() -> Iterator[Row]:
    """Measure MBP records, and their way to Arrow."""
    session = simulate(MESSAGES, seed=1, resting=300)
    book_only = books_row("book only", session)
    for levels, aims in ((10, [Aim(15)]), (1, [])):
        truth = session.truth(levels)  # of the exchange's own queues, by code of its own
        expected = len(truth), crc(truth, 0)
        rates = [_pass(session, levels, expected) for _ in range(RUNS + 1)][1:]
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


def _pass(session: Session, levels: int, expected: tuple[int, int]) -> float:
    """Time a session's records of market by price, whose number and checksum have to be the ones expected; M messages/s."""
    stream, seconds, count, checksum = Mbp(levels), 0.0, 0, 0
    for start in range(0, len(session.records), BATCH):
        begun = time.perf_counter()
        pieces = stream.apply(session.records[start : start + BATCH])
        seconds += time.perf_counter() - begun
        for piece in pieces:
            count, checksum = count + len(piece), crc(piece, checksum)
    if (count, checksum) != expected:
        raise InternalError(f"the bench made {count:,} records of MBP-{levels} that differ from the simulator's own")
    return len(session.records) / seconds / 1e6


def _pieces(session: Session, stream: Mbp) -> Iterator[Any]:
    for start in range(0, len(session.records), BATCH):
        yield from stream.apply(session.records[start : start + BATCH])
