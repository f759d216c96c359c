"""History: what a heatmap draws of the past, in memory that does not grow with time.

Columns of equal duration, each with the resting sizes of 256 prices around the middle at its end. There is place for a fixed
number of them. When a stream goes on beyond the last, every two become one and columns are twice as long from then on: the past is
never cut off, it gets coarser. Trades are kept one by one: of a stream without an end the latest quarter of a million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.records import Action, RecordArray, Side, times_of
from mbo.view.ticks import NONE, Ticks

if TYPE_CHECKING:
    from mbo.book import Book

CELLS: Final = 256
CAPACITY: Final = 1 << 14
TRADES: Final = 1 << 18
COLUMN_DTYPE: Final = np.dtype(
    [
        ("number", "<i4"),
        ("base", "<i4"),  # the tick of cell 0
        ("bid", "<i4"),  # best ticks at its end, or NONE
        ("ask", "<i4"),
        ("sold", "<i4"),  # traded in it, by aggressor
        ("bought", "<i4"),
        ("", "V8"),
    ]
)
TRADE_DTYPE: Final = np.dtype([("time", "<f8"), ("tick", "<i4"), ("size", "<u4"), ("side", "<i4"), ("record", "<u4")])
"""A trade: ns since the history's beginning, the aggressor's side 1 (bought), -1 (sold) or 0 (unknown), and the number of its
record among the book's."""

_EDGE: Final = CELLS // 4  # of the middle, before the cells are laid around it anew
_LARGEST: Final = 2**31 - 1
_DEEP: Final = CELLS  # levels a side that can fall into the cells
_SIGNS: Final = np.zeros(256, np.int32)
_SIGNS[Side.BID], _SIGNS[Side.ASK] = 1, -1


