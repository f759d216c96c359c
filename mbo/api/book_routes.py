"""Books and instruments: live ones from the feed, those of an instant from the store."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from mbo.api.answers import JSON, packed
from mbo.api.description import problems
from mbo.api.documents import (
    BookDocument,
    InstrumentsDocument,
    OrderDocument,
    book_json,
    instrument_document,
    order_json,
)
from mbo.api.problems import ProblemError
from mbo.api.source import View, Want, view_of
from mbo.api.state import State, state_of
from mbo.store.ledger import Entry
from mbo.units import parse_time

router = APIRouter(prefix="/v1", tags=["books"])

MAX_ORDERS = 100_000
"""Orders of one answer."""
Symbol = Annotated[str, Path(min_length=1, max_length=71, description="Raw symbol, or an instrument id in digits.")]
At = Annotated[
    str | None,
    Query(
        max_length=64,
        description="Instant: ISO 8601 (UTC) or ns since 1970, by ts_recv. The book then comes from the store.",
    ),
]
StoredName = Annotated[str | None, Query(max_length=256, description="Stored file or session, where several fit.")]


def moment_of(text: str) -> int:
    """Read an instant of a query: ISO 8601, or digits, which are ns since 1970; `TimeError` is a wrong question here."""
    from mbo.errors import TimeError

    try:
        return parse_time(int(text) if text.isascii() and text.isdigit() else text)
    except TimeError as error:
        raise ProblemError(422, str(error)) from None


@router.get("/instruments", response_model=InstrumentsDocument, responses=problems(401, 403, 429, 503, 504))
async def instruments(request: Request) -> Response:
    """List the instruments of the feed with how their books stand, and the files and sessions of the store."""
    import asyncio

    state = state_of(request)
    stored: list[Entry] = []
    if state.store is not None:
        stored = await state.store.ask(lambda store: store.files())
    found = await asyncio.get_running_loop().run_in_executor(None, state.source.instruments)
    document = {
        "stale": state.source.stale,
        "instruments": [instrument_document(one) for one in found],
        "stored": [_stored(entry) for entry in stored],
    }
    return packed(orjson.dumps(document), JSON, request.headers.get("accept-encoding"))


def _stored(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name, "dataset": entry.dataset, "messages": entry.rows, "ts_min": str(entry.ts_min),
        "ts_max": str(entry.ts_max), "symbols": entry.symbol_map.symbols,
    }  # fmt: skip


@router.get("/books/{symbol}", response_model=BookDocument, responses=problems(401, 403, 404, 422, 429, 503, 504))
async def book(
    request: Request,
    symbol: Symbol,
    depth: Annotated[
        int | None, Query(ge=0, description="Levels a side; `stream.depth` of the settings unless given.")
    ] = None,
    orders: Annotated[bool, Query(description="Every order of these levels, in priority order.")] = False,
    digest: Annotated[bool, Query(description="The hash of all orders in priority order.")] = False,
    at: At = None,
    file: StoredName = None,
) -> Response:
    """Give the book of an instrument: the live one, at most a sixtieth of a second old, or with `at` the one of that instant."""
    state = state_of(request)
    depth = _depth(state, depth)
    if at is None and file is None and not orders and not digest:
        view = await state.desk.view(symbol, depth)
        return packed(state.desk.json(view, depth), JSON, request.headers.get("accept-encoding"))
    view = await _special(state, symbol, Want(depth, orders, digest), at, file)
    stale = state.source.stale and at is None and file is None
    return packed(book_json(view, stale=stale), JSON, request.headers.get("accept-encoding"))


def _depth(state: State, depth: int | None) -> int:
    most = state.settings.api.max_levels
    if depth is not None and depth > most:
        raise ProblemError(422, f"depth={depth}: one answer has at most {most:,} levels a side")
    return min(state.settings.stream.depth, most) if depth is None else depth


async def _special(state: State, symbol: str, want: Want, at: str | None, file: str | None) -> View:
    """Look at a book for one who wants more than its levels."""
    if at is None and file is None:
        if want.orders:
            resting = (await state.desk.view(symbol, 0)).status.orders
            _few(resting)
        return await state.desk.special(symbol, want)
    if state.store is None:
        raise ProblemError(422, "there is no store here: only the live book can be asked for, without `at` and `file`")
    moment = None if at is None else moment_of(at)

    def read(store: Any) -> View:
        found = store.book(symbol, at=moment, file=file)
        if want.orders:
            _few(found.status.orders)
        return view_of(found, want)

    return await state.store.ask(read)


def _few(orders: int) -> None:
    if orders > MAX_ORDERS:
        raise ProblemError(422, f"{orders:,} orders rest in this book, and one answer has at most {MAX_ORDERS:,}")


@router.get(
    "/books/{symbol}/orders/{order_id}",
    response_model=OrderDocument,
    responses=problems(401, 403, 404, 422, 429, 503, 504),
)
async def order(
    request: Request,
    symbol: Symbol,
    order_id: Annotated[str, Path(pattern=r"^[0-9]{1,20}$", description="The order's id, in digits.")],
    at: At = None,
    file: StoredName = None,
) -> Response:
    """Find a resting order: its price, its size, and the size that stands ahead of it in its queue."""
    state = state_of(request)
    view = await _special(state, symbol, Want(0, order_id=int(order_id)), at, file)
    return packed(order_json(view, stale=state.source.stale and at is None and file is None), JSON, None)
