"""A gateway as a whole, over TCP: its limits, its replay control, and any number of clients at once."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import databento_dbn
import numpy as np
import pytest

import mbo
from mbo.book import Books
from mbo.errors import LostError, RequestError
from mbo.live.gateway import Gateway
from mbo.live.messages import SystemCode
from mbo.records import MBO_DTYPE, Flag, RecordArray
from mbo.replay import Records
from mbo.simulator import Feature, Session, simulate
from mbo.units import format_time
from tests.live.wire import END, RawClient, day_of, day_of_session, mbo_line, same, until

COUNT = 6_000


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(COUNT, seed=4, instruments=3, resting=30, features=Feature.ALL)


@pytest.fixture
def day(tmp_path, session) -> Records:
    return day_of_session(tmp_path, session)


def digests(records: RecordArray) -> dict[int, str]:
    """The books that records make, by instrument."""
    books = Books()
    books.apply(records)
    for book in books.values():
        book.check()
    return {key[1]: book.digest() for key, book in books.items()}


def final(session: Session) -> dict[int, str]:
    return {number: session.digest(number) for number in session.instrument_ids}


def joined(gateway: Gateway, *lines: str, **fields) -> RawClient:
    """A client that has been told that it is in."""
    client = RawClient(gateway.port).enter(*(lines or [mbo_line()]), **fields)
    return client.until(lambda one: one.texts, "it is let in")


# ---------------------------------------------------------------- where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.com"])
@pytest.mark.parametrize("keys", [None, []], ids=["none", "empty"])
def test_beyond_loopback_only_with_a_key(day, host, keys):
    with pytest.raises(RequestError, match="a gateway needs a key: set MBO_GATEWAY_KEY or give a key file"):
        Gateway(day, host=host, keys=keys)


@pytest.mark.parametrize("keys", [["db-good", " "], [""], "", "\t"], ids=repr)
def test_blank_keys(day, keys):
    with pytest.raises(RequestError, match="a key of the gateway is blank"):
        Gateway(day, keys=keys)


@pytest.mark.parametrize("version", [0, 4, None, "3"], ids=repr)
def test_no_such_version(day, version):
    with pytest.raises(RequestError, match="there are 1, 2 and 3"):
        Gateway(day, dbn_version=version)


def test_wrong_pace(day):
    with pytest.raises(RequestError, match="a rate or a speed, not both"):
        Gateway(day, rate=1, speed=1)


def test_port_that_is_taken(day):
    with Gateway(day) as gateway:
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                Gateway(day, port=gateway.port).start()
        joined(gateway).sock.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_ipv6(day, session):
    gateway = Gateway(day, host="::1")
    try:
        gateway.start()
    except OSError:
        pytest.skip("there is no IPv6 loopback")
    with gateway, RawClient(gateway.port, "::1") as client:
        assert gateway.url == f"tcp://[::1]:{gateway.port}"
        assert same(client.enter(mbo_line()).to_the_end().mbo, session.records)


def test_what_it_says_of_itself(day):
    with Gateway(day) as gateway:
        assert gateway.url == f"tcp://127.0.0.1:{gateway.port}"
        assert repr(gateway) == f"<Gateway of GLBX.MDP3 at {gateway.url}, 0 clients>"
        assert (gateway.position, gateway.records, gateway.sent, gateway.sessions) == (COUNT, COUNT, 0, [])
    with Gateway(day, loop=True) as gateway:
        assert gateway.records is None


def test_close_and_close_again(day):
    gateway = Gateway(day)
    gateway.close()  # it was never started
    with gateway:
        port = gateway.port
        gateway.close()
    gateway.close()
    with pytest.raises(OSError, match="refused"):
        RawClient(port)
    with pytest.raises(LostError):
        gateway.seek(0)


# ---------------------------------------------------------------- limits


def test_too_many_connections(day):
    with Gateway(day, rate=1, max_clients=2) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(2)]
        assert all(client.authenticate().startswith("success=1") for client in clients)
        for _ in range(3):
            with RawClient(gateway.port) as third:
                assert third.authenticate() == "success=0|error=2 clients are served already"
                assert third.line() == ""
        clients[0].sock.close()

        def room() -> bool:
            with RawClient(gateway.port) as client:
                return client.authenticate().startswith("success=1")

        until(room, "the place is free again")


def test_far_too_many_connections_are_closed_without_a_word(day):
    with Gateway(day, max_clients=1) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(33)]
        assert [client.line() for client in clients] == ["lsg_version=0.9.0"] * 33
        with RawClient(gateway.port) as another:
            assert another.sock.recv(100) == b""


@pytest.mark.parametrize("said", ["nothing", "half a line", "who it is", "what it wants"])
def test_too_slow_a_handshake(day, said, caplog):
    caplog.set_level(logging.INFO, "mbo.gateway")
    with Gateway(day, handshake_s=0.15) as gateway, RawClient(gateway.port) as client:
        request = client.request()
        if said == "half a line":
            client.sock.sendall(request[:20].encode())
        elif said != "nothing":
            assert client.say(request).line().startswith("success=1")
        if said == "what it wants":
            client.say(mbo_line())
        begin = time.monotonic()
        assert client.line() == ""
        assert time.monotonic() - begin < 5
        until(lambda: "did not start its session within 0.15 s" in caplog.text, "it is noted")


def test_session_outlives_the_handshake_s_limit(day, session):
    with Gateway(day, rate=10_000, handshake_s=0.15) as gateway, joined(gateway) as client:
        assert same(client.to_the_end().mbo, session.records)


def test_many_come_and_go(day, session):
    """Some in the middle of their first line, some while they are served; the last one still gets everything."""
    with Gateway(day) as gateway:

        def visit(number: int) -> None:
            with RawClient(gateway.port) as client:
                if number % 3:
                    client.authenticate()
                if number % 3 == 2:
                    client.say(mbo_line(snapshot=number % 2), "start_session").take()

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        until(lambda: not gateway.sessions, "all have left")
        with joined(gateway) as last:
            assert same(last.to_the_end().mbo, session.records)


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("ts_out", [0, 1])
def test_versions_as_databento_reads_them(day, session, version, ts_out):
    with Gateway(day, dbn_version=version) as gateway, RawClient(gateway.port) as client:
        client.enter(mbo_line("SIM1,SIM2,SIM3,NONE"), ts_out=ts_out).to_the_end()
    decoder = databento_dbn.DBNDecoder(upgrade_policy=databento_dbn.VersionUpgradePolicy.UPGRADE_TO_V3)
    decoder.write(client.header + b"".join(client.records))
    metadata, *decoded = decoder.decode()
    assert client.header[3] == version
    assert metadata.dataset == "GLBX.MDP3"
    data = [one for one in decoded if isinstance(one, databento_dbn.MBOMsg)]
    assert [one.order_id for one in data] == session.records["order_id"].tolist()
    assert [one.ts_recv for one in data] == session.records["ts_recv"].tolist()
    mappings = [one for one in decoded if isinstance(one, databento_dbn.SymbolMappingMsg)]
    assert [(one.instrument_id, one.stype_out_symbol) for one in mappings] == [
        (1001, "SIM1"),
        (1002, "SIM2"),
        (1003, "SIM3"),
    ]
    (error,) = [one for one in decoded if isinstance(one, databento_dbn.ErrorMsg)]
    assert error.err == "No instrument found for raw_symbol symbol NONE"
    messages = [one.msg for one in decoded if isinstance(one, databento_dbn.SystemMsg)]
    assert messages == ["Subscription request 0 for mbo data succeeded", END]
    assert len(decoded) == len(client.records)
    if ts_out:
        assert all(abs(one.ts_out - time.time_ns()) < 60 * 10**9 for one in decoded)


# ---------------------------------------------------------------- pace


def test_rate(day, session):
    with Gateway(day, rate=20_000) as gateway:
        begin = time.monotonic()
        client = joined(gateway)
        assert same(client.to_the_end().mbo, session.records), "the first one misses nothing"
        assert COUNT / 20_000 - 0.01 < time.monotonic() - begin < 5
        client.sock.close()


def test_speed(tmp_path):
    session = simulate(1_000, resting=10)
    times = session.records["ts_recv"]
    recorded_s = float(times.max() - times[0]) / 1e9
    assert 0.3 < recorded_s < 1
    with Gateway(day_of_session(tmp_path, session), speed=3) as gateway:
        begin = time.monotonic()
        with joined(gateway) as client:
            assert same(client.to_the_end().mbo, session.records)
        assert recorded_s / 3 - 0.01 < time.monotonic() - begin < recorded_s + 2


def test_hold_and_begin(day, session):
    with Gateway(day, rate=1e6, hold=True) as gateway, joined(gateway) as client:
        assert gateway.position == 0
        assert client.quiet(0.1)
        at = time.monotonic_ns() + 100_000_000
        assert gateway.begin(at) == at
        client.upto(1)
        assert time.monotonic_ns() >= at
        assert same(client.to_the_end().mbo, session.records)


@pytest.mark.timeout(30)
def test_pause_gives_heartbeats_and_nothing_else(day, session):
    with (
        Gateway(day, rate=1e6) as gateway,
        joined(gateway, heartbeat_interval_s=5) as client,
        RawClient(gateway.port) as zipped,
    ):
        client.upto(1)
        gateway.pause()
        gateway.seek(2_000)
        zipped.enter(mbo_line(), compression="zstd", heartbeat_interval_s=5)
        begin = time.monotonic()
        client.until(lambda one: "Heartbeat" in one.texts)
        assert 4 < time.monotonic() - begin < 8
        zipped.until(lambda one: "Heartbeat" in one.texts)
        before = len(client.mbo)
        gateway.resume()
        assert same(client.to_the_end().mbo[before:], session.records[2_000:])
        assert same(zipped.to_the_end().mbo, session.records[2_000:])


def test_pause_before_anybody_comes(day, session):
    with Gateway(day, rate=1e6) as gateway:
        gateway.pause()
        with joined(gateway) as client:
            assert client.quiet(0.1)
            gateway.resume()
            assert same(client.to_the_end().mbo, session.records)


def test_pace_of_what_had_none(tmp_path):
    records = simulate(200_000, resting=30).records
    with (
        Gateway(day_of(tmp_path, records, symbols={"SIM1": 1001})) as gateway,
        RawClient(gateway.port, small=True) as client,
    ):
        client.enter(mbo_line()).upto(1_000)
        gateway.set_pace(rate=1)
        there = gateway.position
        assert 1_000 <= there < 200_000, "it goes on from where the client is"
        client.upto(there)
        gateway.set_pace()
        assert same(client.to_the_end().mbo, records)


def test_wrong_pace_changes_nothing(day, session):
    with Gateway(day, rate=50_000) as gateway, joined(gateway) as client:
        with pytest.raises(RequestError, match="rate=-1"):
            gateway.set_pace(rate=-1)
        assert same(client.to_the_end().mbo, session.records)


# ---------------------------------------------------------------- seek


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_seek_forwards_and_backwards(day, session, compression):
    with Gateway(day, rate=1e6) as gateway, RawClient(gateway.port) as client, RawClient(gateway.port) as one_of_them:
        gateway.pause()
        client.enter(mbo_line(), compression=compression).until(lambda one: one.texts)
        one_of_them.enter(mbo_line("SIM3")).until(lambda one: one.texts)
        for number in (5_000, 1_500, 1_500, 3_333):
            assert gateway.seek(number) == number
            books, part = digests(session.records[:number]), len(client.mbo)
            client.until(lambda one, part=part: len(one.mbo) > part and one.mbo["flags"][-1] & Flag.SNAPSHOT)
            client.until(lambda one, books=books: digests(one.mbo) == books, "its books are those of there")
        gateway.resume()
        for one in (client, one_of_them):
            one.to_the_end()
        assert digests(client.mbo) == final(session)
        assert digests(one_of_them.mbo) == {1003: session.digest(1003)}
        assert same(client.mbo[-(COUNT - 3_333) :], session.records[3_333:])


def test_seek_to_the_beginning_clears_the_books(tmp_path, session):
    """A file that begins within a session has no clear of its own."""
    records = session.records[1_500:3_000]
    records = records[records["flags"] & Flag.SNAPSHOT == 0]
    with Gateway(day_of(tmp_path, records, symbols={"SIM1": 1001}), rate=1e6) as gateway:
        gateway.pause()
        gateway.seek(1_000)
        with joined(gateway, mbo_line(snapshot=1)) as client:
            gateway.seek(0)
            gateway.resume()
            client.to_the_end()
        assert digests(client.mbo) == digests(records)
        assert same(client.mbo[-len(records) :], records)


def test_seek_to_a_time(day, session):
    with Gateway(day, rate=1e6) as gateway:
        gateway.pause()
        times = session.records["ts_recv"]
        peaks = np.maximum.accumulate(times)
        for number in (2_000, 4_000):
            instant = int(peaks[number])
            expected = int(np.argmax(times >= instant))
            assert gateway.seek(instant) == gateway.seek(format_time(instant)) == expected
            assert gateway.position == expected
        assert gateway.seek(int(times.max()) + 1) == COUNT


@pytest.mark.parametrize("number", [-1, COUNT + 1, 10**14])
def test_seek_to_what_is_not_there(day, number):
    with Gateway(day, rate=1e6) as gateway, pytest.raises(RequestError, match=r"is not in the replay, which has 6,000"):
        gateway.seek(number)


def test_seek_before_the_first_client(day, session):
    for pace in ({}, {"rate": 1e6}):
        with Gateway(day, **pace) as gateway:
            gateway.seek(4_000)
            with joined(gateway, mbo_line(snapshot=1)) as client:
                client.to_the_end()
            assert digests(client.mbo) == final(session)
            assert same(client.mbo[-2_000:], session.records[4_000:])


# ---------------------------------------------------------------- lost, and closed


def test_drop_is_a_reset(day):
    with Gateway(day, rate=1_000) as gateway, joined(gateway) as one, joined(gateway) as other:
        first = min(gateway.sessions).number
        gateway.drop(first)
        with pytest.raises(ConnectionResetError):
            one.to_the_end()
        until(lambda: [info.number for info in gateway.sessions] != [first], "it is gone")
        other.upto(len(other.mbo) + 10)
        gateway.drop()
        with pytest.raises(ConnectionResetError):
            other.to_the_end()
        until(lambda: not gateway.sessions, "all are gone")
        joined(gateway).sock.close()


@pytest.mark.parametrize("state", ["running", "paused"])
def test_close_drains_to_the_end_of_the_event(day, session, state):
    records = session.records
    middle = int(np.flatnonzero(records["flags"][:3_000] & Flag.LAST == 0)[-1]) + 1
    gateway = Gateway(day, rate=2_000 if state == "running" else 1e6)
    with gateway, ExitStack() as stack:
        if state == "paused":
            gateway.pause()
            gateway.seek(middle)
        clients = [stack.enter_context(joined(gateway, mbo_line(start=0))) for _ in range(3)]
        for client in clients:
            client.upto(50 if state == "running" else middle)
        begin = time.monotonic()
        gateway.close()
        assert time.monotonic() - begin < 3
        for client in clients:
            client.to_the_end()  # and no reset
            assert client.torn == 0
            assert client.mbo["flags"][-1] & Flag.LAST
            assert same(client.mbo, records[: len(client.mbo)])
            assert state == "running" or middle < len(client.mbo) < middle + 100
        with pytest.raises(OSError, match="refused"):
            RawClient(gateway.port or 1)


def test_close_does_not_wait_for_who_does_not_read():
    gateway = Gateway(mbo.read_dbn(mbo.SIMULATED), loop=True)
    with gateway, RawClient(gateway.port, small=True) as client:
        client.enter(mbo_line())
        before: list[int] = []

        def stuck() -> bool:
            before.append(gateway.sent)
            time.sleep(0.05)
            return 0 < gateway.sent == before[-1]

        until(stuck, "it takes no more")
        begin = time.monotonic()
        gateway.close(drain_s=0.2)
        assert 0.2 <= time.monotonic() - begin < 4


def test_client_that_leaves(day):
    with Gateway(day, rate=1_000) as gateway:
        client = joined(gateway)
        client.sock.close()
        until(lambda: not gateway.sessions, "it is forgotten")
        half = joined(gateway)
        half.sock.shutdown(socket.SHUT_WR)
        half.to_the_end()
        until(lambda: not gateway.sessions, "it has said that it wants no more")
        half.sock.close()


# ---------------------------------------------------------------- many at once, and a loop


def test_clients_at_places_of_their_own(day, session):
    with Gateway(day, rate=1e6) as gateway, ExitStack() as stack:
        gateway.pause()
        gateway.seek(3_000)
        early = stack.enter_context(joined(gateway, mbo_line(start=0)))
        late = stack.enter_context(joined(gateway, mbo_line(snapshot=1), ts_out=1))
        one = stack.enter_context(joined(gateway, mbo_line("SIM2", start=0), compression="zstd"))
        early.upto(3_000)
        assert gateway.position == 3_000
        until(lambda: [info.behind for info in gateway.sessions] == [0, 0, 0], "all have all that has happened")
        assert gateway.sent == 3_000 + int((session.records["instrument_id"][:3_000] == 1002).sum())
        assert "Finished mbo replay" in early.until(lambda one: len(one.texts) == 2).texts
        assert "Finished mbo replay" not in late.texts
        gateway.resume()
        for client in (early, late, one):
            client.to_the_end()
        assert same(early.mbo, session.records)
        assert same(one.mbo, session.records[session.records["instrument_id"] == 1002])
        assert same(late.mbo[-3_000:], session.records[3_000:])
        assert digests(late.mbo) == final(session)
        until(lambda: not gateway.sessions, "all have ended")
        assert gateway.sent == len(early.mbo) + len(one.mbo) + 3_000


@pytest.mark.parametrize("pace", [{}, {"rate": 2e6}], ids=["unpaced", "paced"])
def test_loop(day, session, pace):
    with Gateway(day, loop=True, **pace) as gateway, joined(gateway) as client:
        turn = COUNT + 3
        client.upto(3 * turn)
        with joined(gateway, mbo_line(snapshot=1)) as late:
            late.upto(turn)
    records = client.mbo
    assert same(records[3:turn], session.records)
    assert (records["action"][: 3 * turn].reshape(3, turn)[:, :3] == ord("R")).all()
    for books in (digests(records[: 3 * turn]), digests(records[turn : 2 * turn])):
        assert len(books) == 3
    assert digests(records[:turn]) == final(session)
    peaks = [records["ts_recv"][k * turn : (k + 1) * turn] for k in range(3)]
    assert all(one.max() < other.min() for one, other in pairwise(peaks))
    assert END not in client.texts
    digests(late.mbo)


def test_bundled_session_of_90_000_records():
    day = mbo.read_dbn(mbo.SIMULATED)
    with Gateway(day) as gateway, joined(gateway) as client:
        client.to_the_end()
    assert client.mbo.dtype == MBO_DTYPE
    assert same(client.mbo, day.load())
    codes = [one.code for one in client.messages if hasattr(one, "code")]
    assert codes == [SystemCode.SUBSCRIPTION_ACK, SystemCode.UNSET]
