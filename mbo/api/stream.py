"""A client's WebSocket: the handshake and its checks, and a transport that finished frames are written to.

uvicorn hands a connection over once it asks for a WebSocket. The protocol itself is the `websockets` library's, without sockets:
frames are written once for all clients and go to each one's transport as they are, with no task for any of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from mbo.api.edge import Buckets, admit
from mbo.api.frames import SUBPROTOCOL, Format
from mbo.api.hub import Hub, Place
from mbo.api.problems import MEDIA_TYPE, ProblemError
from mbo.auth import Keys, Role, bearer
from mbo.telemetry import new_id

if TYPE_CHECKING:
    from mbo.config import Settings

log: Final = logging.getLogger("mbo.api")

PATH: Final = "/v1/stream"
MAX_SYMBOLS: Final = 64
_BEARER: Final = "bearer."
_KEY_S: Final = 5.0  # for a key in the first message
_CLOSE_S: Final = 1.0  # for a client to take the reason
_SEND_BYTES: Final = 1 << 17  # that the system keeps for a slow client: what lies there is old when it is read
NO_KEY: Final = 4401
"""Close code of a client whose first message was no key that is known."""
GOING: Final = 1012
NOT_EXPECTED: Final = 1008


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class StreamQuery(BaseModel):
    """What a client asks for in the query of its URL."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    symbols: Annotated[
        list[Annotated[str, Field(max_length=71)]], BeforeValidator(_split), Field(min_length=1, max_length=MAX_SYMBOLS)
    ]
    depth: Annotated[int, Field(ge=1)]
    hz: Annotated[float, Field(ge=0.1, allow_inf_nan=False)]
    format: Format = "json"
    since: Annotated[int, Field(ge=0, lt=2**63)] | None = None


