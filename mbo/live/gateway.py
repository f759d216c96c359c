"""A server that replays files by Databento's live protocol, so that a client cannot tell it from the real one.

One thread runs an event loop for what is said: keys, subscriptions, errors (`connection`). Another sends the records when they are
due (`pump`): an event loop's timers round to a millisecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from mbo.errors import InternalError, RequestError
from mbo.live.clock import FOREVER, Clock
from mbo.live.connection import Connection, Replay
from mbo.live.desk import Desk
from mbo.live.pump import Pump
from mbo.live.session import Wanted
from mbo.live.source import Source
from mbo.replay import Records
from mbo.units import Time, parse_time

log: Final = logging.getLogger("mbo.gateway")

HANDSHAKE_S: Final = 30.0  # from the connection to the start of the session
MAX_CLIENTS: Final = 128
_MORE_CONNECTIONS: Final = 32  # that may be told that there is no room, before more are closed without a word
_FIRST_TIME: Final = 10**15  # a smaller number says a record, not a time


class SessionInfo(NamedTuple):
    """How far one client is: records and bytes sent, records left out, and how many it is behind the present."""

    number: int
    records: int
    bytes: int
    skipped: int
    behind: int


class Gateway:
    """Replays `day` to any number of clients; `mbo.serve_gateway` makes one, and a `with` block starts and closes it.

    `rate` (records a second) or `speed` (times the recorded one) set the pace of one present that all clients share. It begins to
    move when the first session starts, or with `hold` when `begin` says so; who joins later begins at the present, or where its
    `start=` says. With neither, every session begins at the first record and is sent everything as fast as it reads. `loop` begins
    again at the end. `keys` are the keys that are let in; on loopback there need be none, and then every key is.
    """

    def __init__(
        self,
        day: Records,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: float | None = None,
        speed: float | None = None,
        loop: bool = False,
        hold: bool = False,
        keys: Iterable[str] | None = None,
        dbn_version: int = 3,
        max_clients: int = MAX_CLIENTS,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        known = None if keys is None else (keys,) if isinstance(keys, str) else tuple(keys)
        if known is not None and not all(key.strip() for key in known):
            raise RequestError("a key of the gateway is blank")
        if not _is_loopback(host) and not known:
            raise RequestError(
                f"bound to {host}, which is not loopback, a gateway needs a key: set MBO_GATEWAY_KEY or give a key file"
            )
        if dbn_version not in (1, 2, 3):
            raise RequestError(f"dbn_version={dbn_version!r}: there are 1, 2 and 3")
        source = Source(day, loop=loop)
        clock = Clock(source, rate=rate, speed=speed, hold=hold)
        self._replay = Replay(source, clock, Desk(source), Pump(source, clock), dbn_version)
        self._keys: Callable[[], tuple[str, ...] | None] = lambda: known  # in a closure no `repr` can show them
        self._address = (host, port)
        self._max_clients = max_clients
        self._handshake_s = handshake_s
        self._numbers = itertools.count(1)
        self._connected = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    # ------------------------------------------------------------ start and end

    def start(self) -> Self:
        """Listen, and serve from two threads of its own; `OSError` where the address cannot be had."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server(
            (host, port), family=family, backlog=self._max_clients + _MORE_CONNECTIONS
        )
        self._listener.setblocking(False)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen(ready)), name="mbo-gateway", daemon=True
        )
        self._thread.start()
        self._replay.pump.start()
        if not ready.wait(10):
            raise InternalError("the gateway's event loop did not start within 10 s")
        return self

    def close(self, drain_s: float = 5.0) -> None:
        """Let nobody in any more, give every client the rest of its event, and end; after `drain_s` seconds at the latest."""
        if self._closed or self._loop is None or self._thread is None:
            return
        self._closed = True
        pump = self._replay.pump
        self._loop.call_soon_threadsafe(self._stop_listening)
        pump.ask(pump.end)
        deadline = time.monotonic() + drain_s
        while pump.sessions and time.monotonic() < deadline:
            time.sleep(0.005)
        pump.stop()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._hang_up)
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Gateway of {self._replay.source.dataset} at {self.url}, {len(self._replay.pump.sessions)} clients>"

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._listener is None or self._closed:
            return self._address[1]
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Where clients connect to, as `mbo.connect` takes it."""
        host = self._address[0]
        return f"tcp://[{host}]:{self.port}" if ":" in host else f"tcp://{host}:{self.port}"

    @property
    def sessions(self) -> list[SessionInfo]:
        """The clients that stream, as they stand now."""
        present = self.position
        return [
            SessionInfo(one.number, one.records, one.bytes, one.skipped, max(0, present - one.cursor))
            for one in self._replay.pump.sessions
        ]

    @property
    def records(self) -> int | None:
        """How many records there are to replay; None if they are looped."""
        return self._replay.source.end

    @property
    def sent(self) -> int:
        """How many records were sent, to all clients together, those that have left included."""
        return self._replay.pump.sent

    # ------------------------------------------------------------ replay control

    @property
    def _end(self) -> int:
        return FOREVER if self._replay.source.end is None else self._replay.source.end

    @property
    def position(self) -> int:
        """How many records have happened; unpaced, all of them."""
        return min(self._replay.clock.present(time.monotonic_ns()), self._end)

    def begin(self, at_ns: int | None = None) -> int:
        """Start the clock of a gateway that is on `hold`, at an instant of the monotonic clock, which may lie ahead; gives that."""
        at_ns = time.monotonic_ns() if at_ns is None else at_ns
        self._replay.clock.begin(at_ns)
        self._replay.pump.wake()
        return at_ns

    def pause(self) -> None:
        """Stop the clock: nothing more is due, and clients get heartbeats."""
        self._replay.clock.pause(time.monotonic_ns())

    def resume(self) -> None:
        """Let the clock go on."""
        self._replay.clock.resume(time.monotonic_ns())
        self._replay.pump.wake()

    def set_pace(self, *, rate: float | None = None, speed: float | None = None) -> None:
        """Change the pace: records a second, times the recorded speed, or with neither as fast as everybody reads."""
        clock, pump = self._replay.clock, self._replay.pump

        def change() -> None:  # where there was no present, it is where the client is that is farthest
            farthest = max((session.cursor for session in pump.sessions), default=None)
            clock.set_pace(time.monotonic_ns(), rate=rate, speed=speed, at=farthest)

        pump.ask(change).result(10)

    def seek(self, to: Time | int) -> int:
        """Go on at another place: the number of a record, or a time (ts_recv); gives the number.

        Every client that streams gets a snapshot of its books as they stood there, and goes on from it.
        """
        source, clock, desk, pump, _ = self._replay
        number = to if isinstance(to, int) and to < _FIRST_TIME else source.first_reaching(parse_time(to))
        if not 0 <= number <= self._end:
            raise RequestError(f"record {number:,} is not in the replay, which has {self._end:,}")
        desk.snapshots(number, Wanted(), afresh=True)  # the slow part: the pump then finds the books at their place

        def move() -> None:
            clock.seek(number, time.monotonic_ns())
            for session in pump.sessions:
                wanted = session.everything_wanted
                session.jump(number, desk.snapshots(number, wanted, ts_out=session.ts_out, afresh=True))

        pump.ask(move).result(10)
        return number

    def drop(self, number: int | None = None) -> None:
        """Cut the connection to a client, or to all of them, as a failing network does: by a reset."""
        for session in self._replay.pump.sessions:
            if number is None or session.number == number:
                self._replay.pump.lose(session, reset=True)

    # ------------------------------------------------------------ the event loop

    async def _listen(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._hung_up = asyncio.Event()
        self._accepting = asyncio.ensure_future(self._accept())
        ready.set()
        await self._hung_up.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self._accepting, return_exceptions=True)

    def _stop_listening(self) -> None:
        self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()

    def _hang_up(self) -> None:
        self._hung_up.set()

    async def _accept(self) -> None:
        loop, listener = asyncio.get_running_loop(), self._listener
        assert listener is not None
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # out of files, or the client is gone already
                log.warning("a connection could not be taken: %s", error)
                await asyncio.sleep(0.05)
                continue
            if self._connected >= self._max_clients + _MORE_CONNECTIONS:
                sock.close()
                continue
            task = asyncio.ensure_future(self._serve(sock, f"{peer[0]}:{peer[1]}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        number = next(self._numbers)
        self._connected += 1
        full = f"{self._max_clients} clients are served already" if self._connected > self._max_clients else ""
        try:
            await Connection(self._replay, sock, peer, number).serve(
                self._keys(), handshake_s=self._handshake_s, full=full
            )
        except TimeoutError:
            log.warning("connection %d from %s did not start its session within %g s", number, peer, self._handshake_s)
        except (OSError, EOFError) as error:
            log.info("connection %d from %s is lost: %s", number, peer, str(error) or "closed")
        except Exception:
            log.exception("connection %d from %s failed", number, peer)
        finally:
            self._connected -= 1


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
