"""Every control, by mouse and by keyboard, as somebody would use it; and what the page's address keeps of it."""

from __future__ import annotations

import re

import pytest

from tests.browser.dashboards import Screen, same_price

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

MIDDLE = "?t=20000000000"  # paused 20 s into the bundled session


@pytest.fixture
def screen(bundled, look) -> Screen:
    return look(bundled, MIDDLE).until("!m.playing && m.now === 20e9", "20 s into the session").focus()


def middle_of(screen: Screen, testid: str) -> tuple[float, float]:
    box = screen.test(testid).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def top_of(screen: Screen) -> int:
    return screen.rows[0]["tick"]


# -------------------------------------------------------------------- replay


def test_play_and_pause(screen):
    assert screen.test("play").get_attribute("aria-label") == "Play (P)"
    screen.click("play").until("m.playing && m.now > 20e9", "it plays")
    screen.click("play").until("!m.playing", "it pauses")
    assert screen.test("play").get_attribute("aria-label") == "Play (P)"
    there = screen.one("now")
    screen.keys("p").until("m.playing && m.now > x", "it plays on", there)
    assert screen.test("play").get_attribute("aria-label") == "Pause (P)"
    screen.keys("p").until("!m.playing", "it pauses")


def test_step(screen):
    events = screen.one("event")
    screen.click("step-forward").until("m.event === x", "one forward", events + 1)
    screen.click("step-back").until("m.event === x", "one back", events)
    for key, by in ((".", 1), (">", 10), ("<", -10), (",", -1)):
        events += by
        screen.keys(key).until("m.event === x", f"{by} by the key {key}", events)


def test_step_pauses(screen):
    screen.keys("p").until("m.playing", "it plays").keys(".").until("!m.playing", "a step ends it")


def test_seek_by_slider_and_keys(screen):
    slider = screen.test("seek")
    box = slider.bounding_box()
    screen.page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    screen.until("m.now > 8e9 && m.now < 12e9", "a quarter of the session")
    slider.focus()
    there = screen.one("now")
    screen.keys("ArrowRight").until("m.now > x && m.now < x + 1e9", "a little on", there)
    screen.keys("ArrowLeft").until("m.now <= x", "and back", there)
    screen.focus().keys("Home").until("m.now === 0 && m.record >= 0", "the beginning")
    screen.keys("ArrowRight").until("m.now === 10e9", "10 s on")
    screen.keys("Shift+ArrowRight").until("m.now > 39e9", "a minute on is the end")
    screen.keys("ArrowLeft").until("m.now > 29e9 && m.now < 30e9", "10 s back")
    screen.keys("End").until("m.now > 39e9 && m.state === 'ended'", "the end")


def test_time_field(screen):
    screen.keys("s")
    assert screen.test("time").evaluate("(node) => node === node.getRootNode().activeElement")
    screen.page.keyboard.type("14:30:07.5")  # it was selected whole
    screen.keys("Enter").until("Math.abs(m.now - 7.5e9) < 1e6", "7.5 s into the session")
    screen.click("time")
    screen.test("time").fill("25:00")
    screen.keys("Enter")
    assert screen.test("time").get_attribute("aria-invalid") == "true"
    assert '"25:00" is not a time' in screen.test("notices").text_content()
    screen.test("time").fill("18:00:00")
    screen.keys("Enter")
    assert "not within the session" in screen.test("notices").text_content()
    screen.keys("Escape")
    assert screen.test("time").get_attribute("aria-invalid") is None
    field = screen.test("time").element_handle()
    screen.page.wait_for_function("(node) => node.value === '14:30:07'", arg=field)  # written a few times a second
    assert abs(screen.one("now") - 7.5e9) < 1e6


