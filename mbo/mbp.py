"""Market by price: MBP-10, MBP-1 and TBBO records from market-by-order records, by Databento's own emission rules.

The rules stand in `mbo.book._mbp_kernels`. They were read off Databento's documents of the schema
(https://databento.com/docs/schemas-and-data-formats/mbp-10) and off official files. One choice is open: a record for every event
that touched a visible level ("touch", as official files have it), or only where the levels differ from those last shown ("change").
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mbo.book import Books
from mbo.book import _mbp_kernels as kernels
from mbo.errors import RequestError
from mbo.records import RecordArray, as_records
from mbo.schemas import LEVEL_PAIR_DTYPE, TRADES_DTYPE, mbp_dtype
from mbo.units import UNDEF_PRICE

Emit = Literal["touch", "change"]
LEVELS: Final = (1, 10)
BATCH: Final = 1 << 14  # records that come out at a time: 6 MB of MBP-10


class Mbp:
    """Turns MBO records into MBP records of `levels` levels (10 or 1), of all instruments in one order.

    `books` are the books behind it, and decide on `strict` and `equal_size`. State carries over from call to call, so a stream may
    be cut anywhere.
    """

    def __init__(self, levels: int = 10, *, emit: Emit = "touch", books: Books | None = None) -> None:
        if levels not in LEVELS:
            raise RequestError(f"mbp({levels}): Databento's schemas have 1 or 10 levels")
        if emit not in ("touch", "change"):
            raise RequestError(f"emit={emit!r}: it is 'touch' or 'change'")
        self.books = books if books is not None else Books()
        self.dtype = mbp_dtype(levels)
        self._levels = levels
        self._only_changes = emit == "change"
        self._candidates = np.zeros(0, kernels.CANDIDATE)
        self._shown = np.zeros((0, levels), LEVEL_PAIR_DTYPE)

    def apply(self, records: RecordArray, *, rows: int | npt.NDArray[np.int64] | None = None) -> list[npt.NDArray[Any]]:
        """Apply MBO records and give what comes out (`dtype`), in pieces of at most 16,384 records.

        `rows` numbers the records as in `Books.apply`; so do the errors.
        """
        pieces: list[npt.NDArray[Any]] = []

        def emit(state: Any, batch: Any, numbers: Any, start: int) -> tuple[int, int]:
            self._make_room(len(state.books))
            words = np.empty((min(BATCH, 2 * (len(batch) - start) + 2), self.dtype.itemsize // 8), np.int64)
            heads = words[:, : kernels.HEAD].view(TRADES_DTYPE)[:, 0]
            shown = self._shown.view(np.int64)
            emission = kernels.Emission(
                self._candidates, heads, words, words.view(np.uint32), shown, shown.view(np.uint32), self._only_changes
            )
            status, done, count = kernels.emit(state, emission, batch, numbers, start)
            if count:
                pieces.append(words[:count].view(self.dtype)[:, 0])
            return status, done

        self.books._drive(emit, as_records(records), rows)
        return pieces

    def _make_room(self, books: int) -> None:
        """Have a candidate, and what was shown, for every book that the engine has room for."""
        there = len(self._candidates)
        if there < books:
            candidates = np.zeros(books, kernels.CANDIDATE)
            shown = np.zeros((books, self._levels), LEVEL_PAIR_DTYPE)
            shown["bid_px"] = shown["ask_px"] = UNDEF_PRICE
            candidates["first"], candidates["first_side"] = self._levels, 2  # nothing is stale
            candidates[:there], shown[:there] = self._candidates, self._shown
            self._candidates, self._shown = candidates, shown
