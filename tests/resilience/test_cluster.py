"""A backfill by a Dask cluster: the same rows as a plain ingest, whatever dies on the way.

The cluster is real, two worker processes of this machine, and so is the ClickHouse server. Between them stands a door that knows
what is being inserted, and can hold an insert until somebody has died.
"""

from __future__ import annotations

import http.server
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import mbo
from mbo import cli, cluster, dbn
from mbo.cluster import backfill, connected
from mbo.errors import LostError, RequestError, TruncatedError
from mbo.records import RecordArray
from mbo.store import Store, filing
from mbo.store import server as transport
from mbo.store.ingest import INSERTERS, Share
from mbo.store.ledger import TARGETS
from tests.builders import metadata
from tests.resilience.harness import until
from tests.store.conftest import several_days
from tests.store.exact import exact, file_id
from tests.store.forwarding import Forwarding
from tests.tools.clickhouse_http import HttpServer, free_port, library

pytestmark = pytest.mark.resilience
TABLES = ("messages", "mbp10", "book_snapshots")
LIMIT_S = 60.0
"""No wait of a test is longer."""
SECRET = "a secret of the workers' environment"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[HttpServer]:
    running = HttpServer(library(), tmp_path_factory.mktemp("clickhouse"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Iterator[Store]:
    """A store that knows no cluster; it also has the kernels compiled before there are workers."""
    with Store(f"chdb://{tmp_path_factory.mktemp('plain')}") as store:
        yield store


class Door(Forwarding):
    """Lets inserts through to the server; while `kept` is set, one into that table waits until `opened`."""

    kept: ClassVar[tuple[str, ...]] = ()
    waiting: ClassVar[list[str]] = []
    opened: ClassVar[threading.Event] = threading.Event()
    tokens: ClassVar[list[str]] = []
    passwords: ClassVar[set[str]] = set()

    @classmethod
    def files(cls) -> set[str]:
        """Of which files inserts wait; each is one worker's."""
        return {token.removeprefix("ledger:").split(":")[0] for token in cls.waiting}

    def handle(self) -> None:
        with suppress(OSError):  # of a client that was killed
            super().handle()

    def respond(self, body: bytes) -> None:
        cls = type(self)
        cls.passwords.add(self.headers.get("Authorization", ""))
        self.headers.replace_header("Authorization", "Basic ZGVmYXVsdDo=") if "Authorization" in self.headers else None
        if self.token:
            cls.tokens.append(self.token)
            if self.table in self.kept:
                cls.waiting.append(self.token)
                assert self.opened.wait(LIMIT_S)
        answer = self.forward(body)  # also when nobody waits for it any more: a block may be there that nobody knows of
        self.answer(answer)


@pytest.fixture(scope="module")
def door(server) -> Iterator[type[Door]]:
    handler = type("OneDoor", (Door,), {"port": server.port, "waiting": [], "tokens": [], "passwords": set()})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    running.daemon_threads, running.block_on_close = True, False
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{running.server_port}/mbo"
    yield handler
    running.shutdown()
    running.server_close()
    thread.join(5)


@pytest.fixture(autouse=True)
def an_open_door(door) -> Iterator[None]:
    door.kept, door.opened = (), threading.Event()
    door.waiting.clear()
    door.tokens.clear()
    yield
    door.opened.set()


@pytest.fixture(scope="module")
def client(plain, tmp_path_factory):
    """Two worker processes, whose environment has a password that the client's has not."""
    distributed = pytest.importorskip("distributed")
    plain.ingest(mbo.SIMULATED)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50,
            local_directory=str(tmp_path_factory.mktemp("dask")), env={"MBO_CLICKHOUSE_PASSWORD": SECRET},
        ) as two,
        distributed.Client(two, set_as_default=False) as asking,
    ):  # fmt: skip
        yield asking


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """A cluster of one worker, a thread of this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50,
            local_directory=str(tmp_path_factory.mktemp("inside")),
        ) as one,
        distributed.Client(one, set_as_default=False) as asking,
    ):  # fmt: skip
        yield asking


@pytest.fixture
def make(tmp_path):
    """Write a DBN file of a data set of its own."""

    def write(records: RecordArray, name: str, *, dataset: str = "") -> Path:
        ids = np.unique(records["instrument_id"]).tolist()
        times = records["ts_event"]
        header = metadata(
            dataset=dataset or f"{tmp_path.name[-8:]}.{name[:6]}",
            intervals={f"S{number}": [("2000-01-01", "2100-01-01", str(number))] for number in ids},
            start=int(times.min()), end=int(times.max()) + 1,
        )  # fmt: skip
        path = tmp_path / name
        path.write_bytes(header.encode() + records.tobytes())
        return path

    return write


def content(store: Store, path: Path) -> dict[str, tuple[int, int]]:
    """Digest what every table has of a file, its ledger entry too, over the rows in any order, however often each is there."""
    found = {}
    for table in (*TABLES, "ingest_ledger"):
        # Of the ledger's rows for a file and a table the last one counts, as for whoever reads it.
        columns, final = ("* EXCEPT updated_at", "FINAL") if table == "ingest_ledger" else ("*", "")
        sql = f"SELECT count(), sum(sipHash64({columns})) FROM mbo.{table} {final} WHERE file_id = {{id:UInt64}}"
        found[table] = tuple(column[0].as_py() for column in store.query(sql, id=file_id(path)).columns)
    return found


def same(url: str, plain: Store, paths: list[Path]) -> None:
    """Assert that a store has the files exactly once, row by row what a plain ingest stores, and the same books at instants."""
    with Store(url) as store:
        for path in paths:
            entry = exact(store, path)
            plain.ingest(path)
            assert content(store, path) == content(plain, path)
            key = entry.instruments[0]
            for part in (1, 3):
                at = entry.ts_min + (entry.ts_max - entry.ts_min) * part // 4
                ours, theirs = (one.book(key, at=at, file=entry.file_id).digest() for one in (store, plain))
                assert ours == theirs


def workers(client) -> set[int]:
    return set(client.run(os.getpid, on_error="ignore").values())  # one that is killed answers no more


# ------------------------------------------------------------ the same as one process


def test_files_stored_by_two_workers_are_what_one_process_stores(door, plain, client, make):
    paths = [make(several_days(6_000, 3, seed=80 + n, instruments=2), f"{n}.dbn") for n in range(3)]
    done = backfill(paths, store=door.url, client=client)
    assert done
    assert [(file.name, file.new, file.rows["messages"]) for file in done.files] == [
        (path.name, True, 6_000) for path in paths
    ]
    same(door.url, plain, paths)
    door.tokens.clear()
    again = backfill(paths, store=door.url, client=client)
    assert [file.new for file in again.files] == [False] * 3
    assert again.rows == done.rows
    assert door.tokens == []


def test_a_defect_that_doubles_or_loses_a_row_is_seen(door, plain, client, make):
    """The judge of all tests here, judged: one more copy of a row, or one less, and it objects."""
    path = make(several_days(3_000, 2, seed=90), "judged.dbn")
    backfill(path, store=door.url, client=client)
    same(door.url, plain, [path])
    with Store(door.url) as store:
        before = content(store, path)
        store._backend.command("SYSTEM STOP MERGES mbo.messages")  # which would make one row of two again
        one = f"file_id = {file_id(path)} AND row_num = 7"
        store._backend.command(f"INSERT INTO mbo.messages SELECT * FROM mbo.messages WHERE {one}")
        assert content(store, path)["messages"] != before["messages"]
        with pytest.raises(AssertionError):
            same(door.url, plain, [path])
        store._backend.command("SYSTEM START MERGES mbo.messages")
        store._backend.command(f"DELETE FROM mbo.messages WHERE {one}")
        with pytest.raises(AssertionError):
            same(door.url, plain, [path])


def test_one_file_is_inserted_by_both_workers(door, plain, client, make, monkeypatch):
    monkeypatch.setattr(cluster, "LEAST_SHARE", 1_000)
    path = make(several_days(12_000, 8, seed=84, instruments=3), "shared.dbn")
    inserted = []
    monkeypatch.setattr(cluster._Tasks, "add", _counting(cluster._Tasks.add, inserted))
    done = backfill(path, store=door.url, client=client)
    assert [name for name in inserted if name in ("insert", "finish")] == ["insert", "insert", "finish"]
    assert done.files[0].new
    assert done.files[0].inserted_blocks == len(set(door.tokens)) - 1  # and the ledger's
    assert len(door.tokens) == len(set(door.tokens))
    same(door.url, plain, [path])


def _counting(add, names):
    def counted(self, path, work, *arguments, **named):
        names.append(work.__name__)
        return add(self, path, work, *arguments, **named)

    return counted


# ------------------------------------------------------------ workers that die


@pytest.mark.parametrize("table", ["messages", "ledger"])
def test_a_worker_killed_within_an_insert_costs_a_retry(door, plain, client, make, table):
    """The insert that it had begun still arrives, after its death: nobody knows of it but the table."""
    paths = [make(several_days(4_000, 3, seed=100 + n), f"{table[:4]}{n}.dbn") for n in range(2)]
    _killed_while(door, client, paths, table, lambda: len(door.files()) == 2)
    same(door.url, plain, paths)


def test_a_worker_killed_within_its_share_of_a_file_costs_a_retry(door, plain, client, make, monkeypatch):
    monkeypatch.setattr(cluster, "LEAST_SHARE", 1_000)
    path = make(several_days(12_000, 8, seed=110, instruments=2), "killed.dbn")
    _killed_while(door, client, [path], "mbp10", lambda: len(door.waiting) > INSERTERS)
    same(door.url, plain, [path])


def _killed_while(door, client, paths, table, both) -> None:
    """Backfill, and kill one worker while both have an insert into the table under way."""
    before = workers(client)
    door.kept = (table,)
    results = []
    asking = threading.Thread(target=lambda: results.append(backfill(paths, store=door.url, client=client)))
    asking.start()
    try:
        until(both, f"inserts into {table} by both workers", LIMIT_S)
        victim = sorted(before)[0]
        os.kill(victim, signal.SIGKILL)
        door.kept = ()
    finally:
        door.opened.set()
        asking.join(LIMIT_S)
    assert not asking.is_alive()
    (done,) = results
    assert done, done.failed
    assert len(done.files) == len(paths)
    assert victim not in workers(client)


@pytest.mark.parametrize("left_out", ["a share", "a table"])
def test_what_the_shares_left_out_is_stored_by_the_last_task(door, plain, make, left_out):
    path = make(several_days(3_000, 6, seed=115), f"{left_out[2:]}.dbn")
    file, numbers = dbn.open_file(path), (0,) if left_out == "a share" else (0, 1)
    with Store(door.url) as store:
        plan = filing.look(store._backend, file, TARGETS)
        shares = [filing.insert(store._backend, file, plan, Share(number, 2)) for number in numbers]
        if left_out == "a table":
            del shares[0].rows["book_snapshots"]
        done = filing.finish(store._backend, file, plan, shares)
    assert done.inserted_blocks == len(set(door.tokens)) - 1  # and the ledger's
    same(door.url, plain, [path])


def test_a_cluster_that_loses_all_its_workers_is_said(inside, monkeypatch):
    threads = iter([1])
    monkeypatch.setattr(cluster, "_ALONE_LIMIT_S", 0.0)
    monkeypatch.setattr(cluster, "_threads", lambda _: next(threads, 0))
    with pytest.raises(LostError, match="the Dask cluster has had no workers for 0 s"):
        backfill("some.dbn", store=f"http://127.0.0.1:{free_port()}/mbo", client=inside)
    with pytest.raises(LostError, match="the Dask cluster has no workers"):
        backfill("some.dbn", store="chdb:///nowhere", client=inside)


# ------------------------------------------------------------ what cannot be stored


def test_a_worker_of_another_version_is_refused():
    job = cluster._Job("http://127.0.0.1:1/mbo", "0.0.0", cluster._here())
    refused = cluster.step(cluster.look, job, "some.dbn")
    assert isinstance(refused, RequestError)
    assert re.search(rf"has mbo {re.escape(mbo.__version__)}, not 0\.0\.0$", str(refused))


def test_broken_files_are_reported_and_the_others_stored(door, plain, client, make, tmp_path):
    good = [make(several_days(3_000, 2, seed=120 + n), f"good{n}.dbn") for n in range(2)]
    cut, none = make(several_days(3_000, 2, seed=122), "cut.dbn"), tmp_path / "nowhere.dbn"
    cut.write_bytes(cut.read_bytes()[:-20])
    done = backfill([good[0], cut, none, good[1]], store=door.url, client=client)
    assert not done
    assert [file.name for file in done.files] == ["good0.dbn", "good1.dbn"]
    assert [failed.path for failed in done.failed] == [str(cut), str(none)]
    assert isinstance(done.failed[0].error, TruncatedError)
    assert str(done.failed[1]) == f"{none}: No such file or directory"
    same(door.url, plain, good)
    with Store(door.url) as store:
        assert "cut.dbn" not in [entry.name for entry in store.files()]


def test_of_two_files_of_the_same_time_the_first_comes_in(door, plain, client, make):
    first = make(several_days(4_000, 2, seed=130), "first.dbn", dataset="SAME.TIME")
    second = make(several_days(6_000, 2, seed=131), "second.dbn", dataset="SAME.TIME")
    copy = first.with_name("copy.dbn")
    copy.write_bytes(first.read_bytes())
    done = backfill([first, second, copy], store=door.url, client=client)
    assert [(file.name, file.new) for file in done.files] == [("first.dbn", True), ("first.dbn", False)]
    (failed,) = done.failed
    assert "second.dbn has messages of the same instruments and time as first.dbn, which comes before it" in str(failed)
    done = backfill([second], store=door.url, client=client)
    assert "as first.dbn, which is stored" in str(done.failed[0])
    assert backfill([second], store=door.url, client=client, overlap="allow").files[0].new
    same(door.url, plain, [first])


def test_the_password_is_the_workers_own(door, client, make, monkeypatch):
    """It arrives at the door, and is in no task: the client has another one, which nobody sees."""
    import base64

    monkeypatch.setenv("MBO_CLICKHOUSE_PASSWORD", "the client's")
    door.passwords.clear()
    backfill(make(several_days(2_000, 1, seed=140), "secret.dbn"), store=door.url, client=client)
    given = {base64.b64decode(one.removeprefix("Basic ")).decode() for one in door.passwords}
    assert given == {f"default:{SECRET}"}


def test_an_embedded_store_is_refused(client, make, tmp_path):
    path = make(several_days(1_000, 1, seed=141), "embedded.dbn")
    with pytest.raises(RequestError, match="an embedded store belongs to one process, and this cluster's workers"):
        backfill(path, store=f"chdb://{tmp_path / 'store'}", client=client)
    assert not (tmp_path / "store").exists()


def test_a_worker_in_this_process_may_have_an_embedded_store(plain, inside, make):
    path = make(several_days(4_000, 2, seed=142), "inside.dbn")
    assert backfill(path, store=plain.url, client=inside).files[0].new
    exact(plain, path)


def test_a_server_that_is_not_there_is_said(inside, monkeypatch):
    monkeypatch.setattr(transport, "_PAUSES_S", (0.01,))
    port = free_port()
    with pytest.raises(LostError, match=f"no answer from ClickHouse at 127.0.0.1:{port}"):
        backfill("some.dbn", store=f"http://127.0.0.1:{port}/mbo", client=inside)


def test_a_scheduler_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_LIMIT_S", 1)
    where = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(LostError, match=f"^no Dask scheduler answers at {where}$"), connected(where):
        pass


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"overlap": "replace"}, "in a cluster it is 'error' or 'allow'"),
        ({"durability": "disk"}, "it is 'fsync' or None"),
        ({"store": "http://ann:secret@host/mbo"}, "a password does not belong into a URL"),
        ({"files": []}, "no files to store"),
    ],
)
def test_a_wrong_request_is_one_sentence(door, client, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        backfill(**{"files": ["some.dbn"], "store": door.url, "client": client} | options)


# ------------------------------------------------------------ on the command line


def command(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mbo", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_stores_what_it_can_and_says_what_not(door, plain, client, make, monkeypatch, capsys):
    good, cut = (make(several_days(3_000, 2, seed=150 + n), f"c{n}.dbn") for n in range(2))
    cut.write_bytes(cut.read_bytes()[:-20])
    scheduler = client.scheduler.address
    ingest = ["ingest", good.parent / "c*.dbn", "--store", door.url, "--dask", scheduler]
    code, out, err = command(monkeypatch, capsys, *ingest)
    assert code == 1
    assert out.startswith("c0.dbn: 3,000 messages")
    assert out.endswith(f"1 of 2 files in {door.url}\n")
    assert err.startswith("mbo: ")
    assert err.count("\n") == 1
    assert "c1.dbn" in err
    same(door.url, plain, [good])
    code, out, _ = command(monkeypatch, capsys, *ingest[:1], good, *ingest[2:])
    assert code == 0
    assert "was there" in out


def test_the_command_without_a_scheduler_is_one_sentence(make, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "_CONNECT_LIMIT_S", 1)
    where = f"127.0.0.1:{free_port()}"
    words = ["ingest", "some.dbn", "--store", "http://127.0.0.1:1/mbo", "--dask", where]
    assert command(monkeypatch, capsys, *words) == (1, "", f"mbo: no Dask scheduler answers at {where}\n")
    code, _, err = command(monkeypatch, capsys, "ingest", "some.dbn", "--dask", where)
    assert code == 1
    assert err.startswith("mbo: a cluster stores into a ClickHouse server")
