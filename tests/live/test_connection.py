"""The conversation with one client, word by word, over TCP: what it is told, what it is refused, what it may ask for later."""

from __future__ import annotations

import hashlib
import logging
import threading
import time

import numpy as np
import pytest

from mbo.book import Books
from mbo.live.connection import MAX_SESSION_SYMBOLS
from mbo.live.desk import Desk
from mbo.live.gateway import Gateway
from mbo.live.lines import MAX_LINE_BYTES
from mbo.live.messages import ErrorCode, ErrorMessage, SystemCode
from mbo.live.session import Wanted
from mbo.records import Flag
from mbo.replay import Records
from mbo.simulator import Session, simulate
from mbo.units import UNDEF_TIMESTAMP
from tests.builders import NOON, stream
from tests.live.wire import END, RawClient, day_of, day_of_session, mbo_line, same, until

KEY = "db-secret-of-the-house-0123456789"
IDS = {"SIM1": 1001, "SIM2": 1002, "SIM3": 1003}


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(6_000, seed=4, instruments=3, resting=30)


@pytest.fixture
def day(tmp_path, session) -> Records:
    return day_of_session(tmp_path, session)


def errors(client: RawClient) -> list[ErrorMessage]:
    return [one for one in client.messages if isinstance(one, ErrorMessage)]


def refused(client: RawClient, sentence: str) -> None:
    """The only thing that the stream says, and then it ends."""
    client.to_the_end()
    (error,) = errors(client)
    assert sentence in error.text
    assert error.code == ErrorCode.INVALID_SUBSCRIPTION
    assert error.is_last
    assert len(client.messages) == len(client.records) == 1
    assert client.torn == 0


# ---------------------------------------------------------------- the handshake


def whole(client: RawClient, data: bytes) -> None:
    client.sock.sendall(data)


def byte_by_byte(client: RawClient, data: bytes) -> None:
    for byte in data:
        client.sock.sendall(bytes([byte]))


@pytest.mark.parametrize("send", [whole, byte_by_byte])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_session_from_the_first_line_to_the_last_record(day, session, send, end):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        before = time.time_ns()
        send(client, (client.request(ts_out=0, client="a test/1.0 (x y)", nobody_knows="this") + end).encode())
        answer = client.line()
        assert answer == f"success=1|session_id={answer.rpartition('=')[2]}"
        assert answer.rpartition("=")[2].isdigit()
        send(client, (mbo_line("SIM1,SIM2,SIM3", id=9, is_last=1) + end + "start_session" + end).encode())
        client.to_the_end()
    assert same(client.mbo, session.records)
    assert client.texts == ["Subscription request 9 for mbo data succeeded", END]
    assert client.symbols == [(number, symbol, symbol) for symbol, number in IDS.items()]
    assert all(before <= one.ts_event <= time.time_ns() for one in client.messages)
    assert [record[1] for record in client.records[:4]] == [0x17, 0x16, 0x16, 0x16], "answers come first"
    about = client.metadata
    assert (about.version, about.dataset, about.ts_out, about.limit, about.end) == (3, "GLBX.MDP3", False, None, None)
    assert (about.schema, about.stype_in, str(about.stype_out)) == (None, None, "instrument_id")
    assert (about.symbols, about.mappings, about.partial, about.not_found) == ([], {}, [], [])
    assert before <= about.start <= time.time_ns()


@pytest.mark.parametrize("start", ["start_session", "start_session=0", "start_session=1"])
def test_as_the_other_clients_write_it(day, session, start):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        name, *rest = client.request(heartbeat_interval_s=30, slow_reader_behavior="warn").split("|")
        assert client.say("|".join([*rest[::-1], name])).line().startswith("success=1")
        line = "is_last=1|id=1|symbols=SIM2|stype_in=raw_symbol|schema=mbo|start=1970-01-02"
        client.say(line, start).to_the_end()
        assert same(client.mbo, session.records[session.records["instrument_id"] == 1002])


