"""How the tests run the check, and what they compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mbo.records import RecordArray
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
