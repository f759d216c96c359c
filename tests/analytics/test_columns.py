"""What the analytics read: columns of any Arrow source as numbers, exact, with what is missing marked."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics.columns import before, by_book, columns, level_count, record_batches
from mbo.errors import RecordError, RequestError
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP


def test_prices_and_times_stay_exact_and_missing_ones_are_marked():
    table = pa.table(
        {
            "price": pa.array([64_830_000_001, None], pa.int64()),
            "ts_recv": pa.array([1_758_744_000_000_000_001, None], pa.timestamp("ns", "UTC")),
            "size": pa.array([3, None], pa.uint32()),
        }
    )
    read = columns(table, ["price", "ts_recv", "size"])
    assert read["price"].tolist() == [64_830_000_001, UNDEF_PRICE]
    assert read["ts_recv"].tolist() == [1_758_744_000_000_000_001, UNDEF_TIMESTAMP]
    assert read["size"].tolist() == [3, 0]


def test_decimal_prices_are_read_exactly_also_from_the_middle_of_a_table():
    values = [Decimal("64.830000001"), None, Decimal("-0.250000000"), Decimal("99999.999999999")]
    table = pa.table({"price": pa.array(values, pa.decimal128(28, 9))})
    expected = [64_830_000_001, UNDEF_PRICE, -250_000_000, 99_999_999_999_999]
    assert columns(table, ["price"])["price"].tolist() == expected
    assert columns(table.slice(2), ["price"])["price"].tolist() == expected[2:]
    assert columns(pl.from_arrow(table), ["price"])["price"].tolist() == expected


def test_float_prices_are_refused():
    with pytest.raises(RequestError, match="price is of type double, which is not exact"):
        columns(pa.table({"price": [64.83]}), ["price"])


@pytest.mark.parametrize(
    "letters",
    [
        pa.array(["B", None, "N", ""]),
        pa.array(["B", None, "N", ""]).dictionary_encode(),
        pa.array([b"B", None, b"N", b"\0"], pa.binary(1)),
    ],
    ids=["text", "dictionary", "bytes"],
)
def test_letters_are_read_as_codes(letters):
    assert columns(pa.table({"side": letters}), ["side"])["side"].tolist() == [66, 0, 78, 0]


def test_polars_categories_are_read_as_codes():
    for kind in (pl.Categorical, pl.String, pl.Enum(["B", "A"])):
        frame = pl.DataFrame({"side": ["A", "B", None]}, schema={"side": kind})
        assert columns(frame, ["side"])["side"].tolist() == [65, 66, 0]


def test_a_missing_column_and_what_is_no_table_are_refused():
    with pytest.raises(RequestError, match="no column size: they have price"):
        columns(pa.table({"price": [1]}), ["size"])
    with pytest.raises(RequestError, match="a list is not a table"):
        columns([1, 2], ["size"])
    with pytest.raises(RequestError, match="no column bid_px_00"):
        level_count(["price", "size"])


def test_an_empty_table_has_empty_columns():
    table = pa.table({"price": pa.array([], pa.int64()), "side": pa.array([], pa.string())})
    read = columns(table, ["price", "side"])
    assert read["price"].dtype == np.int64
    assert [len(values) for values in read.values()] == [0, 0]


def test_records_are_the_same_from_an_array_from_files_and_from_tables():
    day = mbo.read_dbn(mbo.SIMULATED)
    expected = day.load()
    for source in (expected, day, pa.table(day), pl.DataFrame(day)):
        read = np.concatenate(list(record_batches(source)))
        assert np.array_equal(read, expected)


def test_a_stream_of_another_schema_is_no_mbo():
    with pytest.raises(RecordError, match="not MBO records"):
        list(record_batches(mbo.read_dbn(mbo.SIMULATED).mbp(1)))


def test_rows_are_sorted_by_book_and_keep_their_order():
    records = simulate(2_000, seed=3, instruments=3, resting=20).records
    rows, first = by_book({name: records[name] for name in ("publisher_id", "instrument_id", "sequence")})
    assert first.sum() == 3
    parts = np.split(rows["sequence"], np.flatnonzero(first)[1:])
    expected = [records["sequence"][records["instrument_id"] == number] for number in (1001, 1002, 1003)]
    assert all(map(np.array_equal, parts, expected))
    earlier = before(rows["sequence"], first, -1 % 2**32)
    assert earlier[first].tolist() == [2**32 - 1] * 3
    assert np.array_equal(earlier[1:][~first[1:]], rows["sequence"][:-1][~first[1:]])
