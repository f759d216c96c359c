"""The fast book against the readable one, on any stream, sensible or not: same digests, same counters, no crash."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.book import Book, Books, ReferenceBook
from mbo.book import engine as engine_module
from mbo.errors import RuleError
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, RecordArray
from mbo.simulator import simulate
from mbo.units import UNDEF_PRICE, UNDEF_SIZE
from tests.book.tapes import reading_ahead, wild

pytestmark = pytest.mark.nojit

_ONE = st.tuples(
    st.integers(1, 2),  # publisher_id
    st.integers(1, 2),  # instrument_id
    st.integers(0, 5),  # order_id
    st.sampled_from([-1, 0, 1, 2, 2**63 - 2, -(2**63), UNDEF_PRICE]),
    st.sampled_from([0, 1, 2, 3, UNDEF_SIZE - 1, UNDEF_SIZE]),
    st.one_of(st.sampled_from([0, 128, 130, 32, 40, 168, 64, 192, 16, 144, 48, 4, 132]), st.integers(0, 255)),
    st.one_of(st.sampled_from(list(b"AAACCMMTFNR")), st.integers(0, 255)),
    st.one_of(st.sampled_from(list(b"AABBN")), st.integers(0, 255)),
)
_FIELDS = ("publisher_id", "instrument_id", "order_id", "price", "size", "flags", "action", "side")


@st.composite
def streams(draw: st.DrawFn) -> RecordArray:
    """Any records at all, but of few ids, prices and instruments, so that they meet."""
    rows = draw(st.lists(_ONE, max_size=60))
    records = np.zeros(len(rows), MBO_DTYPE)
    records["length"], records["rtype"] = MBO_LENGTH, RTYPE_MBO
    for name, values in zip(_FIELDS, zip(*rows, strict=True), strict=False):
        records[name] = values
    records["ts_event"] = records["ts_recv"] = records["sequence"] = np.arange(len(rows)) + 5
    return records


def by_book(records: RecordArray) -> Iterator[tuple[tuple[int, int], RecordArray]]:
    keys = list(dict.fromkeys(zip(records["publisher_id"].tolist(), records["instrument_id"].tolist(), strict=True)))
    for publisher, instrument in keys:
        yield (
            (publisher, instrument),
            records[(records["publisher_id"] == publisher) & (records["instrument_id"] == instrument)],
        )


def assert_same(fast: Books, records: RecordArray, equal_size: str = "venue") -> None:
    for key, own in by_book(records):
        slow = ReferenceBook(equal_size=equal_size)
        slow.apply(own)
        slow.check()
        assert fast[key].digest() == slow.digest()
        assert fast[key].status == slow.status
        assert fast[key].orders() == slow.orders()
        for side in ("bid", "ask"):
            assert fast[key].levels(side) == slow.levels(side)
        counted = {rule: (a.count, a.order_id, a.ts_event, a.sequence) for rule, a in fast[key].anomalies.items()}
        assert counted == {rule: (a.count, a.order_id, a.ts_event, a.sequence) for rule, a in slow.anomalies.items()}


@given(
    records=streams(),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    equal_size=st.sampled_from(["venue", "loses", "keeps"]),
    ahead=st.booleans(),
)
def test_any_stream_gives_the_same_books(records, cuts, equal_size, ahead):
    fast = Books(equal_size=equal_size)
    if ahead:
        reading_ahead(fast)
    for part in np.split(records, sorted(cut for cut in cuts if cut < len(records))):
        fast.apply(part)
        next(iter(fast.values())).check() if fast else None
    assert len(fast) == len(list(by_book(records)))
    assert_same(fast, records, equal_size)


@given(records=streams())
def test_strict_books_stop_at_the_same_record(records):
    for _, own in by_book(records):
        fast, slow = Book(strict=True), ReferenceBook(strict=True)
        ends = []
        for book in (fast, slow):
            try:
                book.apply(own)
                ends.append(None)
            except RuleError as error:
                ends.append((error.rule, error.index, error.order_id, error.ts_event, error.sequence, str(error)))
        assert ends[0] == ends[1]
        assert (fast.digest(), fast.status, fast.anomalies) == (slow.digest(), slow.status, slow.anomalies)
        fast.check()


@given(records=streams())
def test_a_snapshot_restores_any_book(records):
    for _, own in by_book(records):
        book, restored = Book(), Book()
        book.apply(own)
        restored.apply(book.snapshot())
        assert restored.digest() == book.digest()
        assert restored.orders() == book.orders()
        restored.check()


@pytest.fixture
def cramped(monkeypatch):
    """Arrays that begin as small as they can, so that every one of them grows."""
    for name in ("_ORDERS", "_LEVELS", "_RUNGS", "_BOOKS"):
        monkeypatch.setattr(engine_module, name, 1)


@given(records=streams())
def test_growing_loses_nothing(records):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_ORDERS", "_LEVELS", "_RUNGS", "_BOOKS"):
            patch.setattr(engine_module, name, 1)
        fast = Books()
    fast.apply(records)
    assert_same(fast, records)


@pytest.mark.parametrize(
    ("seed", "ids", "prices", "books", "nonsense"),
    [
        (1, 40, 30, 1, 0.05),
        (2, 3_000, 400, 1, 0.002),
        (3, 200, 60, 12, 0.02),
        (4, 5, 2, 2, 0.6),
        (5, 3_000, 4_000, 2, 0),
    ],
)
def test_long_random_streams_give_the_same_books(seed, ids, prices, books, nonsense, cramped):
    records = wild(seed, 6_000, ids=ids, prices=prices, books=books, nonsense=nonsense)
    fast = Books()
    for part in np.array_split(records, 7):
        fast.apply(part)
        next(iter(fast.values())).check()
    assert_same(fast, records)


def test_all_books_of_a_simulated_session_are_the_simulators_own(cramped):
    session = simulate(6_000, seed=11, instruments=5, resting=60)
    books = Books(strict=True)
    books.apply(session.records)
    assert {key[1]: book.digest() for key, book in books.items()} == {
        n: session.digest(n) for n in session.instrument_ids
    }
    assert not any(book.anomalies for book in books.values())
    assert all(book.synced and book.status.valid and not book.crossed for book in books.values())
    for book in books.values():
        assert [tuple(order)[:4] for order in book.orders()] == [
            (row["order_id"], row["side"], row["price"], row["size"])
            for row in session.orders(book.status.instrument_id)
        ]
