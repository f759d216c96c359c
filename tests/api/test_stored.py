"""Stored records over HTTP are those of the file, in whatever pages and form; and books at an instant are the file's."""

from __future__ import annotations

import io
import json
import time

import httpx
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.api.answers import ARROW
from mbo.api.client import Client
from mbo.errors import RequestError
from tests.api.test_books import problem

START, END = "2025-01-06T14:30:05", "2025-01-06T14:30:20"
RANGE = {"symbol": "SIM1", "start": START, "end": END}


@pytest.fixture(scope="module")
def day():
    return mbo.read_dbn(mbo.SIMULATED)


@pytest.fixture(scope="module")
def api(served):
    with Client(served) as client:
        yield client


@pytest.fixture(scope="module")
def http(served):
    with httpx.Client(base_url=served, trust_env=False) as client:
        yield client


def rows(table) -> pl.DataFrame:
    return pl.DataFrame(table).with_columns(pl.col(pl.Categorical).cast(pl.String))


def between(stream) -> pl.DataFrame:
    low, high = (pl.lit(at).str.to_datetime(time_unit="ns", time_zone="UTC") for at in (START, END))
    return rows(stream).filter((pl.col("ts_recv") >= low) & (pl.col("ts_recv") < high))


@pytest.mark.parametrize("limit", [407, 5_000])
def test_pages_put_together_are_the_file(api, day, limit):
    chosen = day.select("SIM1")
    assert rows(api.mbp("SIM1", START, END, limit=limit)).equals(between(chosen.mbp(10)))
    assert rows(api.mbp("SIM1", START, END, levels=1, limit=max(limit, 1_000))).equals(between(chosen.mbp(1)))
    trades = between(chosen.trades())
    assert len(trades) > 400
    assert rows(api.trades("SIM1", START, END, limit=limit)).equals(trades)


def test_a_page_of_one_row_follows_on_the_other(http, day):
    expected = between(day.select("SIM2").trades())["ts_recv"].cast(pl.Int64).to_list()[:12]
    found, query = [], {**RANGE, "symbol": "SIM2", "limit": 1}
    while len(found) < 12:
        page = http.get("/v1/trades", params=query).json()
        found += [int(row["ts_recv"]) for row in page["rows"]]
        query["cursor"] = page["next"]
    assert found == expected


def test_json_and_arrow_say_the_same(http):
    page = http.get("/v1/mbp", params={**RANGE, "limit": 500})
    other = http.get("/v1/mbp", params={**RANGE, "limit": 500}, headers={"Accept": ARROW})
    assert other.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(io.BytesIO(other.content)).read_all()
    assert table.num_rows == len(page.json()["rows"]) == 500
    for name in ("ts_recv", "price", "bid_px_00", "ask_px_09", "bid_sz_00", "side", "symbol", "sequence"):
        column = table.column(name)
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        values = [row[name] for row in page.json()["rows"]]
        whole = name.startswith("ts_") or "px" in name or name == "price"
        assert all(value is None or isinstance(value, str) == (whole or name in ("side", "symbol")) for value in values)
        assert [int(value) if whole and value is not None else value for value in values] == column.to_pylist()
    assert page.json()["next"] == page.headers["x-next-cursor"] == other.headers["x-next-cursor"]
    assert 'rel="next"' in page.headers["link"]


def test_the_link_leads_to_the_next_page(http):
    first = http.get("/v1/trades", params={**RANGE, "limit": 50})
    link = first.headers["link"].partition(">")[0].removeprefix("<")
    second = http.get(link)
    both = http.get("/v1/trades", params={**RANGE, "limit": 100}).json()["rows"]
    assert first.json()["rows"] + second.json()["rows"] == both
    last = http.get("/v1/trades", params={**RANGE, "limit": 5_000})
    assert last.json()["next"] is None
    assert "link" not in last.headers


def test_prices_leave_as_they_are_asked_for(http):
    row = lambda px: http.get("/v1/trades", params={**RANGE, "limit": 1, "px": px}).text  # noqa: E731
    fixed = int(json.loads(row("fixed"))["rows"][0]["price"])
    assert float(json.loads(row("float"))["rows"][0]["price"]) == fixed / 1e9
    assert int(json.loads(row("decimal"))["rows"][0]["price"].replace(".", "")) == fixed


def test_bars_are_those_of_the_trades(api, day):
    trades = between(day.select("SIM1").trades())
    bars = pl.DataFrame(api.bars("SIM1", START, END, interval="5s", limit=2))
    assert bars["volume"].sum() == trades["size"].sum()
    assert bars["trades"].sum() == len(trades)
    assert bars["high"].max() == trades["price"].max()
    assert len(bars) == 3


