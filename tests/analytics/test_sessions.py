"""Orders and queues of whole sessions, the one that comes with the package and real ones: what has to hold of any."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import estimator_errors, lifetimes, queue_position
from mbo.analytics.estimators import MODELS
from mbo.records import Action, Flag
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE
from tests.analytics.tables import column, same
from tests.conftest import real


def test_every_fill_is_in_one_row_of_the_session_that_comes_with_it():
    day = mbo.read_dbn(mbo.SIMULATED)
    records = day.load()
    fills = records["size"][records["action"] == Action.FILL].astype(np.int64).sum()
    for per in ("order", "place"):
        table = lifetimes(day, per=per)
        assert sum(column(table, "filled")) == fills
        added = Counter(column(table, "began"))["added"]
        assert added == ((records["action"] == Action.ADD) & (records["flags"] & Flag.SNAPSHOT == 0)).sum()


def test_rows_are_the_same_of_records_a_table_and_pieces():
    day = mbo.read_dbn(mbo.SIMULATED)
    expected = lifetimes(day)
    assert lifetimes(day.load()).equals(expected)
    assert lifetimes(pa.table(day)).equals(expected)
    assert lifetimes(pl.DataFrame(day)).equals(expected)
    pieces = pa.Table.from_batches(pa.table(day).to_batches(max_chunksize=777))
    assert lifetimes(pieces).equals(expected)


def test_the_true_queue_is_without_error_and_risk_averse_believes_itself_farther_back():
    table = estimator_errors(mbo.read_dbn(mbo.SIMULATED), ("true", *MODELS))
    assert column(table, "model") == ["true", *MODELS] * 3
    frame = pl.from_arrow(table)
    assert frame.filter(model="true").select("bias", "mae", "rmse").rows() == [(0.0, 0.0, 0.0)] * 3
    assert frame.filter(model="risk_averse")["bias"].min() > 0
    assert frame.filter(pl.col("model") != "true")["mae"].min() > 0
    assert frame["samples"].min() > 1_000


def test_errors_of_a_share_of_the_orders_are_fewer_samples_of_the_same():
    records = simulate(20_000, seed=2, resting=100).records
    whole, part = (estimator_errors(records, ["power1"], one_in=one_in) for one_in in (1, 4))
    samples = column(whole, "samples")[0], column(part, "samples")[0]
    assert samples[0] / 6 < samples[1] < samples[0] / 2.5
    assert estimator_errors(records, ["power1"], levels=2).column("samples")[0].as_py() < samples[0]


def test_rows_and_errors_do_not_depend_on_how_the_records_are_cut_up():
    day = mbo.read_dbn(mbo.SIMULATED)
    pieces = pa.Table.from_batches(pa.table(day).to_batches(max_chunksize=501))
    whole, cut = estimator_errors(day), estimator_errors(pieces)
    for name in whole.column_names:
        values = column(whole, name)  # sums of doubles depend on their order, in the last digits
        assert column(cut, name) == (pytest.approx(values, rel=1e-12) if name in ("bias", "mae", "rmse") else values)
    ids = [order.order_id for order in day.book("SIM1").orders()]
    rows = queue_position(day, ids, models=["log"])
    assert same(queue_position(pieces, ids, models=["log"]), rows)
    assert rows.num_rows > len(ids)


@pytest.mark.data
@pytest.mark.parametrize("name", ["CLX5_mbo.dbn", "ESM4_20240508_snapshot.mbo.dbn.zst"])
def test_rows_of_real_files_agree_with_their_books(name):
    day = mbo.read_dbn(real(name))
    records = day.load()
    table = lifetimes(day)
    frame = pl.from_arrow(table)
    assert frame["filled"].sum() == records["size"][records["action"] == Action.FILL].astype(np.int64).sum()
    assert sorted(frame.filter(outcome="open")["order_id"]) == sorted(order.order_id for order in day.book().orders())
    assert frame["price"].is_null().sum() == frame.filter(outcome="unseen").height
    assert UNDEF_PRICE not in set(column(table, "price"))
