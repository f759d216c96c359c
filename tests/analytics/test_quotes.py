"""Spread, mid, weighted mid, imbalance, depth and order-flow imbalance: by hand, and against the formulae in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import depth, order_flow_imbalance, quotes, tick_sizes
from mbo.errors import RequestError
from mbo.simulator import Feature, simulate
from mbo.units import UNDEF_TIMESTAMP
from tests.analytics.tables import books_of, column, mbp_table, quote_rows, rows_of, same
from tests.book.tapes import TICK


@pytest.fixture(scope="module")
def session() -> pa.Table:
    """Market by price of three instruments at three publishers, with crossed, one-sided and empty books."""
    features = Feature.AUCTIONS | Feature.RESETS | Feature.PUBLISHERS
    return mbp_table(simulate(8_000, seed=11, instruments=3, resting=30, features=features).records)


def test_quotes_by_hand():
    made = quotes(quote_rows("100x1 | 102x3", "100x5 | 101x5"))
    assert column(made, "spread") == [2 * TICK, TICK]
    assert column(made, "mid") == [101 * TICK, 100 * TICK + TICK // 2]
    assert column(made, "weighted_mid") == [100.5 * TICK, 100.5 * TICK]  # little at the bid: near the bid
    assert column(made, "imbalance") == [-0.5, 0.0]


def test_locked_and_crossed_books_have_a_zero_and_a_negative_spread():
    made = quotes(quote_rows("100x1 | 100x1", "103x1 | 100x3"))
    assert rows_of(made, "spread", "mid") == [(0, 100 * TICK), (-3 * TICK, 101 * TICK + TICK // 2)]
    assert column(made, "weighted_mid")[1] == 102.25 * TICK


def test_a_row_with_an_empty_side_has_nulls_and_keeps_its_place():
    made = quotes(quote_rows("100x1 | 101x1", "100x1 |", "| 101x1", "|"))
    assert made.num_rows == 4
    for name in ("spread", "mid", "weighted_mid", "imbalance"):
        assert [value is None for value in column(made, name)] == [False, True, True, True]
    assert column(made, "ts_recv") == [10**9, 10**9 + 1_000, 10**9 + 2_000, 10**9 + 3_000]


def test_a_mid_of_an_odd_sum_is_rounded_down_also_below_zero():
    made = quotes(quote_rows("0x1 | 0x1", "0x1 | 0x1", bid_px_00=[7, -8], ask_px_00=[10, -5]))
    assert column(made, "mid") == [8, -7]


def test_the_imbalance_is_of_as_many_levels_as_asked_for():
    table = quote_rows("100x1 99x9 98x90 | 101x1 102x1 103x98", levels=3)
    assert column(quotes(table, levels=1), "imbalance") == [0.0]
    assert column(quotes(table, levels=2), "imbalance") == [8 / 12]
    assert column(quotes(table, levels=3), "imbalance") == [0.0]
    for levels in (0, 4):
        with pytest.raises(RequestError, match="these rows have 1 to 3"):
            quotes(table, levels=levels)


def test_quotes_agree_with_plain_python(session):
    made = quotes(session)
    for row, spread, mid, weighted, imbalance in zip(
        session.to_pylist(),
        *(column(made, name) for name in ("spread", "mid", "weighted_mid", "imbalance")),
        strict=True,
    ):
        bid, ask, bids, asks = (row[name] for name in ("bid_px_00", "ask_px_00", "bid_sz_00", "ask_sz_00"))
        if bid is None or ask is None:
            assert (spread, mid, weighted, imbalance) == (None,) * 4
            continue
        assert (spread, mid) == (ask - bid, (bid + ask) // 2)
        assert weighted == pytest.approx((bid * asks + ask * bids) / (bids + asks), rel=1e-14)
        assert imbalance == (bids - asks) / (bids + asks)
    assert min(spread for spread in column(made, "spread") if spread is not None) < 0
    assert None in column(made, "spread")


def test_quotes_are_the_same_of_a_stream_a_table_and_a_frame():
    day = mbo.read_dbn(mbo.SIMULATED).select("SIM2")
    expected = quotes(day.mbp(1))
    for source in (pa.table(day.mbp(1)), pl.DataFrame(day.mbp(1)), pl.DataFrame(day.mbp(1, px="decimal"))):
        assert same(quotes(source), expected)
    assert expected.num_rows > 1_000


@pytest.mark.parametrize(
    "function", [quotes, depth, tick_sizes, order_flow_imbalance, lambda mbp: depth(mbp, tick_size=TICK)]
)
def test_no_rows_give_no_rows(function):
    empty = mbp_table(np.empty(0, mbo.MBO_DTYPE))
    full = mbp_table(simulate(500, resting=20).records)
    for source in (empty, pa.RecordBatchReader.from_batches(empty.schema, [])):
        made = function(source)
        assert made.num_rows == 0
        assert made.schema == function(full).schema


# ---------------------------------------------------------------- depth


def test_depth_by_hand():
    table = quote_rows("100x1 98x2 95x4 | 101x8 103x16", levels=3)
    made = depth(table, [1, 2, 3, 5, 6], tick_size=TICK)
    assert [column(made, f"bid_depth_{n}")[0] for n in (1, 2, 3, 5, 6)] == [1, 1, 3, 3, 7]
    assert [column(made, f"ask_depth_{n}")[0] for n in (1, 2, 3, 5, 6)] == [8, 8, 24, 24, 24]


def test_depth_is_null_where_the_rows_show_too_little():
    """The last visible bid is 5 ticks away: what stands 6 away is not known, on the other side nothing is hidden."""
    made = depth(quote_rows("100x1 98x2 95x4 | 101x8 103x16", levels=3), [6, 7, 50], tick_size=TICK)
    assert [column(made, f"bid_depth_{n}")[0] for n in (6, 7, 50)] == [7, None, None]
    assert [column(made, f"ask_depth_{n}")[0] for n in (6, 7, 50)] == [24, 24, 24]


def test_an_empty_side_has_no_depth():
    made = depth(quote_rows("100x1 |", "|"), [1, 10], tick_size=TICK)
    assert rows_of(made, "bid_depth_1", "ask_depth_1", "ask_depth_10") == [(1, 0, 0), (0, 0, 0)]


def test_depth_agrees_with_plain_python():
    session = mbp_table(
        simulate(4_000, seed=11, instruments=2, resting=150).records
    )  # dense: ten levels are about ten ticks
    sizes = {
        tuple(row[:2]): row[2] for row in rows_of(tick_sizes(session), "publisher_id", "instrument_id", "tick_size")
    }
    made = depth(session, (1, 4, 10, 12))
    for n in (1, 4, 10, 12):
        expected = []
        for row in session.to_pylist():
            tick = sizes[row["publisher_id"], row["instrument_id"]]
            for side in ("bid", "ask"):
                levels = [(row[f"{side}_px_{k:02}"], row[f"{side}_sz_{k:02}"]) for k in range(10)]
                away = [abs(price - levels[0][0]) // tick if price is not None else None for price, _ in levels]
                shown = sum(size for (_, size), gap in zip(levels, away, strict=True) if gap is not None and gap < n)
                expected.append(None if away[9] is not None and away[9] < n - 1 else shown)
        found = [value for pair in rows_of(made, f"bid_depth_{n}", f"ask_depth_{n}") for value in pair]
        assert found == expected
    assert None not in column(made, "bid_depth_10")
    assert None in column(made, "bid_depth_12")


def test_tick_sizes_are_those_of_each_book(session):
    made = rows_of(tick_sizes(session), "instrument_id", "tick_size")
    assert sorted(made) == [(1001, 10_000_000), (1002, 250_000_000), (1003, 10_000_000)]
    assert column(tick_sizes(quote_rows("|", "|")), "tick_size") == [None]


@pytest.mark.parametrize("wrong", [{"tick_size": 0.01}, {"tick_size": 0}, {"ticks": [0]}, {"ticks": [1.5]}])
def test_ticks_that_make_no_sense_are_refused(wrong):
    with pytest.raises(RequestError, match="it has to be"):
        depth(quote_rows("100x1 | 101x1"), **wrong)


# ---------------------------------------------------------------- order-flow imbalance


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("100x9 | 101x7", 4),  # more at the bid
        ("100x2 | 101x7", -3),
        ("101x2 | 102x1", 2 + 7),  # a better bid counts whole, a worse ask takes what stood there
        ("99x2 | 101x7", -5),
        ("100x5 | 101x9", -2),  # more at the ask presses down
        ("100x5 | 100x3", -3),
        ("100x5 | 103x3", 7),
        ("| 101x7", -5),  # an empty side is a price worse than any
        ("100x5 |", 7),
        ("100x5 | 101x7", 0),
    ],
)
def test_order_flow_imbalance_by_hand(after, expected):
    made = order_flow_imbalance(quote_rows("100x5 | 101x7", after))
    assert rows_of(made, "ts", "ofi_00", "records") == [(10**9, expected, 2)]


def test_what_comes_back_to_an_empty_side_counts_whole():
    made = order_flow_imbalance(quote_rows("|", "100x5 |", "|", "| 101x4", "|"), "1us")
    assert column(made, "ofi_00") == [0, 5, -5, -4, 4]
    assert column(made, "mid") == [None] * 5


def test_intervals_begin_at_whole_multiples_and_keep_the_last_mid():
    table = quote_rows(
        *["100x1 | 101x1", "100x2 | 101x1", "100x2 | 102x1", "100x3 | 102x1"], ts_recv=[999, 1_000, 1_999, 2_000]
    )
    made = order_flow_imbalance(table, "1us")
    assert rows_of(made, "ts", "ofi_00", "records") == [(0, 0, 1), (1_000, 2, 2), (2_000, 1, 1)]
    assert column(made, "mid") == [100 * TICK + TICK // 2, 101 * TICK, 101 * TICK]


def test_order_flow_imbalance_agrees_with_plain_python_at_every_level(session):
    expected: Counter[tuple[int, int, int, int]] = Counter()
    before: dict[tuple[int, int], dict[str, int]] = {}
    for row in session.to_pylist():
        book = (row["publisher_id"], row["instrument_id"])
        earlier = before.get(book)
        before[book] = row
        second = row["ts_recv"].value // 10**9 * 10**9
        for level in range(3):
            flow = 0
            if earlier is not None:
                new, old = (
                    [
                        (
                            -(10**18) if one[f"bid_px_0{level}"] is None else one[f"bid_px_0{level}"],
                            one[f"bid_sz_0{level}"],
                        ),
                        (
                            10**18 if one[f"ask_px_0{level}"] is None else one[f"ask_px_0{level}"],
                            one[f"ask_sz_0{level}"],
                        ),
                    ]
                    for one in (row, earlier)
                )
                (bid, bids), (ask, asks), (bid_0, bids_0), (ask_0, asks_0) = *new, *old
                flow = (bid >= bid_0) * bids - (bid <= bid_0) * bids_0 - (ask <= ask_0) * asks + (ask >= ask_0) * asks_0
            expected[second, *book, level] += flow
    made = order_flow_imbalance(session, "1s", levels=3)
    found = rows_of(made, "ts", "publisher_id", "instrument_id", "ofi_00", "ofi_01", "ofi_02")
    assert {
        (*key, level): values[level] for *key, a, b, c in found for level, values in [(n, (a, b, c)) for n in range(3)]
    } == expected
    assert [key[:3] for key in found] == sorted(key[:3] for key in found)


def test_intervals_of_any_length_sum_to_the_same(session):
    whole = order_flow_imbalance(session, "1d")
    fine = order_flow_imbalance(session, "10ms")
    assert fine.num_rows > 20 * whole.num_rows
    for book, flow, records in rows_of(whole.append_column("book", [books_of(whole)]), "book", "ofi_00", "records"):
        own = [key == tuple(book.values()) if isinstance(book, dict) else key == tuple(book) for key in books_of(fine)]
        assert sum(value for value, mine in zip(column(fine, "ofi_00"), own, strict=True) if mine) == flow
        assert sum(value for value, mine in zip(column(fine, "records"), own, strict=True) if mine) == records


def test_a_row_without_a_time_is_of_no_interval():
    with pytest.raises(RequestError, match="no ts_recv"):
        order_flow_imbalance(quote_rows("100x1 | 101x1", "100x1 | 101x1", ts_recv=[5, UNDEF_TIMESTAMP]))