@dataclass(slots=True)
class Gate:
    """What every connection is checked by."""

    hub: Hub
    settings: Settings
    keys: Keys | None
    buckets: Buckets
    opened: Counter[str]
    """How many are open: all, and those whose key has not come yet."""

    def query(self, text: str) -> StreamQuery:
        """Read a query; a problem where it makes no sense."""
        stream = self.settings.stream
        values: dict[str, Any] = {"depth": stream.depth, "hz": stream.hz}
        for name, given in parse_qs(text, keep_blank_values=True, max_num_fields=16).items():
            if len(given) > 1 and name != "symbols":
                raise ProblemError(422, f"{name} is given {len(given)} times")
            values[name] = ",".join(given)
        try:
            query = StreamQuery(**values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ProblemError(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if query.depth > self.settings.api.max_levels:
            raise ProblemError(
                422, f"depth={query.depth}: there are at most {self.settings.api.max_levels:,} levels a side"
            )
        if query.hz > stream.max_hz:
            raise ProblemError(422, f"hz={query.hz:g}: there are at most {stream.max_hz:g} updates a second")
        return query.model_copy(update={"symbols": list(dict.fromkeys(query.symbols))})

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Let in pages of this server and of those that the settings name; what is no browser names none."""
        if origin is None or origin in self.settings.api.cors_origins:
            return
        if host is not None and urlsplit(origin).netloc == host:
            return
        raise ProblemError(403, "pages of this origin are not let in: set api.cors_origins")


class StreamProtocol(asyncio.Protocol):
    """One client; made by uvicorn, with what `asyncio` gives a connection from then on. See `mbo.api.hub.Follower`."""

    def __init__(self, gate: Gate, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._gate = gate
        self._connections: set[Any] = server_state.connections
        self._protocol = ServerProtocol(
            subprotocols=None, select_subprotocol=_select, extensions=None,
            max_size=gate.settings.api.max_message_bytes, logger=logging.getLogger("mbo.websocket"),
        )  # fmt: skip
        self._transport: Any = None
        self._query: StreamQuery | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._joined = self._closing = self._counted = False
        self.form: Format = "json"
        self.places: list[Place] = []
        self.unread_since = self.pinged = 0.0
        self.answered = -math.inf

    # ------------------------------------------------------------ as asyncio sees it

    def connection_made(self, transport: Any) -> None:
        """Take a connection over."""
        self._transport = transport
        self._connections.add(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        if self._closing:
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._open(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def eof_received(self) -> None:
        """End: the client sends no more."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client."""
        self._closing = True
        self._leave()
        self._connections.discard(self)
        if self._counted:
            self._gate.opened["all"] -= 1
            self._counted = False
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self) -> None:
        """End because the server does; called by uvicorn."""
        self.drop(GOING, "the server is closing: come again")

    # ------------------------------------------------------------ as the hub sees it

    def unwritten(self) -> int:
        """How many bytes the client has not taken yet."""
        return int(self._transport.get_write_buffer_size())

    def push(self, data: bytes) -> None:
        """Send frames."""
        if not self._closing:
            self._transport.write(data)

    def drop(self, code: int, reason: str) -> None:
        """Close the connection; who does not even take the reason is cut off."""
        if self._closing:
            return
        self._leave()
        with suppress(Exception):  # it may be closing already
            self._protocol.send_close(code, reason[:120])
            self._write_out()
        self._end()

    # ------------------------------------------------------------ the handshake

    def _open(self, request: Request) -> None:
        try:
            admitted = self._check(request)
        except ProblemError as problem:
            self._reject(request, problem)
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._write_out()
        if response.status_code != 101:
            self._end()
        elif admitted:
            self._join()
        else:
            self._timer = asyncio.get_running_loop().call_later(_KEY_S, self.drop, NO_KEY, "no key came")

    def _check(self, request: Request) -> bool:
        """Check a request; gives whether its key was seen, and False where it has to come in the first message."""
        gate, headers = self._gate, request.headers
        path, _, query = request.path.partition("?")
        if path != PATH:
            raise ProblemError(404, "there is no WebSocket at this path")
        caller = (self._transport.get_extra_info("peername") or ("",))[0]
        wait = gate.buckets.wait_s(str(caller))
        if wait:
            raise ProblemError(429, "too many connections are opened", headers={"Retry-After": str(int(wait) + 1)})
        gate.check_origin(headers.get("Origin"), headers.get("Host"))
        authorization = headers.get("Authorization") or _offered(headers.get_all("Sec-WebSocket-Protocol"))
        if authorization is not None:
            admit(gate.keys, authorization, Role.READ)
        self._query = gate.query(query)
        if gate.opened["all"] >= gate.settings.api.max_clients:
            raise ProblemError(503, "as many clients are served as can be", headers={"Retry-After": "5"})
        gate.opened["all"] += 1
        self._counted = True
        return gate.keys is None or authorization is not None

    def _reject(self, request: Request, problem: ProblemError) -> None:
        given = request.headers.get("X-Request-Id") or ""
        request_id = given if given.isalnum() and len(given) <= 64 else new_id()
        response = self._protocol.reject(problem.status, "")
        response.body = problem.body(PATH, request_id)
        for name in ("Content-Type", "Content-Length"):
            del response.headers[name]
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(response.body)), "X-Request-Id": request_id}
        for name, value in (headers | problem.headers).items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self._write_out()
        self._end()

    def _join(self) -> None:
        query = self._query
        assert query is not None
        self.form, self._joined = query.format, True
        self._gate.hub.join(self, query.symbols, query.depth, query.hz, query.since)

    def _leave(self) -> None:
        if self._joined and self._query is not None:
            self._joined = False
            self._gate.hub.leave(self, self._query.hz)

    # ------------------------------------------------------------ what the client says

    def _take(self, message: Frame) -> None:
        if message.opcode is Opcode.PONG:
            self.pinged, self.answered = 0.0, time.monotonic()
        elif message.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and not self._closing:
            if self._joined or message.opcode is not Opcode.TEXT:
                self.drop(NOT_EXPECTED, "nothing is expected here but a key, in the first message")
            else:
                self._take_key(bytes(message.data))

    def _take_key(self, data: bytes) -> None:
        try:
            key = orjson.loads(data)["key"]
            admit(self._gate.keys, f"Bearer {key}", Role.READ)
        except (ProblemError, KeyError, TypeError, ValueError):
            self.drop(NO_KEY, "this is no key that is known")
            return
        if self._timer is not None:
            self._timer.cancel()
        self._join()

    # ------------------------------------------------------------ out

    def _write_out(self) -> bool:
        """Write what the protocol has to say; gives whether the connection ends with that."""
        for data in self._protocol.data_to_send():
            if not data:
                return True
            self._transport.write(data)
        return False

    def _flush(self) -> None:
        if not self._closing and (self._write_out() or self._protocol.close_expected()):
            self._leave()
            self._end()

    def _end(self) -> None:
        """Close, and cut off who does not take the rest."""
        self._closing = True
        self._transport.close()
        asyncio.get_running_loop().call_later(_CLOSE_S, self._transport.abort)


def _select(protocol: ServerProtocol, offered: Any) -> Any:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _offered(protocols: list[str]) -> str | None:
    """Find the key among the subprotocols that a browser offers."""
    names = [name.strip() for value in protocols for name in value.split(",")]
    key = next((name.removeprefix(_BEARER) for name in names if name.startswith(_BEARER)), None)
    return None if key is None or bearer(f"Bearer {key}") is None else f"Bearer {key}"
