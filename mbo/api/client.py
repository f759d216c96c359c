"""A client of the API: books, stored records as Arrow, replay control, and books that follow the stream."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import httpx
import orjson

from mbo.api.asking import AGAIN, ARROW, Budget, again, base_of, error_of, growing, headers_for, once, plain, query_of
from mbo.api.following import FollowedBook, Following, ended
from mbo.api.frames import Format
from mbo.errors import LostError, ProtocolError

if TYPE_CHECKING:
    import pyarrow as pa
    from websockets.sync.connection import Connection

    from mbo.units import Time

_SILENCE_S = 60.0


class Client:
    """Asks an API at http(s)://host:port. The key comes from MBO_API_KEY unless it is given.

    What fails for a moment is tried again, if it may be sent twice: with growing pauses, up to `tries` times within `limit_s`
    seconds. Raises `RequestError` where the server cannot make sense of a question, `RefusedError` where the key is not good,
    `LostError` where there is no answer.

    >>> with mbo.api.Client("http://127.0.0.1:8000") as api:  # doctest: +SKIP
    ...     api.book("SIM1", depth=5)["bids"][0]["price"]
    64960000000
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout_s: float = 15.0, tries: int = 5, limit_s: float = 30.0
    ) -> None:
        self.url = base_of(url)
        self._headers = headers_for(key)
        self._budget = Budget(tries, limit_s)
        self._http = httpx.Client(base_url=self.url, headers=self._headers, timeout=timeout_s, trust_env=False)
        self._links: set[Connection] = set()  # of streams that are followed
        self._closing = threading.Event()

    def close(self) -> None:
        """Close the connections; a stream that is followed, in whatever thread, ends."""
        self._closing.set()
        for link in list(self._links):
            link.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    # ------------------------------------------------------------ questions

    def instruments(self) -> list[dict[str, Any]]:
        """List the instruments of the feed."""
        found: list[dict[str, Any]] = self._json("/v1/instruments")["instruments"]
        return found

    def stored(self) -> list[dict[str, Any]]:
        """List the stored files and sessions."""
        found: list[dict[str, Any]] = self._json("/v1/instruments")["stored"]
        return found

    def book(
        self,
        symbol: str | int,
        *,
        depth: int | None = None,
        orders: bool = False,
        digest: bool = False,
        at: Time | None = None,
        file: str | None = None,
    ) -> dict[str, Any]:
        """Give a book's document, whole numbers as such; see `/v1/books/{symbol}`."""
        asked = query_of(depth=depth, orders=orders or None, digest=digest or None, at=at, file=file)
        return self._json(f"/v1/books/{httpx.URL(path=str(symbol)).path}", asked)

    def order(
        self, symbol: str | int, order_id: int, *, at: Time | None = None, file: str | None = None
    ) -> dict[str, Any]:
        """Find a resting order, with the size ahead of it; `OrderError` where it does not rest."""
        return self._json(f"/v1/books/{symbol}/orders/{order_id}", query_of(at=at, file=file))

    def mbp(self, symbol: str | int, start: Time, end: Time, *, levels: int = 10, **options: Any) -> pa.Table:
        """Give MBP records as an Arrow table, all pages of them; polars takes it as it is. `options`: `px`, `file`, `limit`."""
        return self._table("/v1/mbp", query_of(symbol=symbol, start=start, end=end, levels=levels, **options))

    def trades(self, symbol: str | int, start: Time, end: Time, **options: Any) -> pa.Table:
        """Give trades as an Arrow table; see `mbp`."""
        return self._table("/v1/trades", query_of(symbol=symbol, start=start, end=end, **options))

    def bars(self, symbol: str | int, start: Time, end: Time, *, interval: str = "1m", **options: Any) -> pa.Table:
        """Give bars as an Arrow table; see `mbp`."""
        return self._table("/v1/bars", query_of(symbol=symbol, start=start, end=end, interval=interval, **options))

    def replay(self, action: str | None = None, **options: Any) -> dict[str, Any]:
        """Say how the replay stands; or do one of start, pause, seek (`to`), speed (`rate` or `speed`) and stop first."""
        if action is None:
            return self._json("/v1/replay")
        body = {"action": action, **{name: value for name, value in options.items() if value is not None}}
        return dict(orjson.loads(self._ask("POST", "/v1/replay", headers=once(), json=body).content))

    def ready(self) -> bool:
        """Say whether everything is as it should be; asks once."""
        return self._http.get("/readyz").status_code == httpx.codes.OK

    def _json(self, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        return dict(plain(orjson.loads(self._ask("GET", path, params=query).content)))

    def _table(self, path: str, query: dict[str, str]) -> pa.Table:
        import pyarrow as pa

        tables = []
        while True:
            answer = self._ask("GET", path, params=query, headers={"Accept": ARROW})
            with pa.ipc.open_stream(io.BytesIO(answer.content)) as reader:
                tables.append(reader.read_all())
            cursor = answer.headers.get("X-Next-Cursor")
            if cursor is None:
                return pa.concat_tables(tables).unify_dictionaries()
            query = {**query, "cursor": cursor}

    def _ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        """Send a request, as often as it takes and may be."""
        begun, tried, headers = time.monotonic(), 0, headers or {}
        while True:
            tried += 1
            answer: httpx.Response | None = None
            try:
                answer = self._http.request(method, path, headers=headers, **options)
            except httpx.TransportError as error:
                failure: Exception = LostError(f"{self.url}: {error}")
            else:
                if answer.is_success:
                    self._budget.earn()
                    return answer
                failure = error_of(answer.status_code, _document(answer), path)
            worth = again(method, headers) and (answer is None or answer.status_code in AGAIN)
            retry_after = None if answer is None else answer.headers.get("Retry-After")
            pause = self._budget.pause(tried, begun, retry_after) if worth else None
            if pause is None:
                raise failure
            time.sleep(pause)

    # ------------------------------------------------------------ the stream

    def stream(
        self,
        symbols: str | Iterable[str],
        *,
        depth: int | None = None,
        hz: float | None = None,
        form: Format = "binary",
        since: int | None = None,
        reconnect_s: float = 60.0,
    ) -> Iterator[FollowedBook]:
        """Follow books: gives the one that changed whenever one does, each kept and checked against the server's own.

        A lost connection is made again, for up to `reconnect_s` seconds without a message, and goes on where it was; meanwhile the
        books are stale. Raises as the other methods do.
        """
        following = Following(symbols, depth=depth, hz=hz, form=form, since=since)
        heard, tried = time.monotonic(), 0
        while not self._closing.is_set():
            try:
                for book in self._follow(following):
                    heard, tried = time.monotonic(), 0
                    yield book
            except (LostError, ProtocolError) as error:
                following.lost(forget=isinstance(error, ProtocolError))
                tried += 1
                if not self._closing.is_set() and time.monotonic() - heard > reconnect_s:
                    raise
            self._closing.wait(growing(max(1, tried)))

    def _follow(self, following: Following) -> Iterator[FollowedBook]:
        """Follow over one connection."""
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        try:
            with connect(
                "ws" + self.url.removeprefix("http") + following.path(), additional_headers=self._headers,
                compression=None, proxy=None, open_timeout=10, max_size=1 << 24,
            ) as link:  # fmt: skip
                self._links.add(link)
                try:
                    while not self._closing.is_set():
                        book = following.take(link.recv(timeout=_SILENCE_S))
                        if book is not None:
                            yield book
                finally:
                    self._links.discard(link)
        except InvalidStatus as error:
            raise refused(error.response.status_code, bytes(error.response.body or b"")) from None
        except ConnectionClosed as error:
            received = error.rcvd
            raise ended(received.code if received else None, received.reason if received else "") from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise LostError(f"{self.url}: {str(error) or 'no sign of life'}") from None


def refused(status: int, body: bytes) -> Exception:
    """Say why a handshake was refused."""
    try:
        detail = str(orjson.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = ""
    return ended(None, detail, status)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