def test_everything_in_one_breath(day, session):
    """A client that does not wait for its answer loses nothing here."""
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.say(client.request(), mbo_line("SIM1"), mbo_line("SIM3"), "start_session")
        assert client.line().startswith("success=1")
        client.feed(client._rest)
        client.to_the_end()
        assert same(client.mbo, session.records[session.records["instrument_id"] != 1002])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n", "auth is missing"),
        (b"\n", "auth is missing"),
        (b"auth=\n", "auth is missing"),
        (b"auth=a-b\n", "dataset is missing"),
        (b"auth=a-b|dataset=GLBX.MDP3|ts_out=2\n", "ts_out"),
        (b"auth=a-b|dataset=GLBX.MDP3|compression=lz4\n", "compression"),
        (b"auth=a-b|dataset=GLBX.MDP3|encoding=json\n", "encoding json is not served here"),
        (b"auth=a-b|dataset=GLBX.MDP3|heartbeat_interval_s=1\n", "heartbeat_interval_s is 1, not in 5 to 1800"),
        (b"auth=a-b|auth=a-b|dataset=GLBX.MDP3\n", "auth stands twice"),
        (b"\x16\x03\x01\x02\x00\n", "control characters"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"x" * (MAX_LINE_BYTES + 1), "longer than 65536 bytes"),
        (b"start_session=0\n", "auth is missing"),
        (b"auth=a-b|dataset=XNAS.ITCH\n", "GLBX.MDP3 is replayed here, not XNAS.ITCH"),
    ],
    ids=lambda value: ascii(value[:50]) if isinstance(value, bytes) else "",
)
def test_rubbish_is_refused_in_one_line(day, data, sentence):
    with Gateway(day) as gateway:
        with RawClient(gateway.port) as client:
            client.line(), client.line()
            client.sock.sendall(data)
            answer = client.line()
            assert answer.startswith("success=0|error=")
            assert sentence in answer
            assert answer.count("|") == 1
            assert client.line() == "", "and then it closes"
        with RawClient(gateway.port) as other:
            assert other.authenticate().startswith("success=1"), "others are served on"


def test_any_dataset(day):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        assert client.authenticate(dataset="*").startswith("success=1")
        client.say("start_session").to_the_end()
        assert client.metadata.dataset == "GLBX.MDP3"


def test_client_that_only_connects(day, caplog):
    caplog.set_level(logging.INFO, "mbo.gateway")
    with Gateway(day) as gateway:
        RawClient(gateway.port).sock.close()
        until(lambda: "is lost" in caplog.text, "it is noticed")


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "key", ["db-another-key-of-no-use-at-all-00", KEY[:-1], KEY + " ", KEY.upper(), "x", KEY[-5:]], ids=repr
)
def test_wrong_key(day, key, caplog):
    caplog.set_level(logging.DEBUG)
    with Gateway(day, keys=[KEY, "db-the-second-one"]) as gateway, RawClient(gateway.port) as client:
        assert client.authenticate(key) == "success=0|error=Authentication failed: no such key"
        assert client.line() == ""
        assert KEY not in repr(gateway) + str(vars(gateway)) + str(gateway._replay)
        until(lambda: "is refused" in caplog.text, "it is noted")
    for secret in (KEY, key):
        assert len(secret) < 6 or secret not in caplog.text


def test_right_key(day, session, caplog):
    caplog.set_level(logging.DEBUG)
    with Gateway(day, keys=["db-the-first-one", KEY]) as gateway, RawClient(gateway.port) as client:
        client.enter(mbo_line(), key=KEY).to_the_end()
        assert same(client.mbo, session.records)
    assert KEY not in caplog.text


def test_one_key_may_be_given_alone(day):
    with Gateway(day, keys=KEY) as gateway:
        for key, answer in ((KEY, "success=1"), (KEY[0], "success=0")):
            with RawClient(gateway.port) as client:
                assert client.authenticate(key).startswith(answer)


def test_answer_to_another_challenge_opens_nothing(day):
    with Gateway(day, keys=[KEY]) as gateway, RawClient(gateway.port) as one, RawClient(gateway.port) as other:
        line = one.request(KEY)
        other.request(KEY)
        assert other.say(line).line().startswith("success=0")
        with RawClient(gateway.port) as blank:
            blank.line(), blank.line()
            digest = hashlib.sha256(b"").hexdigest()
            assert blank.say(f"auth={digest}-|dataset=GLBX.MDP3").line().startswith("success=0")


