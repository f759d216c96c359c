"""DBN files: the same records whichever way they are packed, and one clear error whatever is wrong with them."""

from __future__ import annotations

import mmap
import subprocess
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

import databento_dbn
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import mbo
from mbo import dbn
from mbo.errors import DataError, FormatError, MboError, RecordError, TruncatedError
from mbo.records import MBO_DTYPE, RecordArray
from mbo.symbols import Mapping
from tests.builders import (
    DEFINITION,
    MBP_10,
    NOON,
    SYSTEM,
    TRADES,
    dbn_bytes,
    frames,
    mapping,
    metadata,
    other,
    sent,
    stream,
    write,
)
from tests.conftest import real

REAL_FILES = [
    "CLX5_mbo.dbn",
    "ESM4_20240508_snapshot.mbo.dbn.zst",
    "databento/ESH1_20201228T13.mbo.dbn.zst",
    "databento/XNAS.ITCH__test_data.mbo.dbn.zst",
]
REAL_OTHERS = [
    f"databento/{name}.{schema}.dbn.zst"
    for name in ("ESH1_20201228T13", "XNAS.ITCH__test_data")
    for schema in ("mbp-1", "mbp-10")
]


def read(path: Path) -> tuple[RecordArray, list[int] | None, dbn.Skipped]:
    """Everything of a file; checks on the way that batches follow each other and are of allowed size."""
    skipped, parts, ts_out, count, read_bytes = dbn.Skipped(), [np.empty(0, MBO_DTYPE)], [], 0, 0
    file = dbn.open_file(path)
    for batch in file.batches(skipped):
        assert batch.first == count
        assert read_bytes <= batch.read_bytes <= path.stat().st_size
        assert len(batch.records) <= max(dbn.BATCH_RECORDS, 1020 // 56)
        assert (batch.ts_out is None) == (not file.metadata.ts_out)
        count += len(batch.records)
        read_bytes = batch.read_bytes
        parts.append(batch.records)
        ts_out += [] if batch.ts_out is None else batch.ts_out.tolist()
    return np.concatenate(parts), ts_out if file.metadata.ts_out else None, skipped


def read_until_error(path: Path) -> tuple[int, DataError | None]:
    """How many records came before which error."""
    count = 0
    try:
        for batch in dbn.open_file(path).batches():
            count += len(batch.records)
    except DataError as error:
        return count, error
    return count, None


def live(version: int) -> dict[int, list[bytes]]:
    """What a live recording of 1,400 records may hold between them, here and there."""
    return {
        0: [other(SYSTEM if version > 1 else (0x17, 80)), mapping(7, "AAA", version=version)],
        5: [mapping(8, "BBB", version=version), other(TRADES), other(MBP_10)],
        700: [other(TRADES)] * 3,
        1_400: [other(SYSTEM if version > 1 else (0x17, 80))],
    }


CONTENTS = {
    "mbo": lambda version: (stream(1_400), {}),
    "live": lambda version: (stream(1_400, instruments=[7, 8]), live(version)),
    "sparse": lambda version: (
        stream(40),
        {
            k: [other(TRADES), other(MBP_10)] * (k % 3) + [mapping(7, "AAA", version=version)] * (k % 2)
            for k in range(41)
        },
    ),
    "none": lambda version: (stream(0), {}),
    "others only": lambda version: (stream(0), {0: [other(TRADES)] * 100}),
}
PACKINGS = {
    "plain": lambda data: data,
    "zstd": lambda data: frames(data),
    "checksum": lambda data: frames(data, checksum=True),
    "frames": lambda data: frames(data, 5, 100, len(data) - len(data) // 3 - 3, len(data) - 1),
    "empty frames": lambda data: frames(data, 0, len(data) // 2, len(data) // 2, len(data), skippable=True),
}


@pytest.mark.parametrize("batch_records", [1, 33, 600, 1 << 16])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("ts_out", [False, True], ids=["", "ts_out"])
@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
def test_same_records_whichever_way(tmp_path, monkeypatch, version, ts_out, content, packing, batch_records):
    monkeypatch.setattr(dbn, "BATCH_RECORDS", batch_records)
    records, between = CONTENTS[content](version)
    data = dbn_bytes(records, between=between, version=version, ts_out=ts_out, schema=None if between else "mbo")
    path = write(tmp_path / "day", PACKINGS[packing](data))

    found, found_ts_out, skipped = read(path)
    assert found.tobytes() == records.tobytes()
    everything = list(chain.from_iterable([*between.get(k, []), None] for k in range(len(records) + 1)))[:-1]
    if ts_out:
        assert found_ts_out == [NOON + k for k, one in enumerate(everything) if one is None]
    others = [one for one in everything if one is not None]
    names = {0x00: "trades", 0x0A: "mbp-10", 0x16: "symbol-mapping", 0x17: "system"}
    assert sorted(skipped.counts.elements()) == sorted(names[one[1]] for one in others)
    assert len(skipped.mappings) == skipped.counts["symbol-mapping"]
    if content == "live":
        assert skipped.mappings == [Mapping("AAA", 7), Mapping("BBB", 8)]
    whole = dbn.open_file(path).whole()
    assert (whole is not None) == (packing == "plain" and not ts_out and not between)
    if whole is not None:
        assert whole.tobytes() == records.tobytes()


def test_frames_may_be_cut_anywhere(tmp_path):
    records = stream(3)
    data = dbn_bytes(records)
    for cut in range(len(data) + 1):
        found, _, _ = read(write(tmp_path / "day.dbn.zst", frames(data, cut)))
        assert found.tobytes() == records.tobytes(), cut


@settings(max_examples=60)
@given(
    gaps=st.lists(st.integers(0, 80), max_size=12),
    kinds=st.lists(st.sampled_from([TRADES, MBP_10, SYSTEM, DEFINITION, None]), min_size=1, max_size=4),
    batch_records=st.integers(1, 60),
    sparse=st.sampled_from([1, 7, 512]),
    ts_out=st.booleans(),
)
def test_any_mixture_at_any_batch_boundary(tmp_path, gaps, kinds, batch_records, sparse, ts_out):
    records = stream(sum(gaps))
    inserts = [mapping(7, "AAA") if kind is None else other(kind) for kind in kinds]
    between: dict[int, list[bytes]] = {}
    for place in np.cumsum(gaps).tolist():
        between.setdefault(place, []).extend(inserts)
    data = dbn_bytes(records, between=between, ts_out=ts_out, schema=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbn, "BATCH_RECORDS", batch_records)
        patch.setattr(dbn, "_SPARSE", sparse)
        for name, packed in (("plain", data), ("zstd", frames(data, len(data) // 2))):
            found, _, skipped = read(write(tmp_path / name, packed))
            assert found.tobytes() == records.tobytes()
            assert sum(skipped.counts.values()) == len(gaps) * len(inserts)


# ---------------------------------------------------------------- the official decoder as referee


def official(path: Path) -> tuple[list[dict[str, object]], list[databento_dbn.SymbolMappingMsg]]:
    """What Databento's decoder reads, field by field."""
    data = path.read_bytes()
    if data[:3] != b"DBN":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    decoder = databento_dbn.DBNDecoder()
    decoder.write(data)
    decoded = decoder.decode()
    messages = [record for record in decoded if isinstance(record, databento_dbn.MBOMsg)]
    names = [name for name in MBO_DTYPE.names or () if name != "length"] + ["ts_out"]
    rows = [{name: getattr(message, name) for name in names} for message in messages]
    return rows, [record for record in decoded if isinstance(record, databento_dbn.SymbolMappingMsg)]


def assert_official(path: Path) -> None:
    rows, mappings = official(path)
    found, ts_out, skipped = read(path)
    assert len(found) == len(rows)
    for name in MBO_DTYPE.names or ():
        if name in ("action", "side"):
            assert [chr(code) for code in found[name]] == [str(row[name]) for row in rows], name
        elif name != "length":
            assert found[name].tolist() == [int(row[name]) for row in rows], name
    if ts_out is not None:
        assert ts_out == [row["ts_out"] for row in rows]
    assert [(m.symbol, m.instrument_id) for m in skipped.mappings] == [
        (m.stype_out_symbol, m.instrument_id) for m in mappings
    ]


@pytest.mark.parametrize("ts_out", [False, True], ids=["", "ts_out"])
@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
def test_official_decoder_agrees(tmp_path, version, ts_out):
    records = stream(1_400, instruments=[7, 8])
    data = dbn_bytes(records, between=live(version), version=version, ts_out=ts_out, schema=None)
    assert_official(write(tmp_path / "live.dbn", data))
    assert_official(write(tmp_path / "live.dbn.zst", frames(data, 1_000)))


@pytest.mark.data
@pytest.mark.parametrize("name", REAL_FILES)
def test_official_decoder_agrees_on_real_files(name):
    path = real(name)
    assert_official(path)
    assert dbn.open_file(path).symbol_map().symbols


@pytest.mark.data
@pytest.mark.parametrize("name", REAL_OTHERS)
def test_real_files_of_another_schema(name):
    with pytest.raises(FormatError, match=r"holds mbp-10? records, not mbo"):
        dbn.open_file(real(name))


# ---------------------------------------------------------------- without a copy, in little memory


@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
def test_plain_batches_are_views_of_the_mapped_file(tmp_path, version):
    path = write(tmp_path / "day.dbn", dbn_bytes(stream(100_000), version=version))
    file = dbn.open_file(path)
    batches = list(file.batches())
    assert [len(batch.records) for batch in batches] == [1 << 16, 100_000 - (1 << 16)]
    for batch in batches:
        assert not batch.records.flags.owndata
        assert not batch.records.flags.writeable
        base = batch.records
        while isinstance(base, np.ndarray):
            base = base.base
        assert type(base.obj if isinstance(base, memoryview) else base).__name__ == "mmap"
    first, second = (batch.records.ctypes.data for batch in batches)
    assert second - first == (1 << 16) * 56, "side by side in one mapping"
    whole = file.whole()
    assert whole is not None
    assert not whole.flags.owndata


def test_batches_stay_valid_after_their_pages_were_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(dbn, "_RELEASE_BYTES", 1)
    records = stream(300_000)
    for name, pack in (("plain", bytes), ("zstd", frames)):
        file = dbn.open_file(write(tmp_path / name, pack(dbn_bytes(records))))
        assert np.concatenate([batch.records for batch in list(file.batches())]).tobytes() == records.tobytes()


GROWTH = """
import resource, sys
from mbo import dbn
count = 0
for batch in dbn.open_file(sys.argv[1]).batches():
    if not count:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count += len(batch.records)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit_bytes = 1 if sys.platform == "darwin" else 1024
print(count, (after - before) * unit_bytes >> 20)
"""


@pytest.mark.parametrize("content", ["mbo", "sparse"])
@pytest.mark.parametrize("packing", ["plain", "zstd"])
def test_memory_does_not_grow_with_the_file(tmp_path, packing, content):
    one = stream(1_000)
    block = one.tobytes() if content == "mbo" else b"".join(other(MBP_10) * 10 + row.tobytes() for row in one)
    times = 400_000_000 // len(block)
    path = tmp_path / "big"
    with path.open("wb") as plain:
        target = plain if packing == "plain" else zstandard.ZstdCompressor(level=1).stream_writer(plain)
        target.write(metadata(schema=None).encode())
        for _ in range(times):
            target.write(block)
        if packing == "zstd":
            target.flush(zstandard.FLUSH_FRAME)
    ran = subprocess.run(
        [sys.executable, "-c", GROWTH, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    count, growth_mib = map(int, ran.stdout.split())
    assert count == times * 1_000
    assert growth_mib < 48


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
@pytest.mark.parametrize("mixed", [False, True], ids=["mbo", "mixed"])
def test_cut_at_every_byte(tmp_path, version, mixed):
    records, between = stream(4), {1: [mapping(7, "AAA", version=version)]} if mixed else {}
    data = dbn_bytes(records, between=between, version=version)
    header = len(metadata(version=version).encode())
    lengths = [56, len(mapping(7, "AAA", version=version)), 56, 56, 56] if mixed else [56] * 4
    starts = (header + np.cumsum([0, *lengths])).tolist()
    for end in range(len(data)):
        path = write(tmp_path / "cut.dbn", data[:end])
        if end < header:
            expected = FormatError if end == 0 else TruncatedError
            with pytest.raises(expected, match="is empty" if end == 0 else f"after {end} bytes") as raised:
                dbn.open_file(path)
            assert raised.value.path == str(path)
            assert raised.value.offset_bytes == (None if end == 0 else end)
            continue
        whole = sum(start <= end for start in starts[1:])
        count, error = read_until_error(path)
        assert count == whole - (mixed and whole > 1)
        if end == starts[whole]:
            assert error is None, "a file cannot say that a whole record is missing"
        else:
            assert isinstance(error, TruncatedError)
            assert (error.path, error.index, error.offset_bytes) == (str(path), whole, starts[whole])
            assert f"{end - starts[whole]} bytes into record {whole}" in str(error)


@pytest.mark.parametrize("checksum", [False, True])
def test_cut_zstd_at_every_byte(tmp_path, checksum):
    data = dbn_bytes(stream(6))
    packed = frames(data, 200, 500, checksum=checksum)
    ends = {len(frames(data[:200], checksum=checksum)), len(frames(data[:500], 200, checksum=checksum))}
    for end in range(len(packed)):
        path = write(tmp_path / "cut.dbn.zst", packed[:end])
        with pytest.raises((TruncatedError, FormatError)) as raised:
            list(dbn.open_file(path).batches())
        if end > 4:
            assert type(raised.value) is TruncatedError
            assert ("zstd frame" in str(raised.value)) == (end not in ends)
        assert raised.value.path == str(path)


LOST_BYTES = 68 * 1024


def test_cut_zstd_gives_what_comes_before(tmp_path):
    records = stream(200_000)
    data = dbn_bytes(records)
    packed = frames(data, 56 * 150_000)
    for lost in (1, 1_000, 2_000_000):
        path = write(tmp_path / "cut.dbn.zst", packed[:-lost])
        there = len(zstandard.ZstdDecompressor().stream_reader(packed[:-lost], read_across_frames=True).read())
        count, error = read_until_error(path)
        assert isinstance(error, TruncatedError)
        assert error.index == count
        assert error.offset_bytes == len(metadata().encode()) + 56 * count
        assert 0 <= there - error.offset_bytes < 56 + LOST_BYTES
        assert count > 10_000


def test_damaged_zstd_gives_what_comes_before(tmp_path):
    first, second = frames(dbn_bytes(stream(4_000))), bytearray(frames(stream(1_000).tobytes(), checksum=True))
    second[-1] ^= 1
    count, error = read_until_error(write(tmp_path / "damaged.dbn.zst", first + second))
    assert type(error) is FormatError
    assert "is damaged" in str(error)
    assert 4_000 - LOST_BYTES // 56 <= count < 5_000
    assert error.index == count
    count, error = read_until_error(write(tmp_path / "garbage.dbn.zst", first + b"garbage behind it"))
    assert type(error) is FormatError
    assert 4_000 - LOST_BYTES // 56 <= error.index == count <= 4_000


def test_damaged_in_the_first_zstd_frame(tmp_path):
    packed = bytearray(frames(dbn_bytes(stream(1_000)), checksum=True))
    packed[-1] ^= 1
    with pytest.raises(FormatError, match="is damaged"):
        list(dbn.open_file(write(tmp_path / "damaged.dbn.zst", bytes(packed))).batches())


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", FormatError, "is empty"),
        (frames(b""), FormatError, "is empty"),
        (b"PK\3\4 something else", FormatError, r"is not a DBN file: it begins with b'PK"),
        (b"DBM\3" + bytes(100), FormatError, "is not a DBN file"),
        (b"{}", FormatError, "is not a DBN file"),
        (frames(b"ts_recv,ts_event,rtype"), FormatError, "is not a DBN file"),
        (b"DBN\0" + bytes(200), FormatError, "version 0: only versions 1, 2 and 3"),
        (b"DBN\4" + bytes(200), FormatError, "version 4: only versions 1, 2 and 3"),
        (b"DBN\3" + b"\xff" * 4 + bytes(200), FormatError, "claims to be 4,294,967,295 bytes"),
        (b"DBN\3" + (1 << 27).to_bytes(4, "little") + bytes(200), TruncatedError, "ends within its header"),
        (b"DBN\3" + (8).to_bytes(4, "little") + bytes(200), FormatError, "damaged header"),
        (b"DBN\3" + bytes(200), FormatError, "damaged header"),
        (metadata().encode()[:24] + b"\x63\0" + metadata().encode()[26:], FormatError, "damaged header"),
        (metadata(schema="mbp-10").encode() + other(MBP_10), FormatError, "holds mbp-10 records, not mbo"),
        (metadata(schema="trades").encode(), FormatError, "holds trades records, not mbo"),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else None,
)  # fmt: skip
def test_bad_header(tmp_path, data, error, words):
    path = write(tmp_path / "bad.dbn", data)
    with pytest.raises(error, match=words) as raised:
        dbn.open_file(path)
    assert type(raised.value) is error
    assert str(raised.value).startswith(str(path))
    assert raised.value.path == str(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", [1, 2, 3], ids="v{}".format)
def test_header_shorter_than_any(tmp_path, version, capfd):
    data = metadata(version=version).encode()
    for length in range(140):
        short = data[:4] + length.to_bytes(4, "little") + data[8 : 8 + length]
        with pytest.raises(FormatError, match="damaged header"):
            dbn.open_file(write(tmp_path / "bad.dbn", short))
    assert capfd.readouterr().err == "", "not even from the library"


def test_panic_of_the_library_is_an_error_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr(dbn, "_MIN_HEADER_BYTES", 0)
    data = metadata().encode()
    with pytest.raises(FormatError, match="damaged header"):
        dbn.open_file(write(tmp_path / "bad.dbn", data[:4] + (100).to_bytes(4, "little") + data[8:]))


def test_header_that_maps_to_no_instrument_id(tmp_path):
    data = metadata(intervals={"AAA": [("2025-01-06", "2025-01-07", "seven")]}).encode()
    with pytest.raises(FormatError, match=r"bad\.dbn has a damaged header: 'seven' is not an instrument id"):
        dbn.open_file(write(tmp_path / "bad.dbn", data)).symbol_map()


def test_not_a_file(tmp_path):
    with pytest.raises(FormatError, match="is a directory: give a file, or a pattern"):
        dbn.open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        dbn.open_file(tmp_path / "missing.dbn")


def test_file_that_shrinks_between_opening_and_reading(tmp_path):
    for pack in (bytes, frames):
        path = write(tmp_path / "day", pack(dbn_bytes(stream(4))))
        file = dbn.open_file(path)
        for rest in (b"", b"DBN\3"):
            write(path, pack(rest))
            with pytest.raises(TruncatedError, match="shorter than its header"):
                list(file.batches())


HEADER = len(metadata().encode())


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"\0" + bytes(55), r"a bad length byte \(length byte 0, rtype 0x00\)"),
        (b"\0\xa0" + bytes(54), r"a bad length byte \(length byte 0, rtype 0xa0\)"),
        (b"\3\x17" + bytes(54), r"a bad length byte \(length byte 3, rtype 0x17\)"),
        (b"\x0d\xa0" + bytes(54), r"a bad length byte \(length byte 13, rtype 0xa0\)"),
        (b"\x0f\xa0" + bytes(58), r"a bad length byte \(length byte 15, rtype 0xa0\)"),
        (sent(stream(1).tobytes(), NOON), r"a bad length byte \(length byte 16, rtype 0xa0\)"),
        (mapping(7, "AAA", version=1), r"a bad length byte \(length byte 20, rtype 0x16\)"),
        (b"\x0e\x02" + bytes(54), r"an unknown rtype \(length byte 14, rtype 0x02\)"),
        (b"\xff\xff" + bytes(54), r"an unknown rtype \(length byte 255, rtype 0xff\)"),
    ],
)
@pytest.mark.parametrize("before", [0, 3, 700])
@pytest.mark.parametrize("packing", ["plain", "zstd"])
def test_bad_record(tmp_path, record, words, before, packing):
    data = dbn_bytes(stream(1_000), between={2: [mapping(7, "AAA")], before: [record]})
    path = write(tmp_path / "bad.dbn", PACKINGS[packing](data))
    count, error = read_until_error(path)
    assert count == before
    assert type(error) is RecordError
    mappings = int(before > 2)
    assert (error.path, error.index) == (str(path), before + mappings)
    assert error.offset_bytes == HEADER + 56 * before + 176 * mappings
    with pytest.raises(RecordError, match=f"record {error.index} at byte {error.offset_bytes:,} has {words}"):
        raise error


def test_record_without_sending_time_in_a_stream_that_has_them(tmp_path):
    data = dbn_bytes(stream(5), ts_out=True) + stream(1).tobytes()
    count, error = read_until_error(write(tmp_path / "bad.dbn", data))
    assert (count, type(error), error.index) == (5, RecordError, 5)


SMALL = {
    "plain": dbn_bytes(stream(6), between={3: [mapping(7, "AAA"), other(TRADES)]}, schema=None),
    "v1": dbn_bytes(stream(6), between={3: [mapping(7, "AAA", version=1)]}, schema=None, version=1),
    "header": dbn_bytes(stream(2), symbols={"AAA": 7, "BBB": 8}, version=2),
    "ts_out": dbn_bytes(stream(6), between={3: [mapping(7, "AAA")]}, schema=None, ts_out=True),
}
SMALL |= {f"{name} zstd": frames(data, len(data) // 2, checksum=name == "v1") for name, data in SMALL.items()}
damages = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=800)
@given(st.sampled_from(sorted(SMALL)), damages, st.none() | st.floats(0, 1))
def test_any_damage_is_one_of_our_errors(tmp_path, name, damage, cut):
    data = bytearray(SMALL[name])
    for place, value in damage:
        data[int(place * len(data))] = value
    path = write(tmp_path / "damaged", bytes(data if cut is None else data[: int(cut * len(data))]))
    with suppress(MboError):
        day = mbo.read_dbn(path)
        assert day._repr_html_()
        assert len(day.load()) == day.arrow(px="decimal").read().num_rows == day.summary().records
        day.books()
        day.book(at=NOON + 102)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_one_of_our_errors(tmp_path, data, headed):
    path = write(tmp_path / "damaged", metadata(schema=None).encode() + data if headed else data)
    with suppress(MboError):
        list(dbn.open_file(path).batches())


def test_only_pages_that_nobody_can_write_are_given_back(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 256)
    own = np.memmap(path, np.uint8, "c")  # a copy of one's own of what is written
    own[:] = 9
    anonymous = mmap.mmap(-1, 1 << 16)
    anonymous.write(b"x" * (1 << 16))
    views = [own.view(), np.frombuffer(anonymous, np.uint8), np.arange(100)]
    for view in views:
        view.flags.writeable = False
        dbn.give_back(view)
    assert (own == 9).all()
    assert anonymous[:] == b"x" * (1 << 16)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        view = np.frombuffer(pages, np.uint8)
        dbn.give_back(view[5_000:])
        assert view.tobytes() == path.read_bytes()
        del view
