"""Looks at books for all who ask at the same time, with one question, and keeps what was seen for a sixtieth of a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mbo.api.documents import book_json
from mbo.api.source import Source, View, Want
from mbo.errors import LostError, MboError

FRESH_S: Final = 1 / 60
"""How old a book may be that is served, when a newer one could be had."""
_MOST_KEPT: Final = 4096
_MOST_WRITTEN: Final = 1024  # documents, of up to 100 KB each


class Desk:
    """Reads books of a source from an event loop; `close` when nobody asks any more."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._seen: dict[str, tuple[View, Want, int, float]] = {}  # with what was wanted, at which batch, when
        self._written: dict[tuple[str, int | None], tuple[View, bool, bytes]] = {}
        self._waiting: dict[str, Want] = {}
        self._turn: asyncio.Future[dict[str, View | MboError]] | None = None
        self._asker = ThreadPoolExecutor(1, "mbo-asker")

    def close(self) -> None:
        """Ask no more."""
        self._asker.shutdown(wait=False, cancel_futures=True)

    def seen(self, symbol: str, depth: int | None) -> View | None:
        """Give what is known already, if that is as good as new."""
        found = self._seen.get(symbol)
        if found is None:
            return None
        view, want, batches, when = found
        enough = want.depth is None or (depth is not None and depth <= want.depth)
        if enough and (batches == self.source.batches or time.monotonic() - when < FRESH_S):
            return view.first(depth)
        return None

    async def view(self, symbol: str, depth: int | None) -> View:
        """Give the levels of a book; raises what the source says of the symbol, `LostError` where it does not answer."""
        known = self.seen(symbol, depth)
        if known is not None:
            return known
        waiting = self._waiting.get(symbol)
        deeper = (
            depth
            if waiting is None or (waiting.depth is not None and (depth is None or depth > waiting.depth))
            else waiting.depth
        )
        self._waiting[symbol] = Want(deeper)
        found = (await self._next_turn())[symbol]
        if isinstance(found, MboError):
            raise found
        return found.first(depth)

    async def _next_turn(self) -> dict[str, View | MboError]:
        """Wait for the question that takes along all who wait now."""
        if self._turn is None:
            self._turn = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._turn)

    async def _ask(self) -> dict[str, View | MboError]:
        await asyncio.sleep(0)  # whoever is ready now comes along
        wants, self._waiting, self._turn = self._waiting, {}, None
        return await self.look(wants)

    async def look(self, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        """Look at books, all at the same instant, and remember their levels."""
        batches, when = self.source.batches, time.monotonic()
        found = await asyncio.get_running_loop().run_in_executor(self._asker, self._look, wants)
        if len(self._seen) > _MOST_KEPT:
            self._seen.clear()
            self._written.clear()
        for symbol, view in found.items():
            if isinstance(view, View):
                self._seen[symbol] = (view, wants[symbol], batches, when)
        return found

    def _look(self, wants: Mapping[str, Want]) -> dict[str, View | MboError]:
        try:
            return self.source.look(wants)
        except TimeoutError:
            raise LostError("the feed does not answer") from None

    async def special(self, symbol: str, want: Want) -> View:
        """Look at one book for one who wants more of it than levels."""
        found = (await asyncio.get_running_loop().run_in_executor(self._asker, self._look, {symbol: want}))[symbol]
        if isinstance(found, MboError):
            raise found
        return found

    def json(self, view: View, depth: int | None) -> bytes:
        """Write a book's document, once for each look."""
        key, stale = (view.symbol, depth), self.source.stale
        found = self._written.get(key)
        if len(self._written) > _MOST_WRITTEN:
            self._written.clear()
        if found is None or found[0].read_ns != view.read_ns or found[1] != stale:
            found = self._written[key] = (view, stale, book_json(view, stale=stale))
        return found[2]
