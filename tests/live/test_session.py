"""What one client is sent, byte by byte, and the thread that serves all of them at once."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.errors import LostError
from mbo.live.clock import FOREVER, Clock
from mbo.live.messages import ErrorCode, SystemCode, Writer, session_metadata
from mbo.live.pump import Pump
from mbo.live.session import BLOCK, STALL_LIMIT_S, Blocks, Entrance, Session, Step, Wanted, stamped
from mbo.live.source import Source
from mbo.records import RecordArray
from mbo.units import NS_PER_S
from tests.book.tapes import LAST
from tests.builders import stream
from tests.live.wire import END, LIMIT_S, Received, day_of, same, until

ALL = Wanted(everything=True)


@dataclass
class Sink:
    """A socket that takes so many bytes at a time; 0 is a buffer that is full, None a connection that is lost."""

    takes: Iterator[int | None] | None = None
    got: bytearray = field(default_factory=bytearray)

    def send(self, data: memoryview) -> int:
        count = len(data) if self.takes is None else next(self.takes, len(data))
        if count is None:
            raise ConnectionResetError
        if not count:
            raise BlockingIOError
        self.got += data[:count]
        return min(count, len(data))


class Rig:
    """A session, and what its client makes of the bytes."""

    def __init__(self, source: Source, *entrances: Entrance, takes=None, zstd: bool = False, **options) -> None:
        self.ts_out = options.get("ts_out", False)
        self.messages = Writer(3, self.ts_out)
        self.sink = Sink(takes)
        self.session = Session(1, self.sink, source, self.messages, compressed=zstd, **options)
        self.session.say(session_metadata("GLBX.MDP3", 1, ts_out=self.ts_out))
        self.session.enter(list(entrances) or [Entrance(0, ALL)])
        self.received = Received(zstd=zstd)
        self.blocks = Blocks(source)
        self.now = time.monotonic_ns()

    def step(self, head: int = FOREVER, **options) -> Step:
        end = self.session._source.end  # no clock says more
        step = self.session.step(self.blocks, head if end is None else min(head, end), self.now, **options)
        self.received.feed(bytes(self.sink.got))
        self.sink.got.clear()
        return step

    def run(self, head: int = FOREVER) -> Step:
        for _ in range(10_000):
            if (step := self.step(head)) not in (Step.MORE, Step.BLOCKED):
                return step
        raise AssertionError("it goes on and on")

    @property
    def mbo(self) -> RecordArray:
        return self.received.mbo

    @property
    def texts(self) -> list[str]:
        return self.received.texts


def events(count: int, length: int = 5, **other) -> RecordArray:
    """Records of which every so-many-th is the last of its event."""
    records = stream(count, **other)
    records["flags"] = 0
    records["flags"][length - 1 :: length] = LAST
    return records


@pytest.fixture
def source(tmp_path) -> Source:
    return Source(day_of(tmp_path, events(1_000, instruments=[7, 8, 9])))


def of(source: Source, *ids: int) -> RecordArray:
    return source.records[np.isin(source.records["instrument_id"], ids)]


# ---------------------------------------------------------------- what is sent


def test_everything_in_blocks_and_then_the_end(tmp_path):
    records = stream(2 * 19_000)
    rig = Rig(Source(day_of(tmp_path, records)))
    assert rig.step() is Step.MORE, "others have their turn after a megabyte"
    assert 0 < len(rig.mbo) < 38_000
    assert len(rig.mbo) % BLOCK == 0
    assert rig.run() is Step.ENDED
    assert same(rig.mbo, records)
    assert rig.texts == [END]
    assert rig.received.torn == 0
    assert (rig.session.records, rig.session.skipped) == (38_000, 0)
    assert rig.session.bytes == len(session_metadata("GLBX.MDP3", 1, ts_out=False)) + 38_000 * 56 + 320


@given(st.lists(st.sampled_from([0, 1, 7, 55, 57, 300, 10**6]), max_size=60), st.booleans())
def test_whatever_the_socket_takes_at_a_time(tmp_path, takes, ts_out):
    records = stream(50)
    rig = Rig(Source(day_of(tmp_path, records)), takes=iter(takes), ts_out=ts_out)
    assert rig.run() is Step.ENDED
    assert same(rig.mbo, records)
    assert rig.texts == [END]


def test_nothing_that_is_not_due(source):
    rig = Rig(source)
    for head in (0, 0, 1, 17, 17, 900):
        assert rig.run(head) is Step.IDLE
        assert same(rig.mbo, source.records[:head])
    assert rig.run(10) is Step.IDLE, "a present that was moved back takes nothing back"
    assert rig.run(1_000) is Step.ENDED


@pytest.mark.parametrize("ids", [(7,), (8, 9), (7, 8, 9), (7, 5), (5,), ()], ids=str)
def test_instruments(source, ids):
    rig = Rig(source, Entrance(0, Wanted(ids=frozenset(ids))))
    assert rig.run() is Step.ENDED
    assert same(rig.mbo, of(source, *ids))
    assert rig.texts == [END]
    assert rig.session.records == len(of(source, *ids))


WANTED = st.one_of(st.just(ALL), st.frozensets(st.sampled_from([7, 8, 9])).map(lambda ids: Wanted(ids=ids)))


@given(st.lists(st.tuples(st.integers(0, 60), WANTED), min_size=1, max_size=5), st.integers(1, 20), st.data())
def test_entrances_that_overlap_send_every_record_once(tmp_path, subscribed, at_once, data):
    records = stream(50, instruments=[7, 8, 9])
    early = data.draw(st.integers(0, len(subscribed)))
    entrances = [
        Entrance(number, wanted, Writer(3, False).system(f"from {k}", SystemCode.UNSET, 1))
        for k, (number, wanted) in enumerate(subscribed)
    ]
    rig = Rig(Source(day_of(tmp_path, records)), Entrance(0, Wanted()), *entrances[:early])
    begun = data.draw(st.integers(0, 40))
    rig.run(begun)
    late = [
        Entrance(max(one.number, rig.session.cursor), one.wanted, one.first) for one in entrances[early:]
    ]  # nobody enters in the past
    rig.session.enter(late)
    for head in range(0, 70, at_once):
        rig.run(head)
    rig.run()
    entered = [*entrances[:early], *late]
    expected = [
        record.tobytes()
        for k, record in enumerate(records)
        if any(one.number <= k and one.wanted.has(int(record["instrument_id"])) for one in entered)
    ]
    assert rig.mbo.tobytes() == b"".join(expected)
    if all(one.number <= 50 for one in entered):
        assert sorted(rig.texts) == sorted([END, *(f"from {k}" for k in range(len(entered)))])


def test_what_is_said_first_comes_first(source):
    rig = Rig(source, Entrance(10, ALL, Writer(3, False).system("now all", SystemCode.UNSET, 1)), Entrance(5, Wanted()))
    assert rig.session.cursor == 5, "it begins at the first entrance"
    rig.run(20)
    assert [len(record) for record in rig.received.records] == [320] + [56] * 10
    assert same(rig.mbo, source.records[10:20])


def test_loop(tmp_path):
    source = Source(day_of(tmp_path, stream(100, instruments=[7, 8])), loop=True)
    expected = np.concatenate(list(source.between(0, 450)))
    rigs = [
        Rig(source),
        Rig(source, Entrance(0, Wanted(ids=frozenset([8])))),
        Rig(source, Entrance(130, ALL), zstd=True),
    ]
    for rig in rigs:
        assert rig.run(450) is Step.IDLE
    assert same(rigs[0].mbo, expected)
    assert same(rigs[1].mbo, expected[expected["instrument_id"] == 8])
    assert same(rigs[2].mbo, expected[130:])


def test_loop_without_pace_and_without_wishes_stays_where_it_is(tmp_path):
    source = Source(day_of(tmp_path, stream(100)), loop=True)
    rig = Rig(source, Entrance(0, Wanted()))
    assert rig.run(FOREVER) is Step.IDLE
    assert rig.session.cursor == 0
    rig.session.enter([Entrance(0, ALL)])
    assert rig.step(FOREVER) is Step.MORE
    assert same(rig.mbo[:50], np.concatenate(list(source.between(0, 50))))


def test_blocks_are_made_once_for_all_at_one_place(source):
    blocks, some = Blocks(source), Wanted(ids=frozenset([7, 8]))
    first, count, stop = blocks.get(0, 500, some, False)
    again, _, _ = blocks.get(0, 500, Wanted(ids=frozenset([8, 7])), False)
    assert again is first
    assert (count, stop) == (len(of(source, 7, 8)[:count]), 500)
    for wanted, ts_out, end in ((ALL, False, 500), (some, True, 500), (some, False, 501)):
        assert blocks.get(0, end, wanted, ts_out)[0] is not first
    plain, _, _ = blocks.get(3, 5, ALL, False)
    assert np.shares_memory(np.frombuffer(plain, np.uint8), source.records.view(np.uint8)), "the file's own bytes"


# ---------------------------------------------------------------- sending times and compression


def test_sending_times(source):
    before = time.time_ns()
    rig = Rig(source, ts_out=True)
    assert rig.run() is Step.ENDED
    assert same(rig.mbo, source.records)
    assert [len(record) for record in rig.received.records] == [64] * 1_000 + [328]
    assert {4 * record[0] - len(record) for record in rig.received.records} == {0}
    sent = [int.from_bytes(record[-8:], "little") for record in rig.received.records]
    assert before <= min(sent)
    assert max(sent) <= time.time_ns()
    assert sent == sorted(sent)
    assert stamped(source.records[:3], False).nbytes == 3 * 56


@pytest.mark.parametrize("ts_out", [False, True], ids=["plain", "ts_out"])
def test_compressed_and_whole_after_every_turn(source, ts_out):
    rig = Rig(source, zstd=True, ts_out=ts_out)
    for head in (0, 1, 2, 500):
        assert rig.run(head) is Step.IDLE
        assert same(rig.mbo, source.records[:head]), "nothing waits in the compressor"
    rig.session.say(rig.messages.system("hello", SystemCode.UNSET, 1))
    rig.run(500)
    assert rig.texts == ["hello"]
    assert rig.run() is Step.ENDED
    assert same(rig.mbo, source.records)
    assert rig.session.bytes < source.records.nbytes


# ---------------------------------------------------------------- heartbeats


def test_heartbeat_only_when_nothing_else_was_sent(source):
    rig = Rig(source, heartbeat_s=5)
    begin = rig.now
    for second, head, count in ((0, 3, 0), (4.9, 3, 0), (5.1, 3, 1), (9, 4, 1), (13, 4, 1), (14.1, 4, 2), (19.2, 4, 3)):
        rig.now = begin + int(second * NS_PER_S)
        assert rig.run(head) is Step.IDLE
        assert rig.texts == ["Heartbeat"] * count, second
    beats = rig.received.messages
    assert {beat.code for beat in beats} == {SystemCode.HEARTBEAT}
    assert abs(beats[0].ts_event - time.time_ns()) < 10 * NS_PER_S
    rig.session.held = True
    rig.now += 6 * NS_PER_S
    rig.run()
    assert rig.texts == ["Heartbeat"] * 4
    assert len(rig.mbo) == 4


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("sent", [0, 3, 4, 5, 998, 1_000])
def test_end_finishes_the_event(source, sent):
    rig = Rig(source)
    rig.run(min(sent, 999))
    rig.session.end(rig.messages.system("goodbye", SystemCode.UNSET, 1))
    rig.session.end(rig.messages.system("twice", SystemCode.UNSET, 1))
    rig.now += 60 * NS_PER_S
    assert rig.run(0) is Step.ENDED, "due or not"
    assert len(rig.mbo) == -(-min(sent, 999) // 5) * 5
    assert rig.texts[-1] == "goodbye"
    assert END not in rig.texts
    assert rig.step() is Step.ENDED


def test_end_finishes_the_event_of_what_is_wanted(source):
    rig = Rig(source, Entrance(0, Wanted(ids=frozenset([8]))))
    rig.run(500)
    while rig.mbo["flags"][-1] & LAST:
        rig.run(rig.session.cursor + 1)
    rig.session.end()
    assert rig.run(0) is Step.ENDED
    own = of(source, 8)
    assert same(rig.mbo, own[: len(rig.mbo)])
    assert rig.mbo["flags"][-1] & LAST


def test_end_within_an_event_that_never_ends(tmp_path):
    records = stream(20)
    records["flags"] = 0
    rig = Rig(Source(day_of(tmp_path, records)))
    rig.run(7)
    rig.session.end(rig.messages.system("goodbye", SystemCode.UNSET, 1))
    assert rig.run(7) is Step.ENDED
    assert same(rig.mbo, records)
    assert rig.texts == ["goodbye"]


# ---------------------------------------------------------------- slow and lost clients


def blocked(source: Source, *entrances: Entrance, after: int = 10_000, **options) -> Rig:
    """A client that has taken some bytes and takes no more."""

    def takes() -> Iterator[int | None]:
        yield after
        while True:
            yield 0

    rig = Rig(source, *entrances, takes=takes(), **options)
    assert rig.step(500) is Step.BLOCKED
    return rig


def reads_again(rig: Rig) -> None:
    rig.sink.takes = None


def test_slow_reader_is_warned_once_in_a_while(source):
    rig = blocked(source)
    begin = rig.now
    for second in (0.5, 1.5, 2, 20, 31, 33, 40):
        rig.now = begin + int(second * NS_PER_S)
        assert rig.step(600) is Step.BLOCKED
    reads_again(rig)
    rig.run(600)
    warnings = [one for one in rig.received.messages if one.code == SystemCode.SLOW_READER_WARNING]
    assert [one.text for one in warnings] == ["Warning: slow reading: 100 records behind"] * 2
    assert same(rig.mbo, source.records[:600]), "and misses nothing"
    assert rig.session.skipped == 0


def test_skip_leaves_out_what_was_missed(source):
    rig = blocked(source, skips=True)
    rig.now += NS_PER_S // 2
    rig.step(600)
    assert rig.session.skipped == 0, "not at once"
    rig.now += NS_PER_S
    assert rig.step(600) is Step.BLOCKED
    assert (rig.session.skipped, rig.session.cursor) == (100, 600)
    reads_again(rig)
    rig.run(700)
    assert same(rig.mbo, np.concatenate([source.records[:500], source.records[600:700]]))
    (error,) = [one for one in rig.received.messages if one.code == ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING]
    assert error.text == "100 records were skipped: the client read too slowly"
    assert [len(one) for one in rig.received.records] == [56] * 500 + [320] + [56] * 100, "said where it happened"


def test_nobody_skips_what_has_no_pace(source):
    rig = blocked(source, skips=True)
    for _ in range(5):
        rig.now += 2 * NS_PER_S
        assert rig.step(FOREVER, paced=False) is Step.BLOCKED
    reads_again(rig)
    rig.run()
    assert same(rig.mbo, source.records)
    assert rig.texts == [END]


def test_what_was_asked_from_its_start_is_not_skipped(source):
    caught_up = Entrance(600, Wanted(), Writer(3, False).system("caught up", SystemCode.REPLAY_COMPLETED, 1))
    rig = blocked(source, Entrance(0, ALL), caught_up, skips=True)
    rig.now += 2 * NS_PER_S
    rig.step(600)
    reads_again(rig)
    rig.run()
    assert same(rig.mbo, source.records)
    assert rig.session.skipped == 0


def test_who_takes_nothing_for_too_long_is_let_go(source):
    rig = blocked(source)
    rig.now += (STALL_LIMIT_S - 1) * NS_PER_S
    assert rig.step(600) is Step.BLOCKED
    rig.now += 2 * NS_PER_S
    assert rig.step(600) is Step.GONE


def test_lost_connection(source):
    assert Rig(source, takes=iter([100, None])).step() is Step.GONE


def test_nothing_is_queued_for_a_client_that_takes_nothing(source):
    rig = blocked(source)
    for number in range(50):
        rig.session.jump(number, b"x" * 1_000_000)
    assert rig.session.owes
    reads_again(rig)
    sent = rig.session.bytes
    rig.session.step(rig.blocks, 0, rig.now)
    assert rig.session.bytes - sent < 1_100_000, "of fifty snapshots the last one"
    assert not rig.session.owes


# ---------------------------------------------------------------- moved and held


def test_jump_goes_on_elsewhere_behind_the_record_on_its_way(source):
    rig = Rig(source, takes=iter([200 + 56 * 10 + 3, 0]))
    rig.step(300)
    first = rig.messages.system("moved", SystemCode.UNSET, 1)
    rig.session.jump(700, first)
    rig.run(705)
    assert same(rig.mbo[-5:], source.records[700:705])
    assert same(rig.mbo[:-5], source.records[: len(rig.mbo) - 5])
    assert [len(one) for one in rig.received.records[-6:]] == [320] + [56] * 5
    assert rig.received.torn == 0


def test_jump_brings_what_would_have_entered_later(source):
    rig = Rig(source, Entrance(0, Wanted(ids=frozenset([7]))), Entrance(900, Wanted(ids=frozenset([8])), b"never sent"))
    rig.run(100)
    assert rig.session.everything_wanted == Wanted(ids=frozenset([7, 8]))
    rig.session.jump(50, b"")
    rig.run(100)
    part = source.records[50:100]
    assert rig.mbo[-len(part[part["instrument_id"] != 9]) :].tobytes() == part[part["instrument_id"] != 9].tobytes()


def test_held_where_it_is(source):
    rig = Rig(source)
    rig.run(100)
    rig.session.held = True
    rig.session.say(rig.messages.system("still here", SystemCode.UNSET, 1))
    assert rig.run() is Step.IDLE
    assert (len(rig.mbo), rig.texts) == (100, ["still here"])
    rig.session.end()
    assert rig.run() is Step.IDLE
    rig.session.held = False
    assert rig.run() is Step.ENDED


# ---------------------------------------------------------------- the thread


class Pumped:
    """A pump, and clients at the other ends of their sockets."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self.source, self.clock = source, clock
        self.pump = Pump(source, clock)
        self.over: list[int] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Pumped:
        self.pump.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.stop()
        for one in self._open:
            one.close()

    def client(self, *entrances: Entrance, **options) -> tuple[Session, socket.socket]:
        ours, its = socket.socketpair()
        ours.setblocking(False)
        its.settimeout(LIMIT_S)
        self._open += [ours, its]
        session = Session(len(self._open), ours, self.source, Writer(3, False), **options)
        session.say(session_metadata("GLBX.MDP3", 1, ts_out=False))
        self.pump.admit(session, list(entrances) or [Entrance(0, ALL)], lambda: self.over.append(session.number))
        return session, its


