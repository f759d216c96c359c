"""A gateway as a program: it serves until a signal asks it to end, and then gives every client the rest of its event."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from mbo.live.gateway import Gateway


def serve_until_signal(gateway: Gateway) -> None:
    """Log to standard error, wait for SIGINT or SIGTERM, and close."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    while not asked.wait(1):
        pass
    gateway.close()
