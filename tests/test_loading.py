"""Files that are not what they say: one sentence that names the place, and nothing made up."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mbo import formats
from mbo.dbn import open_any
from mbo.errors import DataError, FormatError, MboError, RecordError, TruncatedError
from mbo.schemas import dtype_of
from mbo.streams import RecordStream
from mbo.symbols import Mapping, SymbolMap
from mbo.text import lines_of_array
from tests.builders import NOON, metadata, sent


def records(schema: str = "mbp-1", count: int = 3) -> np.ndarray:
    array = np.zeros(count, dtype_of(schema))
    array["length"], array["rtype"] = array.dtype.itemsize // 4, {"mbp-1": 1, "mbp-10": 10, "trades": 0}[schema]
    array["publisher_id"], array["instrument_id"], array["action"], array["side"] = 1, 7, ord("T"), ord("B")
    array["ts_event"], array["ts_recv"], array["price"] = NOON, NOON + np.arange(count), 25 * 10**7
    array["size"], array["sequence"] = 1 + np.arange(count), 9
    return array


def good(folder: Path, suffix: str, schema: str = "mbp-1") -> bytes:
    """A file of three records."""
    stream = RecordStream(
        schema,
        lambda: iter([records(schema)]),
        metadata=metadata(schema=schema),
        symbol_map=SymbolMap([Mapping("AAA", 7)]),
    )
    formats.write(stream, folder / f"good{suffix}")
    return (folder / f"good{suffix}").read_bytes()


def loaded(folder: Path, suffix: str, content: bytes) -> formats.RecordFile:
    (folder / f"bad{suffix}").write_bytes(content)
    return formats.read(folder / f"bad{suffix}")


def change(old: bytes, new: bytes, count: int = -1):
    def changed(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, count)

    return changed


BAD = {
    "csv empty": (".csv", lambda _: b"", FormatError, "is empty"),
    "csv of something else": (".csv", lambda _: b"a,b\n1,2\n", FormatError, "no records that are known here: .* lacks ts_recv"),
    "csv without a column": (".csv", change(b"sequence", b"sequenz"), FormatError, "for mbp-1 it lacks sequence$"),
    "csv without a level's column": (".csv", change(b"ask_sz_00", b"ask_size"), FormatError, "for mbp-1 it lacks ask_sz_00$"),
    "csv cut in a line": (".csv", lambda text: text[:-5], TruncatedError, "its last line has no end"),
    "csv cut in a cell": (".csv", lambda text: text[:-30] + b"\n", FormatError, "is damaged: .*columns"),
    "csv with a wrong number": (".csv", change(b",9,", b",x,"), FormatError, "is damaged: .*'x'"),
    "csv with too large a number": (".csv", change(b",T,B,0,", b",T,B,300,"), FormatError, "is damaged: .*'300'"),
    "csv without a number": (".csv", change(b",T,B,0,", b",T,B,,", 1), FormatError, "wrong value in depth: record 0 has none"),
    "csv with no letter": (".csv", change(b",T,B,0,", b",Trade,B,0,"), FormatError, "in action: 'Trade' is not one letter"),
    "csv with a wrong price": (".csv", change(b"0.250000000", b"0.25.1"), FormatError, "wrong value in price"),
    "csv with too fine a price": (".csv", change(b"0.250000000", b"0.2500000001"), FormatError, "wrong value in price"),
    "csv with too large a price": (".csv", change(b"0.250000000", b"9223372037.0"), FormatError, "price is too large"),
    "csv with a wrong time": (".csv", change(b"2025-01-06", b"2025-13-06"), FormatError, "wrong value in ts_"),
    "ndjson empty": (".ndjson", lambda _: b" \n", FormatError, "is empty"),
    "ndjson cut": (".ndjson", lambda text: text[:-9], TruncatedError, "its last line is not complete"),
    "ndjson cut to half a line": (".ndjson", lambda text: text[:90], FormatError, "its first line is not JSON"),
    "ndjson of something else": (".ndjson", lambda _: b'{"a": 1}\n', FormatError, "its first line is not a record"),
    "ndjson of other records": (".ndjson", lambda _: b'{"hd": {"ts_event": 1}}\n', FormatError, "for trades it lacks ts_recv"),
    "ndjson with another key": (".ndjson", change(b'"side"', b'"xyz":1,"side"'), FormatError, "unexpected field"),
    "ndjson without a key": (".ndjson", change(b'"depth":0,', b""), FormatError, "for mbp-1 it lacks depth$"),
    "ndjson without a value": (".ndjson", change(b'"depth":0,', b'"depth":null,'), FormatError, "depth: record 0 has none"),
    "ndjson with more levels": (
        ".ndjson", lambda text: text[: text.rindex(b'"levels":[')] + text[text.rindex(b'"levels":[') :].replace(b"}]", b"},{}]"),
        FormatError, "record 2 has 2 levels, not 1",
    ),
    "json that is none": (".json", lambda _: b"<html>", FormatError, "is not JSON: it begins with b'<html>'"),
    "json cut in a record": (".json", lambda text: text[:-40], TruncatedError, "is cut: it ends inside record 2"),
    "json cut before its end": (".json", lambda text: text[:-2], TruncatedError, "is cut: it ends inside record 2"),
    "json cut at its start": (".json", lambda text: text[:1], TruncatedError, "is cut: it ends inside record 0"),
    "json of nothing": (".json", lambda _: b"[]", FormatError, "holds no records"),
    "json of numbers": (".json", lambda _: b"[1, 2]", FormatError, "holds no records"),
    "json with a text": (".json", lambda _: b'["a", "b"]', FormatError, "holds no records"),
    "json without a comma": (".json", change(b"},\n{", b"}\n{", 1), FormatError, "one comma has to stand between two"),
    "json with two commas": (".json", change(b"},\n{", b"},,\n{", 1), FormatError, "one comma has to stand between two"),
    "json with something between": (".json", change(b"},\n{", b"},7,{", 1), FormatError, "one comma has to stand"),
    "json with more behind": (".json", lambda text: text + b"x", FormatError, "its brackets do not match"),
    "json with two arrays": (".json", lambda text: text + text, FormatError, "its brackets do not match"),
    "json closed twice": (".json", lambda text: text + b"]", FormatError, "its brackets do not match"),
    "json with a text for a number": (".json", change(b'"depth":0', b'"depth":"0"'), FormatError, "is damaged"),
    "json with a fraction": (".json", change(b'"depth":0', b'"depth":0.5'), FormatError, "is damaged"),
    "json with too large a number": (".json", change(b'"depth":0', b'"depth":256'), FormatError, "is damaged"),
    "json with a missing number": (".json", change(b'"depth":0', b'"depth":null', 1), FormatError, "depth: record 0 has none"),
    "json with another key": (".json", change(b'"depth":0', b'"depth":0,"more":1'), FormatError, "unexpected field"),
    "json without a key": (".json", change(b'"depth":0,', b""), FormatError, "for mbp-1 it lacks depth$"),
    "dbn empty": (".dbn", lambda _: b"", FormatError, "is empty"),
    "dbn that is none": (".dbn", lambda _: b"PK\3\4" * 50, FormatError, "is not a DBN file"),
    "dbn cut": (".dbn", lambda content: content[:-7], TruncatedError, "it ends 73 bytes into record 2"),
    "dbn with another record": (".dbn", lambda data: data[:-79] + b"\xa0" + data[-78:], RecordError, "record 2 is no mbp-1"),
    "dbn with a wrong length": (".dbn", lambda content: content[:-80] + b"\x0e" + content[-79:], RecordError, "length byte 14"),
    "dbn.zst cut": (".dbn.zst", lambda content: content[:-7], TruncatedError, "last zstd frame is not complete"),
    "parquet that is none": (".parquet", lambda _: b"hello", FormatError, "bad.parquet is damaged: "),
    "parquet cut": (".parquet", lambda content: content[:-7], FormatError, "bad.parquet is damaged: "),
    "parquet empty": (".parquet", lambda _: b"", FormatError, "bad.parquet is (damaged|empty)"),
    "arrow that is none": (".arrow", lambda _: b"hello there", FormatError, "bad.arrow is damaged: "),
    "arrow cut": (".arrow", lambda content: content[:-7], FormatError, "bad.arrow is damaged: "),
    "arrow empty": (".arrow", lambda _: b"", FormatError, "bad.arrow is (damaged|empty)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_sentence(tmp_path, name):
    suffix, spoil, kind, sentence = BAD[name]
    with pytest.raises(kind, match=sentence) as caught:
        loaded(tmp_path, suffix, spoil(good(tmp_path, suffix)))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / f"bad{suffix}") in str(caught.value)
    assert caught.value.path == str(tmp_path / f"bad{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".json", ".dbn", ".parquet", ".arrow"])
def test_no_cut_goes_unseen(tmp_path, suffix):
    content = good(tmp_path, suffix)
    whole = formats.read(tmp_path / f"good{suffix}").records
    lines = {end for end in range(len(content)) if content[:end].endswith(b"\n")}
    header = open_any(tmp_path / "good.dbn").header_bytes if suffix == ".dbn" else 0
    for end in range(0, len(content), 1 if suffix in (".csv", ".ndjson", ".json", ".dbn") else 31):
        try:
            got = loaded(tmp_path, suffix, content[:end]).records
        except MboError:
            continue
        assert got.tobytes() == whole[: len(got)].tobytes()
        clean = (end - header) % 80 == 0 if suffix == ".dbn" else end in lines or content[end : end + 1] == b"\n"
        assert clean, f"cut at {end} of {len(content)}"
        assert suffix != ".json" or len(got) == len(whole)


def test_a_missing_file_and_a_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MboError, match=r"folder\.csv is a directory: give a file"):
        formats.read(tmp_path / "folder.csv")
    for suffix in (".dbn", ".csv", ".json", ".parquet", ".arrow"):
        with pytest.raises(FileNotFoundError):
            formats.read(tmp_path / f"nothing{suffix}")


def test_a_schema_that_is_not_read_here(tmp_path):
    (tmp_path / "bars.dbn").write_bytes(metadata(schema="ohlcv-1d").encode())
    with pytest.raises(FormatError, match="holds ohlcv-1d records, which cannot be read here"):
        formats.read(tmp_path / "bars.dbn")


def test_sending_times_are_left_out(tmp_path):
    array = records()
    content = metadata(schema="mbp-1", ts_out=True).encode() + b"".join(sent(one.tobytes(), NOON) for one in array)
    assert loaded(tmp_path, ".dbn", content).records.tobytes() == array.tobytes()


# ---------------------------------------------------------------- what else is good


def test_json_may_be_pretty_or_a_line_each_or_under_either_name(tmp_path):
    content = good(tmp_path, ".json")
    parsed = json.loads(content)
    shapes = [json.dumps(parsed, indent=2), json.dumps(parsed), json.dumps(parsed, indent="\t").replace("\n", "\r\n")]
    shapes += ["\n".join(map(json.dumps, parsed)), good(tmp_path, ".ndjson").decode()]
    for text in shapes:
        for suffix in (".json", ".ndjson"):
            assert loaded(tmp_path, suffix, text.encode()).records.tobytes() == records().tobytes()


@pytest.mark.parametrize("indent", [None, 2])
def test_a_fragment_gives_its_whole_records(tmp_path, indent):
    text = json.dumps(json.loads(good(tmp_path, ".json")), indent=indent).encode()
    begun = text[text.index(b'"') :]
    ends = [match.end() for match in re.finditer(rb"\}(?=,\s*\{\s*\"action|\s*\]$)", begun)]
    assert len(ends) == 3
    for end in sorted(
        {*range(ends[0], len(begun) + 1, 7), *(place for one in ends for place in (one - 1, one, one + 1))}
        - {ends[0] - 1, ends[2] + 1}
    ):
        got = loaded(tmp_path, ".json", begun[:end])
        assert got.fragment
        assert got.records.tobytes() == records()[: sum(one <= end for one in ends)].tobytes(), end
    for end in (1, 50, ends[0] - 1):
        with pytest.raises(DataError, match="is cut: it ends inside record 0"):
            loaded(tmp_path, ".json", begun[:end])


def test_a_fragment_whose_first_record_lacks_something_is_refused(tmp_path):
    text = good(tmp_path, ".json")
    with pytest.raises(FormatError, match=r"for mbp-1 it lacks action$"):
        loaded(tmp_path, ".json", text[text.index(b'"depth"') :])


def test_csv_may_be_in_another_order_and_quoted(tmp_path):
    import polars as pl

    frame = pl.read_csv(io.BytesIO(good(tmp_path, ".csv")), infer_schema=False)
    text = frame.select(sorted(frame.columns)).write_csv(quote_style="non_numeric").encode()
    assert loaded(tmp_path, ".csv", text).records.tobytes() == records().tobytes()


def test_columns_of_other_types_hold_the_same(tmp_path):
    good(tmp_path, ".parquet")
    table = pq.read_table(tmp_path / "good.parquet")
    for name in ("size", "sequence", "rtype", "bid_sz_00"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
    for name in ("action", "side", "symbol"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.large_string()))
    decimals = pa.array([Decimal("0.25")] * 3, pa.decimal128(38, 10))
    table = table.set_column(table.column_names.index("price"), "price", decimals)
    pq.write_table(table, tmp_path / "other.parquet")
    assert formats.read(tmp_path / "other.parquet").records.tobytes() == records().tobytes()


def test_brackets_are_all_that_is_needed_to_find_the_records():
    text = b'[ {"a": [1, {"b": 2}], "c": {}} ,\n {"a": []}\n]'
    lines = lines_of_array(text, Path("x")).decode().splitlines()
    assert [json.loads(line) for line in lines if line.strip()] == json.loads(text)
