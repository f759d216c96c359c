"""Where records are really missing: a gateway that comes back with other data, one that skips, bytes that were never sent."""

from __future__ import annotations

import itertools
import logging
import random
import time

import numpy as np
import pytest

import mbo
from mbo.errors import LostError, ProtocolError, RefusedError
from mbo.live import feed as feed_module
from mbo.live import link
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.live.messages import END_OF_REPLAY, ErrorCode, SystemCode
from mbo.records import RecordArray
from mbo.simulator import Feature, simulate
from tests.resilience.harness import (
    ACK,
    HEADER,
    LIMIT_S,
    MAPPING,
    RECORD,
    digests,
    disturbed,
    rebuilt,
    until,
    write_file,
)
from tests.resilience.proxy import Fault
from tests.resilience.scripted import WRITE, Peer, Scripted

pytestmark = pytest.mark.resilience

CAUGHT_UP = 320  # where a start was asked for, the gateway says when the present is reached; unpaced, that is at once
END = WRITE.system(END_OF_REPLAY, SystemCode.UNSET, 1)
BEAT = WRITE.system("Heartbeat", SystemCode.HEARTBEAT, 1)


@pytest.fixture(scope="module")
def tape() -> RecordArray:
    return simulate(3_000, seed=23, instruments=3, resting=30, features=Feature.ALL).records


def begin_of(instruments: int) -> int:
    return HEADER + ACK + instruments * MAPPING


# -------------------------------------------------------------------- other data


def other_price(records: RecordArray) -> RecordArray:
    records["price"][1_980] += 10_000_000
    return records


def one_missing(records: RecordArray) -> RecordArray:
    return np.delete(records, 1_990)


def one_twice(records: RecordArray) -> RecordArray:
    return np.insert(records, 1_970, records[1_970])


def another_day(_: RecordArray) -> RecordArray:
    records = simulate(2_500, seed=99, instruments=2, resting=50).records.copy()
    records["instrument_id"] += 5_000
    records["ts_event"] += np.uint64(86_400 * 10**9)
    return records


def earlier_day(_: RecordArray) -> RecordArray:
    records = simulate(2_500, seed=99, instruments=2, resting=50).records.copy()
    records["ts_event"] -= np.uint64(86_400 * 10**9)
    return records


def shorter(records: RecordArray) -> RecordArray:
    return records[:1_500]


@pytest.mark.parametrize("paced", [False, True], ids=["unpaced", "paced"])
@pytest.mark.parametrize("change", [other_price, one_missing, one_twice, another_day, earlier_day, shorter])
def test_gateway_comes_back_with_other_data(tape, tmp_path, change, paced, caplog):
    first, second = write_file(tmp_path / "first.dbn", tape), tmp_path / "second.dbn"
    changed = change(tape.copy())
    write_file(second, changed)
    with (
        Gateway(mbo.read_dbn(second), rate=1e6 if paced else None) as successor,
        disturbed(first, Fault(cut=begin_of(3) + 2_000 * RECORD + 20), later=successor.port) as run,
    ):
        feed = run.feed
        status = feed.wait(LIMIT_S).status
        assert status.gaps == 1
        assert status.first_gap is not None
        assert status.first_gap.applied == 2_000
        assert status.first_gap.ts_event == tape["ts_event"][1_999]
        assert status.connections == 3
        assert not status.stale
        assert run.stale == [True] * 3
        assert digests(feed.books()) == rebuilt(changed)
        assert run.bytes.startswith(tape[:2_000].tobytes())
        if not paced:
            assert run.bytes == tape[:2_000].tobytes() + changed.tobytes()
    assert "records are missing after 2000 that were applied" in caplog.text


def test_symbols_are_those_of_the_new_data(tape, tmp_path):
    """The same name may stand for another instrument tomorrow."""
    ids = np.unique(tape["instrument_id"]).tolist()
    first = write_file(tmp_path / "first.dbn", tape, {"A": ids[0], "B": ids[1], "C": ids[2]})
    changed = another_day(tape)
    ids = np.unique(changed["instrument_id"]).tolist()
    second = write_file(tmp_path / "second.dbn", changed, {"A": ids[0], "B": ids[1]})
    with (
        Gateway(mbo.read_dbn(second)) as successor,
        disturbed(first, Fault(cut=begin_of(3) + 999 * RECORD), later=successor.port) as run,
    ):
        feed = run.feed.wait(LIMIT_S)
        assert feed.status.gaps == 1
        assert feed.book("A").status.instrument_id == ids[0]
        assert {book.symbol for book in feed.books().values()} == {"A", "B"}


