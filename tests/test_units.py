"""Prices and times, to the last digit and back."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.errors import RequestError, TimeError
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP, decimals_of, format_price, format_time, parse_interval, parse_time

pd = pytest.importorskip("pandas", reason="pandas comes with the databento package")

T = 1_758_744_000_000_000_000  # 2025-09-24T20:00Z

nanoseconds = st.integers(0, UNDEF_TIMESTAMP - 1)
prices = st.integers(-(2**63), UNDEF_PRICE - 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-09-24T20:00", T),
        ("2025-09-24 20:00", T),
        ("  2025-09-24T20:00:00Z ", T),
        ("2025-09-24T20:00:00.000000001", T + 1),
        ("2025-09-24T20:00:00.1", T + 100_000_000),
        ("2025-09-24T20:00:00,999999999 UTC", T + 999_999_999),
        ("2025-09-24T22:00:00.000000001+02:00", T + 1),
        ("2025-09-24T14:30-0530", T),
        ("2025-09-24", T - 72_000_000_000_000),
        ("1970-01-01", 0),
        ("2554-07-21T23:34:33.709551614Z", UNDEF_TIMESTAMP - 1),
        (T + 1, T + 1),
        (np.int64(T + 1), T + 1),
        (np.uint64(UNDEF_TIMESTAMP - 1), UNDEF_TIMESTAMP - 1),
        (dt.date(2025, 9, 24), T - 72_000_000_000_000),
        (dt.datetime(2025, 9, 24, 20, 0, 0, 1), T + 1_000),
        (dt.datetime(2025, 9, 24, 22, tzinfo=dt.timezone(dt.timedelta(hours=2))), T),
        (np.datetime64("2025-09-24T20:00:00.000000001"), T + 1),
        (np.datetime64("2025-09-24T20:00", "m"), T),
        (np.datetime64("2025-09", "M"), parse_time("2025-09-01")),
        (np.datetime64("2400-01-01"), parse_time("2400-01-01")),  # beyond what datetime64[ns] holds, not beyond DBN
        (pd.Timestamp("2025-09-24T20:00:00.000000001"), T + 1),
        (pd.Timestamp("2025-09-24T22:00:00.000000001+02:00"), T + 1),
        (pd.Timestamp("2400-01-01"), parse_time("2400-01-01")),
    ],
    ids=repr,
)
def test_parse_time(value, expected):
    assert parse_time(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", "now", "2025", "2025-09-24T", "2025-09-24T20", "2025-13-01", "2025-02-30", "2025-09-24T24:00", "2025-09-24T20:60",
        "2025-09-24T20:00:60", "2025-09-24T20:00:00.", "2025-09-24T20:00:00.0000000001", "2025-09-24T20:00+24:00",
        "2025-09-24T20:00+01:60", "2025-09-24T20:00 CET", "1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00+00:01",
        "2554-07-21T23:34:33.709551615Z", "9999-12-31", "0000-01-01", "٢٠٢٥-٠٩-٢٤", "2025-09-24T20:00\n2025",
        -1, UNDEF_TIMESTAMP, 2**64, 10**30, True, False, np.True_, 1.5, float("nan"), 1.7e18, None, b"2025-09-24", [], [T],
        np.array([T, T]), np.datetime64("NaT"), np.datetime64("1500"), np.datetime64("3000"), pd.NaT, pd.Timestamp("3000-01-01"),
        dt.datetime(1969, 1, 1, tzinfo=dt.UTC), dt.date(3000, 1, 1), dt.time(20), np.timedelta64(5, "ns"), Decimal(5),
    ],
    ids=repr,
)  # fmt: skip
def test_parse_time_refuses_nonsense(value):
    with pytest.raises(TimeError, match="is not a time"):
        parse_time(value)


@given(st.text())
def test_parse_time_of_any_text(text):
    with suppress(TimeError):
        assert 0 <= parse_time(text) < UNDEF_TIMESTAMP


@given(nanoseconds)
def test_time_round_trip(ns):
    text = format_time(ns)
    assert len(text) == 30
    assert parse_time(text) == ns
    assert parse_time(text.removesuffix("Z") + "+00:00") == ns


@given(st.integers(0, 2**63 - 1))
def test_time_as_numpy_and_pandas_write_it(ns):
    assert format_time(ns) == f"{np.datetime64(ns, 'ns')}Z"
    assert parse_time(np.datetime64(ns, "ns")) == parse_time(pd.Timestamp(ns)) == ns


@given(nanoseconds, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_time_with_any_offset(ns, minutes):
    local = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=ns // 10**9, minutes=minutes)
    sign, hours, rest = "-" if minutes < 0 else "+", *divmod(abs(minutes), 60)
    assert parse_time(f"{local:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}{sign}{hours:02d}:{rest:02d}") == ns


def test_missing_time_is_empty():
    assert format_time(UNDEF_TIMESTAMP) == ""


@pytest.mark.parametrize(
    ("price", "decimals", "expected"),
    [
        (64_830_000_000, 9, "64.830000000"),
        (64_830_000_000, 2, "64.83"),
        (64_830_000_000, 3, "64.830"),
        (64_830_000_000, 0, "64.83"),
        (64_000_000_000, 0, "64"),
        (-250_000_000, 0, "-0.25"),
        (-1, 2, "-0.000000001"),
        (0, 0, "0"),
        (0, 2, "0.00"),
        (-(2**63), 2, "-9223372036.854775808"),
        (UNDEF_PRICE - 1, 2, "9223372036.854775806"),
        (UNDEF_PRICE, 2, ""),
        (np.int64(-(2**63)), 2, "-9223372036.854775808"),
        (np.int64(UNDEF_PRICE), 2, ""),
    ],
)
def test_format_price(price, decimals, expected):
    assert format_price(price, decimals) == expected


@given(prices, st.integers(0, 9))
def test_price_is_exact(price, decimals):
    text = format_price(price, decimals)
    assert Decimal(text) * 10**9 == price
    places = len(text.partition(".")[2])
    assert places == max(decimals, decimals_of([price]))


@given(st.lists(prices | st.just(UNDEF_PRICE)))
def test_decimals_show_every_price_and_no_fewer_would(values):
    places = decimals_of(np.array(values, np.int64))
    known = [price for price in values if price != UNDEF_PRICE]
    assert all(price % 10 ** (9 - places) == 0 for price in known)
    assert places == 0 or any(price % 10 ** (10 - places) for price in known)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500us", 500_000), ("250ms", 250_000_000), ("1s", 10**9), ("5m", 300 * 10**9), ("2h", 7_200 * 10**9)],
)
def test_an_interval_is_read_as_nanoseconds(text, expected):
    assert parse_interval(text) == expected


@pytest.mark.parametrize("text", ["", "1", "0s", "-1s", "1.5s", "s", "1 s", "1w", 5])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(RequestError, match="is not an interval"):
        parse_interval(text)
