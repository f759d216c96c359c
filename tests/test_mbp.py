"""When a market-by-price record comes out, and what it says: Databento's rules, one by one, on tapes that show them."""

from __future__ import annotations

import numpy as np
import pytest

import mbo
from mbo.book import Books, ReferenceBook
from mbo.errors import RequestError, RuleError
from mbo.mbp import Mbp
from mbo.records import Action
from mbo.schemas import mbp_dtype
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE, UNDEF_SIZE
from tests.book.tapes import BAD_TS, LAST, MBP, SNAPSHOT, TICK, TOB, tape, wild

pytestmark = pytest.mark.nojit

BOTH_SIDES = ["A 1 B 100 5", "A 2 B 99 3", "A 3 A 101 2", "A 4 A 102 4"]


def emitted(*lines: str, levels: int = 10, emit: str = "touch", before: tuple[str, ...] = ()) -> list[str]:
    """What the lines bring out, after the lines `before`, as `action side depth price size flags | best bid | best ask`."""
    mbp = Mbp(levels, emit=emit)
    mbp.apply(tape(*before))
    return [written(record) for piece in mbp.apply(tape(*lines)) for record in piece]


def written(record: np.void) -> str:
    price = "-" if record["price"] == UNDEF_PRICE else record["price"] // TICK
    sides = [
        "-" if record[f"{side}_px_00"] == UNDEF_PRICE
        else f"{record[f'{side}_px_00'] // TICK}x{record[f'{side}_sz_00']}/{record[f'{side}_ct_00']}"
        for side in ("bid", "ask")
    ]  # fmt: skip
    fields = (chr(record["action"]), chr(record["side"]), record["depth"], price, record["size"], record["flags"])
    return f"{' '.join(map(str, fields))} | {' | '.join(sides)}"


def book(*lines: str) -> tuple[str, ...]:
    return tuple(lines)


def test_every_change_of_a_visible_level_comes_out():
    assert emitted(*BOTH_SIDES) == [
        "A B 0 100 5 128 | 100x5/1 | -",
        "A B 1 99 3 128 | 100x5/1 | -",
        "A A 0 101 2 128 | 100x5/1 | 101x2/1",
        "A A 1 102 4 128 | 100x5/1 | 101x2/1",
    ]


def test_what_is_deeper_than_the_last_level_does_not_come_out():
    """Index 9 is seen, 10 to 12 are not: as the official MBP-10 of ESH1 has it for four cancels."""
    before = [f"A {k} A {100 + k} 1" for k in range(13)]
    cancels = ["C 12 A 112 1", "C 11 A 111 1", "C 10 A 110 1", "C 9 A 109 1"]
    assert emitted(*cancels, before=book(*before)) == ["C A 9 109 1 128 | - | 100x1/1"]
    assert emitted("A 20 A 109 1", "A 21 A 110 1", before=book(*before)) == ["A A 9 109 1 128 | - | 100x1/1"]
    assert emitted("M 12 A 99 1", before=book(*before)) == ["M A 0 99 1 128 | - | 99x1/1"]
    assert emitted("M 0 A 120 1", before=book(*before)) == ["M A 0 120 1 128 | - | 101x1/1"]
    assert emitted("C 1 A 101 1", levels=1, before=book(*before)) == []


def test_a_trade_comes_with_the_book_before_its_effect():
    lines = ["T 9 B 101 2 0", "F 3 A 101 2 0", "C 3 A 101 2 128"]
    assert emitted(*lines, before=book(*BOTH_SIDES)) == [
        "T B 0 101 2 0 | 100x5/1 | 101x2/1",
        "C A 0 101 2 128 | 100x5/1 | 102x4/1",
    ]


def test_a_trade_alone_keeps_the_flag_of_the_last_record():
    assert emitted("T 9 B 101 2 130", before=book(*BOTH_SIDES)) == ["T B 0 101 2 130 | 100x5/1 | 101x2/1"]
    closed_by_none = emitted("T 9 B 101 2 0", "N 0 N - 0 128", before=book(*BOTH_SIDES))
    assert closed_by_none == ["T B 0 101 2 0 | 100x5/1 | 101x2/1"]


