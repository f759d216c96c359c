"""Every rule broken once, every class met once, on books that fit on a few lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbo.verification import CLASSES, RULES, checker
from mbo.verification import _mark_kernels as numbers
from mbo.verification.rules import WITNESSES, WRONG_RULES
from tests.book.tapes import LAST, MAYBE_BAD, MBP, SNAPSHOT, TOB, record, tape, wild
from tests.verification.streams import adds_up, broken, checked, explained, tallies

pytestmark = pytest.mark.nojit

#              103   7 (order 6)
#              102   5 (order 4)  2 (order 5)
#   3 (order 2)  5 (order 1)   100
#                4 (order 3)    99
BOOK = ("R", "A 1 B 100 5", "A 2 B 100 3", "A 3 B 99 4", "A 4 A 102 5", "A 5 A 102 2", "A 6 A 103 7")
SELL = "T 90 A 100"

BREACHES = {
    "an A on no side": (["A 7 N 100 5"], {"valid_fields": 1}),
    "an A of nothing": (["A 7 B 100 0"], {"valid_fields": 1}),
    "an M without a price": (["M 1 B - 5"], {"valid_fields": 1}),
    "a T of nothing": (["T 90 A 100 0"], {"valid_fields": 1}),
    "an action that does not exist": (["X 1 B 100 5"], {"valid_fields": 1}),
    "a C of an unknown order": (["C 77 B 100 5"], {"known_orders": 1}),
    "an M of an unknown order": (["M 77 B 100 5"], {"known_orders": 1}),
    "a C of an order that is gone": (["C 1 B 100 5", "C 1 B 100 5"], {"known_orders": 1}),
    "an A of an order that rests": (["A 1 B 99 5"], {"new_orders": 1}),
    "a C at another price": (["C 1 B 99 5"], {"cancel_terms": 1}),
    "a C on the other side": (["C 1 A 100 5"], {"cancel_terms": 1}),
    "a C of too much": (["C 1 B 100 6"], {"cancel_terms": 1}),
    "a C of a part": (["C 1 B 100 4"], {"cancel_terms": 1}),
    "an M to the other side": (["M 1 A 103 5"], {"modify_side": 1}),
    "an F of an unknown order": ([f"{SELL} 5 0", "F 77 B 100 5"], {"fill_known": 1, "fill_front": 1, "fill_best": 1}),
    "an F of the second": ([f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"], {"fill_front": 1}),
    "an F before its turn": (
        [f"{SELL} 7 0", "F 1 B 100 4 0", "F 2 B 100 3 0", "M 1 B 100 1 0", "C 2 B 100 3"], {"fill_front": 1},
    ),
    "an F behind the best price": (["T 90 A 99 4 0", "F 3 B 99 4 0", "C 3 B 99 4"], {"fill_best": 1}),
    "an F at another price than its order": (["T 90 A 99 5 0", "F 1 B 99 5 0", "C 1 B 100 5"], {"fill_price": 1}),
    "an F at another price than its T": (["T 90 A 99 5 0", "F 1 B 100 5 0", "C 1 B 100 5"], {"fill_price": 1}),
    "an auction at a price worse than the order's": (["T 0 N 101 5 0", "F 1 N 101 5 0", "C 1 B 100 5"], {"fill_price": 1}),
    "an F on the aggressor's side": ([f"{SELL} 5 0", "F 1 A 100 5 0", "C 1 B 100 5"], {"fill_sides": 1}),
    "an F on the other side than its order": (["T 90 B 100 5 0", "F 1 A 100 5 0", "C 1 B 100 5"], {"fill_sides": 1}),
    "an F on a side of a T on none": (["T 0 N 100 5 0", "F 1 B 100 5 0", "C 1 B 100 5"], {"fill_sides": 1}),
    "an F on no side of a T on one": ([f"{SELL} 5 0", "F 1 N 100 5 0", "C 1 B 100 5"], {"fill_sides": 1}),
    "a T that is too large": ([f"{SELL} 6 0", "F 1 B 100 5 0", "C 1 B 100 5"], {"trade_size": 1}),
    "the first of two T too small": (
        [f"{SELL} 4 0", "F 1 B 100 5 0", "T 91 A 100 3 0", "F 2 B 100 3 0", "C 1 B 100 5 0", "C 2 B 100 3"],
        {"trade_size": 1},
    ),
    "an auction of one side": (["T 0 N 100 2 0", "F 1 N 100 4 0", "M 1 B 100 1"], {"trade_size": 1}),
    "an aggressor's own F that is not what it traded": (
        ["T 3 B 102 4 0", "F 4 A 102 4 0", "F 3 B 102 3 0", "M 4 A 102 1 0", "M 3 B 101 1"], {"trade_size": 1},
    ),
    "an F without a T": (["F 1 B 100 5 0", "C 1 B 100 5"], {"trade_size": 1}),
    "a T without an F that is not alone": ([f"{SELL} 5 0", "C 1 B 100 5"], {"trade_size": 1}),
    "an M that takes off too much": ([f"{SELL} 3 0", "F 1 B 100 3 0", "M 1 B 100 1"], {"fill_settled": 1}),
    "a C of an order with a rest": ([f"{SELL} 3 0", "F 1 B 100 3 0", "C 1 B 100 5"], {"fill_settled": 1}),
    "nothing taken off a filled order": ([f"{SELL} 3 0", "F 1 B 100 3"], {"fill_settled": 1}),
    "trades while the book is crossed": (
        ["A 7 B 102 1", "T 90 B 102 5 0", "F 4 A 102 5 0", "C 4 A 102 5", "C 7 B 102 1"], {"uncrossed": 2},
    ),
    "a trade that leaves the book crossed": (
        ["T 7 B 102 5 0", "F 4 A 102 5 0", "C 4 A 102 5 0", "A 7 B 102 1", "C 7 B 102 1"], {"uncrossed": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BREACHES)
def test_breach_is_found(what):
    lines, expected = BREACHES[what]
    report = checked(tape(*BOOK, *lines))
    assert broken(report) == expected
    assert adds_up(report)
    assert not report
    for rule in expected:
        (finding,) = report[rule].findings
        assert (finding.why, finding.rule) == ("", rule)
        assert len(BOOK) <= finding.index < len(BOOK) + len(lines)
        assert finding.place is not None
        assert len(finding.records)


PLAIN = {
    "one fill": ([f"{SELL} 5 0", "F 1 B 100 5 0", "C 1 B 100 5"], (1, 0)),
    "a part": ([f"{SELL} 2 0", "F 1 B 100 2 0", "M 1 B 100 3"], (1, 0)),
    "two in turn": ([f"{SELL} 6 0", "F 1 B 100 5 0", "F 2 B 100 1 0", "C 1 B 100 5 0", "M 2 B 100 2"], (1, 1)),
    "two levels": (
        [f"{SELL} 8 0", "F 1 B 100 5 0", "F 2 B 100 3 0", "T 90 A 99 1 0", "F 3 B 99 1 0",
         "C 1 B 100 5 0", "C 2 B 100 3 0", "M 3 B 99 3"], (2, 1),
    ),
    "the remainder rests": (["T 90 B 102 7 0", "F 4 A 102 5 0", "F 5 A 102 2 0", "A 90 B 102 2 0", "C 4 A 102 5 0", "C 5 A 102 2"],
                            (1, 1)),
    "implied by another book": (["T 0 N 100 5 0", "F 1 N 100 5 0", "C 1 B 100 5"], (1, 0)),
    "a trailing N": ([f"{SELL} 5 0", "F 1 B 100 5 0", "C 1 B 100 5 0", "N"], (1, 0)),
    "after a loss of place": (
        ["M 1 B 100 6", f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"], (1, 0)),
    "after an equal size": (["M 1 B 100 5", f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"], (1, 0)),
    "after a smaller size": (["M 1 B 100 1", f"{SELL} 1 0", "F 1 B 100 1 0", "C 1 B 100 1"], (1, 0)),
    "after a change of price": (["M 3 B 100 4", f"{SELL} 5 0", "F 1 B 100 5 0", "C 1 B 100 5"], (1, 0)),
}  # fmt: skip


@pytest.mark.parametrize("what", PLAIN)
def test_fill_by_the_rules_holds(what):
    lines, (front, in_turn) = PLAIN[what]
    report = checked(tape(*BOOK, *lines))
    assert (broken(report), explained(report)) == ({}, {})
    assert (report.fills.front, report.fills.in_turn, report.fills.count) == (front, in_turn, front + in_turn)
    assert report
    assert adds_up(report)


EXCUSES = {
    "an iceberg is met again": (
        [f"{SELL} 10 0", "F 2 B 100 3 0", "F 1 B 100 7 0", "C 2 B 100 3 0", "M 1 B 100 5"],
        {"fill_front": {"iceberg": 1}, "fill_settled": {"iceberg": 1}},
    ),
    "an iceberg is used up": (
        [f"{SELL} 10 0", "F 2 B 100 3 0", "F 1 B 100 7 0", "C 2 B 100 3 0", "C 1 B 100 5"],
        {"fill_front": {"iceberg": 1}, "fill_settled": {"iceberg": 1}},
    ),
    "an iceberg shows less than before": (
        [f"{SELL} 5 0", "F 1 B 100 5 0", "M 1 B 100 2", f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"],
        {"fill_front": {"iceberg": 1}, "fill_settled": {"iceberg": 1}},
    ),
    "a trade lists its fills in another order": (
        [f"{SELL} 8 0", "F 2 B 100 3 0", "F 1 B 100 5 0", "C 2 B 100 3 0", "C 1 B 100 5"],
        {"fill_front": {"listed_later": 1}},
    ),
    "an order is withdrawn from its owner's aggressor": (
        [f"{SELL} 3 0", "F 2 B 100 3 0", "C 1 B 100 5 0", "C 2 B 100 3"], {"fill_front": {"self_match": 1}},
    ),
    "a level is": (
        ["T 90 A 99 4 0", "F 3 B 99 4 0", "C 1 B 100 5 0", "C 2 B 100 3 0", "C 3 B 99 4"], {"fill_best": {"self_match": 1}},
    ),
    "an auction": (
        ["A 7 B 103 4", "T 0 N 102 4 0", "F 7 N 102 4 0", "F 4 N 102 4 0", "C 7 B 103 4 0", "M 4 A 102 1"],
        {"fill_price": {"auction": 1}, "trade_size": {"auction": 1}, "uncrossed": {"auction": 1}},
    ),
    "an order that lives in the auction only": (
        ["A 7 B 102 4", "T 0 N 102 4 0", "F 7 N 102 4 0", "F 77 N 102 4 0", "C 7 B 102 4"],
        {name: {"auction": 1} for name in ("fill_known", "fill_front", "fill_best", "trade_size", "uncrossed")},
    ),
    "a crossed book at the end": (["A 7 B 103 4"], {"uncrossed": {"auction": 1}}),
    "implied at a better price": (["T 0 N 99 5 0", "F 1 N 99 5 0", "C 1 B 100 5"], {"fill_price": {"implied": 1}}),
    "an order is modified and crosses": (
        ["T 3 B 102 4 0", "F 4 A 102 4 0", "F 3 B 102 4 0", "M 4 A 102 1 0", "C 3 B 99 4"],
        {"fill_front": {"aggressor": 1}, "fill_best": {"aggressor": 1}},
    ),
    "an order is modified, crosses, and its rest is withdrawn": (
        ["T 3 B 102 3 0", "F 4 A 102 3 0", "F 3 B 102 3 0", "M 4 A 102 2 0", "C 3 B 99 4"],
        {"fill_front": {"aggressor": 1}, "fill_best": {"aggressor": 1}, "fill_settled": {"aggressor": 1}},
    ),
    "an order is modified and crosses two prices": (
        ["T 3 B 102 7 0", "F 4 A 102 5 0", "F 5 A 102 2 0", "T 3 B 103 1 0", "F 6 A 103 1 0", "F 3 B 103 8 0",
         "C 4 A 102 5 0", "C 5 A 102 2 0", "M 6 A 103 6 0", "C 3 B 99 4"],
        {"fill_front": {"aggressor": 1}, "fill_best": {"aggressor": 1}, "fill_settled": {"aggressor": 1}},
    ),
    "a book that lacks records crosses": (
        [f"A 7 B 102 1 {LAST | MAYBE_BAD}", "T 90 B 102 5 0", "F 4 A 102 5 0", "C 4 A 102 5", "C 7 B 102 1"],
        {"uncrossed": {"gap": 2}},
    ),
    "a T alone": (["T 90 B 102 3"], {"trade_size": {"off_book": 1}}),
    "a trade goes on where its price is used up": (
        [f"{SELL} 10 0", "F 1 B 100 5 0", "F 2 B 100 3 0", "C 1 B 100 5 0", "C 2 B 100 3"], {"trade_size": {"beyond": 1}},
    ),
    "a trade goes on, and then to the next price": (
        [f"{SELL} 9 0", "F 1 B 100 5 0", "F 2 B 100 3 0", "T 90 A 99 4 0", "F 3 B 99 4 0", "C 1 B 100 5 0", "C 2 B 100 3 0",
         "C 3 B 99 4"], {"trade_size": {"beyond": 1}},
    ),
    "a trade between the best prices": (["T 90 B 101 1 0", "A 90 B 101 2"], {"trade_size": {"beyond": 1}}),
    "a trade goes on by more than what is withdrawn": (
        [f"{SELL} 9 0", "F 1 B 100 5 0", "C 1 B 100 5 0", "C 2 B 100 3"], {"trade_size": {"beyond": 1}},
    ),
    "it does so before the next price": (
        [f"{SELL} 9 0", "F 1 B 100 5 0", "T 90 A 99 4 0", "F 3 B 99 4 0", "C 1 B 100 5 0", "C 2 B 100 3 0", "C 3 B 99 4"],
        {"trade_size": {"beyond": 1}, "fill_best": {"self_match": 1}},
    ),
    "records are lost": ([f"A 7 B 99 1 {LAST | MAYBE_BAD}", "C 77 B 99 1"], {"known_orders": {"gap": 1}}),
    "a cancel is lost": (
        [f"A 7 B 99 1 {LAST | MAYBE_BAD}", f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"], {"fill_front": {"gap": 1}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EXCUSES)
def test_exception_is_explained(what):
    lines, expected = EXCUSES[what]
    report = checked(tape(*BOOK, *lines))
    assert (broken(report), explained(report)) == ({}, expected)
    assert adds_up(report)
    assert report


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # what is passed over is filled later in the trade, but not used up
        ([f"{SELL} 7 0", "F 2 B 100 3 0", "F 1 B 100 4 0", "C 2 B 100 3 0", "M 1 B 100 1"], "fill_front"),
        # it is used up by the next trade
        ([f"{SELL} 3 0", "F 2 B 100 3 0", "T 91 A 100 5 0", "F 1 B 100 5 0", "C 2 B 100 3 0", "C 1 B 100 5"], "fill_front"),
        # an iceberg that is met again later is no reason to trade at a worse price first
        (["T 90 A 99 4 0", "F 3 B 99 4 0", "T 90 A 100 9 0", "F 2 B 100 3 0", "F 1 B 100 6 0",
          "C 2 B 100 3 0", "C 3 B 99 4 0", "C 1 B 100 5"], "fill_best"),
        # what is passed over is cancelled in the next event
        ([f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3", "C 1 B 100 5"], "fill_front"),
        # an iceberg that got larger is at the back by the rule itself
        ([f"{SELL} 5 0", "F 1 B 100 5 0", "M 1 B 100 2", "M 1 B 100 6", f"{SELL} 6 0", "F 1 B 100 6 0", "C 1 B 100 6"],
         "fill_front"),
        # so it is if it lost its place again, and is passed over
        ([f"{SELL} 5 0", "F 1 B 100 5 0", "M 1 B 100 2", "M 1 B 100 6", "M 2 B 100 9", f"{SELL} 9 0", "F 2 B 100 9 0",
          "C 2 B 100 9"], "fill_front"),
        # one of two that are passed over is cancelled
        (["A 7 B 100 1", f"{SELL} 1 0", "F 7 B 100 1 0", "C 1 B 100 5 0", "C 7 B 100 1"], "fill_front"),
        # the gap is closed by a clear
        ([f"A 7 B 99 1 {LAST | MAYBE_BAD}", "R", "C 77 B 99 1"], "known_orders"),
        # a T that is not alone
        (["T 90 A 100 5 0", "A 7 B 99 1"], "trade_size"),
        # the price is not used up: an order is left, there or at a better price, or a level whose orders are not known
        ([f"{SELL} 7 0", "F 1 B 100 5 0", "F 2 B 100 1 0", "C 1 B 100 5 0", "M 2 B 100 2"], "trade_size"),
        (["T 90 A 99 5 0", "F 3 B 99 4 0", "C 3 B 99 4"], "trade_size"),
        ([f"A 0 B 100 7 {MBP | LAST}", f"{SELL} 10 0", "F 1 B 100 5 0", "F 2 B 100 3 0", "C 1 B 100 5 0", "C 2 B 100 3"],
         "trade_size"),
        # an F was lost: what is missing is the size of an order that leaves without one
        ([f"{SELL} 8 0", "F 1 B 100 5 0", "C 1 B 100 5 0", "C 2 B 100 3"], "trade_size"),
        # a T on no side says nothing of whom it could have met
        (["T 0 N 100 9 0", "F 1 N 100 5 0", "F 2 N 100 3 0", "C 1 B 100 5 0", "C 2 B 100 3"], "trade_size"),
        # the unknown order has a C: it was in somebody's book
        (["T 0 N 100 4 0", "F 77 N 100 4 0", "C 77 B 100 4"], "fill_known"),
    ],
)  # fmt: skip
def test_excuse_that_does_not_apply(lines, expected):
    assert broken(checked(tape(*BOOK, *lines)))[expected] == 1


def test_file_that_begins_in_the_middle():
    lines = ["A 1 B 100 5", "C 77 B 100 5", "M 78 B 100 2", "T 90 A 100 1 0", "F 79 B 100 1 0", "C 79 B 100 1"]
    report = checked(tape(*lines))
    assert broken(report) == {}
    one = {"opening": 1}
    assert explained(report) == {"known_orders": {"opening": 3}, "fill_known": one, "fill_front": one, "fill_best": one}


def test_opening_order_leaves_once():
    report = checked(tape("A 1 B 100 5", "C 77 B 100 5", "C 77 B 100 5", "C 1 B 100 5", "C 1 B 100 5"))
    assert explained(report) == {"known_orders": {"opening": 1}}
    assert broken(report) == {"known_orders": 2}
    assert [one.index for one in report["known_orders"].findings] == [1, 2, 4]


def test_opening_order_may_stand_before_those_known():
    """Its first M put it behind order 1; where it stood, nobody knows. One that has lost its place since is known."""
    fill = ["T 90 A 100 2 0", "F 78 B 100 2 0", "C 78 B 100 2"]
    report = checked(tape("A 1 B 100 5", "M 78 B 100 2", *fill))
    assert (broken(report), report.fills.explained) == ({}, {"opening": 1})
    report = checked(tape("A 1 B 100 5", "M 78 B 100 1", "M 78 B 100 2", *fill))
    assert broken(report) == {"fill_front": 1}


def test_new_order_does_not_inherit_the_doubt_about_another():
    lines = [
        "A 1 B 100 5",
        "M 78 B 100 2",
        "C 78 B 100 2",
        "A 9 B 100 2",
        "T 90 A 100 2 0",
        "F 9 B 100 2 0",
        "C 9 B 100 2",
    ]
    assert broken(checked(tape(*lines))) == {"fill_front": 1}


def test_wrong_rules_name_other_orders():
    """Order 2 is filled; which rules name another one depends on what order 1 did before."""
    fill = [f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"]
    away = ["M 1 B 98 5", "M 1 B 100 5"]
    last = [f"{SELL} 2 0", "F 2 B 100 2 0", "C 2 B 100 2"]
    true, never, keeps, always = list(WRONG_RULES)[:4]
    for lines, wrong in [
        (["M 1 B 100 6", *fill], [never]),
        (["M 1 B 100 5", *fill], [never]),
        ([*away, *fill], [keeps]),
        ([*away, "M 2 B 100 2", *last], [keeps, always]),
        (fill, [true, never, keeps, always]),
        (["M 1 B 100 4", *fill], [true, never, keeps]),
    ]:
        power = [one for one in checked(tape(*BOOK, *lines)).power if one.name != "queue shuffled"]
        assert [one.name for one in power if not one.right] == wrong
        right = true not in wrong
        for one in power:
            assert (one.checked, one.right + one.unexplained, one.explained) == (1, 1, 0)
            assert (one.alone, one.refuted) == (one.right and not right, right and not one.right)


def test_other_venues_cancel_parts_and_keep_equal_sizes():
    lines = [*BOOK, "C 1 B 100 4", "M 1 B 100 1", "T 90 A 100 1 0", "F 1 B 100 1 0", "C 1 B 100 1"]
    assert broken(checked(tape(*lines, publisher_id=2))) == {}
    # on GLBX.MDP3 a C takes all, and an equal size loses the place
    assert broken(checked(tape(*lines))) == {"cancel_terms": 1, "fill_front": 1}
    assert broken(checked(tape(*lines), equal_size="keeps")) == {"cancel_terms": 1}


@pytest.mark.parametrize("flag", [TOB, MBP])
def test_levels_that_are_no_orders_have_only_sums(flag):
    report = checked(tape(f"A 0 B 100 5 {flag | LAST}", f"A 0 B 100 6 {flag | LAST}", "A 1 A 101 5", "C 1 A 101 5"))
    assert broken(report) == {}
    assert report["new_orders"].checked == 1
    assert report["level_totals"].checked == 2  # order 1's, and that of the side that is left at the end


def test_snapshots_begin_anew():
    bare = [f"A 1 B 100 5 {SNAPSHOT}", f"A 2 B 100 3 {SNAPSHOT | LAST}"]
    report = checked(tape(*BOOK, *bare, "T 90 A 100 5 0", "F 1 B 100 5 0", "C 1 B 100 5"))
    assert (broken(report), report["new_orders"].held) == ({}, 8)


def test_unfinished_event_is_judged_at_the_end():
    """But for its match, which the missing rest may settle: a later F may name the order that was passed over."""
    report = checked(tape(*BOOK, f"{SELL} 4 0", "F 2 B 100 3 0", "C 77 B 100 1 0"))
    assert report.unfinished == 3
    assert broken(report) == {"known_orders": 1}
    assert report["fill_front"].checked == report["fill_settled"].checked == report["trade_size"].checked == 0
    assert report.fills.count == 0


def test_event_that_never_ends_is_judged_in_pieces(monkeypatch):
    monkeypatch.setattr(checker, "_HELD", 100)
    records = np.tile(tape("A 1 B 100 5 0", "C 1 B 100 5 0"), 150)
    report = checked(records, cuts=(60, 120, 180, 240))
    assert (broken(report), report["new_orders"].held, report.unfinished) == ({}, 150, 60)


# ---------------------------------------------------------------- the stream


@pytest.mark.parametrize("seed", range(8))
def test_cuts_and_other_books_change_nothing(seed):
    records = wild(seed, 4_000, books=3)
    whole = checked(records)
    assert adds_up(whole)
    assert broken(whole)  # it is nonsense
    random = np.random.default_rng(seed)
    cut = checked(records, cuts=sorted(random.choice(4_000, 9, replace=False).tolist()))
    # every level is walked at the end of a batch too, if there is enough to walk; the rest is the same
    assert tallies(cut) == tallies(whole)
    alone = [
        checked(records[(records["instrument_id"] == number) & (records["publisher_id"] == venue)])
        for number in (1, 2, 3)
        for venue in (1, 2)
    ]
    for k, rule in enumerate(RULES):
        assert sum(one.rules[k].unexplained for one in alone) == whole.rules[k].unexplained, rule.name
        assert sum(one.rules[k].checked for one in alone) == whole.rules[k].checked, rule.name


def test_findings_are_the_first_of_each_class():
    records = tape(*BOOK, *["C 77 B 100 5"] * 9, *["T 90 B 102 3"] * 9)
    report = checked(records)
    assert [one.index for one in report["known_orders"].findings] == [7, 8, 9, 10, 11]
    assert [one.index for one in report["trade_size"].findings] == [16, 17, 18, 19, 20]
    assert len(checked(records, keep=1).findings()) == 2
    assert report.findings("") == report["known_orders"].findings
    first = report["known_orders"].findings[0]
    assert (first.records.tobytes(), first.place) == (records[7:8].tobytes(), 0)
    assert (first.ts_event, first.order_id, first.symbol) == (1007, 77, "7")


def test_finding_has_its_event_and_of_a_long_one_what_is_around():
    event = [f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3"]
    (finding,) = checked(tape(*BOOK, *event)).findings()
    assert (finding.records.tobytes(), finding.place) == (tape(*BOOK, *event)[7:].tobytes(), 1)
    long = [f"A {k} B 90 1 0" for k in range(100, 500)]
    records = tape(*BOOK, *long, "C 77 B 90 1 0", *[line.replace("A", "C", 1) for line in long], "N")
    (finding,) = checked(records).findings()
    assert len(finding.records) == 256
    assert finding.records[finding.place]["order_id"] == 77


def test_numbers_are_those_of_the_lists():
    """The kernels and the lists name the same things in the same order."""
    assert [getattr(numbers, rule.name.upper()) for rule in RULES] == list(range(len(RULES)))
    whys = [*CLASSES, "unexplained", *WITNESSES]
    assert [getattr(numbers, why.upper()) for why in whys] == list(range(len(whys)))
    assert len(WRONG_RULES) == numbers.SHUFFLED + 1


# ---------------------------------------------------------------- an engine that is broken

SABOTAGE = """
import numpy as np
from mbo.book import _queue_kernels as queues
from mbo.verification import Checker, _event_kernels as events
from tests.book.tapes import tape
from tests.verification.streams import broken
from tests.verification.test_rules import BOOK

