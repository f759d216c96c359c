"""Records as files of every format and back, and what Databento's own client makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import databento
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import mbo
from mbo import formats
from mbo.dbn import open_any
from mbo.errors import DataError, FormatError, RequestError
from mbo.records import MBO_DTYPE
from mbo.schemas import columns_of, dtype_of
from mbo.streams import RecordStream, metadata_like
from mbo.symbols import Mapping, SymbolMap
from mbo.units import NS_PER_S, UNDEF_PRICE, UNDEF_TIMESTAMP
from tests.book.tapes import tape
from tests.builders import DAY, NOON, dbn_bytes, mapping, metadata, write
from tests.conftest import real

DAY_NS = 86_400 * NS_PER_S
SUFFIXES = [".dbn", ".dbn.zst", ".parquet", ".arrow", ".csv", ".ndjson", ".json"]
SCHEMAS = ["mbo", "mbp-10", "mbp-1", "tbbo", "trades", "bbo-1s", "bbo-1m"]
NAMELESS = {"tbbo": "mbp-1"}  # text does not say which of the two it is
OFFICIAL = [
    f"databento/{name}.{schema}.dbn.zst"
    for name in ("ESH1_20201228T13", "XNAS.ITCH__test_data")
    for schema in ("mbo", "mbp-1", "mbp-10")
]
RTYPES = {"mbo": 0xA0, "mbp-10": 10, "mbp-1": 1, "tbbo": 1, "trades": 0, "bbo-1s": 0xC3, "bbo-1m": 0xC4}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A simulated session of three instruments; the third is a spread, whose prices are negative too."""
    session = mbo.simulate(9_000, instruments=3, resting=30)
    path = tmp_path_factory.mktemp("session") / "day.dbn"
    return mbo.read_dbn(write(path, session.metadata.encode() + session.records.tobytes()))


def whole(stream: RecordStream) -> np.ndarray:
    return np.concatenate(list(stream.batches()))


def stream_of(schema: str, *arrays: np.ndarray) -> RecordStream:
    return RecordStream(
        schema, lambda: iter(arrays), metadata=metadata(schema=schema), symbol_map=SymbolMap([Mapping("AAA", 7)])
    )


def extremes(schema: str) -> np.ndarray:
    """Three records: what is missing, what is largest, what is lowest."""
    array = np.zeros(3, dtype_of(schema))
    for name in array.dtype.names:
        limits = np.iinfo(array.dtype[name])
        array[name] = [0, limits.max, limits.min]
    array["length"], array["rtype"] = array.dtype.itemsize // 4, RTYPES[schema]
    array["action"], array["side"] = list(b"TAC"), list(b"NBA")
    if schema.startswith("bbo"):
        for name in ("action", "depth", "ts_in_delta"):
            array[name] = 0  # reserved there
    for name in ("ts_recv", "ts_event"):
        array[name] = UNDEF_TIMESTAMP, 2**63 - 1, NOON
    for name in array.dtype.names:
        if name == "price" or "_px_" in name:
            array[name] = UNDEF_PRICE, UNDEF_PRICE - 1, -(2**63) + 1
    return array


# ---------------------------------------------------------------- there and back


def test_the_session_has_what_is_hard(day):
    records = whole(day.mbp(10))
    assert (records["price"] < 0).any()
    assert (records["bid_px_09"] == UNDEF_PRICE).any()
    assert len(np.unique(records["instrument_id"])) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_survives_every_format(day, tmp_path, schema, suffix):
    stream = formats.records_as(day, schema)
    path = tmp_path / f"out{suffix}"
    assert formats.write(stream, path) == len(whole(stream)) >= (3 if schema == "bbo-1m" else 10)
    got = formats.read(path)
    assert got.schema == (NAMELESS.get(schema, schema) if suffix in (".csv", ".ndjson", ".json") else schema)
    assert got.records.dtype == stream.dtype
    assert got.records.tobytes() == whole(stream).tobytes()
    assert got.symbols == ({} if suffix == ".json" else {1001: "SIM1", 1002: "SIM2", 1003: "SIM3"})
    assert not got.fragment
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_missing_and_extreme_values_survive(tmp_path, schema, suffix):
    array = extremes(schema)
    formats.write(stream_of(schema, array[:1], array[1:]), tmp_path / f"out{suffix}")
    got = formats.read(tmp_path / f"out{suffix}").records
    for name in array.dtype.names:
        assert got[name].tolist() == array[name].tolist(), name


