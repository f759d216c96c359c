"""The source: it waits for a gateway, stays with it through losses, and always has the last books."""

from __future__ import annotations

import socket
import time

import pytest

import mbo
from mbo.api.source import LiveSource, View, Want
from mbo.errors import LostError, RequestError, SymbolError
from mbo.live import feed as feeds
from mbo.live.gateway import Gateway
from tests.resilience.proxy import Proxy

LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(feeds, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(feeds, "_LONGEST_PAUSE_S", 0.05)


@pytest.fixture(scope="module")
def day():
    return mbo.read_dbn(mbo.SIMULATED)


def until(holds, what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def digests(source: LiveSource, day) -> dict[str, str | None]:
    found = source.look({symbol: Want(0, digest=True) for symbol in day.symbols})
    return {symbol: view.digest if isinstance(view, View) else None for symbol, view in found.items()}


def expected(day) -> dict[str, str]:
    return {symbol: day.book(symbol).digest() for symbol in day.symbols}


def ended(source: LiveSource) -> bool:
    return source.status is not None and source.status.ended


def test_books_are_the_feeds(day):
    with Gateway(day) as gateway, LiveSource(gateway.url, snapshot=True) as source:
        until(lambda: ended(source), "the replay ends")
        assert digests(source, day) == expected(day)
        view = source.look({"SIM1": Want(2, orders=True)})["SIM1"]
        book = day.book("SIM1")
        assert view.bids.tolist() == book.levels("bid", 2).array.tolist()
        assert view.orders[1].tolist() == book.orders("ask").array.tolist()
        assert view.depths == (book.depth("bid"), book.depth("ask"))
        assert isinstance(source.look({"NOPE": Want()})["NOPE"], SymbolError)
        assert source.batches > 0
        assert [one.symbol for one in source.instruments()] == ["SIM1", "SIM3", "SIM2"] or len(
            source.instruments()
        ) == 3
        assert not source.stale
        assert source.trouble is None


def test_a_gateway_may_come_later(day):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with LiveSource(f"tcp://127.0.0.1:{port}", snapshot=True) as source:
        until(lambda: source.trouble and "refused" in source.trouble, "the gateway is missed")
        assert source.stale
        with pytest.raises(LostError, match="no books yet"):
            source.look({"SIM1": Want()})
        with Gateway(day, port=port):
            until(lambda: ended(source), "the replay ends")
            assert digests(source, day) == expected(day)


def test_a_lost_gateway_leaves_the_last_books_and_comes_back(day):
    with (
        Gateway(day, rate=20_000) as gateway,
        Proxy(gateway.url) as proxy,
        LiveSource(proxy.url, snapshot=True) as source,
    ):
        until(lambda: source.status and source.status.applied > 1_000, "records come")
        gateway.pause()
        gateway.drop()
        until(lambda: source.status.connections >= 2 and not source.stale, "it comes back")
        before = digests(source, day)
        assert all(before.values())
        gateway.set_pace()
        gateway.resume()
        until(lambda: ended(source), "the replay ends")
        assert digests(source, day) == expected(day)
        assert source.status.gaps == 0


def test_a_gateway_that_is_gone_is_said(day):
    with Gateway(day, rate=20_000) as gateway:
        source = LiveSource(gateway.url, snapshot=True).start()
        until(lambda: source.status and source.status.applied > 1_000, "records come")
    with source:
        until(lambda: source.stale, "the loss is noticed")
        assert source.trouble == "the connection is lost"
        view = source.look({"SIM1": Want(1)})["SIM1"]
        assert isinstance(view, View)
        assert view.status.messages > 100


def test_a_replay_that_has_ended_is_followed_again(day):
    with Gateway(day, speed=1_000.0) as gateway, LiveSource(gateway.url, "SIM1", snapshot=True) as source:
        until(lambda: ended(source), "the replay ends")
        first = source.feed
        gateway.pause()
        gateway.seek("2025-01-06T14:30:20")
        source.renew()
        until(lambda: source.feed is not first, "it is followed again")
        at = day.book("SIM1", at="2025-01-06T14:30:20").digest()
        until(lambda: _digest(source) == at, "its books are those of the place")


def _digest(source: LiveSource) -> str | None:
    view = source.look({"SIM1": Want(0, digest=True)})["SIM1"]
    return view.digest if isinstance(view, View) else None


def test_what_cannot_be_followed_is_said_at_once():
    with pytest.raises(RequestError):
        LiveSource("http://127.0.0.1:1")
