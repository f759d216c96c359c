"""The records of a replay by their numbers: as they stand in the files, and turn after turn in a loop."""

from __future__ import annotations

import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mbo
from mbo.book import Books
from mbo.errors import RequestError
from mbo.live import source as module
from mbo.live.source import Source
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray
from mbo.simulator import Feature, simulate
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP
from tests.book.tapes import tape
from tests.builders import NOON, SYSTEM, dbn_bytes, frames, other, stream, write
from tests.live.wire import day_of, day_of_session

CLOCKS = ("ts_recv", "ts_event")
TIMES = st.lists(st.sampled_from([UNDEF_TIMESTAMP, 0, 5, 6, 7, 9, 20]) | st.integers(0, 40), min_size=1, max_size=20)


def everything(source: Source, count: int | None = None) -> RecordArray:
    """The first records, piece by piece."""
    count = len(source.records) if count is None else count
    return np.concatenate([np.empty(0, MBO_DTYPE), *source.between(0, count)])


def known(times: np.ndarray) -> list[int]:
    return [0 if one == UNDEF_TIMESTAMP else one for one in times.tolist()]


@pytest.fixture
def small_chunks(monkeypatch):
    """A few records are then as many chunks as a day has."""
    monkeypatch.setattr(module, "_CHUNK", 3)
    monkeypatch.setattr(module, "_STEP", 6)


# ---------------------------------------------------------------- the records


def test_plain_file_is_its_own_memory(tmp_path, monkeypatch):
    records = stream(1_000)
    monkeypatch.setattr(tempfile, "TemporaryFile", None)  # nothing is laid out
    source = Source(day_of(tmp_path, records))
    assert source.records.tobytes() == everything(source).tobytes() == records.tobytes()
    assert source.end == 1_000
    assert not source.records.flags.writeable
    assert (source.dataset, source.symbol_map.symbols) == ("GLBX.MDP3", ["AAA"])


def test_what_was_sent_takes_no_memory(tmp_path):
    records = np.tile(stream(1_000), 2_000)  # 112 MB
    before, most, same = resident_mb(), 0.0, True
    source = Source(day_of(tmp_path, records))
    for begin in range(0, len(records), 4096):
        piece, _ = source.piece(begin, begin + 4096)
        same &= piece.tobytes() == records[begin : begin + 4096].tobytes()
        most = max(most, resident_mb() - before)
    assert same
    assert 10 < most < 40, "of the file's pages, MB"
    assert source.first_reaching(int(records["ts_recv"].max())) < len(records)
    assert resident_mb() - before < 40
    assert source.records.tobytes() == records.tobytes(), "what was given back comes again"