def test_any_key_where_none_is_set(day):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.line(), client.line()
        assert client.say("auth=whatever|dataset=GLBX.MDP3").line().startswith("success=1")


# ---------------------------------------------------------------- subscriptions


def test_several_subscriptions(day, session):
    records = session.records
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.enter(
            mbo_line("SIM1,NONE", id=4, is_last=0), mbo_line("1003,77", stype_in="instrument_id", id=4, is_last=1),
            mbo_line("SI.FUT", stype_in="parent", id=5),
        ).to_the_end()  # fmt: skip
    assert same(client.mbo, records), "every record once"
    assert [error.text for error in errors(client)] == [
        "No instrument found for raw_symbol symbol NONE",
        "No instrument found for instrument_id symbol 77",
    ]
    assert {error.code for error in errors(client)} == {ErrorCode.SYMBOL_RESOLUTION_FAILED}
    acks = [one.text for one in client.messages if getattr(one, "code", None) == SystemCode.SUBSCRIPTION_ACK]
    assert acks == [f"Subscription request {number} for mbo data succeeded" for number in (4, 5)]
    assert client.symbols == [
        (1001, "SIM1", "SIM1"), (1003, "1003", "SIM3"), *((number, "SI.FUT", symbol) for symbol, number in IDS.items())
    ]  # fmt: skip


def test_no_subscription_at_all(day):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.enter().to_the_end()
        assert client.texts == [END]


def test_only_unknown_symbols(day):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.enter(mbo_line("X" * 5_000)).to_the_end()
        assert len(client.mbo) == 0
        assert errors(client)[0].text.startswith("No instrument found for raw_symbol symbol XXX")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (mbo_line("SIM1", start=5, id=1).replace("snapshot=0", "snapshot=1"), "snapshot is for the schema mbo"),
        ("schema=trades|symbols=SIM1", "schema trades is not served here: only mbo is"),
        ("schema=nonsense|symbols=SIM1", "schema is 'nonsense'"),
        (mbo_line("CL.c.0", stype_in="continuous"), "stype_in continuous is not served here"),
        (mbo_line(""), "symbols is missing"),
        (mbo_line("A,,B"), "which is no symbol"),
        (mbo_line("ALL_SYMBOLS,SIM1"), "ALL_SYMBOLS and others"),
        (mbo_line(",".join(f"S{k}" for k in range(2_001))), "symbols are 2001"),
        (mbo_line("SIM1", start="yesterday"), "start is 'yesterday', which is no time"),
        (mbo_line("SIM1", start=-1), "start is '-1'"),
        (mbo_line("SIM1", start=UNDEF_TIMESTAMP), "start is"),
        (mbo_line("SIM1", id=2**32), "id is"),
        ("auth=a-b|dataset=GLBX.MDP3", "a client is authenticated once"),
        ("hello", "this is no request of the live protocol"),
        ("x" * (MAX_LINE_BYTES + 1), "longer than 65536 bytes"),
        ("\x00", "control characters"),
    ],
    ids=lambda value: ascii(value[:50]),
)
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_is_wrong_before_the_start(day, line, sentence, compression):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.enter(line, compression=compression)
        refused(client, sentence)


