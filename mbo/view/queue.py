"""Queues of a level, and what became of one order: what a viewer asked to see of the orders themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.errors import OrderError
from mbo.records import Action, RecordArray, Side, times_of
from mbo.view.frame import FOLLOWED, ICEBERG, QUEUE_DTYPE, Part, part

if TYPE_CHECKING:
    from mbo.book import Book
    from mbo.view.history import History

SHOWN: Final = 500
_LIFE: Final = 200
_LARGEST: Final = 2**32 - 1
_SIDES: Final = {"bid": Side.BID, "ask": Side.ASK}


def queue(
    book: Book | None,
    history: History,
    side: str,
    tick: int,
    icebergs: Mapping[int, int],
    place: int,
    followed: int | None,
) -> tuple[dict[str, Any], Part]:
    """Give the orders at a price, first in the queue first: how many there are, and the first `SHOWN` of them."""
    orders, whole = np.zeros(0, QUEUE_DTYPE), {"size": 0, "count": 0}
    if book is not None:
        prices = history.ticks.of(book.levels(_SIDES[side]).array["price"])
        found = np.flatnonzero(prices == tick)
        if len(found):
            rows = book.orders(_SIDES[side], level=int(found[0])).array
            whole = {"size": int(rows["size"].sum(dtype=np.int64)), "count": len(rows)}
            orders = _rows(rows[:SHOWN], history.begin_ns)
            ids = orders["order_id"].tolist()
            orders["flags"] = [
                ICEBERG * (icebergs.get(one, place + 1) <= place) + FOLLOWED * (one == followed) for one in ids
            ]
    return {"side": side, "tick": tick, "shown": len(orders)} | whole, part(orders)


def _rows(rows: npt.NDArray[Any], begin_ns: int) -> npt.NDArray[Any]:
    orders = np.zeros(len(rows), QUEUE_DTYPE)
    orders["order_id"], orders["size"] = rows["order_id"], rows["size"]
    orders["time"] = (rows["ts_event"] - np.uint64(begin_ns)).view(np.int64)
    orders["ahead"] = np.minimum(rows["queue_ahead"], _LARGEST)
    return orders


class Follow:
    """One order's life, from records in their order: `life` has [time, what, tick, size, what stood ahead if that is known]."""

    def __init__(self, order_id: int, history: History) -> None:
        self.order_id = order_id
        self.life: list[list[Any]] = []
        self._history = history
        self._filled = 0

    def see(self, records: RecordArray, book: Book | None = None) -> None:
        """Note what records say of the order; `book`, if they are the last that it has seen, what now stands ahead."""
        own = records[records["order_id"] == self.order_id]
        if not len(own):
            return
        times = (times_of(own) - np.uint64(self._history.begin_ns)).view(np.int64)
        ticks = self._history.ticks.of(own["price"])
        for time, tick, row in zip(times.tolist(), ticks.tolist(), own, strict=True):
            what = self._what(int(row["action"]), tick)
            if what is not None:
                self.life.append([time, what, tick, int(row["size"]), None])
        if self.life and book is not None:
            now = self._order(book)
            self.life[-1][4] = None if now is None else now.queue_ahead
        del self.life[:-_LIFE]

    def _what(self, action: int, tick: int) -> str | None:
        if action == Action.MODIFY:
            before = next(
                (entry[2] for entry in reversed(self.life) if entry[1] in ("added", "moved", "changed")), tick
            )
            return "changed" if before == tick else "moved"
        words = {Action.ADD: "added", Action.CANCEL: "cancelled", Action.FILL: "filled"}
        # What takes a filled order out of the book is not a cancel by its owner.
        if action == Action.CANCEL and self.life and self.life[-1][1] == "filled":
            return None
        return words.get(Action(action)) if action in words else None

    def _order(self, book: Book) -> Any:
        try:
            return book.order(self.order_id)
        except OrderError:
            return None

    def document(self, book: Book | None) -> dict[str, Any]:
        """Describe how the order stands now, and its life."""
        order = None if book is None else self._order(book)
        last = self.life[-1][1] if self.life else None
        found: dict[str, Any] = {"order_id": str(self.order_id), "life": self.life}
        entered = next((entry[0] for entry in self.life if entry[1] == "added"), None)
        if order is None or book is None:
            state = last if last in ("filled", "cancelled") else "unknown"
            gone = {"side": None, "tick": None, "size": 0, "ahead": None, "orders_ahead": None}
            return found | {"state": state, "entered": entered} | gone
        side = "bid" if order.side == Side.BID else "ask"
        level = int(np.flatnonzero(book.levels(order.side).array["price"] == order.price)[0])
        ids = book.orders(order.side, level=level).array["order_id"]
        return found | {
            "state": "resting",
            "side": side,
            "tick": int(self._history.ticks.of([order.price])[0]),
            "size": order.size,
            "ahead": order.queue_ahead,
            "orders_ahead": int(np.flatnonzero(ids == self.order_id)[0]),
            "entered": order.ts_event - self._history.begin_ns if entered is None else entered,
        }