def test_speed(screen):
    screen.choose("speed", "10").until("m.speed === 10", "ten times")
    screen.keys("+").until("m.speed === 30", "faster")
    screen.keys("-").until("m.speed === 10", "slower")
    screen.choose("speed", "0").until("m.speed === 0", "as fast as it goes")
    assert screen.test("speed").evaluate("(node) => node.selectedOptions[0].textContent") == "max"
    screen.keys("p").until("m.state === 'ended' && m.now > 39e9", "the end at once")


def test_symbol(screen):
    screen.choose("symbol", "SIM2").until(
        "m.symbol === 'SIM2' && m.record > 0 && Math.abs(m.now - 20e9) < 1e3", "SIM2, same moment"
    )
    assert screen.test("book-text").text_content().startswith("SIM2: ")
    screen.keys("i").until("m.symbol === 'SIM3' && m.record > 0", "the next")
    screen.keys("Shift+I").until("m.symbol === 'SIM2'", "the one before")
    assert screen.rows[0]["price"] != ""


# -------------------------------------------------------------------- ladder


def test_grouping_sums_what_it_joins(screen):
    screen.focus().keys("0")  # no command
    fine = {same_price(row["price"]): row for row in screen.rows}
    names = ("bid", "bid_ct", "ask", "ask_ct", "sold", "bought")
    screen.choose("group", "5").until("m.group === 5", "five ticks a row")
    joined = 0
    for row in screen.rows:
        cents = round(float(row["price"]) * 100)
        assert cents % 5 == 0
        parts = [fine.get(same_price(f"{(cents + i) / 100:.2f}")) for i in range(5)]
        if None in parts:
            continue
        joined += 1
        for name in names:
            assert row[name] == sum(part[name] for part in parts), (row["price"], name)
    assert joined > 3
    screen.keys("g").until("m.group === 10", "more")
    screen.keys("Shift+G", "Shift+G").until("m.group === 2", "fewer")


def test_centring(screen):
    for mode in ("off", "smooth", "always", "edge"):
        screen.choose("centre", mode).until("m.centre === x", mode, mode)
    for mode in ("smooth", "always", "off"):
        screen.keys("m").until("m.centre === x", f"{mode} by key", mode)
    top = top_of(screen)
    screen.keys("ArrowLeft", "End")
    screen.until("m.now > 39e9", "another time")
    assert top_of(screen) == top, "off is off"
    screen.choose("centre", "always").until("m.rows[0].tick !== x", "it follows", top)


def test_scrolling_and_recentring(screen):
    top = top_of(screen)
    screen.keys("ArrowUp", "ArrowUp").until("m.rows[0].tick === x", "two rows up", top + 2)
    screen.keys("ArrowDown").until("m.rows[0].tick === x", "one down", top + 1)
    screen.keys("PageUp").until("m.rows[0].tick > x + 15", "a page up", top)
    screen.keys("PageDown").until("m.rows[0].tick === x", "a page down", top + 1)
    centred = "!m.held && m.rows.some((row) => row.tick === m.bbo[0])"

    def away() -> None:
        screen.keys("PageUp", "PageUp").until("m.held && m.rows.at(-1).tick > m.bbo[3]", "far away")

    away()
    screen.keys("Space").until(centred, "the middle by key")
    away()
    screen.click("recentre").until(centred, "the middle by button")
    away()
    screen.page.mouse.move(*middle_of(screen, "ladder"))
    screen.page.mouse.click(*middle_of(screen, "ladder"), button="middle")
    screen.until(centred, "the middle by the middle button")
    top = top_of(screen)
    screen.page.mouse.wheel(0, 120)
    screen.until("m.rows[0].tick < x", "the wheel scrolls", top)


def test_height_of_rows(screen):
    count = len(screen.rows)
    screen.page.keyboard.press(")")
    screen.until("m.rows.length < x", "higher rows", count)
    screen.page.keyboard.press("(")
    screen.until("m.rows.length === x", "as before", count)


