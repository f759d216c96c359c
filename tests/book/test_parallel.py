"""Books on several threads: whatever the records, and wherever they are cut, what one thread makes of them."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mbo
from mbo.book import Books, ParallelBooks, engine
from mbo.book import _parting_kernels as parting
from mbo.errors import InternalError, RequestError, SymbolError
from mbo.records import MBO_DTYPE, RecordArray
from mbo.simulator import simulate, write_session
from tests.book.tapes import wild
from tests.book.test_property import streams

pytestmark = pytest.mark.nojit


def assert_alike(parallel: ParallelBooks, books: Books) -> None:
    assert set(parallel) == set(books)
    for key, book in books.items():
        other = parallel[key]
        assert other.digest() == book.digest()
        assert other.status == book.status
        assert other.anomalies == book.anomalies
        assert other.symbol == book.symbol
        other.check()


def applied(records: RecordArray, threads: int, cuts: list[int]) -> ParallelBooks:
    books = ParallelBooks(threads)
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(records)]):
        books.apply(records[begin:end])
    return books


@pytest.mark.parametrize("threads", [2, 3, 64])
@pytest.mark.parametrize("at_once", [1, 100, 1 << 18])
def test_many_instruments_and_nonsense(monkeypatch: pytest.MonkeyPatch, threads: int, at_once: int):
    monkeypatch.setattr(ParallelBooks, "AT_ONCE", at_once)
    records = wild(7, 300, books=23, ids=12)
    books = Books()
    books.apply(records)
    assert sum(each.count for book in books.values() for each in book.anomalies.values()) > 10
    assert_alike(applied(records, threads, [17, 150]), books)


@pytest.mark.parametrize("at_once", [60, 1 << 18])
def test_numbers_come_from_the_stream(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(ParallelBooks, "AT_ONCE", at_once)
    records = wild(3, 400, books=5, ids=9)
    for rows in (1000, np.arange(400) * 7 + 2**40, (np.arange(400) * 7 + 2**40).tolist()):
        books, parallel = Books(), ParallelBooks()
        for part in (books, parallel):
            part.apply(records, rows=rows)
            part.apply(records[:50])  # numbered on
        if isinstance(rows, int):
            assert_alike(parallel, books)
        else:
            firsts = [{rule: found.index for rule, found in book.anomalies.items()} for book in books.values()]
            assert firsts == [{rule: found.index for rule, found in parallel[key].anomalies.items()} for key in books]
            assert any(index >= 2**40 for found in firsts for index in found.values())


@given(streams(), st.integers(2, 5), st.lists(st.integers(0, 60), max_size=3))
def test_any_records(records: RecordArray, threads: int, cuts: list[int]):
    books = Books()
    books.apply(records)
    assert_alike(applied(records, threads, cuts), books)


def test_every_thread_has_a_share():
    parallel = ParallelBooks(2)
    parallel.apply(simulate(2000, seed=2, instruments=50, resting=10).records)
    assert min(map(len, parallel._parts)) > 10
    assert list(parallel) == sorted(parallel)
    assert repr(parallel) == "<ParallelBooks of 50 instruments on 2 threads>"


def test_the_first_stretch_and_the_last_of_every_thread():
    records = wild(1, 20_000, books=1)
    records["instrument_id"] = np.arange(20_000)
    limits = {limit + step for limit in ParallelBooks(7)._limits for step in (-1, 0)} & set(range(parting.STRETCHES))
    stretches = [int(parting.stretch_of(record)) for record in records]
    assert set(stretches) >= limits
    records = records[np.isin(stretches, list(limits))]
    books = Books()
    books.apply(records)
    assert_alike(applied(records, 7, []), books)


def test_a_record_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch):
    parallel = ParallelBooks(2)
    parallel._limits[1] += 1  # a stretch that both take
    parallel._limits[2] -= 1000  # and many that neither does
    with pytest.raises(InternalError, match="of 2,000 records were applied"):
        parallel.apply(simulate(2000, seed=2, instruments=50, resting=10).records)


def test_a_second_caller_is_refused(monkeypatch: pytest.MonkeyPatch):
    records, parallel = wild(1, 10), ParallelBooks(2)

    def applies(self: Books, *args: object, **options: object) -> None:
        parallel.apply(records, rows=7)

    with monkeypatch.context() as patched:
        patched.setattr(engine.Books, "apply", applies)
        with pytest.raises(RequestError, match="another thread is applying"):
            parallel.apply(records, rows=500)
    assert parallel._position == 500  # the one that was refused has not renumbered it
    again = copy.deepcopy(parallel)
    assert [len(records) for records, _ in again._taken] == [0, 0]
    again.apply(records)
    assert sum(book.status.messages for book in again.values()) == 10
    assert len(parallel) == 0


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch):
    def fails(self: Books, what: int) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine.Books, "_grow", fails)
    with pytest.raises(MemoryError, match="no room"):
        ParallelBooks(2).apply(simulate(2000, seed=2, instruments=50, resting=10).records)


@pytest.mark.parametrize("threads", [-1, 0, 1, 65])
def test_how_many_threads_there_can_be(threads: int):
    with pytest.raises(RequestError, match=f"{threads} threads: from 2 to 64"):
        ParallelBooks(threads)


def test_as_many_numbers_as_records():
    with pytest.raises(RequestError, match="2 row numbers for 1 records"):
        ParallelBooks().apply(np.zeros(1, MBO_DTYPE), rows=np.arange(2))


def test_nothing_is_found_in_nothing():
    parallel = ParallelBooks()
    parallel.apply(np.zeros(0, MBO_DTYPE))
    assert len(parallel) == 0
    with pytest.raises(KeyError):
        parallel[1, 1]
    with pytest.raises(SymbolError, match="there is no book"):
        parallel.book()


def test_a_day_on_two_threads(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ParallelBooks, "AT_ONCE", 700)
    write_session(tmp_path / "day.dbn", 3000, seed=5, instruments=9)
    day = mbo.read_dbn(tmp_path / "day.dbn")
    middle = int(day.load()["ts_recv"][1700])
    narrower = day.select(day.symbols[:4])
    for records, at in ((day, None), (day, middle), (narrower, None), (narrower, middle)):
        assert_alike(records.books(at=at, threads=2), records.books(at=at))
    assert day.books(threads=2).book(day.symbols[3]).status == day.book(day.symbols[3]).status
    with pytest.raises(RequestError, match="strict=True with 2 threads"):
        day.books(threads=2, strict=True)
    with pytest.raises(RequestError, match="threads=0: one at least"):
        day.books(threads=0)


def test_a_day_whose_opening_was_inferred(tmp_path):
    write_session(tmp_path / "day.dbn", 9000, seed=5, instruments=4)
    day = mbo.read_dbn(tmp_path / "day.dbn")
    later = day.select(start=int(day.load()["ts_recv"][5000]))
    opening = later.infer_opening()
    assert len(opening.records) > 0
    assert_alike(later.books(opening=opening, threads=3), later.books(opening=opening))
