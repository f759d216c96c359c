"""How the tests run the check, and what they compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mbo.book import ReferenceBook
from mbo.records import Action, RecordArray, Side
from mbo.verification import Checker, Report


def checked(records: RecordArray, *, cuts: Sequence[int] = (), **options: Any) -> Report:
    """Check records, handed over in the pieces that `cuts` make."""
    checker = Checker(**options)
    for start, stop in zip((0, *cuts), (*cuts, len(records)), strict=True):
        checker.apply(records[start:stop], start)
    checker.finish()
    return checker.report("test")


def broken(report: Report) -> dict[str, int]:
    """Name the rules that are broken without explanation, and how often."""
    return {one.rule.name: one.unexplained for one in report.rules if one.unexplained}


def explained(report: Report) -> dict[str, dict[str, int]]:
    """Name the rules with explained exceptions, and how many of which class."""
    return {one.rule.name: dict(one.explained) for one in report.rules if one.explained}


def tallies(report: Report) -> Any:
    """Give all that is counted."""
    rules = [(one.rule.name, one.checked, one.held, dict(one.explained), one.unexplained) for one in report.rules]
    return rules, report.fills.document(), [one.document() for one in report.power], report.records, report.events


def adds_up(report: Report) -> bool:
    """Say whether every check is counted once."""
    sums = [one.checked == one.held + sum(one.explained.values()) + one.unexplained for one in report.rules]
    return all(sums) and report["fill_front"].checked == report["fill_best"].checked == report.fills.count


def events_of(records: RecordArray) -> list[RecordArray]:
    """Cut a stream whose events do not interleave."""
    return np.split(records, np.flatnonzero(records["flags"] & 128 != 0) + 1)[:-1]


def lone_trades(records: RecordArray) -> Iterator[tuple[int, bool]]:
    """Find the only T of its event that has a side, and say whether the event leaves no order that it could have met.

    The book is the readable one; a T without an F in an event of its own is left out.
    """
    book = ReferenceBook()
    begin = 0
    for event in events_of(records):
        book.apply(event)
        trades = np.flatnonzero(event["action"] == Action.TRADE)
        if len(trades) == 1 and len(event) > 1 and event["side"][trades[0]] != Side.NONE:
            price, buys = event["price"][trades[0]], event["side"][trades[0]] == Side.BID
            best = book.bbo.ask if buys else book.bbo.bid
            left = best is not None and (best.price <= price if buys else best.price >= price)
            yield begin + int(trades[0]), not left
        begin += len(event)
