"""The comparison: equal things are equal, and whatever is planted is found, counted and shown."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import mbo
from mbo import formats
from mbo.comparison import KEY, Comparison, Example, align, compare
from mbo.errors import FormatError, RequestError
from mbo.schemas import columns_of, dtype_of
from mbo.streams import RecordStream
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_PRICE
from tests.builders import NOON, metadata
from tests.conftest import real

RTYPES = {"mbo": 0xA0, "mbp-10": 10, "mbp-1": 1, "trades": 0, "bbo-1s": 0xC3}


def records(count: int = 50, schema: str = "mbp-10") -> np.ndarray:
    """Records a nanosecond apart, two and two with the same key."""
    array = np.zeros(count, dtype_of(schema))
    array["length"], array["rtype"] = array.dtype.itemsize // 4, RTYPES[schema]
    array["ts_recv"] = array["ts_event"] = NOON + np.arange(count) // 2
    array["action"], array["side"], array["price"], array["size"] = ord("A"), ord("B"), 64 * 10**9, 3
    array["sequence"] = np.arange(count) // 2
    if schema == "mbp-10":
        array["bid_sz_00"] = np.arange(count)
    return array


def found(result: Comparison) -> dict[str, int]:
    return {one.what: one.count for one in result.differences}


def first(result: Comparison, what: str) -> tuple[Example, ...]:
    return next(one.first for one in result.differences if one.what == what)


# ---------------------------------------------------------------- records


def test_equal_records_are_equal_in_whatever_form(tmp_path):
    array = records()
    stream = RecordStream(
        "mbp-10", lambda: iter([array[:20], array[20:]]), metadata=metadata(schema="mbp-10"), symbol_map=SymbolMap()
    )
    forms = [array, stream]
    for suffix in (".dbn", ".dbn.zst", ".parquet", ".arrow", ".csv", ".ndjson", ".json"):
        formats.write(stream, tmp_path / f"out{suffix}")
        forms += [tmp_path / f"out{suffix}", str(tmp_path / f"out{suffix}")]
    (tmp_path / "lines.json").write_bytes((tmp_path / "out.ndjson").read_bytes())
    for form in [*forms, tmp_path / "lines.json"]:
        result = compare(form, array)
        assert result.equal
        assert (result.ours_count, result.reference_count, result.equal_count, result.share_equal) == (50, 50, 50, 1.0)
        assert "100.00 %" in repr(result)


@pytest.mark.parametrize("column", columns_of("mbp-10"))
def test_a_change_in_any_column_is_found(column):
    ours, reference = records(), records()
    reference[column][33] += 1
    result = compare(ours, reference)
    assert not result.equal
    assert result.equal_count == 49
    if column in KEY:
        # Of two records with one key the second is without a partner now, in either.
        assert found(result) == {"only in ours": 1, "only in the reference": 1}
        assert first(result, "only in the reference")[0].reference == 33
        assert result.share_equal == 49 / 51
    else:
        assert found(result) == {column: 1}
        assert first(result, column)[0][:2] == (33, 33)
        assert result.share_equal == 49 / 50
    assert found(compare(ours, reference, ignore=[column])) == {}


@pytest.mark.parametrize("schema", ["mbo", "mbp-1", "trades", "bbo-1s"])
def test_other_schemas_too(schema):
    ours, reference = records(schema=schema), records(schema=schema)
    assert compare(ours, reference).equal
    assert compare(ours, reference).kind == schema
    reference["flags"][7] = 1
    assert found(compare(ours, reference)) == {"flags": 1}


def test_every_difference_is_counted_and_the_first_three_are_shown():
    ours, reference = records(), records()
    reference["ask_px_03"][10:20] = UNDEF_PRICE
    ours["ask_px_03"] = -25 * 10**7
    reference["ask_px_03"][:10] = reference["ask_px_03"][20:] = -25 * 10**7
    result = compare(ours, reference)
    assert found(result) == {"ask_px_03": 10}
    assert first(result, "ask_px_03") == tuple(Example(n, n, "-0.25", "none") for n in (10, 11, 12))


def test_values_are_shown_for_people():
    ours, reference = records(), records()
    ours["side"][0], ours["ts_event"][1], ours["flags"][2] = ord("N"), NOON, 128
    reference["side"][0], reference["ts_event"][1] = 0, 2**64 - 1
    result = compare(ours, reference)
    assert first(result, "side")[0][2:] == ("N", "0x00")
    assert first(result, "ts_event")[0][2:] == ("2025-01-06T12:00:00.000000000Z", "none")
    assert first(result, "flags")[0][2:] == ("128", "0")


@pytest.mark.parametrize("place", [0, 1, 24, 49])
def test_a_missing_record_is_found(place):
    ours = records()
    less = np.delete(ours, place)
    for result, what in ((compare(ours, less), "only in ours"), (compare(less, ours), "only in the reference")):
        assert found(result)[what] == 1
        assert set(found(result)) <= {
            what,
            "bid_sz_00",
        }  # of two with the same key, the second takes the first one's partner
        assert first(result, what)[0][what == "only in the reference"] == place | 1
        assert result.share_equal < 1


def test_a_doubled_record_is_found():
    ours = records()
    result = compare(ours, np.insert(ours, 30, ours[31]))
    assert found(result) == {"only in the reference": 1, "bid_sz_00": 2}
    assert (result.ours_count, result.reference_count) == (50, 51)


def test_records_in_another_order_are_found():
    ours, reference = records(), records()
    reference[[10, 11, 20, 21]] = reference[[20, 21, 10, 11]]
    result = compare(ours, reference)
    assert found(result) == {"order": 2}
    assert [example[:2] for example in first(result, "order")] == [(12, 12), (20, 10)]
    assert result.share_equal == 1.0
    assert not result.equal


def test_nothing_in_common_and_nothing_at_all():
    ours, reference = records(), records()
    reference["sequence"] += 1_000
    result = compare(ours, reference)
    assert found(result) == {"only in ours": 50, "only in the reference": 50}
    assert result.share_equal == 0
    assert compare(ours[:0], reference[:0]).equal
    assert found(compare(ours[:0], reference)) == {"only in the reference": 50}
    assert found(compare(ours, reference[:0])) == {"only in ours": 50}


def test_nearly_all_is_not_all():
    ours, reference = records(60_000), records(60_000)
    reference["depth"][59_999] = 1
    assert "59,999 mbp-10 records, 99.99 %, different" in str(compare(ours, reference))


def test_a_pair_that_differs_twice_is_one_and_two_pairs_are_two():
    ours, reference = records(40_000), records(40_000)
    for name, places in (("flags", [5, 20_000]), ("depth", [5, 5 + (1 << 14), 39_999])):
        reference[name][places] = 1
    result = compare(ours, reference)
    assert found(result) == {"flags": 2, "depth": 3}
    assert result.equal_count == 40_000 - 4


def test_all_of_the_key_may_be_ignored():
    ours, reference = records(), records()
    for name in KEY:
        reference[name] += 1
    assert compare(ours, reference, ignore=KEY).equal
    reference["flags"][9] = 1
    assert found(compare(ours, reference[:40], ignore=KEY)) == {"flags": 1, "only in ours": 10}


keys = st.lists(st.integers(0, 3), max_size=12)


@given(keys, keys)
def test_alignment_is_that_of_counting_one_by_one(ours, reference):
    waiting: dict[int, list[int]] = {}
    for place, key in enumerate(reference):
        waiting.setdefault(key, []).append(place)
    expected = [(place, waiting[key].pop(0)) for place, key in enumerate(ours) if waiting.get(key)]
    arrays = [np.array([(key // 2, key % 2) for key in one], [("a", "i8"), ("b", "u1")]) for one in (ours, reference)]
    got = align(*arrays, ["a", "b"])
    assert list(zip(*(one.tolist() for one in got), strict=True)) == expected


def test_a_million_records_take_seconds():
    import time

    ours = records(400_000, "mbp-1")
    reference = np.delete(ours, 5)
    reference["depth"][::2] = 1
    begun = time.perf_counter()
    assert found(compare(ours, reference))["only in ours"] == 1
    assert time.perf_counter() - begun < 10


# ---------------------------------------------------------------- books


@pytest.fixture(scope="module")
def book():
    return mbo.read_dbn(mbo.SIMULATED).book("SIM1", at="2025-01-06T14:30:05")


def test_a_book_is_its_own_document(book, tmp_path):
    (tmp_path / "book.json").write_text(json.dumps(book.document()))
    for form in (book, book.document(), book.document(orders=True), tmp_path / "book.json"):
        result = compare(form, book)
        assert result.equal
        assert result.kind == "book"
        assert result.equal_count == book.depth("bid") + book.depth("ask")


@pytest.mark.parametrize("side", ["bids", "asks"])
@pytest.mark.parametrize("name", ["price", "size", "count"])
def test_a_changed_level_is_found(book, side, name):
    other = book.document()
    other[side][1][name] += 1
    result = compare(book, other)
    if name == "price":
        assert found(result) == {"only in ours": 1, "only in the reference": 1}
    else:
        assert found(result) == {name: 1}
        place = 1 + (book.depth("bid") if side == "asks" else 0)
        assert first(result, name)[0][:2] == (place, place)
    assert result.equal_count == result.ours_count - 1


@pytest.mark.parametrize("name", ["symbol", "instrument_id", "ts_recv", "sequence", "orders", "digest"])
def test_what_both_say_of_the_book_is_compared(book, name):
    other = book.document()
    other[name] = "XXX" if isinstance(other[name], str) else other[name] + 1
    assert found(compare(book, other)) == {name: 1}
    assert compare(book, other, ignore=[name]).equal
    del other[name]
    assert compare(book, other).equal


def test_levels_may_stand_in_any_order_and_lack(book):
    other = book.document()
    other["asks"].reverse()
    assert compare(book, other).equal
    gone = other["bids"].pop(0)
    result = compare(book, other)
    assert found(result) == {"only in ours": 1}
    assert first(result, "only in ours")[0].our_value == f"B {gone['price'] / 1e9:.2f}"


@pytest.mark.data
def test_the_real_book_is_the_consensus():
    book = mbo.read_dbn(real("CLX5_mbo.dbn")).book()
    result = compare(book, real("CLX5_final_book_consensus.json"))
    assert result.equal
    assert result.equal_count == 113
    document = json.loads(real("CLX5_final_book_consensus.json").read_text())
    document["bids"][0]["size"] += 1
    document["orders"] += 1
    assert found(compare(book, document)) == {"orders": 1, "size": 1}


# ---------------------------------------------------------------- official records


@pytest.mark.data
@pytest.mark.parametrize(("levels", "count"), [(10, 4), (1, 3)])
def test_our_mbp_is_the_official_one_but_for_the_side(levels, count):
    day = mbo.read_dbn(real("databento/XNAS.ITCH__test_data.mbo.dbn.zst"))
    official = formats.read(real(f"databento/XNAS.ITCH__test_data.mbp-{levels}.dbn.zst")).records[:count]
    assert len(official) == count
    assert compare(day.mbp(levels), official, ignore=["side"]).equal
    result = compare(day.mbp(levels), official)
    assert set(found(result)) == {"side"}, "that vintage has side N on every book record"


@pytest.mark.data
def test_a_fragment_is_said_to_be_one():
    path = real("mbp10_sample_serde.json")
    result = compare(path, path)
    assert result.equal
    assert f"note       {path} is a fragment: 14 whole records of it are compared" in str(result)


# ---------------------------------------------------------------- for people and machines


def test_it_prints_as_a_table():
    ours, reference = records(), records()
    reference["bid_sz_00"][[3, 5]] = 77
    result = compare(ours, reference[:-1], ignore=["side"])
    assert str(result).splitlines() == [
        "ours       ours: 50 mbp-10 records",
        "reference  reference: 49 mbp-10 records",
        "equal      47 mbp-10 records, 94.00 %, different",
        "ignored    side",
        "",
        "difference    count  ours at  reference at  ours                                                       reference",
        "bid_sz_00     2      3        3             3                                                          77",
        "                     5        5             5                                                          77",
        "only in ours  1      49                     2025-01-06T12:00:00.000000024Z sequence 24 A 64.00 size 3",
    ]
    assert repr(result) == "<Comparison of mbp-10: 47 mbp-10 records, 94.00 %, different>"


def test_its_document_and_its_html_say_the_same():
    ours, reference = records(), records()
    reference["bid_sz_00"][3] = 77
    result = compare(ours, reference)
    document = json.loads(json.dumps(result.document()))
    assert document == {
        "kind": "mbp-10", "ours": "ours", "reference": "reference", "ours_count": 50, "reference_count": 50,
        "equal_count": 49, "equal": False, "share_equal": 0.98, "ignored": [], "notes": [],
        "differences": [
            {
                "what": "bid_sz_00", "count": 1,
                "first": [{"ours": 3, "reference": 3, "our_value": "3", "reference_value": "77"}],
            }
        ],
    }  # fmt: skip
    html = result._repr_html_()
    assert "<td>bid_sz_00</td><td>1</td><td>3</td><td>3</td><td>3</td><td>77</td>" in html
    assert "<tr>" not in compare(ours, ours)._repr_html_()


def test_names_cannot_break_the_html(tmp_path):
    path = tmp_path / "<b>.json"
    path.write_text(json.dumps({"symbol": "<script>", "bids": [], "asks": []}))
    html = compare(path, {"symbol": "A&B", "bids": [], "asks": []})._repr_html_()
    assert "<b>" not in html
    assert "&lt;script&gt;" in html


# ---------------------------------------------------------------- what fails


def test_what_cannot_be_compared(book):
    array = records()
    for one, other, sentence in (
        (array, records(schema="mbp-1"), "ours is mbp-10 and reference is mbp-1: they cannot be compared"),
        (array, book, "ours is mbp-10 and reference is book: they cannot be compared"),
        (array["price"], array, "ours is an array of int64, not of records"),
        (array, 7, "reference is a int: give a path"),
    ):
        with pytest.raises(RequestError, match=sentence):
            compare(one, other)
    with pytest.raises(RequestError, match="no column 'sied' to ignore: there are ts_recv, "):
        compare(array, array, ignore=["sied"])
    with pytest.raises(RequestError, match="aligned by side and price, which cannot be ignored"):
        compare(book, book, ignore=["price"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "is no final book: it has to have bids and asks"),
        ('{"bids": [], "asks": 5}', "is no final book"),
        ('{"bids": [{"price": 1.5, "size": 1, "count": 1}], "asks": []}', "is no final book"),
        ('{"bids": [{"price": 15, "size": -1, "count": 1}], "asks": []}', "is no final book"),
        ('{"bids": [{"price": 15, "size": 1}], "asks": []}', "is no final book"),
        ('{"bids": [', "is not JSON"),
        ("", "is empty"),
    ],
)
def test_a_bad_document_gets_one_sentence(tmp_path, book, text, sentence):
    path = tmp_path / "book.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=sentence):
        compare(path, book)
