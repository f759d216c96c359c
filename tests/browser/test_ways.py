"""Ways to and from the page: the socket for frames and what happens without it; a store; several ladders; a narrow screen."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, WebSocketRoute

import mbo
from mbo.api import Client
from tests.browser.dashboards import (
    ROOT,
    START_S,
    Dashboard,
    Day,
    Screen,
    at_instants,
    expect_book,
    free_port,
    ladder_of,
    same_price,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

FRAMES = re.compile(r"/mbo-frames$")
MS = 1_000_000


# -------------------------------------------------------------------- the socket for frames


def test_frames_come_by_their_own_socket(bundled, look):
    screen = look(bundled)
    screen.until("m.wire", "the socket has taken over")
    before, received = screen.one("n"), screen.received
    screen.until("m.n > x + 20", "twenty frames", before)
    assert screen.received > received


def test_without_the_socket_frames_come_as_messages(bundled, context: BrowserContext, look):
    refused: list[str] = []

    def refuse(route: WebSocketRoute) -> None:
        refused.append(route.url)
        route.close()

    context.route_web_socket(FRAMES, refuse)
    screen = look(bundled, "?t=20000000000")
    screen.focus().keys("p").until("m.playing && m.n > x + 20", "twenty frames", screen.one("n"))
    assert len(refused) == 1
    assert screen.one("wire") is False


def test_socket_that_is_lost_is_made_up_for(bundled, context: BrowserContext, look):
    """Nothing that was under way is missed: everything is sent anew, and the socket is there again."""
    sockets: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    context.route_web_socket(FRAMES, through)
    screen = look(bundled, "?t=20000000000")
    screen.focus().keys("p").until("m.playing && m.wire", "the socket has taken over")
    sockets[0].close()
    screen.until("m.wire === false", "it is lost")
    screen.until("m.wire && m.n > x + 10", "there is another", screen.one("n"))
    assert len(sockets) == 2
    day = mbo.read_dbn(mbo.SIMULATED)
    records = day.select("SIM1").load()
    screen.pause().until("m.n === x", "all is drawn", screen.one("n"))
    shown = records[: screen.one("record")]
    book = mbo.Books()
    book.apply(shown)
    expect_book(screen, next(iter(book.values())), shown)


# -------------------------------------------------------------------- a store


def test_stored_days_are_browsed(serve, look, tmp_path: Path):
    """The command that the documentation gives, then the page over the same store."""
    where = f"chdb://{tmp_path / 'store'}"
    subprocess.run(
        [sys.executable, "-m", "mbo", "ingest", str(mbo.SIMULATED), "--store", where],
        check=True,
        timeout=START_S,
        cwd=ROOT,
    )
    screen = look(serve(MBO_STORE=where), "?t=20000000000")
    stored = mbo.read_dbn(mbo.SIMULATED)
    for symbol in stored.symbols[:2]:
        screen.choose("symbol", symbol).focus().until("m.symbol === x", "its book", symbol)
        day = Day(stored, symbol)
        at_instants(screen.pause(), day, day.instants(5, seed=3))


# -------------------------------------------------------------------- the API


def test_books_of_a_running_server_are_shown(serve, look, tmp_path: Path):
    """Levels come by its stream: what is drawn in the end is the file's book."""
    port, log = free_port(), tmp_path / "serve.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mbo", "serve", "--file", str(mbo.SIMULATED), "--speed", "10", "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT,
        )  # fmt: skip
        try:
            with Client(f"http://127.0.0.1:{port}") as api:
                deadline = time.monotonic() + START_S
                while not ready(api):
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
                screen = look(serve(MBO_API=api.url))
                book = mbo.read_dbn(mbo.SIMULATED).book("SIM1")
                screen.choose("symbol", "SIM1").until("m.symbol === 'SIM1'", "its book")
                while api.book("SIM1", depth=1)["sequence"] != book.status.sequence:
                    assert time.monotonic() < deadline, "the replay ends"
                    time.sleep(0.1)
            bid, ask = book.bbo
            assert bid is not None
            assert ask is not None
            best = [bid.size, bid.count, ask.size, ask.count]
            screen.until("[1, 2, 4, 5].every((at, i) => m.bbo[at] === x[i])", "the best bid and ask", best)
            sides = ladder_of(book)
            for row in screen.focus().keys("Space").drawn().rows:
                price = same_price(row["price"])
                expected = (*sides["bid"].get(price, (0, 0)), *sides["ask"].get(price, (0, 0)))
                shown = row["bid"], row["bid_ct"], row["ask"], row["ask_ct"]
                assert shown == expected or row["hatched"], price
        finally:
            server.terminate()
            server.wait(30)