class History:
    """Columns and trades of one book from `begin_ns` on; column n ends at `begin_ns` + (n + 1) x `column_ns`.

    >>> from mbo.simulator import simulate
    >>> from mbo.book import Book
    >>> records = simulate(1_000, seed=1).records
    >>> book = Book()
    >>> book.apply(records)
    >>> history = History(Ticks(10_000_000), int(records["ts_recv"][0]), 250_000_000)
    >>> history.capture(0, book)
    >>> history.count, int(history.columns["bid"][0])
    (1, 6482)
    """

    def __init__(
        self, ticks: Ticks, begin_ns: int, column_ns: int, *, capacity: int = CAPACITY, trades: int = TRADES
    ) -> None:
        self.ticks = ticks
        self.begin_ns = begin_ns
        self.column_ns = column_ns
        self.capacity = capacity
        self.count = 0
        """How many columns there are: those of numbers below it."""
        self.epoch = 0
        """How often columns were merged: what was drawn of another epoch has other numbers."""
        self.columns = np.zeros(capacity, COLUMN_DTYPE)
        self.cells = np.zeros((capacity, CELLS), np.int32)  # asks below 0
        self._trades = np.zeros(1 << 10, TRADE_DTYPE)
        self._most_trades = trades
        self.trades_begin = self.trades_end = 0
        """Numbers of the first trade that is kept, and of the next one to come."""

    def number_of(self, time_ns: int) -> int:
        """Give the number of the column that a time lies in."""
        return max(0, time_ns - self.begin_ns) // self.column_ns

    # ------------------------------------------------------------ columns

    def capture(self, number: int, book: Book) -> None:
        """Note the book as it stands at the end of column `number`; those left out since the last are like the last."""
        while number >= self.capacity:
            self._merge()
            number //= 2
        last = self.count - 1
        if 0 <= last < number - 1:
            self.columns[last + 1 : number] = self.columns[last]
            self.columns["number"][last + 1 : number] = np.arange(last + 1, number)
            self.columns["sold"][last + 1 : number] = self.columns["bought"][last + 1 : number] = 0
            self.cells[last + 1 : number] = self.cells[last]
        column, cells = picture(book, self.ticks, int(self.columns["base"][last]) if last >= 0 else None)
        if last < 0:  # nothing is known of what lies before the first
            before = self.columns[:number]
            before["number"], before["base"], before["bid"], before["ask"] = (
                np.arange(number),
                column["base"],
                NONE,
                NONE,
            )
        column["number"] = number
        for name in ("sold", "bought"):
            column[name] = self.columns[name][number]
        self.columns[number], self.cells[number] = column, cells
        self.count = max(self.count, number + 1)

    def _merge(self) -> None:
        """Make one column of every two, as the later one ended."""
        first = np.arange(0, self.count, 2)
        second = np.minimum(first + 1, self.count - 1)  # the last may be alone
        columns = self.columns[second]
        for name in ("sold", "bought"):
            columns[name] += np.where(first < second, self.columns[name][first], 0)
        columns["number"] = first // 2
        self.cells[: len(first)] = self.cells[second]
        self.columns[:] = np.zeros(1, COLUMN_DTYPE)
        self.columns[: len(first)] = columns
        self.count, self.column_ns, self.epoch = len(first), 2 * self.column_ns, self.epoch + 1

    # ------------------------------------------------------------ trades

    def trade(self, records: RecordArray, first: int = 0) -> None:
        """Keep the trades among the records, whose numbers are counted on from `first`."""
        rows = np.flatnonzero(records["action"] == Action.TRADE)
        found = records[rows]
        if not len(found):
            return
        trades = np.zeros(len(found), TRADE_DTYPE)
        trades["time"] = (times_of(found) - np.uint64(self.begin_ns)).view(np.int64)
        trades["tick"] = self.ticks.of(found["price"])
        trades["size"], trades["side"] = found["size"], _SIGNS[found["side"]]
        trades["record"] = first + rows
        self._keep(trades)
        self.trades_end += len(found)
        self.trades_begin = max(self.trades_begin, self.trades_end - self._most_trades)
        numbers = np.clip(trades["time"] // self.column_ns, 0, None).astype(np.int64)
        inside = numbers < self.capacity
        for name, side in (("sold", -1), ("bought", 1)):
            mine = inside & (trades["side"] == side)
            np.add.at(self.columns[name], numbers[mine], trades["size"][mine].astype(np.int32))

    def _keep(self, trades: npt.NDArray[Any]) -> None:
        while self.trades_end - self.trades_begin + len(trades) > len(self._trades) < self._most_trades:
            kept = self.trades(self.trades_begin, self.trades_end)
            self._trades = np.zeros(2 * len(self._trades), TRADE_DTYPE)
            self._trades[np.arange(self.trades_begin, self.trades_end) % len(self._trades)] = kept
        self._trades[np.arange(self.trades_end, self.trades_end + len(trades)) % len(self._trades)] = trades

    def trades(self, begin: int, end: int) -> npt.NDArray[Any]:
        """Copy the trades of numbers `begin` to `end` - 1 (`TRADE_DTYPE`), as far as they are kept."""
        begin = max(begin, self.trades_begin)
        return self._trades[np.arange(begin, max(begin, end)) % len(self._trades)]

    def trades_before(self, record: int) -> int:
        """Give how many trades there were among the first `record` records."""
        low, high = self.trades_begin, self.trades_end
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (middle + 1, high) if self._trades["record"][middle % len(self._trades)] < record else (low, middle)
            )
        return low


def picture(book: Book, ticks: Ticks, base: int | None) -> tuple[Any, npt.NDArray[np.int32]]:
    """Lay a book's sizes into the cells of a column: around `base`, or around the middle where that has moved too far from it."""
    column = np.zeros(1, COLUMN_DTYPE)[0]
    cells = np.zeros(CELLS, np.int32)
    sides = [book.levels(side, _DEEP).array for side in (Side.BID, Side.ASK)]
    best = [int(ticks.of(levels["price"][:1])[0]) if len(levels) else NONE for levels in sides]
    column["bid"], column["ask"] = best
    seen = [tick for tick in best if tick != NONE]
    if seen:
        middle = (min(seen) + max(seen)) // 2
        if base is None or abs(middle - base - CELLS // 2) > _EDGE:
            base = middle - CELLS // 2
    column["base"] = base = max(-_LARGEST, min(base or 0, _LARGEST - CELLS))
    for sign, levels in zip((1, -1), sides, strict=True):
        place = ticks.of(levels["price"]).astype(np.int64) - base
        inside = (place >= 0) & (place < CELLS)
        sizes = np.minimum(levels["size"][inside], _LARGEST)
        cells += sign * np.minimum(np.bincount(place[inside], sizes, CELLS), _LARGEST).astype(np.int32)
    return column, cells


def shade(sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Give sizes as a byte each, on a logarithmic scale: 0 for none, else 1 + 15 log2(size), up to 255 for 125,000 and more."""
    counted = np.abs(sizes.astype(np.float64))
    steps = np.zeros(sizes.shape, np.uint8)
    some = counted > 0
    steps[some] = np.minimum(255, np.round(1 + 15 * np.log2(counted[some])))
    return steps
