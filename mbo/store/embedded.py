"""ClickHouse inside this process (chDB), on a directory of its own.

chDB gives a directory to one process and a process one directory; it runs statements without the GIL, side by side where they come
over different connections.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mbo.errors import RequestError
from mbo.store.backend import INSERT_SETTINGS, STATEMENT_LIMIT_S, Parameter
from mbo.store.pool import Pool
from mbo.store.schema import Layout

if TYPE_CHECKING:
    import pyarrow as pa

MERGED: Final = ("messages", "mbp10", "book_snapshots")
_MOST_UNMERGED: Final = 200
"""Parts that wait for merging; ClickHouse slows inserts down at 1,000 in a partition."""
# What is read stays in this process: compressing it, as ClickHouse does unless told, would be half of the work of reading.
_SETTINGS: Final = f"max_execution_time = {STATEMENT_LIMIT_S}, output_format_arrow_compression_method = 'none'"
_ESCAPED: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"}
_INTERRUPTED: Final = "KeyboardInterrupt: <EMPTY MESSAGE>"  # how chDB words what Python raised within it
_NO_ROOM: Final = ("No space left on device", "NOT_ENOUGH_SPACE", "File too large", "Disk quota exceeded")


class Embedded:
    """The database in a directory, which is made where it does not exist.

    `RequestError` where another process has it, or this process another one; `OSError` where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.layout = Layout()
        self.path = path
        self._pid = os.getpid()
        self._pool = Pool(self._connect)
        self._merging = threading.RLock()
        self._fillers = self._unmerged = 0
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "a store needs a directory that can be written", str(path))
        refuse_if_taken(path)
        with self._connection():
            pass  # what is wrong with the directory is said now
        atexit.register(self.close)  # chDB may crash a process that ends while a statement runs

    def command(self, sql: str, **params: Parameter) -> None:
        """Run a statement that gives nothing back."""
        self._query(sql, "Null", params)

    def arrow(self, sql: str, **params: Parameter) -> pa.Table:
        """Run a query."""
        import pyarrow as pa

        # The bytes are a copy of our own. chDB's way to a table would leave it in memory that is given back, but for what the
        # decompression copies, and would import pandas.
        found = self._query(sql, "Arrow", params).bytes()
        return pa.ipc.open_file(pa.py_buffer(found)).read_all() if found else pa.table({})

    def insert(self, table: str, rows: pa.Table | pa.RecordBatch, token: str) -> None:
        """Insert rows as one block, straight from Arrow's memory."""
        settings = ", ".join(f"{name} = {value}" for name, value in INSERT_SETTINGS.items())
        columns = ", ".join(rows.schema.names)
        mbo_rows = rows  # chDB finds what Python(...) names among the caller's variables
        sql = (
            f"INSERT INTO mbo.{table} ({columns}) SETTINGS {settings}, insert_deduplication_token = {{token:String}} "  # noqa: S608
            f"SELECT {columns} FROM Python(mbo_rows)"
        )
        with self._connection() as connection:
            try:
                connection.query(sql, "Null", params={"token": encoded(token)})
            except RuntimeError as error:
                raise failure(error) from None
        del mbo_rows
        with self._merging:
            self._unmerged += 1
            if self._fillers and self._unmerged == _MOST_UNMERGED:
                self._merge()

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Have the parts that are inserted merged afterwards, or once they are many.

        Merging takes twice the work of inserting, and on the cores of this process it is in its way.
        """
        with self._merging:
            if not self._fillers:
                self._unmerged = 0
                for table in MERGED:
                    self.command(f"SYSTEM STOP MERGES mbo.{table}")
            self._fillers += 1
        try:
            yield
        finally:
            with self._merging:
                self._fillers -= 1
                if not self._fillers:
                    self._merge()

    def _merge(self) -> None:
        for table in MERGED:
            self.command(f"SYSTEM START MERGES mbo.{table}")

    def close(self) -> None:
        """Let go of the directory, when the statements that run are done."""
        atexit.unregister(self.close)
        if os.getpid() == self._pid:
            self._pool.close()

    def _query(self, sql: str, output: str, params: dict[str, Parameter]) -> Any:
        bound = {name: encoded(value) for name, value in params.items()}
        with self._connection() as connection:
            try:
                return connection.query(sql, output, params=bound)
            except RuntimeError as error:
                raise failure(error) from None

    def _connection(self) -> AbstractContextManager[Any]:
        """Lend a connection for one statement."""
        if os.getpid() != self._pid:
            raise RequestError(
                "this process was forked off one that has the store open, where chDB hangs: spawn it instead"
            )
        return self._pool.lend()

    def _connect(self) -> Any:
        from chdb.state.sqlitelike import connect

        try:
            connection = connect(str(self.path))
            connection.query(f"SET {_SETTINGS}", "Null")
        except RuntimeError as error:
            raise self._not_opened(error) from None
        return connection

    def _not_opened(self, error: RuntimeError) -> BaseException:
        other = re.search(r"already initialized with path '(.*?)', cannot", str(error))
        if other:
            return RequestError(
                f"this process has the store at {other[1]} open: an embedded store is one to a process, close it first"
            )
        with suppress(BlockingIOError):
            refuse_if_taken(self.path)
        return failure(error)

    def __repr__(self) -> str:
        return f"<Embedded {self.path}>"


def refuse_if_taken(path: Path) -> None:
    """Raise `RequestError` that says which process has the directory, where one has; chDB itself would not say, and print."""
    status = path / "status"
    try:
        file = os.open(status, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = re.search(rb"PID: (\d+)", os.read(file, 1024))
        holder = int(found[1]) if found else 0
        if holder == os.getpid():
            return  # this process itself: chDB hands out as many connections as one wants
        who = f"by process {holder}{_command_of(holder)}" if holder else "by another process"
        raise RequestError(
            f"the store at {path} is in use {who}: an embedded store belongs to one process at a time"
        ) from None
    finally:
        os.close(file)


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    name = Path(words[0].decode(errors="replace")).name
    return f" ({name})" if name else ""


def failure(error: Exception) -> BaseException:
    """Say what the engine says in one sentence, as the error that fits; Ctrl-C within a statement is Ctrl-C."""
    text = " ".join(str(error).split())
    if _INTERRUPTED in text:
        return KeyboardInterrupt()
    if any(mark in text for mark in _NO_ROOM):
        return OSError(errno.ENOSPC, "no room on the disk for the store")
    sentence = re.sub(r"^.*?Code: (\d+)\. DB::Exception: ", "", text)[:600]
    return RequestError(f"ClickHouse refuses: {sentence}")


def encoded(value: Parameter) -> str:
    r"""Write a parameter's value as ClickHouse reads it: text escaped, lists of numbers in brackets.

    >>> encoded("a\tb"), encoded([1, 2])
    ('a\\tb', '[1,2]')
    """
    if isinstance(value, str):
        return "".join(_ESCAPED.get(one, one) for one in value)
    if isinstance(value, int):
        return str(int(value))
    return "[" + ",".join(str(int(one)) for one in value) + "]"