def test_cumulative_depth(screen):
    pressed = screen.test("sums")
    before = screen.picture("ladder")
    screen.click("sums").drawn()
    assert screen.picture("ladder") != before
    sums = [row["bid_sum"] for row in screen.rows if row["bid"]]
    assert sums == sorted(sums)
    assert sums[0] < sums[-1]
    screen.page.wait_for_function(
        "(node) => node.getAttribute('aria-pressed') === 'true'", arg=pressed.element_handle()
    )
    screen.keys("v")
    screen.page.wait_for_function(
        "(node) => node.getAttribute('aria-pressed') === 'false'", arg=pressed.element_handle()
    )


def test_clear_recent_trades(screen):
    recent = "m.rows.some((row) => row.sold_recently || row.bought_recently)"
    screen.until(recent, "recent trades")
    sold = [row["sold"] for row in screen.rows]
    screen.click("clear").until(f"!({recent})", "none by the button")
    assert [row["sold"] for row in screen.rows] == sold
    screen.keys("p").until(f"m.playing && {recent}", "new ones").keys("p").until("!m.playing", "paused")
    screen.keys("c").until(f"!({recent})", "none by the key")


# -------------------------------------------------------------------- look


def test_palette_and_theme(screen):
    before = screen.picture("ladder")
    screen.choose("palette", "teal/magenta").until("m.palette === 'teal/magenta'", "another palette")
    assert screen.picture("ladder") != before
    screen.keys("l").until("m.palette === 'green/red'", "the next")
    dark = screen.test("mbo").evaluate("(node) => getComputedStyle(node).backgroundColor")
    screen.click("theme").until("m.theme === 'light'", "light")
    assert screen.test("mbo").evaluate("(node) => getComputedStyle(node).backgroundColor") != dark
    screen.keys("t").until("m.theme === 'dark'", "dark")
    assert screen.test("mbo").evaluate("(node) => getComputedStyle(node).backgroundColor") == dark


def test_tape_filter(screen):
    everything = screen.one("tape")
    assert any(row["size"] < 20 for row in everything)
    screen.keys("/")
    screen.page.keyboard.type("20")
    screen.keys("Enter").until("m.tape.length && m.tape.every((row) => row.size >= 20)", "large ones only")
    large = [row for row in everything if row["size"] >= 20]
    assert screen.one("tape")[: len(large)] == large
    screen.click("tape-min")
    screen.test("tape-min").fill("1")
    screen.keys("Enter").until("JSON.stringify(m.tape) === JSON.stringify(x)", "all of them", everything)


def test_cut_offs_of_the_colours(screen):
    def dark_cells() -> int:
        return screen.test("heat").evaluate(
            """(canvas) => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return new Uint32Array(data.buffer).reduce((sum, pixel) => sum + (pixel === 0xff140e0b), 0);
            }"""
        )

    before, picture = dark_cells(), screen.picture("heat")
    screen.test("heat-low").fill("100")
    screen.keys("Enter").drawn()
    assert dark_cells() > 1.5 * before, "sizes below 100 are left blank"
    screen.test("heat-low").fill("1")
    screen.keys("Enter").drawn()
    assert screen.picture("heat") == picture
    screen.test("heat-high").fill("20")
    screen.keys("Enter").drawn()
    assert screen.picture("heat") != picture
    screen.test("heat-high").fill("")
    screen.keys("Enter").drawn()
    assert screen.picture("heat") == picture


