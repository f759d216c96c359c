"""One line of a bench, and what it has to reach."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mbo.errors import InternalError


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on a row's median, or on the ratio or figure `of` it: at least `limit`, or with `most` at most so much."""

    limit: float
    of: str = ""
    most: bool = False

    def met(self, value: float) -> bool:
        """Say whether a value keeps the bound."""
        return value <= self.limit if self.most else value >= self.limit

    def __str__(self) -> str:
        return " ".join(filter(None, ("at most" if self.most else "", f"{self.limit:,.6g}", self.of)))


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `values` in `unit`, one a run; `ratios` against what ran beside it, other `figures` in that unit.

    Raises InternalError where a run gave no finite number.
    """

    name: str
    messages: int
    values: Sequence[float]
    unit: str
    aims: Sequence[Aim] = ()
    ratios: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    detail: str = ""

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise InternalError(f"the bench measured no number for {self.name!r}: {list(self.values)}")

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def rises(self) -> bool:
        """Whether more is better: it is of what happens in a second, and is not of times and sizes."""
        return self.unit.endswith(("/s", "fps"))

    @property
    def met(self) -> bool | None:
        """Whether all aims are reached; None where there is none."""
        return not self.missed() if self.aims else None

    def missed(self) -> list[Aim]:
        """Give the aims that are not reached."""
        return [aim for aim in self.aims if not aim.met(self.figure(aim.of))]

    def figure(self, name: str) -> float:
        """Give a ratio or figure by its name, the median for none."""
        return {**self.ratios, **self.figures, "": self.median}[name]

    def cells(self) -> list[str]:
        """Give the row as text for a table."""
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}" if len(self.values) > 1 else ""
        figures = [f"{name} {value:.3g}" for name, value in self.figures.items()]
        ratios = [f"{ratio:.3g} x {name}" for name, ratio in self.ratios.items()]
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return [
            self.name,
            f"{self.messages:,}" if self.messages else "",
            f"{self.median:.3g} {self.unit}",
            spread,
            ", ".join(figures + ratios + [self.detail] * bool(self.detail)),
            ", ".join(map(str, self.aims)),
            verdict,
        ]

    def document(self) -> dict[str, Any]:
        """Give the row in plain values."""
        return {
            "name": self.name, "messages": self.messages, "median": self.median, "min": min(self.values),
            "max": max(self.values), "unit": self.unit, "ratios": self.ratios, "figures": self.figures, "detail": self.detail,
            "aims": [{"limit": aim.limit, "of": aim.of, "most": aim.most} for aim in self.aims], "met": self.met,
        }  # fmt: skip
