"""How likely and how soon orders are filled: Kaplan and Meier by hand, bins, and what is censored."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import fill_probability, lifetimes, time_to_fill
from mbo.errors import RequestError
from mbo.simulator import simulate
from tests.analytics.tables import column, rows_of
from tests.book.tapes import tape

STAMP = pa.timestamp("ns", "UTC")


def lives(*lines: str, queue_ahead: list[int | None] | None = None) -> pa.Table:
    """Rows of lifetimes from lines like `10 - 25 cancelled`: entered, first fill, ended (- for none), outcome, how it began."""
    rows = [line.split() for line in lines]
    times = [[None if value == "-" else int(value) for value in row[:3]] for row in rows]
    made: dict[str, Any] = {
        name: pa.array([row[place] for row in times], STAMP)
        for place, name in enumerate(("ts_entered", "ts_first_fill", "ts_ended"))
    }
    made["outcome"] = pa.array([row[3] for row in rows], pa.string()).dictionary_encode()
    made["began"] = pa.array([row[4] if len(row) > 4 else "added" for row in rows], pa.string()).dictionary_encode()
    made["queue_ahead"] = pa.array(queue_ahead or [0] * len(rows), pa.int64())
    return pa.table(made)


def test_time_to_fill_by_hand():
    """Of five, one is filled at 2; one is cancelled at 3; of the three left one is filled at 4; of the last two one at 9."""
    table = lives("0 1 2 filled", "10 - 13 cancelled", "0 4 4 filled", "0 9 9 filled", "5 - - open")
    made = time_to_fill(table)
    assert rows_of(made, "time_ns", "at_risk", "filled") == [(2, 5, 1), (4, 3, 1), (9, 1, 1)]
    # The open one is watched up to the last time in the table, 13, which is 8 after it came.
    assert column(made, "probability") == pytest.approx([1 - 4 / 5, 1 - 4 / 5 * 2 / 3, 1.0])


def test_a_fill_comes_before_a_censoring_of_the_same_time():
    made = time_to_fill(lives("0 5 5 filled", "0 - 5 cancelled", "0 - 5 cancelled"))
    assert rows_of(made, "at_risk", "filled") == [(3, 1)]


def test_fills_of_one_time_count_together():
    made = time_to_fill(lives("0 5 5 filled", "1 6 6 filled", "0 - 9 cancelled"))
    assert rows_of(made, "time_ns", "at_risk", "filled", "probability") == [(5, 3, 2, pytest.approx(2 / 3))]


def test_the_first_fill_is_not_the_last():
    table = lives("0 2 7 filled", "0 3 5 cancelled", "0 - 4 cancelled")
    assert rows_of(time_to_fill(table, to="first"), "time_ns", "at_risk") == [(2, 3), (3, 2)]
    assert rows_of(time_to_fill(table), "time_ns", "at_risk") == [(7, 1)]
    with pytest.raises(RequestError, match="to='last'"):
        time_to_fill(table, to="last")


@pytest.mark.parametrize("began", ["snapshot", "unknown"])
def test_who_began_before_the_records_is_left_out(began):
    table = lives(f"0 5 5 filled {began}", "0 5 5 filled moved", "0 - 9 cancelled")
    assert rows_of(time_to_fill(table), "at_risk", "filled") == [(2, 1)]
    assert column(fill_probability(table), "orders") == [2]


def test_fill_probability_by_hand():
    table = lives(
        "0 5 5 filled", "0 - 9 cancelled", "0 - - open", "0 6 9 modified", "0 3 3 filled", "0 - 2 cleared",
        queue_ahead=[0, 0, 0, 1, 5, 7],
    )  # fmt: skip
    made = fill_probability(table)
    assert rows_of(made, "low", "high", "orders", "filled", "left", "censored", "share") == [
        (0, 1, 3, 1, 1, 1, 0.5),
        (1, 2, 1, 0, 1, 0, 0.0),
        (4, None, 2, 1, 0, 1, 1.0),
    ]
    assert column(made, "probability") == pytest.approx([1 / 3, 0.0, 1.0])
    first = fill_probability(table, to="first")
    assert rows_of(first, "filled", "left") == [(1, 1), (1, 0), (1, 0)]


def test_a_time_limit_cuts_the_curve_off():
    table = lives("0 1 1000 filled", "0 1 3000 filled", "0 - 9000 cancelled", "0 - 500 cancelled")
    expected = {"1us": 1 / 3, "2us": 1 / 3, "3us": 2 / 3, None: 2 / 3}
    for within, chance in expected.items():
        assert column(fill_probability(table, within=within), "probability") == pytest.approx([chance])


def test_bins_are_edges_and_what_is_below_the_first_is_a_bin():
    table = lives(*["0 1 1 filled"] * 5, queue_ahead=[-3, 0, 9, 10, None])
    made = fill_probability(table, bins=[0, 10])
    assert rows_of(made, "low", "high", "orders") == [(None, 0, 1), (0, 10, 2), (10, None, 1)]
    for wrong in ([], [1, 1], [2, 1]):
        with pytest.raises(RequestError, match="they are edges"):
            fill_probability(table, bins=wrong)


def test_a_bin_of_nobody_who_is_done_has_no_share():
    assert rows_of(fill_probability(lives("0 - - open")), "share", "probability", "censored") == [(None, 0.0, 1)]


def test_a_column_that_is_not_of_whole_numbers_is_refused():
    table = lifetimes(tape("A 1 B 100 5"))
    for by in ("nothing", "outcome", "ts_ended"):
        with pytest.raises(RequestError, match="a column of whole numbers"):
            fill_probability(table, by)
    with pytest.raises(RequestError, match="began and outcome"):
        fill_probability(table.drop_columns(["outcome"]))


def test_every_order_of_a_session_is_in_one_bin():
    table = lifetimes(simulate(20_000, seed=9, resting=100).records, per="place")
    frame = pl.from_arrow(table)
    entered = frame.filter(pl.col("began").cast(pl.String).is_in(["added", "moved"]))
    for by, bins in (("queue_ahead", None), ("distance", [-1, 0, 1, 50_000_000]), ("size", None)):
        made = fill_probability(frame, by, bins=bins)
        known = entered.filter(pl.col(by).is_not_null())
        assert sum(column(made, "orders")) == known.height
        assert sum(column(made, "filled")) == known.filter(outcome="filled").height
        assert all(0 <= chance <= 1 for chance in column(made, "probability"))
    chances = time_to_fill(table)
    assert sum(column(chances, "filled")) == entered.filter(outcome="filled").height
    assert column(chances, "probability") == sorted(column(chances, "probability"))


def test_orders_near_the_front_are_filled_sooner():
    table = lifetimes(mbo.read_dbn(mbo.SIMULATED).select("SIM1"), per="place")
    at_best = table.filter(pa.compute.equal(table["distance"], 0))
    near, far = column(fill_probability(at_best, bins=[0, 100], within="1s"), "probability")
    assert near > far


def test_nobody_gives_no_rows():
    empty, full = lives(), lives("0 1 1 filled")
    for function in (time_to_fill, fill_probability):
        assert function(empty).num_rows == 0
        assert function(empty).schema == function(full).schema
