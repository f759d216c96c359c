"""Many engine states side by side, and all else that the kernels of `tests.proof.walk_kernels` need to walk over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mbo.book import ANOMALIES, Books, ReferenceBook
from mbo.book import _state_kernels as arrays
from mbo.book.interface import EqualSize
from mbo.book.rows import LEVEL_DTYPE, ORDER_DTYPE
from mbo.records import MBO_DTYPE
from tests.proof.alphabets import Alphabet
from tests.proof.oracle import RULES, Content, content_of
from tests.proof.side_by_side import sizes
from tests.proof.walk_kernels import Array, Counters, Messages, Scratch


@dataclass(frozen=True)
class Arena:
    """A root, `rows` states to work in, and what the root has counted. Row 0 of states and counters is the root."""

    alphabet: Alphabet
    messages: Messages
    states: arrays.State
    counters: Counters
    scratch: Scratch
    roots: list[Content]  # of each instrument

    @classmethod
    def of(cls, alphabet: Alphabet, *, steps: int, rows: int, strict: bool, equal_size: EqualSize) -> Arena:
        keys = alphabet.keys
        with sizes(alphabet.capacity, alphabet.capacity, 4 * alphabet.capacity, 2):
            books = Books(strict=strict, equal_size=equal_size)
        books.apply(alphabet.opening)
        messages = Messages(alphabet.at_steps(steps), np.array(alphabet.target), np.array(keys))
        counters = Counters(
            content=np.zeros((steps + 1, len(keys)), np.int64),
            books=np.zeros((steps + 1, len(keys)), arrays.BOOK_SLOT),
            anomalies=np.zeros((steps + 1, len(keys), len(ANOMALIES)), arrays.ANOMALY_SLOT),
        )
        roots = [cls._count(alphabet, n, counters) for n in range(len(keys))]
        batch = np.zeros(steps, MBO_DTYPE)
        read = batch.view()
        read.flags.writeable = False
        scratch = Scratch(
            rows=np.empty(0, np.int64),
            orders=np.zeros(2 * alphabet.capacity, ORDER_DTYPE),
            levels=np.zeros(alphabet.capacity, LEVEL_DTYPE),
            batch=batch,
            batch_read=read,
            broken=np.zeros(steps, np.int64),
        )
        return cls(alphabet, messages, states_of(books, rows), counters, scratch, roots)

    @staticmethod
    def _count(alphabet: Alphabet, target: int, counters: Counters) -> Content:
        """Write what the opening has counted for one instrument into row 0; give what its book is then."""
        publisher, instrument = divmod(alphabet.keys[target], 2**32)
        own = alphabet.opening[
            (alphabet.opening["publisher_id"] == publisher) & (alphabet.opening["instrument_id"] == instrument)
        ]
        book = ReferenceBook()
        book.apply(own)
        if len(own):
            slot = counters.books[0, target]
            slot["key"] = 1
            for name in ("ts_event", "ts_recv", "sequence", "flags", "channel_id"):
                slot[name] = own[name][-1]
            slot["messages"], slot["events"] = book.status.messages, book.status.events
        for rule, anomaly in book.anomalies.items():
            for name in ("count", "index", "order_id", "ts_event", "sequence"):
                counters.anomalies[0, target, RULES[rule]][name] = getattr(anomaly, name)
        return content_of(book)


def states_of(books: Books, rows: int) -> arrays.State:
    """Repeat the books' state `rows` times."""
    return arrays.State(*(np.repeat(array[None], rows, axis=0) for array in books._state))


def books_of(states: arrays.State, row: int) -> Books:
    """Make books of one of many states."""
    books = Books()
    books._state = arrays.State(*(array[row].copy() for array in states))
    return books


def spelled(alphabet: Alphabet, chosen: Array) -> list[str]:
    """Write a sequence as `tests.book.tapes.tape` reads it."""
    lines = []
    for record in alphabet.records[chosen[chosen >= 0]]:
        price = record["price"] // 10_000_000 if record["price"] != 2**63 - 1 else "-"
        action, side = chr(record["action"]), chr(record["side"])
        lines.append(f"{action} {record['order_id']} {side} {price} {record['size']} {record['flags']}")
    return lines
