"""The bench measures what it says: small runs of every row, and a wrong book would stop it."""

from __future__ import annotations

import json

import pytest

from mbo import bench
from mbo.errors import InternalError
from mbo.simulator import simulate


@pytest.fixture
def small(monkeypatch):
    for name, value in {
        "RUNS": 2,
        "MESSAGES": 12_000,
        "PER_RUN": 20_000,
        "SLOW_MESSAGES": 5_000,
        "RESTING": (50, 100, 400),
    }.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(bench, "INSTRUMENTS", 10)


def test_every_row_of_core_is_measured(small, monkeypatch):
    monkeypatch.delenv("MBO_DATA", raising=False)
    rows = bench.core()
    assert len(rows) == bench.ROWS
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert set(rows[0].ratios) == {"ReferenceBook", "dict + SortedDict, decoded tuples"}
    assert json.dumps([row.document() for row in rows])
    assert all(len(row.cells()) == 6 for row in rows)


def test_a_wrong_book_stops_the_bench(small, monkeypatch):
    session = simulate(2_000, seed=1)
    monkeypatch.setattr(type(session), "digest", lambda self, number: "wrong")
    with pytest.raises(InternalError, match="differs from the simulator's own"):
        bench._books_row("row", session, "")


def test_all_three_books_are_the_same_book():
    records = simulate(5_000, seed=3).records
    digests = {build().digest() for build in (bench._fast(records), bench._reference(records), bench._plain(records))}
    assert len(digests) == 1


def test_a_book_that_ends_differently_stops_the_bench(small):
    records = simulate(5_000, seed=3).records
    with pytest.raises(InternalError, match="PlainBook ends in another book"):
        bench._rates(records, bench._plain(records[:-1]))


def test_every_row_of_mbp_is_measured(small):
    rows = bench.mbp()
    assert [row.name for row in rows] == ["with MBP-10 records", "with MBP-1 records", "MBO records to Arrow MBP-10"]
    assert all(min(row.values) > 0 for row in rows)
    assert rows[2].messages > 5_000


def test_every_row_of_live_is_measured(monkeypatch):
    from mbo import bench_live

    small = {"TURN": 20_000, "SECONDS": 1, "RUNS": 1, "OFFICIAL": 5_000, "PACED": ((20_000, 1), (5_000, 3))}
    for name, value in small.items():
        monkeypatch.setattr(bench_live, name, value)
    rows = list(bench_live.live())
    assert [row.messages for row in rows] == [20_000, 20_000, 15_000, 5_000, 5_000, 5_000]
    assert all(min(row.values) > 0 for row in rows)
    assert "p50" in rows[1].detail
    assert set(rows[-1].ratios) == {"the client with a book", "counting"}


def test_a_lost_record_stops_the_bench_of_live(monkeypatch):
    from mbo import bench_live
    from mbo.errors import LostError
    from mbo.live.process import GatewayProcess

    monkeypatch.setattr(bench_live, "TURN", 5_000)
    monkeypatch.setattr(bench_live, "RUNS", 0)
    monkeypatch.setattr(bench_live, "PACED", ((5_000, 1),))
    monkeypatch.setattr(bench_live, "SECONDS", 1)
    monkeypatch.setattr(GatewayProcess, "sent", property(lambda self: self.records + 1))
    with pytest.raises(LostError, match="5,001 records were sent"):
        list(bench_live._rows())
