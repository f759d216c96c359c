"""Make the pictures of the documentation, of the bundled session: python -m tests.browser.screenshots [FOLDER]"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.dashboards import Dashboard, Screen

SIZE = {"width": 1600, "height": 900}
INSTANT = 36_500_000_000  # ns into the session
PICTURES = {
    "ladder-dark.png": ("dark", ""),
    "ladder-light.png": ("light", ""),
    "queue.png": ("dark", "bid"),
}


def picture(browser: Browser, url: str, path: Path, theme: str, side: str) -> None:
    context = browser.new_context(
        viewport=SIZE, device_scale_factor=1, timezone_id="UTC", locale="en-GB", reduced_motion="reduce"
    )
    screen = Screen(context, url).open(f"?t=0&theme={theme}&symbol=SIM1&centre=always")
    # Played up to near it first, so that the small charts, too, have something to show; then always the same moment.
    screen.choose("speed", "5").focus().keys("p").until("m.now > 28e9", "the session was played", limit_s=120).pause()
    screen.test("time").fill("14:30:36.5")
    screen.keys("Enter").until("Math.abs(m.now - x) < 1e6 && !m.playing", "the moment", INSTANT).focus()
    if side:
        tick = max(screen.rows, key=lambda row: row[f"{side}_ct"])["tick"]  # the longest queue
        screen.keys("b" if side == "bid" else "n").until("m.selected", "the best price")
        while (at := screen.one("selected")["tick"]) != tick:
            screen.keys("[" if at > tick else "]").until("m.selected.tick !== x", "the next price", at)
        screen.until("m.queue.length > 3", "the queue").keys("j").until("m.order !== null", "an order")
    screen.until("m.heat_cells > 100 && m.tape.length", "everything is drawn")
    screen.page.mouse.move(0, 0)
    calm = "() => document.querySelectorAll('.toast').length === 0"
    screen.page.wait_for_function(calm)
    screen.drawn().page.screenshot(path=path, animations="disabled", caret="hide")
    assert not screen.wrong, screen.wrong
    context.close()


def main(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium on the path (Debian: apt-get install chromium)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, Dashboard(Path(made)) as dashboard, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, (theme, side) in PICTURES.items():
            picture(browser, dashboard.url, Path(made) / name, theme, side)
            shutil.move(Path(made) / name, folder / name)
            print(folder / name)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