def test_too_many_symbols_in_one_session(day):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        lines = [mbo_line(",".join(f"S{k}" for k in range(2_000)))] * (MAX_SESSION_SYMBOLS // 2_000)
        client.enter(*lines, mbo_line("SIM1"))
        refused(client, "more than 20,000 symbols in one session")


@pytest.mark.parametrize("ts_out", [0, 1])
def test_refused_with_sending_times(day, ts_out):
    with Gateway(day) as gateway, RawClient(gateway.port) as client:
        client.enter("hello", ts_out=ts_out)
        refused(client, "no request")
        assert len(client.records[0]) == 320 + 8 * ts_out


def test_symbol_that_this_version_has_no_room_for(tmp_path):
    name = "CL:BF X5-Z5-F6 AND ON AND ON"
    records = stream(100, instruments=[7, 8])
    day = day_of(tmp_path, records, symbols={name: 7, "CLX5": 8})
    with Gateway(day, dbn_version=1) as gateway:
        with RawClient(gateway.port) as client:
            client.enter(mbo_line(name)).to_the_end()
            assert "has 28 bytes" in errors(client)[0].text
        with RawClient(gateway.port) as client:
            client.enter(mbo_line("CLX5")).to_the_end()
            assert same(client.mbo, records[records["instrument_id"] == 8])


def test_several_starts(tmp_path):
    records = stream(1_000, instruments=[7, 8, 9])  # a nanosecond apart
    day = day_of(tmp_path, records, symbols={"A": 7, "B": 8, "C": 9})
    with Gateway(day, rate=1e9, hold=True) as gateway, RawClient(gateway.port) as client:
        client.enter(
            mbo_line("A", start=NOON + 500), mbo_line("A,B", start=NOON + 100), mbo_line("C", start=NOON + 990, id=2)
        )  # fmt: skip
        until(lambda: gateway.sessions, "it is served")
        gateway.begin()
        client.to_the_end()
    number = np.arange(1_000)
    ids = records["instrument_id"]
    assert same(client.mbo, records[((ids != 9) & (number >= 100)) | (number >= 990)])
    assert client.metadata.start == NOON + 100
    assert client.texts.count("Finished mbo replay") == 3


def test_start_beyond_the_end_is_not_the_end_for_others(day, session):
    last = int(session.records["ts_event"].max())
    with Gateway(day, rate=100_000) as gateway, RawClient(gateway.port) as early, RawClient(gateway.port) as client:
        early.enter(mbo_line(start=last + 10**9))
        until(lambda: gateway.sessions, "it is served")
        client.enter(mbo_line(start=0)).to_the_end()
        assert same(client.mbo, session.records)
        early.to_the_end()
        assert len(early.mbo) == 0


# ---------------------------------------------------------------- while it streams


@pytest.fixture
def paused(day):
    """A gateway whose present is record 3,000."""
    with Gateway(day, rate=1e6) as gateway:
        gateway.pause()
        gateway.seek(3_000)
        yield gateway


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("start_session", "the session has started already"),
        ("auth=a-b|dataset=GLBX.MDP3", "a client is authenticated once"),
        (mbo_line("SIM2", start=0), "a subscription after the start cannot have a start of its own"),
        ("schema=trades|symbols=SIM1", "schema trades is not served here"),
        ("nonsense", "this is no request"),
        ("x" * (MAX_LINE_BYTES + 1), "longer than 65536 bytes"),
    ],
    ids=lambda value: ascii(value[:50]),
)
def test_what_is_wrong_later_ends_the_session_behind_its_event(paused, session, line, sentence):
    middle = int(np.flatnonzero(session.records["flags"][:3_000] & Flag.LAST == 0)[-1]) + 1
    paused.seek(middle)  # within an event
    with RawClient(paused.port) as client, RawClient(paused.port) as other:
        client.enter(mbo_line(start=0), ts_out=1).upto(middle)
        other.enter(mbo_line(start=0)).upto(middle)
        client.say(line).to_the_end()
        assert sentence in errors(client)[-1].text
        assert client.records[-1][1] == 0x15
        assert len(client.mbo) > middle
        assert client.mbo["flags"][-1] & Flag.LAST
        assert same(client.mbo, session.records[: len(client.mbo)])
        paused.resume()
        assert same(other.to_the_end().mbo, session.records)


