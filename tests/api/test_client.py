"""The clients: what they ask again and what they do not, how long; and books that survive a lost connection."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mbo.api import asking
from mbo.api.asking import Budget, base_of, growing
from mbo.api.client import Client
from mbo.api.streaming import AsyncClient
from mbo.errors import LostError, OrderError, RefusedError, RequestError
from mbo.records import Side
from tests.api.scripted import CONTROL, READ, add, keys, levels, quoted, serving, settings_of
from tests.api.test_edge import Stage
from tests.api.test_stream import LIMIT_S, state


@contextmanager
def scripted(
    answer: Callable[[int], tuple[int, dict[str, str], bytes]],
) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A server that gives the answers of a script, and keeps what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append((self.command, dict(self.headers)))
            status, headers, body = answer(len(asked))
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *values: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(asking, "_LONGEST_PAUSE_S", 0.01)


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504])
def test_what_fails_for_a_moment_is_asked_again(status):
    with scripted(lambda count: (status if count < 3 else 200, {}, b'{"a": 1}')) as (url, asked), Client(url) as api:
        assert api.book("AAA") == {"a": 1}
        assert len(asked) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, RequestError), (422, RequestError), (401, RefusedError), (403, RefusedError), (500, LostError)],
)
def test_what_will_fail_again_is_asked_once(status, kind):
    body = b'{"detail": "the reason"}'
    with scripted(lambda count: (status, {}, body)) as (url, asked), Client(url) as api:
        with pytest.raises(kind, match="the reason"):
            api.book("AAA")
        assert len(asked) == 1


def test_it_gives_up_after_so_many_tries():
    with scripted(lambda count: (503, {}, b"busy")) as (url, asked), Client(url, tries=4) as api:
        with pytest.raises(LostError):
            api.book("AAA")
        assert len(asked) == 4


def test_a_command_is_sent_again_with_the_same_key_only():
    with (
        scripted(lambda count: (503 if count < 3 else 200, {}, b'{"position": 1}')) as (url, asked),
        Client(url) as api,
    ):
        api.replay("pause")
        api.replay("pause")
    given = [headers["Idempotency-Key"] for method, headers in asked if method == "POST"]
    assert len(given) == 4
    assert given[0] == given[1] == given[2] != given[3]


def test_a_request_that_may_not_be_sent_twice_is_not():
    with scripted(lambda count: (503, {}, b"")) as (url, asked), Client(url) as api:
        with pytest.raises(LostError):
            api._ask("POST", "/v1/replay", json={})
        assert len(asked) == 1


def test_a_budget_keeps_tries_within_bounds(monkeypatch):
    budget = Budget(tries=100)
    now = time.monotonic()
    assert sum(budget.pause(1, now, None) is not None for _ in range(30)) == 10  # and then one in ten that went well
    for _ in range(10):
        budget.earn()
    assert [budget.pause(1, now, None) is not None for _ in range(2)] == [True, False]
    assert Budget(tries=3).pause(3, now, None) is None
    assert Budget(limit_s=5).pause(1, now - 6, None) is None
    assert Budget(limit_s=5).pause(1, now, "7") is None
    assert Budget(limit_s=50).pause(1, now, "7") >= 7
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(asking, "_LONGEST_PAUSE_S", 5.0)
    pauses = [growing(tried) for tried in (1, 2, 3, 1_000)]
    assert all(0.5 * longest <= pause <= longest for pause, longest in zip(pauses, (0.1, 0.2, 0.4, 5.0), strict=True))


@pytest.mark.parametrize("url", ["http://:key@127.0.0.1:1", "tcp://127.0.0.1:1", "127.0.0.1:1", "http://x/?key=1"])
def test_an_url_that_is_none_or_holds_a_key_is_refused(url):
    with pytest.raises(RequestError):
        base_of(url)


def test_the_key_is_shown_and_not_told(monkeypatch):
    monkeypatch.setenv("MBO_API_KEY", CONTROL)
    with (
        serving(quoted(), known=keys(), replay=Stage()) as server,
        Client(server.url) as api,
        Client(server.url, key=READ) as reader,
        Client(server.url, key="other") as nobody,
    ):
        assert api.replay("pause")["position"] == 1
        assert reader.book("AAA")["symbol"] == "AAA"
        assert READ not in repr(reader) + repr(vars(api)["url"])
        with pytest.raises(RefusedError, match="good for read"):
            reader.replay("pause")
        with pytest.raises(RefusedError, match="not known"):
            next(nobody.stream("AAA"))
        assert next(reader.stream("AAA")).symbol == "AAA"


def test_answers_are_whole_numbers():
    source = quoted()
    source.apply(add(2**64 - 1, "B", 100, 3))
    with serving(source) as server, Client(server.url) as api:
        found = api.book("AAA", depth=2, orders=True)
        expected = source.books.book("AAA").document(depth=2)
        assert [level["price"] for level in found["bids"]] == [level["price"] for level in expected["bids"]]
        assert found["ts_recv"] == expected["ts_recv"]
        order = api.order("AAA", 2**64 - 1)
        assert (order["order_id"], order["queue_ahead"]) == (2**64 - 1, 1)
        with pytest.raises(OrderError, match="no order 12345"):
            api.order("AAA", 12_345)
        assert api.ready()
        assert [one["symbol"] for one in api.instruments()] == ["AAA", "BBB"]


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_stream_survives_a_server_that_goes_and_comes(form):
    source = quoted()
    with serving(source) as first:
        port = int(first.url.rsplit(":", 1)[1])
        with Client(first.url) as api:
            books = api.stream("AAA", depth=3, hz=60, form=form)
            book = next(books)
            first.stop()
            first._thread.join()
            source.apply(add(300, "B", 100, 9))
            with serving(source, settings=settings_of(api={"port": port, "rate_per_s": 1e6})):
                deadline = time.monotonic() + LIMIT_S
                while book.levels("bid").array.tobytes() + book.levels("ask").array.tobytes() != state(source):
                    assert time.monotonic() < deadline
                    book = next(books)
                assert book.snapshots >= 2
                assert not book.stale
                books.close()


def test_closing_ends_a_stream_that_another_thread_follows():
    """Nothing comes meanwhile, and the server stays: only the client's end can end it."""
    with serving(quoted()) as server:
        api, came = Client(server.url), []
        thread = threading.Thread(target=lambda: came.extend(book.symbol for book in api.stream("AAA")))
        thread.start()
        deadline = time.monotonic() + LIMIT_S
        while not api._links:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        api.close()
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        assert set(came) <= {"AAA"}
        assert list(api.stream("AAA")) == []


def test_a_stream_gives_up_after_a_while_without_a_server():
    with Client("http://127.0.0.1:9") as api, pytest.raises(LostError):
        next(api.stream("AAA", reconnect_s=0.05))


def test_a_stream_of_a_symbol_that_is_not_there_says_so():
    with serving(quoted()) as server, Client(server.url) as api, pytest.raises(RequestError, match="NOPE"):
        next(api.stream("NOPE"))


def test_the_asynchronous_client_does_the_same():
    source = quoted()

    async def talk(url: str) -> None:
        async with AsyncClient(url) as api:
            assert (await api.ask("book", "AAA", depth=1))["bids"][0]["size"] == 1
            async for book in api.stream(["AAA", "BBB"], depth=3, hz=60):
                if book.symbol == "AAA" and book.updates == 0:
                    source.apply(add(300, "B", 100, 9))
                elif book.symbol == "AAA":
                    assert book.levels("bid").array.tobytes() == levels(source, "AAA", Side.BID, 3)
                    return

    with serving(source) as server:
        asyncio.run(asyncio.wait_for(talk(server.url), LIMIT_S))
