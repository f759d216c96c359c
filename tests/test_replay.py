"""Records: files in order, selections, and the book at an instant against a replay cut there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mbo
from mbo import dbn
from mbo.book import ReferenceBook, Status
from mbo.errors import DataError, FormatError, RequestError, RuleError, SymbolError, TimeError, TruncatedError
from mbo.records import Flag, RecordArray
from mbo.replay import Records
from mbo.units import UNDEF_TIMESTAMP, format_time, parse_time
from tests.book.tapes import tape, wild
from tests.builders import DAY, NOON, SYSTEM, dbn_bytes, frames, mapping, other, stream, write
from tests.conftest import real

NS_PER_DAY = 86_400 * 10**9


def day_of(tmp_path: Path, records: RecordArray, name: str = "day.dbn", **header: object) -> Records:
    return mbo.read_dbn(write(tmp_path / name, dbn_bytes(records, **header)))


# ---------------------------------------------------------------- opening


def test_one_path_several_or_a_pattern(tmp_path):
    files = [write(tmp_path / f"{k}.dbn", dbn_bytes(stream(k + 1), start=DAY + k)) for k in range(3)]
    for paths in (str(tmp_path / "*.dbn"), tmp_path / "?.dbn", files, list(map(str, reversed(files))), iter(files)):
        day = mbo.read_dbn(paths)
        assert [file.path for file in day.files] == files, "in the order of their start"
        assert len(day.load()) == 6
    assert [file.path for file in mbo.read_dbn(files[1]).files] == [files[1]]
    assert len(mbo.read_dbn([str(tmp_path / "[01].dbn"), files[2]]).files) == 3


def test_name_that_looks_like_a_pattern(tmp_path):
    path = write(tmp_path / "day[1].dbn", dbn_bytes(stream(1)))
    assert mbo.read_dbn(path).files[0].path == path


def test_opening_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file matches .*nothing-\*\.dbn"):
        mbo.read_dbn(tmp_path / "nothing-*.dbn")
    with pytest.raises(FileNotFoundError):
        mbo.read_dbn(tmp_path / "missing.dbn")
    with pytest.raises(FormatError, match="is a directory"):
        mbo.read_dbn(tmp_path)
    with pytest.raises(RequestError, match="no files to read"):
        mbo.read_dbn([])


def test_two_datasets_are_not_one_stream(tmp_path):
    paths = [write(tmp_path / name, dbn_bytes(stream(1), dataset=name)) for name in ("GLBX.MDP3", "XNAS.ITCH")]
    with pytest.raises(RequestError, match=r"different datasets \(GLBX.MDP3, XNAS.ITCH\): read them one by one"):
        mbo.read_dbn(paths)


def test_opening_reads_headers_only(tmp_path):
    day = mbo.read_dbn(write(tmp_path / "cut.dbn", dbn_bytes(stream(3))[:-1]))
    assert day.dataset == "GLBX.MDP3"
    assert day.symbols == ["AAA"]
    assert day.covers == (DAY, DAY + NS_PER_DAY - 1)
    assert repr(day) == "<Records of cut.dbn, GLBX.MDP3>"
    assert repr(day.select("AAA")) == "<Records of cut.dbn, GLBX.MDP3, selected>"
    assert "AAA" in day._repr_html_()
    with pytest.raises(TruncatedError):
        day.load()


def test_covers_without_an_end(tmp_path):
    for end in (None, UNDEF_TIMESTAMP):
        assert day_of(tmp_path, stream(1), end=end).covers == (DAY, DAY)


def test_display_of_a_live_recording_does_not_read_it(tmp_path):
    data = dbn_bytes(stream(3), between={0: [mapping(7, "<b>")]}, schema=None)
    day = mbo.read_dbn(write(tmp_path / "live.dbn", data[:-1]))
    assert "live.dbn" in day._repr_html_()
    day = mbo.read_dbn(write(tmp_path / "live.dbn", data))
    assert day.symbols == ["<b>"]
    assert "&lt;b&gt;" in day._repr_html_()


# ---------------------------------------------------------------- records out


def test_load_of_one_plain_file_is_a_view_of_it(tmp_path):
    records = stream(1_000)
    day = day_of(tmp_path, records)
    loaded = day.load()
    assert loaded.tobytes() == records.tobytes()
    assert not loaded.flags.owndata
    base = loaded
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base.obj if isinstance(base, memoryview) else base).__name__ == "mmap"


@pytest.mark.parametrize("count", [0, 1_000])
def test_load_is_read_only_however_it_came(tmp_path, count):
    records = stream(count)
    days = [
        day_of(tmp_path, records),
        mbo.read_dbn(write(tmp_path / "day.dbn.zst", frames(dbn_bytes(records)))),
        day_of(tmp_path, records, "ts_out.dbn", ts_out=True),
        day_of(tmp_path, records).select(7),
    ]
    for day in days:
        assert day.load().tobytes() == records.tobytes()
        assert not day.load().flags.writeable
        assert all(not batch.flags.writeable for batch in day.batches())


def test_files_follow_each_other_as_one_stream(tmp_path):
    parts = [stream(70_000, seed=1), stream(10, seed=2), stream(500, seed=3)]
    data = [dbn_bytes(part, start=DAY + k) for k, part in enumerate(parts)]
    paths = [write(tmp_path / f"{k}", frames(one) if k == 1 else one) for k, one in enumerate(data)]
    day = mbo.read_dbn(paths)
    assert day.load().tobytes() == np.concatenate(parts).tobytes()
    stretches = list(day._stretches("reading"))
    assert np.concatenate([stretch.numbers for stretch in stretches]).tolist() == list(range(70_510))
    assert stretches[-1].read_bytes == sum(path.stat().st_size for path in paths)


def test_batches_before_the_damage_are_given(tmp_path):
    data = dbn_bytes(stream(100_000))
    day = mbo.read_dbn(write(tmp_path / "cut.dbn", data[:-1]))
    batches = day.batches()
    assert len(next(batches)) + len(next(batches)) == 99_999
    with pytest.raises(TruncatedError, match="record 99999"):
        next(batches)


# ---------------------------------------------------------------- selections

TWO_DAYS = {
    "AAA": [("2025-01-06", "2025-01-07", "7"), ("2025-01-07", "2025-01-08", "8")],
    "BBB": [("2025-01-06", "2025-01-07", "8"), ("2025-01-07", "2025-01-08", "7")],
    "CCC": [("2025-01-06", "2025-01-08", "9")],
}


@pytest.fixture
def two_days(tmp_path, monkeypatch):
    """Half of the records on each of two days, between which AAA and BBB change their ids."""
    monkeypatch.setattr(dbn, "BATCH_RECORDS", 300)
    records = stream(1_000, instruments=[7, 8, 9])
    records["ts_recv"][500:] += NS_PER_DAY
    records["publisher_id"][::3] = 2
    return day_of(tmp_path, records, intervals=TWO_DAYS)


def rows(day: Records) -> list[int]:
    return [number for stretch in day._stretches("reading") for number in stretch.numbers.tolist()]


def expected_rows(day: Records, first_id: Iterable[int], second_id: Iterable[int]) -> list[int]:
    ids = day.load()["instrument_id"].tolist()
    return [k for k, one in enumerate(ids) if one in (first_id if k < 500 else second_id)]


def test_select_symbols_that_change_their_meaning(two_days):
    assert rows(two_days.select("AAA")) == expected_rows(two_days, [7], [8])
    assert rows(two_days.select("BBB")) == expected_rows(two_days, [8], [7])
    assert rows(two_days.select(["AAA", "CCC"])) == expected_rows(two_days, [7, 9], [8, 9])
    assert rows(two_days.select(["AAA", 7])) == expected_rows(two_days, [7], [7, 8])
    assert rows(two_days.select(("AAA", "BBB", "CCC"))) == list(range(1_000))
    assert two_days.symbols == ["AAA", "BBB", "CCC"]
    assert two_days.select(["CCC", "AAA"]).symbols == ["CCC", "AAA"]


@pytest.mark.parametrize("number", [8, "8", np.uint32(8), np.int64(8)], ids=repr)
def test_select_an_instrument_id(two_days, number):
    assert rows(two_days.select(number)) == expected_rows(two_days, [8], [8])
    assert two_days.select(number).symbols == ["8"]


def test_select_publisher_and_time(two_days):
    records = two_days.load()
    start, end = NOON + 350, NOON + NS_PER_DAY + 700
    chosen = two_days.select("CCC", start=start, end=end, publisher_id=2)
    mask = (records["instrument_id"] == 9) & (records["publisher_id"] == 2)
    mask &= (records["ts_recv"] >= start) & (records["ts_recv"] < end)
    assert rows(chosen) == np.flatnonzero(mask).tolist()
    assert chosen.load().tobytes() == records[mask].tobytes()
    assert rows(two_days.select(start=NOON + 998, by="event")) == [998, 999]
    assert rows(two_days.select(end=format_time(NOON + 102))) == [0, 1]


def test_select_again_replaces_its_kind_and_keeps_the_rest(two_days):
    first = two_days.select("AAA", start=NOON + 150, end=NOON + 200)
    assert rows(first.select("BBB")) == rows(two_days.select("BBB", start=NOON + 150, end=NOON + 200))
    assert rows(first.select(publisher_id=2)) == [row for row in rows(first) if row % 3 == 0]
    assert rows(first.select(end=NOON + 160)) == rows(two_days.select("AAA", end=NOON + 160))
    assert rows(first.select()) == rows(first)
    assert len(rows(two_days)) == 1_000, "a selection changes nothing"


def test_select_nonsense(two_days):
    with pytest.raises(SymbolError, match=r"no symbol 'DDD' in the data: it has AAA, BBB, CCC"):
        two_days.select("DDD")
    with pytest.raises(SymbolError, match="the list is empty"):
        two_days.select([])
    with pytest.raises(TimeError, match="the end has to be later"):
        two_days.select(start=NOON, end=NOON)
    with pytest.raises(TimeError, match="is not a time"):
        two_days.select(start="noon")
    with pytest.raises(RequestError, match="by='clock': it is 'recv' or 'event'"):
        two_days.select(start=NOON, by="clock")


def test_column_of_symbols_follows_the_days(two_days):
    names = two_days.arrow().read()["symbol"].to_pylist()
    first, second = {7: "AAA", 8: "BBB", 9: "CCC"}, {7: "BBB", 8: "AAA", 9: "CCC"}
    ids = two_days.load()["instrument_id"].tolist()
    assert names == [(first if k < 500 else second)[one] for k, one in enumerate(ids)]


@pytest.mark.parametrize("version", [1, 3])
def test_symbols_of_a_live_recording_come_from_its_records(tmp_path, version):
    between = {0: [mapping(7, "AAA", version=version)], 90: [mapping(8, "BBB", version=version), other(SYSTEM)]}
    records = stream(100, instruments=[7, 8])
    for name, pack in (("live.dbn", bytes), ("live.dbn.zst", frames)):
        data = pack(dbn_bytes(records, between=between, version=version, schema=None))
        day = mbo.read_dbn(write(tmp_path / name, data))
        assert day.symbols == ["AAA", "BBB"]
        assert rows(day.select("BBB")) == np.flatnonzero(records["instrument_id"] == 8).tolist()
        assert set(day.arrow().read()["symbol"].to_pylist()) == {"AAA", "BBB"}


# ---------------------------------------------------------------- the book at an instant


State = dict[tuple[int, int], tuple[str, Status]]


def cuts(records: RecordArray, instants: Iterable[int], field: str) -> Iterator[tuple[int, State]]:
    """Replay event by event: the books of every instant, each up to the first F_LAST record that is later than it."""
    times = records[field]
    keys = list(zip(records["publisher_id"].tolist(), records["instrument_id"].tolist(), strict=True))
    books = {key: ReferenceBook() for key in keys}
    places = {key: np.flatnonzero([one == key for one in keys]) for key in books}
    done = dict.fromkeys(books, 0)
    state: State = {}
    for at in sorted(instants):
        for key, place in places.items():
            own = records[place]
            clock = times[place]
            ends = np.flatnonzero((own["flags"] & 128 != 0) & (clock != UNDEF_TIMESTAMP))
            late = clock[ends] > at
            ends = ends[: late.argmax()] if late.any() else ends
            if len(ends) and ends[-1] >= done[key]:
                books[key].apply(own[done[key] : ends[-1] + 1])
                done[key] = int(ends[-1]) + 1
                state[key] = books[key].digest(), books[key].status
        yield at, state


def assert_books_are_replays(day: Records, instants: Iterable[int], by: str = "recv") -> int:
    compared = 0
    for at, expected in cuts(day.load(), instants, f"ts_{by}"):
        try:
            found = day.books(at=at, by=by)
        except TimeError as error:
            assert "outside the data" in str(error)  # noqa: PT017
            continue
        assert {key: (book.digest(), book.status) for key, book in found.items()} == expected, at
        compared += len(found)
    return compared


def random_instants(records: RecordArray, count: int, field: str = "ts_recv") -> list[int]:
    first, last = int(records[field].min()), int(records[field].max())
    return np.random.default_rng(3).integers(first, last, count, endpoint=True, dtype=np.uint64).tolist()


def around_events(records: RecordArray, count: int, field: str = "ts_recv") -> list[int]:
    ends = np.flatnonzero(records["flags"] & int(Flag.LAST))
    chosen = records[field][np.random.default_rng(4).choice(ends[1:-1], count, replace=False)].tolist()
    return [time + shift for time in chosen for shift in (-1, 0, 1)]


REAL = [
    "CLX5_mbo.dbn",
    "ESM4_20240508_snapshot.mbo.dbn.zst",
    "databento/ESH1_20201228T13.mbo.dbn.zst",
    "databento/XNAS.ITCH__test_data.mbo.dbn.zst",
]


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_book_at_is_a_replay_cut_there_on_real_files(name):
    day = mbo.read_dbn(real(name))
    records = day.load()
    assert assert_books_are_replays(day, random_instants(records, 200)) > 100
    if len(records) > 1_000:
        assert assert_books_are_replays(day, around_events(records, 10)) == 30
        live = records[records["ts_event"] >= records["ts_recv"].min()]  # not the orders of a snapshot, which are older
        assert assert_books_are_replays(day, random_instants(live, 10, "ts_event"), by="event") == 10


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    session = mbo.simulate(20_000, seed=11, instruments=3, resting=60)
    ids = dict(zip(session.symbols, session.instrument_ids, strict=True))
    intervals = {symbol: [("2024-01-01", "2030-01-01", str(number))] for symbol, number in ids.items()}
    header = {"intervals": intervals, "start": session.metadata.start, "end": session.metadata.end}
    return day_of(tmp_path_factory.mktemp("simulated"), session.records, **header)


@pytest.mark.parametrize("by", ["recv", "event"])
def test_book_at_is_a_replay_cut_there_on_a_simulated_session(simulated, by):
    records, field = simulated.load(), f"ts_{by}"
    live = records[records["ts_event"] > records["ts_recv"].min()]
    assert assert_books_are_replays(simulated, random_instants(live, 200, field), by) > 500
    assert assert_books_are_replays(simulated, around_events(live, 10, field), by) == 90


def test_book_at_by_symbol_is_that_of_the_whole_stream(simulated):
    records = simulated.load()
    for at in random_instants(records, 10):
        books = simulated.books(at=at)
        for symbol in simulated.symbols:
            book = simulated.book(symbol, at=at)
            assert book.symbol == symbol
            assert book.digest() == books.book(symbol).digest()
            assert book.status == books.book(symbol).status
    end = simulated.books()
    assert simulated.books(at=int(records["ts_recv"].max()))[1, 1001].digest() == end[1, 1001].digest()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    jumps=st.lists(st.integers(-40, 40), min_size=60, max_size=60),
    undef=st.sets(st.integers(0, 59), max_size=6),
    by=st.sampled_from(["recv", "event"]),
    data=st.data(),
)
def test_book_at_on_clocks_that_jump(tmp_path, seed, jumps, undef, by, data):
    records = wild(seed, 60, books=2)
    records["ts_event"] = NOON + np.arange(60) * 3 + np.array(jumps)
    records["ts_recv"] = NOON + 50 + np.cumsum(jumps)
    records["ts_recv"][sorted(undef)] = UNDEF_TIMESTAMP
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbn, "BATCH_RECORDS", data.draw(st.sampled_from([1, 25, 1_000])))
        day = day_of(tmp_path, records)
        assert_books_are_replays(day, range(NOON - 100, NOON + 500, 7), by)


EVENTS = tape(
    "A 1 B 100 5",  # event 0, of one record
    "A 2 A 110 5 0",  # event 1, of two records and two ts_recv
    "A 3 A 111 5",
    "C 1 B 100 5",  # event 2: as late by ts_recv as event 4, though before it
    "A 4 B 101 5",  # event 3: its ts_recv goes back before event 1's
    "A 5 B 102 5",  # event 4
    "A 6 B 103 5 0",  # the beginning of an event that never ends
)
EVENTS["ts_event"] = NOON + np.array([0, 10, 10, 20, 30, 40, 50])
EVENTS["ts_recv"] = NOON + np.array([5, 15, 17, 45, 16, 45, 55])


@pytest.mark.parametrize(
    ("at", "orders"),
    [
        (5, [1]),
        (14, [1]),
        (15, [1]),  # order 2 is there, its event is not yet
        (16, [1]),  # event 3 was received by then, but stands behind what was not
        (17, [1, 2, 3]),
        (44, [1, 2, 3]),
        (45, [5, 4, 2, 3]),
        (54, [5, 4, 2, 3]),
        (55, [5, 4, 2, 3]),  # the last record has no F_LAST behind it
    ],
)
def test_book_at_is_complete_events_in_the_order_of_the_file(tmp_path, at, orders):
    book = day_of(tmp_path, EVENTS).book(at=NOON + at)
    assert [order.order_id for order in book.orders()] == orders
    assert book.status.valid


@pytest.mark.parametrize(
    ("at", "orders"), [(0, [1]), (9, [1]), (10, [1, 2, 3]), (20, [2, 3]), (39, [4, 2, 3]), (50, [5, 4, 2, 3])]
)
def test_book_at_by_the_matching_engine_s_clock(tmp_path, at, orders):
    assert [order.order_id for order in day_of(tmp_path, EVENTS).book(at=NOON + at, by="event").orders()] == orders


def test_book_without_at_is_after_the_last_record(tmp_path):
    book = day_of(tmp_path, EVENTS).book()
    assert [order.order_id for order in book.orders("bid")] == [6, 5, 4]
    assert not book.status.valid


def test_a_snapshot_with_old_times_is_not_seen_before_it_came(tmp_path):
    """The daily snapshot bears its orders' own ts_event, and that of an empty book has no ts_recv: spec 2.7."""
    records = np.concatenate(
        [tape("A 1 B 100 5", "A 2 B 101 5", "C 2 B 101 5"), tape("R 0 N - 0 40", "A 1 B 100 5 168")]
    )
    records["ts_event"] = NOON + np.array([0, 10, 50, 0, 0])
    records["ts_recv"] = NOON + np.array([0, 10, 50, 80, 80])
    day = day_of(tmp_path, records)
    for by in ("recv", "event"):
        assert [order.order_id for order in day.book(at=NOON + 20, by=by).orders()] == [2, 1]
        assert [order.order_id for order in day.book(at=NOON + 50, by=by).orders()] == [1]
    empty = np.concatenate([records[:2], tape("R 0 N - 0 168"), tape("A 7 B 100 5")])
    empty["ts_event"] = NOON + np.array([0, 10, 5, 90])
    empty["ts_recv"] = np.array([NOON, NOON + 10, UNDEF_TIMESTAMP, NOON + 90], np.uint64)
    day = day_of(tmp_path, empty)
    assert [order.order_id for order in day.book(at=NOON + 20).orders()] == [2, 1]
    assert [order.order_id for order in day.book(at=NOON + 90).orders()] == [7]


