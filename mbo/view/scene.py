"""Scene: what is drawn of a book at one moment, as a frame's header and sections. Made once for all who look at the same moment.

Header, of every frame: `now` (ns since `t0_ns`), `record` and `event` (how many came), `sequence`; `bbo` [tick, size, orders] of
bid and ask; `last` [tick, size, aggressor, time, direction] of the last trade; `totals` [size, orders] of bids and asks; `deeper`,
whether a side has more levels than are sent; `flags`; `trades_shown` and `columns_shown`, how far the past goes.

Sections: `bids` and `asks` best first, with what was stacked (above 0) or pulled over the last `STACKED_S` seconds, trades left
out; `volume` by price, since the beginning and over the last `RECENT_S` seconds; of the history `trades`, `columns` and `cells`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.records import Side
from mbo.units import NS_PER_S
from mbo.view.frame import LEVEL_DTYPE, VOLUME_DTYPE, Part, part
from mbo.view.history import CELLS, History, picture
from mbo.view.ticks import NONE

if TYPE_CHECKING:
    from mbo.book import Book

LEVELS: Final = 200
"""How many a side are sent."""
STACKED_S: Final = 15
RECENT_S: Final = 60
_NEAR: Final = 512  # ticks around the middle whose volume is sent
_FAR: Final = 1 << 20  # ticks from where trading began, beyond which a trade is not counted by price
_LARGEST: Final = 2**31 - 1


class Moment(NamedTuple):
    """A book and what is known around it: `place` records and `events` of it have come, `trades` of them are trades."""

    book: Book | None
    now_ns: int
    place: int
    events: int
    trades: int
    synced: bool
    suspect: bool


class Drawn(NamedTuple):
    """A moment's header and sections, and the column that it lies in, which is not over (or none): its row and its sizes."""

    header: dict[str, Any]
    parts: dict[str, Part]
    column: npt.NDArray[Any]
    cells: npt.NDArray[np.int32]