@pytest.mark.parametrize("suffix", [".csv", ".ndjson"])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_text_may_be_raw(day, tmp_path, schema, suffix):
    for stream in (formats.records_as(day, schema), stream_of(schema, extremes(schema))):
        formats.write(stream, tmp_path / f"raw{suffix}", pretty=False)
        text = (tmp_path / f"raw{suffix}").read_text()
        assert "2025-" not in text
        assert formats.read(tmp_path / f"raw{suffix}").records.tobytes() == whole(stream).tobytes()


@pytest.mark.parametrize("px", ["fixed", "decimal", "float"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_prices_may_be_of_any_type(day, tmp_path, px, suffix):
    stream = day.mbp(10, px=px)
    formats.write(stream, tmp_path / f"out{suffix}")
    assert formats.read(tmp_path / f"out{suffix}").records.tobytes() == whole(stream).tobytes()


def test_arrow_files_have_nulls_and_the_streams_own_columns(day, tmp_path):
    stream = day.mbp(10)
    formats.write(stream, tmp_path / "out.parquet")
    formats.write(stream, tmp_path / "out.arrow")
    expected = pa.table(stream)
    assert expected["bid_px_09"].null_count
    for table in (
        pq.read_table(tmp_path / "out.parquet"),
        pa.ipc.open_file(pa.memory_map(str(tmp_path / "out.arrow"))).read_all(),
    ):
        assert table.column_names == [*columns_of("mbp-10"), "symbol"]
        assert table.equals(expected)


def test_a_parquet_file_has_row_groups_of_a_sensible_size(tmp_path):
    array = np.repeat(extremes("trades")[2:], 30_000)
    formats.write(stream_of("trades", *[array] * 5), tmp_path / "out.parquet")
    file = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert [file.row_group(number).num_rows for number in range(file.num_row_groups)] == [90_000, 60_000]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_batches_are_not_kept(tmp_path, suffix):
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def arrays() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(20):
            array = np.repeat(extremes("mbp-1")[2:], 500)
            alive.append(weakref.ref(array))
            most = max(most, sum(one() is not None for one in alive))
            yield array
            del array

    stream = RecordStream("mbp-1", arrays, metadata=metadata(schema="mbp-1"), symbol_map=SymbolMap())
    assert formats.write(stream, tmp_path / f"out{suffix}") == 10_000
    assert most <= 5  # one that was used, one in use, and three ahead


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stream_without_records(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    assert formats.write(stream_of("mbp-10"), path) == 0
    if suffix == ".json":
        assert json.loads(path.read_text()) == []
    if suffix in (".json", ".ndjson"):
        with pytest.raises(FormatError, match=r"out.*(is empty|holds no records)"):
            formats.read(path)
    else:
        assert formats.read(path)[:2] == ("mbp-10", pytest.approx(np.empty(0)))


# ---------------------------------------------------------------- by Databento's own client


def official(path: Path) -> databento.DBNStore:
    """From bytes, for its own way to read a file leaves it open."""
    return databento.DBNStore.from_bytes(path.read_bytes())


@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_official_client_reads_our_files(day, tmp_path, schema, suffix):
    stream = formats.records_as(day, schema)
    formats.write(stream, tmp_path / f"out{suffix}")
    store = official(tmp_path / f"out{suffix}")
    assert (str(store.schema), store.dataset, store.symbols) == (schema, "GLBX.MDP3", ["SIM1", "SIM2", "SIM3"])
    theirs = store.to_df().reset_index()
    ours = pa.table(day.arrow(px="float") if schema == "mbo" else _float(day, schema)).to_pandas()
    assert list(theirs) == list(ours)
    for name in ours:
        one, other = ours[name].astype(theirs[name].dtype), theirs[name]
        assert ((one == other) | (one.isna() & other.isna())).all(), name


def _float(day: mbo.Records, schema: str) -> RecordStream:
    if schema.startswith("mbp-"):
        return day.mbp(int(schema[4:]), px="float")
    return day.bbo(schema[4:], px="float") if schema.startswith("bbo-") else getattr(day, schema)(px="float")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_our_text_is_the_official_clients(day, tmp_path, schema):
    stream = formats.records_as(day, schema)
    for name in ("our.dbn", "our.csv", "our.ndjson"):
        formats.write(stream, tmp_path / name)
    store = official(tmp_path / "our.dbn")
    store.to_csv(tmp_path / "their.csv")
    store.to_json(tmp_path / "their.ndjson")
    assert (tmp_path / "our.csv").read_bytes() == (tmp_path / "their.csv").read_bytes()
    assert (tmp_path / "our.ndjson").read_bytes() == (tmp_path / "their.ndjson").read_bytes()


def test_the_official_clients_parquet_can_be_read(day, tmp_path):
    formats.write(day.mbp(10), tmp_path / "our.dbn")
    official(tmp_path / "our.dbn").to_parquet(tmp_path / "their.parquet")
    got = formats.read(tmp_path / "their.parquet")
    assert got.schema == "mbp-10"
    assert got.records.tobytes() == whole(day.mbp(10)).tobytes()


# ---------------------------------------------------------------- the integer-coded array


def shape(value: object) -> object:
    """Keys, nesting and types, without the values."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value)


def test_the_integer_coded_array_is_the_records_own_fields(tmp_path):
    array = extremes("mbp-1")
    formats.write(stream_of("mbp-1", array[:2], array[2:]), tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text()
    first = json.loads(text)[0]
    pair = {"ask_ct": 0, "ask_px": UNDEF_PRICE, "ask_sz": 0, "bid_ct": 0, "bid_px": UNDEF_PRICE, "bid_sz": 0}
    header = {"instrument_id": 0, "length": 20, "publisher_id": 0, "rtype": 1, "ts_event": UNDEF_TIMESTAMP}
    assert list(first.items()) == [
        ("action", 84), ("depth", 0), ("flags", 0), ("hd", header), ("levels", [pair]), ("price", UNDEF_PRICE),
        ("sequence", 0), ("side", 78), ("size", 0), ("ts_in_delta", 0), ("ts_recv", UNDEF_TIMESTAMP),
    ]  # fmt: skip
    assert text.count("\n") == 2 + len(array), "one record a line"
    assert json.loads(text)[2]["price"] == -(2**63) + 1


@pytest.mark.data
def test_the_integer_coded_array_has_the_shape_of_the_sample(day, tmp_path):
    text = real("mbp10_sample_serde.json").read_text()
    sample = json.loads("[{" + text[: text.rindex("\n  },")] + "}]")
    formats.write(day.mbp(10), tmp_path / "out.json")
    ours = json.loads((tmp_path / "out.json").read_text())
    assert {json.dumps(shape(one), default=str) for one in ours} == {
        json.dumps(shape(one), default=str) for one in sample
    }
    got = formats.read(real("mbp10_sample_serde.json"))
    assert (got.schema, got.fragment, len(got.records)) == ("mbp-10", True, 14)
    formats.write(stream_of("mbp-10", got.records), tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == sample


# ---------------------------------------------------------------- Databento's own files


@pytest.mark.data
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_come_out_bit_for_bit(tmp_path, name):
    path = real(name)
    got = formats.read(path)
    with path.open("rb") as file:
        plain = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    file = open_any(path)
    stream = RecordStream(
        got.schema, lambda: iter([got.records]), metadata=metadata_like(file.metadata, got.schema),
        symbol_map=file.symbol_map(),
    )  # fmt: skip
    assert len(got.records) == 4
    for suffix in SUFFIXES:
        formats.write(stream, tmp_path / f"out{suffix}")
        assert formats.read(tmp_path / f"out{suffix}").records.tobytes() == plain[file.header_bytes :], suffix


# ---------------------------------------------------------------- what fails


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stream_that_fails_leaves_nothing(tmp_path, suffix):
    def arrays() -> Iterator[np.ndarray]:
        yield np.repeat(extremes("mbp-1")[2:], 70_000)
        raise DataError("record 70000 is damaged")

    (tmp_path / f"out{suffix}").write_text("old")
    stream = RecordStream("mbp-1", arrays, metadata=metadata(schema="mbp-1"), symbol_map=SymbolMap())
    with pytest.raises(DataError, match="record 70000"):
        formats.write(stream, tmp_path / f"out{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]
    assert (tmp_path / f"out{suffix}").read_text() == "old"


SMALL_DISK = """
import os, resource, signal, sys, warnings
warnings.simplefilter("error")
import mbo
from mbo import formats
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
day = mbo.read_dbn(mbo.SIMULATED).select("SIM1", end="2025-01-06T14:30:10")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # no write goes beyond: the kernel's own refusal
for suffix in sys.argv[2:]:
    try:
        formats.write(day.mbp(10), sys.argv[1] + "/out" + suffix)
    except OSError as error:
        print(error.strerror, os.listdir(sys.argv[1]))
"""


def test_a_disk_that_is_full(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path), *SUFFIXES],
        capture_output=True, text=True, check=True, timeout=100, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert ran.stdout.splitlines() == ["File too large []"] * len(SUFFIXES)
    assert ran.stderr == ""


@pytest.mark.parametrize("name", ["out.txt", "out", "out.zst", "csv", "out.json.gz", "out.DBN"])
def test_another_ending_is_refused(day, tmp_path, name):
    (tmp_path / "in").mkdir()
    for attempt in (formats.read, lambda path: formats.write(day.trades(), path)):
        with pytest.raises(
            RequestError, match=f"{name}: the name's ending says the format, and has to be one of .dbn, "
        ):
            attempt(tmp_path / "in" / name)
    assert not list((tmp_path / "in").iterdir())


def test_what_no_conversion_gives(day):
    with pytest.raises(
        RequestError, match="no schema 'ohlcv-1s': there are mbo, mbp-10, mbp-1, tbbo, trades, bbo-1s, bbo-1m"
    ):
        formats.records_as(day, "ohlcv-1s")
    with pytest.raises(RequestError, match="emit='never': it is 'touch' or 'change'"):
        formats.records_as(day, "mbp-10", emit="never")
    with pytest.raises(RequestError, match="emit='change' is for mbp-10 and mbp-1"):
        formats.records_as(day, "trades", emit="change")


def test_the_switch_reaches_the_books(tmp_path):
    array = np.zeros(2, MBO_DTYPE)  # an order, and the same order again
    array["length"], array["rtype"], array["publisher_id"], array["instrument_id"] = 14, 0xA0, 1, 7
    array["ts_event"], array["ts_recv"], array["flags"], array["order_id"] = NOON, NOON, 128, 1
    array["action"], array["side"], array["price"], array["size"] = list(b"AM"), ord("B"), 10**9, 5
    day = mbo.read_dbn(write(tmp_path / "day.dbn", metadata().encode() + array.tobytes()))
    assert len(whole(formats.records_as(day, "mbp-10"))) == 2
    assert len(whole(formats.records_as(day, "mbp-10", emit="change"))) == 1


def test_the_header_names_the_symbols_of_every_day(tmp_path):
    """Two days on which one symbol has different ids: every format names both."""
    days = []
    for number, (instrument, start) in enumerate([(7, DAY), (8, DAY + DAY_NS)]):
        records = tape("A 1 B 100 5", "A 2 A 101 5", instrument_id=instrument)
        records["ts_recv"] = records["ts_event"] = start + np.arange(2)
        dates = [str(np.datetime64(start + k * DAY_NS, "ns"))[:10] for k in (0, 1)]
        content = dbn_bytes(records, start=start, end=start + DAY_NS, intervals={"AAA": [(*dates, str(instrument))]})
        days.append(write(tmp_path / f"{number}.dbn", content))
    day = mbo.read_dbn(days)
    for suffix in (".csv", ".ndjson", ".parquet"):
        formats.write(day.mbp(10), tmp_path / f"both{suffix}")
    assert pl.read_csv(tmp_path / "both.csv")["symbol"].to_list() == ["AAA"] * 4
    assert pl.read_ndjson(tmp_path / "both.ndjson")["symbol"].to_list() == ["AAA"] * 4
    metadata = day.mbp(10).metadata
    assert (metadata.start, metadata.end, metadata.symbols) == (DAY, DAY + 2 * DAY_NS, ["AAA"])
    assert [interval["symbol"] for interval in metadata.mappings["AAA"]] == ["7", "8"]


def test_the_header_of_a_live_recording_knows_its_symbols_and_no_end(tmp_path):
    content = dbn_bytes(tape("A 1 B 100 5"), between={0: [mapping(7, "AAA")]}, schema=None, start=DAY, end=None)
    stream = mbo.read_dbn(write(tmp_path / "live.dbn", content)).mbp(10)
    assert stream.metadata.end is None
    assert [(name, one[0]["symbol"]) for name, one in stream.metadata.mappings.items()] == [("AAA", "7")]
    formats.write(stream, tmp_path / "live.csv")
    assert pl.read_csv(tmp_path / "live.csv")["symbol"].to_list() == ["AAA"]