def test_fills_and_nones_never_come_out():
    assert emitted("F 3 A 101 2", "N 0 N - 0", before=book(*BOTH_SIDES)) == []


def test_an_event_is_one_record_with_the_fields_of_its_last_change():
    lines = ["A 5 A 101 1 0", "A 6 A 101 1 0", "C 3 A 101 2 0", "C 5 A 101 1 128"]
    assert emitted(*lines, before=book(*BOTH_SIDES)) == ["C A 0 101 1 128 | 100x5/1 | 101x1/1"]


def test_an_event_may_be_closed_by_a_record_of_its_own():
    lines = ["C 3 A 101 2 2", "N 0 N - 0 128"]
    assert emitted(*lines, before=book(*BOTH_SIDES)) == ["C A 0 101 2 130 | 100x5/1 | 102x4/1"]


def test_the_depth_is_the_shallowest_and_the_side_who_touched_it():
    assert emitted("C 3 A 101 2 0", "A 5 B 101 1 128", before=book(*BOTH_SIDES)) == [
        "A N 0 101 1 128 | 101x1/1 | 102x4/1"
    ]
    assert emitted("C 1 B 100 5 0", "C 4 A 102 4 128", before=book(*BOTH_SIDES)) == [
        "C B 0 102 4 128 | 99x3/1 | 101x2/1"
    ]
    assert emitted("A 5 A 103 1 0", "A 6 B 98 1 128", before=book(*BOTH_SIDES)) == [
        "A N 2 98 1 128 | 100x5/1 | 101x2/1"
    ]


def test_the_source_is_the_last_change_even_one_too_deep_to_be_seen():
    before = [f"A {k} A {100 + k} 1" for k in range(12)]
    assert emitted("C 0 A 100 1 0", "A 20 A 130 7 128", before=book(*before)) == ["A A 0 130 7 128 | - | 101x1/1"]
    assert emitted("A 20 A 130 7 0", "C 0 A 100 1 128", before=book(*before)) == ["C A 0 100 1 128 | - | 101x1/1"]


def test_a_modify_counts_where_it_came_from_and_where_it_went():
    assert emitted("M 2 B 100 3", before=book(*BOTH_SIDES)) == ["M B 0 100 3 128 | 100x8/2 | 101x2/1"]
    assert emitted("M 1 B 98 5", before=book(*BOTH_SIDES)) == ["M B 0 98 5 128 | 99x3/1 | 101x2/1"]
    assert emitted("M 2 B 99 1", before=book(*BOTH_SIDES)) == ["M B 1 99 1 128 | 100x5/1 | 101x2/1"]
    assert emitted("M 8 B 101 1", before=book("A 1 B 100 5")) == ["M B 0 101 1 128 | 101x1/1 | -"]


def test_a_trade_after_a_change_begins_depth_and_side_anew():
    lines = ["C 1 B 100 5 0", "T 9 B 101 2 0", "C 4 A 102 4 128"]
    assert emitted(*lines, before=book(*BOTH_SIDES)) == [
        "T B 0 101 2 0 | 99x3/1 | 101x2/1",
        "C A 1 102 4 128 | 99x3/1 | 101x2/1",
    ]


def test_touch_and_change_differ_where_a_refresh_leaves_the_level_as_it_was():
    before = book(*BOTH_SIDES)
    assert emitted("M 3 A 101 2", before=before) == ["M A 0 101 2 128 | 100x5/1 | 101x2/1"]
    assert emitted("M 3 A 101 2", emit="change", before=before) == []
    assert emitted("M 3 A 101 1", emit="change", before=before) == ["M A 0 101 1 128 | 100x5/1 | 101x1/1"]
    assert emitted("A 9 A 101 1 0", "C 9 A 101 1 128", emit="change", before=before) == []


