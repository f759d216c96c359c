"""A book restored from its snapshot cannot be told from the original, wherever in the stream the snapshot was taken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mbo
from mbo import _jit
from mbo.book import Book, Books, L3Book, ReferenceBook
from mbo.book.snapshot import snapshot, snapshots
from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray
from mbo.simulator import Feature, simulate
from mbo.units import UNDEF_PRICE
from tests.book.tapes import BAD_TS, LAST, MAYBE_BAD, MBP, SNAPSHOT, TICK, TOB, tape, wild
from tests.book.test_real_books import FILES
from tests.conftest import real

pytestmark = pytest.mark.nojit

NOW = 1_700_000_000_000_000_000


def built(*lines: str) -> Book:
    book = Book()
    book.apply(tape(*lines))
    return book


def restored(book: L3Book) -> Book:
    other = Book(strict=True)  # no record of a snapshot breaks a rule
    other.apply(snapshot(book, ts_recv=NOW))
    other.check()
    return other


# ---------------------------------------------------------------- the records


def test_records_are_an_r_and_the_orders_by_priority():
    book = built("R 0 N - 0", "A 1 B 99 5", "A 2 A 101 3", "A 3 B 100 2", "A 4 B 100 1", "A 5 A 102 7", "M 3 B 100 9")
    records = snapshot(book, ts_recv=NOW)
    assert records.dtype == MBO_DTYPE
    assert records["action"].tolist() == list(b"RAAAAA")
    assert records["side"].tolist() == list(b"NBBBAA")
    assert records["order_id"].tolist() == [0, 4, 3, 1, 2, 5]
    assert records["price"].tolist() == [UNDEF_PRICE, *(price * TICK for price in (100, 100, 99, 101, 102))]
    assert records["size"].tolist() == [0, 1, 9, 5, 3, 7]
    assert records["flags"].tolist() == [40, 40, 40, 40, 40, 168]
    assert records["ts_event"].tolist() == [1004, 1004, 1006, 1001, 1002, 1005]
    alike = {"length": 14, "rtype": 160, "publisher_id": 1, "instrument_id": 7, "ts_recv": NOW} | dict.fromkeys(
        ("sequence", "ts_in_delta", "channel_id"), 0
    )
    for name, value in alike.items():
        assert set(records[name].tolist()) == {value}


def test_key_and_channel_are_the_book_s():
    book = Book()
    book.apply(tape("A 1 B 100 5", publisher_id=57, instrument_id=2**32 - 1, channel_id=26))
    for record in snapshot(book, ts_recv=NOW):
        assert (record["publisher_id"], record["instrument_id"], record["channel_id"]) == (57, 2**32 - 1, 26)


def test_time_of_the_r_is_the_first_order_s_unless_given():
    book = built("R 0 N - 0", "A 1 B 99 5", "A 2 B 100 5")
    assert snapshot(book, ts_recv=NOW)["ts_event"].tolist() == [1002, 1002, 1001]
    assert snapshot(book, ts_recv=NOW, ts_event=NOW - 1)["ts_event"].tolist() == [NOW - 1, 1002, 1001]


def test_an_empty_book_is_a_single_r():
    (record,) = snapshot(built("A 1 B 100 5", "R 0 N - 0"), ts_recv=NOW)
    assert (record["action"], record["flags"], record["ts_event"]) == (Action.CLEAR, 168, 1001)
    (record,) = snapshot(built("R 0 N - 0 8"), ts_recv=NOW)
    assert record["flags"] == 40


def test_inside_an_event_the_last_record_does_not_end_it():
    book = built("R 0 N - 0", "A 1 B 100 5 0")
    records = snapshot(book, ts_recv=NOW)
    assert records["flags"].tolist() == [40, 40]
    assert not restored(book).status.valid


def test_a_book_without_records_has_no_snapshot():
    for book in (Book(), ReferenceBook()):
        with pytest.raises(RequestError, match="has seen no records"):
            snapshot(book, ts_recv=NOW)
    nothing = snapshots(Books(), ts_recv=NOW)
    assert (nothing.dtype, len(nothing)) == (MBO_DTYPE, 0)


def test_snapshots_are_those_of_every_book_in_turn():
    books = Books()
    books.apply(wild(3, 300, books=3))
    expected = np.concatenate([snapshot(book, ts_recv=NOW, ts_event=5) for book in books.values()])
    assert len(books) == 6
    assert snapshots(books, ts_recv=NOW, ts_event=5).tobytes() == expected.tobytes()


def test_a_snapshot_is_a_copy():
    book = built("R 0 N - 0", "A 1 B 100 5")
    records = snapshot(book, ts_recv=NOW)
    before = records.tobytes()
    book.apply(tape("M 1 B 101 9", "C 1 B 101 9"))
    assert records.tobytes() == before


# ---------------------------------------------------------------- how far the restored book is trusted


@pytest.mark.parametrize(
    ("lines", "suspect"),
    [
        pytest.param(["R 0 N - 0", "A 1 B 100 5"], False, id="synced"),
        pytest.param(["A 1 B 100 5"], True, id="not synced"),
        pytest.param(["R 0 N - 0", f"A 1 B 100 5 {LAST | MAYBE_BAD}"], True, id="suspect"),
        pytest.param([f"A 1 B 100 5 {MAYBE_BAD}", "R 0 N - 0"], False, id="empty and sound"),
        pytest.param(["A 1 B 100 5", "C 1 B 100 5"], True, id="empty and not synced"),
    ],
)
def test_a_doubtful_book_is_restored_as_suspect(lines, suspect):
    book = built(*lines)
    records = snapshot(book, ts_recv=NOW)
    assert (records["flags"] & MAYBE_BAD != 0).tolist() == [suspect, *[False] * book.status.orders]
    other = restored(book)
    assert (other.status.synced, other.status.suspect) == (True, suspect)
    assert set(other.anomalies) == ({"maybe_bad_book"} if suspect else set())
    other.apply(tape("R 0 N - 0"))
    assert not other.status.suspect


# ---------------------------------------------------------------- aggregated levels


@pytest.mark.parametrize(
    "follows",
    [
        f"A 0 B 101 4 {TOB | LAST}",
        f"A 0 B - 0 {TOB | LAST}",
        f"C 0 B 100 4 {MBP | LAST}",
        f"M 0 B 100 9 {MBP | LAST}",
        f"A 0 B 100 9 {MBP | LAST}",
        f"A 0 B 99 9 {MBP | LAST}",
        "A 8 B 100 1",
        "C 1 B 100 5",
    ],
)
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"A 0 B 100 4 {TOB | LAST}", f"A 0 A 101 3 {TOB | LAST}"], id="top of book"),
        pytest.param([f"A 0 B 100 4 {MBP}", f"A 0 B 98 2 {MBP}", f"A 0 A 101 3 {MBP | LAST}"], id="levels"),
        pytest.param(["A 1 B 100 5", f"A 0 B 100 4 {MBP}", "A 2 B 100 6", f"A 0 B 99 1 {MBP | LAST}"], id="mixed"),
    ],
)
def test_aggregated_levels_are_restored_in_their_place(lines, follows):
    book = built("R 0 N - 0", *lines)
    other = Book()
    other.apply(snapshot(book, ts_recv=NOW))
    for _ in range(2):
        for side in ("bid", "ask"):
            assert book.levels(side) == other.levels(side)
            assert book.orders(side) == other.orders(side)
        assert book.digest() == other.digest()
        for either in (book, other):
            either.apply(tape(follows))
            either.check()


# ---------------------------------------------------------------- anything that follows


def test_the_exception_is_an_event_that_goes_on_with_a_snapshot_without_r():
    """What the docstring of `snapshot` says cannot be restored, and that it is only this."""
    before, after = tape("R 0 N - 0", "A 1 B 100 5 0"), tape(f"A 2 B 101 3 {SNAPSHOT | BAD_TS | LAST}")
    book = Book()
    book.apply(before)
    other = restored(book)
    for either in (book, other):
        either.apply(after)
    assert (book.status.orders, other.status.orders) == (1, 2)
    assert set(book.anomalies) == {"implied_clear"}


def resumes_as_snapshot(book: L3Book, in_snapshot: bool, own: RecordArray) -> bool:
    """Whether this is that exception; `own` are the book's records that follow."""
    if book.status.valid or in_snapshot:
        return False
    for record in own:
        changes = record["action"] in b"ACM"
        if record["action"] == Action.CLEAR or (changes and not record["flags"] & SNAPSHOT):
            return False
        if record["action"] == Action.ADD:
            return True
        if record["flags"] & LAST:
            return False
    return False


