"""One line of a bench."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `values` in `unit`, one a run; `ratios` against what ran beside it."""

    name: str
    messages: int
    values: Sequence[float]
    unit: str
    target: str = ""
    ratios: dict[str, float] = field(default_factory=dict)
    detail: str = ""

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    def cells(self) -> list[str]:
        """Give the row as text for a table."""
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        ratios = [f"{ratio:.3g} x {name}" for name, ratio in self.ratios.items()] + [self.detail] * bool(self.detail)
        return [
            self.name,
            f"{self.messages:,}",
            f"{self.median:.3g} {self.unit}",
            spread,
            ", ".join(ratios),
            self.target,
        ]

    def document(self) -> dict[str, Any]:
        """Give the row in plain values."""
        return {
            "name": self.name, "messages": self.messages, "median": self.median, "min": min(self.values),
            "max": max(self.values), "unit": self.unit, "target": self.target, "ratios": self.ratios, "detail": self.detail,
        }  # fmt: skip
