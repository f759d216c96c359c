"""What the routes share: the books, the store, the limits; and the threads in which the store is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mbo.api.problems import ProblemError

if TYPE_CHECKING:
    from fastapi import Request

    from mbo.api.desk import Desk
    from mbo.api.hub import Hub
    from mbo.api.replaying import Replay
    from mbo.api.source import Source
    from mbo.auth import Keys
    from mbo.config import Settings
    from mbo.recorder import RecorderStatus
    from mbo.store import Store
    from mbo.telemetry import Telemetry

STORE_THREADS: Final = 2
_MOST_WAITING: Final = 32
_Answer = TypeVar("_Answer")


class StoreThreads:
    """Asks a store from a few threads, and refuses when too many wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(STORE_THREADS, "mbo-store")
        self.waiting = 0
        """How many questions wait or are being answered."""

    async def ask(self, question: Callable[[Store], _Answer]) -> _Answer:
        """Ask; a problem where too many wait already. Whoever gives up waiting leaves the question to its end."""
        if self.waiting >= _MOST_WAITING:
            raise ProblemError(503, "too many questions wait for the store", headers={"Retry-After": "1"})
        self.waiting += 1
        answer = asyncio.get_running_loop().run_in_executor(self._threads, question, self._store)
        answer.add_done_callback(self._answered)
        return await asyncio.shield(answer)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        self.waiting -= 1
        if not answer.cancelled():
            answer.exception()  # seen, whether or not somebody still waits for it

    def close(self) -> None:
        """Answer what has begun, and no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True)
class State:
    """What the application has."""

    source: Source
    desk: Desk
    hub: Hub
    settings: Settings
    keys: Keys | None
    telemetry: Telemetry
    store: StoreThreads | None
    replay: Replay | None
    recorded: Callable[[], RecorderStatus | None] | None


def state_of(request: Request) -> State:
    """Find it from within a route."""
    state: State = request.app.state.mbo
    return state