def test_a_clear_is_on_neither_side_and_has_no_price():
    assert emitted("R 0 N - 0 128", before=book(*BOTH_SIDES)) == ["R N 0 - 0 128 | - | -"]
    assert emitted("R 0 N - 0 8", "A 9 B 90 1 128", before=book(*BOTH_SIDES)) == ["A N 0 90 1 128 | 90x1/1 | -"]


def test_a_snapshot_is_one_record():
    flags = SNAPSHOT | BAD_TS
    lines = [f"R 0 N - 0 {flags}", f"A 1 B 100 5 {flags}", f"A 2 B 50 3 {flags}", f"A 3 A 101 2 {flags | LAST}"]
    assert emitted(*lines) == ["A N 0 101 2 168 | 100x5/1 | 101x2/1"]
    assert emitted(*lines, before=book(*lines)) == ["A N 0 101 2 168 | 100x5/1 | 101x2/1"]
    assert emitted(f"R 0 N - 0 {flags | LAST}", before=book(*BOTH_SIDES)) == []


def test_top_of_book_and_price_level_feeds():
    top = TOB | LAST
    assert emitted(f"A 0 B 100 5 {top}", f"A 0 A 101 3 {top}", f"A 0 B 99 1 {top}") == [
        f"A B 0 100 5 {top} | 100x5/0 | -", f"A A 0 101 3 {top} | 100x5/0 | 101x3/0", f"A B 0 99 1 {top} | 99x1/0 | 101x3/0",
    ]  # fmt: skip
    level = MBP | LAST
    assert emitted(f"A 0 B 100 5 {level}", f"A 0 B 99 5 {level}", f"M 0 B 100 4 {level}", f"C 0 B 100 4 {level}") == [
        f"A B 0 100 5 {level} | 100x5/0 | -", f"A B 1 99 5 {level} | 100x5/0 | -", f"M B 0 100 4 {level} | 100x4/0 | -",
        f"C B 0 100 4 {level} | 99x5/0 | -",
    ]  # fmt: skip


def test_instruments_come_out_in_one_order_and_do_not_mix():
    one, two = tape("A 1 B 100 5 0", "C 1 B 100 5 128"), tape("A 1 B 90 2 0", "A 2 B 91 2 128", instrument_id=8)
    mixed = np.concatenate([one[:1], two[:1], two[1:], one[1:]])
    pieces = Mbp().apply(mixed)
    assert [(record["instrument_id"], written(record)) for piece in pieces for record in piece] == [
        (8, "A B 0 91 2 128 | 91x2/1 | -"), (7, "C B 0 100 5 128 | - | -"),
    ]  # fmt: skip


def test_all_fields_of_the_source_come_along():
    records = tape("A 1 B 100 5 0", "A 2 B 99 5 130")
    records["ts_in_delta"] = [5, -7]
    (record,) = Mbp(1).apply(records)[0]
    assert (record["length"], record["rtype"], record["publisher_id"], record["instrument_id"]) == (20, 1, 1, 7)
    source = records[1]
    for name in ("ts_event", "ts_recv", "ts_in_delta", "sequence", "price", "size", "flags"):
        assert record[name] == source[name], name
    assert (mbp_dtype(10).itemsize, mbp_dtype(1).itemsize) == (368, 80)


@pytest.mark.parametrize("levels", [1, 10])
@pytest.mark.parametrize("emit", ["touch", "change"])
def test_cuts_anywhere_change_nothing(levels, emit, monkeypatch):
    records = wild(3, 3_000, books=3)
    whole = np.concatenate(Mbp(levels, emit=emit).apply(records))
    monkeypatch.setattr("mbo.mbp.BATCH", 7)
    mbp = Mbp(levels, emit=emit)
    parts = [piece for part in np.array_split(records, 50) for piece in mbp.apply(part)]
    assert max(map(len, parts)) <= 7
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_the_books_behind_are_those_of_the_engine():
    records = wild(4, 4_000, books=3)
    mbp, books = Mbp(), Books()
    mbp.apply(records)
    books.apply(records)
    assert {key: book.digest() for key, book in mbp.books.items()} == {
        key: book.digest() for key, book in books.items()
    }
    for key, found in books.items():
        assert mbp.books[key].status == found.status
        assert mbp.books[key].anomalies == found.anomalies


