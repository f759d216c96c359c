"""What becomes of orders: short tapes by hand, whole sessions against plain Python over the readable book, and conservation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest

import mbo
from mbo.analytics import lifetimes
from mbo.analytics.orders import _ROWS, BEGAN, OUTCOMES
from mbo.book import Books, ReferenceBook
from mbo.book._state_kernels import home
from mbo.errors import RequestError
from mbo.records import Action, Flag, RecordArray
from mbo.simulator import Feature, simulate
from tests.analytics.tables import column, rows_of
from tests.book.tapes import LAST, MBP, SNAPSHOT, TICK, TOB, tape, wild

pytestmark = pytest.mark.nojit

CALM = Feature.ICEBERGS | Feature.SELF_MATCH | Feature.LONE_TRADES | Feature.CROSSING


def life(*lines: str, per: str = "order", **other: Any) -> list[str]:
    """The rows of a tape as `id side price size began>outcome filled modifies queue_ahead distance`, what is null as -."""
    table = lifetimes(tape(*lines, **other), per=per)
    written = []
    for row in table.to_pylist():
        price = row["price"] and row["price"] // TICK
        distance = row["distance"] and row["distance"] // TICK
        values = (row["order_id"], row["side"], price, row["size"], f"{row['began']}>{row['outcome']}")
        values += (row["filled"], row["modifies"], row["queue_ahead"], distance)
        written.append(" ".join("-" if value is None else str(value) for value in values))
    return written


# ---------------------------------------------------------------- by hand


def test_an_order_that_is_cancelled_and_one_that_stays():
    assert life("A 1 B 100 5", "A 2 B 100 3", "C 1 B 100 5") == [
        "1 B 100 5 added>cancelled 0 0 0 -",
        "2 B 100 3 added>open 0 0 5 0",
    ]


def test_the_distance_is_from_the_best_before_the_order():
    assert life("A 1 A 100 5", "A 2 A 102 3", "A 3 A 99 1", "A 4 A 101 1") == [
        "1 A 100 5 added>open 0 0 0 -",
        "2 A 102 3 added>open 0 0 0 2",
        "3 A 99 1 added>open 0 0 0 -1",
        "4 A 101 1 added>open 0 0 0 2",
    ]


def test_an_order_whose_cancel_only_tells_its_fill_was_filled():
    lines = ["A 1 B 100 5", "T 9 A 100 5 0", "F 1 B 100 5 0", "C 1 B 100 5"]
    table = lifetimes(tape(*lines))
    assert life(*lines) == ["1 B 100 5 added>filled 5 0 0 -"]
    assert rows_of(table, "ts_entered", "ts_first_fill", "ts_ended") == [(1000, 1002, 1003)]


def test_a_fill_of_an_earlier_event_does_not_make_a_later_cancel_one():
    lines = ["A 1 B 100 5", "F 1 B 100 2 0", "M 1 B 100 3", "C 1 B 100 3"]
    assert life(*lines) == ["1 B 100 5 added>cancelled 2 0 0 -"]
    assert life("A 1 B 100 5", "F 1 B 100 5", "C 1 B 100 5") == ["1 B 100 5 added>cancelled 5 0 0 -"]


def test_a_cancel_of_more_than_was_filled_is_a_cancel():
    assert life("A 1 B 100 5", "F 1 B 100 2 0", "C 1 B 100 5") == ["1 B 100 5 added>cancelled 2 0 0 -"]


def test_partial_cancels_after_fills_are_no_changes_of_the_owner():
    lines = ["A 1 B 100 5", "F 1 B 100 2 0", "C 1 B 100 2", "C 1 B 100 1", "F 1 B 100 2 0", "C 1 B 100 2"]
    assert life(*lines, publisher_id=2) == ["1 B 100 5 added>filled 4 1 0 -"]


def test_what_one_record_has_told_the_next_does_not_tell_again():
    assert life("A 1 B 100 5", "F 1 B 100 3 0", "M 1 B 100 2 0", "C 1 B 100 2") == [
        "1 B 100 5 added>cancelled 3 0 0 -",
    ]


def test_the_first_fill_is_remembered():
    lines = ["A 1 B 100 5", "F 1 B 100 1 0", "M 1 B 100 4", "F 1 B 100 4 0", "C 1 B 100 4"]
    assert rows_of(lifetimes(tape(*lines)), "ts_first_fill", "ts_ended") == [(1001, 1004)]


def test_several_fills_of_one_event_count_together():
    lines = ["A 1 B 100 5", "F 1 B 100 2 0", "F 1 B 100 3 0", "C 1 B 100 5"]
    assert life(*lines) == ["1 B 100 5 added>filled 5 0 0 -"]


def test_a_modified_order_is_one_order_and_two_places():
    lines = ["A 1 B 100 5", "A 2 B 99 3", "M 1 B 99 4", "M 1 B 99 2", "C 1 B 99 2"]
    assert life(*lines)[0] == "1 B 100 5 added>cancelled 0 2 0 -"
    assert life(*lines, per="place") == [
        "1 B 100 5 added>modified 0 1 0 -",
        "2 B 99 3 added>open 0 0 0 1",
        "1 B 99 4 moved>cancelled 0 1 3 1",
    ]


def test_an_equal_size_keeps_its_place_elsewhere_than_at_glbx():
    lines = ["A 1 B 100 5", "A 2 B 100 3", "M 1 B 100 5"]
    assert len(life(*lines, per="place")) == 3
    assert len(life(*lines, per="place", publisher_id=2)) == 2
    records = tape(*lines, publisher_id=2)
    assert lifetimes(records, per="place", equal_size="loses").num_rows == 3


def test_a_refreshed_iceberg_fills_its_place_and_goes_on_as_one_order():
    lines = ["A 1 B 100 5", "A 2 B 100 3", "F 1 B 100 5 0", "M 1 B 100 5", "F 2 B 100 3 0", "C 2 B 100 3"]
    assert life(*lines)[0] == "1 B 100 5 added>open 5 0 0 -"
    assert life(*lines, per="place") == [
        "1 B 100 5 added>filled 5 0 0 -",
        "2 B 100 3 added>filled 3 0 5 0",
        "1 B 100 5 moved>open 0 0 3 0",
    ]


def test_orders_from_before_the_records_have_no_entry():
    lines = ["C 1 B 100 5", "M 2 B 99 4", "F 3 A 101 2 0", "C 3 A 101 2", "F 4 A 101 1"]
    assert life(*lines) == [
        "1 B 100 - unknown>cancelled 0 0 - -",
        "2 B 99 - unknown>open 0 1 - -",
        "3 A 101 - unknown>filled 2 0 - -",
        "4 A - - unknown>unseen 1 0 - -",
    ]
    table = lifetimes(tape(*lines))
    assert column(table, "ts_entered") == [None] * 4
    assert column(table, "ts_ended") == [1000, None, 1003, None]


def test_an_order_first_named_by_a_fill_goes_on_with_its_modify():
    assert life("F 1 B 100 2 0", "M 1 B 100 3", "C 1 B 100 3") == ["1 B 100 - unknown>cancelled 2 0 - -"]


def test_a_fill_that_comes_after_its_cancel_is_counted_still():
    assert life("A 1 B 100 5", "C 1 B 100 5 0", "F 1 B 100 5") == ["1 B 100 5 added>cancelled 5 0 0 -"]


def test_a_clear_ends_what_rests_and_a_new_order_of_that_id_is_another():
    assert life("A 1 B 100 5", "C 1 B 100 5", "A 2 A 101 1", "R", "A 2 A 101 1") == [
        "1 B 100 5 added>cancelled 0 0 0 -",
        "2 A 101 1 added>cleared 0 0 0 -",
        "2 A 101 1 added>open 0 0 0 -",
    ]


def test_a_snapshot_goes_on_with_the_orders_it_restores():
    snapshot = [f"R 0 N - 0 {SNAPSHOT}", f"A 1 B 100 5 {SNAPSHOT}", f"A 3 B 100 9 {SNAPSHOT | LAST}"]
    lines = ["A 1 B 100 5", "A 2 B 100 3", *snapshot, "C 1 B 100 5"]
    expected = [
        "1 B 100 5 added>cancelled 0 0 0 -",
        "2 B 100 3 added>cleared 0 0 5 0",
        "3 B 100 9 snapshot>open 0 0 - -",
    ]
    assert life(*lines) == expected
    assert life(*lines[:2], *lines[3:]) == expected  # an old file, whose snapshot has no R
    again = [f"R 0 N - 0 {SNAPSHOT}", f"A 2 B 100 3 {SNAPSHOT | LAST}"]
    assert life(*lines, *again)[-1] == "2 B 100 3 snapshot>open 0 0 - -"  # it was away: not the same one


def test_a_second_add_of_an_id_replaces_it():
    assert life("A 1 B 100 5", "A 1 B 99 2", "A 1 N 99 2") == [
        "1 B 100 5 added>replaced 0 0 0 -",
        "1 B 99 2 added>open 0 0 0 1",
    ]


def test_levels_without_orders_stand_in_the_queue_and_are_no_orders():
    assert life(f"A 0 B 100 7 {MBP | LAST}", "A 1 B 100 5") == ["1 B 100 5 added>open 0 0 7 0"]


def test_a_top_of_book_record_ends_the_orders_of_its_side():
    assert life("A 1 B 100 5", "A 2 A 101 5", f"A 0 B 100 7 {TOB | LAST}") == [
        "1 B 100 5 added>cleared 0 0 0 -",
        "2 A 101 5 added>open 0 0 0 -",
    ]


def test_the_same_id_in_two_books_is_two_orders():
    one, other = tape("A 1 B 100 5", "C 1 B 100 5"), tape("A 1 B 100 6")
    other["instrument_id"] = 8
    table = lifetimes(np.concatenate([one[:1], other, one[1:]]))
    assert rows_of(table, "instrument_id", "size", "outcome") == [(7, 5, "cancelled"), (8, 6, "open")]


def test_orders_whose_ids_fall_on_one_place_of_the_table_are_told_apart():
    """The same id in two books, and ids whose place is the table's last one, so that the search goes on at its beginning."""
    mask = 2 * _ROWS - 1
    twin = next(
        number for number in range(10**6) if home(np.uint64(number), 0, mask) == home(np.uint64(number), 1, mask)
    )
    last = [number for number in range(60 * mask) if home(np.uint64(number), 0, mask) == mask][:3]
    lines = [f"A {number} B 100 {size}" for size, number in enumerate([twin, *last], 1)]
    one, other = tape(*lines), tape(f"A {twin} B 100 9", f"C {twin} B 100 9")
    other["instrument_id"] = 8
    ends = tape(*(line.replace("A", "C", 1) for line in lines))
    found = rows_of(lifetimes(np.concatenate([one, other, ends])), "instrument_id", "order_id", "size", "outcome")
    assert found == [(7, number, size, "cancelled") for size, number in enumerate([twin, *last], 1)] + [
        (8, twin, 9, "cancelled")
    ]


