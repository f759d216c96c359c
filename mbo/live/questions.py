"""What other threads ask of the books, answered by the one thread that may touch them."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mbo.book import Books

_Answer = TypeVar("_Answer")


class Questions:
    """A queue of functions of the books, and a socket by which their coming is seen among others."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[Books], Any], Future[Any]]] = deque()
        self.bell, self._button = socket.socketpair()
        """`bell` can be read from once somebody has asked or called `wake`."""
        for one in (self.bell, self._button):
            one.setblocking(False)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, question: Callable[[Books], _Answer]) -> Future[_Answer]:
        """Ask; the future has what the question returns, or raises."""
        answer: Future[_Answer] = Future()
        self._waiting.append((question, answer))
        self.wake()
        return answer

    def answer(self, books: Books) -> None:
        """Answer all that was asked."""
        while self._waiting:
            question, answer = self._waiting.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(question(books))
            except Exception as error:  # noqa: BLE001 - it belongs to the one who asked
                answer.set_exception(error)

    def wake(self) -> None:
        """Ring the bell."""
        with contextlib.suppress(OSError):
            self._button.send(b"\0")

    def heard(self) -> None:
        """Silence the bell."""
        with contextlib.suppress(OSError):
            self.bell.recv(4096)

    def close(self) -> None:
        """Ring no more."""
        self._button.close()
        self.bell.close()
