"""Generated histories of several instruments whose shared arrays begin at length 1, beside one reference book for each.

Deeper than the exhaustive tests: many orders and levels, blocks of rungs that grow and are used again, copies, snapshots.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mbo.book import Book, Books, ReferenceBook
from mbo.book.check import check
from mbo.errors import RuleError
from mbo.records import MBO_DTYPE, RecordArray
from mbo.units import UNDEF_SIZE
from tests.book.tapes import LAST, MAYBE_BAD, MBP, SNAPSHOT, TOB, record
from tests.proof.side_by_side import assert_alike, sizes

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

Key = tuple[int, int]
INSTRUMENTS: list[Key] = [(1, 7), (2, 7), (1, 8)]
HISTORIES, STEPS = 200, 40

instruments = st.sampled_from(INSTRUMENTS)
order_ids = st.one_of(st.integers(0, 6), st.sampled_from([1 << 32, 2 << 32, 2**64 - 1]))
sides = st.sampled_from("BA")
prices = st.integers(-3, 3)
order_sizes = st.integers(1, 4)
ends = st.sampled_from([LAST, LAST | 2, 0])
picks = st.integers(0, 2**16)  # which of those that rest, modulo how many there are
COUNTED = (
    "histories",
    "messages",
    "refused",
    "most orders",
    "most instruments",
    "largest pool",
    "kinds of free blocks",
)
seen = dict.fromkeys(COUNTED, 0)


class Machine(RuleBasedStateMachine):
    """Each rule applies records to `books` and to `slow`, and the invariants compare the two."""

    @initialize(strict=st.booleans(), equal_size=st.sampled_from(["venue", "loses", "keeps"]))
    def begin(self, strict: bool, equal_size: str) -> None:
        self.options = {"strict": strict, "equal_size": equal_size}
        with sizes(1, 1, 1, 1):
            self.books = Books(**self.options)
        self.slow: dict[Key, ReferenceBook] = {}
        self.applied = 0
        self.left_behind: Books | None = None
        self.touched: set[Key] = set()
        self.clock = 0
        seen["histories"] += 1

    def one(
        self, key: Key, action: str, order_id: int, side: str, price: int | None, size: int, flags: int
    ) -> RecordArray:
        self.clock += 1
        times = {"ts_event": 1000 + self.clock, "ts_recv": 2000 + self.clock, "sequence": self.clock}
        place = {"publisher_id": key[0], "instrument_id": key[1]}
        return record(action, order_id, side, price, size, flags, **place, **times)

    def apply(self, records: RecordArray) -> None:
        """Apply to both; in strict mode both stop at the same record for the same reason."""
        refused = None
        for number in range(len(records)):
            key = (int(records["publisher_id"][number]), int(records["instrument_id"][number]))
            book = self.slow.setdefault(key, ReferenceBook(**self.options))
            self.touched.add(key)
            try:
                book.apply(records[number : number + 1])
            except RuleError as error:
                refused = (self.applied, error.rule, error.order_id, error.ts_event, error.sequence)
                seen["refused"] += 1
                break
            self.applied += 1
            seen["messages"] += 1
        if refused is None:
            self.books.apply(records)
        else:
            with pytest.raises(RuleError) as caught:
                self.books.apply(records)
            error = caught.value
            assert (error.index, error.rule, error.order_id, error.ts_event, error.sequence) == refused

    def resting(self, key: Key, pick: int) -> tuple[int, str, int, int]:
        """(id, side, price in ticks, size) of an order that rests, or of one that does not where none does."""
        orders = [order for order in self.slow[key].orders() if order.order_id] if key in self.slow else []
        if not orders:
            return pick % 7 + 1, "B", 0, 1
        order = orders[pick % len(orders)]
        return order.order_id, "B" if order.side == ord("B") else "A", order.price // 10_000_000, order.size

    # ------------------------------------------------------------ messages

    @rule(key=instruments, order_id=order_ids, side=sides, price=prices, size=order_sizes, flags=ends)
    def add(self, key, order_id, side, price, size, flags):
        self.apply(self.one(key, "A", order_id, side, price, size, flags))

    @rule(key=instruments, pick=picks, taken=st.one_of(st.none(), order_sizes), flags=ends)
    def cancel(self, key, pick, taken, flags):
        order_id, side, price, size = self.resting(key, pick)
        self.apply(self.one(key, "C", order_id, side, price, size if taken is None else taken, flags))

    @rule(
        key=instruments,
        pick=picks,
        move=st.sampled_from([0, 0, 0, 1, -1]),
        size=st.one_of(st.none(), st.integers(0, 4)),
        flags=ends,
    )
    def modify(self, key, pick, move, size, flags):
        order_id, side, price, there = self.resting(key, pick)
        self.apply(self.one(key, "M", order_id, side, price + move, there if size is None else size, flags))

    @rule(
        key=instruments,
        action=st.sampled_from("TFN"),
        pick=picks,
        flags=st.sampled_from([LAST, 0, SNAPSHOT, MAYBE_BAD]),
    )
    def trade_fill_or_nothing(self, key, action, pick, flags):
        order_id, side, price, size = self.resting(key, pick)
        self.apply(self.one(key, action, order_id, side, price, size, flags))

    @rule(key=instruments, flags=st.sampled_from([LAST, 0, SNAPSHOT, SNAPSHOT | LAST]))
    def clear(self, key, flags):
        self.apply(self.one(key, "R", 0, "N", None, 0, flags))

    @rule(
        key=instruments, action=st.sampled_from("AAMC"), side=sides, price=st.one_of(st.none(), prices),
        size=st.sampled_from([0, 1, 5, UNDEF_SIZE]), flags=st.sampled_from([MBP, MBP | LAST, MBP | SNAPSHOT, TOB, TOB | LAST]),
    )  # fmt: skip
    def set_level(self, key, action, side, price, size, flags):
        self.apply(self.one(key, action, 0, side, price, size, flags))

    @rule(
        key=instruments,
        lines=st.lists(st.tuples(st.sampled_from("ACMRTX"), order_ids, sides, prices, st.integers(0, 3)), max_size=6),
    )
    def any_messages_of_two_instruments(self, key, lines):
        other = INSTRUMENTS[INSTRUMENTS.index(key) - 1]
        records = [self.one((key, other)[n % 2], *line, LAST) for n, line in enumerate(lines)]
        self.apply(np.concatenate([np.empty(0, MBO_DTYPE), *records]))

    # ------------------------------------------------------------ many at once: arrays grow, blocks move and are used again

    @rule(
        key=instruments,
        side=sides,
        first=st.integers(-60, 60),
        count=st.integers(5, 40),
        step=st.sampled_from([-2, -1, 1, 3]),
    )
    def ladder(self, key, side, first, count, step):
        new = 10_000 + self.clock
        self.apply(np.concatenate([self.one(key, "A", new + n, side, first + n * step, 1, LAST) for n in range(count)]))

    @rule(key=instruments, every=st.integers(1, 3), backwards=st.booleans())
    def cancel_many(self, key, every, backwards):
        orders = [order for order in self.slow[key].orders() if order.order_id] if key in self.slow else []
        chosen = orders[::-every] if backwards else orders[::every]
        records = [self.one(key, "C", o.order_id, chr(o.side), o.price // 10_000_000, o.size, LAST) for o in chosen]
        self.apply(np.concatenate([np.empty(0, MBO_DTYPE), *records]))

    @precondition(lambda self: len(self.slow) < 20)
    @rule(count=st.integers(1, 6), side=sides)
    def newcomers(self, count, side):
        keys = [(3, 100 + len(self.slow) + n) for n in range(count)]
        self.apply(np.concatenate([self.one(key, "A", 5, side, 1, 2, LAST) for key in keys]))

    # ------------------------------------------------------------ copies and snapshots

    @rule(pickled=st.booleans())
    def go_on_with_a_copy(self, pickled):
        self.left_behind = self.books
        self.books = pickle.loads(pickle.dumps(self.books)) if pickled else copy.deepcopy(self.books)
        self.then = {key: (book.digest(), book.status, book.anomalies) for key, book in self.left_behind.items()}

    @rule(key=instruments)
    def restore_from_its_own_snapshot(self, key):
        if key not in self.slow or not self.slow[key].status.messages:
            return  # there is nothing yet to write a snapshot of
        digest, snapshot = self.slow[key].digest(), self.slow[key].snapshot()
        assert self.books[key].snapshot().tobytes() == snapshot.tobytes()
        fresh = Book(**self.options)
        fresh.apply(snapshot)
        assert fresh.digest() == digest
        self.apply(snapshot)
        assert self.books[key].digest() == digest

    # ------------------------------------------------------------ what always holds

    @invariant()
    def the_books_are_alike(self):
        for key in self.touched:
            assert_alike(self.books[key], self.slow[key], numbered=False)
        self.touched.clear()
        check(self.books._state)

    @invariant()
    def what_was_left_behind_stays_as_it_was(self):
        if self.left_behind is not None:  # a copy shares no array with the original
            assert self.then == {
                key: (book.digest(), book.status, book.anomalies) for key, book in self.left_behind.items()
            }

    def teardown(self) -> None:
        assert list(self.books) == list(self.slow)
        for key, slow in self.slow.items():  # also those that nothing has touched for long
            slow.check()
            assert_alike(self.books[key], slow, numbered=False)
        state = self.books._state
        seen["most orders"] = max(seen["most orders"], sum(book.status.orders for book in self.slow.values()))
        seen["most instruments"] = max(seen["most instruments"], len(self.slow))
        seen["largest pool"] = max(seen["largest pool"], len(state.orders))
        seen["kinds of free blocks"] = max(seen["kinds of free blocks"], int((state.free_blocks >= 0).sum()))


def test_generated_histories_give_the_same_books(tell: Callable[[str], None]):
    seen.update(dict.fromkeys(COUNTED, 0))
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=HISTORIES, stateful_step_count=STEPS, derandomize=True, deadline=None)
    )
    assert seen["histories"] >= HISTORIES
    assert seen["refused"] > 0
    assert seen["most orders"] > 100  # arrays of 1 have grown many times over
    tell(
        "stateful machine: " + ", ".join(f"{value:,} {name}" for name, value in seen.items()) + f"; {STEPS} rules each"
    )