def test_loss_while_the_books_are_restored(tape, tmp_path):
    """The second snapshot is as good as the first, and one gap is one gap."""
    changed = other_price(tape.copy())
    first, second = write_file(tmp_path / "first.dbn", tape), write_file(tmp_path / "second.dbn", changed)
    with Gateway(mbo.read_dbn(second)) as successor:
        faults = [Fault(cut=begin_of(3) + 2_000 * RECORD), Fault(), *(Fault(cut=place) for place in (100, 900, 2_000))]
        with disturbed(first, *faults, later=successor.port) as run:
            status = run.feed.wait(LIMIT_S).status
            assert (status.gaps, status.connections) == (1, 6)
            assert digests(run.feed.books()) == rebuilt(changed)


# -------------------------------------------------------------------- what a gateway says


@pytest.mark.parametrize("code", [ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING, ErrorCode.REPLAY_DATA_AGED_OUT])
def test_gateway_says_that_records_were_skipped(tape, code, caplog):
    from mbo.book.snapshot import snapshot

    books = mbo.Books()
    books.apply(tape[:1_500])
    restored = np.concatenate([snapshot(book, ts_recv=int(tape["ts_recv"][1_499])) for book in books.values()])
    go_on, seen = [], []

    def first(peer: Peer) -> None:
        peer.greet()
        peer.say(tape[:1_000].tobytes(), WRITE.error("500 records were skipped", code, 1), tape[1_500:1_600].tobytes())
        peer.hear_out()

    def second(peer: Peer) -> None:
        peer.greet()
        seen.append(feed.stale)
        peer.say(restored.tobytes())
        until(lambda: feed.status.applied == 1_000 + len(restored), "the snapshot")
        seen.append(feed.stale)
        peer.say(BEAT if code == ErrorCode.REPLAY_DATA_AGED_OUT else tape[1_500:1_501].tobytes())
        until(lambda: not feed.stale, "a word after the snapshot")
        go_on.append(digests(feed.books()))
        begin = 1_500 if code == ErrorCode.REPLAY_DATA_AGED_OUT else 1_501
        peer.say(tape[begin:].tobytes(), END)

    with Scripted(first, second) as gateway:
        feed = Feed(gateway.url)  # the second conversation may begin before the start has returned
        with feed:
            status = feed.wait(LIMIT_S).status
        assert (status.gaps, status.connections) == (1, 2)
        assert status.first_gap is not None
        assert status.first_gap.applied == 1_000
        assert "skipped" in status.first_gap.reason
        assert [peer.asked[0].snapshot for peer in gateway.peers] == [False, True]
        assert seen == [True, True]
        assert len(go_on) == 1
        assert digests(feed.books()) == rebuilt(tape)
    assert "500 records were skipped" in caplog.text


def test_fatal_error_ends_the_feed_with_the_gateways_words(tape):
    def talk(peer: Peer) -> None:
        peer.greet()
        peer.say(tape[:10].tobytes(), WRITE.error("your key was deactivated", ErrorCode.API_KEY_DEACTIVATED, 1))

    with Scripted(talk) as gateway, Feed(gateway.url) as feed:
        with pytest.raises(RefusedError, match="your key was deactivated"):
            feed.wait(LIMIT_S)
        assert feed.status.applied == 10
        assert feed.stale


def test_slow_reader_warning_is_counted(tape, caplog):
    def talk(peer: Peer) -> None:
        peer.greet()
        peer.say(WRITE.system("Warning: slow reading: 5 records behind", SystemCode.SLOW_READER_WARNING, 1), END)

    with Scripted(talk) as gateway, Feed(gateway.url) as feed:
        assert feed.wait(LIMIT_S).status.slow_warnings == 1
    assert "slow reading" in caplog.text


# -------------------------------------------------------------------- garbage


HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: nobody\r\nContent-Length: 0\r\n\r\n"
NOISE = random.Random(8).randbytes(5_000)


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (HTTP, ProtocolError, "does not speak Databento's live protocol: 'Server: nobody'"),
        (NOISE, ProtocolError, "not UTF-8|control characters|longer than"),
        (b"x" * 100_000, ProtocolError, "longer than 65536 bytes"),
        (b"lsg_version=1\ncram=abc\nsuccess=0|error=no such key\n", RefusedError, "no such key"),
        (b"lsg_version=1\nsuccess=1\n", ProtocolError, "does not speak"),
        (b"lsg_version=1\ncram=\n", ProtocolError, "cram is missing"),
        (b"lsg_version=1\ncram=abc\nsuccess=maybe\n", ProtocolError, "success is 'maybe'"),
        (b"", LostError, "closed the connection before it let us in"),
        (b"lsg_ver", LostError, "closed the connection before it let us in"),
    ],
    ids=["http", "noise", "endless line", "refused", "no challenge", "empty challenge", "maybe", "nothing", "half a line"],
)  # fmt: skip
def test_garbage_instead_of_the_handshake_is_an_error_at_once(words, error, match):
    def talk(peer: Peer) -> None:
        peer.say(words)
        if error is LostError:
            return
        peer.hear_out()

    with Scripted(talk) as gateway:
        begin = time.monotonic()
        with pytest.raises(error, match=match):
            Feed(gateway.url).start()
        assert time.monotonic() - begin < 5


