"""Arrow: names, order and values are Databento's, what is missing is null, and nothing is rounded."""

from __future__ import annotations

import io
from decimal import Decimal

import databento
import databento_dbn
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mbo
from mbo.errors import RequestError
from mbo.records import Action
from mbo.schemas import MBO_COLUMNS, TRADES_COLUMNS, TRADES_DTYPE, ArrowStream, to_arrow, trades_of
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP, format_price
from tests.builders import TRADES, dbn_bytes, frames, mapping, other, stream, write
from tests.conftest import real

pd = pytest.importorskip("pandas", reason="pandas comes with the databento package")

prices = st.lists(st.integers(-(2**63), UNDEF_PRICE) | st.just(UNDEF_PRICE))


def column(name, values, dtype, px="fixed"):
    array = np.zeros(len(values), [(name, dtype)])
    array[name] = values
    return to_arrow(array, [name], px=px)[name]


@given(prices)
def test_prices(values):
    texts = [None if price == UNDEF_PRICE else format_price(price) for price in values]
    fixed = column("price", values, "<i8")
    assert fixed.type == pa.int64()
    assert fixed.to_pylist() == [None if price == UNDEF_PRICE else price for price in values]
    exact = column("bid_px_00", values, "<i8", px="decimal")
    assert exact.type == pa.decimal128(28, 9)
    assert exact.to_pylist() == [text and Decimal(text) for text in texts]
    floats = column("price", values, "<i8", px="float")
    assert floats.type == pa.float64()
    assert floats.to_pylist() == [None if price == UNDEF_PRICE else price / 1e9 for price in values]
    for one in (fixed, exact, floats):
        one.validate(full=True)
        assert one.null_count == values.count(UNDEF_PRICE)


def test_prices_refuse_another_form():
    with pytest.raises(RequestError, match="px='text': prices are 'fixed', 'decimal' or 'float'"):
        column("price", [1], "<i8", px="text")


def test_times():
    times = column("ts_recv", [0, 1, 2**63 - 1, 2**63, UNDEF_TIMESTAMP], "<u8")
    assert times.type == pa.timestamp("ns", "UTC")
    assert times.cast(pa.int64()).to_pylist() == [0, 1, 2**63 - 1, None, None]
    assert column("ts_in_delta", [-5], "<i4").to_pylist() == [-5], "not an instant"


def test_letters():
    letters = column("action", list(range(256)), "u1")
    assert letters.to_pylist() == [chr(code) if 65 <= code <= 90 else None for code in range(256)]
    letters.validate(full=True)


def test_trades_layout_is_databento_s():
    assert TRADES_DTYPE.itemsize == databento.TradeMsg.size_hint == 48
    theirs = np.dtype([(name, kind) for name, kind in databento.TradeMsg._dtypes if not name.startswith("_")])
    assert {name: theirs.fields[name][1] for name in theirs.names} == {
        name: TRADES_DTYPE.fields[name][1] for name in theirs.names
    }
    records = stream(50)
    data = dbn_bytes(stream(0), schema="trades") + trades_of(records).tobytes()
    decoded = list(databento.DBNStore.from_bytes(data))
    expected = records[records["action"] == Action.TRADE]
    assert len(expected) > 3
    for name in set(TRADES_COLUMNS) - {"rtype", "depth", "action", "side"}:
        assert [int(getattr(trade, name)) for trade in decoded] == expected[name].tolist(), name


# ---------------------------------------------------------------- the official client as referee


def assert_official(path):
    """Our columns against those of `DBNStore.to_df`: the same names in the same order, the same values."""
    store = databento.DBNStore.from_bytes(path.read_bytes())
    theirs = store.to_df(schema="mbo", price_type="fixed", map_symbols=True).reset_index()
    ours = mbo.read_dbn(path).arrow().read()
    assert ours.column_names == theirs.columns.tolist()
    assert len(ours) == len(theirs)
    for name in ours.column_names:
        found, expected = ours[name].to_pylist(), theirs[name]
        if name.startswith("ts_") and name != "ts_in_delta":
            found = ours[name].cast(pa.int64()).to_pylist()
            expected = [None if pd.isna(time) else time.value for time in pd.to_datetime(expected, utc=True)]
        elif name == "price":
            expected = [None if price == UNDEF_PRICE else price for price in expected]
        elif name == "symbol":
            expected = [None if pd.isna(symbol) else symbol for symbol in expected]
        assert found == list(expected), name
    floats = store.to_df(schema="mbo", price_type="float")["price"]
    ours = mbo.read_dbn(path).arrow(px="float").read()["price"].to_pylist()
    assert ours == [None if pd.isna(price) else price for price in floats]


def moving_names(version: int, *, ts_out: bool = False) -> bytes:
    """Two days on which the names move, an id without a name, missing prices."""
    records = stream(3_000, instruments=[7, 8, 9])
    records["price"][::5] = UNDEF_PRICE
    records["ts_recv"][::7] += 86_400 * 10**9
    days = [("2025-01-06", "2025-01-07"), ("2025-01-07", "2025-01-08")]
    intervals = {"AAA": [(*days[0], "7"), (*days[1], "8")], "BBB": [(*days[0], "8")]}
    return dbn_bytes(records, version=version, ts_out=ts_out, intervals=intervals)


@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
def test_official_client_agrees(tmp_path, version):
    data = moving_names(version)
    path = write(tmp_path / "day.dbn", data)
    assert_official(path)
    assert mbo.read_dbn(path).arrow().read()["symbol"].null_count > 1_000
    assert_official(write(tmp_path / "day.dbn.zst", frames(data)))


