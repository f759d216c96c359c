"""The books of an API elsewhere, drawn: the levels that its stream sends, and nothing that it does not send."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from mbo.api import Client
from mbo.api.following import FollowedBook
from mbo.api.frames import message_of
from mbo.api.source import Want, view_of
from mbo.errors import InternalError, LostError, OrderError, RefusedError, RequestError
from mbo.records import Side
from mbo.view import Broadcast
from mbo.view.history import CELLS
from mbo.view.remote import LevelBook, Remote
from mbo.view.scene import LEVELS
from tests.api.scripted import TICK, ScriptedSource, add, keys, quoted, serving
from tests.view.test_viewer import Screen

LIMIT_S = 10.0


@contextmanager
def shown(server, *symbols: str) -> Iterator[Broadcast]:
    program = Broadcast(Remote(Client(server.url), symbols).start())
    try:
        yield program
    finally:
        program.close()


def until(holds, program: Broadcast, screen: Screen) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, screen.header
        program.turn()
        screen.look(1.0)
        time.sleep(0.01)


def rows(screen: Screen, name: str) -> list[tuple[int, ...]]:
    """Tick, size and count of each level."""
    return [row[:3] for row in screen.sections[name].tolist()]


def expected(source: ScriptedSource, symbol: str, side: Side) -> list[tuple[int, ...]]:
    found = source.books.book(symbol).levels(side, LEVELS).array.tolist()
    return [(price // TICK, size, count) for price, size, count in found]


def test_the_levels_of_a_book_are_drawn_and_follow_it():
    source = quoted()
    with serving(source) as server, shown(server) as program:
        screen = Screen(program.viewer("AAA"))
        assert program.symbols == ["AAA", "BBB"]
        assert rows(screen, "bids") == expected(source, "AAA", Side.BID)
        assert rows(screen, "asks") == expected(source, "AAA", Side.ASK)
        assert screen.header["meta"]["name"] == f"{server.url} (levels only)"
        assert screen.header["flags"] == {
            "valid": True,
            "synced": True,
            "suspect": False,
            "crossed": False,
            "stale": False,
        }
        assert screen.header["status"]["state"] == "live"
        assert screen.header["status"]["orders"] == 10
        source.apply(add(300, "B", 100, 7, at=10**9), add(100, "B", 100, 1, action="C", at=10**9))
        until(lambda: rows(screen, "bids") == expected(source, "AAA", Side.BID), program, screen)
        assert screen.header["record"] == source.books.book("AAA").status.messages


def test_columns_of_the_past_are_the_books_that_were_sent():
    source = quoted()
    with serving(source) as server, shown(server, "AAA") as program:
        screen, sizes = Screen(program.viewer("AAA")), []
        for second in (1, 2, 3):
            source.apply(add(300 + second, "B", 100, second, at=second * 10**9 + 9))
            until(lambda: rows(screen, "bids") == expected(source, "AAA", Side.BID), program, screen)
            sizes.append(int(source.books.book("AAA").levels("bid", 1).array["size"][0]))
        history = program.live.stage.histories[program.live.key_of("AAA")]
        best = [int(history.cells[4 * second][100 - history.columns["base"][4 * second]]) for second in (1, 2, 3)]
        assert best == sizes  # four columns a second
        assert history.cells.shape[1] == CELLS


def test_what_is_not_sent_is_not_shown():
    with serving(quoted()) as server, shown(server, "AAA") as program:
        viewer = program.viewer("AAA")
        screen = Screen(viewer).say(do="select", side="bid", tick=100)
        assert screen.header["queue"] == {"side": "bid", "tick": 100, "shown": 0, "size": 0, "count": 0}
        assert (screen.trades, screen.header["trades_shown"]) == ({}, 0)
        assert screen.say(do="follow", order_id="100").header["order"]["state"] == "unknown"
        assert viewer.flow_total() == 0
        assert screen.header["status"]["latency_us"] is None


def test_a_finer_price_makes_the_axis_finer():
    source = quoted()
    with serving(source) as server, shown(server, "AAA") as program:
        screen = Screen(program.viewer("AAA"))
        finer = add(300, "B", 0, 7)
        finer["price"] = 100 * TICK + TICK // 2
        source.apply(finer)
        until(lambda: rows(screen, "bids")[0] == (201, 7, 1), program, screen)
        assert rows(screen, "bids")[1][0] == 200


def test_a_server_that_is_gone_is_said_and_its_return_too():
    source = quoted()
    with serving(source) as first, shown(first, "AAA") as program:
        screen = Screen(program.viewer("AAA"))
        source.stale = True
        until(lambda: screen.header["flags"]["stale"], program, screen)
        source.stale = False
        until(lambda: not screen.header["flags"]["stale"], program, screen)
        first.stop()
        first._thread.join()
        until(lambda: screen.header["flags"]["stale"], program, screen)
        assert screen.header["status"]["state"] == "reconnecting"
        assert not program.failed


def test_a_stream_that_was_given_up_is_said(monkeypatch):
    def give_up(*_: object, **__: object) -> Iterator[FollowedBook]:
        raise LostError("nobody is there")
        yield

    with serving(quoted()) as server:
        client = Client(server.url)
        monkeypatch.setattr(client, "stream", give_up)
        remote = Remote(client).start()
        with pytest.raises(LostError, match="nobody is there"):
            remote.feed.wait(LIMIT_S)
        program = Broadcast(remote)
        assert program.failed
        program.close()


def test_what_cannot_be_followed_is_said_at_once():
    with (
        serving(quoted(), known=keys()) as server,
        Client(server.url, key="nobodys") as nobody,
        pytest.raises(RefusedError),
    ):
        Remote(nobody).start()
    with Client("http://127.0.0.1:9", tries=1) as alone, pytest.raises(LostError):
        Remote(alone).start()


def test_closing_ends_the_thread():
    with serving(quoted()) as server:
        remote = Remote(Client(server.url), ["AAA"]).start()
        remote.close()
        assert not remote.feed._thread.is_alive()
        remote.feed.wait(0)


def test_a_book_of_levels_is_a_book_without_orders():
    book = quoted().books.book("AAA")
    sent = FollowedBook("AAA")
    sent.apply(message_of(view_of(book, Want(3)), 1, 0, stale=False))
    found = LevelBook(sent)
    found.check()
    assert found.bbo == book.bbo
    assert [found.depth(side) for side in ("bid", "ask", Side.BID)] == [3, 3, 3]
    assert found.levels("ask").array.tolist() == book.levels("ask", 3).array.tolist()
    assert len(found.orders()) == len(found.orders("bid", level=0)) == 0
    assert (found.time_ns, found.synced, found.anomalies) == (book.status.ts_recv, True, {})
    with pytest.raises(OrderError):
        found.order(100)
    with pytest.raises(RequestError, match="takes no records"):
        found.apply(add(1, "B", 1))
    sent._bids = np.concatenate([sent._bids[1:], sent._bids[:1]])
    with pytest.raises(InternalError, match="bid levels are not best first"):
        LevelBook(sent).check()