def test_silence_instead_of_the_handshake_is_an_error_after_a_while(monkeypatch):
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.3)
    with Scripted(Peer.hear_out) as gateway, pytest.raises(LostError, match="did not finish its greeting within"):
        Feed(gateway.url).start()


def test_drip_of_bytes_instead_of_the_handshake_is_an_error_after_a_while(monkeypatch):
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.3)

    def drip(peer: Peer) -> None:
        while not peer.closing.wait(0.02):
            peer.say(b"x")

    with Scripted(drip) as gateway, pytest.raises(LostError, match="did not finish its greeting within"):
        Feed(gateway.url).start()


def test_garbage_instead_of_a_later_handshake_is_tried_again(tape, tmp_path, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)
    script = [Fault(cut=begin_of(3) + 777 * RECORD)]
    script += [Fault(garbage=(0, words), absolute=True) for words in (HTTP, NOISE, b"x" * 100_000, b"\0")]
    with disturbed(path, *script) as run:
        run.check(tape, faults=len(script))
    assert caplog.text.count("a control line") + caplog.text.count("does not speak") == 4


@pytest.mark.parametrize("words", [b"\0", b"\xff" * 7, HTTP, NOISE], ids=["zero", "ones", "http", "noise"])
@pytest.mark.parametrize("place", [0, 8, HEADER, HEADER + ACK, begin_of(3), begin_of(3) + CAUGHT_UP + 900 * RECORD])
def test_garbage_between_records_costs_nothing(tape, tmp_path, words, place, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)
    script = [Fault(cut=begin_of(3) + 500 * RECORD), Fault(garbage=(place, words))]
    with disturbed(path, *script) as run:
        run.check(tape, faults=2)
    assert [record.levelno for record in caplog.records if "is lost" in record.message] == [logging.WARNING] * 2


@pytest.mark.parametrize("within", [2, 16, 30, 55])
def test_garbage_within_a_record_is_a_gap_at_worst(tape, tmp_path, within):
    """The record it stands in may look like one, and be applied: it does not come again, and so it is noticed."""
    path = write_file(tmp_path / "tape.dbn", tape)
    place = begin_of(3) + 1_500 * RECORD + within
    for words in (b"\0\0\0", NOISE[:11], NOISE):
        with disturbed(path, Fault(garbage=(place, words))) as run:
            status = run.feed.wait(LIMIT_S).status
            assert digests(run.feed.books()) == rebuilt(tape)
            if (
                status.gaps == 0
            ):  # it came too late to be taken for a part of the record, or was what stood there anyway
                assert run.bytes == tape.tobytes()
                continue
            assert status.gaps == 1
            assert status.first_gap is not None
            assert status.first_gap.applied == 1_501
            assert run.bytes.endswith(tape.tobytes())


# -------------------------------------------------------------------- silence


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_GRACE_S", -4.5)  # so a silent gateway is lost after half a second


@pytest.mark.usefixtures("impatient")
def test_half_open_connection(tape, tmp_path, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)
    places = (HEADER - 5, begin_of(3), begin_of(3) + 1_000 * RECORD + 30)
    with disturbed(
        path, Fault(cut=begin_of(3) + 10 * RECORD), *(Fault(stall=(place, 60)) for place in places), heartbeat_s=5
    ) as run:
        run.check(tape)
        assert run.feed.status.connections >= 5
    assert caplog.text.count("was silent for") >= 3


def test_short_stall_costs_nothing(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(stall=(begin_of(3) + 1_000 * RECORD + 30, 0.5))) as run:
        run.check(tape, faults=0)


def test_gateway_that_never_answers_again(tape, tmp_path, monkeypatch):
    """While it keeps us waiting, the feed answers all the same, and closes when it is told to."""
    monkeypatch.setattr(link, "HANDSHAKE_S", 30)
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(cut=begin_of(3) + 500 * RECORD), Fault(mute=True)) as run:
        until(lambda: run.proxy.connections == 2, "the second connection")
        begin = time.monotonic()
        assert sum(book.status.messages for book in run.feed.books(timeout_s=5).values()) == 500
        assert run.feed.stale
        run.feed.close()
        assert time.monotonic() - begin < 5
        assert run.bytes == tape[:500].tobytes()