def test_book_at_counts_a_record_without_ts_recv_with_the_next(tmp_path):
    records = EVENTS.copy()
    records["ts_recv"][0] = UNDEF_TIMESTAMP
    with pytest.raises(TimeError, match="no event of AAA is complete"):
        day_of(tmp_path, records).book(at=NOON + 15)
    assert [order.order_id for order in day_of(tmp_path, records).book(at=NOON + 17).orders()] == [1, 2, 3]
    records["ts_recv"] = records["ts_event"] = UNDEF_TIMESTAMP
    with pytest.raises(TimeError, match="no event of AAA is complete"):
        day_of(tmp_path, records).book(at=NOON)


def test_book_at_outside_the_data(tmp_path):
    day = day_of(tmp_path, EVENTS, start=NOON - 10, end=NOON + 100)
    message = rf"is outside the data, which goes from {format_time(NOON - 10)} to {format_time(NOON + 99)}"
    for at in (NOON - 11, NOON + 100, 0, "2026-01-01", UNDEF_TIMESTAMP - 1):
        with pytest.raises(TimeError, match=message):
            day.book(at=at)
    for at in (NOON - 10, NOON + 4):
        with pytest.raises(TimeError, match=f"no event of AAA is complete at {format_time(at)}"):
            day.book(at=at)
        assert len(day.books(at=at)) == 0
    assert day.book(at=NOON + 99).digest() == day.book(at=NOON + 55).digest()
    with pytest.raises(TimeError, match="is not a time"):
        day.book(at="now")


