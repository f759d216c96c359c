"""Files that hold the same messages: finding them, refusing them, and removing one that another took the place of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from mbo.errors import RequestError
from mbo.store import ledger
from mbo.store.ledger import TARGETS, Entry

if TYPE_CHECKING:
    from mbo.store.backend import Backend


def overlapping(entry: Entry, others: Iterable[Entry]) -> list[Entry]:
    """Find the other files of the data set with messages of the same instruments in the same stretch of time."""
    return [other for other in others if other.file_id != entry.file_id and _overlap(entry, other)]


def _overlap(one: Entry, other: Entry) -> bool:
    if one.dataset != other.dataset:
        return False
    common = one.books.keys() & other.books.keys()
    return any(
        one.books[key].time_min <= other.books[key].time_max and other.books[key].time_min <= one.books[key].time_max
        for key in common
    )


def refuse_overlaps(entries: Sequence[Entry]) -> None:
    """Raise `RequestError` where files cannot be read as one stream."""
    datasets = sorted({entry.dataset for entry in entries})
    if len(datasets) > 1:
        raise RequestError(f"the stored files are of different datasets ({', '.join(datasets)}): say which with file=")
    for one, other in combinations(entries, 2):
        if _overlap(one, other):
            raise RequestError(
                f"{one.name} and {other.name} have the same time of the same instruments: say which with file="
            )


def remove(backend: Backend, entry: Entry) -> None:
    """Take a file out: at once it cannot be asked for any more, then its rows are deleted.

    The engine remembers the tokens of deleted rows. The ledger's `attempt` sees to it that the file, ingested again, has others.
    """
    counts = {target: entry.derived[target] for target in TARGETS if target in entry.targets}
    ledger.write(backend, replace(entry, state="replaced"), counts)
    for target in TARGETS:
        name = backend.layout.local(target) + backend.layout.on_cluster
        backend.command(f"DELETE FROM {name} WHERE file_id = {{file_id:UInt64}}", file_id=entry.file_id)  # noqa: S608
    ledger.write(backend, replace(entry, state="removed", updated_at=entry.updated_at + 2), counts)