def test_gateway_that_does_not_answer_for_a_while(tape, tmp_path, monkeypatch):
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.3)
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(cut=begin_of(3) + 500 * RECORD), Fault(mute=True), Fault(refuse=True)) as run:
        run.check(tape)
        assert run.proxy.connections == 4  # what is reset at once may never have been a connection to the feed


def test_nobody_listens_for_a_while(tape, tmp_path, caplog):
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(stall=(begin_of(3) + 900 * RECORD, 60))) as run:
        until(lambda: run.feed.status.applied == 900, "900 records")
        assert not run.feed.stale
        run.proxy.deafen()
        until(lambda: caplog.text.count("refused") > 5, "some refusals")
        assert run.feed.stale
        assert sum(book.status.messages for book in run.feed.books().values()) == 900
        run.proxy.hear()
        run.check(tape, faults=1)


def test_nobody_listens_any_more(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(stall=(begin_of(3) + 900 * RECORD, 60)), reconnect_s=1) as run:
        until(lambda: run.feed.status.applied == 900, "900 records")
        run.proxy.deafen()
        with pytest.raises(LostError, match="nothing was heard for"):
            run.feed.wait(LIMIT_S)
        assert run.feed.stale
        assert sum(book.status.messages for book in run.feed.books().values()) == 900
        run.proxy.hear()


def test_quiet_market_is_no_reason_to_give_up(tape):
    """Only heartbeats for longer than `reconnect_s`, and then the connection is lost: it is made again all the same."""

    def quiet(peer: Peer) -> None:
        peer.greet()
        peer.say(tape[:100].tobytes())
        for _ in range(15):
            peer.closing.wait(0.1)
            peer.say(BEAT)

    def rest(peer: Peer) -> None:
        peer.greet()
        times = tape["ts_event"]
        peer.say(tape[int((times >= peer.asked[0].start).argmax()) :].tobytes(), END)

    with Scripted(quiet, rest) as gateway, Feed(gateway.url, reconnect_s=1) as feed:
        status = feed.wait(LIMIT_S).status
        assert (status.applied, status.gaps, status.connections) == (len(tape), 0, 2)
        assert digests(feed.books()) == rebuilt(tape)


def test_nobody_ever_listened():
    with Scripted() as gateway:
        url = gateway.url
    with pytest.raises(LostError, match="refused"):
        Feed(url).start()


def test_closed_while_it_waits_to_connect_again(tape, tmp_path, monkeypatch):
    monkeypatch.setattr(feed_module, "_FIRST_PAUSE_S", 20.0)
    monkeypatch.setattr(feed_module, "_LONGEST_PAUSE_S", 20.0)
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(cut=begin_of(3) + 500 * RECORD)) as run:
        until(lambda: run.feed.stale and run.feed.status.applied == 500, "the loss")
        assert len(run.feed.books(timeout_s=5)) == 3
        begin = time.monotonic()
        run.feed.close()
        assert time.monotonic() - begin < 5


# -------------------------------------------------------------------- the clock on the wall


@pytest.mark.parametrize("years", [-60, -1, 1, 60])
def test_wrong_clock_changes_nothing(tape, tmp_path, monkeypatch, years):
    class Wrong:
        monotonic = staticmethod(time.monotonic)
        monotonic_ns = staticmethod(time.monotonic_ns)

        @staticmethod
        def time_ns() -> int:
            return time.time_ns() + years * 31_536_000 * 10**9

    monkeypatch.setattr(feed_module, "time", Wrong)
    monkeypatch.setattr(link, "time", Wrong)
    path = write_file(tmp_path / "tape.dbn", tape)
    script = [Fault(cut=(HEADER + ACK + 3 * MAPPING) + place * (RECORD + 8)) for place in (500, 1_500, 1_000)]
    with disturbed(path, *script, ts_out=True) as run:
        run.check(tape, faults=3)
        latency = run.feed.latency
        assert latency.count == len(tape)
        assert (latency.min > 10**15) == (years > 0)


def test_wrong_clock_of_the_gateway_changes_nothing(tape, tmp_path, monkeypatch):
    late = itertools.count(time.time_ns() + 10**18, -(10**9))
    monkeypatch.setattr(time, "time_ns", lambda: next(late))  # and it runs backwards
    path = write_file(tmp_path / "tape.dbn", tape)
    with disturbed(path, Fault(cut=begin_of(3) + 500 * RECORD)) as run:
        run.check(tape, faults=1)