def test_book_at_beyond_a_header_that_does_not_know_its_end(tmp_path):
    day = day_of(tmp_path, EVENTS, start=NOON + 10, end=None)
    assert day.book(at=NOON + 5).status.orders == 1, "records before the header's start are data too"
    assert day.book(at=NOON + 55).status.orders == 4
    with pytest.raises(TimeError, match=f"to {format_time(NOON + 55)}"):
        day.book(at=NOON + 56)


def test_book_at_of_several_instruments_and_venues(tmp_path):
    second, venue = tape("A 2 B 101 5", "A 3 B 99 1", instrument_id=8), tape("A 4 B 100 1", publisher_id=2)
    records = np.concatenate([tape("A 1 B 100 5"), second, venue])
    records["ts_recv"] = records["ts_event"] = NOON + np.array([0, 10, 20, 30])
    day = day_of(tmp_path, records, symbols={"AAA": 7, "BBB": 8})
    assert [len(day.books(at=NOON + at)) for at in (0, 10, 20, 30)] == [1, 2, 2, 3]
    assert day.book("BBB", at=NOON + 15).status.orders == 1
    with pytest.raises(TimeError, match="no event of BBB is complete"):
        day.book("BBB", at=NOON + 9)
    with pytest.raises(SymbolError, match="3 books"):
        day.book()
    with pytest.raises(SymbolError, match="2 books"):
        day.book("AAA")
    assert day.select("AAA", publisher_id=2).book().status.publisher_id == 2
    with pytest.raises(SymbolError, match="there are no records of 9 in the data"):
        day.book(9)
    with pytest.raises(SymbolError, match="no symbol 'CCC'"):
        day.book("CCC", at=NOON)


