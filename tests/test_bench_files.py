"""The bench of the ways end to end: small runs of every row, and a wrong result on any of the ways would stop it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mbo
from mbo import _jit, formats
from mbo.bench import files
from mbo.errors import InternalError
from mbo.simulator import write_session
from mbo.streams import RecordStream

MESSAGES = 6_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(files, "MESSAGES", MESSAGES)
    monkeypatch.setattr(files, "RUNS", 2)


@pytest.fixture
def session(tmp_path):
    """A session's file, and its final book's digest."""
    path = tmp_path / "session.dbn"
    return path, write_session(path, MESSAGES, seed=1).digests["SIM1"]


def test_every_way_of_a_file_is_measured(session, tmp_path):
    path, digest = session
    rows = [
        *files._to_arrow(path, path),
        *files._to_parquet(path, tmp_path),
        files._to_book("book", mbo.read_dbn(path), digest),
    ]
    assert [row.name for row in rows] == [
        "file to Arrow", "Zstandard file to Arrow", "file to Arrow, as MBP-10",
        "file to Parquet", "file to Parquet, as MBP-10", "book",
    ]  # fmt: skip
    assert all(row.messages == MESSAGES and len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert [list(row.ratios) for row in rows] == [[files.POLARS], [], [], [files.POLARS], [files.POLARS], []]
    assert all("bytes a row, by polars" in row.detail for row in rows[3:5])


def test_a_store_is_replayed(session, tmp_path):
    path, digest = session
    assert min(files.apart(files.from_store, path, f"chdb://{tmp_path}/store", digest)) > 0
    with pytest.raises(InternalError, match="store to book: what came out is not"):
        files.apart(files.from_store, path, f"chdb://{tmp_path}/store", "another digest")


def test_commands_are_timed(tmp_path):
    rows = [*files._start_up(), *files._main_job(tmp_path, _jit._root())]
    assert [row.name for row in rows] == [
        "import mbo (beyond python itself)", "mbo --help", "mbo book FILE", "mbo run, the very first", "mbo run, then",
    ]  # fmt: skip
    assert [len(row.values) for row in rows] == [2, 2, 2, 1, 2]
    assert all(row.unit == "s" and row.aims[0].most for row in rows)
    assert rows[3].messages == sum(len(batch) for batch in mbo.read_dbn(mbo.SIMULATED).batches())


def test_a_table_of_other_records_stops_the_bench(session, monkeypatch):
    path, _ = session
    read = RecordStream.read
    monkeypatch.setattr(RecordStream, "read", lambda self: read(self).slice(1))
    with pytest.raises(InternalError, match="file to Arrow: what came out is not"):
        list(files._to_arrow(path, path))


def test_a_file_of_other_records_stops_the_bench(session, tmp_path, monkeypatch):
    path, _ = session
    read = formats.read
    monkeypatch.setattr(formats, "read", lambda path: read(path)._replace(records=np.roll(read(path).records, 1)))
    with pytest.raises(InternalError, match="file to Parquet: what came out is not"):
        list(files._to_parquet(path, tmp_path))


def test_another_book_stops_the_bench(session):
    path, digest = session
    files._to_book("the book", mbo.read_dbn(path), digest)
    with pytest.raises(InternalError, match="the book: what came out is not"):
        files._to_book("the book", mbo.read_dbn(path), "another digest")


def test_a_command_that_writes_something_else_stops_the_bench():
    command = [sys.executable, "-c", "print('one')"]
    assert files._second(command, lambda out: out == b"one\n") > 0
    with pytest.raises(InternalError, match="what it wrote is not what the session holds"):
        files._second(command, lambda out: out == b"two\n")


def test_a_main_job_that_ends_in_other_books_stops_the_bench(tmp_path):
    (tmp_path / "summary.json").write_text('{"books": {"SIM1": {"digest": "one"}}}')
    assert files._ends_in(tmp_path / "summary.json", {"SIM1": "one"}, b"")
    assert not files._ends_in(tmp_path / "summary.json", {"SIM1": "another"}, b"")
    assert not files._ends_in(tmp_path / "summary.json", {"SIM1": "one", "SIM2": "two"}, b"")
