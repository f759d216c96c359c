"""Flow: the order-flow imbalance of a book's best level, summed over all its events since some moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.analytics import order_flow_imbalance
from mbo.mbp import Mbp
from mbo.schemas import to_arrow

if TYPE_CHECKING:
    from mbo.book import Book
    from mbo.records import RecordArray

_COLUMNS: Final = (
    "publisher_id", "instrument_id", "ts_event", "ts_recv", "bid_px_00", "ask_px_00", "bid_sz_00", "ask_sz_00",
)  # fmt: skip


class Flow:
    """Sums, as `mbo.analytics.order_flow_imbalance` does, what the records of one book add; `total` is in contracts or shares."""

    def __init__(self, book: Book | None = None) -> None:
        self.total = 0
        self._last: npt.NDArray[Any] | None = None
        self.restart(book)

    def restart(self, book: Book | None) -> None:
        """Go on from a book as it stands: what led to it is not counted."""
        self._mbp = Mbp(1)
        self._last = None
        if book is not None and book.status.messages:
            self._rows(self._mbp.apply(book.snapshot()))

    def add(self, records: RecordArray) -> None:
        """Count what records add."""
        if not len(records):
            return
        rows = self._rows(self._mbp.apply(records))
        if rows is not None:
            self.total += sum(order_flow_imbalance(to_arrow(rows, _COLUMNS), "1m")["ofi_00"].to_pylist())

    def _rows(self, pieces: list[npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
        """Join pieces to the last row before them, which the first change is a change of."""
        if not pieces:
            return None
        before = [] if self._last is None else [self._last]
        rows = np.concatenate(before + pieces)
        self._last = rows[-1:]
        return rows
