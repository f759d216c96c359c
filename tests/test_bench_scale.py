"""The curves and the long haul: small ones measure every row, and a lost message or another book stops them."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from mbo.bench import apart, haul, scale
from mbo.bench.report import Report, read_report
from mbo.book import Books
from mbo.errors import InternalError, LostError, RequestError
from mbo.live.process import GatewayProcess

MESSAGES = 20_000


def here(work, *arguments):
    """Do a step in this process, where a test can reach into it."""
    return work(*arguments)


@pytest.fixture
def few(monkeypatch):
    small = {
        "RUNS": 1,
        "MESSAGES": MESSAGES,
        "RESTING": (50, 400),
        "INSTRUMENTS": (1, 20),
        "TURN": 5_000,
        "FILES": (1, 3),
    }
    for name, value in {**small, "CLIENTS": (1, 3)}.items():
        monkeypatch.setattr(scale, name, value)
    monkeypatch.setattr(scale, "apart", here)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A day of five instruments, and the digests of their books."""
    path = tmp_path_factory.mktemp("day") / "day.dbn"
    _, written = haul.simulated(path, MESSAGES, 5, 20)
    return path, dict(written.digests)


# ---------------------------------------------------------------- scale


def test_every_size_has_a_time_and_a_memory(few):
    rows = list(scale.scale())
    sizes = ["50 orders resting", "400 orders resting", "1 instrument", "20 instruments"]
    sizes += ["5,000 messages in a file", "15,000 messages in a file", "1 client", "3 clients"]
    assert [row.name for row in rows] == [name for size in sizes for name in (size, f"{size}: memory")]
    assert {row.unit for row in rows[::2]} == {"ns a message"}
    assert {row.unit for row in rows[1::2]} == {"MB"}
    assert all(len(row.values) == 1 and row.median > 0 for row in rows)
    assert [row.messages for row in rows[8::2]] == [5_000, 15_000, 5_000, 15_000]


def test_a_ratio_is_to_the_smallest():
    points = [scale.Point(1, 9, [2.0], 1.0), scale.Point(10, 9, [3.0], 4.0), scale.Point(100, 9, [5.0], 7.0)]
    rows = list(scale._rows("clients", points, scale._FLAT[:1]))
    assert [row.ratios for row in rows[:2]] == [{}, {}]
    assert [row.ratios["that of 1 client"] for row in rows[2:]] == [1.5, 4, 2.5, 7]
    assert [bool(row.aims) for row in rows] == [False, False, False, True, False, True]


def test_the_aims_of_a_file_are_of_rows_that_there_are():
    rows = list(
        scale._rows("messages in a file", [scale.Point(scale.TURN * n, 1, [1.0], 1.0) for n in (1, 10)], scale._FLAT)
    )
    assert rows[-1].met is True


def test_another_book_than_the_simulators_stops_scale(few, monkeypatch):
    monkeypatch.setattr("mbo.simulator.Session.digest", lambda self, number: "wrong")
    with pytest.raises(InternalError, match="differs from the simulator's own"):
        list(scale.scale())


def test_another_book_of_a_file_stops_scale(day):
    path, digests = day
    scale._read(path, MESSAGES, digests, 0)
    with pytest.raises(InternalError, match="differs from the simulator's own"):
        scale._read(path, MESSAGES, {**digests, "SIM2": "wrong"}, 0)


def test_a_message_that_is_not_read_stops_scale(day):
    path, digests = day
    with pytest.raises(LostError, match="of 20,001 messages in the file 20,000 were applied"):
        scale._read(path, MESSAGES + 1, digests, 0)


def test_a_message_that_one_of_many_clients_lacks_stops_scale(day, few, monkeypatch):
    path, _ = day
    follow = scale.follow

    def lose(crowd, limit_s):
        follow(crowd, limit_s)
        crowd[1].applied -= 1

    monkeypatch.setattr(scale, "follow", lose)
    with pytest.raises(LostError, match="60,000 records were sent to 3 clients, 19,999 applied by one of them"):
        scale._clients(path, 3)


