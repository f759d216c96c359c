"""The DDL in its layouts, and bringing an old database up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbo.errors import RequestError
from mbo.store.schema import LAYOUTS, Layout, Migration, ddl, migrate, migrations, split, versions
from tests.store.conftest import run_python

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_ddl_is_this(name):
    """After an intended change: python -c "from mbo.store.schema import *; print(ddl(Layout(...)), end='')" > golden/NAME.sql."""
    layout = Layout(name, None if name == "single" else "west")
    assert ddl(layout) == (GOLDEN / f"{name}.sql").read_text()


def test_every_table_is_distributed_where_the_layout_is_sharded():
    text = ddl(Layout("sharded", "west"))
    assert text.count("ENGINE = Distributed(") == text.count("_local ON CLUSTER 'west' (") == 5
    assert "ENGINE = ReplacingMergeTree" not in text


def test_migrations_are_numbered_without_a_gap():
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_split_keeps_a_semicolon_within_a_line():
    assert split("-- no; comment\nSELECT ';' ;\nSELECT 2;") == ["SELECT ';'", "SELECT 2"]


FROM_VERSION_1 = """
import sys
from mbo.store import Store
from mbo.store.backend import Address, connect
from mbo.store.schema import migrate, migrations, versions
import mbo
backend = connect(Address.parse("chdb://" + sys.argv[1]))
assert migrate(backend, migrations()[:1]) == [1]
assert versions(backend) == {1}
backend.close()
with Store("chdb://" + sys.argv[1]) as store:
    assert store.applied == [version.version for version in migrations()[1:]], store.applied
    store.ingest(mbo.SIMULATED)
    assert store.query("SELECT n_rows FROM mbo.files")[0].to_pylist() == [90000]
with Store("chdb://" + sys.argv[1]) as store:
    assert store.applied == []
print("done")
"""


def test_a_database_of_version_1_is_brought_up_to_date(tmp_path):
    done = run_python(FROM_VERSION_1, tmp_path / "old")
    assert done.stdout == "done\n", done.stderr


def test_what_is_missing_is_applied_once(store):
    extra = Migration(
        9001, "extra", "CREATE TABLE IF NOT EXISTS mbo.extra_9001 (x UInt8) ENGINE = MergeTree ORDER BY x;"
    )
    backend = store._backend
    try:
        assert migrate(backend, (*migrations(), extra)) == [9001]
        assert migrate(backend, (*migrations(), extra)) == []
        with pytest.raises(RequestError, match="use a newer mbo"):
            migrate(backend)
    finally:
        backend.command("DROP TABLE IF EXISTS mbo.extra_9001")
        backend.command("ALTER TABLE mbo.schema_versions DELETE WHERE version = 9001 SETTINGS mutations_sync = 2")
    assert 9001 not in versions(backend)
