"""What the clients have in common: which answers are asked for again and when, and what an answer means; without a socket."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from mbo.errors import LostError, MboError, OrderError, RefusedError, RequestError

AGAIN: Final = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_WHOLE: Final = frozenset(
    {"price", "order_id", "ts_event", "ts_recv", "book_ts_recv", "ts_min", "ts_max"}
)  # which the server writes as texts
ARROW: Final = "application/vnd.apache.arrow.stream"


def base_of(url: str) -> str:
    """Read http(s)://host:port; a key has no place in it."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or parts.query:
        raise RequestError("a key has no place in a url: set MBO_API_KEY")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RequestError("the url of an API is http://host:port or https://host")
    return url.rstrip("/")


def headers_for(key: str | None) -> dict[str, str]:
    """Show a key: the one that is given, else that of MBO_API_KEY."""
    key = key if key is not None else os.environ.get("MBO_API_KEY")
    return {} if not key else {"Authorization": f"Bearer {key}"}


def growing(tried: int) -> float:
    """Say how many seconds to wait after so many tries: longer and longer, and never the same."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(tried - 1, 10))
    return float(random.uniform(0.5, 1) * longest)  # noqa: S311 - so that many clients do not come at once


class Budget:
    """How often a client may try again: `tries` for one request, so many seconds in all, and no more than a tenth of its requests.

    That last bound, with ten to begin with, keeps many clients from burying a server that is in trouble.
    """

    def __init__(self, tries: int = 5, limit_s: float = 30.0) -> None:
        self.tries, self.limit_s = tries, limit_s
        self._left = 100  # tenths

    def earn(self) -> None:
        """Count a request that went well."""
        self._left = min(100, self._left + 1)

    def pause(self, tried: int, begun: float, retry_after: str | None) -> float | None:
        """Say how many seconds to wait before the next try, after so many since `begun` (monotonic); None where there is none."""
        wait = growing(tried)
        if retry_after is not None and retry_after.isdigit():
            wait += int(retry_after)
        if tried >= self.tries or self._left < 10 or time.monotonic() - begun + wait > self.limit_s:
            return None
        self._left -= 10
        return wait


def again(method: str, headers: Mapping[str, str]) -> bool:
    """Say whether a request may be sent twice."""
    return method == "GET" or "Idempotency-Key" in headers


def once() -> dict[str, str]:
    """Make a request one that may be sent twice, and is done once."""
    return {"Idempotency-Key": secrets.token_hex(16)}


def error_of(status: int, document: Mapping[str, Any], path: str) -> MboError:
    """Make the error that an answer is."""
    detail = str(document.get("detail") or f"the server answers {status}")
    if status in (401, 403):
        return RefusedError(detail)
    if status == 404 and "/orders/" in path:
        return OrderError(detail)
    if status in AGAIN or status >= 500:
        return LostError(detail)
    return RequestError(detail)


def plain(value: Any) -> Any:
    """Make whole numbers of the texts that stand for them: Python's have no limit."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {
            name: int(one) if name in _WHOLE and isinstance(one, str) else plain(one) for name, one in value.items()
        }
    return value


def query_of(**values: Any) -> dict[str, str]:
    """Leave out what is not given."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None
    }
