"""What the database computes of depth and of orders' lives is what the records say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mbo
from mbo.analytics.orders import lifetimes
from mbo.errors import RequestError
from tests.book.tapes import tape
from tests.store.conftest import several_days


@pytest.mark.parametrize("levels", [1, 4, 10])
def test_depth_is_that_of_the_levels(store, make, levels):
    path = make(several_days(4_000, 2, seed=71 + levels, instruments=2), f"depth{levels}.dbn")
    store.ingest(path)
    depth = pl.DataFrame(store.depth("1h", file=path.name, levels=levels))
    frame = pl.DataFrame(mbo.read_dbn(path).mbp(10)).with_columns(pl.col("ts_recv").dt.truncate("1h").alias("ts"))
    totals = {
        f"{side}_{what}": pl.sum_horizontal(pl.col(f"{side}_{what}_{level:02}") for level in range(levels))
        for side in ("bid", "ask")
        for what in ("sz", "ct")
    }
    expected = (
        frame.with_columns(**totals)
        .group_by("ts", "instrument_id")
        .agg(
            *(pl.col(name).mean().alias(f"{name}_mean") for name in totals),
            *(pl.col(name).last().alias(f"{name}_last") for name in totals),
            pl.len().alias("records"),
        )
        .sort("ts", "instrument_id")
    )
    assert depth["records"].to_list() == expected["records"].to_list()
    for name in totals:
        assert depth[f"{name}_last"].to_list() == expected[f"{name}_last"].to_list()
        assert np.allclose(depth[f"{name}_mean"], expected[f"{name}_mean"])


@pytest.mark.parametrize("levels", [0, 11])
def test_depth_of_other_levels_is_refused(embedded, levels):
    embedded.ingest(mbo.SIMULATED, overlap="allow")
    with pytest.raises(RequestError, match="1 to 10"):
        embedded.depth(levels=levels, file=mbo.SIMULATED.name)


def test_lives_of_orders_are_those_that_the_book_saw(store, make):
    path = make(mbo.simulate(20_000, seed=75, instruments=2, resting=60).records, "lives.dbn")
    store.ingest(path)
    ours = pl.DataFrame(store.lifetimes(file=path.name))
    theirs = pl.DataFrame(lifetimes(mbo.read_dbn(path)))
    same = ["order_id", "side", "price", "size", "ts_entered", "ts_ended", "filled", "outcome"]
    plain = {"side": pl.String, "outcome": pl.String, "filled": pl.Int64, "size": pl.Int64}
    cleared = ours.filter(pl.col("outcome") == "cleared")[
        "order_id"
    ].implode()  # and restored, where there the row goes on
    seen = (pl.col("began").cast(pl.String) == "added") & ~pl.col("order_id").is_in(cleared)
    expected = theirs.filter(seen).select(same).cast(plain).sort("order_id")
    found = ours.filter(pl.col("order_id").is_in(expected["order_id"].implode())).select(same).cast(plain)
    assert len(expected) > 5_000
    assert set(expected["outcome"]) == {"filled", "cancelled", "open"}
    assert found.sort("order_id").cast(expected.schema).equals(expected)
    assert ours["filled"].sum() == theirs["filled"].sum()
    resting = {book.symbol: book.status.orders for book in mbo.read_dbn(path).books().values()}
    opened = ours.filter(pl.col("outcome") == "open").group_by("symbol").len()
    assert dict(opened.iter_rows()) == resting


def test_every_end_has_its_word(store, make):
    records = tape(
        "R 0 N - 0", "A 1 B 100 5", "A 2 B 101 5", "A 3 A 103 5", "A 4 A 104 5",
        "F 2 B 101 2", "C 2 B 101 2",  # part of it
        "F 2 B 101 3", "C 2 B 101 3",  # the rest
        "M 3 A 102 4", "C 3 A 102 1", "C 3 A 102 3",
        "C 9 B 99 7",  # rested before
        "F 8 B 98 1",  # never in the book
        "M 4 A 105 6", "C 4 A 105 5",
        "R 0 N - 0", "A 1 B 100 5", "A 5 B 100 5",
    )  # fmt: skip
    records["ts_event"] = np.arange(len(records)) // 2 * 1_000 + 10**18
    records["ts_recv"] = records["ts_event"]
    for fill in (5, 7):  # a fill and what takes it out of the book are one event
        records["ts_event"][fill : fill + 2] = records["ts_event"][fill]
    path = make(records, "ends.dbn")
    store.ingest(path)
    rows = pl.DataFrame(store.lifetimes(file=path.name))
    found = {(row["order_id"], row["outcome"]) for row in rows.iter_rows(named=True)}
    assert found == {
        (1, "cleared"), (2, "filled"), (3, "cancelled"), (9, "cancelled"), (8, "unseen"), (4, "cleared"), (1, "open"),
        (5, "open"),
    }  # fmt: skip
    by_id = {row["order_id"]: row for row in rows.iter_rows(named=True) if row["outcome"] != "open"}
    assert (by_id[2]["fills"], by_id[2]["filled"], by_id[3]["modifies"]) == (2, 5, 1)
    assert by_id[9]["ts_entered"] is None
    assert by_id[9]["price"] is None
    assert by_id[1]["ts_ended"] is None


def test_an_answer_stays_what_it_is_while_others_come(store):
    """What a query gives is memory of our own: not the database's, which it uses again for the next answer."""
    first = store.query("SELECT number AS n, toString(number) AS s FROM numbers(300000)")
    for seed in range(6):
        store.query(f"SELECT rand64({seed}) AS n, hex(rand64({seed})) AS s FROM numbers(300000)")
    assert first.column("n").to_pylist() == list(range(300_000))
    assert first.column("s").to_pylist() == [str(n) for n in range(300_000)]