def test_the_picture_is_of_the_rows(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("scale_picture", Path(__file__).parents[1] / "docs" / "scale.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    points = [scale.Point(1, 9, [2.0, 3.0, 7.0], 1.0), scale.Point(1_000, 9, [3.0, 4.0, 5.0], 4.0)]
    rows = [*scale._rows("instruments", points), *scale._rows("orders resting", points[1:])]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(Report({"processor": "of a test"}, {"scale": rows, "core": rows[:1]}).document()))
    assert picture.curves(read_report(path)) == {
        "instruments": ([(1, 3, 2, 7), (1_000, 4, 3, 5)], [(1, 1, 1, 1), (1_000, 4, 4, 4)]),
        "orders resting": ([(1_000, 4, 3, 5)], [(1_000, 4, 4, 4)]),
    }
    monkeypatch.setattr(picture, "PLACE", tmp_path / "scale.svg")
    picture.main(path)
    drawn = picture.PLACE.read_bytes()
    assert all(text in drawn for text in (b">instruments<", b">orders resting<", b"ns a message", b"of a test"))
    picture.main(path)
    assert drawn == picture.PLACE.read_bytes()
    path.write_text(json.dumps(Report({}, {"core": rows}).document()))
    with pytest.raises(RequestError, match="has no rows of the suite `scale`"):
        picture.main(path)


# ---------------------------------------------------------------- haul


@pytest.mark.timeout(300)  # four processes after another, on a busy machine
def test_every_row_of_haul_is_measured(monkeypatch):
    for name, value in {"MESSAGES": MESSAGES, "INSTRUMENTS": 5, "RESTING": 20}.items():
        monkeypatch.setattr(haul, name, value)
    rows = list(haul.haul())
    assert len(rows) == 9
    assert all(row.messages == MESSAGES and row.median > 0 for row in rows)
    assert [row.name for row in rows if row.aims] == [
        "memory of the gateway",
        "memory of reader and books",
        "all of it",
    ]
    assert all(row.ratios[haul._QUARTER] >= 1 for row in rows if row.unit == "MB")
    assert rows[-1].median > sum(MESSAGES / row.median / 1e6 for row in rows if row.unit in ("M/s", "M rows/s"))


def test_a_message_that_was_not_applied_stops_haul(day, monkeypatch):
    monkeypatch.setattr(GatewayProcess, "sent", property(lambda self: self.records + 1))
    with pytest.raises(LostError, match="of 20,000 records 20,001 were sent and 20,000 applied"):
        haul.followed(*day)


def test_another_book_that_came_over_tcp_stops_haul(day):
    path, digests = day
    with pytest.raises(InternalError, match="2 books that came over TCP differ from the simulator's own: SIM3, SIM9"):
        haul.followed(path, {**digests, "SIM3": "wrong", "SIM9": "of no instrument that came"})


class Shelf:
    """A store in memory, which may lose the last message that it said it had taken."""

    def __init__(self, *, lost=0):
        self.blocks = []
        self.lost = lost

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def recorded(self, session):
        return max(0, sum(map(len, self.blocks)) - self.lost)

    def append(self, records, *, session, dataset, symbols, row):
        self.symbols = symbols
        self.blocks.append(records)
        return row + len(records)

    def records(self, symbols, *, file):
        books = Books(symbols=self.symbols)
        books.apply(np.concatenate(self.blocks)[: self.recorded(file)])
        return SimpleNamespace(books=lambda: {key: book for key, book in books.items() if book.symbol in symbols})

    def query(self, sql):
        return pa.table({"bytes": [1]})


def test_a_message_that_the_store_does_not_count_stops_haul(day, monkeypatch):
    monkeypatch.setattr(haul, "Store", lambda url: Shelf(lost=1))
    with pytest.raises(LostError, match="of 20,000 records 19,999 were stored"):
        haul.recorded(day[0], "", day[1])


def test_what_does_not_come_back_from_the_store_stops_haul(day, monkeypatch):
    path, digests = day
    shelf = Shelf()
    monkeypatch.setattr(haul, "Store", lambda url: shelf)
    assert haul.recorded(path, "", digests).seconds > 0
    assert haul.rebuilt("", digests, MESSAGES)[0] > 0
    with pytest.raises(InternalError, match="1 books that were stored differ from the simulator's own: SIM4"):
        haul.rebuilt("", {**digests, "SIM4": "wrong"}, MESSAGES)
    shelf.lost = 1
    with pytest.raises(LostError, match="of 20,000 records 19,999 came back from the store"):
        haul.rebuilt("", digests, MESSAGES)


# ---------------------------------------------------------------- apart


def test_the_memory_of_a_process_is_its_own():
    ballast = np.ones(300_000_000, np.uint8)
    most, alone = apart.most_memory(), apart.apart(apart.most_memory)
    assert 10 < alone < most - 200
    assert most > 300
    assert most <= apart.most_memory(os.getpid()) < most + 50
    assert len(ballast)


def test_a_disk_without_room_is_said_before_anything_is_written(monkeypatch, tmp_path):
    apart.need_room(tmp_path, 1)
    with pytest.raises(OSError, match=r"the bench needs 1,000,000\.0 GB there and .* GB are free: set TMPDIR"):
        apart.need_room(tmp_path, 10**15)


def test_a_step_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(apart, "_LIMIT_S", 1)
    begun = time.monotonic()
    with pytest.raises(LostError, match="a step of the bench took more than 1 s"):
        apart.apart(time.sleep, 60)
    assert time.monotonic() - begun < 30