def read(client: socket.socket, received: Received, count: int = 10**9) -> Received:
    """Read until so many records of market data have come, or to the end."""
    deadline = time.monotonic() + LIMIT_S
    while len(received.records) < count and (data := client.recv(1 << 18)):
        assert time.monotonic() < deadline
        received.feed(data)
    return received


@pytest.fixture
def long(tmp_path) -> Source:
    return Source(day_of(tmp_path, events(60_000)))


@pytest.mark.parametrize("pace", [{}, {"rate": 1e6}], ids=["unpaced", "paced"])
def test_client_that_stops_reading_slows_nobody(long, pace):
    clock = Clock(long, **pace)
    with Pumped(long, clock) as pumped:
        stuck, its = pumped.client()
        clock.start(time.monotonic_ns())
        for _ in range(3):
            session, client = pumped.client()
            got = read(client, Received())
            assert same(got.mbo[-1], long.records[-1])
            assert got.texts == [END]
            until(lambda: session.number in pumped.over, "it was told")  # noqa: B023
        assert stuck.records < 60_000
        assert stuck in pumped.pump.sessions
        assert same(read(its, Received()).mbo, long.records), "and its own is all there"
        until(lambda: not pumped.pump.sessions, "all have ended")
        assert pumped.pump.sent >= 4 * 50_000


