"""The application: routes, and around them what every request passes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from mbo.api import book_routes, health_routes, replay_routes, store_routes
from mbo.api.description import describe, refusal
from mbo.api.desk import Desk
from mbo.api.edge import Edge
from mbo.api.hub import Hub
from mbo.api.problems import ProblemError, problem_of
from mbo.api.replay_routes import Remembered
from mbo.api.state import State, StoreThreads
from mbo.errors import MboError

if TYPE_CHECKING:
    from mbo.api.replaying import Replay
    from mbo.api.source import Source
    from mbo.auth import Keys
    from mbo.config import Settings
    from mbo.recorder import RecorderStatus
    from mbo.store import Store
    from mbo.telemetry import Telemetry

log: Final = logging.getLogger("mbo.api")


def create_app(
    source: Source,
    *,
    settings: Settings,
    keys: Keys | None,
    telemetry: Telemetry,
    store: Store | None = None,
    replay: Replay | None = None,
    recorded: Callable[[], RecorderStatus | None] | None = None,
) -> FastAPI:
    """Make the application over books, and a store where there is one; `keys` are who is let in, None is everybody.

    It closes none of what it is given. Its stream of books is no ASGI route: serve it with `mbo.api.server.Server`.
    """
    desk = Desk(source)
    hub = Hub(desk, settings, telemetry)
    asked = None if store is None else StoreThreads(store)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        try:
            yield
        finally:
            await hub.close()
            desk.close()
            if asked is not None:
                asked.close()

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.mbo = State(source, desk, hub, settings, keys, telemetry, asked, replay, recorded)
    app.state.remembered = Remembered()
    app.state.hub = hub
    for routes in (health_routes, book_routes, store_routes, replay_routes):
        app.include_router(routes.router)
    app.openapi = lambda: describe(app, keys=keys is not None)  # type: ignore[method-assign]
    for kind, handler in _HANDLERS:
        app.add_exception_handler(kind, handler)
    app.add_middleware(Edge, settings=settings, keys=keys, telemetry=telemetry)
    if settings.api.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.api.cors_origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "X-Next-Cursor", "Retry-After"],
        )  # fmt: skip
    telemetry.metrics.watch_clients(hub.figures)
    if asked is not None:
        telemetry.metrics.watch_queue("store", lambda: asked.waiting)
    return app


def _problem(request: Request, error: Exception) -> Response:
    known = problem_of(error)
    if known is None:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        known = ProblemError(500, "something went wrong here, and has been noted")
    return known.response(request.url.path, request.scope["state"]["request_id"])


def _http(request: Request, error: Any) -> Response:
    detail = {404: "there is no such path", 405: f"{request.method} is not for this path"}.get(
        error.status_code, error.detail
    )
    problem = ProblemError(error.status_code, str(detail), headers=error.headers)
    return problem.response(request.url.path, request.scope["state"]["request_id"])


def _invalid(request: Request, error: Any) -> Response:
    return refusal(error.errors()).response(request.url.path, request.scope["state"]["request_id"])


# Handlers of their own, and not `Exception`, which Starlette would answer and raise again.
_HANDLERS: Final = (
    (HTTPException, _http), (RequestValidationError, _invalid), (ProblemError, _problem), (MboError, _problem),
    (OSError, _problem),
)  # fmt: skip
