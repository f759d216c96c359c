"""The WebSocket: a snapshot, then updates that lead to the book; for slow, silent, old, unknown and misled clients as well."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mbo.api import frames
from mbo.api import hub as hubs
from mbo.api import stream as streams
from mbo.api.following import FollowedBook, Following
from mbo.records import Side
from tests.api.scripted import READ, ScriptedSource, add, keys, levels, quoted, serving, settings_of

LIMIT_S = 10.0


@contextmanager
def linked(server, query: str = "symbols=AAA&depth=3&hz=60", **options):
    url = server.url.replace("http", "ws") + "/v1/stream?" + query
    with connect(url, compression=None, proxy=None, **options) as link:
        yield link


def message(link):
    while True:
        found = frames.read(link.recv(timeout=LIMIT_S))
        if not isinstance(found, dict) or found["type"] != "heartbeat":
            return found


def state(source: ScriptedSource, depth: int = 3) -> bytes:
    return levels(source, "AAA", Side.BID, depth) + levels(source, "AAA", Side.ASK, depth)


def caught_up(link, book: FollowedBook, source: ScriptedSource, depth: int = 3) -> FollowedBook:
    """Read until the book is the source's."""
    deadline = time.monotonic() + LIMIT_S
    while book.levels("bid").array.tobytes() + book.levels("ask").array.tobytes() != state(source, depth):
        assert time.monotonic() < deadline
        book.apply(message(link))
    return book


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_snapshot_then_updates_lead_to_the_book(form):
    source = quoted()
    with serving(source) as server, linked(server, f"symbols=AAA&depth=3&hz=60&format={form}") as link:
        book = FollowedBook("AAA")
        first = message(link)
        assert first.prev == 0
        book.apply(first)
        for number in range(1, 12):
            source.apply(
                add(
                    300 + number, "BA"[number % 2], 100 + number % 2 + number % 3 * (2 * (number % 2) - 1), 5, at=number
                )
            )
            caught_up(link, book, source)
        status = source.books.book("AAA").status
        assert book.position == (status.ts_recv, status.ts_event, status.sequence, status.messages, status.events)
        assert (book.snapshots, book.updates > 5, book.synced) == (1, True, True)


def test_many_symbols_share_a_connection():
    with serving(quoted()) as server, linked(server, "symbols=AAA,BBB,AAA") as link:
        assert {message(link).symbol, message(link).symbol} == {"AAA", "BBB"}


def test_a_symbol_that_is_unknown_is_said_so_and_followed_once_it_is_there():
    source = ScriptedSource()
    with serving(source) as server, linked(server, "symbols=AAA&hz=60") as link:
        found = message(link)
        assert (found["type"], found["symbol"]) == ("error", "AAA")
        assert "no records" in found["detail"]
        source.apply(add(1, "B", 100))
        assert message(link).bids["size"].tolist() == [1]


def test_staleness_reaches_the_clients():
    source = quoted()
    with serving(source) as server, linked(server) as link:
        assert not message(link).stale
        source.stale = True
        assert message(link).stale
        source.stale = False
        assert not message(link).stale


def test_one_look_and_one_encoding_serve_all_clients(monkeypatch):
    from mbo.api import channels

    made = []
    monkeypatch.setattr(
        channels,
        "encode",
        lambda one, form: made.append((one.symbol, one.seq, one.prev, form)) or frames.encode(one, form),
    )
    source = quoted()
    with serving(source) as server:
        following = [linked(server) for _ in range(20)]
        links = [one.__enter__() for one in following]
        books = [FollowedBook("AAA") for _ in links]
        for link, book in zip(links, books, strict=True):
            caught_up(link, book, source)
        looks = len(source.looks)
        source.apply(add(300, "B", 100, 7))
        for link, book in zip(links, books, strict=True):
            caught_up(link, book, source)
        assert len(source.looks) == looks + 1
        assert len({book.checksum for book in books}) == 1
        for one in following:
            one.__exit__(None, None, None)
    assert len(made) == len(set(made)) <= 3


