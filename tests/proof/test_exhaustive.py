"""Every sequence of messages up to a length: after each message the engine says what the reference book says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mbo.book import Book, Books, ReferenceBook
from mbo.errors import RuleError
from mbo.records import MBO_DTYPE, RecordArray
from tests.proof import walk_kernels
from tests.proof.alphabets import Alphabet, far, flags, instruments, one_queue, two_sides
from tests.proof.arena import Arena, spelled
from tests.proof.oracle import Oracle
from tests.proof.side_by_side import assert_alike
from tests.proof.walk_kernels import DIFFERENCES, IN_BATCH

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


def prepared(alphabet: Alphabet, length: int, *, strict: bool, equal_size: str) -> tuple[Arena, Oracle]:
    arena = Arena.of(alphabet, steps=length, rows=length + 2, strict=strict, equal_size=equal_size)
    assert len(set(arena.roots)) == 1
    return arena, Oracle.along(arena.messages.records, arena.roots[0], strict=strict, equal_size=equal_size)


def walked(arena: Arena, oracle: Oracle, length: int) -> tuple[int, np.ndarray, np.ndarray]:
    chosen, tally = np.zeros(length, np.int64), np.zeros(3, np.int64)
    difference = walk_kernels.walk(
        arena.states, arena.messages, oracle.answers, arena.counters, chosen, arena.scratch, tally
    )
    return difference, chosen, tally


@pytest.mark.parametrize(
    ("make", "length", "strict", "equal_size"),
    [
        (two_sides, 4, False, "loses"),
        (two_sides, 4, True, "keeps"),
        (one_queue, 4, False, "venue"),
        (one_queue, 4, True, "keeps"),
        (flags, 4, False, "venue"),
        (flags, 4, True, "venue"),
        (instruments, 4, False, "venue"),
        (instruments, 4, True, "venue"),
        (far, 3, False, "venue"),
        (far, 3, True, "venue"),
    ],
)
def test_every_sequence(make, length: int, strict: bool, equal_size: str, tell: Callable[[str], None]):
    alphabet = make()
    arena, oracle = prepared(alphabet, length, strict=strict, equal_size=equal_size)
    difference, chosen, tally = walked(arena, oracle, length)
    where = "in one batch" if difference >= IN_BATCH else "at the last message"
    assert difference == 0, f"{DIFFERENCES[difference % IN_BATCH]}: {where} of {spelled(alphabet, chosen)}"
    letters = len(alphabet.records)
    assert tally[0] == letters**length
    assert tally[1] == sum(letters**n for n in range(1, length + 1))
    assert (tally[2] > 0) == strict
    tell(
        f"all {tally[0]:,} sequences of length {length} and all shorter: {alphabet.name}, {'strict' if strict else 'lenient'}, "
        f"equal_size={equal_size}; {tally[1]:,} messages compared, {tally[2]:,} refused, each sequence also as one batch; "
        f"{len(oracle.contents):,} contents"
    )


@pytest.mark.parametrize(
    ("table", "place", "difference"),
    [
        ("broken", (1, 5, 7), 1),
        ("flags", (30, 0), 3),
        ("flags", (30, 3), 3),
        ("noted", (1, 5, 7), 5),
        ("orders", "order_id", 6),
        ("orders", "size", 6),
        ("orders", "ts_event", 6),
        ("levels", "size", 7),
        ("levels", "count", 7),
        ("depths", (30, 1), 7),
        ("ahead", (30, 1), 8),
    ],
)
def test_the_walk_sees_a_wrong_answer(table, place, difference):
    """One number of the tables changed, somewhere two messages lead to."""
    arena, oracle = prepared(two_sides(), 2, strict=False, equal_size="loses")
    answers = getattr(oracle.answers, table)
    if isinstance(place, str):
        content = next(n for n, c in enumerate(oracle.contents) if len(c.bids) == 1 and len(c.bids[0][1]) == 2)
        answers = answers[place]
        place = (content, 0, 0) if table == "levels" else (content, 0)
    answers[place] += 1
    assert walked(arena, oracle, 2)[0] == difference


def test_sampled_sequences_by_the_public_face():
    """What the walk reads out of the arrays is what a user is told: here through `Book` itself, one sequence at a time."""
    random = np.random.default_rng(1)
    for alphabet in (two_sides(), one_queue(), flags()):
        letters = alphabet.at_steps(5)
        for _ in range(400):
            strict = bool(random.integers(2))
            fast, slow = Book(strict=strict), ReferenceBook(strict=strict)
            for step in range(5):
                letter = letters[step, random.integers(len(alphabet.records))][None]
                assert refusal(fast, letter) == refusal(slow, letter)
                assert_alike(fast, slow)
            fast.check()


def refusal(book: Book | ReferenceBook, records: RecordArray) -> str | None:
    try:
        book.apply(records)
    except RuleError as error:
        return str(error)
    return None


def test_every_sequence_as_an_instrument_of_its_own(tell: Callable[[str], None]):
    """All sequences at once, as so many books that share their arrays, each step of them shuffled: the arrays grow on the way."""
    alphabet, length = one_queue(), 3
    letters = len(alphabet.records)
    arena, oracle = prepared(alphabet, length, strict=False, equal_size="venue")
    count = letters**length
    counters = walk_kernels.Counters(*(np.zeros((count, *array.shape[1:]), array.dtype) for array in arena.counters))
    choices = np.array(np.unravel_index(np.arange(count), (letters,) * length))
    random = np.random.default_rng(7)
    books = Books()
    for step in range(length):
        records = np.empty(count, MBO_DTYPE)
        records[:] = arena.messages.records[step, choices[step]]
        records["instrument_id"] = 1 + np.arange(count)
        order = random.permutation(count) if step else np.arange(count)
        books.apply(records[order], rows=np.full(count, step))
        walk_kernels.expect_all(arena.messages, oracle.answers, counters, step, choices[step])
        difference, book = walk_kernels.compare_all(books._state, oracle.answers, counters, arena.scratch)
        assert difference == 0, f"{DIFFERENCES[difference]}: {spelled(alphabet, choices[: step + 1, book])}"
    assert len(books) == count
    books[1, 1].check()
    tell(
        f"all {count:,} sequences of length {length} as {count:,} instruments of one Books: {alphabet.name}, lenient; "
        f"arrays of {len(books._state.orders):,} orders, {len(books._state.levels):,} levels, {len(books._state.rungs):,} rungs"
    )
