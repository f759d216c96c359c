"""A block is inserted whole: a reader sees all of its rows or none, also of the largest blocks that an ingest makes.

ClickHouse shows a part at once, and numbers the blocks that a table is given. A part says from which number to which it holds, also
where it was merged. An insert that was split has more numbers than blocks, and a reader would have seen a piece of it.
"""

from __future__ import annotations

import json

import pytest

import mbo
from mbo.store.ingest import MBP10_CHUNK_ROWS
from mbo.store.survey import CHUNK_ROWS
from tests.store.conftest import run_python

MESSAGES = CHUNK_ROWS + 20_000
BLOCKS = """
    SELECT table, sum(max_block_number - min_block_number + 1) AS blocks, sum(rows) AS stored FROM system.parts
    WHERE active AND database = 'mbo' AND table IN ('messages', 'mbp10', 'book_snapshots') GROUP BY table
"""
INGEST = f"""
import json, sys
from mbo.store import Store

with Store(sys.argv[1]) as store:
    report = store.ingest(sys.argv[2])
    print(json.dumps([report.rows, store.query({BLOCKS!r}).to_pylist()]))
"""


@pytest.mark.timeout(360)
@pytest.mark.parametrize("transport", ["chdb", "http"])
def test_every_block_is_one_insert(request, make, tmp_path, transport):
    url = f"chdb://{tmp_path / 'store'}" if transport == "chdb" else request.getfixturevalue("own_server").url
    path = make(mbo.simulate(MESSAGES, seed=3).records)
    done = run_python(INGEST, url, path, timeout=300)
    assert done.returncode == 0, done.stderr
    rows, tables = json.loads(done.stdout)
    assert {table["table"]: table["stored"] for table in tables} == rows
    blocks = {table["table"]: table["blocks"] for table in tables}
    assert blocks == {"messages": 2, "mbp10": -(-rows["mbp10"] // MBP10_CHUNK_ROWS), "book_snapshots": 1}
    assert blocks["mbp10"] > 2
