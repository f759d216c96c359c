"""A source whose books are what a test applied last, and an application over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import numpy as np

from mbo.api.app import create_app
from mbo.api.server import Server
from mbo.api.source import Instrument, View, Want, view_of
from mbo.auth import Keys, new_key
from mbo.book import Books
from mbo.config import Settings
from mbo.errors import LostError, MboError
from mbo.live.status import FeedStatus
from mbo.records import MBO_DTYPE, RTYPE_MBO, Action, Flag, RecordArray, Side
from mbo.symbols import Mapping as SymbolMapping
from mbo.symbols import SymbolMap
from mbo.telemetry import Telemetry

NAMES = {"AAA": 7, "BBB": 8}
TICK = 10_000_000
NOON = 1_736_164_800_000_000_000
_Answer = TypeVar("_Answer")


class ScriptedSource:
    """See `mbo.api.source.Source`; `looks` has what every look was for."""

    def __init__(self) -> None:
        self.batches = 0
        self.stale = False
        self.trouble: str | None = None
        self.gone = False
        self.delay: Callable[[], None] = lambda: None
        self.looks: list[Mapping[str, Want]] = []
        self.renewed = 0
        self.books = Books(symbols=SymbolMap(SymbolMapping(name, number) for name, number in NAMES.items()))

    @property
    def status(self) -> FeedStatus:
        return FeedStatus(self.batches, 0, 1, not self.stale, self.stale, False, 0, None, 0, ())

    def apply(self, *records: RecordArray) -> None:
        self.books.apply(np.concatenate(records))
        self.batches += 1

    def look(self, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        self.looks.append(dict(wants))
        self.delay()
        if self.gone:
            raise LostError("there are no books")
        found: dict[str, View | MboError] = {}
        for symbol, want in wants.items():
            try:
                found[symbol] = view_of(self.books.book(symbol), want)
            except MboError as error:
                found[symbol] = error
        return found

    def instruments(self) -> list[Instrument]:
        return [
            Instrument(book.symbol, book.status.instrument_id, book.status) for book in list(self.books.values())
        ] or [Instrument(name, number, None) for name, number in NAMES.items()]

    def renew(self) -> None:
        self.renewed += 1


def add(
    order_id: int, side: str, price: int, size: int = 1, *, instrument: int = 7, action: str = "A", at: int = 0
) -> RecordArray:
    """A record that is an event of its own; the price is in ticks."""
    one = np.zeros(1, MBO_DTYPE)
    one["length"], one["rtype"], one["publisher_id"], one["instrument_id"] = 14, RTYPE_MBO, 1, instrument
    one["action"], one["side"], one["price"], one["size"] = ord(action), ord(side), price * TICK, size
    one["order_id"], one["flags"], one["ts_event"], one["ts_recv"] = order_id, int(Flag.LAST), NOON + at, NOON + at
    one["sequence"] = at
    return one


def quoted() -> ScriptedSource:
    """Five levels a side in AAA, and its clear before them; one order in BBB."""
    source = ScriptedSource()
    clear = add(0, "N", 0, 0, action="R")
    clear["action"] = Action.CLEAR
    orders = [add(100 + k, "B", 100 - k, k + 1, at=k) for k in range(5)]
    orders += [add(200 + k, "A", 101 + k, k + 1, at=k) for k in range(5)]
    source.apply(clear, *orders, add(1, "B", 50, instrument=8))
    return source


READ, READ_LINE = new_key("reader", "read")
CONTROL, CONTROL_LINE = new_key("boss", "control")


def keys() -> Keys:
    return Keys.parse(f"{READ_LINE}\n{CONTROL_LINE}")


def settings_of(**sections: Any) -> Settings:
    api = {"port": 0, "rate_per_s": 1e6} | sections.pop("api", {})
    return Settings(api=api, **sections)


@contextmanager
def application(
    source: Any, *, known: Keys | None = None, settings: Settings | None = None, **more: Any
) -> Iterator[Any]:
    settings = settings or settings_of()
    with Telemetry(settings, service="test") as telemetry:
        yield create_app(source, settings=settings, keys=known, telemetry=telemetry, **more)


def asked(app: Any, talk: Callable[[httpx.AsyncClient], Coroutine[Any, Any, _Answer]]) -> _Answer:
    """Talk to an application without a socket."""

    async def run() -> _Answer:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await talk(client)

    return asyncio.run(run())


def get(app: Any, path: str, **options: Any) -> httpx.Response:
    return asked(app, lambda client: client.get(path, **options))


@contextmanager
def serving(source: Any, **options: Any) -> Iterator[Server]:
    """The application behind a real server on loopback."""
    with application(source, **options) as app, Server(app) as server:
        yield server


def levels(source: ScriptedSource, symbol: str, side: Side, depth: int) -> bytes:
    return source.books.book(symbol).levels(side, depth).array.tobytes()
