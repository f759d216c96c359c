"""Places in a recording: any instant is the book that `Records.book(at=)` gives, however one came there."""

import random

import numpy as np
import pytest

import mbo
from mbo.errors import RequestError, SymbolError
from mbo.records import Flag
from mbo.simulator import Feature, simulate
from mbo.view import index as index_module
from mbo.view.index import Index
from mbo.view.player import FASTEST, Player
from tests.conftest import real
from tests.live.wire import day_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def records():
    return simulate(30_000, seed=5, features=Feature.ALL).records


@pytest.fixture
def day(tmp_path, records):
    return day_of(tmp_path, records)


@pytest.fixture
def index(day, monkeypatch):
    monkeypatch.setattr(index_module, "_CHECKPOINT", 2_000)
    monkeypatch.setattr(index_module, "_STEP", 512)
    made = Index(day).start().wait(60)
    assert len(made._kept) > 10
    return made


def same(player: Player, day, at: int) -> None:
    truth = day.book(at=at)
    status = truth.status
    assert player.book.digest() == truth.digest()
    assert (player.place, player.events) == (status.messages, status.events)
    assert (player.synced, player.suspect) == (status.synced, status.suspect)
    assert player.anomalies == {rule: one.count for rule, one in truth.anomalies.items()}


def test_any_instant_is_the_book_of_the_file(day, index):
    player, chosen = Player(index), random.Random(1)
    for _ in range(60):
        at = chosen.randrange(index.begin_ns, index.end_ns)
        player.seek(at)
        same(player, day, at)
    assert not player.playing


def test_real_day_at_any_instant():
    day = mbo.read_dbn(real("CLX5_mbo.dbn"))
    index, chosen = Index(day).start().wait(60), random.Random(2)
    player = Player(index)
    for _ in range(15):
        at = chosen.randrange(index.begin_ns, index.end_ns)
        player.seek(at)
        same(player, day, at)


def test_playing_shows_every_record_once(index):
    clock = Clock()
    player = Player(index, speed=60, clock=clock)
    player.play()
    seen = []
    while not player.ended:
        clock.now += 1 / 60
        seen.append(player.turn())
        assert player.book is None or player.book.status.valid
    assert np.array_equal(np.concatenate(seen), index.records)
    assert not player.playing
    assert player.book.digest() == index._stage.books[index.key].digest()


def test_playing_keeps_to_the_clock(day, index):
    clock = Clock()
    player = Player(index, speed=2, clock=clock)
    player.play()
    for _ in range(100):
        clock.now += 0.05
        player.turn()
    assert player.now_ns == index.begin_ns + 10 * 10**9
    same(player, day, player.now_ns)
    player.pause()
    clock.now += 100
    assert not len(player.turn())
    player.play()
    clock.now += 0.5
    player.turn()
    assert player.now_ns == index.begin_ns + 11 * 10**9


def test_as_fast_as_it_goes(index):
    player = Player(index, speed=FASTEST)
    player.play()
    turns = 0
    while not player.ended:
        player.turn()
        turns += 1
    assert turns <= len(index.records) // 10_000 + 2


def test_steps_are_events(index):
    player = Player(index)
    ends = np.flatnonzero(index.records["flags"] & int(Flag.LAST)) + 1
    for number in range(5):
        player.step(1)
        assert player.place == ends[number]
    player.step(10)
    assert player.place == ends[14]
    digest = player.book.digest()
    player.step(3)
    player.step(-3)
    assert player.place == ends[14]
    assert player.book.digest() == digest
    player.step(-1000)
    assert player.place == 0
    assert player.events == 0


def test_step_at_the_end_stays(index):
    player = Player(index)
    player.seek(index.end_ns)
    place = player.place
    player.step(1)
    assert player.place == place == len(index.records)
    assert player.ended


def test_play_at_the_end_begins_anew(index):
    player = Player(index)
    player.seek(index.end_ns)
    player.play()
    assert player.place < len(index.records)
    assert player.playing


def test_instants_outside_are_the_ends(index):
    player = Player(index)
    player.seek(0)
    assert player.now_ns == index.begin_ns
    player.seek(2**63)
    assert player.now_ns == index.end_ns
    assert player.ended


def test_nothing_is_shown_before_it_is_indexed(day):
    index = Index(day)  # not started
    clock = Clock()
    player = Player(index, speed=1000, clock=clock)
    player.play()
    clock.now += 10
    assert not len(player.turn())
    player.seek(index.end_ns)
    assert player.place == 0
    index.start().wait(60)
    player.turn()
    assert player.place == len(index.records)
    assert player.now_ns == index.end_ns


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf"), 1e9])
def test_no_such_speed(index, speed):
    with pytest.raises(RequestError, match="speed"):
        Player(index, speed=speed)


def test_several_books_are_refused(tmp_path):
    records = simulate(2_000, seed=1, instruments=2).records
    with pytest.raises(SymbolError, match="several books"):
        Index(day_of(tmp_path, records))


def test_kept_books_stay_within_their_memory(day, monkeypatch):
    monkeypatch.setattr(index_module, "_CHECKPOINT", 1_000)
    monkeypatch.setattr(index_module, "_STEP", 512)
    monkeypatch.setattr(index_module, "_CHECKPOINTS_BYTES", 100_000)
    index = Index(day).start().wait(60)
    assert sum(one.records.nbytes for one in index._kept) <= 100_000
    assert len(index._kept) > 2
    player, at = Player(index), (index.begin_ns + index.end_ns) // 2
    player.seek(at)
    same(player, day, at)
