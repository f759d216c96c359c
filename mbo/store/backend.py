"""Where a store is: its address, and the few calls that everything else is made of, whichever kind of ClickHouse answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from mbo.errors import RequestError
from mbo.store.schema import Layout

if TYPE_CHECKING:
    import pyarrow as pa

PASSWORD: Final = "MBO_CLICKHOUSE_PASSWORD"  # noqa: S105 - the variable's name
STATEMENT_LIMIT_S: Final = 600
"""No statement runs longer."""
INSERT_SETTINGS: Final[Mapping[str, str | int]] = {
    # An insert is one block in one partition, and so one part: there or not there, never half.
    "max_insert_block_size": 4_000_000,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 0,
    "async_insert": 0,
    "optimize_on_insert": 0,
    "insert_deduplicate": 1,
    # More threads only get into each other's way within a block.
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_compress_block_size": 131_072,  # a buffer of that for each of 77 columns, not of the usual 1 MB
}

Parameter = int | str | Sequence[int]
"""What may be bound to a `{name:Type}` of a statement."""


class Backend(Protocol):
    """One connected database; any thread may call it. Statements name their parameters `{name:Type}`: they are bound, never pasted.

    Every call raises `RequestError` where the statement is wrong, `OSError` where the disk is full, `PeerError` where a server
    cannot be reached or refuses.
    """

    layout: Layout

    def command(self, sql: str, **params: Parameter) -> None:
        """Run a statement that gives nothing back."""

    def arrow(self, sql: str, **params: Parameter) -> pa.Table:
        """Run a query."""

    def insert(self, table: str, rows: pa.Table | pa.RecordBatch, token: str) -> None:
        """Insert rows as one block; a block whose token the table has seen is not inserted again."""

    def filling(self) -> AbstractContextManager[None]:
        """Say that much is going to be inserted: what can wait until afterwards does."""

    def close(self) -> None:
        """Let go of the database; a second time does nothing."""


@dataclass(frozen=True, slots=True)
class Address:
    """A store's URL, taken apart. Its text has no password."""

    url: str
    path: Path | None = None
    """Of the embedded database; the rest is of a server."""
    host: str = ""
    port: int = 8123
    user: str = "default"
    secure: bool = False
    layout: Layout = field(default_factory=Layout)

    @classmethod
    def parse(cls, url: str | None) -> Address:
        """Read `chdb:///dir` or `http(s)://user@host:8123/mbo?layout=...&cluster=...`; None is the user's own data directory."""
        if url is None:
            return cls(f"chdb://{user_data()}", path=user_data())
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise RequestError("this is not a store's URL: write chdb:///dir or http://user@host:8123/mbo") from None
        if parts.password is not None:
            raise RequestError(f"a password does not belong into a URL, which ends up in logs: set {PASSWORD}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme == "chdb":
            if parts.netloc or not parts.path.startswith("/") or options:
                raise RequestError(f"{url!r}: an embedded store is written chdb:///absolute/directory")
            return cls(url, path=Path(unquote(parts.path)))
        if parts.scheme not in ("http", "https"):
            raise RequestError(f"{url!r} is not a store's URL: write chdb:///dir or http://user@host:8123/mbo")
        if unknown := sorted(options.keys() - {"layout", "cluster"}):
            raise RequestError(f"a store's URL has no option {', '.join(unknown)}: there are layout and cluster")
        if not parts.hostname or parts.path.rstrip("/") not in ("", "/mbo"):
            raise RequestError(
                f"{url!r}: a server's store is written http://user@host:8123/mbo, its database is always mbo"
            )
        secure = parts.scheme == "https"
        layout = Layout(options.get("layout", "single"), options.get("cluster"))  # type: ignore[arg-type]
        user = unquote(parts.username or "default")
        return cls(url, None, parts.hostname, port or (8443 if secure else 8123), user, secure, layout)


def user_data() -> Path:
    """Name the folder of the store that is used where none is named: `mbo` in the user's data directory."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mbo"
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "mbo"


def connect(address: Address) -> Backend:
    """Connect to the database at an address."""
    if address.path is not None:
        from mbo.store.embedded import Embedded

        return Embedded(address.path)
    from mbo.store.server import Server

    return Server(address)