right = events.apply_one

def to_front(state, slot):
    level = state.orders[slot]["level"]
    head = state.levels[level]["head"]
    if head != slot:
        queues.unlink(state, slot, level)
        state.orders[slot]["prev"], state.orders[slot]["next"] = -1, head
        state.orders[head]["prev"], state.levels[level]["head"] = slot, slot

def sabotaged(state, book, record, index):
    status = right(state, book, record, index)
    position = queues.locate(state, record["order_id"], book)
    if position >= 0 and record["action"] == ord(ACTION):
        slot = state.table[position]["slot"]
        HARM
    return status

events.apply_one = sabotaged
checker = Checker()
checker.apply(tape(*BOOK, *LINES), 0)
checker.finish()
print(broken(checker.report("")))
"""


@pytest.mark.parametrize(
    ("action", "harm", "lines", "expected"),
    [
        ("M", "to_front(state, slot)", ["M 2 B 100 9"], {"queue_order": 2, "priority": 1}),
        ("M", "to_front(state, slot)", ["M 2 B 100 1"], {"queue_order": 2, "priority": 1}),
        ("A", "to_front(state, slot)", ["A 7 B 99 9"], {"queue_order": 6, "priority": 3}),
        ("M", "state.levels[state.orders[slot]['level']]['size'] += 1", ["M 2 B 100 1"], {"level_totals": 2}),
        ("M", "state.levels[state.orders[slot]['level']]['count'] += 1", ["M 2 B 100 1"], {"level_totals": 2}),
        (
            "M",
            "state.levels[state.orders[slot]['level']]['size'] -= 1; state.orders[slot]['size'] = 0",
            ["M 2 B 100 1"],
            {"level_totals": 2},
        ),
    ],
)
def test_broken_engine_is_found(action, harm, lines, expected):
    """Once when it happens, and once when all levels are walked at the end."""
    script = SABOTAGE.replace("ACTION", repr(action)).replace("HARM", harm).replace("LINES", repr(lines))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(expected), done.stderr


def test_deep_levels_are_walked_at_the_end():
    deep = [f"A {k} B 50 1" for k in range(100, 140)]
    report = checked(tape("R", *deep))
    assert report["level_totals"].checked == 32 + 1


def test_levels_are_walked_when_an_order_comes_changes_or_leaves():
    first = checked(tape(*BOOK))["level_totals"].checked
    assert first == 6 + 4
    for line, more in {"C 2 B 100 3": 1, "M 2 B 100 2": 1, "M 2 B 99 3": 2, "A 7 B 100 1": 1, "C 3 B 99 4": -1}.items():
        assert checked(tape(*BOOK, line))["level_totals"].checked == first + more, line


def test_all_levels_are_walked_again_and_again(monkeypatch):
    monkeypatch.setattr(checker, "_WALK_EVERY", 1)
    assert checked(tape(*BOOK), cuts=(3, 5))["level_totals"].checked == 6 + 4 + 1  # where enough records came for it
    assert checked(tape(*BOOK), cuts=(7,))["level_totals"].checked == 6 + 4 + 4


def test_record_of_no_event_type_is_harmless():
    report = checked(np.concatenate([tape(*BOOK), record("N", flags=LAST), record("R")]))
    assert (broken(report), report.events) == ({}, 9)
