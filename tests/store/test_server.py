"""A server that refuses, is not there, is slow, or loses what it was asked or what it answers."""

from __future__ import annotations

import base64
import errno
import http.server
import os
import threading
import time
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

import mbo
from mbo.errors import LostError, RefusedError, RequestError
from mbo.store import Store
from mbo.store import server as transport
from tests.store.conftest import several_days
from tests.store.exact import absent, exact
from tests.store.forwarding import Answer, Answering, Forwarding
from tests.tools.clickhouse_http import HttpServer, free_port, library

AUTHENTICATION_FAILED = "DB::Exception: default: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(transport, "_PAUSES_S", (0.01, 0.02))


@pytest.fixture
def serving():
    """Serve a handler on loopback, until the test ends."""
    started = []

    def start(handler, server=None):
        if server is not None:
            handler = type(handler.__name__, (handler,), {"port": server.port})
        running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.daemon_threads = True
        running.block_on_close = False  # clients keep connections open
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        started.append((running, thread))
        return f"http://127.0.0.1:{running.server_port}/mbo"

    yield start
    for running, thread in started:
        running.shutdown()
        running.server_close()
        thread.join(5)


# ------------------------------------------------------------ passwords


def test_a_missing_right_is_not_a_wrong_password(serving, hurry):
    class Refusing(Answering):
        def respond(self, body):
            self.refuse(497, "Code: 497. DB::Exception: mbo: Not enough privileges. (ACCESS_DENIED)")

    with pytest.raises(RequestError, match="ClickHouse refuses: mbo: Not enough privileges"):
        Store(serving(Refusing))


@pytest.mark.parametrize("code", [192, 193, 194, 516])
def test_a_wrong_password_is_said_without_the_password(serving, hurry, monkeypatch, code):
    class Refusing(Answering):
        def respond(self, body):
            self.refuse(code, AUTHENTICATION_FAILED)

    monkeypatch.setenv("MBO_CLICKHOUSE_PASSWORD", "hunter2")
    with pytest.raises(RefusedError, match="refuses user 'default': set MBO_CLICKHOUSE_PASSWORD") as error:
        Store(serving(Refusing))
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("user", ["default", "nobody"])
def test_clickhouse_itself_refuses_a_wrong_password(server, hurry, monkeypatch, user):
    monkeypatch.setenv("MBO_CLICKHOUSE_PASSWORD", "hunter2")
    with pytest.raises(RefusedError, match=f"refuses user '{user}': set MBO_CLICKHOUSE_PASSWORD") as error:
        Store(server.url.replace("//", f"//{user}@"))
    assert "hunter2" not in str(error.value)


def test_the_password_comes_from_the_environment(server, serving, hurry, monkeypatch, make):
    """Whoever stands at the door wants a password: the right one, with odd letters, opens; none or another does not."""
    password = "Ünter %40:@/ 2'"
    asked = []

    class Door(Forwarding):
        def respond(self, body):
            asked.append(self.path)
            scheme, _, given = self.headers.get("Authorization", "").partition(" ")
            if scheme == "Basic" and base64.b64decode(given).decode() == f"default:{password}":
                del self.headers["Authorization"]
                super().respond(body)
            else:
                self.refuse(516, AUTHENTICATION_FAILED)

    url, path = serving(Door, server), make(mbo.simulate(500, seed=60).records)
    with pytest.raises(RefusedError):
        Store(url)
    monkeypatch.setenv("MBO_CLICKHOUSE_PASSWORD", password)
    with Store(url) as store:
        store.ingest(path)
        exact(store, path)
        assert password not in repr(store) + store.url + repr(store._backend)
        with pytest.raises(RequestError, match="ClickHouse refuses") as error:
            store.query("SELECT nothing")
        assert password not in str(error.value)
    assert not [path for path in asked if password in unquote_plus(path)]


# ------------------------------------------------------------ not there, or not any more


def test_no_server_is_said(hurry):
    with pytest.raises(LostError, match="no answer from ClickHouse at 127"):
        Store(f"http://127.0.0.1:{free_port()}/mbo")


@pytest.mark.parametrize("table", ["messages", "mbp10", "book_snapshots", "ledger"])
def test_a_server_that_goes_down_for_good_leaves_no_file_half_done(server, serving, hurry, make, table):
    class Dying(Forwarding):
        down = False

        def respond(self, body):
            if self.down or self.table == table:
                type(self).down = True
                self.drop()
            else:
                super().respond(body)

    path = make(several_days(2_000, 2, seed=61))
    store = Store(serving(Dying, server))
    with pytest.raises(LostError, match="no answer from ClickHouse"):
        store.ingest(path)
    store.close()
    with Store(server.url) as store:
        absent(store, path)
        store.ingest(path)
        exact(store, path)


def test_a_busy_server_is_asked_again(server, serving, hurry, make):
    refused = []

    class Busy(Forwarding):
        def respond(self, body):
            statement = self.token or (body if b"mbo." in body else "")
            if statement and statement not in refused:
                refused.append(statement)
                self.refuse(202, "DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)")
            else:
                super().respond(body)

    path = make(mbo.simulate(500, seed=62).records)
    with Store(serving(Busy, server)) as store:
        store.ingest(path)
        exact(store, path)
    assert len(refused) > 10


# ------------------------------------------------------------ lost on the way