def test_the_rate_is_kept_and_the_last_state_comes():
    source = quoted()
    with serving(source) as server, linked(server, "symbols=AAA&depth=3&hz=5") as link:
        begun, book = time.monotonic(), FollowedBook("AAA")
        book.apply(message(link))
        for number in range(100):
            source.apply(add(1000 + number, "B", 100, 1, at=number))
            time.sleep(0.01)
        caught_up(link, book, source)
        assert book.snapshots + book.updates <= (time.monotonic() - begun) * 5 + 2


def test_since_gives_what_was_missed_and_a_snapshot_where_that_is_too_old():
    source = quoted()
    with serving(source, settings=settings_of(stream={"history": 8})) as server:
        following = Following("AAA", depth=3, hz=60, form="json", since=None)
        with linked(server) as keeping, linked(server, following.path().partition("?")[2]) as link:
            kept = caught_up(keeping, FollowedBook("AAA"), source)
            while following.take(link.recv(timeout=LIMIT_S)) is None:
                pass
            link.close()
            old = following.since
            for number in range(4):
                source.apply(add(300 + number, "B", 100, 1, at=number))
                caught_up(keeping, kept, source)
            with linked(server, following.path().partition("?")[2]) as again:
                caught_up(again, following.books["AAA"], source)
            assert (following.books["AAA"].snapshots, following.books["AAA"].updates) == (1, 4)
            for number in range(20):
                source.apply(add(400 + number, "B", 100, 1, at=number))
                caught_up(keeping, kept, source)
            for since in (old, 0, 2**62):
                with linked(server, f"symbols=AAA&depth=3&hz=60&since={since}") as again:
                    assert message(again).prev == 0, since


