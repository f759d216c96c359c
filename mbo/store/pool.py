"""Connections, each lent for one statement: as many as there were ever statements at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mbo.errors import RequestError

_CLOSE_LIMIT_S: Final = 30.0


class Pool:
    """Lends connections to any thread; `connect` makes one where none is free."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._free: list[Any] = []
        self._lent = 0
        self._change = threading.Condition()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection; `RequestError` where the pool is closed, and what `connect` raises."""
        with self._change:
            if self._closed:
                raise RequestError("this store is closed")
            self._lent += 1
            connection = self._free.pop() if self._free else None
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        finally:
            with self._change:
                self._lent -= 1
                if connection is not None:
                    self._free.append(connection)
                self._change.notify_all()

    def close(self) -> None:
        """Lend no more, and close all connections when the statements that run are done."""
        with self._change:
            self._closed = True
            self._change.wait_for(lambda: not self._lent, _CLOSE_LIMIT_S)
            while self._free:
                self._free.pop().close()
