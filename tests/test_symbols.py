"""Symbols and instrument ids: by date from a header, by record from a live stream, and as a column."""

from __future__ import annotations

import numpy as np
import pytest

from mbo.errors import SymbolError
from mbo.records import MAPPING_DTYPE, MAPPING_V1_DTYPE
from mbo.symbols import Mapping, SymbolMap, from_messages, from_metadata
from mbo.units import UNDEF_TIMESTAMP, parse_time
from tests.builders import NOON, mapping, metadata, stream

MONDAY, TUESDAY, WEDNESDAY = (parse_time(f"2025-01-0{day}") for day in (6, 7, 8))
# The id 7 is AAA on Monday and BBB on Tuesday; AAA is 8 on Tuesday.
MOVING = SymbolMap(
    [Mapping("AAA", 7, MONDAY, TUESDAY), Mapping("BBB", 7, TUESDAY, WEDNESDAY), Mapping("AAA", 8, TUESDAY, WEDNESDAY)]
)


def test_symbol_at_an_instant():
    assert [MOVING.symbol(7, at) for at in (MONDAY, TUESDAY - 1, TUESDAY, WEDNESDAY - 1)] == [
        "AAA",
        "AAA",
        "BBB",
        "BBB",
    ]
    assert MOVING.symbol(8, TUESDAY) == "AAA"
    assert MOVING.symbol(8, MONDAY) == "AAA", "the only name it ever has"
    assert MOVING.symbol(7) == "BBB", "the last one"
    assert MOVING.symbol(9) == "9"
    assert MOVING.symbols == ["AAA", "BBB"]


def test_mapping_without_an_end_holds_for_ever():
    for_ever = Mapping("AAA", 7)
    assert for_ever.holds(0)
    assert for_ever.holds(UNDEF_TIMESTAMP)
    assert for_ever.holds(np.array([0, UNDEF_TIMESTAMP], np.uint64)).all()
    assert not Mapping("AAA", 7, 5, 6).holds(UNDEF_TIMESTAMP)


def test_find():
    assert [m.instrument_id for m in MOVING.find("AAA")] == [7, 8]
    assert MOVING.find("8") == MOVING.find(8) == MOVING.find(np.uint32(8)) == [Mapping("8", 8)]
    named_like_an_id = SymbolMap([Mapping("8", 1)])
    assert named_like_an_id.find("8") == [Mapping("8", 1)]
    assert named_like_an_id.find(8) == [Mapping("8", 8)]


@pytest.mark.parametrize("symbol", ["CCC", "", "-1", -1, 2**32, str(2**32), "٧", "7 ", "aaa"], ids=repr)
def test_find_what_is_not_there(symbol):
    with pytest.raises(SymbolError, match=r"no symbol .* in the data: it has AAA, BBB"):
        MOVING.find(symbol)
    with pytest.raises(SymbolError, match=r"no symbol .* in the data$"):
        SymbolMap().find(symbol)


def test_column_names_every_record_at_its_time():
    records = stream(8)
    records["instrument_id"] = [7, 7, 8, 8, 7, 7, 9, 7]
    records["ts_recv"] = [MONDAY, TUESDAY, MONDAY, TUESDAY, TUESDAY - 1, WEDNESDAY, TUESDAY, UNDEF_TIMESTAMP]
    records["ts_event"][7] = TUESDAY
    assert MOVING.column(records).to_pylist() == ["AAA", "BBB", None, "AAA", "AAA", None, None, "BBB"]
    assert MOVING.column(records[:0]).to_pylist() == []
    assert SymbolMap().column(records).to_pylist() == [None] * 8


def test_column_of_an_instrument_with_one_name_all_along():
    records = stream(1_000, instruments=[7, 8])
    records["ts_recv"] = TUESDAY + np.arange(1_000)
    names = np.where(records["instrument_id"] == 7, "BBB", "AAA").tolist()
    column = MOVING.column(records)
    assert column.to_pylist() == names
    assert column.dictionary.to_pylist() == MOVING.symbols


def test_column_is_quick_with_many_instruments():
    names = SymbolMap(Mapping(f"S{k}", k, MONDAY, TUESDAY) for k in range(50_000))
    records = stream(65_536, instruments=range(0, 50_000, 2))
    assert records["ts_recv"][0] > NOON
    assert names.column(records).to_pylist()[:100] == [f"S{k}" for k in records["instrument_id"][:100]]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_from_metadata(version):
    monday, tuesday = ("2025-01-06", "2025-01-07"), ("2025-01-07", "2025-01-08")
    spans = {"AAA": [(*monday, "7"), (*tuesday, "8")], "BBB": [(*tuesday, "7")]}
    found = from_metadata(metadata(version=version, intervals=spans))
    assert set(found) == set(MOVING)


def test_from_metadata_leaves_out_days_without_the_symbol():
    found = from_metadata(
        metadata(intervals={"AAA": [("2025-01-06", "2025-01-07", ""), ("2025-01-07", "2025-01-08", "8")]})
    )
    assert list(found) == [Mapping("AAA", 8, TUESDAY, WEDNESDAY)]


@pytest.mark.parametrize("number", ["x", "-7", "7.0", str(2**32)], ids=repr)
def test_from_metadata_refuses_ids_that_are_none(number):
    header = metadata(intervals={"AAA": [("2025-01-06", "2025-01-07", number)]})
    with pytest.raises(ValueError, match="is not an instrument id"):
        from_metadata(header)


def test_from_metadata_marks_what_cannot_be_printed():
    assert from_metadata(metadata(symbols={"A\n\x1bB": 7})).symbols == ["A\ufffd\ufffdB"]


def test_from_metadata_by_id():
    spans = {"7": [("2025-01-06", "2025-01-07", "AAA")]}
    header = metadata(intervals=spans, stypes=("instrument_id", "raw_symbol"))
    assert list(from_metadata(header)) == [Mapping("AAA", 7, MONDAY, TUESDAY)]


@pytest.mark.parametrize("version", [1, 3])
def test_from_messages(version):
    dtype = MAPPING_V1_DTYPE if version == 1 else MAPPING_DTYPE
    data = b"".join(
        [
            mapping(7, "AAA", version=version),
            mapping(8, "8", version=version, asked="BBB"),  # the wanted symbol, where the other is but the id
            mapping(9, "CCC", version=version, start_ts=MONDAY, end_ts=TUESDAY),
            mapping(10, "A" * 80, version=version),  # without the NUL at its end
            mapping(11, b"\xff\xfeA\0junk", version=version),
        ]
    )
    width = 22 if version == 1 else 71
    assert from_messages(np.frombuffer(data, dtype)) == [
        Mapping("AAA", 7), Mapping("BBB", 8), Mapping("CCC", 9, MONDAY, TUESDAY), Mapping("A" * width, 10), Mapping("��A", 11),
    ]  # fmt: skip


def test_from_metadata_keeps_the_order_of_the_header():
    names = [f"S{(k * 37) % 100}" for k in range(100)]
    found = from_metadata(metadata(symbols={name: number for number, name in enumerate(names)}))
    assert found.symbols == names
