"""What every request passes: keys and roles, rates, sizes and deadlines; and that no answer and no log shows a secret."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from http.client import HTTPResponse

import pytest

from mbo.api import server as servers
from mbo.api.edge import Buckets
from tests.api.scripted import CONTROL, READ, application, asked, get, keys, quoted, serving, settings_of
from tests.api.test_books import problem

BOOK = "/v1/books/AAA"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Stage:
    """A replay that counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def status(self) -> dict:
        return {"position": len(self.told), "records": 9, "running": True, "rate": None, "speed": 1.0}

    def obey(self, action, *, to=None, rate=None, speed=None) -> dict:
        self.told.append(action)
        return self.status()


def test_without_a_key_nothing_is_told_but_how_the_server_is():
    with application(quoted(), known=keys(), replay=Stage()) as app:
        for path in (BOOK, "/v1/instruments", "/v1/replay", "/metrics", "/v1/nothing"):
            answer = get(app, path)
            assert "a key is needed" in problem(answer, 401)["detail"]
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/healthz", "/readyz", "/version", "/docs", "/openapi.json"):
            assert get(app, path).status_code == 200


@pytest.mark.parametrize("value", ["Bearer nobodys", "Basic " + READ, "Bearer " + READ[:-1], "Bearer", ""], ids="abcde")
def test_another_key_is_refused_and_never_repeated(value, caplog):
    with caplog.at_level(logging.DEBUG), application(quoted(), known=keys()) as app:
        answer = get(app, BOOK, headers={"Authorization": value})
    problem(answer, 401)
    assert READ[:-1] not in answer.text
    assert READ[:-1] not in caplog.text


def test_roles_say_who_may_control():
    stage = Stage()
    with application(quoted(), known=keys(), replay=stage) as app:

        def post(key: str):
            options = {"json": {"action": "pause"}, "headers": bearer(key)}
            return asked(app, lambda client: client.post("/v1/replay", **options))

        assert get(app, BOOK, headers=bearer(READ)).status_code == 200
        assert get(app, BOOK, headers=bearer(CONTROL)).status_code == 200
        assert "good for read" in problem(post(READ), 403)["detail"]
        assert stage.told == []
        assert post(CONTROL).status_code == 200
        assert stage.told == ["pause"]


def test_too_many_requests_are_told_when_to_come_again():
    with application(quoted(), settings=settings_of(api={"port": 0, "rate_per_s": 3})) as app:
        answers = asked(app, lambda client: asyncio.gather(*(client.get(BOOK) for _ in range(8))))
        assert [answer.status_code for answer in answers].count(200) == 3
        late = next(answer for answer in answers if answer.status_code == 429)
        assert int(problem(late, 429) and late.headers["retry-after"]) >= 1
        assert get(app, "/healthz").status_code == 200  # whoever watches over the server is never sent away


def test_everybody_has_a_rate_of_his_own():
    with application(quoted(), known=keys(), settings=settings_of(api={"port": 0, "rate_per_s": 2})) as app:
        status = lambda key: get(app, BOOK, headers=bearer(key)).status_code  # noqa: E731
        assert [status(READ) for _ in range(4)] == [200, 200, 429, 429]
        assert status(CONTROL) == 200


def test_guessing_keys_is_slowed_down():
    with application(quoted(), known=keys(), settings=settings_of(api={"port": 0, "rate_per_s": 2})) as app:
        assert [get(app, BOOK, headers=bearer("wrong")).status_code for _ in range(4)] == [401, 401, 429, 429]


