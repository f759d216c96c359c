"""An ingest that is killed, or whose server is, at any moment: the next one makes it one exact copy.

An insert is in flight from the moment when it begins until it is acknowledged. Hit in between, it may be there or not.
"""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

import mbo
from mbo.errors import LostError
from mbo.store import Store
from tests.conftest import real
from tests.store.conftest import several_days
from tests.store.killing import LIMIT_S, TABLES, ingests, made_whole


@pytest.fixture(scope="module", autouse=True)
def compiled(embedded):
    """Kernels are compiled once and kept: whoever is killed while compiling has to begin anew."""
    embedded.ingest(mbo.SIMULATED, overlap="allow")


@pytest.fixture(params=["chdb", "http"])
def url(request, tmp_path):
    """A store with nothing in it, which no process has open."""
    return f"chdb://{tmp_path / 'store'}" if request.param == "chdb" else request.getfixturevalue("own_server").url


def killed_in_each_table(url, path) -> None:
    with ingests() as each:
        for table in TABLES:
            ingest = next(each)
            ingest.go(url, path)
            assert ingest.reaches(table)
            ingest.hit()
            assert ingest.end()[0] == -signal.SIGKILL
            assert ingest.in_flight
    made_whole(url, path)


def test_an_ingest_killed_in_every_table_is_made_whole(url):
    killed_in_each_table(url, mbo.SIMULATED)


@pytest.mark.data
@pytest.mark.resilience
def test_a_real_session_killed_in_every_table_is_made_whole(url):
    killed_in_each_table(url, real("CLX5_mbo.dbn"))


@pytest.mark.resilience
@pytest.mark.timeout(600)
def test_thirty_kills_at_random_moments_leave_one_copy_of_every_row(url, make):
    kills, in_flight, files, moments = 0, 0, 0, random.Random(53)
    with ingests() as each:
        while kills < 30 or in_flight < 20:
            path, done = make(several_days(60_000, 12, seed=100 + files), f"{files}.dbn"), False
            where = f"{url}{files}" if url.startswith("chdb") else url
            while not done:
                ingest = next(each)
                ingest.go(where, path)
                if moments.random() < 0.75:
                    ingest.reaches(inserts=moments.randint(1, 3))
                    time.sleep(moments.uniform(0, 0.02))
                else:
                    time.sleep(moments.uniform(0, 1.0))  # wherever it is: opening, looking through, inserting
                ingest.hit()
                code = ingest.end()[0]
                assert code in (0, -signal.SIGKILL)
                done = code == 0
                kills += not done
                in_flight += ingest.in_flight
                done = done or kills >= 90 or (kills >= 30 and in_flight >= 20)
            made_whole(where, path)
            files += 1
            assert kills < 90, f"only {in_flight} of {kills} kills hit an insert"


def kill_the_server(server, path, *, kills: int, seed: int) -> None:
    """Ingest, and kill the server within inserts; it is started again, and the ingest goes on by itself, or says what is wrong."""
    moments, begun, acknowledged, refused = random.Random(seed), [], [], []
    store = Store(server.url)
    insert = store._backend.insert

    def counting(table, rows, token):
        begun.append(token)
        insert(table, rows, token)
        acknowledged.append(token)

    store._backend.insert = counting  # type: ignore[method-assign]

    def ingest() -> None:
        while True:
            try:
                store.ingest(path)
            except LostError as error:
                refused.append(str(error))
            else:
                return

    thread = threading.Thread(target=ingest, daemon=True)
    thread.start()
    hits = 0
    while thread.is_alive() and hits < kills:
        time.sleep(moments.uniform(0.0, 0.02))
        before = len(begun), len(acknowledged)
        if before[0] == before[1]:
            continue
        server.kill()
        hits += len(acknowledged) == before[1]  # what had begun before is not acknowledged, and cannot be any more
        server.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    store.close()
    assert hits == kills
    assert all("no answer from ClickHouse" in sentence for sentence in refused)
    made_whole(server.url, path)


def test_a_server_killed_within_an_insert_is_made_whole(own_server, make):
    kill_the_server(own_server, make(several_days(6_000, 6, seed=54)), kills=1, seed=55)


@pytest.mark.resilience
@pytest.mark.timeout(300)
def test_a_server_killed_within_twelve_inserts_is_made_whole(own_server, make):
    kill_the_server(own_server, make(several_days(200_000, 20, seed=56)), kills=12, seed=57)