def test_zoom_and_pan(screen):
    columns = screen.one("heat_cells")
    screen.click("zoom-in").until("m.heat_cells < x", "nearer by the button", columns)
    near = screen.one("heat_cells")
    screen.click("zoom-out").until("m.heat_cells > x", "farther by the button", near)
    screen.keys("z", "z", "z").until("m.heat_cells < x", "nearer by key", columns)
    near = screen.one("heat_cells")
    present = screen.picture("heat")
    screen.keys("a").drawn()
    past = screen.picture("heat")
    assert past != present
    screen.keys("d").drawn()
    assert screen.picture("heat") == present
    screen.keys("a").drawn().keys("f").drawn()
    assert screen.picture("heat") == present
    screen.keys("a").drawn()
    screen.click("present").drawn()
    screen.page.mouse.move(0, 0)
    assert screen.drawn().picture("heat") == present
    screen.keys("x").until("m.heat_cells > x", "farther by key", near)
    screen.keys("z").until("m.heat_cells === x", "nearer again", near)
    x, y = middle_of(screen, "heat")
    screen.page.mouse.move(x, y)
    screen.page.mouse.wheel(0, 120)
    screen.until("m.heat_cells > x", "farther by the wheel", near)
    top = top_of(screen)
    screen.page.mouse.down()
    screen.page.mouse.move(x + 200, y + 60, steps=5)
    screen.page.mouse.up()
    screen.until("m.rows[0].tick > x", "dragged down: higher prices", top)
    assert screen.drawn().one("selected") is None, "a drag selects nothing"
    screen.page.mouse.dblclick(x, y)
    screen.until("!m.held", "back in the middle")


# -------------------------------------------------------------------- queue


def test_selecting_a_price(screen):
    bid, ask = screen.one("bbo")[0], screen.one("bbo")[3]
    screen.keys("b").until("m.selected?.tick === x && m.queue.length", "the best bid", bid)
    screen.keys("n").until("m.selected?.tick === x && m.selected.side === 'ask'", "the best ask", ask)
    screen.keys("]").until("m.selected?.tick > x", "above", ask)
    screen.keys("[", "[").until("m.selected?.tick <= x", "below", ask)
    screen.keys("Escape").until("m.selected === null && !m.queue.length", "none")
    rows = screen.rows
    number = next(i for i, row in enumerate(rows) if row["bid"])
    box = screen.test("ladder").bounding_box()
    y = 20 + (number + 0.5) * (box["height"] - 58) / len(rows)
    height = [row["bid"] for row in rows]
    screen.page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + y)
    screen.until("m.selected?.side === 'bid' && m.queue.length", "a bid by click")
    picked = next(row for row in rows if row["tick"] == screen.one("selected")["tick"])
    assert abs(rows.index(picked) - number) <= 1
    queue = screen.one("queue")
    assert len(queue) <= picked["bid_ct"]
    assert len(queue) < picked["bid_ct"] or sum(order["size"] for order in queue) == picked["bid"] in height
    assert [order["ahead"] for order in queue] == [sum(o["size"] for o in queue[:i]) for i in range(len(queue))]
    assert screen.test("queue-text").text_content().startswith(f"{picked['bid_ct']} order")
    screen.click("queue-close").until("m.selected === null && !m.queue.length", "none by the button")


def test_following_an_order(screen):
    screen.keys("b").until("m.queue.length", "a queue")
    first = screen.one("queue")[0]["id"]
    screen.keys("j").until("m.order?.order_id === x", "the first by key", first)
    if len(screen.one("queue")) > 1:
        screen.keys("j").until("m.order?.order_id === x", "the second", screen.one("queue")[1]["id"])
        screen.keys("k").until("m.order?.order_id === x", "and back", first)
    order = screen.one("order")
    assert (order["state"], order["orders_ahead"], order["ahead"]) == ("resting", 0, 0)
    assert order["life"][0][1] == "added" or order["life"] == []
    screen.keys("Escape").until("m.order === null && m.selected", "the order is let go first")
    box = screen.test("queue").bounding_box()
    screen.page.mouse.click(box["x"] + 60, box["y"] + 18 + 16 + 2 + 8)
    screen.until("m.order?.order_id === x", "the first by click", first)
    screen.focus().keys("p").until("m.order && m.order.state !== 'resting'", "its life ends")
    screen.keys("p").until("!m.playing", "paused")
    assert screen.one("order")["life"][-1][1] in ("filled", "cancelled")
    screen.keys("Escape").until("m.order === null", "the order is let go")
    screen.keys("Escape").until("m.selected === null", "and the price")