def test_a_client_that_reads_nothing_gets_no_queue_and_is_let_go(monkeypatch):
    monkeypatch.setattr(hubs, "_ASK_S", float("inf"))  # no ping, so that it is not held before its connection is full
    source, bodies = quoted(), 0
    source.apply(*(add(10_000 + k, "B", -k, 1) for k in range(900)))  # 900 levels: 40 kB a message as JSON
    with serving(source, settings=settings_of(stream={"stall_s": 0.5, "heartbeat_s": 60.0})) as server:
        hub = server._server.config.app.state.hub
        with (
            socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as link,
            linked(server) as quick,
        ):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.sendall(
                b"GET /v1/stream?symbols=AAA&depth=1000&hz=60 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            deadline, waiting, book = time.monotonic() + LIMIT_S, 0, FollowedBook("AAA")
            while not any(hub.figures().dropped.values()):
                assert time.monotonic() < deadline
                bodies += 1
                source.apply(*(add(20_000 + 1000 * bodies + k, "B", -k, bodies) for k in range(900)))
                waiting = max(waiting, hub.figures().waiting_bytes)
                caught_up(quick, book, source)
            assert hub.figures().dropped == {"slow": 1, "silent": 0}
            assert hub.figures().conflated > 1
            assert 0 < waiting < 150_000  # one message, and not one of each round
            while hub.clients > 1:
                assert time.monotonic() < deadline
            source.apply(add(5, "A", 101, 1))
            caught_up(quick, book, source)


def bare(server, query: str = "symbols=AAA&depth=3&hz=60") -> socket.socket:
    """A client that does nothing by itself, let in."""
    link = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LIMIT_S)
    link.sendall(
        f"GET /v1/stream?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1)
    assert b" 101 " in head
    return link


def next_frame(link: socket.socket) -> tuple[int, bytes]:
    """Read a short frame: its opcode, and what is in it."""
    first, length = exactly(link, 2)
    size = int.from_bytes(exactly(link, 2)) if length == 126 else length
    return first & 0x0F, exactly(link, size)


def exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += link.recv(count - len(data)) or pytest.fail("the connection has ended")
    return data


TEXT, PING = 0x1, 0x9
PONG = b"\x8a\x80\0\0\0\0"


@pytest.mark.parametrize("answers", [True, False])
def test_a_client_that_does_not_answer_gets_nothing_more_until_it_does(monkeypatch, answers):
    """It would take all of it: the system keeps 200 short messages for it."""
    monkeypatch.setattr(hubs, "_ANSWER_S", 0.0)
    source = quoted()
    with serving(source) as server, bare(server) as link, linked(server) as other:
        hub = server._server.config.app.state.hub
        assert [next_frame(link)[0] for _ in range(2)] == [TEXT, PING]
        if answers:
            link.sendall(PONG)
        kept = caught_up(other, FollowedBook("AAA"), source)
        for number in range(20):
            source.apply(add(300 + number, "B", 100, 1, at=number))
            caught_up(other, kept, source)
        link.setblocking(False)
        if answers:
            assert link.recv(1) == b"\x81"
            return
        with pytest.raises(BlockingIOError):
            link.recv(1)
        assert hub.figures().conflated > 0
        link.setblocking(True)
        link.sendall(PONG)
        opcode, payload = next_frame(link)
        book = FollowedBook("AAA")
        book.apply(frames.read(payload.decode()))
        assert (opcode, book.levels("bid").array.tobytes()) == (TEXT, levels(source, "AAA", Side.BID, 3))
        assert book.snapshots == 1  # of 20 updates none, but where they have led to


def test_a_client_that_has_answered_is_not_asked_again_at_once(monkeypatch):
    monkeypatch.setattr(hubs, "_ASK_S", 60.0)
    source = quoted()
    with serving(source) as server, bare(server) as link, linked(server) as other:
        assert [next_frame(link)[0] for _ in range(2)] == [TEXT, PING]
        link.sendall(PONG)
        kept = caught_up(other, FollowedBook("AAA"), source)
        for number in range(10):
            source.apply(add(300 + number, "B", 100, 1, at=number))
            caught_up(other, kept, source)
        assert {next_frame(link)[0] for _ in range(4)} == {TEXT}


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(1 << 16)
    except ConnectionError:
        return b""


def test_a_client_that_gives_no_sign_of_life_is_let_go():
    with serving(quoted(), settings=settings_of(stream={"stall_s": 0.3, "heartbeat_s": 0.1})) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as link:
            link.sendall(
                b"GET /v1/stream?symbols=AAA&hz=20 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            link.settimeout(LIMIT_S)
            received, deadline = b"", time.monotonic() + LIMIT_S
            while piece := _receive(link):
                received += piece
                assert time.monotonic() < deadline, "it is still there"
        assert b"no sign of life for 0.3 s" in received
        assert (4408).to_bytes(2) in received


def test_a_client_that_answers_stays():
    with (
        serving(quoted(), settings=settings_of(stream={"stall_s": 0.2, "heartbeat_s": 0.1})) as server,
        linked(server) as link,
    ):
        message(link)
        beats = [json.loads(link.recv(timeout=LIMIT_S)) for _ in range(8)]
        assert {beat["type"] for beat in beats} == {"heartbeat"}
        assert beats[0]["seq"] > 10**12


# ---------------------------------------------------------------- who is let in


def refused(server, query: str = "symbols=AAA", **options) -> tuple[int, dict]:
    with pytest.raises(InvalidStatus) as found, linked(server, query, **options):
        pass
    response = found.value.response
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "symbols"), ("symbols=", "symbols"), ("symbols=AAA&depth=0", "depth"), ("symbols=AAA&depth=1001", "at most 1,000"),
        ("symbols=AAA&depth=x", "depth"), ("symbols=AAA&hz=61", "at most 60"), ("symbols=AAA&hz=0", "hz"),
        ("symbols=AAA&hz=nan", "hz"), ("symbols=AAA&format=xml", "format"), ("symbols=AAA&since=-1", "since"),
        ("symbols=AAA&more=1", "more"), ("symbols=" + ",".join(f"S{k}" for k in range(65)), "symbols"),
        ("symbols=AAA&depth=1&depth=2", "depth is given 2 times"), ("symbols=" + "A" * 72, "symbols"),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(query, words):
    with serving(quoted()) as server:
        status, found = refused(server, query)
    assert status == found["status"] == 422
    assert words in found["detail"]


def test_there_is_a_websocket_at_one_path_only():
    with serving(quoted()) as server:
        with (
            pytest.raises(InvalidStatus) as found,
            connect(server.url.replace("http", "ws") + "/v1/books/AAA", proxy=None),
        ):
            pass
        assert found.value.response.status_code == 404


def test_keys_are_needed_and_taken_in_three_ways():
    with serving(quoted(), known=keys()) as server:
        bearer = {"Authorization": f"Bearer {READ}"}
        with linked(server, additional_headers=bearer) as link:
            assert message(link).symbol == "AAA"
        with linked(server, subprotocols=["mbo.v1", f"bearer.{READ}"]) as link:
            assert link.subprotocol == "mbo.v1"
            assert message(link).symbol == "AAA"
        with linked(server) as link:
            link.send(json.dumps({"key": READ}))
            assert message(link).symbol == "AAA"


def test_another_key_is_refused_in_all_of_them(monkeypatch):
    monkeypatch.setattr(streams, "_KEY_S", 0.2)
    with serving(quoted(), known=keys()) as server:
        assert refused(server, additional_headers={"Authorization": "Bearer nobodys"})[0] == 401
        assert refused(server, subprotocols=["mbo.v1", "bearer.nobodys"])[0] == 401
        for said in ('{"key": "nobodys"}', "{}", "[", None):
            with linked(server) as link:
                if said is not None:
                    link.send(said)
                with pytest.raises(ConnectionClosed) as found:
                    link.recv(timeout=LIMIT_S)
            assert found.value.rcvd.code == 4401


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [(None, True), ("https://desk.example", True), ("https://evil.example", False), ("null", False), ("own", True)],
)
def test_pages_of_other_origins_are_refused(origin, let_in):
    with serving(quoted(), settings=settings_of(api={"port": 0, "cors_origins": ("https://desk.example",)})) as server:
        origin = server.url if origin == "own" else origin
        if let_in:
            with linked(server, origin=origin) as link:
                assert message(link).symbol == "AAA"
        else:
            status, found = refused(server, origin=origin)
            assert (status, "origin" in found["detail"]) == (403, True)


