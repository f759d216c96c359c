"""What a bench has found: every suite's rows, whether their aims are met, and how they stand beside an earlier report."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mbo.bench.machine import machine
from mbo.bench.others import left_out
from mbo.bench.row import Aim, Row
from mbo.errors import DataError, InternalError, MboError, RequestError
from mbo.progress import say

_NUMBERS: Final = ("min", "median", "max")
_PLACE: Final = ("processor", "system")  # what makes figures incomparable
_MEMORY: Final = "memory copied by one core"  # measured, so never quite the same


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier report has: the machine, and rows in plain values by (suite, name)."""

    path: Path
    machine: dict[str, str]
    rows: dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """A row beside the one of an earlier report: medians in their units, `ratio` now by before where units agree.

    `verdict` is "better" or "worse" where the two spreads part, "" where they do not, and else why that cannot be said.
    """

    suite: str
    name: str
    before: str
    now: str
    ratio: float | None
    verdict: str

    def cells(self) -> list[str]:
        """Give it as text for a table."""
        return [self.name, self.before, self.now, "" if self.ratio is None else f"{self.ratio:.2f}", self.verdict]


@dataclass(frozen=True, slots=True)
class Report:
    """The rows of each suite, the machine they were measured on, and why suites ended before their last row."""

    machine: dict[str, str]
    suites: Mapping[str, Sequence[Row]]
    failed: Mapping[str, str] = field(default_factory=dict)

    def document(self, earlier: Earlier | None = None) -> dict[str, Any]:
        """Give it in plain values, as `--json` prints and `--compare` reads them, with the changes since an earlier one."""
        suites = {name: [row.document() for row in rows] for name, rows in self.suites.items()}
        since = {} if earlier is None else {"compared": [asdict(change) for change in self.changes(earlier)]}
        found = {"machine": self.machine, "suites": suites, "failed": dict(self.failed)}
        return found | {"left out": left_out(self.suites), **since}

    def missed(self) -> list[tuple[str, Row, Aim]]:
        """Give the aims that are not reached, each with its suite and row."""
        return [(suite, row, aim) for suite, rows in self.suites.items() for row in rows for aim in row.missed()]

    def closing(self, earlier: Earlier | None = None) -> list[str]:
        """Say what was left out, how many aims are met, what the others are short of, and how rows have changed."""
        aims, missed = sum(len(row.aims) for rows in self.suites.values() for row in rows), self.missed()
        short = [f"missed: {suite}: {row.name}: {row.figure(aim.of):.3g}, aim {aim}" for suite, row, aim in missed]
        standing = [] if earlier is None else self.standing(earlier)
        failed = [f"failed: {suite}: {reason}" for suite, reason in self.failed.items()]
        return [*left_out(self.suites), *failed, f"{aims - len(missed)} of {aims} aims met", *short, *standing]

    def changes(self, earlier: Earlier) -> list[Change]:
        """Put rows beside those of an earlier report; rows of the same suites that are there alone come last."""
        here = {(suite, row.name): row for suite, rows in self.suites.items() for row in rows}
        gone = [key for key in earlier.rows if key[0] in self.suites and key not in here]
        alike = not self._unlike(earlier)
        return [_change(*key, row, earlier.rows.get(key), alike=alike) for key, row in here.items()] + [
            Change(*key, _quoted(earlier.rows[key]), "", None, "not measured now") for key in gone
        ]

    def _unlike(self, earlier: Earlier) -> list[str]:
        return [name for name in _PLACE if self.machine.get(name) != earlier.machine.get(name)]

    def compared(self, earlier: Earlier) -> list[list[str]]:
        """Give the changes as text for a table: what, before, now, their ratio, the verdict."""
        return [change.cells() for change in self.changes(earlier)]

    def standing(self, earlier: Earlier) -> list[str]:
        """Say how many rows have become better or worse, and what makes the comparison less than it seems."""
        counts = Counter(change.verdict for change in self.changes(earlier))
        better, worse, same = counts.pop("better", 0), counts.pop("worse", 0), counts.pop("", 0)
        others = "".join(f", {count} {verdict}" for verdict, count in sorted(counts.items()))
        lines = [f"outside each other's spread: {better} better, {worse} worse; {same} within it{others}"]
        if unlike := self._unlike(earlier):
            lines.append(f"{earlier.path} is of another {' and '.join(unlike)}: no row is called better or worse")
        if unlike := sorted({*self.machine, *earlier.machine} - {*_PLACE, _MEMORY}):
            other = [name for name in unlike if self.machine.get(name) != earlier.machine.get(name)]
            lines += [f"{earlier.path} was measured with another {', '.join(other)}"] * bool(other)
        if other := sorted({suite for suite, _ in earlier.rows} - self.suites.keys()):
            lines.append(f"{earlier.path} has also {', '.join(other)}, not run now")
        return lines


