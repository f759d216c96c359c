"""A few hundred generated messages, the books compared after each: short enough to be run on every faulty copy of the engine."""

from __future__ import annotations

import numpy as np
import pytest

from mbo.book import Books, ReferenceBook
from mbo.book.check import check
from mbo.errors import RuleError
from mbo.records import RecordArray
from tests.book.tapes import tape, wild
from tests.proof import alphabets
from tests.proof.side_by_side import assert_alike, sizes

pytestmark = pytest.mark.proof

Key = tuple[int, int]


def key_of(record: RecordArray) -> Key:
    return int(record["publisher_id"][0]), int(record["instrument_id"][0])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("alphabet", [alphabets.flags, alphabets.levels, alphabets.instruments])
def test_a_random_walk_over_an_alphabet(alphabet, strict):
    letters = alphabet().records
    records = letters[np.random.default_rng(8).integers(len(letters), size=120)]
    records["ts_event"] = records["ts_recv"] = records["sequence"] = np.arange(len(records))
    compare_each(records, strict=strict)


@pytest.mark.parametrize(
    ("seed", "count", "ids", "prices", "instruments", "nonsense", "strict"),
    [
        (1, 200, 5, 3, 1, 0.4, False),  # few orders that meet all the time, and much that breaks rules
        (2, 320, 150, 60, 1, 0.01, False),  # many levels: searches bisect, blocks and pools grow
        (3, 150, 12, 6, 4, 0.1, False),
        (4, 150, 6, 3, 2, 0.2, True),
    ],
)
def test_every_message_of_a_stream(seed, count, ids, prices, instruments, nonsense, strict):
    compare_each(wild(seed, count, ids=ids, prices=prices, books=instruments, nonsense=nonsense), strict=strict)


def compare_each(records: RecordArray, *, strict: bool) -> None:
    with sizes(1, 1, 1, 1):
        fast = Books(strict=strict)
    slow: dict[Key, ReferenceBook] = {}
    for number in range(len(records)):
        record = records[number : number + 1]
        key = key_of(record)
        book = slow.setdefault(key, ReferenceBook(strict=strict))
        assert refusal(fast, record) == refusal(book, record)
        assert_alike(fast[key], book, numbered=False)
        check(fast._state)
    assert list(fast) == list(slow)
    for key, book in slow.items():
        assert_alike(fast[key], book, numbered=False)


def refusal(books: Books | ReferenceBook, records: RecordArray) -> tuple[str, int | None] | None:
    try:
        books.apply(records)
    except RuleError as error:
        return error.rule, error.ts_event
    return None


def test_one_batch_of_many_instruments():
    records = wild(5, 200, ids=8, prices=6, books=6, nonsense=0.1)
    with sizes(1, 1, 1, 1):
        fast = Books()
    fast.apply(records)
    check(fast._state)
    for key, book in fast.items():
        slow = ReferenceBook()
        slow.apply(records[(records["publisher_id"] == key[0]) & (records["instrument_id"] == key[1])])
        assert_alike(book, slow, numbered=False)


def test_a_batch_is_numbered_through_and_goes_on_after_a_refusal():
    fast = Books(strict=True)
    fast.apply(tape("A 1 B 100 5", "A 2 B 100 5"))
    numbers = []
    for _ in range(2):
        with pytest.raises(RuleError) as caught:
            fast.apply(tape("N 0 N - 0", "C 9 B 100 5", "A 3 B 100 5"))
        numbers.append(caught.value.index)
    assert numbers == [3, 4]
    lenient = Books()
    lenient.apply(np.concatenate([tape("A 1 B 100 5"), tape("C 9 B 1 1", instrument_id=8)]))
    assert lenient[1, 8].anomalies["unknown_cancel"].index == 1