@pytest.mark.parametrize("ts_out", [False, True], ids=["", "ts_out"])
def test_official_csv_agrees(tmp_path, ts_out):
    data, text = moving_names(3, ts_out=ts_out), io.BytesIO()
    csv, plain = databento_dbn.Encoding.CSV, databento_dbn.Compression.NONE
    coder = databento_dbn.Transcoder(
        text, csv, plain, pretty_px=False, pretty_ts=False, map_symbols=True, ts_out=ts_out
    )
    coder.write(data)
    coder.finish()
    header, *rows = [line.split(",") for line in text.getvalue().decode().splitlines()]
    ours = mbo.read_dbn(write(tmp_path / "day.dbn", data)).arrow().read()
    assert ours.column_names == header
    assert ("ts_out" in header) == ts_out
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        found = ours[name]
        if pa.types.is_timestamp(found.type):
            found = found.cast(pa.int64())
        missing = str(UNDEF_PRICE) if name == "price" else ""
        assert [missing if value is None else str(value) for value in found.to_pylist()] == list(values), name


def test_official_client_agrees_on_a_live_recording(tmp_path):
    between = {0: [mapping(7, "AAA"), mapping(8, "8", asked="BBB")], 500: [other(TRADES)]}
    data = dbn_bytes(stream(1_000, instruments=[7, 8]), between=between, schema=None)
    path = write(tmp_path / "live.dbn", data)
    ours = mbo.read_dbn(path).arrow().read()
    assert set(ours["symbol"].to_pylist()) == {"AAA", "BBB"}
    list(store := databento.DBNStore.from_bytes(path.read_bytes()))  # it learns the symbols by reading
    theirs = store.to_df(schema="mbo", price_type="fixed").reset_index()
    for name in ("order_id", "sequence", "size", "flags"):
        assert ours[name].to_pylist() == theirs[name].tolist()


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "CLX5_mbo.dbn",
        "ESM4_20240508_snapshot.mbo.dbn.zst",
        "databento/ESH1_20201228T13.mbo.dbn.zst",
        "databento/XNAS.ITCH__test_data.mbo.dbn.zst",
    ],
)
def test_official_client_agrees_on_real_files(name):
    assert_official(real(name))


# ---------------------------------------------------------------- streams


@pytest.fixture
def day(tmp_path, monkeypatch):
    monkeypatch.setattr(mbo.replay.dbn, "BATCH_RECORDS", 100)
    return mbo.read_dbn(write(tmp_path / "day.dbn", dbn_bytes(stream(350))))


def test_stream_hands_itself_to_polars_and_pyarrow(day):
    table = pa.table(day)
    assert table.num_rows == 350
    assert table.column_names == [*MBO_COLUMNS, "symbol"]
    frame = pl.DataFrame(day)
    assert frame.columns == table.column_names
    assert frame["order_id"].to_list() == table["order_id"].to_pylist() == day.load()["order_id"].tolist()
    assert frame["ts_recv"].dtype == pl.Datetime("ns", "UTC")
    assert frame["symbol"].cast(str).to_list() == ["AAA"] * 350
    assert pl.DataFrame(day.arrow(px="decimal"))["price"].dtype == pl.Decimal(28, 9)


def test_stream_is_lazy_and_read_any_number_of_times(day):
    found = day.arrow()
    assert isinstance(found, ArrowStream)
    first, second = found.reader(), found.reader()
    assert isinstance(first, pa.RecordBatchReader)
    assert [len(batch) for batch in first] == [0, 100, 100, 100, 50], "the first one is for the schema"
    assert second.read_all().equals(found.read())
    assert repr(found) == "<mbo stream of <Records of day.dbn, GLBX.MDP3>>"


def test_stream_of_nothing_has_the_whole_schema(day, tmp_path):
    none = day.select(start="2025-01-06T23:00")
    for px in ("fixed", "decimal", "float"):
        assert none.arrow(px=px).read().schema == day.arrow(px=px).read().schema
        assert none.arrow(px=px).read().num_rows == 0
        assert none.trades(px=px).read().schema == day.trades(px=px).read().schema
    assert pl.DataFrame(none).schema == pl.DataFrame(day).schema
    alone = mbo.read_dbn(write(tmp_path / "none.dbn", dbn_bytes(stream(0), ts_out=True)))
    assert pa.table(alone).column_names == [*MBO_COLUMNS, "ts_out", "symbol"]
    assert pa.table(alone).schema.field("ts_out").type == pa.timestamp("ns", "UTC")


def test_trades(day):
    table = day.trades().read()
    expected = day.load()
    expected = expected[expected["action"] == ord("T")]
    assert table.column_names == [*TRADES_COLUMNS, "symbol"]
    assert set(table["rtype"].to_pylist()) == set(table["depth"].to_pylist()) == {0}
    for name in ("ts_recv", "ts_event", "size", "sequence", "flags", "instrument_id"):
        assert table[name].to_numpy().astype(expected[name].dtype).tolist() == expected[name].tolist()


def test_stream_of_a_damaged_file_says_so(tmp_path):
    path = write(tmp_path / "cut.dbn", dbn_bytes(stream(10))[:-1])
    with pytest.raises(mbo.DataError, match="55 bytes into record 9"):
        mbo.read_dbn(path).arrow().read()
    with pytest.raises((mbo.DataError, pa.ArrowException, OSError), match="55 bytes into record 9"):
        pa.table(mbo.read_dbn(path))
    with pytest.raises((mbo.DataError, pl.exceptions.PolarsError), match="55 bytes into record 9"):
        pl.DataFrame(mbo.read_dbn(path))
