"""Who was the aggressor: the exchange's word and the classical rules, by hand and against plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import sign_trades, signing_accuracy
from mbo.simulator import Feature, simulate
from mbo.units import UNDEF_PRICE
from tests.analytics.tables import column, mbp_table, quote_rows, rows_of
from tests.book.tapes import TICK

RULES = ("tick_rule", "lee_ready", "emo")


def trades(*lines: str, **fields: Any) -> pa.Table:
    """Trades with their quotes from lines like `B 101 100x1 | 101x1`: the exchange's side, the price in ticks (- for none)."""
    heads = [line.split(maxsplit=2) for line in lines]
    price = [UNDEF_PRICE if price == "-" else round(float(price) * TICK) for _, price, _ in heads]
    quotes = [quote for _, _, quote in heads]
    return quote_rows(
        *quotes, action=["T"] * len(lines), side=[side for side, _, _ in heads], **{"price": price, **fields}
    )


@pytest.fixture(scope="module")
def session() -> pa.Table:
    features = Feature.SPREADS | Feature.LONE_TRADES | Feature.AUCTIONS | Feature.PUBLISHERS | Feature.STOPS
    return mbp_table(simulate(20_000, seed=5, instruments=3, resting=60, features=features).records, 1)


def test_the_exchange_names_the_aggressor_or_nobody():
    made = sign_trades(trades("B 101 100x1 | 101x1", "A 100 100x1 | 101x1", "N 100 100x1 | 101x1"))
    assert column(made, "aggressor") == [1, -1, None]


def test_the_tick_rule_follows_the_last_change_of_price():
    made = sign_trades(trades(*(f"B {price} |" for price in (100, 100, 101, 101, 99, 99, 100))))
    assert column(made, "tick_rule") == [None, None, 1, 1, -1, -1, 1]


def test_a_trade_without_a_price_changes_nothing():
    made = sign_trades(trades("B 100 100x1 | 101x1", "B - 100x1 | 101x1", "B 101 |", "B - |", "B 101 |"))
    for rule in ("tick_rule", "lee_ready", "emo"):
        assert column(made, rule)[3] is None
    assert column(made, "tick_rule") == [None, None, 1, None, 1]
    assert column(made, "price") == [100 * TICK, None, 101 * TICK, None, 101 * TICK]


@pytest.mark.parametrize(
    ("price", "quote", "lee_ready", "emo"),
    [
        ("102", "100x1 | 102x1", 1, 1),
        ("100", "100x1 | 102x1", -1, -1),
        (
            "101.5",
            "100x1 | 102x1",
            1,
            "tick",
        ),  # inside the spread EMO asks the tick rule, Lee and Ready only at the mid
        ("100.5", "100x1 | 102x1", -1, "tick"),
        ("101", "100x1 | 102x1", "tick", "tick"),
        ("103", "100x1 | 102x1", 1, "tick"),  # through the quote, as the later trades of a sweep are
        ("102", "101x1 | 101x1", "tick", "tick"),  # locked
        ("101", "102x1 | 100x1", "tick", "tick"),  # crossed
        ("100", "100x1 |", "tick", "tick"),  # one-sided
    ],
)
def test_lee_ready_and_emo_by_hand(price, quote, lee_ready, emo):
    for first, tick in (("90", 1), ("110", -1)):
        made = sign_trades(trades(f"B {first} |", f"B {price} {quote}"))
        assert column(made, "lee_ready")[1] == (tick if lee_ready == "tick" else lee_ready)
        assert column(made, "emo")[1] == (tick if emo == "tick" else emo)


def test_a_mid_between_two_units_is_exact():
    made = sign_trades(trades("B 0 |", "B 0 |", price=[6, 5], bid_px_00=[UNDEF_PRICE, 4], ask_px_00=[UNDEF_PRICE, 7]))
    assert column(made, "lee_ready")[1] == -1  # 5 is below 5.5


def test_rows_that_are_no_trades_are_left_out():
    table = quote_rows(
        "100x1 | 101x1", "100x1 | 101x1", action=["A", "T"], side=["B", "B"], price=[99 * TICK, 101 * TICK], size=[5, 6]
    )
    made = sign_trades(table)
    assert rows_of(made, "price", "size", "ts_recv") == [(101 * TICK, 6, 10**9 + 1_000)]


def test_signs_agree_with_plain_python_book_by_book(session):
    last: dict[Any, int] = {}
    ticks: dict[Any, int | None] = {}
    expected = []
    for row in session.to_pylist():
        if row["action"] != "T":
            continue
        book, price, bid, ask = row["instrument_id"], row["price"], row["bid_px_00"], row["ask_px_00"]
        if book in last and price != last[book]:
            ticks[book] = 1 if price > last[book] else -1
        last[book] = price
        lee_ready = emo = tick = ticks.get(book)
        if bid is not None and ask is not None and bid < ask:
            if 2 * price != bid + ask:
                lee_ready = 1 if 2 * price > bid + ask else -1
            emo = 1 if price == ask else -1 if price == bid else tick
        expected.append(({"B": 1, "A": -1}.get(row["side"]), tick, lee_ready, emo))
    assert rows_of(sign_trades(session), "aggressor", *RULES) == expected
    assert len({values[0] for values in expected}) == 3


def test_accuracy_counts_what_the_signs_say(session):
    signs = sign_trades(session)
    made = signing_accuracy(session)
    assert column(made, "rule") == list(RULES) * 3
    for instrument, rule, right, wrong, unsigned, accuracy in rows_of(
        made, "instrument_id", "rule", "right", "wrong", "unsigned", "accuracy"
    ):
        pairs = [
            (truth, sign)
            for number, truth, sign in rows_of(signs, "instrument_id", "aggressor", rule)
            if number == instrument and truth is not None
        ]
        assert right == sum(truth == sign for truth, sign in pairs)
        assert unsigned == sum(sign is None for _, sign in pairs)
        assert right + wrong + unsigned == len(pairs)
        assert accuracy == pytest.approx(right / (right + wrong))
    assert min(column(made, "accuracy")) > 0.4


def test_accuracy_is_null_where_nothing_was_signed():
    made = signing_accuracy(trades("B 100 |", "N 100 |"))
    assert rows_of(made, "right", "wrong", "unsigned", "accuracy") == [(0, 0, 1, None)] * 3


def test_no_trades_give_no_rows():
    day = mbo.read_dbn(mbo.SIMULATED).select("SIM1")
    empty = mbp_table(np.empty(0, mbo.MBO_DTYPE), 1)
    for function in (sign_trades, signing_accuracy):
        made = function(empty)
        assert made.num_rows == 0
        assert made.schema == function(day.tbbo()).schema
