"""Walk the engine's arrays and compare every one of them with every other: what `Book.check()` does, in plain Python."""

from __future__ import annotations

from typing import Any

from mbo.book import _queue_kernels as queues
from mbo.book import _state_kernels as arrays
from mbo.errors import InternalError
from mbo.units import UNDEF_PRICE, UNDEF_SIZE


def check(state: arrays.State) -> None:
    """Raise `InternalError` at the first broken invariant of any book in these arrays. O(all orders and free entries)."""
    _Walk(state).all()


class _Walk:
    def __init__(self, state: arrays.State) -> None:
        self.state = state
        self.seen_entries: set[int] = set()
        self.seen_levels: set[int] = set()
        self.indexed: set[int] = set()

    def all(self) -> None:
        pool = self.state.pool[0]
        for book in range(int(pool["books"])):
            before = len(self.indexed)
            for side in (2 * book, 2 * book + 1):
                self.one_side(side)
            orders = len(self.indexed) - before
            self.require(self.state.books[book]["orders"] == orders, f"book {book} counts its orders wrong")
        self.table()
        self.free_entries()
        self.blocks()

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise InternalError(f"the book engine is broken: {what}")

    def one_side(self, side: int) -> None:
        slot = self.state.sides[side]
        start, length = int(slot["start"]), int(slot["length"])
        self.require(0 <= length <= slot["capacity"], f"side {side} has {length} levels in {slot['capacity']} rungs")
        above = None
        for rung in range(start, start + length):
            key, level = int(self.state.rungs[rung]["key"]), int(self.state.rungs[rung]["level"])
            self.require(above is None or above < key, f"side {side} is not sorted at rung {rung}")
            above = key
            price = int(self.state.levels[level]["price"])
            self.require(key == (~price if side & 1 else price), f"level {level} stands at another price")
            self.require(price != UNDEF_PRICE, f"level {level} has no price")
            self.require(level not in self.seen_levels, f"level {level} is on two rungs")
            self.require(int(self.state.levels[level]["side"]) == side, f"level {level} thinks it is on another side")
            self.seen_levels.add(level)
            self.one_queue(level)

    def one_queue(self, level: int) -> None:
        slot = self.state.levels[level]
        entry, before, size, count, aggregates = int(slot["head"]), arrays.NIL, 0, 0, 0
        self.require(entry != arrays.NIL, f"level {level} is empty")
        while entry != arrays.NIL:
            order: Any = self.state.orders[entry]
            self.require(entry not in self.seen_entries, f"entry {entry} is in two queues")
            self.seen_entries.add(entry)
            self.require(int(order["prev"]) == before, f"entry {entry} has another one before it")
            self.require(0 < order["size"] < UNDEF_SIZE, f"entry {entry} has size {order['size']}")
            aggregate = int(order["level"]) >= arrays.AGGREGATE
            self.require(
                int(order["level"]) & ~arrays.AGGREGATE == level, f"entry {entry} thinks it is in another level"
            )
            size += int(order["size"])
            if aggregate:
                aggregates += 1
            else:
                count += 1
                self.indexed.add(entry)
            before, entry = entry, int(order["next"])
        self.require(int(slot["tail"]) == before, f"level {level} has another tail")
        self.require(aggregates <= 1, f"level {level} has {aggregates} aggregates")
        self.require(int(slot["size"]) == size, f"level {level} sums to {size}, not {slot['size']}")
        self.require(int(slot["count"]) == count, f"level {level} has {count} orders, not {slot['count']}")

    def table(self) -> None:
        slots = self.state.table["slot"]
        entries = {int(slot) for slot in slots if slot != arrays.NIL}
        self.require(entries == self.indexed, "the table of order ids and the queues hold different orders")
        self.require(int((slots != arrays.NIL).sum()) == len(entries), "an order is in the table twice")
        self.require(2 * len(self.state.orders) == len(self.state.table), "the table and the pool do not fit")
        for entry in entries:
            order = self.state.orders[entry]
            book = int(self.state.levels[int(order["level"])]["side"]) >> 1
            position = queues.locate(self.state, order["order_id"], book)
            found = position >= 0 and int(slots[position]) == entry
            self.require(found, f"order {order['order_id']} is not found by its id")

    def free_entries(self) -> None:
        pool = self.state.pool[0]
        free = self.chain(int(pool["free_order"]), self.state.orders, "next")
        self.require(not free & self.seen_entries, "an entry is both free and in a queue")
        self.require(len(free) + len(self.seen_entries) == pool["orders"], "an entry is neither free nor in a queue")
        free = self.chain(int(pool["free_level"]), self.state.levels, "side")
        self.require(not free & self.seen_levels, "a level is both free and on a side")
        self.require(len(free) + len(self.seen_levels) == pool["levels"], "a level is neither free nor on a side")

    def chain(self, head: int, array: Any, link: str) -> set[int]:
        seen: set[int] = set()
        while head != arrays.NIL:
            self.require(head not in seen, f"a free list runs in a circle at {head}")
            seen.add(head)
            head = int(array[head][link])
        return seen

    def blocks(self) -> None:
        """See that the blocks of rungs, free and used, tile what was ever handed out."""
        used = [(int(s["start"]), int(s["capacity"])) for s in self.state.sides if s["capacity"]]
        for power, head in enumerate(self.state.free_blocks):
            block = int(head)
            while block != arrays.NIL:
                used.append((block, 1 << power))
                self.require(len(used) <= len(self.state.rungs), "a free list of blocks runs in a circle")
                block = int(self.state.rungs[block]["level"])
        end = 0
        for start, capacity in sorted(used):
            self.require(start == end, f"blocks of rungs overlap or leave a hole at {start}")
            end = start + capacity
        self.require(end == self.state.pool[0]["rungs"], "a block of rungs is lost")
