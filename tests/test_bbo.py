"""The best bid and ask at the end of every second: what was seen, what is carried over, and when nothing comes out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mbo
from mbo.bbo import sample
from mbo.errors import RequestError
from mbo.records import Action
from mbo.schemas import mbp_dtype
from mbo.units import NS_PER_S, UNDEF_PRICE, UNDEF_TIMESTAMP

S = NS_PER_S


def update(
    at: int, bid: int, *, action: str = "A", price: int = 0, size: int = 0, instrument: int = 7, sequence: int = 0
) -> np.ndarray:
    one = np.zeros(1, mbp_dtype(1))
    one["length"], one["rtype"], one["publisher_id"], one["instrument_id"] = 20, 1, 1, instrument
    one["ts_recv"], one["ts_event"], one["bid_px_00"], one["ask_px_00"] = at, at - 5, bid, bid + 1
    one["action"], one["side"], one["price"], one["size"] = ord(action), ord("B"), price, size
    one["flags"], one["sequence"], one["depth"], one["ts_in_delta"] = 130, sequence, 3, 9
    return one


def sampled(*updates: np.ndarray, interval: str = "1s", cuts: int = 1) -> list[tuple[int, ...]]:
    stream = np.concatenate(updates)
    out = np.concatenate([np.empty(0, mbp_dtype(1)), *sample(np.array_split(stream, cuts), interval)])
    missing = {UNDEF_PRICE: None, UNDEF_TIMESTAMP: None}
    names = ("ts_recv", "instrument_id", "bid_px_00", "price", "size", "ts_event", "sequence")
    return [tuple(missing.get(value, value) for value in row) for row in out[list(names)].tolist()]


@pytest.mark.parametrize("cuts", [1, 2, 5])
def test_a_second_shows_its_last_book_and_its_last_trade(cuts):
    rows = sampled(
        update(S + 1, 100, sequence=1), update(S + 2, 101, action="T", price=50, size=3, sequence=2),
        update(2 * S, 102, sequence=3), update(2 * S + 1, 103, sequence=4),
        update(9 * S, 104, action="T", price=60, size=1, sequence=5), cuts=cuts,
    )  # fmt: skip
    assert rows == [
        (2 * S, 7, 102, 50, 3, S - 3, 3),
        (3 * S, 7, 103, 50, 3, S - 3, 4),
        (9 * S, 7, 104, 60, 1, 9 * S - 5, 5),
    ]


def test_before_the_first_trade_there_is_none():
    (record,) = next(sample([update(S, 100, sequence=1)], "1s"))
    assert (record["ts_recv"], record["price"], record["size"], record["side"]) == (S, UNDEF_PRICE, 0, ord("N"))
    assert (record["ts_event"], record["flags"], record["rtype"]) == (UNDEF_TIMESTAMP, 130, 0xC3)
    assert (record["action"], record["depth"], record["ts_in_delta"]) == (0, 0, 0)


def test_instruments_are_sampled_apart():
    rows = sampled(
        update(S + 1, 100),
        update(S + 2, 200, instrument=8),
        update(2 * S + 1, 201, instrument=8),
        update(3 * S + 1, 101),
    )
    assert [row[:3] for row in rows] == [(2 * S, 7, 100), (2 * S, 8, 200), (3 * S, 8, 201), (4 * S, 7, 101)]


def test_a_late_record_counts_for_the_open_interval():
    rows = sampled(update(5 * S, 100), update(2 * S, 90), update(6 * S, 101))
    assert [row[:3] for row in rows] == [(5 * S, 7, 90), (6 * S, 7, 101)]


def test_minutes():
    rows = sampled(update(S, 100), update(60 * S, 101), update(60 * S + 1, 102), interval="1m", cuts=3)
    assert [row[:3] for row in rows] == [(60 * S, 7, 101), (120 * S, 7, 102)]


def test_nothing_in_nothing_out():
    assert list(sample([], "1s")) == []
    assert list(sample([np.empty(0, mbp_dtype(1))], "1m")) == []
    with pytest.raises(RequestError, match="the intervals are '1s', '1m'"):
        next(sample([], "5s"))


def test_a_session_is_sampled_as_its_mbp_1_says():
    day = mbo.read_dbn(mbo.SIMULATED)
    bbo = pl.DataFrame(day.bbo("1s"))
    assert bbo.columns[:3] == ["ts_recv", "ts_event", "rtype"]
    assert not {"action", "depth", "ts_in_delta"} & set(bbo.columns)
    mbp = np.concatenate(list(day.mbp(1).batches()))
    naive = {}
    trades: dict[int, int] = {}
    for record in mbp:
        end = -(-int(record["ts_recv"]) // S) * S
        number = int(record["instrument_id"])
        if record["action"] == Action.TRADE:
            trades[number] = int(record["price"])
        naive[end, number] = (record["bid_px_00"], record["ask_sz_00"], record["sequence"], trades.get(number))
    found = bbo.select(
        pl.col("ts_recv").cast(pl.Int64), "instrument_id", "bid_px_00", "ask_sz_00", "sequence", "price"
    ).rows()
    assert {(row[0], row[1]): tuple(row[2:]) for row in found} == naive
    assert len(found) == len(naive)
