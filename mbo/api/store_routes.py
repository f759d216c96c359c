"""Stored records over a range of time: market by price, trades and bars, page by page, as JSON or an Arrow stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from mbo.api.answers import ARROW, JSON, accepted, arrow_bytes, json_rows, packed
from mbo.api.book_routes import StoredName, moment_of
from mbo.api.description import problems
from mbo.api.pages import Page, Question, check_range, cursor_of, read_page
from mbo.api.problems import ProblemError
from mbo.api.state import state_of
from mbo.store import Store

router = APIRouter(prefix="/v1", tags=["stored records"])

DEFAULT_ROWS = 1_000
_PROBLEMS = problems(401, 403, 404, 406, 409, 410, 422, 429, 503, 504)


class PageDocument(BaseModel):
    """Rows in the order of their files, with Databento's columns, and the cursor of the next page; null behind the last."""

    rows: list[dict[str, Any]]
    next: str | None


_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "X-Next-Cursor": {
                "description": "The cursor of the next page, where there is one.",
                "schema": {"type": "string"},
            },
            "Link": {"description": "The next page, where there is one (rel=next).", "schema": {"type": "string"}},
        },
    },
    **_PROBLEMS,
}

Symbol = Annotated[str, Query(min_length=1, max_length=71, description="Raw symbol, or an instrument id in digits.")]
Start = Annotated[str, Query(max_length=64, description="First instant: ISO 8601 (UTC) or ns since 1970, by ts_recv.")]
End = Annotated[str, Query(max_length=64, description="First instant that is not included.")]
Limit = Annotated[int, Query(ge=1, description="Rows of the page at most.")]
CursorText = Annotated[str | None, Query(max_length=256, description="Where the last page ended, as it said.")]
Px = Annotated[Literal["fixed", "decimal", "float"], Query(description="How prices leave; see `mbo.schemas.PriceAs`.")]


@router.get("/mbp", response_model=PageDocument, responses=_PAGE)
async def mbp(
    request: Request,
    symbol: Symbol,
    start: Start,
    end: End,
    levels: Annotated[Literal["1", "10"], Query(description="MBP-10 is stored, MBP-1 is made when asked for.")] = "10",
    px: Px = "fixed",
    limit: Limit = DEFAULT_ROWS,
    cursor: CursorText = None,
    file: StoredName = None,
) -> Response:
    """Give market-by-price records (Databento's mbp-10 or mbp-1)."""
    question = Question(f"mbp-{levels}", symbol, moment_of(start), moment_of(end), file, px)
    return await _page(request, question, cursor, limit)


@router.get("/trades", response_model=PageDocument, responses=_PAGE)
async def trades(
    request: Request,
    symbol: Symbol,
    start: Start,
    end: End,
    px: Px = "fixed",
    limit: Limit = DEFAULT_ROWS,
    cursor: CursorText = None,
    file: StoredName = None,
) -> Response:
    """Give trades (Databento's trades)."""
    return await _page(request, Question("trades", symbol, moment_of(start), moment_of(end), file, px), cursor, limit)


@router.get("/bars", response_model=PageDocument, responses=_PAGE)
async def bars(
    request: Request,
    symbol: Symbol,
    start: Start,
    end: End,
    interval: Annotated[str, Query(max_length=8, description="1s to 1d, such as 5m.")] = "1m",
    limit: Limit = DEFAULT_ROWS,
    cursor: CursorText = None,
    file: StoredName = None,
) -> Response:
    """Give open, high, low, close and volume of the trades in each interval of ts_recv; prices in units of 1e-9."""
    question = Question("bars", symbol, moment_of(start), moment_of(end), file, interval=interval)
    return await _page(request, question, cursor, limit)


async def _page(request: Request, question: Question, cursor_text: str | None, limit: int) -> Response:
    state = state_of(request)
    media = accepted(request.headers.get("accept"), (JSON, ARROW))
    limits = state.settings.api
    if limit > limits.max_rows:
        raise ProblemError(422, f"limit={limit}: one page has at most {limits.max_rows:,} rows")
    if state.store is None:
        raise ProblemError(404, "there is no store here")
    check_range(question.start, question.end, limits.max_range_s)
    cursor = cursor_of(cursor_text, question)
    encoding = request.headers.get("accept-encoding")

    def answer(store: Store) -> Response:
        page = read_page(store, question, cursor, limit)
        headers = _links(request, page)
        if media == ARROW:
            return packed(arrow_bytes(page.table), ARROW, encoding, headers)
        body = b'{"rows":%b,"next":%b}' % (json_rows(page.table), orjson.dumps(page.cursor))
        return packed(body, JSON, encoding, headers)

    return await state.store.ask(answer)


def _links(request: Request, page: Page) -> dict[str, str]:
    if page.cursor is None:
        return {}
    query = urlencode({**request.query_params, "cursor": page.cursor})
    return {"X-Next-Cursor": page.cursor, "Link": f'<{request.url.path}?{query}>; rel="next"'}
