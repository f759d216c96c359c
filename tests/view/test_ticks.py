"""The price axis: ticks of prices, and what is inferred from prices alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.units import UNDEF_PRICE
from mbo.view.ticks import NONE, Ticks, infer


@given(st.integers(1, 10**12), st.integers(-(10**6), 10**6), st.data())
def test_price_of_a_tick_is_where_it_came_from(size, tick, data):
    ticks = Ticks(size, data.draw(st.integers(0, size - 1)))
    assert ticks.of([ticks.price(tick)]).tolist() == [tick]


def test_price_between_two_ticks_is_drawn_at_the_lower():
    assert Ticks(100).of([-1, 0, 99, 100]).tolist() == [-1, 0, 0, 1]


def test_missing_and_absurd_prices_have_no_tick():
    assert Ticks(1).of([UNDEF_PRICE, 2**62, -(2**63)]).tolist() == [NONE] * 3


@pytest.mark.parametrize(("size", "offset"), [(10_000_000, 0), (2_500_000_000, 0), (10_000_000, 5_000_000), (1, 0)])
def test_tick_is_inferred(size, offset):
    prices = offset + size * np.random.default_rng(1).integers(-1000, 100_000, 500)
    assert infer(prices) == Ticks(size, offset, inferred=True)


def test_a_stray_price_does_not_make_the_axis_finer():
    prices = np.append(np.repeat(10_000_000 * np.arange(6000, 6400), 20), 64_123_456_789)
    assert infer(prices).size == 10_000_000


def test_a_grid_that_many_use_is_kept():
    prices = np.append(10_000_000 * np.arange(6000, 6400), 5_000_000 + 10_000_000 * np.arange(6000, 6050))
    assert infer(prices).size == 5_000_000


@pytest.mark.parametrize("prices", [[], [7], [UNDEF_PRICE, UNDEF_PRICE]])
def test_too_few_prices_give_cents(prices):
    assert infer(prices) == Ticks(10_000_000, 0, inferred=True)


def test_extreme_prices_do_not_overflow():
    assert infer([-(2**63), 2**63 - 2]).size == 2**62