# -------------------------------------------------------------------- help, address


def test_help(screen):
    dialog = screen.test("help")
    screen.keys("?")
    dialog.wait_for(state="visible")
    for word in ("recentre", "play, pause", "best bid, best ask", "time field"):
        assert dialog.get_by_text(word, exact=True).is_visible()
    before = screen.short()
    screen.keys("t", "b")  # the keys of the page behind it rest
    screen.keys("Escape")
    dialog.wait_for(state="hidden")
    assert screen.one("theme") == "dark"
    assert screen.short() == before or screen.one("selected") is None
    screen.click("help-open")
    dialog.wait_for(state="visible")
    screen.click("help-close")
    dialog.wait_for(state="hidden")
    screen.focus().keys("t").until("m.theme === 'light'", "keys work again")


def test_keys_stay_out_of_fields(screen):
    screen.click("time")
    screen.page.keyboard.type("tpb")
    assert (screen.one("theme"), screen.one("playing"), screen.one("selected")) == ("dark", False, None)
    assert "tpb" in screen.test("time").input_value()


def test_everything_is_reached_with_the_tab_key(screen):
    reached: list[str] = []
    for _ in range(60):
        screen.keys("Tab")
        reached.append(
            screen.test("mbo").evaluate("(node) => node.getRootNode().activeElement?.dataset.testid ?? ''"),
        )
    wanted = (
        "symbol step-back play step-forward speed seek time group centre recentre palette theme help-open heat-low heat-high "
        "zoom-in zoom-out present sums clear tape-min"
    )
    assert set(wanted.split()) - set(reached) == set()


def test_address_keeps_what_was_chosen_and_a_reload_finds_it(screen):
    screen.choose("symbol", "SIM2").until("m.symbol === 'SIM2'", "SIM2")
    screen.choose("group", "2").choose("centre", "always").choose("palette", "grey")
    screen.click("theme")
    screen.test("tape-min").fill("7")
    screen.keys("Enter")
    screen.test("heat-low").fill("3")
    screen.keys("Enter")
    screen.focus().keys("ArrowRight").until("Math.abs(m.now - 30e9) < 1e3", "30 s into the session")
    wanted = {"symbol": "SIM2", "group": "2", "centre": "always", "palette": "grey", "theme": "light", "tape_min": "7",
              "heat_low": "3", "t": str(round(screen.one("now")))}  # fmt: skip
    plain = "Object.fromEntries([...new URLSearchParams(location.search)].map(([k, v]) => [k, v.replaceAll('\"', '')]))"
    screen.until(f"((q) => Object.entries(x).every(([k, v]) => q[k] === v))({plain})", "all is in the address", wanted)
    before = screen.get("symbol", "group", "centre", "palette", "theme", "now", "record", "bbo", "tape")
    rows = {row["tick"]: row for row in screen.rows}
    screen.page.reload(wait_until="domcontentloaded")
    screen.until("window.__mbo?.ready && m.record === x", "the same place", before["record"])
    screen.until("m.tape.length > 0", "the tape")
    assert screen.get(*before) == before
    again = screen.rows
    assert len(rows.keys() & {row["tick"] for row in again}) > 5
    for row in again:
        assert row["tick"] not in rows or row == rows[row["tick"]]
    assert screen.test("heat-low").input_value() == "3"
    assert not screen.one("playing")


@pytest.mark.parametrize(
    "query", ["?symbol=NONE", "?group=7&theme=pink&palette=%3Cb%3E&centre=1", "?t=-5", "?t=1e300", "?t=abc"]
)
def test_an_address_that_makes_no_sense_is_left_aside(bundled, look, query):
    screen = look(bundled, query)
    assert (screen.one("symbol"), screen.one("group"), screen.one("theme")) == ("SIM1", 1, "dark")
    assert re.fullmatch(r"[\w/]+", screen.one("palette"))
