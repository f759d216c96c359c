"""A file's way into a store, in steps that different processes may do: looked through, its blocks inserted, its entry written.

Any step may be done again, or at the same time by two: what is there is left alone, and only the last makes it count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbo import dbn
from mbo.errors import InternalError, RequestError
from mbo.store import ingest, ledger, replacing
from mbo.store.ingest import Share, Written
from mbo.store.ledger import Entry, Target
from mbo.store.report import Ingested
from mbo.store.survey import Survey, survey

if TYPE_CHECKING:
    from mbo.store.backend import Backend


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do about a file that was looked through."""

    found: Survey
    name: str
    there: Entry | None
    """Its entry, where some of it counts already."""
    targets: tuple[Target, ...]
    """The tables that are to have it."""
    attempt: int
    others: tuple[Entry, ...]
    """What is stored of the same instruments and time; not looked for where the file is stored itself."""

    @property
    def missing(self) -> tuple[Target, ...]:
        """The tables that do not have all of it."""
        return tuple(target for target in self.targets if self.there is None or target not in self.there.targets)

    @property
    def entry(self) -> Entry:
        """What the ledger is to say of it."""
        return ledger.attempted(Entry.of(self.found, self.name), self.attempt, self.there)

    def beside(self, other: str, hint: str) -> RequestError:
        """Say that it may not come in beside another file."""
        return RequestError(f"{self.name} has messages of the same instruments and time as {other}: {hint}")


def look(backend: Backend, file: dbn.DbnFile, targets: tuple[Target, ...]) -> Plan:
    """Look a file through, and say what there is to do."""
    return plan_of(backend, survey(file), file.path.name, targets)


def plan_of(backend: Backend, found: Survey, name: str, targets: tuple[Target, ...]) -> Plan:
    """Ask the ledger what it has of a file and of its time."""
    known = ledger.entries(backend, file_id=found.file_id)
    if known and known[0].sha256 != found.sha256:
        raise InternalError(f"{name} and {known[0].name} differ, but their ids are the same")
    there = known[0] if known and known[0].state in ledger.VISIBLE else None
    attempt = known[0].attempt + (there is None) if known else 0
    others = [] if there else replacing.overlapping(Entry.of(found, name), ledger.visible(backend))
    return Plan(found, name, there, targets, attempt, tuple(others))


def insert(backend: Backend, file: dbn.DbnFile, plan: Plan, share: Share) -> Written:
    """Insert a share of a file's blocks; its books, which are few, are all of the first."""
    targets = tuple(target for target in plan.missing if target != "book_snapshots" or share.number == 0)
    return ingest.write_share(backend, file, plan.found, targets, share, attempt=plan.attempt)


def finish(backend: Backend, file: dbn.DbnFile, plan: Plan, shares: Sequence[Written] = ()) -> Ingested:
    """Have a file count, once all of it is there. What its `shares` left out is inserted; all of it, where there are none."""
    done = Written({target: count for share in shares for target, count in share.rows.items()})
    done.inserted, done.found = sum(share.inserted for share in shares), sum(share.found for share in shares)
    if plan.missing:
        if not (done.rows.keys() >= set(plan.missing) and ingest.holds(backend, file, plan.found, done.rows)):
            inserted = done.inserted
            done = ingest.write(backend, file, plan.found, plan.missing, attempt=plan.attempt)
            done.inserted += inserted
        ledger.write(backend, plan.entry, done.rows)
    name = plan.name if plan.missing else plan.entry.name
    derived = plan.there.derived if plan.there else {}
    rows = {target: done.rows.get(target, derived.get(target, 0)) for target in plan.targets}
    return Ingested(name, plan.found.sha256.hex(), bool(done.inserted), rows, done.inserted, done.found, 0.0)
