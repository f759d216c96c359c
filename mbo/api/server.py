"""The server: uvicorn with limits on slow and large headers, and the stream of books as its WebSocket."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import resource
import socket
import threading
from collections import Counter
from contextlib import suppress
from typing import Any, Final, Self

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mbo.api.edge import Buckets
from mbo.api.problems import ProblemError
from mbo.api.state import State
from mbo.api.stream import Gate, StreamProtocol
from mbo.errors import InternalError
from mbo.telemetry import new_id

HEADER_S: Final = 10.0
"""From the beginning of a request to the end of its headers."""
MAX_HEADER_BYTES: Final = 1 << 16
_KEEP_ALIVE_S: Final = 15
_BACKLOG: Final = 2_048
_MORE_CONNECTIONS: Final = 1_000  # beside the WebSocket clients


class CarefulProtocol(HttpToolsProtocol):
    """HTTP, for clients that may be slow on purpose; what uvicorn itself refuses gets a problem document as well."""

    _timer: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._have_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, not too many before the headers are complete."""
        if self._timer is not None:
            self._head += len(data)
            if self._head > MAX_HEADER_BYTES:
                self.send_400_response("The headers are too long.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of another request."""
        super().on_message_begin()
        if self._timer is None:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        """Have the headers."""
        self._have_headers()
        most = self.config.limit_concurrency
        full = most is not None and max(len(self.connections), len(self.tasks)) >= most
        self.limit_concurrency, self.app = None, _full if full else self.config.loaded_app
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be read, and end the connection: where the next one would begin is not known."""
        self.transport.write(ProblemError(400, msg).message("", new_id()))
        self.transport.close()

    def _expect_headers(self) -> None:
        self._head = 0
        self._timer = self.loop.call_later(HEADER_S, self._too_slow)

    def _have_headers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one whose connection is one too many, and end it."""
    problem = ProblemError(503, "as many are served as can be", headers={"Retry-After": "5", "Connection": "close"})
    request_id = new_id()
    response = problem.response(scope["path"], request_id)
    response.headers["X-Request-Id"] = request_id
    await response(scope, receive, send)


class Server:
    """Serves an application that `create_app` made: in this thread with `run`, or from one of its own in a `with` block."""

    def __init__(self, app: FastAPI, *, host: str | None = None, port: int | None = None) -> None:
        state: State = app.state.mbo
        settings = state.settings
        self._address = (settings.api.host if host is None else host, settings.api.port if port is None else port)
        gate = Gate(state.hub, settings, state.keys, Buckets(settings.api.rate_per_s), Counter())
        config = uvicorn.Config(
            app, http=CarefulProtocol, lifespan="on", loop="uvloop", log_config=None, access_log=False, server_header=False,
            ws=functools.partial(StreamProtocol, gate),  # type: ignore[arg-type]
            proxy_headers=False, backlog=_BACKLOG, limit_concurrency=settings.api.max_clients + _MORE_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=max(1, round(settings.api.drain_s)),
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def bind(self) -> Self:
        """Listen; `OSError` where the address cannot be had."""
        host, port = self._address
        family = socket.AF_INET6 if _is_v6(host) else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        _more_files()
        return self

    @property
    def url(self) -> str:
        """Where it is, http://host:port."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        """Serve until a signal asks for the end; requests that are under way are answered first."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ask for the end."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        self.bind()
        self._thread = threading.Thread(target=self.run, name="mbo-api", daemon=True)
        self._thread.start()
        for _ in range(1_000):
            if self._server.started:
                return self
            if not self._thread.is_alive():
                break
            self._thread.join(0.01)
        raise InternalError("the server did not start within 10 s")

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(30)


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _more_files() -> None:
    """Let this process have as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
