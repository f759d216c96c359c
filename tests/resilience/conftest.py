"""Fault tests wait for nothing that need not be waited for, and leave no thread behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mbo.live import feed, link

_OURS = ("mbo-feed", "mbo-gateway", "mbo-gateway-pump", "proxy", "scripted")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(feed, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(feed, "_LOOK_S", 0.05)
    monkeypatch.setattr(link, "_PATIENCE_S", 0.05)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while left := [thread.name for thread in threading.enumerate() if thread.name in _OURS]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.01)
