"""Is a file in a store exactly once? Counted in every table, compared, and read back bit by bit."""

from __future__ import annotations

from pathlib import Path

import mbo
from mbo import dbn
from mbo.store import Store
from mbo.store.ledger import Entry
from mbo.store.survey import survey

ROW = {"messages": "row_num", "mbp10": "record_num", "book_snapshots": "(publisher_id, instrument_id, row_num)"}


def file_id(path: Path) -> int:
    """By which number a store knows a file's content."""
    return survey(dbn.open_file(path)).file_id


def counted(store: Store, file_id: int) -> dict[str, tuple[int, int]]:
    """How many rows the tables have of a file, and how many different ones."""
    found = {}
    for table, row in ROW.items():
        sql = f"SELECT count() AS n, uniqExact({row}) AS u FROM mbo.{table} WHERE file_id = {{file_id:UInt64}}"
        there = store.query(sql, file_id=file_id).to_pylist()[0]
        found[table] = (there["n"], there["u"])
    return found


def exact(store: Store, path: Path) -> Entry:
    """Assert that the store has the file once and whole; give its entry."""
    number, expected = file_id(path), mbo.read_dbn(path).load()
    (entry,) = [entry for entry in store.files() if entry.file_id == number]
    verified = store.verify(path)
    assert verified, verified
    assert entry.derived["messages"] == verified.checked["messages"] == len(expected)
    for table, (rows, unique) in counted(store, number).items():
        assert rows == unique == entry.derived[table], (table, rows, unique, entry.derived)
    assert store.records(file=number).load().tobytes() == expected.tobytes()
    return entry


def absent(store: Store, path: Path) -> None:
    """Assert that no file of this content can be asked for."""
    assert file_id(path) not in [entry.file_id for entry in store.files()]
