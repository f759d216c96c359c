"""A browser without a network beyond the dashboard's own port, and dashboards to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.dashboards import Dashboard, Screen, black_hole

SIZE = {"width": 1600, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Debian's Chromium is; without it the test is skipped, or fails if MBO_REQUIRE has "chromium"."""
    if found := shutil.which("chromium"):
        return found
    missing = "there is no chromium on the path (Debian: apt-get install chromium)"
    if "chromium" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(missing)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser for which every host but localhost is a hole that answers nothing."""
    with black_hole() as hole, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                f"--host-resolver-rules=MAP * 127.0.0.1:{hole}, EXCLUDE localhost", "--no-sandbox",
                "--js-flags=--expose-gc", "--disable-gpu",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Dashboard]]:
    """Starts dashboards with an environment each; they end with the test."""
    with ExitStack() as stack:
        yield lambda **environment: stack.enter_context(Dashboard(tmp_path, **environment))


@pytest.fixture(scope="session")
def bundled(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """The dashboard with nothing else: it replays the bundled session."""
    with Dashboard(tmp_path_factory.mktemp("dashboard")) as dashboard:
        yield dashboard


@pytest.fixture
def outside() -> Iterator[list[str]]:
    """What pages asked of other hosts than the dashboard's: anything fails the test, unless the test cleared it."""
    asked: list[str] = []
    yield asked
    assert asked == []


@pytest.fixture
def context(browser: Browser, outside: list[str]) -> Iterator[BrowserContext]:
    """A window on its own, whose requests and sockets to other hosts are noted."""
    context = browser.new_context(viewport=SIZE, device_scale_factor=1, timezone_id="UTC", locale="en-GB")

    def note(url: str) -> None:
        if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).hostname != "localhost":
            outside.append(url)

    context.on("request", lambda request: note(request.url))
    context.on("page", lambda page: page.on("websocket", lambda link: note(link.url)))
    yield context
    context.close()


@pytest.fixture
def look(context: BrowserContext) -> Iterator[Callable[..., Screen]]:
    """Opens pages of a dashboard; one that said an error fails the test, unless the test cleared `wrong`."""
    screens: list[Screen] = []

    def opened(dashboard: Dashboard, query: str = "") -> Screen:
        screens.append(Screen(context, dashboard.url))
        return screens[-1].open(query)

    yield opened
    assert [wrong for screen in screens for wrong in screen.wrong] == []