def test_pump_rests_while_one_is_blocked_and_another_has_all_there_is(long):
    clock, rounds = Clock(long), []
    present = clock.present
    clock.present = lambda now: rounds.append(now) or present(now)  # type: ignore[method-assign]
    with Pumped(long, clock) as pumped:
        pumped.client()
        idle, _ = pumped.client()
        idle.held = True
        until(lambda: pumped.pump.sessions and pumped.pump.sessions[0].records, "the first one is served")
        time.sleep(0.1)
        before = len(rounds)
        time.sleep(0.3)
        assert len(rounds) - before < 30


def test_clients_stand_where_they_like(long):
    clock = Clock(long, rate=1e9)
    with Pumped(long, clock) as pumped:
        clock.start(time.monotonic_ns(), at=50_000)
        clients = {number: pumped.client(Entrance(number, ALL)) for number in (0, 10_007, 59_990)}
        for number, (_, client) in clients.items():
            assert same(read(client, Received()).mbo, long.records[number:])


def test_paced_records_do_not_come_early(long):
    clock = Clock(long, rate=10_000, hold=True)
    with Pumped(long, clock) as pumped:
        _, client = pumped.client()
        begin = time.monotonic_ns() + 50_000_000
        clock.begin(begin)
        received, early = Received(), 0
        while len(received.records) < 1_500:
            received.feed(client.recv(1 << 16))
            early += bool(received.records) and time.monotonic_ns() < clock.due(len(received.records) - 1)
        assert not early
        assert time.monotonic_ns() - begin < 5 * NS_PER_S


