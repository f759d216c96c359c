"""A thousand clients are served in slices: between them others have their turn, and who has left by then gets nothing."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from mbo.api import hub as hubs
from mbo.api.desk import Desk
from mbo.api.hub import Hub
from mbo.telemetry import Telemetry
from tests.api.scripted import quoted, settings_of

CLIENTS = 320
HZ = 1.0


class Follower:
    """A client that takes everything at once; see `mbo.api.hub.Follower`."""

    form = "binary"

    def __init__(self, told: Callable[[Follower], None]) -> None:
        self.places = []
        self.unread_since = self.pinged = 0.0
        self.answered = -math.inf
        self._told = told

    def unwritten(self) -> int:
        return 0

    def push(self, data: bytes) -> None:
        self._told(self)

    def drop(self, code: int, reason: str) -> None:
        raise AssertionError(reason)


def served(told: Callable[[Hub, Follower, int], None], *, hz: float = HZ) -> Counter[int]:
    """Serve one round to many clients; gives how many were served in each turn that another task had."""
    settings, turns = settings_of(), Counter()

    async def run() -> None:
        turn = 0

        def note(follower: Follower) -> None:
            turns[turn] += 1
            told(hub, follower, turns.total())

        for _ in range(CLIENTS):
            hub.join(Follower(note), ["AAA"], 3, hz, None)
        hub.start()
        async with asyncio.timeout(10):
            while turns.total() < hub.clients:
                turn += 1
                await asyncio.sleep(0)
        await hub.close()

    with Telemetry(settings, service="test") as telemetry:
        desk = Desk(quoted())
        hub = Hub(desk, settings, telemetry)
        asyncio.run(run())
        desk.close()
    return turns


def in_slices(turns: Counter[int], size: int) -> bool:
    return max(turns.values()) == size and len(turns) == math.ceil(CLIENTS / size)


def test_others_have_their_turn_between_two_slices():
    turns = served(lambda *_: None)
    assert turns.total() == CLIENTS
    assert in_slices(turns, hubs._SLICE)


def test_a_round_in_one_go_would_be_noticed(monkeypatch):
    monkeypatch.setattr(hubs, "_SLICE", 10**6)
    assert not in_slices(served(lambda *_: None), 50)


def test_the_pauses_never_take_more_than_half_of_a_period(monkeypatch):
    monkeypatch.setattr(hubs, "_PAUSE_S", 0.02)
    assert in_slices(served(lambda *_: None, hz=5.0), 64)  # 0.2 s: five pauses of 0.02 s at most


def test_who_leaves_between_two_slices_gets_nothing():
    seen, left = [], []

    def leave(hub: Hub, follower: Follower, count: int) -> None:
        seen.append(follower)
        if count == 1:
            (served,) = hub._rounds.values()
            left.extend(list(served.followers)[hubs._SLICE : -1])  # all of the later slices, but the very last
            for one in left:
                hub.leave(one, HZ)

    served(leave)
    assert len(seen) == CLIENTS - len(left) == hubs._SLICE + 1
    assert not set(seen) & set(left)
