"""The client for programs with an event loop: the same questions, and the stream as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Self

from mbo.api.asking import growing
from mbo.api.client import _SILENCE_S, Client, refused
from mbo.api.following import FollowedBook, Following, ended
from mbo.api.frames import Format
from mbo.errors import LostError, ProtocolError


class AsyncClient:
    """Does what `Client` does, from an event loop: every question of it, awaited, and its stream with `async for`.

    Questions are asked from a thread each; books of the stream are kept on the loop.
    """

    def __init__(self, url: str, *, key: str | None = None, **options: Any) -> None:
        self._client = Client(url, key=key, **options)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._client.url}>"

    async def ask(self, question: str, *values: Any, **options: Any) -> Any:
        """Ask one of `Client`'s questions by its name: `await api.ask("book", "SIM1", depth=5)`."""
        return await asyncio.to_thread(getattr(self._client, question), *values, **options)

    async def stream(
        self,
        symbols: str | Iterable[str],
        *,
        depth: int | None = None,
        hz: float | None = None,
        form: Format = "binary",
        since: int | None = None,
        reconnect_s: float = 60.0,
    ) -> AsyncIterator[FollowedBook]:
        """Follow books as `Client.stream` does."""
        following = Following(symbols, depth=depth, hz=hz, form=form, since=since)
        heard, tried = time.monotonic(), 0
        while True:
            try:
                async for book in self._follow(following):
                    heard, tried = time.monotonic(), 0
                    yield book
            except (LostError, ProtocolError) as error:
                following.lost(forget=isinstance(error, ProtocolError))
                tried += 1
                if time.monotonic() - heard > reconnect_s:
                    raise
            await asyncio.sleep(growing(max(1, tried)))

    async def _follow(self, following: Following) -> AsyncIterator[FollowedBook]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        client = self._client
        try:
            async with connect(
                "ws" + client.url.removeprefix("http") + following.path(), additional_headers=client._headers,
                compression=None, proxy=None, open_timeout=10, max_size=1 << 24, ping_interval=None,
            ) as link:  # fmt: skip
                while True:
                    async with asyncio.timeout(_SILENCE_S):
                        payload = await link.recv()
                    book = following.take(payload)
                    if book is not None:
                        yield book
        except InvalidStatus as error:
            raise refused(error.response.status_code, bytes(error.response.body or b"")) from None
        except ConnectionClosed as error:
            received = error.rcvd
            raise ended(received.code if received else None, received.reason if received else "") from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise LostError(f"{client.url}: {str(error) or 'no sign of life'}") from None
