"""Bars of trades by time, count, volume and value: by hand, against plain Python, and what they have to conserve."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import bars
from mbo.errors import RequestError
from mbo.records import Action
from mbo.schemas import TRADES_DTYPE, columns_of, to_arrow
from mbo.simulator import Feature, simulate
from mbo.units import NS_PER_S, UNDEF_PRICE
from tests.analytics.tables import column, rows_of, trades_table
from tests.book.tapes import TICK

OHLC = ("open", "high", "low", "close")
KINDS = [("time", "500ms"), ("tick", 7), ("volume", 50), ("dollar", 4_000)]


def trades(*lines: str, **fields: Any) -> pa.Table:
    """Trades from lines like `0.5 B 100 3`: seconds, aggressor, price in ticks (- for none), size; instrument 7 unless said."""
    array = np.zeros(len(lines), TRADES_DTYPE)
    array["publisher_id"], array["instrument_id"], array["action"] = 1, 7, ord("T")
    for row, line in zip(array, lines, strict=True):
        second, side, price, size = line.split()
        row["ts_recv"] = row["ts_event"] = round(float(second) * NS_PER_S)
        row["side"], row["size"] = ord(side), int(size)
        row["price"] = UNDEF_PRICE if price == "-" else int(price) * TICK
    for name, values in fields.items():
        array[name] = values
    return pa.Table.from_batches([to_arrow(array, columns_of("trades"))])


@pytest.fixture(scope="module")
def session() -> pa.Table:
    features = Feature.SPREADS | Feature.LONE_TRADES | Feature.AUCTIONS | Feature.PUBLISHERS | Feature.STOPS
    return trades_table(simulate(20_000, seed=5, instruments=3, resting=60, features=features).records)


def test_time_bars_by_hand():
    made = bars(trades("0.1 B 100 2", "0.9 A 104 1", "0.95 N 99 3", "1.0 B 101 4", "3.5 A 98 1"), "1s")
    assert [ts // NS_PER_S for ts in column(made, "ts")] == [0, 1, 3]
    assert [tuple(value // TICK for value in row) for row in rows_of(made, *OHLC)] == [
        (100, 104, 99, 99),
        (101,) * 4,
        (98,) * 4,
    ]
    assert rows_of(made, "volume", "buy_volume", "sell_volume", "trades") == [(6, 2, 1, 3), (4, 4, 0, 1), (1, 0, 1, 1)]
    assert column(made, "vwap")[0] == pytest.approx((100 * 2 + 104 + 99 * 3) / 6 * TICK, rel=1e-15)
    assert column(made, "ts_last")[0] == 950_000_000


@pytest.mark.parametrize(
    ("by", "every", "expected"),
    [
        ("tick", 2, [3, 8, 1]),
        ("tick", 1, [2, 1, 3, 5, 1]),
        ("tick", 99, [12]),
        ("volume", 3, [3, 3, 5, 1]),
        ("volume", 2.5, [2 + 1, 3, 5, 1]),
        ("volume", 4, [6, 5, 1]),
        ("dollar", 3.0, [3, 3, 5, 1]),  # a price of 100 ticks is 1.00
        ("dollar", 3.01, [6, 5, 1]),
    ],
)
def test_a_bar_ends_with_the_trade_that_fills_it(by, every, expected):
    made = bars(trades("1 B 100 2", "2 B 100 1", "3 A 100 3", "4 B 100 5", "5 B 100 1"), every, by=by)
    assert column(made, "volume") == expected
    begins = np.cumsum([0, *column(made, "trades")])[:-1] + 1
    assert [ts // NS_PER_S for ts in column(made, "ts")] == begins.tolist()


def test_negative_prices_have_a_value_too():
    made = bars(trades("1 B -100 2", "2 B 100 1", "3 A 0 9", "4 A -100 3"), 3, by="dollar")
    assert column(made, "trades") == [2, 2]


def test_a_missing_price_counts_in_the_volume_alone():
    made = bars(trades("0.1 B - 2", "0.2 B 100 1", "0.3 A 90 1", "0.4 A - 5", "1.0 B - 3"), "1s")
    assert rows_of(made, *OHLC) == [(100 * TICK, 100 * TICK, 90 * TICK, 90 * TICK), (None,) * 4]
    assert rows_of(made, "volume", "trades", "vwap") == [(9, 4, 95.0 * TICK), (3, 1, None)]


def test_a_late_trade_counts_in_its_own_interval():
    made = bars(trades("0.5 B 100 1", "1.5 B 101 2", "0.6 B 102 4"), "1s")
    assert rows_of(made, "ts", "volume", "close") == [(0, 5, 102 * TICK), (NS_PER_S, 2, 101 * TICK)]


def test_instruments_and_publishers_have_bars_of_their_own():
    table = trades(*["1 B 100 1"] * 6, instrument_id=[7, 8, 7, 8, 7, 7], publisher_id=[1, 1, 2, 1, 1, 1])
    for by, every in (("time", "1m"), ("tick", 100)):
        made = bars(table, every, by=by)
        assert rows_of(made, "publisher_id", "instrument_id", "volume") == [(1, 7, 3), (1, 8, 2), (2, 7, 1)]


@pytest.mark.parametrize(("by", "every"), KINDS)
def test_bars_agree_with_plain_python(session, by, every):
    open_bars: dict[Any, list[Any]] = {}
    expected = []
    for row in session.to_pylist():
        book, ts = (row["publisher_id"], row["instrument_id"]), row["ts_recv"].value
        key = (*book, ts // 500_000_000 * 500_000_000) if by == "time" else book
        if key not in open_bars:
            open_bars[key] = [key[2] if by == "time" else ts, *book, []]
            expected.append(open_bars[key])
        own = open_bars[key][3]
        own.append(row)
        worth = {
            "tick": lambda one: 1,
            "volume": lambda one: one["size"],
            "dollar": lambda one: abs(one["price"]) * one["size"] / 1e9,
        }
        if by != "time" and sum(map(worth[by], own)) >= every:
            del open_bars[key]
    found = bars(session, every, by=by)
    summary = [
        (
            ts, publisher, instrument,
            own[0]["price"], max(r["price"] for r in own), min(r["price"] for r in own), own[-1]["price"],
            sum(r["size"] for r in own), sum(r["size"] for r in own if r["side"] == "B"),
            sum(r["size"] for r in own if r["side"] == "A"), len(own), own[-1]["ts_recv"].value,
        )
        for ts, publisher, instrument, own in sorted(expected, key=lambda bar: bar[:3])
    ]  # fmt: skip
    names = ("ts", "publisher_id", "instrument_id", *OHLC, "volume", "buy_volume", "sell_volume", "trades", "ts_last")
    assert rows_of(found, *names) == summary
    means = [
        sum(r["price"] * r["size"] for r in own) / sum(r["size"] for r in own)
        for *_, own in sorted(expected, key=lambda bar: bar[:3])
    ]
    assert column(found, "vwap") == pytest.approx(means, rel=1e-13)


@pytest.mark.parametrize(("by", "every"), KINDS)
def test_bars_conserve_volume_and_trades_of_every_book(session, by, every):
    made = bars(session, every, by=by)
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for instrument, volume, count in rows_of(made, "instrument_id", "volume", "trades"):
        sums[instrument][0] += volume
        sums[instrument][1] += count
    frame = pl.from_arrow(session).group_by("instrument_id").agg(pl.col("size").cast(pl.Int64).sum(), pl.len())
    assert dict(sums) == {instrument: [volume, count] for instrument, volume, count in frame.rows()}


def test_time_bars_are_those_of_the_same_trades_anywhere():
    day = mbo.read_dbn(mbo.SIMULATED)
    made = bars(day.trades(), "10s")
    assert made.equals(bars(pl.DataFrame(day.trades()), "10s"))
    assert made.equals(bars(day.mbp(1), "10s"))  # of which only the trades count
    assert sum(column(made, "trades")) == (day.load()["action"] == Action.TRADE).sum()


def test_no_trades_give_no_bars():
    for by, every in KINDS:
        made = bars(trades(), every, by=by)
        assert made.num_rows == 0
        assert made.schema == bars(trades("1 B 100 1"), every, by=by).schema


@pytest.mark.parametrize(
    ("every", "by"),
    [
        (5, "time"),
        ("1x", "time"),
        (0, "tick"),
        ("1m", "volume"),
        (float("nan"), "dollar"),
        (True, "tick"),
        (5, "range"),
    ],
)
def test_bars_that_make_no_sense_are_refused(every, by):
    with pytest.raises(RequestError, match=r"every=|is not an interval|by="):
        bars(trades("1 B 100 1"), every, by=by)