@pytest.mark.parametrize(("levels", "seed"), [(10, 6), (10, 7), (1, 8)])
def test_every_record_shows_the_levels_of_its_book(levels, seed):
    """Record by record, with many levels that come and go; one of a trade shows the book before its event's effect."""
    mbp, slow = Mbp(levels), ReferenceBook()
    shown = 0
    records = wild(seed, 900, ids=120, prices=40, nonsense=0.02)
    records["publisher_id"], records["flags"] = 1, records["flags"] | LAST
    for k in range(len(records)):
        slow.apply(records[k : k + 1])
        for emitted in (record for piece in mbp.apply(records[k : k + 1]) for record in piece):
            for side in ("bid", "ask"):
                found = [
                    (emitted[f"{side}_px_{n:02}"], emitted[f"{side}_sz_{n:02}"], emitted[f"{side}_ct_{n:02}"])
                    for n in range(levels)
                ]
                there = [(price, min(size, UNDEF_SIZE), count) for price, size, count in slow.levels(side, levels)]
                assert found == there + [(UNDEF_PRICE, 0, 0)] * (levels - len(there)), k
            shown += 1
    assert shown > 100


def test_a_snapshot_that_begins_with_an_id_of_before_is_no_duplicate():
    records = tape("A 1 B 100 5", "A 2 A 101 3", f"A 1 B 99 4 {SNAPSHOT}", f"A 2 A 102 6 {SNAPSHOT | LAST}")
    mbp, books = Mbp(), Books()
    mbp.apply(records)
    books.apply(records)
    (found,), (expected,) = mbp.books.values(), books.values()
    found.check()
    assert found.digest() == expected.digest()
    assert found.anomalies == expected.anomalies
    assert "duplicate_add" not in found.anomalies


def test_the_last_record_of_every_book_shows_its_levels():
    session = simulate(8_000, seed=5, instruments=3, resting=80)
    mbp = Mbp(10, books=Books(strict=True))
    records = np.concatenate(mbp.apply(session.records))
    for (_, number), found in mbp.books.items():
        last = records[records["instrument_id"] == number][-1]
        for side in ("bid", "ask"):
            shown = [
                (last[f"{side}_px_{k:02}"], last[f"{side}_sz_{k:02}"], last[f"{side}_ct_{k:02}"]) for k in range(10)
            ]
            assert shown == [tuple(level) for level in found.levels(side, 10)]


def test_mbp_1_is_what_mbp_10_shows_of_its_first_level():
    records = simulate(8_000, seed=6, resting=60).records
    ten, one = (np.concatenate(Mbp(levels).apply(records)) for levels in (10, 1))
    first = ten[(ten["action"] == Action.TRADE) | (ten["depth"] == 0)]
    for name in mbp_dtype(1).names:
        if name not in ("length", "rtype", "flags", "action", "side", "price", "size", "depth", "ts_event", "ts_recv"):
            assert (first[name] == one[name]).all(), name


def test_strict_books_stop_the_stream():
    with pytest.raises(RuleError) as caught:
        Mbp(books=Books(strict=True)).apply(tape("A 1 B 100 5", "C 9 B 100 5"), rows=40)
    assert caught.value.index == 41


def test_only_the_schemas_there_are():
    with pytest.raises(RequestError, match="1 or 10 levels"):
        Mbp(5)
    with pytest.raises(RequestError, match="'touch' or 'change'"):
        Mbp(emit="always")
    day = mbo.read_dbn(mbo.SIMULATED)
    for wrong in (lambda: day.mbp(5), lambda: day.bbo("5s")):
        with pytest.raises(RequestError, match="no schema"):
            wrong()
