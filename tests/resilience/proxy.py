"""A bad network on loopback: a proxy that delays, splits, cuts, resets, stalls or soils what a gateway sends.

Faults are scripted, one for each connection, and the connections behind the script pass through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)
_HANDSHAKE_LINES = 3  # greeting, challenge, response
_LIMIT_S = 20.0


@dataclass(frozen=True)
class Fault:
    """What happens to a connection. Places are bytes that the gateway has sent, counted behind its last line of the handshake,
    or from the first byte of all with `absolute`."""

    cut: int | None = None
    """Close here, exactly: with an end, or with `reset`."""
    reset: bool = False
    stall: tuple[int, float] | None = None
    """Hold everything back from this place on, for so many seconds: the connection looks open, and is dead."""
    garbage: tuple[int, bytes] | None = None
    """Put these bytes in."""
    piece: int | None = None
    """Forward at most so many bytes at a time."""
    latency_s: float = 0.0
    jitter_s: float = 0.0
    absolute: bool = False
    mute: bool = False
    """Take the connection and never answer."""
    refuse: bool = False
    """Take the connection and reset it."""


PERFECT = Fault()


class _CutError(Exception):
    """The script says that the connection ends here."""


class Proxy:
    """Stands between `url` and who connects to its own `url`; `script` holds the faults of the next connections.

    `arrived` is called on the proxy's thread with every new connection's number, before anything is forwarded.
    """

    def __init__(self, url: str, *script: Fault, seed: int = 1) -> None:
        self.script = deque(script)
        self.connections = 0
        self.arrived: Callable[[int], object] = lambda number: None
        self.target = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._random = random.Random(seed)
        self._listener = _listening(0)
        self.port = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self._kept = socket.socket()  # holds the port while it refuses connections
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        assert not self._thread.is_alive()
        self._loop.close()
        self._kept.close()

    def deafen(self) -> None:
        """Refuse connections, and cut those there are, until `hear`; the port stays ours, so that nobody else answers there."""
        self._call(self._close())
        self._kept.close()
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", self.port))

    def hear(self) -> None:
        """Listen again, on the same port."""
        self._kept.close()
        self._listener = _listening(self.port)
        self._call(self._open())

    def cut_all(self) -> None:
        """Reset all connections."""
        self._call(self._hang_up())

    # ------------------------------------------------------------ the loop's thread

    def _run(self) -> None:
        self._loop.run_forever()

    def _call(self, doing: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(_LIMIT_S)

    async def _open(self) -> None:
        self._accepting = asyncio.ensure_future(self._accept(self._listener))

    async def _close(self) -> None:
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            client.setblocking(False)
            fault = self.script.popleft() if self.script else PERFECT
            self.connections += 1
            self.arrived(self.connections)
            task = asyncio.ensure_future(self._serve(client, fault))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _, client=client: client.close())  # also where it was ended before it began

    async def _serve(self, client: socket.socket, fault: Fault) -> None:
        with socket.socket() as gateway:
            gateway.setblocking(False)
            await self._connect(client, gateway, fault)

    async def _connect(self, client: socket.socket, gateway: socket.socket, fault: Fault) -> None:
        down = up = None
        reset = True
        try:
            if fault.refuse:
                return
            if not fault.mute:
                await self._loop.sock_connect(gateway, self.target)
                for one in (client, gateway):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                down = asyncio.ensure_future(self._down(gateway, _Line(self._loop, client, fault, self._random)))
            up = asyncio.ensure_future(self._up(client, gateway, mute=fault.mute))
            await asyncio.wait([task for task in (down, up) if task], return_when=asyncio.FIRST_COMPLETED)
            if down is not None and down.done():  # the gateway's end, or the script's, is passed on as what it is
                error = down.exception()
                reset = fault.reset if isinstance(error, _CutError) else error is not None
        except OSError:
            pass  # nobody listens there
        finally:
            tasks = [task for task in (down, up) if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
                await self._emptied(client)

    async def _emptied(self, client: socket.socket) -> None:
        """Take what a client still says: closing with it unread would reset the connection, and might swallow our last bytes."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                while await self._loop.sock_recv(client, 1 << 16):
                    pass

    async def _up(self, client: socket.socket, gateway: socket.socket, *, mute: bool) -> None:
        while data := await self._loop.sock_recv(client, 1 << 16):
            if not mute:
                await self._loop.sock_sendall(gateway, data)

    async def _down(self, gateway: socket.socket, line: _Line) -> None:
        await line.act()
        while data := await self._loop.sock_recv(gateway, 1 << 16):
            await line.forward(data)


class _Line:
    """The bytes from the gateway to one client, and what is to happen to them where."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: socket.socket, fault: Fault, chance: random.Random):
        self._loop = loop
        self._client = client
        self._fault = fault
        self._random = chance
        self._lines = _HANDSHAKE_LINES if fault.absolute else 0
        self._at = 0
        places = [fault.stall and fault.stall[0], fault.garbage and fault.garbage[0], fault.cut]
        self._places = deque(sorted({place for place in places if place is not None}))

    async def forward(self, data: bytes) -> None:
        while self._lines < _HANDSHAKE_LINES and data:
            line, end, data = data.partition(b"\n")
            self._lines += len(end)
            await self._loop.sock_sendall(self._client, line + end)
            if self._lines == _HANDSHAKE_LINES:
                await self.act()
        while data:
            most = min(self._fault.piece or len(data), self._places[0] - self._at if self._places else len(data))
            if self._fault.latency_s or self._fault.jitter_s:
                await asyncio.sleep(self._fault.latency_s + self._fault.jitter_s * self._random.random())
            await self._loop.sock_sendall(self._client, data[:most])
            self._at += len(data[:most])
            data = data[most:]
            await self.act()

    async def act(self) -> None:
        """Do what is to be done at this place, also where nothing follows."""
        if self._lines < _HANDSHAKE_LINES or not self._places or self._places[0] != self._at:
            return
        self._places.popleft()
        fault = self._fault
        if fault.garbage is not None and fault.garbage[0] == self._at:
            await self._loop.sock_sendall(self._client, fault.garbage[1])
        if fault.stall is not None and fault.stall[0] == self._at:
            await asyncio.sleep(fault.stall[1])
        if fault.cut == self._at:
            raise _CutError


def _listening(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    listener.setblocking(False)
    return listener
