"""`mbo bench dashboard`: how many frames a screen gets, how late they are, what they cost the server, and a fast feed beside them.

The server is a process of its own, and so is the browser, headless Chromium with Playwright, which draws without a graphics card.
The server's work is all the processor time of its process, divided by the frames it has sent. Lag is from when a frame was made
to when the page has it. Every run ends in the digest that the file has. Where there is no browser, viewers without a screen take
the frames, and only the server's work is measured.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import mbo
from mbo.bench.apart import need_room
from mbo.bench.row import Aim, Row
from mbo.errors import InternalError, LostError
from mbo.live.process import GatewayProcess, end
from mbo.records import MBO_DTYPE
from mbo.simulator import write_session

MESSAGES: Final = 400_000  # of the session that is replayed, some 1,000 a second
SECONDS: Final = 10
SESSIONS: Final = 10
LOADS: Final = 5
RATE: Final = 500_000
FED_S: Final = 16  # of the fast feed
_LEAD_NS: Final = 200_000_000
_LIMIT_S: Final = 120.0
_SIZE: Final = {"width": 1600, "height": 900}

# Notes when the first picture was drawn (ms since the page was asked for), and the lag of every frame that came.
_NOTES: Final = """() => {
    const notes = (window.notes = {first: null, n: 0, lags: []});
    const look = (now) => {
        const drawn = window.__mbo;
        if (drawn?.drawn && notes.first === null) notes.first = now;
        if (drawn && drawn.n !== notes.n) notes.lags.push(drawn.lag_ms);
        notes.n = drawn?.n ?? 0;
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


_SWITCH_S: Final = 0.0005  # as the dashboard sets it for a feed


def dashboard() -> Iterator[Row]:
    """Measure the dashboard, from the book to the screen."""
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        replayed, fed = Path(folder) / "replayed.dbn", Path(folder) / "fed.dbn"
        need_room(folder, (MESSAGES + RATE * FED_S) * MBO_DTYPE.itemsize)
        write_session(replayed, MESSAGES, seed=1)
        write_session(fed, RATE * FED_S, seed=2)
        if (found := _chromium()) is None:
            yield from _without_screens(replayed, 1)
            yield from _without_screens(replayed, SESSIONS)
            with _server(feed=fed) as server:
                yield _feed_row(server, "with no page: there is no Chromium")
            return
        with _browser(found) as browser:
            with _server(file=replayed) as server:
                yield _first_paint(server, browser)
            for count in (1, SESSIONS):  # each a server of its own: pages that were closed are let go only later
                with _server(file=replayed) as server:
                    yield from _screens(server, browser, count)
            with _server(feed=fed) as server:
                page = _page(browser, server.url)
                row = _feed_row(server, "while one page draws", page)
                page.close()
                yield row


# ---------------------------------------------------------------- the browser


def _chromium() -> str | None:
    """Find a browser to measure with."""
    return shutil.which("chromium") if find_spec("playwright") is not None else None


@contextmanager
def _browser(path: str) -> Iterator[Any]:
    playwright = import_module("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def _page(browser: Any, url: str) -> Any:
    page = browser.new_page(viewport=_SIZE)
    page.add_init_script(f"({_NOTES})()")
    page.goto(url, wait_until="commit", timeout=_LIMIT_S * 1000)
    page.wait_for_function("() => window.notes.first !== null", polling=100, timeout=_LIMIT_S * 1000)
    return page


def _first_paint(server: _Server, browser: Any) -> Row:
    """Load the page several times over; the first one, which compiles what it needs, is not counted."""
    seconds = []
    for _ in range(LOADS + 1):
        page = _page(browser, server.url)
        seconds.append(page.evaluate("window.notes.first") / 1000)
        page.close()
    return Row("first paint", 0, seconds[1:], "s", [Aim(2, most=True)], figures={"the very first": seconds[0]})


def _screens(server: _Server, browser: Any, count: int) -> Iterator[Row]:
    """Let so many pages draw the replay at its own speed."""
    pages = [_page(browser, server.url) for _ in range(count)]
    for page in pages:
        page.evaluate("() => { window.notes.lags = []; }")
    before, begun = server.say(), time.monotonic()
    time.sleep(SECONDS)
    after, seconds = server.say(), time.monotonic() - begun
    lags = [sorted(page.evaluate("window.notes.lags")) for page in pages]  # one for each frame that was drawn
    if any(not one for one in lags) or after["viewers"] != count:
        raise LostError(f"of {count} pages {sum(map(bool, lags))} got frames, and {after['viewers']} are connected")
    server.check()
    for page in pages:
        page.close()
    name = "one session" if count == 1 else f"{count} sessions"
    frames = after["frames"] - before["frames"]
    aims = [Aim(60)] if count == 1 else []
    yield Row(f"{name}: frames a second", frames, [len(one) / seconds for one in lags], "fps", aims)
    yield _work(name, before, after, count)
    worst = [one[-1] for one in lags]
    figures = {"p50": max(one[len(one) // 2] for one in lags), "worst": max(worst)}
    if count == 1:
        high = [one[int(len(one) * 0.99)] for one in lags]
        yield Row(f"{name}: lag", frames, high, "ms p99", [Aim(150, most=True)], figures=figures)
    else:
        yield Row(f"{name}: worst lag of each", frames, worst, "ms", [Aim(150, "worst", most=True)], figures=figures)


def _work(name: str, before: dict[str, Any], after: dict[str, Any], count: int, detail: str = "") -> Row:
    frames = after["frames"] - before["frames"]
    own = (after["busy_s"] - before["busy_s"]) / frames * 1e3
    ms = (after["cpu_s"] - before["cpu_s"]) / frames * 1e3
    aim = Aim(2 if count == 1 else 1, most=True)
    figures = {"to make and hand over a frame": own}
    return Row(f"{name}: the server's work", frames, [ms], "ms a frame", [aim], figures=figures, detail=detail)


def _feed_row(server: _Server, beside: str, page: Any = None) -> Row:
    found = server.say(wait=True)
    server.check()
    ms = {name: found["latency"][name] / 1e6 for name in ("p50", "p99", "p99.9", "max")}
    p99, detail = ms.pop("p99"), ""
    if page is not None:
        drawn = page.evaluate("window.__mbo.drawn")
        if drawn < FED_S:
            raise LostError(f"only {drawn} frames were drawn beside the feed")
        detail = f"{drawn:,} frames drawn"
    name, aims = f"the book at {RATE:,} a second {beside}", [Aim(10, most=True)]
    return Row(name, found["applied"], [p99], "ms p99", aims, figures=ms, detail=detail)


# ---------------------------------------------------------------- the server's process


class _Server:
    """A process with a page of books; what it is told, and what it answers, are lines of JSON."""

    def __init__(self, process: subprocess.Popen[bytes], expected: dict[str, str]) -> None:
        self._process = process
        self._expected = expected
        self.url = f"http://localhost:{self._hear()['port']}/"

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LostError("the server's process has ended")
        return cast("dict[str, Any]", json.loads(line))

    def say(self, **command: Any) -> dict[str, Any]:
        """Tell it something, nothing for its figures."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def check(self) -> None:
        """Compare what is shown at the end with the file."""
        found = self.say(check=True)["digests"]
        if not found or any(one not in (list(self._expected.values()), self._expected) for one in found):
            raise InternalError("a book that was drawn differs from the file's")


@contextmanager
def _server(*, file: Path | None = None, feed: Path | None = None) -> Iterator[_Server]:
    path = cast("Path", file or feed)
    books = mbo.read_dbn(path).books()
    expected = {str(key): book.digest() for key, book in books.items()}
    with GatewayProcess([path], rate=RATE) as gateway:
        process = subprocess.Popen(
            [sys.executable, "-c", "from mbo.bench.dashboard import child; child()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            options = {"file": str(file)} if file else {"feed": gateway.url}
            process.stdin.write(json.dumps(options).encode() + b"\n")
            process.stdin.flush()
            server = _Server(process, expected)
            if feed:
                begin = time.monotonic_ns() + _LEAD_NS
                server.say(begin=begin)
                gateway.begin(begin)
            yield server
        finally:
            end(process)


def child() -> None:
    """Be the server's process: serve until the input ends."""
    import panel as pn

    from mbo.view import Broadcast, Ladder, Live, Program, Recorded
    from mbo.view.hub import HUB

    for name in ("asyncio", "bokeh", "tornado"):  # of pages that are closed while a frame is under way
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = json.loads(sys.stdin.readline())
    program: Program
    if "feed" in options:
        sys.setswitchinterval(_SWITCH_S)
        live = Live(options["feed"])
        program = Broadcast(live.start())
    else:
        program = Recorded.of(mbo.read_dbn(options["file"]), simulated=True)
        program.index().wait()

    def page() -> Any:
        return Ladder(program, sizing_mode="stretch_both", min_height=800)

    loop: Any = None
    server = pn.serve(page, port=0, show=False, start=False, verbose=False)  # type: ignore[no-untyped-call]

    def viewers() -> list[Any]:
        return list(HUB._viewers)

    async def answer(command: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "frames": HUB.frames, "busy_s": HUB.busy_s, "viewers": len(HUB), "cpu_s": time.process_time(),
        }  # fmt: skip
        if "begin" in command:
            live.feed.measure(command["begin"], RATE)
        if "feed" in options and command.get("wait"):
            while not live.feed.status.ended:
                await asyncio.sleep(0.05)
            live.turn()
            latency = live.feed.latency
            found["applied"] = live.feed.status.applied
            found["latency"] = {f"p{q:g}": latency.percentile(q) for q in (50, 99, 99.9)} | {"max": latency.max}
        if command.get("check") and "feed" in options:
            fed = live.feed.ask(lambda books: {str(key): book.digest() for key, book in books.items()})
            drawn = {str(key): book.digest() for key, book in live.stage.books.items()}
            found["digests"] = [fed, drawn]
        elif command.get("check"):
            for viewer in viewers():
                viewer.player.pause()
                viewer.seek(viewer.index.end_ns)
            found["digests"] = [[viewer.player.book.digest()] for viewer in viewers()]
        return found

    def listen() -> None:
        for line in sys.stdin:
            done = asyncio.run_coroutine_threadsafe(answer(json.loads(line)), loop)
            print(json.dumps(done.result(_LIMIT_S)), flush=True)
        server.io_loop.add_callback(server.io_loop.stop)

    async def begin() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        HUB.keep(program)
        print(json.dumps({"port": server.port}), flush=True)
        threading.Thread(target=listen, daemon=True).start()

    server.start()
    server.io_loop.add_callback(begin)
    server.io_loop.start()
    program.close()
    sys.stdout.flush()
    os._exit(0)  # what still listens has nothing more to say


# ---------------------------------------------------------------- without a browser


def _without_screens(path: Path, count: int) -> Iterator[Row]:
    """Have viewers take frames that nobody draws."""
    from mbo.view import Hub, Recorded

    day = mbo.read_dbn(path)
    expected = day.book().digest()
    program = Recorded.of(day, simulated=True)
    program.index().wait()
    viewers = [program.viewer() for _ in range(count)]
    hub = Hub()

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        for viewer in viewers:

            def send(frame: bytes, viewer: Any = viewer) -> None:
                viewer.handle({"do": "ack", "n": viewer.number})

            viewer.handle({"do": "ready"})
            viewer.player.play()
            hub.add(viewer, program, send)
        marks = []
        for pause_s in (1.0, float(SECONDS)):
            await asyncio.sleep(pause_s)
            marks.append({"frames": hub.frames, "busy_s": hub.busy_s, "cpu_s": time.process_time()})
        for viewer in viewers:
            hub.remove(viewer)
        return marks[0], marks[1]

    before, after = asyncio.run(run())
    for viewer in viewers:
        viewer.seek(viewer.index.end_ns)
        if viewer.player.book is None or viewer.player.book.digest() != expected:
            raise InternalError("a book that was drawn differs from the file's")
    program.close()
    name = "one viewer" if count == 1 else f"{count} viewers"
    yield _work(f"{name} without a screen", before, after, count, "there is no Chromium: fps and lag were not measured")
