"""What the dashboard shows, by the environment; one for all pages of the process."""

from __future__ import annotations

import functools
import os
import sys

import mbo
from mbo.errors import RequestError
from mbo.view import Broadcast, Live, Program, Recorded, Remote

SWITCH_S = 0.0005
"""After which a thread that wants to go on may: by default it is longer than a record should wait for its book."""
VARIABLES = ("MBO_FEED", "MBO_API", "MBO_STORE", "MBO_FILE")


def program() -> Program:
    """Give what all pages show; a stream that was given up is connected to anew."""
    if opened().failed:
        opened().close()
        opened.cache_clear()
    return opened()


@functools.cache
def opened() -> Program:
    """Open what MBO_FEED (tcp://host:port), MBO_API (http://host:port), MBO_STORE (a URL) or MBO_FILE (a path) names.

    With none of them, the bundled session. MBO_SYMBOLS says which books of a feed or an API; of an API only the levels are shown.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are set: the dashboard shows one of them")
    if "MBO_FEED" in given:
        sys.setswitchinterval(SWITCH_S)
        symbols = (os.environ.get("MBO_SYMBOLS") or "ALL_SYMBOLS").split(",")
        return Broadcast(Live(given["MBO_FEED"], symbols).start())
    if "MBO_API" in given:
        from mbo.api import Client

        symbols = [symbol for symbol in (os.environ.get("MBO_SYMBOLS") or "").split(",") if symbol]
        return Broadcast(Remote(Client(given["MBO_API"]), symbols).start())
    if "MBO_STORE" in given:
        return Recorded.stored(mbo.Store(given["MBO_STORE"]), given["MBO_STORE"])
    if "MBO_FILE" in given:
        return Recorded.of(mbo.read_dbn(given["MBO_FILE"]))
    return Recorded.of(mbo.read_dbn(mbo.SIMULATED), simulated=True)