class Scene:
    """Draws one book's moments. It remembers what it counted last, so that a moment after the last costs only what came between."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.volume = Volume(history)
        self.cleared_ns = 0
        """From when on trades count as recent."""

    def draw(self, moment: Moment) -> Drawn:
        """Draw what is the same for all who see this moment."""
        history, book = self.history, moment.book
        now = moment.now_ns - history.begin_ns
        column = history.number_of(moment.now_ns)
        self.volume.upto(moment.trades)
        sides = [book.levels(side).array if book is not None else _NO_LEVELS for side in (Side.BID, Side.ASK)]
        rows = [_rows(history, levels[:LEVELS]) for levels in sides]
        window_s = self._pulled(rows, now, column, moment.trades)
        best = [list(side[0].item()[:3]) if len(side) else [None, 0, 0] for side in rows]
        known = [int(side["tick"][0]) for side in rows if len(side) and side["tick"][0] != NONE]
        middle = (min(known) + max(known)) // 2 if known else None
        header: dict[str, Any] = {
            "now": now,
            "record": moment.place,
            "event": moment.events,
            "sequence": 0 if book is None else book.status.sequence,
            "bbo": best[0] + best[1],
            "last": self.volume.last(),
            "totals": [value for levels in sides for value in (int(levels["size"].sum()), int(levels["count"].sum()))],
            "deeper": [len(levels) > LEVELS for levels in sides],
            "flags": {
                "valid": book is not None and book.status.valid,
                "synced": moment.synced,
                "suspect": moment.suspect,
                "crossed": len(known) == 2 and known[0] >= known[1],
            },
            "window_s": [window_s, RECENT_S],
            "trades_shown": moment.trades,
            "columns_shown": column,
        }
        since = max(now - RECENT_S * NS_PER_S, self.cleared_ns - history.begin_ns)
        parts = {"bids": part(rows[0]), "asks": part(rows[1]), "volume": part(self.volume.rows(middle, since))}
        if book is None:
            return Drawn(header, parts, history.columns[:0], history.cells[:0])
        before = min(column, history.count) - 1
        head, cells = picture(book, history.ticks, int(history.columns["base"][before]) if before >= 0 else None)
        head["number"] = column
        return Drawn(header, parts, np.array([head]), cells[None, :])

    def _pulled(self, rows: list[npt.NDArray[Any]], now: int, column: int, trades: int) -> float:
        """Put into `delta` how much each level grew without its trades since some columns ago, and say how long that is (s)."""
        history = self.history
        back = max(1, round(STACKED_S * NS_PER_S / history.column_ns))
        then = max(0, column - back)
        if not then < min(column, history.count):
            return 0.0
        base, cells = int(history.columns["base"][then]), history.cells[then]
        since = (then + 1) * history.column_ns
        traded = self.volume.since(since)
        for levels, sign, side in ((rows[0], 1, -1), (rows[1], -1, 1)):
            place = levels["tick"].astype(np.int64) - base
            inside = (place >= 0) & (place < CELLS)
            place = place[inside]
            taken = np.zeros(CELLS, np.int64)
            mine = traded[traded["side"] == side]
            hit = mine["tick"].astype(np.int64) - base
            fits = (hit >= 0) & (hit < CELLS)
            np.add.at(taken, hit[fits], mine["size"][fits])
            before = np.maximum(sign * cells[place], 0)
            levels["delta"][inside] = np.clip(levels["size"][inside] - before + taken[place], -_LARGEST, _LARGEST)
        return (now - since) / NS_PER_S


class Volume:
    """Sizes traded at each price up to a trade, by aggressor."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._base = 0
        self._sums = np.zeros((2, 0), np.int64)  # sold, bought
        self._count = 0
        self._recent = history.trades(0, 0)
        self._last: list[Any] | None = None

    def upto(self, count: int) -> None:
        """Count the trades of numbers below `count`."""
        if count < self._count:
            self._sums[:] = 0
            self._count, self._last = 0, None
        new = self._history.trades(self._count, count)
        if len(new):
            self._note_last(new)
            self._add(new[new["tick"] != NONE])
        self._count = count

    def _note_last(self, new: npt.NDArray[Any]) -> None:
        last = new[-1]
        before = new["tick"][-2] if len(new) > 1 else last["tick"] if self._last is None else self._last[0]
        step = int(np.sign(int(last["tick"]) - int(before)))
        direction = step if step or self._last is None else self._last[4]
        self._last = [int(last["tick"]), int(last["size"]), int(last["side"]), float(last["time"]), direction]

    def _add(self, trades: npt.NDArray[Any]) -> None:
        if self._sums.shape[1]:
            trades = trades[np.abs(trades["tick"].astype(np.int64) - self._base) < _FAR]
        if not len(trades):
            return
        low, high = int(trades["tick"].min()), int(trades["tick"].max())
        end = self._base + self._sums.shape[1]
        if low < self._base or high >= end:
            self._widen(min(low, self._base) if end > self._base else low, max(high + 1, end))
        for row, side in ((0, -1), (1, 1)):
            mine = trades[trades["side"] == side]
            np.add.at(self._sums[row], mine["tick"] - self._base, mine["size"].astype(np.int64))

    def _widen(self, low: int, end: int) -> None:
        low, end = low - _NEAR, end + _NEAR
        wider = np.zeros((2, end - low), np.int64)
        if self._sums.shape[1]:
            begin = self._base - low
            wider[:, begin : begin + self._sums.shape[1]] = self._sums
        self._base, self._sums = low, wider

    def last(self) -> list[Any] | None:
        """Give the last trade: tick, size, aggressor, time, and which way the price went to it."""
        return self._last

    def since(self, time: float) -> npt.NDArray[Any]:
        """Give the trades counted so far from a time (ns since the beginning) on."""
        count, step = self._count, 256
        while True:  # from the end: most windows are short
            trades = self._history.trades(count - step, count) if step < count else self._history.trades(0, count)
            if not len(trades) or trades["time"][0] < time or step >= count:
                return trades[trades["time"] >= time]
            step *= 4

    def rows(self, middle: int | None, since: float) -> npt.NDArray[Any]:
        """Give what traded at each price around `middle`, where something did (`VOLUME_DTYPE`)."""
        if middle is None or not self._sums.shape[1]:
            return np.zeros(0, VOLUME_DTYPE)
        low = max(self._base, middle - _NEAR)
        high = min(self._base + self._sums.shape[1], middle + _NEAR)
        sums = self._sums[:, low - self._base : max(low, high) - self._base]
        some = np.flatnonzero(sums.any(axis=0))
        rows = np.zeros(len(some), VOLUME_DTYPE)
        rows["tick"] = some + low
        rows["sold"], rows["bought"] = np.minimum(sums[:, some], _LARGEST)
        recent = self.since(since)
        place = np.searchsorted(rows["tick"], recent["tick"])
        inside = place < len(rows)
        inside[inside] = rows["tick"][place[inside]] == recent["tick"][inside]
        for name, side in (("sold_recently", -1), ("bought_recently", 1)):
            mine = inside & (recent["side"] == side)
            np.add.at(rows[name], place[mine], recent["size"][mine].astype(np.int32))
        return rows


_NO_LEVELS: Final = np.zeros(0, [("price", "<i8"), ("size", "<u8"), ("count", "<u4")])


def _rows(history: History, levels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows = np.zeros(len(levels), LEVEL_DTYPE)
    rows["tick"] = history.ticks.of(levels["price"])
    rows["size"], rows["count"] = np.minimum(levels["size"], _LARGEST), np.minimum(levels["count"], _LARGEST)
    return rows
