"""What the browser tests share: a dashboard in a process of its own, and a page that is asked what it drew."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from playwright.sync_api import BrowserContext, Locator, Page

import mbo
from mbo.book import Book
from mbo.records import Action, Side
from mbo.replay import Records
from mbo.units import format_price
from mbo.view import Recorded

ROOT = Path(__file__).parents[2]
START_S = 90.0  # for a process or a page on a busy machine, with kernels to compile
LIMIT_S = 30.0
MS = 1_000_000
STEADY = "window.__mbo?.ready && window.__mbo.drawn > 3"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Dashboard:
    """`panel serve dashboard/app.py` with this environment, on a port that stays the same when it is started again."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / f"dashboard-{self.port}.log"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("MBO_")}
        self._environment |= {
            name: value for name, value in os.environ.items() if name == "MBO_CACHE_DIR"
        } | environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/app"

    @property
    def rss(self) -> int:
        """Memory of the process, in bytes."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "panel", "serve", "dashboard/app.py", "--port", str(self.port)]

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=ROOT, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, f"the dashboard ended: {self.said()}"
            assert time.monotonic() < deadline, f"the dashboard does not answer: {self.said()}"
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}/favicon.ico", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def said(self) -> str:
        return self.log.read_text()[-3000:]


class Screen:
    """A page with the dashboard: what it did wrong, what it drew, and hands to work it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.received = 0  # bytes that came over websockets
        self.page.on("websocket", lambda link: link.on("framereceived", self._note))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on(
            "console", lambda said: self.wrong.append(f"console: {said.text}") if said.type == "error" else None
        )

    def open(self, query: str = "") -> Self:
        self.page.goto(self.url + query, wait_until="domcontentloaded", timeout=START_S * 1000)
        return self.until(STEADY, "the dashboard draws", limit_s=START_S)

    def _note(self, payload: str | bytes) -> None:
        self.received += len(payload)

    # ------------------------------------------------------------ what it drew

    def until(self, holds: str, what: str, argument: Any = None, limit_s: float = LIMIT_S) -> Self:
        """Wait until a JavaScript expression (of `x`, the argument) holds, and what came with it is drawn."""
        body = f"(x) => {{ const m = window.__mbo; return Boolean({holds}); }}"
        try:
            self.page.wait_for_function(body, arg=argument, polling=20, timeout=limit_s * 1000)
        except Exception as error:
            raise AssertionError(f"not within {limit_s:g} s: {what}; {self.short()}; {self.wrong}") from error
        return self.drawn()

    def drawn(self) -> Self:
        """Wait for the next frame: the page draws before it answers."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self

    def get(self, *names: str) -> dict[str, Any]:
        return self.page.evaluate("(names) => Object.fromEntries(names.map((n) => [n, window.__mbo[n]]))", list(names))

    def one(self, name: str) -> Any:
        return self.page.evaluate("(name) => window.__mbo[name]", name)

    def short(self) -> Any:
        names = ["drawn", "n", "record", "now", "symbol", "playing", "state", "stale", "selected", "bbo"]
        return self.page.evaluate("(names) => names.map((n) => [n, window.__mbo?.[n]])", names)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.one("rows")

    def picture(self, testid: str) -> str:
        """The pixels of a canvas, as text to compare."""
        return self.test(testid).evaluate("(canvas) => canvas.toDataURL()")

    # ------------------------------------------------------------ hands

    def test(self, testid: str) -> Locator:
        return self.page.get_by_test_id(testid)

    def click(self, testid: str) -> Self:
        self.test(testid).click()
        return self

    def keys(self, *keys: str) -> Self:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def focus(self) -> Self:
        self.test("mbo").focus()
        return self

    def pause(self) -> Self:
        if self.one("playing"):
            self.focus().keys("p")
        return self.until("!m.playing", "the replay pauses")

    def seek(self, now: int, time_of_day: str) -> Self:
        """Write a time into the field; `now` is what the page then has to show."""
        self.test("time").fill(time_of_day)
        self.keys("Enter")
        self.until("m.now === x && !m.playing", f"the replay is at {time_of_day}", now)
        return self.focus()

    def choose(self, testid: str, value: str) -> Self:
        self.test(testid).select_option(value)
        return self


class Day:
    """A book's records, and the instants of it that can be looked at."""

    def __init__(self, day: Records, symbol: str | None) -> None:
        program = Recorded.of(day)
        index = program.index(symbol)
        self.symbol = index.symbol
        self.records = index.records
        self.begin_ns, self.end_ns = index.begin_ns, index.end_ns
        self._day = day if symbol is None else day.select(symbol)
        program.close()

    def book(self, at: int) -> Book:
        return self._day.book(at=at)

    def instants(self, count: int, seed: int) -> list[int]:
        """Whole milliseconds, as the time field takes them."""
        chosen = random.Random(seed)
        return [chosen.randrange(self.begin_ns // MS + 1, self.end_ns // MS) * MS for _ in range(count)]


def time_of_day(ns: int) -> str:
    """A time as the field of the page takes it, to a millisecond."""
    ms = ns // 1_000_000 % 86_400_000
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def ladder_of(book: Book) -> dict[str, dict[str, tuple[int, int]]]:
    """Size and orders at every price of a side, by the price's digits."""
    return {
        name: {format_price(level.price): (level.size, level.count) for level in book.levels(side)}
        for name, side in (("bid", Side.BID), ("ask", Side.ASK))
    }


def traded_of(records: mbo.records.RecordArray) -> dict[str, tuple[int, int]]:
    """Sizes sold and bought at every price."""
    trades = records[records["action"] == Action.TRADE]
    traded: dict[str, tuple[int, int]] = {}
    for price in np.unique(trades["price"]).tolist():
        here = trades[trades["price"] == price]
        sold, bought = (int(here["size"][here["side"] == side].sum()) for side in (Side.ASK, Side.BID))
        traded[format_price(price)] = sold, bought
    return traded


def same_price(digits: str) -> str:
    """A price as `format_price` writes it with all its decimals."""
    whole, _, rest = digits.partition(".")
    return f"{whole}.{rest:<09}"


def expect_book(screen: Screen, book: Book, records: mbo.records.RecordArray) -> None:
    """What is drawn, row by row, is this book, made by these records."""
    shown = screen.get("rows", "bbo", "record", "event", "group")
    assert shown["group"] == 1
    assert shown["record"] == len(records) == book.status.messages
    assert shown["event"] == book.status.events
    sides, traded = ladder_of(book), traded_of(records)
    assert len(shown["rows"]) > 10
    assert not any(row["hatched"] for row in shown["rows"])
    for row in shown["rows"]:
        price = same_price(row["price"])
        expected = (*sides["bid"].get(price, (0, 0)), *sides["ask"].get(price, (0, 0)), *traded.get(price, (0, 0)))
        assert (row["bid"], row["bid_ct"], row["ask"], row["ask_ct"], row["sold"], row["bought"]) == expected, price
    prices = {row["tick"]: same_price(row["price"]) for row in shown["rows"]}
    for name, (tick, size, count) in zip(("bid", "ask"), (shown["bbo"][:3], shown["bbo"][3:]), strict=True):
        best = next(iter(sides[name].items()), None)
        assert (size, count) == (best[1] if best else (0, 0))
        assert prices.get(tick) in ((best[0], None) if best else (None,))


def expect_queue(screen: Screen, book: Book, side: Side) -> None:
    """The queue that is drawn is that of the best price, as far as there is room for it."""
    drawn = screen.one("queue")
    orders = book.orders(side, level=0)
    assert len(drawn) == min(len(orders), max(len(drawn), 5))
    for row, order in zip(drawn, orders, strict=False):
        assert (row["id"], row["size"], row["ahead"]) == (str(order.order_id), order.size, order.queue_ahead)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word, as a firewall that drops does."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        yield hole.getsockname()[1]


def at_instants(screen: Screen, day: Day, instants: list[int]) -> None:
    """Seek to each, and see that what is drawn is the book then; every tenth time a queue as well."""
    for number, at in enumerate(instants):
        screen.seek(at - day.begin_ns, time_of_day(at))
        book = day.book(at)
        expect_book(screen, book, day.records[: book.status.messages])
        if number % 10 == 0:
            side = (Side.BID, Side.ASK)[number // 10 % 2]
            screen.keys("b" if side == Side.BID else "n")
            screen.until("m.queue.length && m.selected?.side === x", "the queue", "bid" if side == Side.BID else "ask")
            expect_queue(screen, book, side)
            screen.keys("Escape").until("m.selected === null && !m.queue.length", "no queue")
