"""One connection to a gateway: the handshake, a subscription, and the records and messages that follow."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from mbo.errors import LostError
from mbo.live.handshake import ClientHandshake
from mbo.live.lines import LineReader
from mbo.live.protocol import StartSession, Subscription, encode_subscription
from mbo.live.stream import Arrival, Message, Stream

CONNECT_S: Final = 10.0
HANDSHAKE_S: Final = 30.0
_PACKED_BYTES: Final = 1 << 18
_PATIENCE_S: Final = 0.2  # how long a wait for the greeting lasts before there is time for something else


class Link:
    """A connection, which a `with` block closes; nothing of it outlives a failure, which is a `LostError` or an `OSError`.

    `silence_s` is how long a gateway may be silent before it counts as lost.
    """

    def __init__(self, address: tuple[str, int], *, compressed: bool, silence_s: float) -> None:
        self.stream = Stream(compressed=compressed)
        self._name = f"{address[0]}:{address[1]}"
        self._packed = memoryview(bytearray(_PACKED_BYTES)) if compressed else None
        self._silence_s = silence_s
        self.socket = socket.create_connection(address, CONNECT_S)
        self._heard = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def subscribe(
        self, handshake: ClientHandshake, subscription: Subscription, meanwhile: Callable[[], object] | None = None
    ) -> Iterator[Arrival | Message]:
        """Be let in, ask, and start; gives what has already come behind the gateway's last line. `meanwhile` is called at times."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines, deadline = LineReader(), time.monotonic() + HANDSHAKE_S
        while not handshake.done:
            line = lines.line()
            while line is None:
                if meanwhile is not None:
                    meanwhile()
                line = lines.line(self._greeting(deadline))
            reply = handshake.receive(line)
            if reply is not None:
                self.socket.sendall(reply)
        self.socket.sendall(encode_subscription(subscription) + StartSession().encode())
        self.socket.setblocking(False)
        self._heard = time.monotonic()
        return self.stream.feed(lines.rest)

    def _greeting(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise LostError(f"{self._name} did not finish its greeting within {HANDSHAKE_S:g} s")
        self.socket.settimeout(min(left, _PATIENCE_S))
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return b""
        if not data:
            raise LostError(f"{self._name} closed the connection before it let us in")
        return data

    def receive(self) -> Iterator[Arrival | Message] | None:
        """Take what has come, without waiting; None is the end of it, and nothing at all that there is nothing yet."""
        now = time.monotonic()  # before: if we stand still from here on, the silence is not the gateway's
        try:
            into = self.stream.room() if self._packed is None else self._packed
            count = self.socket.recv_into(into)
        except BlockingIOError:
            silent = now - self._heard
            if silent > self._silence_s:
                raise LostError(f"{self._name} was silent for {silent:.0f} s") from None
            return iter(())
        if not count:
            return None
        self._heard = time.monotonic()
        return self.stream.received(count) if self._packed is None else self.stream.feed(self._packed[:count])

    def wait(self, wake: socket.socket, seconds: float) -> bool:
        """Wait until something comes, `wake` is written to (then it gives True), or the time is over."""
        return wake.fileno() in readable((self.socket, wake), min(seconds, self._silence_s))

    @property
    def torn(self) -> str:
        """Say where within a record the stream ended, if it did."""
        return f", {self.stream.torn} bytes into a record" if self.stream.torn else ""


def readable(sockets: Iterable[socket.socket], seconds: float) -> set[int]:
    """Wait until one of them can be read, and say which by their numbers; `select.select` takes no number above 1023."""
    waiting = select.poll()
    for one in sockets:
        waiting.register(one, select.POLLIN)
    return {number for number, _ in waiting.poll(seconds * 1000)}
