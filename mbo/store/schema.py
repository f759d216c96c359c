"""The tables: numbered SQL for one server, the same for a cluster, and bringing a database up to date.

A file of SQL is written for one server. A replicated layout adds ON CLUSTER and replicated engines, a sharded one also the
distributed tables, which keep the plain names: whoever reads or writes never has to know the layout.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

from mbo.errors import RequestError

if TYPE_CHECKING:
    from mbo.store.backend import Backend

LayoutName = Literal["single", "replicated", "sharded"]
LAYOUTS: Final = ("single", "replicated", "sharded")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS mbo\.(\w+)")
_VIEW = re.compile(r"CREATE VIEW IF NOT EXISTS mbo\.(\w+)")
_ENGINE = re.compile(r"ENGINE = ReplacingMergeTree(?:\((\w+)\))?")
_PATH: Final = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
# An instrument's stream stays on one shard, so that equal keys meet and joins and windows stay local.
_SHARD_BY: Final = {"ingest_ledger": "intHash64(file_id)", "schema_versions": "0"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the tables lie on servers: alone, replicated, or sharded and replicated; the latter two need a cluster's name."""

    name: LayoutName = "single"
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.name not in LAYOUTS:
            raise RequestError(f"layout={self.name}: it is single, replicated or sharded")
        if (self.name == "single") != (self.cluster is None):
            raise RequestError(f"layout={self.name} {'takes no' if self.cluster else 'needs a'} cluster=NAME")
        if self.cluster is not None and not re.fullmatch(r"[\w.-]+", self.cluster, re.ASCII):
            raise RequestError(f"cluster={self.cluster!r} is not a cluster's name")

    @property
    def on_cluster(self) -> str:
        """What follows a table's name in a statement that changes it."""
        return f" ON CLUSTER '{self.cluster}'" if self.cluster else ""

    def local(self, table: str) -> str:
        """Name the table that keeps the rows of one that is read and written as `table`."""
        return f"mbo.{table}_local" if self.name == "sharded" else f"mbo.{table}"

    def statements(self, sql: str) -> Iterator[str]:
        """Give the statements of a file of SQL in this layout."""
        for statement in split(sql):
            yield from self._rewritten(statement)

    def _rewritten(self, statement: str) -> Iterator[str]:
        if not self.cluster:
            yield statement
            return
        if statement.startswith("CREATE DATABASE"):
            yield statement + self.on_cluster
            return
        table = _TABLE.match(statement)
        if table is None:
            yield _VIEW.sub(lambda found: found[0] + self.on_cluster, statement)
            return
        name = table[1]
        head = f"CREATE TABLE IF NOT EXISTS {self.local(name)}{self.on_cluster}"
        version = lambda found: f"ENGINE = ReplicatedReplacingMergeTree({_PATH}{f', {found[1]}' if found[1] else ''})"  # noqa: E731
        yield _ENGINE.sub(version, head + statement[table.end() :])
        if self.name == "sharded":
            key = _SHARD_BY.get(name, "intHash64(instrument_id)")
            yield (
                f"CREATE TABLE IF NOT EXISTS mbo.{name}{self.on_cluster} AS {self.local(name)}\n"
                f"ENGINE = Distributed('{self.cluster}', 'mbo', '{name}_local', {key})"
            )


def split(sql: str) -> list[str]:
    """Cut SQL into statements, without comments; a semicolon ends one at the end of a line only."""
    bare = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    return [statement for part in re.split(r";\s*(?:\n|$)", bare) if (statement := part.strip())]


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of SQL."""

    version: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Read the package's SQL, in the order of its numbers."""
    folder = resources.files("mbo.store").joinpath("sql")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(
        Migration(int(file.name[:4]), file.name[5:].removesuffix(".sql"), file.read_text("utf-8")) for file in files
    )


def ddl(layout: Layout, steps: tuple[Migration, ...] | None = None) -> str:
    """Write the whole schema in a layout, as it would be sent."""
    steps = migrations() if steps is None else steps
    return "\n".join(f"{statement};\n" for step in steps for statement in layout.statements(step.sql))


def migrate(backend: Backend, steps: tuple[Migration, ...] | None = None) -> list[int]:
    """Apply what the database does not have yet, in order; give the versions that were applied.

    Every statement may be repeated, so that a migration that was cut short is made whole by the next. `RequestError` where the
    database is of a later version than this program.
    """
    steps = migrations() if steps is None else steps
    there = versions(backend)
    if there and max(there) > steps[-1].version:
        raise RequestError(
            f"the store has schema version {max(there)}, this program knows {steps[-1].version}: use a newer mbo"
        )
    missing = [step for step in steps if step.version not in there]
    for step in missing:
        for statement in backend.layout.statements(step.sql):
            backend.command(statement)
        backend.command(
            "INSERT INTO mbo.schema_versions SELECT {version:UInt32}, {name:String}, fromUnixTimestamp64Milli({now:Int64}, 'UTC')",
            version=step.version, name=step.name, now=time.time_ns() // 1_000_000,
        )  # fmt: skip
    return [step.version for step in missing]


def versions(backend: Backend) -> set[int]:
    """Read which versions a database has; none where there is no database yet."""
    exists = backend.arrow("SELECT 1 FROM system.tables WHERE database = 'mbo' AND name = 'schema_versions'")
    if not exists.num_rows:
        return set()
    return set(backend.arrow("SELECT DISTINCT version FROM mbo.schema_versions").column(0).to_pylist())


def make_durable(backend: Backend) -> None:
    """Have every insert from now on reach the disk before it counts; a setting of the tables, for all who write to them."""
    for table in ("messages", "mbp10", "book_snapshots", "ingest_ledger"):
        name = backend.layout.local(table) + backend.layout.on_cluster
        backend.command(f"ALTER TABLE {name} MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1")
