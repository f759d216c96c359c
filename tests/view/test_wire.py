"""The socket for frames: who is let in, what goes through it, and what happens when it is lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mbo.view import wire as wires
from mbo.view.wire import PATH, Wire, offer

LIMIT_S = 10


@pytest.fixture(autouse=True)
def _no_offers():
    yield
    wires._OFFERS.clear()


class Site(Application):
    """A server that has websockets of its own for pages of one other host, as Bokeh's has."""

    websocket_origins = frozenset({"desk.example:443"})


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Site, str]]:
    site = Site()
    sock, port = bind_unused_port()
    server = HTTPServer(site)
    server.add_socket(sock)
    try:
        yield site, f"127.0.0.1:{port}"
    finally:
        server.stop()
        await server.close_all_connections()


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), LIMIT_S))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class Seen:
    """What happens to a wire."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.taken, self.lost = asyncio.Event(), asyncio.Event()
        self.wire = Wire(taken=self.taken.set, heard=self.heard.append, lost=self.lost.set)


async def open_with(host: str, token: str, **options: Any) -> ClientConnection:
    link = await connect(f"ws://{host}/app/{PATH}", compression=None, **options)
    await link.send(token)
    return link


async def code_of(link: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        await link.recv()
    return link.close_code


@on_loop
async def test_frames_go_out_and_acknowledgements_come_back():
    async with served() as (site, host):
        seen = Seen()
        assert offer(site, seen.wire)
        link = await open_with(host, seen.wire.token)
        await seen.taken.wait()
        for frame in (b"one", b"", *(bytes([length % 251]) * length for length in (125, 126, 65_535, 65_536, 200_000))):
            seen.wire.send(frame)
            assert await link.recv() == frame
        await link.send('{"do":"ack","n":3}')
        await link.send("no JSON")
        await link.send("[4]")
        while len(seen.heard) < 2:
            await asyncio.sleep(0.01)
        assert seen.heard == [{"do": "ack", "n": 3}, [4]]
        await link.close()
        await seen.lost.wait()
        seen.wire.send(b"into the void")


@on_loop
async def test_token_is_good_for_one_socket():
    async with served() as (site, host):
        seen = Seen()
        offer(site, seen.wire)
        first = await open_with(host, seen.wire.token)
        await seen.taken.wait()
        second = await open_with(host, seen.wire.token)
        assert await code_of(second) == 4401
        seen.wire.send(b"still there")
        assert await first.recv() == b"still there"
        await first.close()


@pytest.mark.parametrize("token", ["", "guessed", b"bytes", json.dumps({"do": "ack"})])
def test_no_token_that_is_offered_is_shown_out(token):
    @on_loop
    async def test() -> None:
        async with served() as (site, host):
            seen = Seen()
            offer(site, seen.wire)
            assert await code_of(await open_with(host, token)) == 4401
            assert not seen.taken.is_set()

    test()


def test_silence_is_shown_out(monkeypatch):
    monkeypatch.setattr(wires, "_TOKEN_S", 0.1)

    @on_loop
    async def test() -> None:
        async with served() as (site, host):
            offer(site, Seen().wire)
            assert await code_of(await connect(f"ws://{host}/{PATH}")) == 4401

    test()


def test_offer_ends(monkeypatch):
    monkeypatch.setattr(wires, "_OFFERED_S", -1.0)

    @on_loop
    async def test() -> None:
        async with served() as (site, host):
            late, next_one = Seen(), Seen()
            offer(site, late.wire)
            assert await code_of(await open_with(host, late.wire.token)) == 4401
            offer(site, late.wire)
            offer(site, next_one.wire)
            assert list(wires._OFFERS) == [next_one.wire.token]  # what nobody took is forgotten
            next_one.wire.close()
            assert not wires._OFFERS

    test()


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [("http://{host}", True), ("https://desk.example:443", True), ("https://evil.example", False), ("null", False)],
)
def test_pages_of_other_hosts_are_not_let_in(origin, let_in):
    @on_loop
    async def test() -> None:
        async with served() as (site, host):
            seen = Seen()
            offer(site, seen.wire)
            opened = open_with(host, seen.wire.token, origin=origin.format(host=host))
            if let_in:
                link = await opened
                await seen.taken.wait()
                await link.close()
            else:
                with pytest.raises(InvalidStatus, match="403"):
                    await opened

    test()


@on_loop
async def test_huge_message_ends_the_socket_and_nothing_else():
    async with served() as (site, host):
        seen, other = Seen(), Seen()
        offer(site, seen.wire)
        offer(site, other.wire)
        link, beside = await open_with(host, seen.wire.token), await open_with(host, other.wire.token)
        await link.send("x" * 5000)
        assert await code_of(link) == 1009
        await seen.lost.wait()
        await other.taken.wait()
        other.wire.send(b"frame")
        assert await beside.recv() == b"frame"
        await beside.close()


@on_loop
async def test_closed_wire_is_not_lost():
    async with served() as (site, host):
        seen = Seen()
        offer(site, seen.wire)
        link = await open_with(host, seen.wire.token)
        await seen.taken.wait()
        seen.wire.close()
        assert await code_of(link) is not None
        await asyncio.sleep(0.05)
        assert not seen.lost.is_set()


def test_other_servers_have_none():
    wire = Wire(taken=print, heard=print, lost=print)
    assert not offer(None, wire)
    assert not offer(object(), wire)
    assert not wires._OFFERS
