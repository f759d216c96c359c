"""What only the fast book has: many instruments in one pass, shared arrays that grow, numbers of records."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

from mbo.book import Book, Books, ReferenceBook
from mbo.book._queue_kernels import locate
from mbo.book._state_kernels import NIL, hash_of, home
from mbo.errors import InternalError, RequestError, RuleError, SymbolError
from mbo.simulator import simulate
from mbo.symbols import Mapping, SymbolMap
from tests.book.tapes import TICK, record, tape, wild
from tests.book.test_contract import ONE_HASH

pytestmark = pytest.mark.nojit


def two_books() -> Books:
    books = Books(symbols=SymbolMap([Mapping("ESH1", 7), Mapping("CLX5", 8)]))
    books.apply(np.concatenate([tape("A 1 B 100 5"), tape("A 1 B 90 2", instrument_id=8), tape("A 2 A 101 5")]))
    return books


def test_books_are_a_mapping_by_publisher_and_instrument():
    books = two_books()
    assert list(books) == [(1, 7), (1, 8)]
    assert len(books) == 2
    assert (1, 8) in books
    assert (2, 7) not in books
    assert books[1, 8].symbol == "CLX5"
    with pytest.raises(KeyError):
        books[2, 7]
    assert repr(books) == "<Books of 2 instruments, 3 records>"


def test_a_book_is_found_by_symbol_or_id():
    books = two_books()
    assert books.book("ESH1").status.orders == 2
    assert books.book(8).status.orders == 1
    with pytest.raises(SymbolError, match=r"2 books fit no symbol: select a symbol of ESH1 \(publisher 1\), CLX5"):
        books.book()
    with pytest.raises(SymbolError, match="no symbol 'GCZ5' in the data: it has ESH1, CLX5"):
        books.book("GCZ5")
    with pytest.raises(SymbolError, match="no records"):
        Books().book()


def test_one_symbol_at_two_venues_has_to_be_told_apart():
    books = Books(symbols=SymbolMap([Mapping("NVDA", 7)]))
    books.apply(np.concatenate([tape("A 1 B 100 5", publisher_id=2), tape("A 1 B 90 2", publisher_id=3)]))
    with pytest.raises(
        SymbolError, match=r"2 books fit NVDA: select a publisher of NVDA \(publisher 2\), NVDA \(publisher 3\)"
    ):
        books.book("NVDA")
    assert books[3, 7].bbo.bid.price == 90 * TICK


def test_anomalies_carry_the_numbers_of_the_stream():
    books = Books()
    books.apply(tape("A 1 B 100 5", "C 9 B 1 1"))
    books.apply(tape("C 9 B 1 1", instrument_id=8))
    books.apply(tape("A 1 B 100 5", "C 9 B 1 1", instrument_id=9), rows=1000)
    books.apply(tape("A 1 B 100 5", "C 9 B 1 1", instrument_id=10), rows=np.array([5, 77]))
    assert [book.anomalies["unknown_cancel"].index for book in books.values()] == [1, 2, 1001, 77]
    with pytest.raises(RequestError, match="1 row numbers for 2 records"):
        books.apply(tape("A 1 B 100 5", "C 9 B 1 1"), rows=np.array([5]))


def test_a_strict_error_carries_the_number_of_the_stream():
    books = Books(strict=True)
    books.apply(tape("A 1 B 100 5"))
    with pytest.raises(RuleError) as caught:
        books.apply(tape("A 2 B 100 5", "C 3 B 100 5"))
    assert caught.value.index == 2
    with pytest.raises(RuleError) as caught:
        books.apply(tape("A 3 B 100 5", "C 4 B 100 5"), rows=np.array([50, 70]))
    assert caught.value.index == 70


def test_row_numbers_may_be_numpy_s_and_read_only():
    books = Books()
    rows = np.array([5, 77])
    rows.flags.writeable = False
    books.apply(tape("A 1 B 100 5", "C 9 B 1 1"), rows=rows)
    books.apply(tape("C 9 B 1 1", instrument_id=8), rows=np.int64(1000))
    assert [book.anomalies["unknown_cancel"].index for book in books.values()] == [77, 1000]


def test_a_copy_has_its_own_orders():
    book = Book()
    book.apply(tape("A 1 B 100 5"))
    for copied in (copy.copy(book), copy.deepcopy(book), pickle.loads(pickle.dumps(book))):
        copied.apply(tape("A 2 B 101 5"))
        copied.check()
        assert (book.status.orders, copied.status.orders) == (1, 2)


def test_a_second_thread_is_refused_while_one_applies():
    books = Books()
    books.apply(tape("A 1 B 100 5"))
    with books._applying, pytest.raises(RequestError, match="another thread is applying"):
        books.apply(tape("A 2 B 100 5"), rows=700)
    books.apply(tape("A 2 B 100 5", "C 9 B 100 5"))
    assert books.book().status.orders == 2
    assert books.book().anomalies["unknown_cancel"].index == 2, "the one that was refused has renumbered nothing"


@pytest.mark.parametrize("count", [50, 100, 250, 500, 1_000, 3_000])
def test_ids_that_follow_a_pattern_are_found_quickly(count):
    """Probes in a table that is at most half full: a few on average, whatever the ids have in common."""
    patterns = {
        "in a row": range(1, count),
        "halves alike": [n << 32 | n for n in range(count)],
        "upper half only": [n << 32 for n in range(count)],
        "steps of the table": [n * 8192 for n in range(count)],
    }
    for name, ids in patterns.items():
        book = Book()
        records = np.repeat(record("A", 1, "B", 5, 1), len(ids))
        records["order_id"] = ids
        book.apply(records)
        table = book._state.table
        homes = np.array([home(np.uint64(n), 0, len(table) - 1) for n in ids])
        places = np.array([place_of(book, n) for n in ids])
        assert ((places - homes) % len(table)).mean() < 2, name


def test_the_same_id_in_many_books_is_found_quickly():
    many = Books()
    records = np.repeat(record("A", 1, "B", 5, 1), 3_000)
    records["instrument_id"] = np.arange(3_000)
    many.apply(records)
    table = many._state.table
    homes = np.array([home(np.uint64(1), n, len(table) - 1) for n in range(3_000)])
    assert len(set(homes.tolist())) > 1_000


def place_of(book: Book, order_id: int) -> int:
    return locate(book._state, np.uint64(order_id), 0)


def test_a_thousand_instruments_share_the_arrays():
    records = wild(9, 20_000, ids=20, prices=10, books=500)
    books = Books()
    for part in np.array_split(records, 9):
        books.apply(part)
    assert len(books) == 1000
    books[1, 1].check()
    for key in [(1, 1), (2, 250), (1, 500)]:
        slow = ReferenceBook()
        slow.apply(records[(records["publisher_id"] == key[0]) & (records["instrument_id"] == key[1])])
        assert books[key].digest() == slow.digest()
    assert sum(array.nbytes for array in books._state) / 1000 < 3_000  # bytes, not megabytes, for a nearly empty book


def test_the_contracts_ids_of_one_hash_have_one():
    one, other = (hash_of(np.uint64(number), 0) for number in ONE_HASH)
    assert one == other
    assert len({int(hash_of(np.uint64(1), book)) for book in range(5_000)}) == 5_000  # one id in many books has many


def test_ids_that_hash_alike_are_kept_apart():
    """Ids that differ only in the upper half, or by multiples of the table, and the same ids in many books."""
    ids = [n << 32 for n in range(200)] + [n * 4096 for n in range(1, 200)] + [2**64 - 1 - n for n in range(100)]
    records = np.concatenate([record("A", n, "B", n % 7, 1, instrument_id=i) for n in ids for i in (1, 2)])
    books = Books()
    books.apply(records)
    books[1, 1].check()
    assert books[1, 1].status.orders == books[1, 2].status.orders == len(set(ids))
    cancels = records[::3].copy()
    cancels["action"] = ord("C")
    books.apply(cancels)
    books[1, 1].check()
    assert books[1, 1].status.orders + books[1, 2].status.orders == len(records) - len(cancels)
    assert not any(book.anomalies for book in books.values())


def test_levels_far_from_the_best_are_found():
    prices = np.random.default_rng(1).permutation(2_000)
    records = np.concatenate([record("A", int(p) + 1, "B" if p % 2 else "A", int(p), 1) for p in prices])
    book = Book()
    book.apply(records)
    book.check()
    cancels = records[np.random.default_rng(2).permutation(2_000)[:1_500]]
    cancels["action"] = ord("C")
    book.apply(cancels)
    book.check()
    left = sorted(set(records["price"].tolist()) - set(cancels["price"].tolist()))
    assert sorted(level.price for side in ("bid", "ask") for level in book.levels(side)) == left


@pytest.mark.parametrize(("resting", "ahead"), [(300, False), (9_000, True)])
def test_large_books_are_read_ahead_and_end_as_the_simulator_says(resting, ahead):
    session = simulate(40_000, seed=4, resting=resting, instruments=2)
    books = Books()
    for part in np.array_split(session.records, 7):
        books.apply(part)
    assert (books._state.ahead != NIL).any() == ahead
    for book in books.values():
        assert book.digest() == session.digest(book.status.instrument_id)


def test_memory_of_orders_that_left_is_used_again():
    book = Book()
    lines = [line for n in range(200) for line in (f"A {n} B {n % 40} 1", f"C {n} B {n % 40} 1")]
    book.apply(tape(*lines))
    pool = book._state.pool[0]
    assert (pool["orders"], pool["levels"], pool["rungs"]) == (1, 1, 8)
    book.check()


def test_books_of_two_threads_do_not_disturb_each_other():
    records = [wild(seed, 3_000, nonsense=0.02) for seed in (1, 2)]
    found: dict[int, str] = {}

    def build(number: int) -> None:
        books = Books()
        for part in np.array_split(records[number], 30):
            books.apply(part)
        found[number] = "".join(book.digest() for book in books.values())

    threads = [threading.Thread(target=build, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = []
    for own in records:
        books = Books()
        books.apply(own)
        expected.append("".join(book.digest() for book in books.values()))
    assert [found[0], found[1]] == expected


@pytest.mark.parametrize(
    ("array", "field", "value", "complaint"),
    [
        ("levels", "size", 99, "sums to 6, not 99"),
        ("levels", "count", 9, "has 2 orders, not 9"),
        ("levels", "tail", 0, "has another tail"),
        ("levels", "price", 5, "stands at another price"),
        ("orders", "size", 0, "has size 0"),
        ("orders", "prev", 1, "has another one before it"),
        ("orders", "order_id", 77, "is not found by its id"),
        ("rungs", "key", 5 * TICK, "stands at another price"),
        ("books", "orders", 9, "counts its orders wrong"),
        ("sides", "length", 0, "counts its orders wrong"),
    ],
)
def test_check_sees_what_is_broken(array, field, value, complaint):
    book = Book()
    book.apply(tape("A 1 B 100 5", "A 2 B 100 1", "A 3 B 99 1", "A 4 A 101 1"))
    book.check()
    getattr(book._state, array)[0][field] = value
    with pytest.raises(InternalError, match=complaint):
        book.check()


@pytest.mark.parametrize(
    ("array", "value"), [("free_order", 0), ("free_level", 0), ("orders", 5), ("levels", 7), ("rungs", 99)]
)
def test_check_sees_a_broken_pool(array, value):
    book = Book()
    book.apply(tape("A 1 B 100 5", "A 2 B 100 1", "A 3 B 99 1", "A 4 A 101 1"))
    book._state.pool[0][array] = value
    with pytest.raises(InternalError):
        book.check()


def test_check_sees_a_lost_table_entry():
    book = Book()
    book.apply(tape("A 1 B 100 5", "A 2 B 100 1"))
    slots = book._state.table["slot"]
    slots[np.flatnonzero(slots == 1)] = NIL
    with pytest.raises(InternalError, match="hold different orders"):
        book.check()
