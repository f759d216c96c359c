"""A ClickHouse server, over HTTP."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mbo.errors import LostError, RefusedError, RequestError
from mbo.store.backend import INSERT_SETTINGS, PASSWORD, STATEMENT_LIMIT_S, Address, Parameter
from mbo.store.pool import Pool

if TYPE_CHECKING:
    import pyarrow as pa

_CONNECT_LIMIT_S: Final = 10
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Between attempts, while a server restarts."""
_WRONG_LOGIN: Final = frozenset({192, 193, 194, 516})
_NO_ROOM: Final = frozenset({243})
_BUSY: Final = frozenset({202, 203, 209, 210, 252, 319, 425, 999})
_Result = TypeVar("_Result")


class Server:
    """A server's database. The password is read from the environment, where it is asked for, and kept nowhere here.

    A statement whose answer is lost is sent again. That is safe: queries change nothing, the DDL says IF NOT EXISTS, and a block
    that was inserted already is known by its token. `RefusedError` where the server refuses user and password, `LostError` where
    it cannot be reached.
    """

    def __init__(self, address: Address) -> None:
        self.layout = address.layout
        self._address = address
        self._pool = Pool(self._connect)
        self._settings: dict[str, Any] = {"max_execution_time": STATEMENT_LIMIT_S}
        if self.layout.name == "sharded":
            self._settings |= {"distributed_foreground_insert": 1, "distributed_product_mode": "local"}
        self._attempt(lambda client: client.command("SELECT 1"))

    def command(self, sql: str, **params: Parameter) -> None:
        """Run a statement that gives nothing back."""
        self._attempt(lambda client: client.command(sql, parameters=_bindable(params), settings=self._settings))

    def arrow(self, sql: str, **params: Parameter) -> pa.Table:
        """Run a query."""
        return self._attempt(
            lambda client: client.query_arrow(
                sql, parameters=_bindable(params), settings=self._settings, use_strings=True
            )
        )

    def insert(self, table: str, rows: pa.Table | pa.RecordBatch, token: str) -> None:
        """Insert rows as one block; when the answer is lost, the same again with the same token."""
        import pyarrow as pa

        whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        settings = self._settings | dict(INSERT_SETTINGS) | {"insert_deduplication_token": token}
        self._attempt(lambda client: client.insert_arrow(table, whole, database="mbo", settings=settings))

    def filling(self) -> AbstractContextManager[None]:
        """Change nothing: how a server merges is for those to say who run it."""
        return nullcontext()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _attempt(self, call: Callable[[Any], _Result]) -> _Result:
        for pause in (*_PAUSES_S, None):
            try:
                with self._pool.lend() as client:
                    return call(client)
            except Exception as error:  # noqa: BLE001 - sorted out below: the library's own, urllib3's, the system's
                found = self._failure(error)
            if pause is None or not isinstance(found, LostError):
                raise found from None
            time.sleep(pause)
        raise AssertionError

    def _connect(self) -> Any:
        import clickhouse_connect

        where = self._address
        return clickhouse_connect.get_client(
            host=where.host, port=where.port, username=where.user, password=os.environ.get(PASSWORD, ""),
            secure=where.secure, autogenerate_session_id=False, query_retries=0, connect_timeout=_CONNECT_LIMIT_S,
            send_receive_timeout=STATEMENT_LIMIT_S, compress=False,
        )  # fmt: skip

    def _failure(self, error: Exception) -> Exception:
        """Say what went wrong in one sentence, without the library's context, which may hold more than it should."""
        import pyarrow as pa
        from clickhouse_connect.driver.exceptions import ClickHouseError

        where = f"{self._address.host}:{self._address.port}"
        if isinstance(error, pa.ArrowException):  # as where the server's disk is full when it begins to answer
            return LostError(f"an answer that breaks off from ClickHouse at {where}")
        if not isinstance(error, ClickHouseError | OSError):
            return error
        text = " ".join(str(error).split())
        found = re.search(r"[Cc]ode:? (\d+)", text)
        code = int(found[1]) if found else 0
        if code in _WRONG_LOGIN:
            return RefusedError(f"ClickHouse at {where} refuses user {self._address.user!r}: set {PASSWORD}", code=code)
        if code in _NO_ROOM or (code and "No space left on device" in text):
            return OSError(errno.ENOSPC, f"no room on the disk of ClickHouse at {where}")
        if code and code not in _BUSY:
            sentence = re.sub(r"^.*?DB::Exception: ", "", text)[:600]
            return RequestError(f"ClickHouse refuses: {sentence}")
        return LostError(f"no answer from ClickHouse at {where}" + (f" (code {code})" if code else ""))

    def __repr__(self) -> str:
        return f"<Server {self._address.host}:{self._address.port}>"


def _bindable(params: dict[str, Parameter]) -> dict[str, Any]:
    return {name: list(value) if not isinstance(value, int | str) else value for name, value in params.items()}