def test_no_records_give_no_rows():
    table = lifetimes(np.empty(0, mbo.MBO_DTYPE))
    assert table.num_rows == 0
    assert table.schema == lifetimes(tape("A 1 B 100 5")).schema


def test_a_row_per_anything_else_is_refused():
    with pytest.raises(RequestError, match="per='fill'"):
        lifetimes(tape("A 1 B 100 5"), per="fill")


# ---------------------------------------------------------------- against plain Python


def told_by_the_readable_book(records: RecordArray, *, places: bool) -> list[dict[str, Any]]:
    """The same rows, one record at a time, from what the readable book holds before and after it."""
    books: dict[Any, ReferenceBook] = {}
    latest: dict[Any, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    events: Counter[Any] = Counter()
    clears: Counter[Any] = Counter()
    for n in range(len(records)):
        record = records[n]
        key = (int(record["publisher_id"]), int(record["instrument_id"]))
        number, ts, size = int(record["order_id"]), int(record["ts_event"]), int(record["size"])
        action, snapshot = Action(record["action"]), bool(record["flags"] & Flag.SNAPSHOT)
        book = books.setdefault(key, ReferenceBook())
        there = {order.order_id: order for order in book.orders()}
        best = book.bbo.bid if chr(record["side"]) == "B" else book.bbo.ask
        book.apply(records[n : n + 1])
        row = latest.get((key, number))
        left = set(there) - {order.order_id for order in book.orders()}
        if action == Action.CLEAR or (snapshot and left - {number}):
            clears[key] += 1
            for gone in there:
                latest[key, gone] |= {"outcome": "cleared", "ts_ended": ts, "clear": clears[key]}
            there = {}
        before, after = there.get(number), book._order(number) if action in b"ACM" else None
        told = row["told"] if row and row["event"] == events[key] else 0
        new: dict[str, Any] = {
            "key": key, "order_id": number, "price": int(record["price"]), "size": size,
            "ts_entered": ts, "ts_first_fill": None, "ts_ended": None,
            "filled": 0, "modifies": 0, "queue_ahead": None, "event": None, "told": 0, "clear": 0, "outcome": "open",
        }  # fmt: skip
        unknown = new | {"began": "unknown", "size": None, "ts_entered": None}
        if after is not None:
            new["queue_ahead"] = after.queue_ahead
        begun = None
        if action == Action.FILL:
            if row is None:
                row = begun = unknown | {"outcome": "unseen", "price": None}
            row |= {"told": told + size, "event": events[key], "filled": row["filled"] + size}
            row["ts_first_fill"] = row["ts_first_fill"] or ts
        elif action == Action.ADD and after is not None:
            if snapshot and row and row["outcome"] == "cleared" and row["clear"] == clears[key]:
                row |= {"outcome": "open", "ts_ended": None}
            else:
                begun = new | {"began": "snapshot" if snapshot else "added"}
                if snapshot:
                    begun["queue_ahead"] = None
                elif best is not None:
                    begun["distance"] = (best.price - new["price"]) * (1 if chr(record["side"]) == "B" else -1)
        elif action == Action.MODIFY and before is not None:
            row["modifies"] += not told
            lost = (before.price, before.side) != (after.price, after.side) or after.size > before.size
            if places and (lost or (after.size == before.size and key[0] == 1)):
                row |= {"outcome": "filled" if told >= before.size else "modified", "ts_ended": ts}
                begun = new | {"began": "moved"}
                if best is not None:
                    begun["distance"] = (best.price - new["price"]) * (1 if chr(record["side"]) == "B" else -1)
            row["told"] = 0
        elif action == Action.MODIFY:
            if row and row["outcome"] == "unseen":
                row |= {"outcome": "open", "price": new["price"], "modifies": row["modifies"] + (not told), "told": 0}
            else:
                begun = unknown | {"modifies": 1}
        elif action == Action.CANCEL and before is not None:
            if after is None:
                row |= {"outcome": "filled" if told >= before.size else "cancelled", "ts_ended": ts}
            else:
                row |= {"modifies": row["modifies"] + (not told), "told": 0}
        elif action == Action.CANCEL:
            if row is None:
                row = begun = unknown | {"outcome": "unseen"}
            if row["outcome"] == "unseen":
                row |= {"outcome": "filled" if told >= size else "cancelled", "ts_ended": ts, "price": new["price"]}
        if begun:
            rows.append(begun)
            latest[key, number] = begun
        events[key] += bool(record["flags"] & Flag.LAST)
    return rows


NAMES = (
    "order_id", "price", "size", "began", "outcome", "ts_entered", "ts_first_fill", "ts_ended", "filled", "modifies", "queue_ahead",
    "distance",
)  # fmt: skip


@pytest.mark.parametrize("per", ["order", "place"])
@pytest.mark.parametrize(
    ("features", "start"),
    [
        (Feature.NONE, 0),
        (CALM, 0),
        (Feature.ALL, 0),
        (Feature.ALL & ~Feature.GAPS, 300),
        (CALM | Feature.PUBLISHERS, 300),
    ],
    ids=["plain", "calm", "everything", "everything, cut", "publishers, cut"],
)
def test_rows_agree_with_plain_python(per, features, start):
    records = simulate(6_000, seed=21, instruments=2, resting=40, features=features).records[start:]
    table = lifetimes(records, per=per)
    expected = told_by_the_readable_book(records, places=per == "place")
    assert rows_of(table, *NAMES) == [tuple(row.get(name) for name in NAMES) for row in expected]
    assert rows_of(table, "publisher_id", "instrument_id") == [row["key"] for row in expected]
    outcomes = set(column(table, "outcome"))
    assert {"open", "filled", "cancelled"} <= outcomes
    assert ("modified" in outcomes) == (per == "place")
    assert set(column(table, "began")) <= set(BEGAN)
    assert outcomes <= set(OUTCOMES)


@pytest.mark.parametrize("per", ["order", "place"])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_records_say_open_rows_are_the_orders_of_the_books_and_fills_are_kept(per, seed):
    records = wild(seed, 4_000, books=3)
    table = lifetimes(records, per=per)
    books = Books()
    books.apply(records)
    resting = sorted((*key, order.order_id) for key, book in books.items() for order in book.orders())
    frame = pl.from_arrow(table)
    assert sorted(frame.filter(outcome="open").select("publisher_id", "instrument_id", "order_id").rows()) == resting
    fills = records["size"][(records["action"] == Action.FILL) & (records["size"] < 2**32 - 1)]
    assert frame["filled"].sum() == fills.astype(np.int64).sum()
