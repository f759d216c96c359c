"""Wire: a WebSocket of the component's own, beside Panel's and on the same port, that takes frames at a fraction of the work.

A message of Panel's costs the server some 2 ms: it is a document's event, in five WebSocket frames. A page that is ready is told a
token, opens this socket and sends the token as its first message; from then on frames go this way, and acknowledgements come back.
Where no such socket can be had (a notebook's kernel, another kind of server, a proxy that lets none through) nothing changes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from bokeh.server.util import check_allowlist
from tornado.iostream import StreamClosedError
from tornado.web import Application
from tornado.websocket import WebSocketHandler

PATH: Final = "mbo-frames"
"""Last part of the socket's address, beside the page's."""
_OFFERED_S: Final = 30.0  # for a page to take what it was offered
_TOKEN_S: Final = 5.0  # for the first message of a socket
_LONGEST: Final = 4096  # bytes of a message from a page
_NO_TOKEN: Final = 4401
_BINARY: Final = 0x82  # a whole message of bytes, by RFC 6455


class Wire:
    """A socket as the component sees it: offered under `token`, then taken by a page, then lost.

    `taken` is called when a page has it, `heard` with each message of the page, `lost` when the socket is gone.
    """

    def __init__(self, taken: Callable[[], object], heard: Callable[[Any], object], lost: Callable[[], object]) -> None:
        self.token: Final = secrets.token_urlsafe(32)
        self.taken, self.heard, self.lost = taken, heard, lost
        self._deadline = time.monotonic() + _OFFERED_S
        self._socket: FrameSocket | None = None

    def send(self, frame: bytes) -> None:
        """Send a frame; nothing where the socket is gone, which `lost` says."""
        if self._socket is not None:
            self._socket.send(frame)

    def close(self) -> None:
        """End it, or take the offer back; `lost` is not called."""
        self.lost = _nothing
        _OFFERS.pop(self.token, None)
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_OFFERS: Final[dict[str, Wire]] = {}
_APPLICATIONS: Final[weakref.WeakSet[Application]] = weakref.WeakSet()


def offer(application: Any, wire: Wire) -> bool:
    """Let a page take a wire at a server's port; False where the server is none that can have such sockets."""
    if not isinstance(application, Application):
        return False
    if application not in _APPLICATIONS:
        application.add_handlers(r".*$", [(rf"/(?:.*/)?{PATH}", FrameSocket)])
        _APPLICATIONS.add(application)
    for old in [one for one in _OFFERS.values() if one._deadline < time.monotonic()]:
        del _OFFERS[old.token]
    _OFFERS[wire.token] = wire
    return True


class FrameSocket(WebSocketHandler):
    """The server's side of the socket; a page that begins with no token that is offered is shown out."""

    wire: Wire | None = None
    _late: asyncio.TimerHandle | None = None

    @property
    def max_message_size(self) -> int:
        """Take no more than this at once, whatever the server takes elsewhere."""
        return _LONGEST

    def check_origin(self, origin: str) -> bool:
        """Let in the pages that Bokeh's own socket lets in, and those of this host."""
        allowed = list(getattr(self.application, "websocket_origins", ()))
        return super().check_origin(origin) or check_allowlist(urlsplit(origin).netloc.lower(), allowed)

    def open(self, *_: str, **__: str) -> None:
        """Wait for a token, and not for long."""
        self.set_nodelay(True)
        self._late = asyncio.get_running_loop().call_later(_TOKEN_S, self.close, _NO_TOKEN, "no token came")

    def send(self, frame: bytes) -> None:
        """Send a frame; nothing where the connection has ended.

        Tornado's own way makes a task of every message, so that somebody may wait for it: three turns of the loop more.
        """
        stream = None if self.ws_connection is None else self.ws_connection.stream
        if stream is None or stream.closed():
            return
        length = len(frame)
        if length < 126:
            head = struct.pack("!BB", _BINARY, length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", _BINARY, 126, length)
        else:
            head = struct.pack("!BBQ", _BINARY, 127, length)
        with suppress(StreamClosedError):
            stream.write(head + frame)

    def on_message(self, message: str | bytes) -> None:
        """Take the token, then what the page says."""
        if self.wire is not None:
            with suppress(ValueError):  # what is no message is answered by nothing
                self.wire.heard(json.loads(message))
            return
        wire = _OFFERS.pop(message, None) if isinstance(message, str) else None
        if self._late is not None:
            self._late.cancel()
        if wire is None or wire._deadline < time.monotonic():
            self.close(_NO_TOKEN, "this token is not offered")
            return
        self.wire, wire._socket = wire, self
        wire.taken()

    def on_close(self) -> None:
        """Say that it is lost."""
        if self._late is not None:
            self._late.cancel()
        if self.wire is not None:
            self.wire._socket = None
            self.wire.lost()


def _nothing() -> None:
    pass
