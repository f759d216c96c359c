"""How the server is: alive, ready, which version, its figures; and the description of it all."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

import mbo
from mbo.api.description import PAGE, SCRIPT, STYLE, problems
from mbo.api.documents import feed_document
from mbo.api.problems import ProblemError
from mbo.api.state import State, state_of
from mbo.errors import MboError

router = APIRouter(tags=["server"])

_STORE_S: Final = 5.0
_LEAST_FREE_BYTES: Final = 64 << 20
_LOCAL: Final = {"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"}


class Health(BaseModel):
    """Alive."""

    status: str


class Version(BaseModel):
    """Which version runs."""

    version: str


class Readiness(BaseModel):
    """Whether everything is as it should be; `checks` has "ok", or what is wrong, of each part."""

    ready: bool
    checks: dict[str, str]
    feed: dict[str, int | bool] | None


@router.get("/healthz", response_model=Health, responses=problems(429))
async def healthz() -> Response:
    """Say that the server is alive; it may be that it has nothing to serve."""
    return JSONResponse({"status": "ok"})


@router.get("/version", response_model=Version, responses=problems(429))
async def version() -> Response:
    """Say which version runs."""
    return JSONResponse({"version": mbo.__version__})


@router.get("/readyz", response_model=Readiness, responses=problems(429, 503))
async def readyz(request: Request) -> Response:
    """Check that the feed is connected and fresh, and that the store takes what is recorded: 503 says what is wrong."""
    state = state_of(request)
    checks = {"feed": _feed(state), "store": await _store(state), "recorder": _recorder(state)}
    found = {
        "ready": set(checks.values()) <= {"ok", "none"},
        "checks": checks,
        "feed": feed_document(state.source.status),
    }
    if found["ready"]:
        return JSONResponse(found)
    wrong = "; ".join(f"{name}: {text}" for name, text in checks.items() if text not in ("ok", "none"))
    raise ProblemError(503, wrong, headers={"Retry-After": "1"}, more=found)


def _feed(state: State) -> str:
    return state.source.trouble or "ok"


def _recorder(state: State) -> str:
    if state.recorded is None:
        return "none"
    status = state.recorded()
    if status is None:
        return "not recording"
    return status.trouble or "ok"


async def _store(state: State) -> str:
    if state.store is None:
        return "none"

    def check(store: Any) -> str:
        parts = urlsplit(store.url)
        if parts.scheme == "chdb":
            folder = Path(parts.path)
            if not os.access(folder, os.W_OK):
                return "its folder cannot be written"
            room = os.statvfs(folder)
            if room.f_bavail * room.f_frsize < _LEAST_FREE_BYTES:
                return "no room on its disk"
        store.query("SELECT 1")
        return "ok"

    begun = time.monotonic()
    try:
        async with asyncio.timeout(_STORE_S):
            return await state.store.ask(check)
    except TimeoutError:
        return f"no answer within {time.monotonic() - begun:.0f} s"
    except (MboError, OSError, ProblemError) as error:
        return str(error)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"application/openmetrics-text": {}}}, **problems(401, 403, 404, 503, 504)},
)
async def metrics(request: Request) -> Response:
    """Give the figures in Prometheus' text format."""
    state = state_of(request)
    if not state.settings.telemetry.metrics:
        raise ProblemError(404, "figures are switched off here")
    read = state.telemetry.metrics.exposition
    body, media = await asyncio.get_running_loop().run_in_executor(None, read, request.headers.get("accept"))
    return Response(body, media_type=media)


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Show the description to people."""
    return HTMLResponse(PAGE, headers=_LOCAL)


@router.get("/docs/app.js", include_in_schema=False)
async def script() -> Response:
    """Give the page's script."""
    return Response(SCRIPT, media_type="text/javascript")


@router.get("/docs/app.css", include_in_schema=False)
async def style() -> Response:
    """Give the page's style."""
    return Response(STYLE, media_type="text/css")
