"""The bench measures what it says: small runs of every row, and a wrong book would stop it."""

from __future__ import annotations

import json

import pytest

from mbo.bench import core, live, mbp, timing
from mbo.errors import InternalError
from mbo.simulator import simulate


def shrink(monkeypatch, **values):
    """Set a constant in every module of the bench that has taken it over."""
    for name, value in values.items():
        for module in (core, live, mbp, timing):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


@pytest.fixture
def small(monkeypatch):
    shrink(
        monkeypatch,
        RUNS=2,
        MESSAGES=12_000,
        PER_RUN=20_000,
        SLOW_MESSAGES=5_000,
        RESTING=(50, 100, 400),
        INSTRUMENTS=10,
    )


def test_every_row_of_core_is_measured(small, monkeypatch):
    monkeypatch.delenv("MBO_DATA", raising=False)
    rows = list(core.core())
    assert len(rows) == 9
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert set(rows[0].ratios) == {"ReferenceBook", "dict + SortedDict, decoded tuples"}
    assert json.dumps([row.document() for row in rows])
    assert all(len(row.cells()) == 7 for row in rows)


def test_a_wrong_book_stops_the_bench(small, monkeypatch):
    session = simulate(2_000, seed=1)
    monkeypatch.setattr(type(session), "digest", lambda self, number: "wrong")
    with pytest.raises(InternalError, match="differs from the simulator's own"):
        timing.books_row("row", session)


def test_all_three_books_are_the_same_book():
    records = simulate(5_000, seed=3).records
    digests = {build().digest() for build in (core._fast(records), core._reference(records), core._plain(records))}
    assert len(digests) == 1


def test_a_book_that_ends_differently_stops_the_bench(small):
    records = simulate(5_000, seed=3).records
    with pytest.raises(InternalError, match="PlainBook ends in another book"):
        core._rates(records, core._plain(records[:-1]))


def test_every_row_of_mbp_is_measured(small):
    rows = list(mbp.mbp())
    assert [row.name for row in rows] == ["with MBP-10 records", "with MBP-1 records", "MBO records to Arrow MBP-10"]
    assert all(min(row.values) > 0 for row in rows)
    assert rows[2].messages > 5_000


def test_every_row_of_live_is_measured(monkeypatch):
    shrink(monkeypatch, TURN=20_000, SECONDS=1, RUNS=1, OFFICIAL=5_000, PACED=((20_000, 1), (5_000, 3)))
    rows = list(live.live())
    assert [row.messages for row in rows] == [20_000, 20_000, 15_000, 5_000, 5_000, 5_000]
    assert all(min(row.values) > 0 for row in rows)
    assert set(rows[1].figures) == {"p50", "p99.9", "max"}
    assert set(rows[-1].ratios) == {"the client with a book", "counting"}


def test_a_lost_record_stops_the_bench_of_live(monkeypatch):
    from mbo.errors import LostError
    from mbo.live.process import GatewayProcess

    shrink(monkeypatch, TURN=5_000, RUNS=0, PACED=((5_000, 1),), SECONDS=1)
    monkeypatch.setattr(GatewayProcess, "sent", property(lambda self: self.records + 1))
    with pytest.raises(LostError, match="5,001 records were sent"):
        list(live.live())