def test_rows_of_a_selection_s_anomalies_are_those_of_the_stream(tmp_path):
    records = np.concatenate([tape("A 1 B 100 5", instrument_id=8), tape("A 1 B 100 5", "C 9 B 100 5")])
    files = [
        write(tmp_path / "1.dbn", dbn_bytes(stream(70_000, instruments=[8]), start=DAY)),
        write(tmp_path / "2.dbn", dbn_bytes(records, start=DAY + 1)),
    ]
    day = mbo.read_dbn(files).select(7)
    assert day.book().anomalies["unknown_cancel"].index == 70_002
    with pytest.raises(RuleError) as raised:
        day.book(strict=True)
    assert (raised.value.index, raised.value.order_id, raised.value.rule) == (70_002, 9, "unknown_cancel")
    assert day.book(strict=True, at=int(records["ts_recv"][1])).status.orders == 1, "what is later is not looked at"


def test_book_of_a_selection_sees_the_selected_records_only(tmp_path):
    day = day_of(tmp_path, EVENTS)
    assert [order.order_id for order in day.select(start=NOON + 16, end=NOON + 46).book().orders()] == [5, 4, 3]
    with pytest.raises(SymbolError, match="there are no records of AAA in the data"):
        day.select(end=NOON).book()


def test_book_of_a_symbol_whose_id_changes(tmp_path):
    records = np.concatenate([tape("A 1 B 100 5"), tape("A 2 B 100 5", instrument_id=8)])
    records["ts_recv"] = NOON, NOON + NS_PER_DAY
    day = day_of(tmp_path, records, intervals=TWO_DAYS)
    assert [(key, book.symbol) for key, book in day.select("AAA").books().items()] == [((1, 7), "AAA"), ((1, 8), "AAA")]
    assert day.book("AAA", at=NOON).status.instrument_id == 7
    assert day.select(start=parse_time("2025-01-07")).book("AAA").status.instrument_id == 8


def test_book_of_a_damaged_file_says_so(tmp_path):
    day = mbo.read_dbn(write(tmp_path / "cut.dbn", dbn_bytes(EVENTS)[:-1]))
    for at in (None, NOON + 5):
        with pytest.raises(DataError, match="55 bytes into record 6"):
            day.book(at=at)