def ready(api: Client) -> bool:
    """Whether there is a book to be had."""
    try:
        return bool(api.book("SIM1", depth=1)["bids"])
    except mbo.MboError:
        return False


# -------------------------------------------------------------------- several on a page

SEVERAL = """
import panel as pn
import mbo
from mbo.view import Ladder, Recorded
pn.extension()
program = Recorded.of(mbo.read_dbn(mbo.SIMULATED), simulated=True)
pn.Column(*(Ladder(program, symbol=symbol, height=500) for symbol in ("SIM1", "SIM2"))).servable()
"""


class Page(Dashboard):
    """A page of one's own."""

    script = ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "panel", "serve", self.script, "--port", str(self.port)]


@pytest.fixture
def several(chromium: str, tmp_path: Path) -> Iterator[Dashboard]:
    page = Page(tmp_path)
    (tmp_path / "app.py").write_text(SEVERAL)
    page.script = str(tmp_path / "app.py")
    with page:
        yield page


def test_several_ladders_on_a_page_keep_to_themselves(several, look):
    screen = look(several)
    both = "Object.values(window.__mbo_all)"
    screen.until(f"{both}.length === 2 && {both}.every((one) => one.drawn > 3 && one.wire)", "both draw")
    symbols = screen.page.evaluate(f"() => {both}.map((one) => one.symbol)")
    assert sorted(symbols) == ["SIM1", "SIM2"]
    first = screen.test("mbo").nth(0)
    first.focus()
    shown = first.get_by_test_id("symbol").input_value()
    screen.keys("p")
    screen.until(
        f"{both}.filter((one) => !one.playing).map((one) => one.symbol).join() === x", "one of them pauses", shown
    )
    place = screen.page.evaluate(f"() => {both}.map((one) => one.record)")
    screen.until(f"{both}.some((one, i) => one.playing && one.record > x[i])", "the other plays on", place)


# -------------------------------------------------------------------- a narrow screen


@pytest.fixture
def narrow(browser: Browser) -> Iterator[Callable[[Dashboard, str], Screen]]:
    context = browser.new_context(viewport={"width": 1180, "height": 760}, device_scale_factor=1, timezone_id="UTC")
    yield lambda dashboard, query: Screen(context, dashboard.url).open(query)
    context.close()


def test_all_can_be_read_at_1180_pixels(bundled, narrow):
    """Nothing lies beyond the edge or upon something else, and the ladder keeps its columns."""
    screen = narrow(bundled, "?t=20000000000").focus().keys("b").until("m.queue.length", "a queue")
    assert screen.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    boxes = {name: screen.test(name).bounding_box() for name in ("heat", "ladder", "tape", "depth", "queue")}
    for name, box in boxes.items():
        assert box is not None, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 1180, name
        assert min(box["width"], box["height"]) > 80, (name, box)
    for one in boxes:
        for other in boxes:
            assert one >= other or apart(boxes[one], boxes[other]), (one, other)
    tools = [tool.bounding_box() for tool in screen.page.locator(".mbo button:visible, .mbo select:visible").all()]
    assert len(tools) > 8
    for i, tool in enumerate(tools):
        assert tool["x"] + tool["width"] <= 1180
        assert all(apart(tool, other) for other in tools[:i])
    assert len(screen.rows) > 10


def apart(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes do not overlap by more than a pixel."""
    return (
        one["x"] + one["width"] <= other["x"] + 1
        or other["x"] + other["width"] <= one["x"] + 1
        or one["y"] + one["height"] <= other["y"] + 1
        or other["y"] + other["height"] <= one["y"] + 1
    )
