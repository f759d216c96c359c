"""`mbo ingest` and `mbo query`, each a process of its own: an embedded database is one process's at a time."""

from __future__ import annotations

import os
import subprocess
import sys

import polars as pl
import pytest

import mbo

COMMAND = [sys.executable, "-c", "from mbo.cli import main; main()"]


def run(*arguments: object, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    url = f"chdb://{tmp_path_factory.mktemp('store')}/db"
    code, out, err = run("ingest", mbo.SIMULATED, "--store", url)
    assert (code, err) == (0, "")
    assert out.startswith("simulated.mbo.dbn.zst: 90,000 messages, ")
    assert out.endswith(f"in {url}\n")
    return url


def test_a_second_ingest_finds_everything_there(url):
    code, out, _ = run("ingest", mbo.SIMULATED, "--store", url)
    assert code == 0
    assert "was there" in out


def test_a_query_is_a_table(url):
    code, out, err = run("query", "SELECT action, count() AS n FROM mbo.messages GROUP BY action", "--store", url)
    assert (code, err) == (0, "")
    counts = mbo.read_dbn(mbo.SIMULATED).summary().actions
    for letter, count in counts.items():
        assert f"│ {letter} " in out
        assert f" {count} " in out


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_a_query_is_a_file(url, tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    code, out, _ = run(
        "query", "SELECT side, size FROM mbo.messages ORDER BY row_num LIMIT 7", "--store", url, "--out", path
    )
    assert (code, out) == (0, f"{path}: 7 rows\n")
    read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc, "csv": pl.read_csv}[suffix]
    records = mbo.read_dbn(mbo.SIMULATED).load()[:7]
    assert read(path)["size"].to_list() == records["size"].tolist()
    assert read(path)["side"].to_list() == [chr(side) for side in records["side"].tolist()]


def test_the_default_place_is_the_users_data_directory(tmp_path):
    code, out, err = run("query", "SELECT count() AS files FROM mbo.files", XDG_DATA_HOME=str(tmp_path))
    assert (code, err) == (0, "")
    assert "│ 0 " in out
    assert (tmp_path / "mbo").is_dir()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["query", "SELECT nonsense"], "mbo: ClickHouse refuses: "),
        (["query", "SELECT 1", "--out", "out.xlsx"], "mbo: out.xlsx: the name's ending says the format"),
        (["ingest", "nothing.dbn"], "mbo: nothing.dbn: No such file or directory"),
        (["ingest", str(mbo.SIMULATED), "--overlap", "maybe"], "mbo: overlap='maybe': it is 'error'"),
    ],
)
def test_bad_calls_get_one_sentence(url, arguments, sentence):
    code, out, err = run(*arguments, "--store", url)
    assert (code, out) == (1, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1