def report(names: Iterable[str]) -> Report:
    """Run suites of those names, one after the other; a line is said for every row that is measured.

    A suite that fails keeps its rows up to there, and the next ones are run: what took half an hour is not lost by the last of it.
    """
    begun, suites, failed = time.monotonic(), dict[str, list[Row]](), dict[str, str]()
    signal.signal(signal.SIGTERM, _leave)
    for name in names:
        suites[name] = []
        try:
            for row in getattr(import_module(f"mbo.bench.{name}"), name)():
                if any(row.name == other.name for other in suites[name]):
                    raise InternalError(f"the bench {name} has two rows of the name {row.name!r}")
                suites[name].append(row)
                say(f"{time.monotonic() - begun:5.0f} s  {name}: {row.name}: {row.median:.3g} {row.unit}")
        except (MboError, OSError, ImportError) as error:
            failed[name] = str(error) or type(error).__name__
            say(f"{time.monotonic() - begun:5.0f} s  {name}: failed: {failed[name]}")
    return Report(machine(), suites, failed)


def _leave(number: int, frame: object) -> None:
    """End in order, and once: a bench has gigabytes of files to remove, and processes to end."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def read_report(path: Path) -> Earlier:
    """Read what `--json` printed.

    Raises:
        RequestError: There is no such file.
        DataError: It is not such a report, or a row of it has no numbers.
    """
    try:
        document = json.loads(path.read_text())
        rows = {(suite, row["name"]): row for suite, found in document["suites"].items() for row in found}
        for (_, name), row in rows.items():
            numbers = [row[key] for key in _NUMBERS]
            if not all(map(math.isfinite, numbers)) or numbers != sorted(numbers):
                raise DataError(f"{path}: the row {name!r} has no median within a spread")
            if not isinstance(row["unit"], str):
                raise TypeError
        return Earlier(path, dict(document["machine"]), rows)
    except FileNotFoundError:
        raise RequestError(f"there is no {path} to compare with") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is no report of `mbo bench --json`") from None


def _change(suite: str, name: str, row: Row, old: dict[str, Any] | None, *, alike: bool) -> Change:
    now = f"{row.median:.3g} {row.unit}"
    if old is None:
        return Change(suite, name, "", now, None, "new")
    if old["unit"] != row.unit:
        return Change(suite, name, _quoted(old), now, None, "in another unit")
    ratio = row.median / old["median"] if old["median"] else None
    if not alike:
        return Change(suite, name, _quoted(old), now, ratio, "of another machine")
    least, most = min(row.values), max(row.values)
    if least == most or old["min"] == old["max"]:
        return Change(suite, name, _quoted(old), now, ratio, "of one run")
    more, less = least > old["max"], most < old["min"]
    better, worse = (more, less) if row.rises else (less, more)
    return Change(suite, name, _quoted(old), now, ratio, "better" if better else "worse" if worse else "")


def _quoted(row: dict[str, Any]) -> str:
    return f"{row['median']:.3g} {row['unit']}"
