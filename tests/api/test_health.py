"""Readiness names what is wrong with the store and the recorder; and many connections do not take the server away from others."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest

import mbo
from mbo.api import health_routes
from mbo.api import server as servers
from mbo.api.working import read_status, write_status
from mbo.errors import LostError
from mbo.recorder import RecorderStatus
from tests.api.scripted import application, get, quoted, serving, settings_of
from tests.api.test_books import problem

FINE = RecorderStatus(*([0] * 8), None)


class StubStore:
    """A store that is asked for nothing but a sign of life."""

    def __init__(self, folder, answer: Callable[[], object] = lambda: None) -> None:
        self.url, self._answer = f"chdb://{folder}", answer

    def query(self, sql: str) -> object:
        return self._answer()


def lost() -> None:
    raise LostError("the server does not answer")


def checks(answer: httpx.Response) -> dict[str, str]:
    return problem(answer, 503)["checks"]


def test_all_is_well(tmp_path):
    with application(quoted(), store=StubStore(tmp_path), recorded=lambda: FINE) as app:
        assert get(app, "/readyz").json()["checks"] == {"feed": "ok", "store": "ok", "recorder": "ok"}
        assert get(app, "/version").json() == {"version": mbo.__version__}


def test_a_store_that_is_gone_is_named(tmp_path):
    with application(quoted(), store=StubStore(tmp_path, lost)) as app:
        assert checks(get(app, "/readyz"))["store"] == "the server does not answer"


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(health_routes, "_LEAST_FREE_BYTES", 1 << 62)
    with application(quoted(), store=StubStore(tmp_path)) as app:
        assert checks(get(app, "/readyz"))["store"] == "no room on its disk"


@pytest.mark.parametrize(
    ("status", "words"),
    [(None, "not recording"), (FINE._replace(trouble="no room on the disk for the store"), "no room")],
)
def test_a_recorder_in_trouble_is_named(status, words):
    with application(quoted(), recorded=lambda: status) as app:
        assert words in checks(get(app, "/readyz"))["recorder"]


def test_a_recorder_in_another_process_is_heard_until_it_is_silent(tmp_path, monkeypatch):
    from mbo.api import working

    path = tmp_path / "recorder"
    assert read_status(path) is None
    write_status(path, None)
    assert read_status(path) is None
    write_status(path, FINE)
    assert read_status(path) == FINE
    monkeypatch.setattr(working, "_SILENT_S", -1.0)
    assert "said nothing" in read_status(path).trouble


def test_many_connections_leave_room_and_too_many_are_refused(monkeypatch):
    monkeypatch.setattr(servers, "_MORE_CONNECTIONS", 200)
    with serving(quoted(), settings=settings_of(api={"port": 0, "max_clients": 1})) as server:
        port = int(server.url.rsplit(":", 1)[1])
        with httpx.Client(base_url=server.url, trust_env=False) as client:

            def answered(status: int) -> bool:
                """Within a while: the server takes new connections, and lets go of closed ones, between its answers."""
                deadline = time.monotonic() + 20
                while client.get("/v1/books/AAA").status_code != status:
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.05)
                return True

            with ExitStack() as idle:

                def connect(count: int) -> None:
                    for _ in range(count):
                        idle.enter_context(socket.create_connection(("127.0.0.1", port), 10))

                connect(150)
                assert client.get("/v1/books/AAA").status_code == 200
                connect(100)
                assert answered(503)
                refused = client.get("/v1/books/AAA")
                assert "as many are served as can be" in problem(refused, 503)["detail"]
                assert refused.headers["Connection"] == "close"
            assert answered(200), "the places did not become free"