def test_only_so_many_are_let_in_and_places_become_free():
    with serving(quoted(), settings=settings_of(api={"port": 0, "max_clients": 2, "rate_per_s": 1e6})) as server:
        with linked(server), linked(server):
            assert refused(server)[0] == 503
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                with linked(server) as link:
                    message(link)
                    return
            except InvalidStatus:
                assert time.monotonic() < deadline


# ---------------------------------------------------------------- what they say


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x85\0\0\0\0hello", 1008),
        (b"\x82\x85\0\0\0\0hello", 1008),
        (b"\x81\x05hello", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # an opcode that does not exist
        (b"\xc1\x80\0\0\0\0", 1002),  # an extension that nobody agreed on
        (b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", 1009),  # 65,537 bytes announced
        (b"\x81\x82\0\0\0\0\xff\xfe", 1008),
        (b"\x89\xfe\0\xff\0\0\0\0" + bytes(255), 1002),  # a ping that is too long
    ],
)  # fmt: skip
def test_malformed_and_huge_frames_end_the_connection_with_a_reason(data, code):
    source = quoted()
    with serving(source) as server, linked(server) as other:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as link:
            link.sendall(
                b"GET /v1/stream?symbols=AAA HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            link.settimeout(LIMIT_S)
            received = link.recv(4096)
            assert b" 101 " in received
            link.sendall(data)
            while piece := _receive(link):
                received += piece
        assert bytes([0x88]) in received
        place = received.rindex(code.to_bytes(2))
        assert received[place - 2] == 0x88
        caught_up(other, FollowedBook("AAA"), source)


def to_the_end(link) -> None:
    while True:
        link.recv(timeout=LIMIT_S)


def test_the_end_of_the_server_is_said():
    with serving(quoted()) as server, linked(server) as link:
        message(link)
        threading.Thread(target=server.stop).start()
        with pytest.raises(ConnectionClosed) as found:
            to_the_end(link)
        assert found.value.rcvd.code == 1012


def test_a_symbol_that_is_unknown_is_not_looked_for_at_every_round():
    source = quoted()
    with serving(source) as server, linked(server, "symbols=NOPE&hz=60") as link:
        assert message(link)["symbol"] == "NOPE"
        begun = len(source.looks)
        for number in range(50):
            source.apply(add(300 + number, "B", 100, 1, at=number))
            time.sleep(0.01)
        assert len(source.looks) - begun <= 3
