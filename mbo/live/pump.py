"""The thread that sends: it gives every client of a gateway what is due, in blocks, and waits for none of them."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from mbo.errors import LostError
from mbo.live.clock import Clock
from mbo.live.session import Blocks, Entrance, Session, Step
from mbo.live.source import Source
from mbo.units import NS_PER_S

log: Final = logging.getLogger("mbo.gateway")

_TICK_NS: Final = 100_000  # records that are due within it leave together
_LONGEST_NS: Final = 50_000_000
_LATE_NS: Final = 60_000  # by which the system wakes a sleeper too late, as Linux does by default
_POLL_NS: Final = 1_000_000  # what `poll` counts in: a shorter wait is slept
_RETRY_NS: Final = 1_000_000  # before a client that took nothing is tried again
_RESET: Final = struct.pack("ii", 1, 0)  # close without a word: what is on its way is thrown away

_Answer = TypeVar("_Answer")


class Pump:
    """Sends the records of `source` to the sessions that were admitted, when `clock` says that they are due.

    It alone touches them: everybody else sends it commands, which it runs between two blocks.
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._sessions: dict[int, tuple[Session, Callable[[], object]]] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._wakers: tuple[socket.socket, ...] = ()  # what is sent to the second comes out of the first
        self._stopping = threading.Event()
        self._sent_before = 0  # to clients that have left
        self._thread = threading.Thread(target=self._run, name="mbo-gateway-pump", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._wakers = socket.socketpair()
        for one in self._wakers:
            one.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """Let go of every client and end."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(5)
        for one in self._wakers:
            one.close()

    @property
    def sessions(self) -> list[Session]:
        """The clients that stream, to look at."""
        return [session for session, _ in list(self._sessions.values())]

    @property
    def sent(self) -> int:
        """How many records were sent, to all clients there were."""
        return self._sent_before + sum(session.records for session in self.sessions)

    # ------------------------------------------------------------ commands

    def tell(self, command: Callable[[], None]) -> None:
        """Run a command between two blocks, soon."""
        self._commands.append(command)
        self.wake()

    def ask(self, command: Callable[[], _Answer], limit_s: float = 10.0) -> Future[_Answer]:
        """Run a command between two blocks, and give what it returns."""
        answer: Future[_Answer] = Future()

        def run() -> None:
            try:
                answer.set_result(command())
            except Exception as error:  # noqa: BLE001 - it belongs to the one who asked
                answer.set_exception(error)

        if self._thread.ident is None:  # not started yet: nobody else touches anything
            run()
        elif self._stopping.is_set():
            answer.set_exception(LostError("the gateway has been closed"))
        else:
            self.tell(run)
        return answer

    def admit(self, session: Session, entrances: list[Entrance], over: Callable[[], object]) -> None:
        """Begin to stream to a client; `over` is called when it has ended, and nothing is sent any more."""

        def admit() -> None:
            session.enter(entrances)
            self._sessions[session.number] = session, over

        self.tell(admit)

    def lose(self, session: Session, *, reset: bool = False) -> None:
        """Let go of a client: by an end, or as a failing network does."""
        self.tell(lambda: self._lose(session, reset=reset))

    def end(self) -> None:
        """Give every client the rest of its event, and then an end; a command, like all that touch sessions."""
        for session in self.sessions:
            session.end()

    def wake(self) -> None:
        """Look again at what is due."""
        with contextlib.suppress(OSError):
            for waker in self._wakers[1:]:
                waker.send(b"\0")

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        blocks = Blocks(self._source)
        try:
            while not self._stopping.is_set():
                while self._commands:
                    self._commands.popleft()()
                now = time.monotonic_ns()
                head = self._clock.present(now)
                more, blocked = self._round(blocks, head, now)
                blocks.made.clear()
                if not more:
                    self._rest(head, blocked, time.monotonic_ns() - now)
        except Exception:
            log.exception("sending failed: all clients are cut off")
        finally:
            self._stopping.set()
            for session in self.sessions:
                self._lose(session)

    def _round(self, blocks: Blocks, head: int, now: int) -> tuple[bool, list[socket.socket]]:
        """Give every client its turn; says whether one would take more at once, and which take nothing at the moment."""
        more, blocked, paced = False, [], self._clock.paced
        for session in self.sessions:
            step = session.step(blocks, head, now, paced=paced)
            if step is Step.ENDED or step is Step.GONE:
                self._lose(session)
            elif step is Step.BLOCKED:
                blocked.append(session.sock)
            more |= step is Step.MORE
        return more, blocked

    def _rest(self, head: int, blocked: list[socket.socket], spent: int) -> None:
        """Wait until something is due, a client takes more, or a command comes.

        Paced, no shorter than the round took (`spent`, ns): the more clients there are, the more records leave together.
        """
        now = time.monotonic_ns()
        wait = _LONGEST_NS
        if self._clock.paced:
            wait = min(max(self._clock.due(head) - now, _TICK_NS, spent), _RETRY_NS if blocked else _LONGEST_NS)
            blocked = []
        if wait < _POLL_NS:
            time.sleep(max(0, wait - _LATE_NS) / NS_PER_S)
            return
        waiting = select.poll()
        waiting.register(self._wakers[0], select.POLLIN)
        for one in blocked:
            waiting.register(one, select.POLLOUT)
        waiting.poll(wait / _POLL_NS)
        with contextlib.suppress(BlockingIOError):
            self._wakers[0].recv(4096)

    def _lose(self, session: Session, *, reset: bool = False) -> None:
        _, over = self._sessions.pop(session.number, (None, None))
        if over is None:
            return
        self._sent_before += session.records
        with contextlib.suppress(OSError):
            if reset:
                session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                session.sock.shutdown(socket.SHUT_RD)  # ends the conversation, and with it closes the socket
            else:
                session.sock.shutdown(socket.SHUT_WR)
        log.info("session %d ends: %d records sent, %d left out", session.number, session.records, session.skipped)
        over()