def resident_mb() -> float:
    """What this process has of mapped files in memory, MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the system does not say what pages a process has")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) / 1_000


def test_other_files_are_laid_out(tmp_path):
    records = stream(3_000)
    files = {
        "compressed": [write(tmp_path / "a.dbn.zst", frames(dbn_bytes(records), 40_000, 90_000))],
        "mixed": [write(tmp_path / "b.dbn", dbn_bytes(records, between={7: [other(SYSTEM)], 3_000: [other(SYSTEM)]}))],
        "with sending times": [write(tmp_path / "c.dbn", dbn_bytes(records, ts_out=True))],
        "several": [
            write(tmp_path / "e.dbn", dbn_bytes(records[1_000:], start=NOON + 1_000)),
            write(tmp_path / "d.dbn", dbn_bytes(records[:1_000], start=NOON)),
        ],
    }
    for name, paths in files.items():
        assert Source(mbo.read_dbn(paths)).records.tobytes() == records.tobytes(), name


def test_selection(tmp_path):
    records = stream(2_000, instruments=[7, 8])
    day = day_of(tmp_path, records, symbols={"AAA": 7, "BBB": 8}).select("BBB", start=NOON + 600)
    source = Source(day)
    expected = records[(records["instrument_id"] == 8) & (records["ts_recv"] >= NOON + 600)]
    assert 0 < len(expected) < 1_000
    assert source.records.tobytes() == expected.tobytes()
    assert source.end == len(expected)


def test_nothing_to_replay(tmp_path):
    day = day_of(tmp_path, stream(0))
    for loop in (False, True):
        with pytest.raises(RequestError, match=r"there are no MBO records in .*0\.dbn"):
            Source(day, loop=loop)


def test_pieces(tmp_path):
    records = stream(10)
    source = Source(day_of(tmp_path, records))
    for begin in range(10):
        for end in range(begin, 12):
            piece, turn = source.piece(begin, end)
            assert (piece.tobytes(), turn) == (records[begin:end].tobytes(), 0)
    assert np.shares_memory(source.moved(source.records, 0), source.records)
    assert source.turn_of(9) == 0


# ---------------------------------------------------------------- a loop


def test_pieces_of_a_loop_end_with_their_turn(tmp_path):
    source = Source(day_of(tmp_path, stream(10)), loop=True)
    length = len(source.records)
    assert length == 11  # and a clear
    assert source.end is None
    for begin in range(3 * length):
        piece, turn = source.piece(begin, begin + 7)
        assert turn == begin // length
        assert len(piece) == min(7, (turn + 1) * length - begin)
        assert source.turn_of(begin) == turn * length
    whole = everything(source, 4 * length)
    for begin, end in ((0, 0), (3, 40), (10, 12), (11, 11), (21, 23)):
        parts = list(source.between(begin, end))
        assert b"".join(part.tobytes() for part in parts) == whole[begin:end].tobytes()


def test_turn_begins_with_a_clear_of_every_book(tmp_path):
    records = stream(500, instruments=[7, 8, 9])
    records["publisher_id"][records["instrument_id"] == 9] = 2
    records["publisher_id"][100] = 3  # one instrument, two publishers: two books
    source = Source(day_of(tmp_path, records), loop=True)
    books = {(int(one["publisher_id"]), int(one["instrument_id"])) for one in records}
    assert len(books) >= 4
    for turn in range(3):
        part = everything(source, (turn + 1) * len(source.records))[turn * len(source.records) :]
        clears, rest = part[: len(books)], part[len(books) :]
        assert {(int(one["publisher_id"]), int(one["instrument_id"])) for one in clears} == books
        assert set(clears["action"].tolist()) == {Action.CLEAR}
        assert set(clears["flags"].tolist()) == {Flag.LAST}
        assert set(clears["price"].tolist()) == {UNDEF_PRICE}
        assert set(clears["order_id"].tolist()) == {0}
        assert (clears["ts_recv"] <= rest["ts_recv"].min()).all()
        for name in {*MBO_DTYPE.names} - {"ts_event", "ts_recv", "order_id", "sequence"}:
            assert np.array_equal(rest[name], records[name])


def test_turns_do_not_meet(tmp_path):
    records = tape("R 0 N - 0", "A 1 B 100 5", "N 0 N - 0", "A 5 A 101 5", "C 1 B 100 5")
    records["ts_recv"][2] = UNDEF_TIMESTAMP
    records["ts_event"] = records["ts_event"][::-1]  # backwards
    source = Source(day_of(tmp_path, records), loop=True)
    length = len(source.records)
    turns = [source.moved(*source.piece(turn * length, (turn + 1) * length)) for turn in range(4)]
    for one, following in pairwise(turns):
        for clock in CLOCKS:
            now, later = (part[clock][part[clock] != UNDEF_TIMESTAMP] for part in (one, following))
            assert now.max() < later.min()
        assert one["sequence"].max() < following["sequence"].min()
    assert [part["ts_recv"][3] for part in turns] == [UNDEF_TIMESTAMP] * 4
    ids = [order for part in turns for order in part["order_id"][part["action"] == Action.ADD].tolist()]
    assert len(set(ids)) == len(ids) == 8
    assert all(part["order_id"][0] == part["order_id"][1] == 0 for part in turns), "none stays none"


@pytest.mark.parametrize("features", [Feature.NONE, Feature.ALL], ids=["plain", "all"])
def test_books_at_the_end_of_every_turn(tmp_path, features):
    session = simulate(4_000, seed=5, instruments=3, resting=40, features=features)
    source = Source(day_of_session(tmp_path, session), loop=True)
    length, clears = len(source.records), len(source.records) - 4_000
    assert clears == 3
    books = Books()
    for turn in range(4):
        for records in source.between(turn * length, (turn + 1) * length):
            books.apply(records)
        alone, shifted = Books(), session.records.copy()
        shifted["order_id"][shifted["order_id"] != 0] += np.uint64(turn * source.shift.order_id)
        alone.apply(shifted)
        assert {key: book.digest() for key, book in books.items()} == {k: book.digest() for k, book in alone.items()}
        for (_, number), book in books.items():
            book.check()
            assert turn or book.digest() == session.digest(number)


def test_fields_wrap_around(tmp_path):
    records = tape("A 1 B 100 5", "A 2 A 101 5")
    records["sequence"][1] = 2**32 - 2
    records["order_id"][1] = 2**64 - 2
    source = Source(day_of(tmp_path, records), loop=True)
    for turn in (1, 5, 10**6):
        moved = source.moved(source.records, turn)
        assert moved["sequence"][1] == (10 + turn * (2**32 - 1)) % 2**32
        assert moved["order_id"][1] == (1 + turn * (2**64 - 1)) % 2**64


# ---------------------------------------------------------------- times


def timed(folder, recv: list[int], event: list[int] | None = None, *, loop: bool = False) -> Source:
    records = stream(len(recv))
    records["ts_recv"] = recv
    records["ts_event"] = recv[::-1] if event is None else event
    return Source(day_of(folder, records), loop=loop)


@given(TIMES)
@example([UNDEF_TIMESTAMP] * 5)
@example([5] * 20)
@example(list(range(20, 0, -1)))
@example([UNDEF_TIMESTAMP, 7, 3, UNDEF_TIMESTAMP, 9])
def test_times_against_a_search_of_all(tmp_path, small_chunks, times):
    source = timed(tmp_path, times)
    for clock in CLOCKS:
        own = known(source.records[clock])
        for k in range(len(own)):
            assert source.time_of(k, clock) == max(own[: k + 1])
        for sought in range(-1, 43):
            first = next((k for k, time in enumerate(own) if time >= sought), len(own))
            assert source.first_reaching(sought, clock) == first
            assert source.place_of(max(sought, 0)) == source.first_reaching(max(sought, 0), "ts_event")


@given(TIMES.filter(lambda times: set(times) != {UNDEF_TIMESTAMP}), st.booleans())
@example([UNDEF_TIMESTAMP, UNDEF_TIMESTAMP, 7, 3], True)
@example([5] * 20, False)
def test_times_of_a_loop_against_a_search_of_all(tmp_path, small_chunks, times, asked_from_behind):
    source = timed(tmp_path, [time if time == UNDEF_TIMESTAMP else time * 10**6 for time in times], loop=True)
    length, period = len(source.records), source.shift.time_ns
    for clock in CLOCKS:
        own = known(everything(source, 4 * length)[clock])
        numbers = list(range(3 * length))
        for k in numbers[::-1] if asked_from_behind else numbers:
            assert source.time_of(k, clock) == max(own[: k + 1])
        instants = {time + step for time in own[: 3 * length] for step in (-1, 0, 1, period // 2)}
        for sought in sorted(one for one in instants if one <= max(own[: 3 * length])):
            first = next(k for k, time in enumerate(own) if time >= sought)
            assert source.first_reaching(sought, clock) == first


def test_a_turn_begins_when_the_last_has_been_received(tmp_path, small_chunks):
    """Orders of a snapshot were entered hours ago: that neither holds a replay up nor leads a search astray."""
    source = timed(
        tmp_path, [NOON, NOON, NOON + 30, NOON + 40], [NOON - 10**13, NOON - 10**12, NOON + 25, NOON + 35], loop=True
    )
    assert source.shift.time_ns == 40 + 1_000_000
    length = len(source.records)
    shown = everything(source, 5 * length)
    for clock in CLOCKS:
        own = shown[clock].astype(np.int64)
        for sought in {known + step for known in own[: 4 * length].tolist() for step in (-1, 0, 1)}:
            assert source.first_reaching(sought, clock) == int((own >= sought).argmax())


def test_times_far_into_a_loop(tmp_path):
    source = timed(tmp_path, [NOON, NOON + 10, NOON + 20], loop=True)
    for turn in (1, 10**3, 10**6):
        sought = NOON + 10 + turn * source.shift.time_ns
        number = source.first_reaching(sought)
        assert number == turn * 4 + 2
        assert source.time_of(number) == sought == int(next(source.between(number, number + 1))["ts_recv"][0])


def test_start_zero_is_the_beginning(tmp_path):
    source = timed(tmp_path, [NOON] * 3, [NOON + 5, NOON, NOON + 9])
    assert [source.place_of(start) for start in (0, 1, NOON + 5, NOON + 6, NOON + 9, NOON + 10)] == [0, 0, 0, 2, 2, 3]


def test_several_threads_ask_for_times(tmp_path, small_chunks, monkeypatch):
    times, known_times, found = list(range(0, 1_200, 3)), module._known, []

    def slowly(values):
        time.sleep(0.0005)  # now others have their turn
        return known_times(values)

    source, barrier = timed(tmp_path, times), threading.Barrier(4)
    monkeypatch.setattr(module, "_known", slowly)

    def ask():
        barrier.wait(10)
        found.append([source.first_reaching(times[-1]), *(source.time_of(k) for k in range(0, 400, 33))])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [[399, *times[::33]]] * 4
