"""The book that one writes on the first afternoon, for the benches to run beside the engine."""

from __future__ import annotations

import numpy as np
from sortedcontainers import SortedDict

from mbo.book.interface import digest_of
from mbo.book.rows import ORDER_DTYPE
from mbo.records import Action, Side


class PlainBook:
    """A dict of orders and a sorted dict of queues, fed with decoded tuples."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[int, int]] = {}
        self.sides = {int(Side.BID): SortedDict(), int(Side.ASK): SortedDict()}

    def apply(self, messages: list[tuple[int, int, int, int, int]]) -> None:
        """Apply (action, side, order_id, price, size)."""
        for action, side, order_id, price, size in messages:
            if action == Action.ADD:
                self.add(side, order_id, price, size)
            elif action == Action.CANCEL:
                if order_id in self.orders:
                    rest = self.remove(order_id) - size
                    if rest > 0:
                        self.add(side, order_id, price, rest)
            elif action == Action.MODIFY:
                where = self.orders.get(order_id)
                if where == (side, price) and self.sides[side][price][order_id] > size:
                    self.sides[side][price][order_id] = size
                else:
                    if where:
                        self.remove(order_id)
                    self.add(side, order_id, price, size)
            elif action == Action.CLEAR:
                self.__init__()  # type: ignore[misc]

    def add(self, side: int, order_id: int, price: int, size: int) -> None:
        """Put an order at the back of its queue."""
        self.orders[order_id] = (side, price)
        self.sides[side].setdefault(price, {})[order_id] = size

    def remove(self, order_id: int) -> int:
        """Take an order out; returns its size."""
        side, price = self.orders.pop(order_id)
        queue = self.sides[side][price]
        size: int = queue.pop(order_id)
        if not queue:
            del self.sides[side][price]
        return size

    def digest(self) -> str:
        """Hash the orders as every book does."""
        bids, asks = self.sides[Side.BID], self.sides[Side.ASK]
        queues = [(Side.BID, price, bids[price]) for price in reversed(bids)] + [
            (Side.ASK, price, asks[price]) for price in asks
        ]
        rows = [
            (number, side, price, size, 0, False) for side, price, queue in queues for number, size in queue.items()
        ]
        return digest_of(np.array(rows, ORDER_DTYPE))