@pytest.mark.parametrize("reached", [True, False], ids=["after", "before"])
def test_an_insert_that_loses_its_connection_is_made_once(server, serving, hurry, make, reached):
    """The connection ends after ClickHouse has the block, or before: sent again under its token, it is there once."""
    lost = []

    class Losing(Forwarding):
        def respond(self, body):
            if self.token and self.token not in lost:
                lost.append(self.token)
                if reached:
                    assert self.forward(body).code == 200
                self.drop()
            else:
                super().respond(body)

    path = make(several_days(4_000, 4, seed=63))
    with Store(serving(Losing, server)) as store:
        report = store.ingest(path)
    assert len(lost) == report.files[0].inserted_blocks + 1  # and the ledger's
    with Store(server.url) as store:
        exact(store, path)


def test_an_answer_that_is_cut_short_is_asked_for_again(server, serving, hurry, make):
    """Half of a table of rows is not taken for all of it."""
    cut = []

    class Cutting(Forwarding):
        def respond(self, body):
            answer = self.forward(body)
            if len(answer.content) > 10_000 and len(cut) % 2 == 0:
                cut.append(len(answer.content))
                self.begin(answer)
                self.wfile.write(answer.content[: len(answer.content) // 2])
                self.drop()
            else:
                cut.extend([0] * (len(answer.content) > 10_000))
                self.answer(answer)

    path = make(mbo.simulate(2_000, seed=64).records)
    with Store(server.url) as store:
        store.ingest(path)
    with Store(serving(Cutting, server)) as store:
        exact(store, path)
    assert len(cut) >= 4


def test_an_empty_answer_is_asked_for_again(server, serving, hurry, make):
    """A server whose disk is full can say that all is well, and then nothing."""
    emptied = []

    class Emptying(Forwarding):
        def respond(self, body):
            answer = self.forward(body)
            if b"FORMAT Arrow" in body and len(answer.content) > 10_000:
                emptied.append(len(emptied) % 2 == 0)
                if emptied[-1]:
                    answer = answer._replace(content=b"")
            self.answer(answer)

    path = make(mbo.simulate(2_000, seed=65).records)
    with Store(server.url) as store:
        store.ingest(path)
    with Store(serving(Emptying, server)) as store:
        exact(store, path)
    assert emptied.count(True) >= 2


# ------------------------------------------------------------ slow


def test_a_slow_server_is_waited_for(server, serving, hurry, make):
    class Slow(Forwarding):
        def respond(self, body):
            time.sleep(0.02)
            answer = self.forward(body)
            self.begin(answer)
            for start in range(0, len(answer.content), max(len(answer.content) // 4, 1)):
                time.sleep(0.01)
                self.wfile.write(answer.content[start : start + max(len(answer.content) // 4, 1)])

    path = make(several_days(2_000, 2, seed=65))
    with Store(serving(Slow, server)) as store:
        store.ingest(path)
        exact(store, path)


def test_an_insert_whose_answer_comes_too_late_is_made_once(server, serving, hurry, monkeypatch, make):
    monkeypatch.setattr(transport, "STATEMENT_LIMIT_S", 1)
    late = []

    class Late(Forwarding):
        def respond(self, body):
            answer = self.forward(body)
            if self.table == "messages" and not late:
                late.append(self.token)
                time.sleep(1.5)
            self.answer(answer)

    path = make(mbo.simulate(1_000, seed=66).records)
    with Store(serving(Late, server)) as store:
        store.ingest(path)
    assert late
    with Store(server.url) as store:
        exact(store, path)


def test_a_server_that_never_answers_is_given_up(serving, monkeypatch):
    monkeypatch.setattr(transport, "STATEMENT_LIMIT_S", 1)
    monkeypatch.setattr(transport, "_PAUSES_S", (0.01,))
    over = threading.Event()

    class Mute(Answering):
        def respond(self, body):
            over.wait(30)

    try:
        with pytest.raises(LostError, match="no answer from ClickHouse"):
            Store(serving(Mute))
    finally:
        over.set()


def test_a_server_of_something_else_is_said(serving, hurry):
    class Page(Answering):
        def respond(self, body):
            self.answer(Answer(200, [("Content-Type", "text/html")], b"<html>It works!</html>"))

    with pytest.raises(LostError, match="no answer from ClickHouse"):
        Store(serving(Page))


# ------------------------------------------------------------ full


def test_a_server_s_full_disk_is_said_and_leaves_nothing_half_done(small_disk, hurry, make):
    path = make(mbo.simulate(100_000, seed=67).records)
    folder, within = small_disk("64m")
    server = HttpServer(library(), folder / "data", within)
    try:
        seen = Path(f"/proc/{server.pid}/root{folder}")  # the disk is the server's alone
        ballast = seen / "ballast"
        with Store(server.url) as store:
            free = os.statvfs(seen)
            ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 1_500_000))
            with pytest.raises(OSError, match="no room on the disk of ClickHouse at 127") as error:
                store.ingest(path)
            assert error.value.errno == errno.ENOSPC
            absent(store, path)
            ballast.unlink()
            store.ingest(path)
            exact(store, path)
    finally:
        server.kill()


def test_a_disk_that_fills_up_within_an_insert_is_said(server, serving, hurry, make):
    """Where there seemed to be room before, ClickHouse says so by another code."""

    class Full(Forwarding):
        def respond(self, body):
            if self.table == "messages":
                self.refuse(75, "DB::Exception: Cannot write to file: , errno: 28, strerror: No space left on device")
            else:
                super().respond(body)

    path = make(mbo.simulate(500, seed=68).records)
    with Store(serving(Full, server)) as store:
        with pytest.raises(OSError, match="no room on the disk of ClickHouse at 127"):
            store.ingest(path)
        absent(store, path)