@pytest.mark.parametrize("ts_out", [0, 1])
@pytest.mark.parametrize("snapshot", [0, 1])
def test_late_subscription(paused, session, snapshot, ts_out):
    records = session.records
    with RawClient(paused.port) as client:
        client.enter(mbo_line("SIM1"), ts_out=ts_out)
        client.say(mbo_line("SIM2,NONE", id=7, snapshot=snapshot))
        client.until(lambda one: any("request 7" in text for text in one.texts))
        paused.resume()
        client.to_the_end()
    assert "No instrument found for raw_symbol symbol NONE" in client.texts
    assert (1002, "SIM2", "SIM2") in client.symbols
    late = records[3_000:]
    after = late[late["instrument_id"] != 1003]
    assert same(client.mbo[-len(after) :], after)
    books = Books()
    books.apply(client.mbo)
    assert len(client.mbo) == len(after) or snapshot
    if snapshot:
        book = books.book(1002)
        book.check()
        assert book.digest() == session.digest(1002)


def test_late_subscription_that_is_not_the_first_to_want_it(paused, session):
    with RawClient(paused.port) as client:
        client.enter(mbo_line(start=0))
        client.upto(3_000).say(mbo_line("SIM2"), mbo_line("ALL_SYMBOLS", id=3))
        client.until(lambda one: any("request 3" in text for text in one.texts))
        paused.resume()
        assert same(client.to_the_end().mbo, session.records), "every record once"


def test_late_subscription_of_one_who_had_none(paused, session):
    with RawClient(paused.port) as client:
        client.enter()
        client.say(mbo_line("SIM3"))
        client.until(lambda one: one.texts)
        paused.resume()
        late = session.records[3_000:]
        assert same(client.to_the_end().mbo, late[late["instrument_id"] == 1003])


@pytest.mark.parametrize("to", [1_000, 5_000])
def test_moved_while_the_snapshot_of_a_late_subscription_is_made(paused, session, monkeypatch, to):
    made, moved, original = threading.Event(), threading.Event(), Desk.snapshots

    def slow(self, number, wanted, **options):
        found = original(self, number, wanted, **options)
        if wanted.ids == {1002} and not made.is_set():
            made.set()
            assert moved.wait(10)
        return found

    monkeypatch.setattr(Desk, "snapshots", slow)
    with RawClient(paused.port) as client:
        client.enter(mbo_line("SIM1", snapshot=1))
        client.say(mbo_line("SIM2", snapshot=1, id=2))
        assert made.wait(10)
        paused.seek(to)
        moved.set()
        client.until(lambda one: any("request 2" in text for text in one.texts))
        paused.resume()
        client.to_the_end()
    books = Books()
    books.apply(client.mbo)
    for number in (1001, 1002):
        assert books.book(number).digest() == session.digest(number)
    late = session.records[to:]
    late = late[late["instrument_id"] != 1003]
    assert same(client.mbo[-len(late) :], late)


def test_who_asks_faster_than_he_reads_waits(paused):
    size = len(Desk(paused._replay.source).snapshots(3_000, Wanted(everything=True)))
    with RawClient(paused.port, small=True) as client:
        client.enter(mbo_line())
        client.say(*[mbo_line(snapshot=1)] * 400)
        until(lambda: paused.sessions, "it is served")
        time.sleep(0.3)
        (session,) = paused._replay.pump.sessions
        assert sum(map(len, session._outbox)) < 3 * size
        assert session.bytes < 400 * size


def test_snapshot_when_joining(paused, session):
    with RawClient(paused.port) as client:
        client.enter(mbo_line("SIM1", snapshot=1), mbo_line("SIM1,SIM3", snapshot=1), mbo_line("SIM2"))
        client.until(lambda one: one.texts)
        paused.resume()
        client.to_the_end()
    begun = int(np.flatnonzero(client.mbo["flags"] & Flag.SNAPSHOT == 0)[0])
    restored, rest = client.mbo[:begun], client.mbo[begun:]
    assert same(rest, session.records[3_000:])
    assert (restored["flags"] & Flag.SNAPSHOT).all()
    assert (restored["action"] == ord("R")).sum() == 2, "once, though asked for twice"
    books = Books()
    books.apply(client.mbo)
    assert [books.book(number).digest() == session.digest(number) for number in (1001, 1003)] == [True, True]
    there = Books()
    there.apply(session.records[:3_000])
    again = Books()
    again.apply(restored)
    assert again.book(1003).digest() == there.book(1003).digest()