def test_end_of_all(long):
    clock = Clock(long, rate=1_000_000)
    with Pumped(long, clock) as pumped:
        clients = [pumped.client()[1] for _ in range(3)]
        clock.start(time.monotonic_ns())
        first = read(clients[0], Received(), 1_000)
        pumped.pump.ask(pumped.pump.end).result(LIMIT_S)
        for client, received in zip(clients, (first, Received(), Received()), strict=True):
            read(client, received)
            assert received.mbo["flags"][-1] & LAST
            assert same(received.mbo, long.records[: len(received.mbo)])
            assert received.texts == []
        until(lambda: len(pumped.over) == 3, "everybody was told")


def test_lose_one(long):
    with Pumped(long, Clock(long, hold=True)) as pumped:
        (lost, its), (kept, _) = pumped.client(), pumped.client()
        pumped.pump.lose(lost)
        pumped.pump.lose(lost)
        read(its, Received())
        until(lambda: pumped.over == [lost.number], "it was told")
        assert pumped.pump.sessions == [kept]


def test_commands(source):
    pump = Pump(source, Clock(source))
    assert pump.ask(lambda: 7).result(0) == 7, "nothing runs yet"
    pump.start()
    names = [pump.ask(lambda: threading.current_thread().name).result(LIMIT_S) for _ in range(3)]
    assert names == ["mbo-gateway-pump"] * 3
    with pytest.raises(ZeroDivisionError):
        pump.ask(lambda: 1 // 0).result(LIMIT_S)
    assert pump.ask(lambda: 8).result(LIMIT_S) == 8, "the error was the asker's"
    pump.stop()
    with pytest.raises(LostError, match="the gateway has been closed"):
        pump.ask(lambda: 9).result(LIMIT_S)
    with contextlib.suppress(OSError):
        pump.wake()


def test_pump_that_never_started_stops(source):
    Pump(source, Clock(source)).stop()