def key_of(record: np.void) -> tuple[int, int]:
    return int(record["publisher_id"]), int(record["instrument_id"])


def books_after(records: RecordArray) -> Books:
    books = Books()
    books.apply(records)
    return books


def digests(records: RecordArray) -> dict[int, str]:
    """The digest of an event's book behind each record that ends an event, by the record's number."""
    books, found, start = Books(), {}, 0
    for end in ends_of(records):
        books.apply(records[start : end + 1])
        found[end], start = books[key_of(records[end])].digest(), end + 1
    return found


def ends_of(records: RecordArray) -> list[int]:
    return np.flatnonzero(records["flags"] & LAST).tolist()


def counts(books: Books) -> dict[tuple[tuple[int, int], str], int]:
    return {(key, rule): anomaly.count for key, book in books.items() for rule, anomaly in book.anomalies.items()}


def gained(after: dict, before: dict) -> dict:
    return {rule: count - before.get(rule, 0) for rule, count in after.items() if count != before.get(rule, 0)}


def assert_undisturbed(records: RecordArray, cuts: Iterable[int], *, follow: int) -> None:
    """Restore all books at each cut, and compare with the undisturbed run behind every event of the next `follow` records, and
    at the end: digests, trust, and the anomalies that have come since.
    """
    truth, whole = digests(records), books_after(records)
    end_digests, end_counts = {key: book.digest() for key, book in whole.items()}, counts(whole)
    source, done = Books(), 0
    for cut in sorted(set(cuts)):
        source.apply(records[done:cut])
        done = cut
        seed = snapshots(source, ts_recv=NOW)
        books = books_after(seed)
        at_cut, seeded = counts(source), counts(books)
        for key, book in source.items():
            assert books[key].digest() == book.digest()
            assert books[key].status.valid == book.status.valid
            assert books[key].status.suspect == (book.status.suspect or not book.status.synced)
        next(iter(books.values()), Book()).check()  # of all books at once
        start = cut
        for end in ends_of(records[cut : cut + follow]):
            books.apply(records[start : cut + end + 1])
            start = cut + end + 1
            assert books[key_of(records[start - 1])].digest() == truth[start - 1], (cut, start - 1)
        books.apply(records[start:])
        assert {key: books[key].digest() for key in end_digests} == end_digests, cut
        assert gained(counts(books), seeded) == gained(end_counts, at_cut), cut
        for key, book in whole.items():
            assert books[key].status.suspect == book.status.suspect or not book.status.synced
    next(iter(books.values()), Book()).check()


