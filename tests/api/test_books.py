"""Books over REST: what they say is what the book says, one look serves all who ask at a time, and errors are problems."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest
import zstandard

from mbo.api import answers, book_routes
from mbo.api.asking import plain
from mbo.records import Side
from tests.api.scripted import TICK, ScriptedSource, add, application, asked, get, quoted

INTEGERS = {"price", "order_id", "ts_event", "ts_recv"}


@pytest.fixture
def source() -> ScriptedSource:
    return quoted()


def problem(answer, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def test_a_book_is_its_document_with_64_bits_as_text(source):
    with application(source) as app:
        found = get(app, "/v1/books/AAA?depth=3&orders=true&digest=true").json()
    book = source.books.book("AAA")
    assert found.pop("stale") is False
    assert found.pop("depth") == [5, 5]
    expected = book.document(depth=3, orders=True)
    for name, side in (("bids", Side.BID), ("asks", Side.ASK)):
        ahead = {order.order_id: order.queue_ahead for order in book.orders(side)}
        for level in expected[name]:
            for order in level["orders"]:
                order["queue_ahead"] = ahead[order["order_id"]]
    assert plain(found) == expected
    assert found["bids"][0]["price"] == str(100 * TICK)
    assert isinstance(found["bids"][0]["orders"][0]["order_id"], str)


def test_numbers_beyond_doubles_arrive_whole(source):
    source.apply(add(2**64 - 1, "B", 100, 9))
    with application(source) as app:
        text = get(app, "/v1/books/AAA?depth=1&orders=true").text
        order = get(app, f"/v1/books/AAA/orders/{2**64 - 1}").json()
    orders = json.loads(text, parse_int=float)["bids"][0]["orders"]
    assert int(orders[-1]["order_id"]) == 2**64 - 1
    assert (order["order_id"], order["queue_ahead"], order["side"]) == (str(2**64 - 1), 1, "bid")


def test_depth_is_that_of_the_settings_unless_given(source):
    with application(source) as app:
        assert len(get(app, "/v1/books/AAA").json()["bids"]) == 5
        assert len(get(app, "/v1/books/AAA?depth=2").json()["bids"]) == 2
        assert get(app, "/v1/books/AAA?depth=0").json()["bids"] == []


def test_a_book_may_be_asked_for_by_its_number(source):
    with application(source) as app:
        assert get(app, "/v1/books/8").json()["symbol"] == "BBB"


def test_one_look_serves_all_who_ask_at_a_time(source):
    source.delay = lambda: time.sleep(0.05)

    async def many(client):
        paths = [f"/v1/books/{symbol}?depth={depth}" for symbol in ("AAA", "BBB") for depth in (1, 2, 5)] * 20
        return await asyncio.gather(*(client.get(path) for path in paths))

    with application(source) as app:
        found = asked(app, many)
    assert {answer.status_code for answer in found} == {200}
    assert len(source.looks) <= 2
    assert len(found[2].json()["bids"]) == 5


def test_an_unchanged_book_is_not_looked_at_again_and_a_changed_one_is(source, monkeypatch):
    from mbo.api import desk

    monkeypatch.setattr(desk, "FRESH_S", 0.0)

    async def talk(client):
        first = [(await client.get("/v1/books/AAA?depth=2")).json() for _ in range(5)]
        looks = len(source.looks)
        source.apply(add(900, "B", 100, 50))
        return first, looks, (await client.get("/v1/books/AAA?depth=2")).json()

    with application(source) as app:
        first, looks, then = asked(app, talk)
    assert looks == 1
    assert all(one == first[0] for one in first)
    assert then["bids"][0]["size"] == first[0]["bids"][0]["size"] + 50


def test_a_stale_book_is_served_and_marked(source):
    with application(source) as app:
        source.stale, source.trouble = True, "the connection is lost"
        assert get(app, "/v1/books/AAA").json()["stale"] is True
        found = problem(get(app, "/readyz"), 503)
        assert found["checks"]["feed"] == "the connection is lost"
        assert found["ready"] is False
        assert get(app, "/healthz").status_code == 200
        source.stale, source.trouble = False, None
        assert get(app, "/v1/books/AAA").json()["stale"] is False
        assert get(app, "/readyz").json()["ready"] is True


def test_without_books_the_answer_is_503_and_says_when_to_come_again(source):
    source.gone = True
    with application(source) as app:
        answer = get(app, "/v1/books/AAA")
    assert problem(answer, 503)["detail"] == "there are no books"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/books/NOPE", 404, "no symbol 'NOPE'"),
        ("/v1/books/AAA/orders/5", 404, "no order 5 rests"),
        ("/v1/books/AAA/orders/x", 422, "order_id"),
        ("/v1/books/AAA/orders/99999999999999999999", 404, "rests"),
        ("/v1/books/AAA?depth=-1", 422, "depth"),
        ("/v1/books/AAA?depth=1001", 422, "at most 1,000"),
        ("/v1/books/AAA?depth=x", 422, "depth"),
        ("/v1/books/AAA?at=2025-01-01", 422, "no store"),
        ("/v1/books/" + "A" * 72, 422, "symbol"),
        ("/v1/trades?symbol=AAA&start=2025-01-01&end=2025-01-02", 404, "no store"),
        ("/v1/replay", 404, "nothing is replayed"),
        ("/v1/nothing", 404, "no such path"),
    ],
)
def test_a_wrong_question_is_a_problem(source, path, status, words):
    with application(source) as app:
        assert words in problem(get(app, path), status)["detail"]


def test_a_wrong_method_is_a_problem(source):
    with application(source) as app:
        answer = asked(app, lambda client: client.post("/v1/books/AAA"))
    assert "not for this path" in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "GET"


def test_too_many_orders_are_refused(source, monkeypatch):
    monkeypatch.setattr(book_routes, "MAX_ORDERS", 9)
    with application(source) as app:
        assert "10 orders rest" in problem(get(app, "/v1/books/AAA?orders=true"), 422)["detail"]
        assert get(app, "/v1/books/BBB?orders=true").status_code == 200


def test_instruments_are_those_of_the_feed(source):
    with application(source) as app:
        found = get(app, "/v1/instruments").json()
        before = ScriptedSource()
    with application(before) as app:
        unbegun = get(app, "/v1/instruments").json()["instruments"]
    assert [(one["symbol"], one["instrument_id"], one["orders"]) for one in found["instruments"]] == [
        ("AAA", 7, 10), ("BBB", 8, 1)
    ]  # fmt: skip
    assert unbegun[0]["orders"] is None


@pytest.mark.parametrize(
    ("encoding", "unpack"),
    [("gzip", gzip.decompress), ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data))],
)
def test_long_answers_are_packed_as_the_client_can_unpack_them(source, encoding, unpack, monkeypatch):
    monkeypatch.setattr(answers, "_LEAST_PACKED", 100)
    with application(source) as app:
        plain_text = get(app, "/v1/books/AAA", headers={"Accept-Encoding": "identity"})

        async def raw(client):
            async with client.stream("GET", "/v1/books/AAA", headers={"Accept-Encoding": encoding}) as answer:
                return answer.headers, b"".join([part async for part in answer.aiter_raw()])

        headers, body = asked(app, raw)
    assert headers["content-encoding"] == encoding
    assert "content-encoding" not in plain_text.headers
    assert unpack(body) == plain_text.content


def test_the_page_of_the_description_needs_nothing_from_elsewhere(source):
    with application(source) as app:
        pages = [get(app, path) for path in ("/docs", "/docs/app.js", "/docs/app.css")]
        described = get(app, "/openapi.json").json()
    for page in pages:
        assert page.status_code == 200
        assert "//" not in page.text.replace("http://www.w3.org", "")
    assert "default-src 'self'" in pages[0].headers["content-security-policy"]
    assert {"/v1/books/{symbol}", "/v1/replay", "/v1/mbp", "/readyz"} <= set(described["paths"])
    assert "Sec-WebSocket" not in described["info"]["description"]
    assert "/v1/stream" in described["info"]["description"]


def test_only_so_many_documents_are_kept(source, monkeypatch):
    from mbo.api import desk

    monkeypatch.setattr(desk, "_MOST_WRITTEN", 10)

    async def many(client):
        for depth in range(100):
            assert (await client.get(f"/v1/books/AAA?depth={depth}")).status_code == 200

    with application(source) as app:
        asked(app, many)
        assert len(app.state.mbo.desk._written) <= 11
