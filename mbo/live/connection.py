"""One client of a gateway, on the side of what is said: its key, its subscriptions, the start, and what it asks for later."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeVar

from mbo.errors import MboError, ProtocolError, RequestError
from mbo.live import protocol
from mbo.live.clock import Clock
from mbo.live.desk import Desk, Found
from mbo.live.handshake import ServerHandshake
from mbo.live.lines import LineReader
from mbo.live.messages import ErrorCode, SystemCode, Writer, session_metadata
from mbo.live.protocol import AuthRequest, AuthResponse, StartSession, Subscription
from mbo.live.pump import Pump
from mbo.live.session import Entrance, Session, Wanted, compressor
from mbo.live.source import Source

log: Final = logging.getLogger("mbo.gateway")

MAX_SESSION_SYMBOLS: Final = 10 * protocol.MAX_SYMBOLS
_DEFAULT_HEARTBEAT_S: Final = 30
_FAREWELL_S: Final = 30.0  # how long a client may take to close after us
_ANSWER_S: Final = 10.0  # how long the pump may take to answer
_PATIENCE_S: Final = 0.02

_Answer = TypeVar("_Answer")


class Replay(NamedTuple):
    """What all clients of a gateway share."""

    source: Source
    clock: Clock
    desk: Desk
    pump: Pump
    dbn_version: int


class Connection:
    """A conversation with one client, from its first line to its last."""

    def __init__(self, replay: Replay, sock: socket.socket, peer: str, number: int) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replay = replay
        self._sock = sock
        self._peer = peer
        self._number = number
        self._lines = LineReader()
        self._symbols = 0
        self._request: AuthRequest | None = None
        self._messages = Writer(replay.dbn_version, ts_out=False)
        self._session: Session | None = None
        self._over = asyncio.Event()  # the pump sends nothing any more
        self._loop = asyncio.get_running_loop()

    async def serve(self, keys: tuple[str, ...] | None, *, handshake_s: float, full: str = "") -> None:
        """Talk until the client or the data ends; `OSError`, `EOFError` or `TimeoutError` where the client is lost.

        `full` is why nobody else is let in, if that is so.
        """
        try:
            try:
                async with asyncio.timeout(handshake_s):
                    if not await self._authenticate(keys, full):
                        return
                    subscriptions = await self._until_start()
                await self._start(subscriptions)
            except (ProtocolError, RequestError) as error:  # also what cannot be said in this DBN version
                await self._refuse(error)
                return
            talking = asyncio.ensure_future(self._converse())
            ending = asyncio.ensure_future(self._over.wait())
            try:
                await asyncio.wait((talking, ending), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait((talking,), timeout=_FAREWELL_S)
            finally:
                talking.cancel()
                ending.cancel()
                await asyncio.gather(talking, ending, return_exceptions=True)
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        """Have the pump forget the session before the socket is closed under it."""
        try:
            if self._session is not None and not self._over.is_set():
                self._replay.pump.lose(self._session)
                async with asyncio.timeout(10):
                    await self._over.wait()
        finally:
            self._sock.close()

    # ------------------------------------------------------------ before the start

    async def _authenticate(self, keys: tuple[str, ...] | None, full: str) -> bool:
        """Let a client in, or tell it why not."""
        handshake = ServerHandshake(keys, self._number)
        await self._say(handshake.greeting())
        reply = handshake.receive(await self._line())
        mine, request = self._replay.source.dataset, handshake.request
        if request is not None and full:
            reply = AuthResponse(False, error=full).encode()
        elif request is not None and request.dataset not in (mine, protocol.ANY_DATASET):
            reply = AuthResponse(False, error=f"{mine} is replayed here, not {request.dataset}").encode()
        elif request is not None:
            self._request = request
            self._messages = Writer(self._replay.dbn_version, request.ts_out)
        await self._say(reply)
        if self._request is None:
            log.warning("connection %d from %s is refused", self._number, self._peer)
        return self._request is not None

    async def _refuse(self, error: MboError) -> None:
        """Say what is wrong before a session has started; once a client is let in, as a stream of nothing but that."""
        log.warning("connection %d from %s: %s", self._number, self._peer, error)
        if self._request is None:
            await self._say(AuthResponse(False, error=str(error).replace("|", "/")).encode())
            return
        words = self._metadata(time.time_ns()) + self._error(error)
        if self._request.compression == "zstd":
            packer = compressor()
            words = packer.compress(words) + packer.flush()
        await self._say(words)

    def _metadata(self, start: int) -> bytes:
        assert self._request is not None
        dataset = self._replay.source.dataset
        return session_metadata(dataset, start, ts_out=self._request.ts_out, version=self._replay.dbn_version)

    def _error(self, error: MboError) -> bytes:
        return self._messages.error(str(error), ErrorCode.INVALID_SUBSCRIPTION, time.time_ns())

    async def _until_start(self) -> list[Subscription]:
        found: list[Subscription] = []
        while not isinstance(request := protocol.parse_request(await self._line()), StartSession):
            found.append(self._subscription(request))
        return found

    def _subscription(self, request: object) -> Subscription:
        if not isinstance(request, Subscription):
            raise ProtocolError("a client is authenticated once, and before it subscribes")
        self._symbols += len(request.symbols)
        if self._symbols > MAX_SESSION_SYMBOLS:
            raise ProtocolError(f"more than {MAX_SESSION_SYMBOLS:,} symbols in one session")
        return request

    async def _line(self) -> str:
        line = self._lines.line()
        while line is None:
            data = await self._loop.sock_recv(self._sock, 1 << 16)
            if not data:
                raise EOFError
            line = self._lines.line(data)
        return line

    async def _say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    # ------------------------------------------------------------ the start

    async def _start(self, subscriptions: list[Subscription]) -> None:
        """Answer the subscriptions and hand the session to the pump."""
        request, clock, pump = self._request, self._replay.clock, self._replay.pump
        assert request is not None
        session = Session(
            self._number, self._sock, self._replay.source, self._messages,
            ts_out=request.ts_out, compressed=request.compression == "zstd",
            heartbeat_s=request.heartbeat_interval_s or _DEFAULT_HEARTBEAT_S,
            skips=request.slow_reader_behavior == "skip",
        )  # fmt: skip
        found = [self._replay.desk.find(one) for one in subscriptions]
        places = [None if one.start is None else self._replay.source.place_of(one.start) for one in subscriptions]
        now = time.monotonic_ns()
        end = self._replay.source.end  # a start behind it would be the end for everybody
        clock.start(now, min((place for place in places if place is not None and place != end), default=None))
        join = clock.join(now)
        session.say(self._metadata(min((one.start for one in subscriptions if one.start), default=time.time_ns())))
        entrances, restored = [Entrance(join, Wanted())], Wanted()
        for one, instruments, place in zip(subscriptions, found, places, strict=True):
            self._answer(session, one, instruments)
            entrances += self._entrances(one, instruments, join, place)
            if one.snapshot:
                restored |= instruments.wanted
        entrances.append(Entrance(join, Wanted(), await self._snapshot(restored, join)))
        self._session = session
        pump.admit(session, entrances, lambda: self._loop.call_soon_threadsafe(self._over.set))

    def _entrances(self, one: Subscription, found: Found, join: int, place: int | None) -> list[Entrance]:
        """Say from which record on the session gets what is subscribed to; what overlaps another is sent once."""
        if place is None:
            return [Entrance(join, found.wanted)]
        caught_up = self._messages.system(f"Finished {one.schema} replay", SystemCode.REPLAY_COMPLETED, time.time_ns())
        return [Entrance(place, found.wanted), Entrance(max(place, join), Wanted(), caught_up)]

    async def _snapshot(self, wanted: Wanted, number: int) -> bytes:
        if not wanted:
            return b""
        return await asyncio.to_thread(self._replay.desk.snapshots, number, wanted, ts_out=self._messages.ts_out)

    def _answer(self, session: Session, one: Subscription, found: Found) -> None:
        """Acknowledge a subscription, say which of its symbols there are none of, and what the others stand for."""
        now = time.time_ns()
        for symbol in found.unknown:
            text = f"No instrument found for {one.stype_in} symbol {symbol}"
            session.say(self._messages.error(text, ErrorCode.SYMBOL_RESOLUTION_FAILED, now))
        if one.is_last:
            text = f"Subscription request {one.id} for {one.schema} data succeeded"
            session.say(self._messages.system(text, SystemCode.SUBSCRIPTION_ACK, now))
        session.say(found.mappings(self._messages, one.stype_in, now))

    # ------------------------------------------------------------ later

    async def _converse(self) -> None:
        """Take what the client says while it streams; what is wrong ends the session with the reason."""
        try:
            while True:
                request = protocol.parse_request(await self._line())
                if isinstance(request, StartSession):
                    raise ProtocolError("the session has started already")
                await self._add(self._subscription(request))
        except (EOFError, OSError):
            return
        except (ProtocolError, RequestError) as error:
            log.warning("connection %d from %s: %s", self._number, self._peer, error)
            session, words = self._session, self._error(error)
            assert session is not None
            self._replay.pump.tell(lambda: session.end(words))
            await self._over.wait()

    async def _add(self, one: Subscription) -> None:
        """Add a subscription where the session stands, which is held there while a snapshot is made."""
        if one.start is not None:
            raise ProtocolError("a subscription after the start cannot have a start of its own")
        session, found = self._session, self._replay.desk.find(one)
        assert session is not None
        while not self._over.is_set() and await self._ask(lambda: session.owes):  # nobody may ask faster than he reads
            await asyncio.sleep(_PATIENCE_S)

        def hold() -> int:
            session.held = True
            return session.cursor

        def go_on(number: int, first: bytes) -> bool:
            if session.cursor != number:  # it was moved while the snapshot was made
                return False
            session.held = False
            self._answer(session, one, found)
            session.enter([Entrance(number, found.wanted, first)])
            return True

        wanted = found.wanted if one.snapshot else Wanted()
        try:
            number = await self._ask(hold)
            while not await self._ask(partial(go_on, number, await self._snapshot(wanted, number))):
                number = await self._ask(hold)
        finally:
            self._replay.pump.tell(lambda: setattr(session, "held", False))

    async def _ask(self, command: Callable[[], _Answer]) -> _Answer:
        return await asyncio.wait_for(asyncio.wrap_future(self._replay.pump.ask(command)), _ANSWER_S)
