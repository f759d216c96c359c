"""What was checked and found, as values, JSON, a table for the terminal and one for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mbo.records import RecordArray, letter
from mbo.units import UNDEF_PRICE, format_price, format_time
from mbo.verification.rules import CLASSES, WRONG_RULES, Rule

if TYPE_CHECKING:
    from mbo.book.interface import EqualSize
    from mbo.comparison import Comparison


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One exception to a rule, with the records of its event (`mbo.MBO_DTYPE`; of a long event those around it).

    `why` is a key of `CLASSES`, or "" where nothing explains it. `index` numbers the record among the stream's MBO records; it is
    `records[place]`, or none where the finding is of a whole book. Of a crossed book, `index` is where the crossing began, and
    the records are those of the event that decided.
    """

    rule: str
    why: str
    index: int
    ts_event: int
    order_id: int
    symbol: str
    place: int | None
    records: RecordArray

    def document(self) -> dict[str, Any]:
        """Describe it in plain values."""
        names = ("action", "side", "order_id", "price", "size", "flags", "ts_recv", "sequence")
        records = [
            {name: letter(int(one[name])) if name in ("action", "side") else int(one[name]) for name in names}
            for one in self.records
        ]
        return {
            "class": self.why or None, "index": self.index, "ts_event": self.ts_event, "order_id": self.order_id,
            "symbol": self.symbol, "place": self.place, "records": records,
        }  # fmt: skip

    def __str__(self) -> str:
        """Write the event a record a line, the record itself marked."""
        head = f"{self.rule}: {self.why or 'unexplained'}, record {self.index:,} of {self.symbol}, {format_time(self.ts_event)}"
        lines = [head]
        for number, one in enumerate(self.records):
            price = "none" if one["price"] == UNDEF_PRICE else format_price(int(one["price"]), 2)
            action, side = letter(int(one["action"])), letter(int(one["side"]))
            mark = ">" if number == self.place else " "
            lines.append(
                f"  {mark} {action} {side} order {one['order_id']} {price} x {one['size']}, flags {one['flags']}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Finding {self.rule}: {self.why or 'unexplained'}, record {self.index:,}>"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule: `checked` is `held` + what is `explained`, by class, + what is `unexplained`.

    `findings` are the first exceptions of each class, with their records.
    """

    rule: Rule
    checked: int
    held: int
    explained: Mapping[str, int]
    unexplained: int
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no more is unexplained than the rule's tolerance allows."""
        return self.unexplained <= self.rule.tolerance * self.checked

    def document(self) -> dict[str, Any]:
        """Describe it in plain values."""
        return {
            "name": self.rule.name, "rule": self.rule.sentence, "tolerance": self.rule.tolerance, "checked": self.checked,
            "held": self.held, "explained": dict(self.explained), "unexplained": self.unexplained, "ok": self.ok,
            "exceptions": [finding.document() for finding in self.findings],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fills:
    """Whom the F named: the front of its queue, the next in turn within its event, or neither, by class."""

    front: int
    in_turn: int
    explained: Mapping[str, int]
    unexplained: int

    @property
    def count(self) -> int:
        """All F."""
        return self.front + self.in_turn + sum(self.explained.values()) + self.unexplained

    @property
    def share(self) -> float:
        """How many of them price-time priority or a class accounts for, 0 to 1; 1 where there are none."""
        return 1 - self.unexplained / self.count if self.count else 1.0

    def document(self) -> dict[str, Any]:
        """Describe it in plain values."""
        return {
            "count": self.count, "front": self.front, "in_turn": self.in_turn, "explained": dict(self.explained),
            "unexplained": self.unexplained, "share": self.share,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Power:
    """One rule of priority before the fills that can tell: those of a level where another order was left to be filled.

    `right`: it named the order that was filled. `explained`: it did not, and a class says why. `alone`: it was right and price-time
    priority was not; `refuted`: the other way round.
    """

    name: str
    checked: int
    right: int
    explained: int
    alone: int
    refuted: int

    @property
    def unexplained(self) -> int:
        """How often it named another order, and no class says why."""
        return self.checked - self.right - self.explained

    @property
    def right_share(self) -> float:
        """Right ones, 0 to 1."""
        return self.right / self.checked if self.checked else 1.0

    @property
    def explained_share(self) -> float:
        """Right or explained ones, 0 to 1."""
        return (self.right + self.explained) / self.checked if self.checked else 1.0

    def document(self) -> dict[str, Any]:
        """Describe it in plain values."""
        return {
            "name": self.name, "meaning": WRONG_RULES[self.name], "checked": self.checked, "right": self.right,
            "explained": self.explained, "unexplained": self.unexplained, "alone": self.alone, "refuted": self.refuted,
            "right_share": self.right_share, "explained_share": self.explained_share,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What `mbo.verify` found; true where nothing is left unexplained beyond the rules' tolerances and the reference is equal."""

    name: str
    records: int
    events: int
    books: int
    rules: tuple[Outcome, ...]
    fills: Fills
    power: tuple[Power, ...]
    equal_size: EqualSize = "venue"
    """What an M of equal size at the same price was taken to do to the order's place."""
    unfinished: int = 0
    """Records after the last F_LAST of their book: an event that the data cuts."""
    reference: Comparison | None = None

    @property
    def ok(self) -> bool:
        """Whether every rule holds within its tolerance, and the reference is equal if there is one."""
        return not self.broken and (self.reference is None or self.reference.equal)

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, name: str) -> Outcome:
        """Find a rule by its name; `KeyError` where there is none."""
        try:
            return next(outcome for outcome in self.rules if outcome.rule.name == name)
        except StopIteration:
            raise KeyError(name) from None

    @property
    def broken(self) -> tuple[str, ...]:
        """Name the rules of which more is unexplained than their tolerance allows."""
        return tuple(outcome.rule.name for outcome in self.rules if not outcome.ok)

    @property
    def checked(self) -> int:
        """Count the checks of all rules."""
        return sum(outcome.checked for outcome in self.rules)

    @property
    def explained(self) -> int:
        """Count the exceptions that a class explains, of all rules."""
        return sum(sum(outcome.explained.values()) for outcome in self.rules)

    @property
    def unexplained(self) -> int:
        """Count the exceptions that nothing explains, of all rules, those within tolerance too."""
        return sum(outcome.unexplained for outcome in self.rules)

    def findings(self, why: str | None = None) -> tuple[Finding, ...]:
        """Give the exceptions that were kept: those of a class, "" for the unexplained, or all."""
        return tuple(one for outcome in self.rules for one in outcome.findings if why is None or one.why == why)

    def document(self) -> dict[str, Any]:
        """Describe it in plain values, ready for JSON."""
        return {
            "name": self.name, "ok": self.ok, "records": self.records, "events": self.events, "books": self.books,
            "equal_size": self.equal_size, "unfinished": self.unfinished, "rules": [outcome.document() for outcome in self.rules],
            "fills": self.fills.document(), "power": [one.document() for one in self.power], "classes": dict(CLASSES),
            "reference": None if self.reference is None else self.reference.document(),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Report of {self.name}: {self.verdict}>"

    def __str__(self) -> str:
        from mbo.verification.render import text

        return text(self)

    def _repr_html_(self) -> str:
        from mbo.verification.render import html

        return html(self)

    @property
    def verdict(self) -> str:
        """Say in a few words what was found."""
        found = "every rule holds or is explained"
        if self.broken:
            found = f"broken without explanation: {', '.join(self.broken)}"
        elif self.unexplained:
            found += f" but for {self.unexplained:,} within tolerance"
        unequal = self.reference is not None and not self.reference.equal
        return found + ("; differs from the reference" if unequal else "")
