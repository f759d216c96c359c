"""What happens to a store when processes meet in it, are interrupted, or fill the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mbo
from mbo.errors import RequestError
from mbo.store import Store
from tests.store.conftest import ROOT, run_python, several_days
from tests.store.exact import absent
from tests.store.killing import ingests, made_whole

SECOND = """
import sys
from mbo.store import Store
from mbo.errors import RequestError
try:
    Store("chdb://" + sys.argv[1])
except RequestError as error:
    print(error)
"""

NO_ROOM = """
import subprocess, sys
from pathlib import Path
from mbo.store import Store
from tests.store.exact import absent, exact
path = Path(sys.argv[2])
with Store("chdb://" + sys.argv[1] + "/store") as store:
    try:
        store.ingest(path)
    except OSError as error:
        print("OSError", error)
    absent(store, path)
    subprocess.run(["mount", "-o", "remount,size=200m", sys.argv[1]], check=True)
    store.ingest(path)
    exact(store, path)
    print("exact")
"""


def test_who_comes_second_is_told_who_has_the_directory(embedded):
    path = embedded._backend.path
    done = run_python(SECOND, path)
    mine = f"by process {os.getpid()} ({Path(sys.orig_argv[0]).name})"
    assert done.stdout == f"the store at {path} is in use {mine}: an embedded store belongs to one process at a time\n"
    assert done.stderr == ""


def test_a_command_that_comes_second_says_so(embedded, make):
    path = make(mbo.simulate(500, seed=50).records)
    with ingests() as each:
        ingest = next(each)
        ingest.go(embedded.url, path)
        code, out, err = ingest.end()
    assert (code, out) == (1, "")
    assert err.startswith(f"mbo: the store at {embedded._backend.path} is in use by process {os.getpid()} (")
    assert err.count("\n") == 1
    absent(embedded, path)


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


def test_a_full_disk_is_said_and_leaves_nothing_half_done(small_disk, make):
    path = make(mbo.simulate(100_000, seed=51).records)
    folder, within = small_disk("1500k")
    command = [*within, sys.executable, "-c", NO_ROOM, str(folder), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert done.stdout == "OSError [Errno 28] no room on the disk for the store\nexact\n", done.stderr


@pytest.mark.parametrize("table", ["messages", "mbp10", "ingest_ledger"])
@pytest.mark.parametrize("transport", ["chdb", "http"])
def test_ctrl_c_is_one_sentence_and_the_next_ingest_goes_on(request, tmp_path, make, transport, table):
    url = f"chdb://{tmp_path / 'store'}" if transport == "chdb" else request.getfixturevalue("http_url")
    path = make(several_days(6_000, 3, seed=52))
    with ingests() as each:
        ingest, again = next(each), next(each)
        ingest.go(url, path)
        assert ingest.reaches(table)
        ingest.hit(signal.SIGINT)
        code, out, err = ingest.end()
        assert (code, out, err) == (130, "", "mbo: stopped; the same command goes on from here\n")
        again.go(url, path)
        code, out, err = again.end()
        assert (code, err) == (0, "")
        assert out.startswith("one.dbn: 6,000 messages")
    made_whole(url, path)
