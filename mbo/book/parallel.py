"""Books by instrument on several threads, for streams of hundreds of instruments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from mbo.ahead import side_by_side
from mbo.book import _parting_kernels as parting
from mbo.book.engine import Book, Books, BooksByKey, Key, OneThread, numbers_of
from mbo.book.interface import EqualSize
from mbo.errors import InternalError, RequestError
from mbo.records import MBO_DTYPE, RecordArray, as_records
from mbo.symbols import SymbolMap

_THREADS: Final = 64


class ParallelBooks(BooksByKey):
    """Books by (publisher_id, instrument_id) on several threads: what `Books` holds, sooner; also `day.books(threads=2)`.

    Each thread takes its instruments' records out of a batch, sorts them by instrument, and applies them to books of its own; no
    book is ever touched by two. It pays from some hundred instruments on, and with batches of 100,000 records and more. There is no
    strict mode: records of other instruments than the one that breaks a rule are applied out of turn. `equal_size`: see
    `mbo.book.interface`. The books come in the order of their keys, and are there to be read: only all of them take records.

    >>> from mbo.simulator import simulate
    >>> books = ParallelBooks(2)
    >>> books.apply(simulate(1000, seed=1, instruments=5, resting=20).records)
    >>> len(books), sum(book.status.messages for book in books.values())
    (5, 1000)
    """

    AT_ONCE: ClassVar[int] = 1 << 18
    """Records that are sorted at a time: 15 MB, and as much room for them in each thread.

    Of fewer, a book gets too few in a row for the cache to matter.
    """

    def __init__(self, threads: int = 2, *, equal_size: EqualSize = "venue", symbols: SymbolMap | None = None) -> None:
        if not 2 <= threads <= _THREADS:
            raise RequestError(f"{threads} threads: from 2 to {_THREADS} can share the books of a stream")
        self.symbols = symbols if symbols is not None else SymbolMap()
        self._parts = [Books(equal_size=equal_size, symbols=self.symbols) for _ in range(threads)]
        self._ends = np.zeros(parting.STRETCHES, np.int64)
        self._taken = [_room(0)] * threads
        self._limits = [parting.STRETCHES * part // threads for part in range(threads + 1)]
        self._position = 0
        self._applying = OneThread()

    def apply(self, records: RecordArray, *, rows: int | npt.NDArray[np.int64] | None = None) -> None:
        """Apply MBO records; those of one instrument in their order. Where it fails half way, some books are ahead of others.

        `rows` are the numbers they have in their stream, or the first one's, for the anomalies; else they are numbered on from 0.
        """
        records = as_records(records)
        first, numbers = numbers_of(records, rows)
        with self._applying:
            if first is not None:
                self._position = first
            for begin in range(0, len(records), self.AT_ONCE):
                end = begin + self.AT_ONCE
                self._apply(records[begin:end], numbers[begin:end])

    def _apply(self, records: RecordArray, numbers: npt.NDArray[np.int64]) -> None:
        """Have every thread take what is its own of some records."""

        def apply(part: int) -> int:
            if len(self._taken[part][0]) < len(records):  # kept: the system clears every page that it hands out
                self._taken[part] = _room(len(records))
            taken, own = self._taken[part]
            begin, end = self._limits[part], self._limits[part + 1]
            count = int(parting.take(records, numbers, self._position, begin, end, self._ends, taken, own))
            self._parts[part].apply(taken[:count], rows=own[:count])
            return count

        applied = sum(side_by_side(range(len(self._parts)), apply, len(self._parts)))
        if applied != len(records):
            raise InternalError(f"{applied:,} of {len(records):,} records were applied")
        self._position += len(records)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_taken": [_room(0)] * len(self._parts)}

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(key for part in self._parts for key in part))

    def __getitem__(self, key: Key) -> Book:
        for part in self._parts:
            with suppress(KeyError):
                return part[key]
        raise KeyError(key)

    def __repr__(self) -> str:
        return f"<ParallelBooks of {len(self)} instruments on {len(self._parts)} threads>"


def _room(records: int) -> tuple[RecordArray, npt.NDArray[np.int64]]:
    """Give a thread room for so many records and their numbers."""
    return np.empty(records, MBO_DTYPE), np.empty(records, np.int64)
