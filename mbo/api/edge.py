"""What every request passes: who asks, how often, how much and how long; and how every answer says what went wrong.

It stands around the application as plain ASGI, for it is passed thousands of times a second.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mbo.api.problems import ProblemError, problem_of
from mbo.auth import Key, Keys, Role, bearer
from mbo.telemetry import correlated, new_id

if TYPE_CHECKING:
    from mbo.config import Settings
    from mbo.telemetry import Telemetry

log: Final = logging.getLogger("mbo.api")

OPEN: Final = frozenset({"/healthz", "/readyz", "/version", "/docs", "/docs/app.js", "/docs/app.css", "/openapi.json"})
"""What is answered without a key."""
_UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MOST_CALLERS: Final = 10_000
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class Buckets:
    """Lets everybody ask so often a second, and as often at once as is allowed in a second; remembers the last callers only."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take one; gives 0, or how many seconds to wait before the next can be had."""
        now = time.monotonic()
        left, since = self._left.pop(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_s)
        taken = left >= 1
        self._left[caller] = (left - taken, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_s


def admit(keys: Keys | None, authorization: str | None, needed: Role) -> Key | None:
    """Say whose key was shown, None where none is needed; a problem where it is not known or not good for that."""
    if keys is None:
        return None
    key = keys.identify(bearer(authorization))
    if key is None:
        what = "a key is needed: Authorization: Bearer KEY" if authorization is None else "this key is not known"
        raise ProblemError(401, what, headers={"WWW-Authenticate": "Bearer"})
    if not key.role.allows(needed):
        raise ProblemError(403, f"the key of {key.name} is good for {key.role}, and this needs {needed}")
    return key


class Edge:
    """The application behind it is asked only what is allowed, and every answer has a request id."""

    def __init__(self, app: ASGIApp, *, settings: Settings, keys: Keys | None, telemetry: Telemetry) -> None:
        self._app = app
        self._api = settings.api
        self._keys = keys
        self._telemetry = telemetry
        self._buckets = Buckets(settings.api.rate_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(send, request_id)
        begun = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        try:
            with correlated(request_id=request_id):
                await self._serve(scope, receive, exchange, headers)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._telemetry.metrics.request(method, route, exchange.status or 500, time.perf_counter() - begun)

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange, headers: dict[bytes, bytes]) -> None:
        path = scope["path"]
        try:
            self._allow(scope, headers)
            limited = exchange.limited = _Limited(receive, self._api.max_message_bytes)
            limited.check(headers.get(b"content-length"))
            traceparent = headers.get(b"traceparent", b"").decode("latin-1") or None
            with self._telemetry.request_span(scope["method"], _pattern(path), traceparent=traceparent):
                async with asyncio.timeout(self._api.deadline_s) as deadline:
                    await self._app(scope, limited, exchange.send)
            if limited.exceeded:
                raise limited.refusal()
        except TimeoutError as error:
            late = deadline.expired()
            detail = (
                f"there was no answer within {self._api.deadline_s:g} s" if late else str(error) or "it took too long"
            )
            await exchange.end(scope, receive, ProblemError(504 if late else 503, detail, headers={"Retry-After": "1"}))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                log.exception("%s %s failed", scope["method"], path)
                problem = ProblemError(500, "something went wrong here, and has been noted")
            await exchange.end(scope, receive, problem)

    def _allow(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        path, method = scope["path"], scope["method"]
        key = None
        caller = (scope.get("client") or ("",))[0]
        try:
            if path not in OPEN:
                shown = headers.get(b"authorization")
                needed = Role.READ if method in _SAFE else Role.CONTROL
                key = admit(self._keys, None if shown is None else shown.decode("latin-1"), needed)
        finally:  # who guesses keys is slowed down as well
            if path not in _UNLIMITED:
                name = caller if key is None else key.name
                wait = self._buckets.wait_s(name)
                if wait:
                    raise ProblemError(
                        429,
                        f"more than {self._api.rate_per_s:g} requests a second",
                        headers={"Retry-After": str(int(wait) + 1)},
                    )
        scope["state"]["caller"] = "" if key is None else key.name


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _pattern(path: str) -> str:
    """Name the route of a path before it is looked for: without what stands for one symbol or order."""
    return re.sub(r"(?<=^/v1/books/)[^/]+", "{symbol}", re.sub(r"(?<=/orders/)[^/]+", "{order_id}", path))[:64]


class _Exchange:
    """The answer on its way: whether it has begun, and with which status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.limited: _Limited | None = None
        self.status = 0

    async def send(self, message: Message) -> None:
        if self.limited is not None and self.limited.exceeded:
            return  # whatever the application makes of half a body is not the answer
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive, problem: ProblemError) -> None:
        """Answer with a problem, if nothing was said yet; else nothing can be done but to break off."""
        if self.status:
            raise ConnectionAbortedError(f"the answer to {scope['path']} was broken off: {problem.detail}")
        self.limited = None
        await problem.response(scope["path"], self._request_id)(scope, receive, self.send)


class _Limited:
    """The request's body, as long as it is not too long."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._read = 0
        self.exceeded = False

    def check(self, length: bytes | None) -> None:
        """Refuse a body that says itself that it is too long."""
        if length is not None and (not length.isdigit() or int(length) > self._most):
            raise self.refusal()

    async def __call__(self) -> Any:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            self.exceeded = True
            raise self.refusal()
        return message

    def refusal(self) -> ProblemError:
        """Say that it is too long."""
        return ProblemError(413, f"a request may have no more than {self._most:,} bytes")
