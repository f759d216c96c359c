"""What a bench has found: every suite's rows, whether their aims are met, and how they stand beside an earlier report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mbo.bench.machine import machine
from mbo.bench.row import Row
from mbo.errors import DataError, RequestError
from mbo.progress import say


@dataclass(frozen=True, slots=True)
class Report:
    """The rows of each suite, and the machine they were measured on."""

    machine: dict[str, str]
    suites: Mapping[str, Sequence[Row]]

    def document(self) -> dict[str, Any]:
        """Give it in plain values, as `--json` prints and `--compare` reads them."""
        suites = {name: [row.document() for row in rows] for name, rows in self.suites.items()}
        return {"machine": self.machine, "suites": suites}

    def missed(self) -> list[Row]:
        """Give the rows with an aim that is not reached."""
        return [row for rows in self.suites.values() for row in rows if row.met is False]

    def compared(self, earlier: dict[tuple[str, str], dict[str, Any]]) -> Iterator[list[str]]:
        """Put rows beside those of an earlier report: what, before, now, their ratio, and whether the two spreads part."""
        for suite, rows in self.suites.items():
            for row in rows:
                if (old := earlier.get((suite, row.name))) is None:
                    yield [row.name, "", f"{row.median:.3g} {row.unit}", "", "new"]
                    continue
                apart = max(row.values) < old["min"] or min(row.values) > old["max"]
                ratio = f"{row.median / old['median']:.2f}" if old["median"] else ""
                before, now = f"{old['median']:.3g} {old['unit']}", f"{row.median:.3g} {row.unit}"
                yield [row.name, before, now, ratio, "outside each other's spread" if apart else ""]


def report(names: Iterable[str]) -> Report:
    """Run suites of those names, one after the other; a line is said for every row that is measured."""
    begun, suites = time.monotonic(), dict[str, list[Row]]()
    for name in names:
        suites[name] = []
        for row in getattr(import_module(f"mbo.bench.{name}"), name)():
            suites[name].append(row)
            say(f"{time.monotonic() - begun:5.0f} s  {name}: {row.name}: {row.median:.3g} {row.unit}")
    return Report(machine(), suites)


def read_report(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Read what `--json` printed: rows by (suite, name).

    Raises:
        RequestError: There is no such file.
        DataError: It is not such a report.
    """
    try:
        suites = json.loads(path.read_text())["suites"]
        rows = {(suite, row["name"]): row for suite, found in suites.items() for row in found}
        if not all({"median", "min", "max", "unit"} <= row.keys() for row in rows.values()):
            raise KeyError
    except FileNotFoundError:
        raise RequestError(f"there is no {path} to compare with") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is no report of `mbo bench --json`") from None
    return rows
