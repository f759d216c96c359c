"""Over time and between processes: several viewers, hours of replay, a server that goes and comes, a gateway that does so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

import mbo
from mbo.live.gateway import Gateway
from mbo.simulator import write_session
from tests.browser.dashboards import Dashboard, Screen, expect_book
from tests.resilience.proxy import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SESSIONS = 10
FRAMES = 400
AGE_S = 1.0  # from the last frame to the sentence that the picture is old

# Notes, by the page's own clock, when frames come, and when the page first says that the picture is old.
WATCH = """() => {
    const seen = (window.seen = {n: 0, frame: null, stale: null});
    setInterval(() => {
        const {n, stale} = window.__mbo;
        const now = performance.now();
        if (n !== seen.n) Object.assign(seen, {n, frame: now});
        if (stale && seen.stale === null) seen.stale = now;
        if (!stale) seen.stale = null;
    }, 5);
}"""


def aged_s(screen: Screen) -> float:
    """Seconds from the last frame to when the page said that the picture is old."""
    seen = screen.page.evaluate("window.seen")
    return (seen["stale"] - seen["frame"]) / 1000


def is_grey(screen: Screen) -> bool:
    return screen.test("mbo").locator(".body.old").count() == 1 and screen.test("stale").is_visible()


# -------------------------------------------------------------------- for everybody


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("opened", [False, True], ids=["", "help"])
def test_axe_finds_nothing_serious(bundled, look, theme, opened):
    screen = look(bundled, f"?t=20000000000&theme={theme}").until("m.theme === x && !m.playing", "paused", theme)
    screen.focus().keys("b").until("m.queue.length", "a queue")
    if opened:
        screen.keys("?")
        screen.test("help").wait_for(state="visible")
    found = Axe().run(screen.page).response
    assert found["passes"], "axe has looked at something"
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in serious] == []


# -------------------------------------------------------------------- many, and for long


@pytest.fixture(scope="module")
def long(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """The dashboard with a session of two and a half minutes."""
    folder = tmp_path_factory.mktemp("long")
    write_session(folder / "long.dbn", 300_000, seed=3, resting=200)
    with Dashboard(folder, MBO_FILE=str(folder / "long.dbn")) as dashboard:
        yield dashboard


def test_ten_sessions_at_once_do_not_fall_behind(long, look):
    """Frames are left out before they wait: every page draws on, and what it draws does not get older.

    At speed 1 the replay's clock is that of the wall, so how far a page lags behind it may not grow. At most four frames are under
    way to a page, so no frame is older than the page takes for four.
    """
    screens = [look(long, "?t=0") for _ in range(SESSIONS)]
    behind = "(Date.now() - m.now / 1e6) / 1000"
    for screen in screens:
        screen.focus().keys("p").until("m.playing && m.now > 0", "it plays")
    first = []
    for screen in screens:
        first.append((screen.page.evaluate(f"() => {{ const m = window.__mbo; return {behind}; }}"), screen.one("n")))
    for screen, (_, number) in zip(screens, first, strict=True):
        screen.until("m.n > x + 15", "fifteen more frames", number, limit_s=60)
    for screen, (age, _) in zip(screens, first, strict=True):
        screen.until(f"m.playing && !m.stale && {behind} - x < 1", "it has not fallen behind", age)
        screen.until("m.lag_ms < 1000", "frames do not wait")


def test_a_long_replay_leaves_memory_flat(long, look):
    """The session is played over and over at speed. If the bytes of every frame were kept, by either side, it would be seen."""
    screen = look(long, "?t=0")
    tools = screen.page.context.new_cdp_session(screen.page)
    screen.choose("speed", "30").focus().keys("b", "p").until("m.playing", "it plays")

    def frames(count: int) -> tuple[int, int, int]:
        """Play so many frames; gives bytes received so far, of the browser's heap and of the server's memory."""
        wanted = screen.one("n") + count
        while screen.one("n") < wanted:
            screen.until("m.n >= x || m.state === 'ended'", "frames", wanted, limit_s=120)
            if screen.one("state") == "ended":
                screen.keys("p").until("m.playing && m.state !== 'ended'", "from the beginning again")
        tools.send("HeapProfiler.collectGarbage")
        heap = tools.send("Runtime.getHeapUsage")
        return screen.received, round(heap["usedSize"] + heap.get("backingStorageSize", 0)), long.rss

    frames(FRAMES)  # until all that is kept is there
    first = frames(FRAMES)
    second = frames(FRAMES)
    received, heap, rss = (after - before for before, after in zip(first, second, strict=True))
    assert received > FRAMES * 2_000
    assert heap < received / 2
    assert rss < received / 2


# -------------------------------------------------------------------- the server goes


def test_the_server_ends_and_comes_back(serve, look):
    dashboard: Dashboard = serve()
    screen = look(dashboard)
    screen.page.evaluate(WATCH)
    screen.until("window.seen.frame !== null", "frames come")
    dashboard.end(signal.SIGKILL)
    screen.until("window.seen.stale !== null", "it says that the picture is old")
    assert aged_s(screen) < AGE_S
    screen.page.wait_for_function(
        "(node) => /no connection/i.test(node.textContent)", arg=screen.test("stale").element_handle()
    )
    assert is_grey(screen)
    assert "no connection" in screen.test("status-state").text_content()
    dashboard.start()
    screen.page.reload(wait_until="domcontentloaded")
    screen.until("window.__mbo?.ready && m.drawn > 3 && m.playing && !m.stale", "it plays again", limit_s=90)
    assert not is_grey(screen)
    screen.wrong.clear()  # the browser says that there was no connection


# -------------------------------------------------------------------- live


@pytest.fixture
def day(tmp_path: Path) -> mbo.replay.Records:
    write_session(tmp_path / "live.dbn", 40_000, seed=12, instruments=2, resting=80)
    return mbo.read_dbn(tmp_path / "live.dbn")


def to_the_end(screen: Screen, day: mbo.replay.Records) -> None:
    """Both books as they are drawn in the end are those of the file."""
    records = day.load()
    for symbol in day.symbols:
        screen.choose("symbol", symbol).focus()
        own = records[records["instrument_id"] == day.symbol_map.find(symbol)[0].instrument_id]
        screen.until("m.symbol === x[0] && m.record === x[1]", f"all of {symbol}", [symbol, len(own)], limit_s=60)
        screen.keys("Space").drawn()
        expect_book(screen, day.book(symbol), own)


def test_live_stream_is_drawn_to_its_end(serve, look, day):
    with Gateway(day, rate=8_000) as gateway:
        screen = look(serve(MBO_FEED=gateway.url))
        assert screen.one("state") == "live"
        assert not screen.one("stale")
        for testid in ("play", "speed", "seek", "time"):
            assert not screen.test(testid).is_visible(), "what a live stream cannot do is not there"
        to_the_end(screen, day)


def test_the_gateway_goes_and_comes_back(serve, look, day):
    """The connection is lost: the page is grey within a second and says why. It comes back, and nothing is missing."""
    with Gateway(day, rate=2_000) as gateway, Proxy(gateway.url) as proxy:
        screen = look(serve(MBO_FEED=proxy.url))
        screen.until("m.state === 'live' && m.record > 0", "live")
        screen.page.evaluate(WATCH)
        screen.until("window.seen.frame !== null", "frames come")
        proxy.deafen()
        screen.until("window.seen.stale !== null", "it says that the picture is old")
        assert aged_s(screen) < AGE_S
        screen.until("m.state === 'reconnecting'", "it says why")
        assert is_grey(screen)
        words = screen.test("stale").element_handle()
        screen.page.wait_for_function("(node) => node.textContent.includes('RECONNECTING')", arg=words)
        proxy.hear()
        screen.until("m.state === 'live' && !m.stale", "live again", limit_s=60)
        assert not is_grey(screen)
        assert screen.test("status-reconnects").text_content().endswith("1")
        assert screen.test("status-gaps").text_content() == "gaps 0"
        gateway.set_pace(rate=20_000)
        to_the_end(screen, day)


def test_lost_records_are_counted_as_a_gap(serve, look, day, tmp_path: Path):
    """Another gateway comes up at the same address, with the same books much later: what lay between is missing."""
    with Gateway(day, rate=2_000) as gateway, Proxy(gateway.url) as proxy:
        screen = look(serve(MBO_FEED=proxy.url))
        screen.until("m.state === 'live' && m.record > 100", "live")
        proxy.deafen()
        screen.until("m.stale", "stale")
        write_session(tmp_path / "other.dbn", 30_000, seed=99, instruments=2, resting=50)
        other = mbo.read_dbn(tmp_path / "other.dbn")
        with Gateway(other, rate=5_000) as second:
            proxy.target = ("127.0.0.1", second.port)
            proxy.hear()
            screen.until("m.state === 'live' && !m.stale", "live again", limit_s=60)
            screen.page.wait_for_function(
                "(node) => /gaps [1-9]/.test(node.textContent)", arg=screen.test("status-gaps").element_handle()
            )