def telling_cuts(records: RecordArray, seed: int, count: int) -> list[int]:
    """Cuts anywhere and where it is hardest, `count` each: inside events and snapshots, behind an R, behind a gap, at the ends."""
    random = np.random.default_rng(seed)
    flags = records["flags"].astype(int)
    inside = flags & LAST == 0
    kinds = [
        np.ones(len(records), bool),
        inside,
        inside & (flags & SNAPSHOT != 0),
        records["action"] == Action.CLEAR,
        ~inside & (flags & SNAPSHOT != 0),
        flags & MAYBE_BAD != 0,
    ]
    cuts = {0, 1, len(records)}
    for kind in kinds:
        behind = np.flatnonzero(kind) + 1
        cuts.update(random.choice(behind, min(count, len(behind)), replace=False).tolist())
    return sorted(cuts)


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_simulated_session_goes_on_undisturbed_from_any_cut(seed):
    messages, count = (6_000, 12) if _jit.JIT else (800, 2)
    records = simulate(messages, seed=seed, instruments=3, resting=25, features=Feature.ALL).records
    assert_undisturbed(records, telling_cuts(records, seed, count), follow=600 if _jit.JIT else 100)


def test_a_short_session_goes_on_undisturbed_from_every_cut():
    messages, step = (1_500, 1) if _jit.JIT else (400, 23)
    records = simulate(messages, seed=8, instruments=2, resting=10, features=Feature.ALL).records
    assert {Action.CLEAR, Action.ADD, Action.TRADE} <= set(records["action"].tolist())
    assert_undisturbed(records, range(0, len(records) + 1, step), follow=20)


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_a_real_file_goes_on_undisturbed_from_any_cut(name):
    records = mbo.read_dbn(real(name)).load()
    if not _jit.JIT:
        records = records[-3_000:]
    assert_undisturbed(records, telling_cuts(records, 5, 12 if _jit.JIT else 1), follow=500 if _jit.JIT else 100)


