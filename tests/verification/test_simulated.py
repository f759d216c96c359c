"""Simulated sessions: nothing unexplained with every feature on; one record made wrong is found; wrong rules fall behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mbo.book import Book
from mbo.records import RecordArray
from mbo.simulator import Feature, simulate
from tests.verification.streams import adds_up, broken, checked, explained, lone_trades, tallies

FEATURES = [feature for feature in Feature if feature.bit_count() == 1]
A, C, M, T, F = map(ord, "ACMTF")
LAST = 128


def session(seed: int, messages: int = 20_000, features: Feature = Feature.ALL) -> RecordArray:
    """A session; the seed also says how many books there are, and how full."""
    shape = {"instruments": 1 + seed % 5, "resting": (12, 40, 100, 300)[seed % 4]}
    return simulate(messages, seed=seed, features=features, **shape).records


@pytest.mark.parametrize("seed", range(1, 25))
def test_every_feature_is_explained(seed):
    records = session(seed)
    report = checked(records, cuts=(1 + seed, 7_000, 15_000))
    assert broken(report) == {}
    assert report.fills.share == 1
    assert report
    assert adds_up(report)
    assert report.fills.count == np.count_nonzero(records["action"] == F)
    assert report["trade_size"].checked >= np.count_nonzero(records["action"] == T)


def test_a_file_that_breaks_off_anywhere_breaks_no_rule():
    records = session(3, 6_000)
    ends = [at for at in range(4_000, 4_400) if records["flags"][at - 1] & LAST == 0]
    matches = [at for at in ends if set(records["action"][at - 2 : at].tolist()) & {T, F}]
    assert len(matches) > 10
    for at in matches:
        report = checked(records[:at])
        assert (broken(report), report.records) == ({}, at)
        assert report.unfinished > 0


def test_every_class_that_a_simulator_can_show_is_met():
    met: dict[str, set[str]] = {}
    for seed in range(1, 9):
        for rule, whys in explained(checked(session(seed))).items():
            met.setdefault(rule, set()).update(whys)
    assert met == {
        "fill_front": {"iceberg", "self_match", "aggressor"},
        "fill_best": {"self_match", "aggressor"},
        "fill_price": {"auction"},
        "trade_size": {"auction", "off_book"},
        "fill_settled": {"iceberg"},
        "uncrossed": {"auction"},
    }


@pytest.mark.parametrize("feature", [Feature.NONE, *FEATURES])
def test_a_feature_brings_its_classes_and_no_other(feature):
    brings = {
        Feature.ICEBERGS: {"iceberg"}, Feature.SELF_MATCH: {"self_match"}, Feature.LONE_TRADES: {"off_book"},
        Feature.CROSSING: {"aggressor"}, Feature.AUCTIONS: {"auction"},
    }  # fmt: skip
    report = checked(session(4, 30_000, feature))
    assert broken(report) == {}
    assert {why for whys in explained(report).values() for why in whys} == brings.get(feature, set())


def test_other_books_between_the_records_of_an_event():
    records = session(4)
    keys = records["instrument_id"]
    random = np.random.default_rng(4)
    turns = keys.copy()
    for start in range(0, len(turns), 64):
        random.shuffle(turns[start : start + 64])
    mixed = np.empty_like(records)
    for key in set(keys.tolist()):
        mixed[turns == key] = records[keys == key]
    (rules, *rest), (mixed_rules, *mixed_rest) = tallies(checked(records)), tallies(checked(mixed, cuts=(3_000, 9_999)))
    assert (mixed_rules, mixed_rest) == (rules, rest)


@pytest.mark.parametrize("seed", range(1, 4))
def test_trade_that_is_too_large_is_explained_only_where_its_price_is_used_up(seed):
    records = simulate(8_000, seed=seed, resting=60, features=Feature.ICEBERGS).records.copy()
    expected = {"beyond": 0, "": 0}
    for index, used_up in lone_trades(records):
        records["size"][index] += 1
        expected["beyond" if used_up else ""] += 1
    found = checked(records)["trade_size"]
    assert {"beyond": found.explained["beyond"], "": found.unexplained} == expected
    assert min(expected.values()) > 20


@pytest.mark.parametrize("seed", range(1, 9))
def test_order_in_which_a_trade_lists_its_fills_proves_nothing(seed):
    records = session(seed).copy()
    random = np.random.default_rng(seed)
    moved = 0
    for at in np.flatnonzero((records["action"] == T) & (records["side"] != ord("N"))).tolist():
        end = at + 1
        while records["action"][end] == F:
            end += 1
        listed = random.permutation(np.arange(at + 1, end))
        moved += int((np.diff(listed) < 0).any())
        records[at + 1 : end] = records[listed]
    assert moved > 20
    report = checked(records)
    assert broken(report) == {}
    assert report["fill_front"].explained["listed_later"] > 20


# ---------------------------------------------------------------- one record made wrong

TICK = 10_000_000


def trades(records: RecordArray, shape: str) -> list[int]:
    """Find the events of these actions in a row, by their first record."""
    actions = records["action"].tobytes().decode()
    ends = np.concatenate([[-1], np.flatnonzero(records["flags"] & LAST != 0)])
    return [int(a) + 1 for a, b in pairwise(ends) if actions[a + 1 : b + 1] == shape]


def last_of(records: RecordArray, action: int) -> int:
    return int(np.flatnonzero(records["action"] == action)[-1])


def no_side(records: RecordArray) -> int:
    at = last_of(records, A)
    records["side"][at] = ord("N")
    return at


def unknown_cancel(records: RecordArray) -> int:
    at = last_of(records, C)
    records["order_id"][at] = 1
    return at


def known_add(records: RecordArray) -> int:
    """Give the last A the id of the A before, of an order that is still there."""
    at = last_of(records, A)
    gone = set(records["order_id"][records["action"] == C].tolist())
    resting = [k for k in np.flatnonzero(records["action"] == A).tolist() if int(records["order_id"][k]) not in gone]
    at, before = resting[-1], resting[-2]
    records["order_id"][at] = records["order_id"][before]
    return at


def larger_cancel(records: RecordArray) -> int:
    at = last_of(records, C)
    records["size"][at] += 1
    return at


def cancel_elsewhere(records: RecordArray) -> int:
    at = last_of(records, C)
    records["price"][at] += TICK
    return at


def modify_across(records: RecordArray) -> int:
    at = last_of(records, M)
    records["side"][at] = ord("A") + ord("B") - records["side"][at]
    records["price"][at] += (1 if records["side"][at] == ord("A") else -1) * 1_000_000 * TICK
    return at


def unknown_fill(records: RecordArray) -> int:
    at = trades(records, "TFC")[3] + 1
    records["order_id"][at] = 1
    return at


def second_filled(records: RecordArray) -> int:
    """Fill the second of two orders of one size instead of the first, and have them change places from then on."""
    for start in trades(records, "TFC"):
        book = Book()
        book.apply(records[:start])
        first = book.order(int(records["order_id"][start + 1]))
        queue = [order for order in book.orders(first.side) if order.price == first.price]
        if len(queue) > 1 and queue[0] == first and queue[1].size == first.size:
            names = records["order_id"][start:]
            here, there = names == first.order_id, names == queue[1].order_id
            names[here], names[there] = queue[1].order_id, first.order_id
            return start + 1
    raise AssertionError


def worse_first(records: RecordArray) -> int:
    """Swap the trades of an event that takes one order of each of two prices."""
    start = (trades(records, "TFTFCC") + trades(records, "TFTFCM"))[0]
    records[start : start + 4] = records[[start + 2, start + 3, start, start + 1]]
    return start + 1


def other_price(records: RecordArray) -> int:
    at = trades(records, "TFC")[3] + 1
    records["price"][at] += TICK
    return at


def other_side(records: RecordArray) -> int:
    at = trades(records, "TFC")[3] + 1
    records["side"][at] = ord("A") + ord("B") - records["side"][at]
    return at


def larger_trade(records: RecordArray) -> int:
    """Trade more than was filled, though the order filled has a rest to be met."""
    at = trades(records, "TFM")[3]
    records["size"][at] += 1
    return at


def smaller_rest(records: RecordArray) -> int:
    """Trade and fill one more than the M takes off."""
    start = next(k for k in trades(records, "TFM") if records["size"][k + 2] > 2)
    records["size"][start : start + 2] += 1
    return start + 2


BREACHES: list[tuple[str, Callable[[Any], int], dict[str, int]]] = [
    ("valid_fields", no_side, {"valid_fields": 1}),
    ("known_orders", unknown_cancel, {"known_orders": 1}),
    ("new_orders", known_add, {"new_orders": 1}),
    ("cancel_terms", larger_cancel, {"cancel_terms": 1}),
    ("cancel_terms", cancel_elsewhere, {"cancel_terms": 1}),
    ("modify_side", modify_across, {"modify_side": 1}),
    ("fill_known", unknown_fill, {"fill_known": 1, "fill_front": 1, "fill_best": 1}),
    ("fill_front", second_filled, {"fill_front": 1}),
    ("fill_best", worse_first, {"fill_best": 1}),
    ("fill_price", other_price, {"fill_price": 1}),
    ("fill_sides", other_side, {"fill_sides": 1}),
    ("trade_size", larger_trade, {"trade_size": 1}),
    ("fill_settled", smaller_rest, {"fill_settled": 1}),
]


@pytest.mark.parametrize("seed", [1, 2, 4])
@pytest.mark.parametrize(("rule", "breach", "expected"), BREACHES, ids=[breach.__name__ for _, breach, _ in BREACHES])
def test_breach_is_found(seed, rule, breach, expected):
    records = simulate(20_000, seed=seed, resting=(40, 100, 300)[seed % 3]).records.copy()
    assert broken(checked(records)) == {}
    at = breach(records)
    report = checked(records)
    assert broken(report) == expected
    (finding,) = report[rule].findings
    assert (finding.index, finding.why) == (at, "")
    assert finding.records[finding.place].tobytes() == records[at].tobytes()


def test_book_that_crosses_while_it_trades_is_found():
    records = simulate(20_000, seed=1, resting=40).records.copy()
    trade = trades(records, "TFC")[50]
    at = int(np.flatnonzero((records["action"] == A) & (np.arange(len(records)) < trade - 5))[-1])
    better = 30 if records["side"][at] == ord("B") else -30
    records["price"][at] += better * TICK
    report = checked(records)
    assert report["uncrossed"].unexplained > 0
    assert [one.index for one in report["uncrossed"].findings] == [at]


# ---------------------------------------------------------------- what the check is worth


def test_wrong_rules_fall_behind():
    counts: dict[str, np.ndarray] = {}
    for seed in range(1, 13):
        for one in checked(session(seed, 30_000)).power:
            row = np.array([one.checked, one.right, one.right + one.explained, one.alone, one.refuted])
            counts[one.name] = counts.get(one.name, 0) + row
    true, *wrong = counts.values()
    assert true[2] == true[0] > 10_000
    assert (true[3], true[4]) == (0, 0)
    for fills, right, accounted, alone, refuted in wrong:
        assert fills == true[0]
        assert right < true[1]
        assert accounted < 0.99 * fills  # the mildest of them: twice the tolerance
        assert refuted > 5 * alone
    assert counts["queue shuffled"][2] < 0.7 * true[0]