def test_a_bucket_fills_again_and_callers_are_forgotten(monkeypatch):
    from mbo.api import edge

    now = [100.0]
    monkeypatch.setattr(edge.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(edge, "_MOST_CALLERS", 3)
    buckets = Buckets(2)
    assert [buckets.wait_s("a") for _ in range(3)] == [0, 0, 0.5]
    now[0] += 0.5
    assert [buckets.wait_s("a"), buckets.wait_s("a")] == [0, 0.5]
    for name in "bcd":
        buckets.wait_s(name)
    assert len(buckets._left) == 3


@pytest.mark.parametrize("announced", [True, False])
def test_a_long_body_is_refused(announced):
    stage = Stage()
    with application(quoted(), replay=stage, settings=settings_of(api={"port": 0, "max_message_bytes": 1000})) as app:
        body = b'{"action": "pause", "to": "' + b"x" * 1000 + b'"}'

        async def pieces():
            yield body[:600]
            yield body[600:]

        answer = asked(
            app,
            lambda client: client.post(
                "/v1/replay", content=body if announced else pieces(), headers={"content-type": "application/json"}
            ),
        )
    assert "no more than 1,000 bytes" in problem(answer, 413)["detail"]
    assert stage.told == []


def test_a_request_has_a_deadline():
    source = quoted()
    source.delay = lambda: time.sleep(0.5)
    with application(source, settings=settings_of(api={"port": 0, "deadline_s": 0.1})) as app:
        answer = get(app, BOOK)
    assert "within 0.1 s" in problem(answer, 504)["detail"]


def test_our_own_fault_is_a_problem_that_tells_nothing(caplog):
    source = quoted()

    def fail() -> None:
        raise ZeroDivisionError("the inside of it")

    source.delay = fail
    with application(source) as app:
        found = problem(get(app, BOOK, headers={"X-Request-Id": "mine-1"}), 500)
    assert found["request_id"] == "mine-1"
    assert "inside" not in found["detail"]
    assert "the inside of it" in caplog.text


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_X", True), ("a" * 65, False), ("a\tb", False), ("ü", False)])
def test_a_request_id_is_kept_where_it_is_one(given, kept):
    with application(quoted()) as app:
        found = get(app, "/healthz", headers={"X-Request-Id": given.encode()}).headers["x-request-id"]
    assert (found == given) is kept
    assert found


def test_figures_count_requests_by_route():
    with application(quoted()) as app:
        for path in (BOOK, "/v1/books/BBB", "/v1/books/NOPE", "/v1/nowhere"):
            get(app, path)
        text = get(app, "/metrics").text
    assert 'mbo_http_requests_total{method="GET",route="/v1/books/{symbol}",status="200"} 2.0' in text
    assert 'mbo_http_requests_total{method="GET",route="/v1/books/{symbol}",status="404"} 1.0' in text
    assert "nowhere" not in text


def test_pages_of_other_origins_are_told_so_only_if_they_may_ask():
    with application(
        quoted(), known=keys(), settings=settings_of(api={"port": 0, "cors_origins": ("https://desk.example",)})
    ) as app:

        def ask(origin: str):
            wanted = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "Authorization"}
            return asked(app, lambda client: client.options(BOOK, headers={"Origin": origin, **wanted}))

        assert ask("https://desk.example").headers["access-control-allow-origin"] == "https://desk.example"
        assert "access-control-allow-origin" not in ask("https://evil.example").headers


# ---------------------------------------------------------------- on a real connection


def connected(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 10)


def _read(link: socket.socket) -> bytes:
    try:
        return link.recv(10)
    except ConnectionError:
        return b""


def test_headers_that_never_end_are_cut_off(monkeypatch):
    monkeypatch.setattr(servers, "HEADER_S", 0.3)
    with serving(quoted()) as server, connected(server) as slow, connected(server) as silent:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        for _ in range(40):
            try:
                slow.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
            except OSError:
                break
        assert time.monotonic() - begun < 1.9
        silent.settimeout(2)
        assert _read(silent) == b"", "the one that says nothing is still connected"


def test_headers_that_are_too_long_are_refused():
    with serving(quoted()) as server, connected(server) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        link.settimeout(5)
        try:
            for _ in range(100):
                link.sendall(b"a" * 4096)
            answer = link.recv(4096)
        except ConnectionError:
            answer = b"HTTP/1.1 400"
        assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ],
    ids=["TLS", "no version", "no header", "no length"],
)
def test_what_is_no_http_is_refused_with_a_problem(sent):
    with serving(quoted()) as server, connected(server) as link:
        link.sendall(sent)
        link.settimeout(5)
        answer = HTTPResponse(link)
        answer.begin()
        found = json.loads(answer.read())
        assert (answer.status, found["status"], found["title"]) == (400, 400, "Bad Request")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-Id"] == found["request_id"]
        assert answer.headers["Connection"] == "close"
        assert link.recv(1) == b""
