"""What is drawn is the book, at hundreds of instants, with nothing but the dashboard's own server."""

from __future__ import annotations

from pathlib import Path

import pytest

import mbo
from mbo.book import Book
from mbo.records import times_of
from mbo.simulator import simulate
from tests.browser.dashboards import Day, Screen, at_instants, expect_book, time_of_day
from tests.builders import NOON, dbn_bytes, write
from tests.conftest import real

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SEEKS, STEPS = 35, 35  # for each symbol of the bundled session: 210 instants in all


def after_steps(screen: Screen, day: Day, count: int) -> None:
    for number in range(count):
        key = (".", ".", ",", ">", "<")[number % 5]
        before = screen.one("event")
        wanted = before + {".": 1, ",": -1, ">": 10, "<": -10}[key]
        screen.keys(key).until("m.event === x", f"event {wanted}", wanted)
        records = day.records[: screen.one("record")]
        book = Book()
        book.apply(records)
        expect_book(screen, book, records)
        assert screen.one("now") == int(times_of(records).max()) - day.begin_ns


def test_renders_with_nothing_but_its_server(bundled, look):
    screen = look(bundled)
    assert screen.test("book-text").text_content().startswith("SIM1: bid ")
    assert screen.test("status-simulated").text_content() == "simulated data"
    for testid in ("heat", "ladder", "tape", "depth"):
        colours = screen.test(testid).evaluate(
            """(canvas) => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )
        assert colours > 8, testid


def test_other_hosts_are_a_black_hole_and_are_noticed(bundled, look, outside):
    """What the tests rely on: a request to another host neither succeeds nor fails, is noted, and holds nothing up."""
    screen = look(bundled)
    answered = screen.page.evaluate(
        """() => {
            const asked = fetch("http://example.invalid/").then(() => "answered", () => "failed");
            return Promise.race([asked, new Promise((done) => setTimeout(() => done("silent"), 300))]);
        }"""
    )
    assert answered == "silent"
    assert outside == ["http://example.invalid/"]
    outside.clear()
    begun = screen.one("drawn")
    screen.until("m.drawn > x + 5", "it goes on drawing", begun)


@pytest.mark.parametrize("symbol", ["SIM1", "SIM2", "SIM3"])
def test_hundreds_of_paused_instants_are_the_book(bundled, look, symbol):
    day = Day(mbo.read_dbn(mbo.SIMULATED), symbol)
    screen = look(bundled, f"?symbol={symbol}&t=0").pause()
    assert screen.one("symbol") == symbol
    at_instants(screen, day, day.instants(SEEKS, seed=len(day.records)))
    after_steps(screen, day, STEPS)


@pytest.mark.data
def test_a_real_day_is_drawn_as_it_is(serve, look):
    path = real("CLX5_mbo.dbn")
    day = Day(mbo.read_dbn(path), None)
    screen = look(serve(MBO_FILE=str(path)), "?t=0").pause()
    screen.focus().keys("End").until("m.record === x", "the whole day is gone through", len(day.records))
    at_instants(screen, day, day.instants(20, seed=9))


def test_tape_shows_the_last_trades(bundled, look):
    day = Day(mbo.read_dbn(mbo.SIMULATED), "SIM1")
    screen = look(bundled, "?t=0").pause()
    for at in day.instants(5, seed=2):
        screen.seek(at - day.begin_ns, time_of_day(at))
        records = day.records[: screen.one("record")]
        trades = records[records["action"] == ord("T")][::-1]
        drawn = screen.one("tape")
        assert len(drawn) > 3
        for row, trade in zip(drawn, trades[: len(drawn)], strict=True):
            side = {ord("B"): 1, ord("A"): -1}.get(int(trade["side"]), 0)
            assert (row["size"], row["side"]) == (trade["size"], side)
            assert row["price"] == f"{trade['price'] / 1e9:.2f}"
            assert row["time"] == time_of_day(int(trade["ts_recv"]))


def test_a_symbol_cannot_bring_markup(serve, look, tmp_path: Path):
    """Symbols come from files; one that is markup is drawn as the text it is."""
    hostile = '<img src=x onerror="window.hit=1">'
    records = simulate(2_000, seed=4, resting=30).records.copy()
    records["instrument_id"], records["publisher_id"] = 7, 1
    shift = records["ts_recv"].min()
    for name in ("ts_recv", "ts_event"):
        records[name] = records[name] - shift + NOON
    path = write(tmp_path / "hostile.dbn", dbn_bytes(records, symbols={hostile: 7}))
    screen = look(serve(MBO_FILE=str(path)), "?t=1e9")
    assert screen.one("symbol") == hostile
    assert hostile in screen.test("book-text").text_content()
    assert screen.test("name").text_content() == hostile
    assert screen.test("mbo").locator("img").count() == 0
    assert screen.page.evaluate("window.hit") is None