@given(st.integers(0, 2**32), st.integers(0, 120), st.sampled_from([0.0, 0.1, 0.6]))
@example(seed=7, cut=0, nonsense=0.6)
def test_any_stream_goes_on_undisturbed_from_any_cut(seed, cut, nonsense):
    records = wild(seed, 120, ids=6, prices=6, books=1, nonsense=nonsense)
    random = np.random.default_rng(seed)
    restoring = random.random(len(records)) < random.choice(
        [0, 0.1, 0.5]
    )  # snapshots with and without an R, in any place
    records["flags"][restoring] |= np.uint8(SNAPSHOT)
    books = books_after(records[:cut])
    for key, book in books.items():
        own = records[cut:][(records["publisher_id"][cut:] == key[0]) & (records["instrument_id"][cut:] == key[1])]
        if resumes_as_snapshot(book, bool(book._state.books[book._index]["in_snapshot"]), own):
            return
    assert_undisturbed(records, [cut], follow=120)


@given(st.integers(0, 2**32))
def test_the_readable_book_writes_the_same_snapshot(seed):
    records = wild(seed, 80, ids=6, prices=6, books=1, nonsense=0.3)
    records["publisher_id"] = 1
    fast, slow = Book(), ReferenceBook()
    for part in np.array_split(records, 4):
        fast.apply(part)
        slow.apply(part)
        written = snapshot(fast, ts_recv=NOW)
        assert snapshot(slow, ts_recv=NOW).tobytes() == written.tobytes()
        again = ReferenceBook(strict=True)
        again.apply(written)
        again.check()
        assert again.digest() == slow.digest()
        assert (again.status.synced, again.status.valid) == (True, slow.status.valid)


@pytest.mark.parametrize("equal_size", ["loses", "keeps"])
def test_an_equal_size_is_treated_as_before_by_books_made_alike(equal_size):
    book, other = Book(equal_size=equal_size), Book(equal_size=equal_size)
    book.apply(tape("R 0 N - 0", "A 1 B 100 5", "A 2 B 100 5"))
    other.apply(snapshot(book, ts_recv=NOW))
    for either in (book, other):
        either.apply(tape("M 1 B 100 5"))
    assert book.digest() == other.digest()
    assert snapshot(other, ts_recv=NOW)["flags"][-1] == int(Flag.SNAPSHOT | Flag.BAD_TS_RECV | Flag.LAST)
