"""Stoikov's micro-price: a chain that can be solved by hand, its symmetry, and how adjustments are applied."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import fit_microprice, microprice
from mbo.errors import RequestError
from mbo.simulator import simulate
from tests.analytics.tables import column, mbp_table, quote_rows, rows_of, same
from tests.book.tapes import TICK


def adjustments(*lines: str, **options: int) -> list[float | None]:
    options = {"buckets": 2, "spreads": 1} | options
    table = fit_microprice(quote_rows(*lines), TICK, **options)
    return [None if value is None else value / TICK for value in column(table, "adjustment")]


def test_adjustments_of_two_states_that_can_be_solved_by_hand():
    """Heavy bids (9 to 1) go up a tick every time, and light ones come down, so Q = 0 and K = (-1, 1).

    Of the six steps and their mirror images, two up from heavy bids lead to heavy bids again, four to light ones.
    """
    prices = ["100x9 | 101x1", "101x9 | 102x1", "102x1 | 103x9", "101x9 | 102x1", "102x1 | 103x9", "101x1 | 102x9"]
    low, high = adjustments(*prices, "100x9 | 101x1")
    assert (low, high) == pytest.approx((-solved(same=1 / 3), solved(same=1 / 3)))


def solved(*, same: float) -> float:
    """g of heavy bids, if each step up by a tick leads to heavy bids with chance `same`, else to light ones.

    B = ((same, 1 - same), (1 - same, same)) has the eigenvalue 2 same - 1 for (-1, 1), so g = 1 + (2 same - 1) + ... of it.
    """
    return 1 / (1 - (2 * same - 1))


def test_steps_without_a_change_of_the_mid_wait_for_one():
    """Heavy bids stay as they are three times for each step up: that changes when, not where to."""
    steps = ["100x9 | 101x1"] * 4 + ["101x9 | 102x1"] * 4 + ["102x1 | 103x9"]
    plain = ["100x9 | 101x1", "101x9 | 102x1", "102x1 | 103x9"]
    assert adjustments(*steps)[1] == pytest.approx(adjustments(*plain)[1])
    assert adjustments(*plain)[1] == pytest.approx(solved(same=0.5))


def test_a_book_that_never_moves_has_no_adjustment_and_an_unseen_state_none_at_all():
    assert adjustments(*["100x9 | 101x1"] * 5) == [0, 0]
    assert adjustments(*["100x5 | 101x5"] * 5, buckets=3) == [None, 0, None]
    assert adjustments("100x9 | 101x1", "100x9 | 102x1", "100x9 | 101x1") == [
        None,
        None,
    ]  # no two rows that follow each other


def test_adjustments_are_antisymmetric_and_counted():
    table = fit_microprice(
        mbp_table(simulate(30_000, seed=3, resting=100).records, 1), 10_000_000, buckets=5, spreads=2
    )
    gains = np.array(column(table, "adjustment"), float).reshape(2, 5)
    assert gains == pytest.approx(-gains[:, ::-1], abs=1e-3)
    assert rows_of(table, "spread_ticks", "bucket") == [(spread, bucket) for spread in (1, 2) for bucket in range(5)]
    assert min(column(table, "observations")) > 10


def test_mirrored_days_have_the_same_adjustments():
    lines = ["100x9 | 101x1", "101x3 | 102x1", "101x1 | 102x4", "100x2 | 101x9", "100x9 | 101x8", "101x9 | 102x1"]
    mirrored = [
        f"{200 - int(ask.split('x')[0])}x{ask.split('x')[1].strip()} | {200 - int(bid.split('x')[0])}x{bid.split('x')[1].strip()}"
        for bid, ask in (line.split("|") for line in lines)
    ]
    assert adjustments(*lines, buckets=3) == pytest.approx(adjustments(*mirrored, buckets=3))


def test_the_microprice_is_the_mid_and_the_adjustment_of_its_state():
    fitted = fit_microprice(quote_rows("100x9 | 101x1", "101x9 | 102x1", "102x1 | 103x9"), TICK, buckets=2, spreads=1)
    low, high = column(fitted, "adjustment")
    made = microprice(quote_rows("50x7 | 51x3", "50x3 | 51x7", "50x3 | 52x7", "50x3 |", "51x3 | 50x7"), fitted)
    mid = 50 * TICK + TICK // 2
    assert column(made, "mid") == [mid, mid, 51 * TICK, None, mid]
    assert column(made, "microprice") == [mid + high, mid + low, None, None, None]


def test_every_book_has_its_own_adjustments():
    calm, lively = ["100x9 | 101x1"] * 3, ["100x9 | 101x1", "101x9 | 102x1", "102x1 | 103x9"]
    mixed = quote_rows(*(line for pair in zip(calm, lively, strict=True) for line in pair), instrument_id=[8, 7] * 3)
    fitted = fit_microprice(mixed, TICK, buckets=2, spreads=1)
    assert column(fitted, "instrument_id") == [7, 7, 8, 8]
    alone = fit_microprice(quote_rows(*lively), TICK, buckets=2, spreads=1)
    assert column(fitted, "adjustment") == [*column(alone, "adjustment"), 0, 0]
    other = microprice(quote_rows("100x9 | 101x1", instrument_id=9), fitted)
    assert column(other, "microprice") == [None]
    assert same(microprice(quote_rows(*lively), fitted), microprice(quote_rows(*lively), alone))


def test_no_rows_give_no_rows():
    empty = mbp_table(np.empty(0, mbo.MBO_DTYPE), 1)
    full = quote_rows("100x9 | 101x1", "101x9 | 102x1")
    none, some = fit_microprice(empty, TICK), fit_microprice(full, TICK)
    assert none.num_rows == 0
    assert none.schema == some.schema
    assert microprice(empty, some).num_rows == 0
    assert column(microprice(full, none), "microprice") == [None, None]
    assert isinstance(none, pa.Table)


@pytest.mark.parametrize("wrong", [{"buckets": 1}, {"spreads": 0}, {"tick_size": 0}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(RequestError, match="fit_microprice needs"):
        fit_microprice(quote_rows("100x9 | 101x1"), **({"tick_size": TICK} | wrong))
