"""What went wrong with a request, as a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

from mbo.errors import InternalError, MboError, OrderError, PeerError, RequestError, SymbolError, TimeError

MEDIA_TYPE: Final = "application/problem+json"


class ProblemError(Exception):
    """Ends a request with a problem document; `more` are members of its own."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def body(self, instance: str, request_id: str) -> bytes:
        """Write the document; `instance` is the path that was asked for."""
        known = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return orjson.dumps({**known, "instance": instance, "request_id": request_id, **self.more})

    def message(self, instance: str, request_id: str) -> bytes:
        """Write the whole answer, for a connection that ends with it."""
        body = self.body(instance, request_id)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "X-Request-Id": request_id}
        lines = [f"{name}: {value}" for name, value in (headers | self.headers | {"Connection": "close"}).items()]
        return "\r\n".join([f"HTTP/1.1 {self.status} {self.title}", *lines, "", ""]).encode() + body

    def response(self, instance: str, request_id: str) -> Response:
        """Make the answer."""
        return Response(self.body(instance, request_id), self.status, self.headers, MEDIA_TYPE)


def problem_of(error: BaseException) -> ProblemError | None:
    """Say what an error of the package's means to who asked; None where it is our fault."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, SymbolError | OrderError | TimeError):
        return ProblemError(404, str(error))
    if isinstance(error, RequestError):
        return ProblemError(422, str(error))
    if isinstance(error, PeerError | TimeoutError | OSError):
        return ProblemError(
            503, str(error) or "what is asked for is not to be had just now", headers={"Retry-After": "1"}
        )
    if isinstance(error, InternalError) or not isinstance(error, MboError):
        return None
    return ProblemError(500, str(error))
