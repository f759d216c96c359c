"""Is what is stored the file? Every byte of every message, and every MBP-10 record made anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mbo import dbn
from mbo.errors import RequestError
from mbo.mbp import Mbp
from mbo.selection import Selection
from mbo.store import ledger
from mbo.store.columns import Array
from mbo.store.report import Verified
from mbo.store.stored import StoredFile, StoredRecords, mbp10_arrays
from mbo.store.survey import survey

if TYPE_CHECKING:
    from mbo.store.backend import Backend


def verify(backend: Backend, file: dbn.DbnFile) -> Verified:
    """Compare a file with what is stored of it."""
    found = survey(file)
    entry = next((one for one in ledger.entries(backend, file_id=found.file_id) if one.state in ledger.VISIBLE), None)
    if entry is None or entry.sha256 != found.sha256:
        raise RequestError(f"{file.path.name} is not stored, or was another when it was")
    stored = StoredFile.of(backend, entry)
    checked: dict[str, int] = {}
    differences: dict[str, Any] = {}
    pairs: list[tuple[str, Iterable[Array], Iterable[Array]]] = [
        ("messages", (batch.records for batch in file.batches()), StoredRecords((stored,), Selection()).batches())
    ]
    if "mbp10" in entry.targets:
        mbp = Mbp(10)
        made = (piece for batch in file.batches() for piece in mbp.apply(batch.records, rows=batch.first))
        pairs.append(("mbp10", made, mbp10_arrays(stored, Selection())))
    for name, expected, there in pairs:
        checked[name], wrong = _compare(expected, there)
        if wrong is not None:
            differences[name] = wrong
    if "mbp10" in checked and checked["mbp10"] != entry.derived["mbp10"]:
        differences.setdefault("mbp10", min(checked["mbp10"], entry.derived["mbp10"]))
    return Verified(entry.name, checked, differences)


def _compare(expected: Iterable[Array], there: Iterable[Array]) -> tuple[int, int | None]:
    """Compare two streams of records; give (how many are equal, the number of the first that is not)."""
    left, right = _Bytes(expected), _Bytes(there)
    rows = 0
    while True:
        count = min(left.fill(), right.fill())
        if not count:
            return rows, rows if left.rest() or right.rest() else None
        one, other = left.take(count), right.take(count)
        same = (one == other).all(axis=1)
        if not same.all():
            place = rows + int(same.argmin())
            return place, place
        rows += count


class _Bytes:
    """Records as rows of bytes, taken in pieces of any length."""

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._arrays: Iterator[Array] = iter(arrays)
        self._left: Array = np.empty((0, 1), np.uint8)

    def fill(self) -> int:
        while not len(self._left):
            array = next(self._arrays, None)
            if array is None:
                return 0
            self._left = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)
        return len(self._left)

    def take(self, count: int) -> Array:
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def rest(self) -> bool:
        return self.fill() > 0
