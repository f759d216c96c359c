"""A server that refuses, is not there, or loses the answer."""

from __future__ import annotations

import http.server
import socket
import threading
import urllib.error
import urllib.request

import pytest

import mbo
from mbo.errors import LostError, RefusedError
from mbo.store import Store
from mbo.store import server as transport
from tests.tools.clickhouse_http import free_port


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(transport, "_PAUSES_S", (0.01, 0.02))


@pytest.fixture
def serving():
    """Serve a handler on loopback, until the test ends."""
    started = []

    def start(handler):
        running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        started.append((running, thread))
        return f"http://127.0.0.1:{running.server_port}/mbo"

    yield start
    for running, thread in started:
        running.shutdown()
        running.server_close()
        thread.join(5)


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Refusing(Quiet):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = (
            b"Code: 516. DB::Exception: default: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"
        )
        self.send_response(403)
        self.send_header("X-ClickHouse-Exception-Code", "516")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST  # noqa: N815


def test_a_wrong_password_is_said_without_the_password(serving, hurry, monkeypatch):
    monkeypatch.setenv("MBO_CLICKHOUSE_PASSWORD", "hunter2")
    with pytest.raises(RefusedError, match="refuses user 'default': set MBO_CLICKHOUSE_PASSWORD") as error:
        Store(serving(Refusing))
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def test_no_server_is_said(hurry):
    with pytest.raises(LostError, match="no answer from ClickHouse at 127"):
        Store(f"http://127.0.0.1:{free_port()}/mbo")


def test_a_lost_answer_is_asked_for_again(server, serving, hurry, make):
    """The server has the block, but the connection ends before it says so: sent again under its token, it stays one."""
    lost = []

    class Losing(Quiet):
        def do_POST(self):
            body = (
                self.rfile.read(int(self.headers["Content-Length"]))
                if "Content-Length" in self.headers
                else self._chunks()
            )
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "transfer-encoding")
            }
            request = urllib.request.Request(f"http://127.0.0.1:{server.port}{self.path}", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    code, text, head = answer.status, answer.read(), answer.headers
            except urllib.error.HTTPError as error:
                code, text, head = error.code, error.read(), error.headers
                error.close()
            if "insert_deduplication_token" in self.path and len(lost) % 2 == 0:
                lost.append(self.path)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if "insert_deduplication_token" in self.path:
                lost.append("")
            self.send_response(code)
            for name, value in head.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST  # noqa: N815

        def _chunks(self):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

    path = make(mbo.simulate(2_000, seed=61).records, "lost.dbn")
    with Store(serving(Losing)) as store:
        report = store.ingest(path)
    assert len(lost) >= 2 * report.files[0].inserted_blocks
    with Store(server.url) as store:
        assert store.verify(path)
        entry = next(entry for entry in store.files() if entry.name == path.name)
        sql = "SELECT count() FROM mbo.messages WHERE file_id = {id:UInt64}"
        assert store.query(sql, id=entry.file_id)[0].to_pylist() == [2_000]
