"""What happens to a store when processes meet in it, die in it, or fill the disk."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import numpy as np
import pytest

import mbo
from mbo.errors import RequestError
from mbo.store import Store
from tests.store.conftest import run_python, several_days

SECOND = """
import sys
from mbo.store import Store
from mbo.errors import RequestError
try:
    Store("chdb://" + sys.argv[1])
except RequestError as error:
    print(error)
"""

INGEST = """
import sys
from mbo.store import Store
with Store("chdb://" + sys.argv[1]) as store:
    print("open", flush=True)
    print(store.ingest(sys.argv[2]), flush=True)
"""

CHECK = """
import sys
from mbo.store import Store
with Store("chdb://" + sys.argv[1]) as store:
    store.ingest(sys.argv[2])
    entry = store.files()[0]
    for table, number in (("messages", "row_num"), ("mbp10", "record_num")):
        row = store.query(f"SELECT count() AS n, uniqExact({number}) AS u FROM mbo.{table}").to_pylist()[0]
        assert row["n"] == row["u"] == entry.derived[table], (table, row, entry.derived)
    assert store.verify(sys.argv[2])
    print("exact")
"""

NO_ROOM = """
import subprocess, sys
from mbo.store import Store
with Store("chdb://" + sys.argv[1] + "/store") as store:
    try:
        store.ingest(sys.argv[2])
    except OSError as error:
        print("OSError", error)
    assert store.files() == []
    subprocess.run(["mount", "-o", "remount,size=200m", sys.argv[1]], check=True)
    store.ingest(sys.argv[2])
    print(bool(store.verify(sys.argv[2])))
"""


def test_who_comes_second_is_told_who_has_the_directory(embedded):
    path = embedded._backend.path
    done = run_python(SECOND, path)
    assert "in use by process" in done.stdout
    assert "one process at a time" in done.stdout
    assert done.stderr == ""


def test_a_process_has_one_embedded_store(embedded, tmp_path):
    with pytest.raises(RequestError, match="one to a process, close it first"):
        Store(f"chdb://{tmp_path / 'other'}")
    with Store(embedded.url) as again:  # the same one as often as one wants
        assert again.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert embedded.query("SELECT 1 AS one").num_rows == 1


def test_a_closed_store_says_so(server):
    store = Store(server.url)
    store.close()
    store.close()
    with pytest.raises(RequestError, match="closed"):
        store.files()


def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path, make):
    path = make(mbo.simulate(100_000, seed=51).records)
    folder = tmp_path / "small"
    folder.mkdir()
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c"]  # a small disk that only this process sees
    mount = f"mount -t tmpfs -o size=1500k none {folder}"
    try:
        subprocess.run([*within, mount], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here: it takes user namespaces")
    command = [*within, f'{mount} && exec "$@"', "sh", sys.executable, "-c", NO_ROOM, str(folder), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "OSError [Errno 28] no room on the disk for the store\nTrue\n", done.stderr


def killed(folder, path, after_s: float) -> bool:
    """Ingest in a process and kill it some time after it began; say whether it lived to be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(folder), str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    alive = process.poll() is None
    process.kill()
    process.wait(10)
    process.stdout.close()
    return alive


def test_a_killed_ingest_is_made_whole(tmp_path, make):
    path = make(several_days(60_000, 12, seed=52))
    assert killed(tmp_path / "store", path, 0.4)
    killed(tmp_path / "store", path, 0.8)
    done = run_python(CHECK, tmp_path / "store", path)
    assert done.stdout == "exact\n", done.stderr


@pytest.mark.resilience
@pytest.mark.timeout(900)
def test_thirty_kills_leave_one_copy_of_every_row(tmp_path, make):
    kills, number, moments = 0, 0, random.Random(53)
    while kills < 30:
        path = make(several_days(150_000, 15, seed=100 + number), f"{number}.dbn")
        folder = tmp_path / f"store{number}"
        while killed(folder, path, moments.uniform(0.1, 1.5)) and kills < 30:
            kills += 1
        done = run_python(CHECK, folder, path)
        assert done.stdout == "exact\n", done.stderr
        number += 1


@pytest.mark.resilience
@pytest.mark.timeout(600)
def test_a_killed_server_is_made_whole(server, make):
    path = make(several_days(200_000, 20, seed=54), "server.dbn")
    script = INGEST.replace('"chdb://" + ', "")
    for after_s in np.random.default_rng(55).uniform(0.1, 2.0, 10).tolist():
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.url, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)
        server.kill()
        server.start()
        process.communicate(timeout=120)  # it comes through by itself, or fails with a sentence
    with Store(server.url) as store:
        store.ingest(path)
        assert store.verify(path)
        entry = next(entry for entry in store.files() if entry.name == path.name)
        sql = "SELECT count() AS n, uniqExact(row_num) AS u FROM mbo.messages WHERE file_id = {id:UInt64}"
        assert store.query(sql, id=entry.file_id).to_pylist() == [{"n": 200_000, "u": 200_000}]
