"""`mbo serve` as a whole: whichever process is killed comes back and nothing is missing, and the end is an orderly one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mbo
from mbo.api.client import Client
from mbo.errors import MboError
from mbo.simulator import write_session
from tests.tools.clickhouse_http import HttpServer, library

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


class Served:
    """A server with all its processes, and what it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self._log = process, url, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def pid(self, name: str, number: int = -1) -> int:
        return int(re.findall(rf"\b{name} runs as process (\d+)", self.log)[number])

    def started(self, name: str) -> int:
        return self.log.count(f"{name} runs as process")

    def until(self, holds: Callable[[Client], Any], what: str) -> Any:
        deadline = time.monotonic() + LIMIT_S
        with Client(self.url, tries=1) as api:
            while True:
                assert time.monotonic() < deadline, f"{what}\n{self.log}"
                assert self.process.poll() is None, self.log
                try:
                    if found := holds(api):
                        return found
                except (MboError, OSError):
                    pass
                except Exception as error:
                    if type(error).__module__.partition(".")[0] != "httpx":
                        raise
                time.sleep(0.05)


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(
        [sys.executable, "-m", "mbo.api", "--port", str(port), *arguments], cwd=ROOT, stderr=out, stdout=out,
        env=os.environ | {"MBO_API_RATE_PER_S": "100000"}, start_new_session=True,
    ) as process:  # fmt: skip
        served = Served(process, f"http://127.0.0.1:{port}", log)
        try:
            yield served
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(LIMIT_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("session") / "day.dbn"
    write_session(path, 60_000, seed=3)
    return path


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], limit_s: float = 30.0) -> bool:
    deadline = time.monotonic() + limit_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def to_the_end(link: Any) -> None:
    while True:
        link.recv(timeout=30)


def applied(api: Client) -> int:
    return int(api._json("/readyz")["feed"]["applied"])


@pytest.mark.resilience
@pytest.mark.parametrize("name", ["api", "replay"])
def test_whichever_is_killed_comes_back_and_nothing_is_missing(tmp_path, session, name):
    """The feed is of 60,000 records at 6,000 a second, and one process is killed twice meanwhile."""
    store = f"chdb://{tmp_path / 'store'}"
    with running(tmp_path, "--file", str(session), "--rate", "6000", "--store", store) as served:
        for count in (1, 2):
            served.until(lambda api, enough=2_000 * count: applied(api) > enough, "records come")
            os.kill(served.pid(name), signal.SIGKILL)
            served.until(lambda api, least=count: served.started(name) > least and api.ready(), "it comes back")
        served.until(lambda api: api._json("/readyz")["feed"]["ended"], "the replay ends")
        day = mbo.read_dbn(session)
        assert served.until(lambda api: api.book("SIM1", digest=True), "a book")["digest"] == day.book().digest()
        served.until(lambda api: [one["messages"] for one in api.stored()] == [60_000], "all is stored")
    assert served.process.returncode == 0, served.log
    assert whole(store, session) == "whole"


def whole(store: str, session: Path) -> str:
    """Compare what is stored with the file, in a process of its own: chDB has one directory to a process."""
    check = (
        "import sys, mbo\n"
        "day = mbo.read_dbn(sys.argv[2])\n"
        "with mbo.Store(sys.argv[1]) as store:\n"
        "    (one,) = store.files()\n"
        "    records, expected = store.records(file=one.name).load(), day.load()\n"
        "    assert len(records) == len(expected), (len(records), len(expected))\n"
        "    assert records.tobytes() == expected.tobytes()\n"
        "    print('whole')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, store, str(session)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.resilience
def test_a_recorder_and_its_server_may_go_and_come(tmp_path, session):
    """The recorder is killed, then the database: the live book goes on, readiness says what is wrong, and all is stored."""
    database = HttpServer(library(), tmp_path / "clickhouse")
    try:
        with running(tmp_path, "--file", str(session), "--rate", "4000", "--store", database.url) as served:
            served.until(lambda api: applied(api) > 2_000 and api.ready(), "records come")
            os.kill(served.pid("recorder"), signal.SIGKILL)
            served.until(lambda api: served.started("recorder") == 2 and api.ready(), "it comes back")
            database.kill()
            answer = served.until(not_ready, "the loss is said")
            assert answer["checks"]["store"] != "ok"
            assert answer["checks"]["feed"] == "ok"
            served.until(lambda api: not_ready(api)["checks"]["recorder"] != "ok", "the recorder says so too")
            assert served.until(lambda api: api.book("SIM1"), "the live book goes on")["stale"] is False
            database.start()
            served.until(lambda api: api.ready(), "all is well again")
            served.until(lambda api: api._json("/readyz")["feed"]["ended"], "the replay ends")
            served.until(lambda api: [one["messages"] for one in api.stored()] == [60_000], "all is stored")
        assert served.process.returncode == 0, served.log
        assert whole(database.url, session) == "whole"
    finally:
        database.kill()


def not_ready(api: Client) -> dict[str, Any]:
    found = api._http.get("/readyz")
    return found.json() if found.status_code == 503 else {}


@pytest.mark.resilience
def test_the_end_is_an_orderly_one(tmp_path, session):
    """SIGTERM in the middle of a stream: clients are told, what came is stored, and no process is left."""
    with running(
        tmp_path, "--file", str(session), "--rate", "6000", "--store", f"chdb://{tmp_path / 'store'}"
    ) as served:
        served.until(lambda api: applied(api) > 3_000, "records come")
        pids = [served.pid("api"), served.pid("replay")]
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        with connect(
            served.url.replace("http", "ws") + "/v1/stream?symbols=SIM1", proxy=None, compression=None
        ) as link:
            link.recv(timeout=10)
            served.process.terminate()
            with pytest.raises(ConnectionClosed) as found:
                to_the_end(link)
        assert found.value.rcvd.code == 1012
        assert served.process.wait(LIMIT_S) == 0, served.log
        assert gone(pids, 1)
        assert "is killed" not in served.log
        assert served.log.rstrip().splitlines()[-1].count("ended")


@pytest.mark.resilience
def test_nothing_survives_a_supervisor_that_is_killed(tmp_path, session):
    with running(tmp_path, "--file", str(session), "--rate", "6000") as served:
        served.until(lambda api: applied(api) > 1_000, "records come")
        pids = [served.pid("api"), served.pid("replay")]
        served.process.kill()
        assert gone(pids), "children are left"


def test_a_port_that_is_taken_is_said_and_ends_it(tmp_path, session):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "mbo", "serve", "--file", str(session), "--port", taken],
            capture_output=True, text=True, timeout=LIMIT_S, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"mbo: 127.0.0.1:{taken} cannot be listened on: Address already in use\n"


@pytest.mark.resilience
def test_what_cannot_be_served_is_said_and_ends_it(tmp_path):
    broken = tmp_path / "no.dbn"
    broken.write_bytes(b"nothing of the kind")
    for arguments, words in (
        (("--file", str(broken)), "begins with"),
        (("--file", str(tmp_path / "missing.dbn")), "missing.dbn"),
        ((), "--feed, or a file"),
        (("--feed", "tcp://127.0.0.1:1", "--host", "0.0.0.0"), "keys"),
        (("--feed", "tcp://127.0.0.1:1", "--store", "ftp://x"), "ftp"),
    ):
        with running(tmp_path, *arguments) as served:
            assert served.process.wait(LIMIT_S) == 1, served.log
            assert words.lower() in served.log.lower()
            assert "Traceback" not in served.log