def test_a_book_at_an_instant_is_the_files(api, day):
    for at in ("2025-01-06T14:30:20", "2025-01-06T14:30:00.5", 1_736_173_830_123_456_789):
        for symbol in day.symbols:
            book = day.book(symbol, at=at)
            found = api.book(symbol, at=at, digest=True, depth=4, orders=True)
            assert found["digest"] == book.digest()
            levels = book.document(depth=4, orders=False)
            assert [(one["price"], one["size"], one["count"]) for one in found["bids"]] == [
                (one["price"], one["size"], one["count"]) for one in levels["bids"]
            ]
    order = day.book("SIM1", at="2025-01-06T14:30:20").orders("ask", level=0)[-1]
    assert api.order("SIM1", order.order_id, at="2025-01-06T14:30:20")["queue_ahead"] == order.queue_ahead


def test_the_live_book_is_the_end_of_the_file(api, day):
    api.replay("start")  # other tests may have moved it
    api.replay("speed")
    deadline = time.monotonic() + 30
    for symbol in day.symbols:
        while api.book(symbol, digest=True)["digest"] != day.book(symbol).digest():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_instruments_name_what_is_stored(api, day):
    (stored,) = api.stored()
    assert stored["messages"] == day.summary().records
    assert stored["symbols"] == day.symbols


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/books/SIM1?at=1999-01-01", 404, "outside the data"),
        ("/v1/books/SIM1?at=2100-01-01", 404, "outside the data"),
        ("/v1/books/SIM1?at=yesterday", 422, "not a time"),
        ("/v1/books/NOPE?at=2025-01-06T14:30:20", 404, "no symbol"),
        ("/v1/books/SIM1?at=2025-01-06T14:30:20&file=other", 422, "other"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06T15&end=2025-01-06T14", 422, "not a time"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06T15:00&end=2025-01-06T14:00", 422, "the end has to be later"),
        ("/v1/trades?symbol=SIM1&start=2025-01-01&end=2025-01-06", 422, "no more than 86400 s"),
        ("/v1/trades?symbol=NOPE&start=2025-01-06&end=2025-01-07", 404, "no symbol"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06&end=2025-01-07&limit=5001", 422, "at most 5,000 rows"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06&end=2025-01-07&limit=0", 422, "limit"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06&end=2025-01-07&px=gold", 422, "px"),
        ("/v1/mbp?symbol=SIM1&start=2025-01-06&end=2025-01-07&levels=7", 422, "levels"),
        ("/v1/bars?symbol=SIM1&start=2025-01-06&end=2025-01-07&interval=1y", 422, "not an interval"),
        ("/v1/trades?symbol=SIM1&start=2025-01-06&end=2025-01-07&cursor=nonsense", 422, "none that was given"),
    ],
)
def test_a_wrong_question_is_a_problem(http, path, status, words):
    assert words in problem(http.get(path), status)["detail"]


def test_a_cursor_belongs_to_its_question(http):
    cursor = http.get("/v1/trades", params={**RANGE, "limit": 1}).json()["next"]
    for other in ({"symbol": "SIM2"}, {"end": "2025-01-06T14:30:21"}, {"px": "float"}):
        answer = http.get("/v1/trades", params={**RANGE, **other, "cursor": cursor})
        assert "another question" in problem(answer, 422)["detail"]
    assert "another question" in problem(http.get("/v1/mbp", params={**RANGE, "cursor": cursor}), 422)["detail"]
    assert http.get("/v1/trades", params={**RANGE, "limit": 7, "cursor": cursor}).status_code == 200


def test_before_and_after_the_data_there_is_nothing(http):
    for start, end in (("2025-01-06T10:00", "2025-01-06T11:00"), ("2025-01-06T20:00", "2025-01-06T21:00")):
        for path in ("trades", "mbp", "bars"):
            page = http.get(f"/v1/{path}", params={"symbol": "SIM1", "start": start, "end": end})
            assert page.status_code == 200, page.text
            assert page.json() == {"rows": [], "next": None}


def test_what_is_not_to_be_had_is_said(http):
    assert (
        "application/json or"
        in problem(http.get("/v1/trades", params=RANGE, headers={"Accept": "text/csv"}), 406)["detail"]
    )


def test_the_client_says_what_the_server_says(api):
    with pytest.raises(RequestError, match="no symbol 'NOPE'"):
        api.trades("NOPE", START, END)


def test_readiness_names_the_store(http):
    assert http.get("/readyz").json()["checks"] == {"feed": "ok", "store": "ok", "recorder": "none"}
