"""A gateway that says exactly what a test tells it to, conversation by conversation."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from mbo.live.handshake import ServerHandshake
from mbo.live.lines import LineReader
from mbo.live.messages import Writer, session_metadata
from mbo.live.protocol import StartSession, Subscription, parse_request

_LIMIT_S = 20.0
WRITE = Writer(3, ts_out=False)
HEADER = session_metadata("GLBX.MDP3", 1, ts_out=False)


class Peer:
    """One client, seen from the gateway's side."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing
        self.asked: list[Subscription] = []

    def say(self, *words: bytes) -> None:
        self.sock.sendall(b"".join(words))

    def greet(self) -> None:
        """The handshake, up to the start of the session, and the header."""
        lines, handshake = LineReader(), ServerHandshake(None, 1)
        self.say(handshake.greeting())
        self.say(handshake.receive(self._line(lines)))
        while not isinstance(request := parse_request(self._line(lines)), StartSession):
            assert isinstance(request, Subscription)
            self.asked.append(request)
        self.say(HEADER)

    def _line(self, lines: LineReader) -> str:
        line = lines.line()
        while line is None:
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            line = lines.line(data)
        return line

    def hear_out(self) -> None:
        """Say no more, and wait until the client leaves."""
        while self.sock.recv(1 << 16):
            pass


class Scripted:
    """Serves one conversation after the other, and closes each at its end; `url` is where."""

    def __init__(self, *conversations: Callable[[Peer], object]) -> None:
        self.peers: list[Peer] = []
        self.faults: list[BaseException] = []
        self._conversations = conversations
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, name="scripted", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_LIMIT_S)
        self._listener.close()
        assert not self._thread.is_alive()
        assert not self.faults

    def _run(self) -> None:
        for talk in self._conversations:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(_LIMIT_S)
            peer = Peer(sock, self._closing)
            self.peers.append(peer)
            try:
                talk(peer)
            except OSError:
                pass  # the client left
            except BaseException as error:  # noqa: BLE001 - the test's own thread is to see it
                self.faults.append(error)
            finally:
                sock.close()
