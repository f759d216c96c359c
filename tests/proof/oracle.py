"""What the reference book says of every message in every situation: asked once for each, and laid out as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from mbo.book import ANOMALIES, ReferenceBook
from mbo.book.interface import EqualSize
from mbo.book.reference import _AGGREGATE, _Resting
from mbo.book.rows import LEVEL_DTYPE, ORDER_DTYPE
from mbo.errors import RuleError
from mbo.records import RecordArray, Side
from tests.proof.walk_kernels import Answers

RULES: Final = {rule: number for number, rule in enumerate(ANOMALIES)}
Queue = tuple[int, tuple[tuple[int | None, int, int], ...]]
"""A price, and what stands there in its order: id (None for an aggregate), size, since when."""


class Content(NamedTuple):
    """All that a book is, but its counters and the last record: what the next message's effect depends on."""

    bids: tuple[Queue, ...] = ()
    asks: tuple[Queue, ...] = ()
    synced: bool = False
    suspect: bool = False
    in_snapshot: bool = False

    def timeless(self) -> Content:
        """Forget since when the orders stand."""
        bids, asks = (
            tuple((price, tuple((key, size, 0) for key, size, _ in queue)) for price, queue in side)
            for side in (self.bids, self.asks)
        )
        return self._replace(bids=bids, asks=asks)


def content_of(book: ReferenceBook) -> Content:
    bids, asks = (
        tuple(
            (price, tuple((key, order.size, order.ts_event) for key, order in queue.items()))
            for price, queue in book._sides[side].items()
        )
        for side in (Side.BID, Side.ASK)
    )
    return Content(bids, asks, book._synced, book._suspect, book._in_snapshot)


def book_of(content: Content, **options: Any) -> ReferenceBook:
    book = ReferenceBook(**options)
    for side, queues in ((Side.BID, content.bids), (Side.ASK, content.asks)):
        for price, queue in queues:
            level = book._sides[side][price] = {}
            for key, size, ts_event in queue:
                order = _Resting.__new__(_Resting)
                order.side, order.price, order.size, order.ts_event = int(side), price, size, ts_event
                level[key] = order
                if key is not _AGGREGATE:
                    book._order_of[key] = order
    book._synced, book._suspect, book._in_snapshot = content.synced, content.suspect, content.in_snapshot
    return book


@dataclass(frozen=True)
class Oracle:
    """The reference book's answers for an alphabet: `answers.after[step, content, letter]` and so on; see `Answers`."""

    contents: list[Content]
    answers: Answers

    @classmethod
    def along(cls, letters: RecordArray, root: Content, *, strict: bool, equal_size: EqualSize) -> Oracle:
        """Answers along all sequences from `root`, where `letters` (steps, letters) have their step's time."""
        known = _Known(strict=strict, equal_size=equal_size)
        known.number(root)
        rows = []
        for step in letters:
            rows.append([known.ask(content, step) for content in range(len(known.contents))])
        return cls._of(known, rows, letters)

    @classmethod
    def closed(cls, letters: RecordArray, *, strict: bool, equal_size: EqualSize, depth: int | None = None) -> Oracle:
        """Answers for all contents that sequences of `letters` (1, letters) lead to, times forgotten after each letter.

        Sequences of at most `depth` letters; else of any length, which is for alphabets that lead to finitely many.
        """
        known = _Known(strict=strict, equal_size=equal_size, timeless=True)
        known.number(Content())
        rows: list[Any] = []
        asked = 0
        while len(rows) < len(known.contents) and asked != depth:
            for content in known.contents[len(rows) :]:
                rows.append(known.ask(len(rows), letters[0]) if content == content.timeless() else None)
            asked += 1
        return cls._of(known, [rows], letters)

    @classmethod
    def _of(cls, known: _Known, rows: list[list[Any]], letters: RecordArray) -> Oracle:
        shape = (len(rows), len(known.contents), letters.shape[1])
        after, onward, noted, broken = (np.full(shape, -1, np.int32) for _ in range(4))
        for step, of_step in enumerate(rows):
            for content, answers in enumerate(of_step):
                if answers is not None:
                    after[step, content], onward[step, content], noted[step, content], broken[step, content] = answers
        ids = np.unique(letters["order_id"])
        return cls(known.contents, Answers(after, onward, noted, broken, *_looks(known.contents, ids)))


class _Known:
    """Contents by number, in the order in which they were met."""

    def __init__(self, *, strict: bool, equal_size: EqualSize, timeless: bool = False) -> None:
        self.options: dict[str, Any] = {"strict": strict, "equal_size": equal_size}
        self.timeless = timeless
        self.contents: list[Content] = []
        self.numbers: dict[Content, int] = {}

    def number(self, content: Content) -> int:
        if content not in self.numbers:
            self.numbers[content] = len(self.contents)
            self.contents.append(content)
            book_of(content).check()
        return self.numbers[content]

    def ask(self, content: int, letters: RecordArray) -> tuple[list[int], ...]:
        """(after, onward, noted, broken) of every letter."""
        after, onward, noted, broken = [], [], [], []
        for k in range(len(letters)):
            book = book_of(self.contents[content], **self.options)
            try:
                book.apply(letters[k : k + 1])
            except RuleError as error:
                assert content_of(book) == self.contents[content]
                broken.append(RULES[error.rule])
            else:
                broken.append(-1)
            assert all(anomaly.count == 1 for anomaly in book.anomalies.values())
            noted.append(sum(1 << RULES[rule] for rule in book.anomalies))
            then = content_of(book)
            after.append(self.number(then))
            onward.append(self.number(then.timeless() if self.timeless else then))
        return after, onward, noted, broken


def _looks(contents: list[Content], ids: Any) -> tuple[Any, ...]:
    """How every content looks from outside: the fields of `Answers` from `flags` on."""
    books = [book_of(content) for content in contents]
    flags = np.array([(b.status.synced, b.status.suspect, b._in_snapshot, b.status.orders) for b in books], np.int32)
    depths = np.array([(b.depth("bid"), b.depth("ask")) for b in books], np.int32)
    queues = [[b._orders(side, 0, b.depth(side)) for side in (Side.BID, Side.ASK)] for b in books]
    entries = np.array([[len(bids), len(asks)] for bids, asks in queues], np.int32)
    orders = np.zeros((len(books), max(entries.sum(axis=1).max(), 1)), ORDER_DTYPE)
    levels = np.zeros((len(books), 2, max(depths.max(), 1)), LEVEL_DTYPE)
    ahead = np.full((len(books), len(ids)), -1, np.int64)
    for n, book in enumerate(books):
        orders[n, : entries[n].sum()] = np.concatenate(queues[n])
        for k, side in enumerate(("bid", "ask")):
            levels[n, k, : depths[n, k]] = book.levels(side).array
        for k, order_id in enumerate(ids.tolist()):
            if book._order(order_id) is not None:
                ahead[n, k] = book.queue_ahead(order_id)
    return flags, entries, orders, depths, levels, ids.astype(np.uint64), ahead
