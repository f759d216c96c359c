"""The component's modules in a blank page of Chromium: decoding, the price axis, sums, the past that is kept, and what is drawn."""

import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest

from mbo.view import frame as frames
from mbo.view.bundle import FOLDER, esm
from mbo.view.history import CELLS, COLUMN_DTYPE, TRADE_DTYPE, shade
from mbo.view.ticks import NONE

pytestmark = pytest.mark.browser

SITE = "http://mbo.test/"
CHROMIUM = os.environ.get("MBO_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

META = {
    "source": "replay", "name": "made", "symbol": "ABC", "symbols": ["ABC", "XYZ"], "dataset": "TEST",
    "t0_ns": "1736173800000000000",
    "begin": 0, "end": 60_000_000_000, "tick_ns": "10000000", "offset": "0", "tick_inferred": False, "decimals": 2,
    "column_ns": 1_000_000_000, "capacity": 64, "cells": CELLS, "epoch": 1, "simulated": True, "speeds": [0.1, 1, 10, 0],
    "controls": {"play": True, "seek": True, "step": True, "speed": True, "symbols": True},
}  # fmt: skip
HEADER = {
    "clock_ms": 0, "now": 5e9, "record": 10, "event": 5, "sequence": 7, "bbo": [6400, 5, 2, 6401, 8, 3],
    "last": [6401, 2, 1, 4e9, 1], "totals": [12, 5, 19, 6], "deeper": [True, False],
    "flags": {"valid": True, "synced": True, "suspect": False, "crossed": False, "stale": False},
    "playing": False, "speed": 1, "window_s": [15, 60], "trades_shown": 3, "columns_shown": 5,
}  # fmt: skip
BIDS = np.array([(6400, 5, 2, 3), (6399, 6, 2, -4), (6395, 1, 1, 0)], frames.LEVEL_DTYPE)
ASKS = np.array([(6401, 8, 3, 0), (6403, 11, 3, 2)], frames.LEVEL_DTYPE)
VOLUME = np.array([(6400, 7, 0, 1, 0), (6401, 0, 9, 0, 2)], frames.VOLUME_DTYPE)


def trades_at(*rows):
    trades = np.zeros(len(rows), TRADE_DTYPE)
    for i, row in enumerate(rows):
        trades["time"][i], trades["tick"][i], trades["size"][i], trades["side"][i] = row
    return trades


TRADES = trades_at((1e9, 6400, 3, -1), (2e9, 6401, 5, 1), (4e9, 6401, 2, 1))


def columns_at(numbers, base=6300, sizes=()):
    columns = np.zeros(len(numbers), COLUMN_DTYPE)
    columns["number"], columns["base"], columns["bid"], columns["ask"] = numbers, base, 6400, 6401
    cells = np.zeros((len(numbers), CELLS), np.int32)
    for tick, size in sizes:
        cells[:, tick - base] = size
    return {"columns": frames.part(columns), "cells": (shade(cells).tobytes(), len(cells))}


def a_frame(n=1, meta=META, parts=None, **header):
    extra = {} if meta is None else {"meta": meta}
    return frames.pack({"n": n, **HEADER, **extra, **header}, parts or {})


def whole(n=1, **header):
    parts = {
        "bids": frames.part(BIDS),
        "asks": frames.part(ASKS),
        "volume": frames.part(VOLUME),
        "trades": frames.part(TRADES),
    }
    parts |= columns_at(range(6), sizes=[(6400, 5), (6401, 8)])
    return a_frame(n, parts=parts, **{"trades_from": 0, **header})


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        missing = "there is no Chromium on the path, and MBO_TEST_CHROMIUM names none"
        if "chromium" in os.environ.get("MBO_REQUIRE", "").split(","):
            pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
        pytest.skip(missing)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def blank(browser, **options):
    """Open a page that serves itself the modules, and nothing else."""
    page = browser.new_context(viewport={"width": 1200, "height": 700}, timezone_id="UTC", **options).new_page()
    texts = {path.name: path.read_text() for path in FOLDER.glob("*.mjs")} | {"joined.mjs": esm()}

    def serve(route):
        name = route.request.url.removeprefix(SITE)
        if name in texts:
            return route.fulfill(body=texts[name], content_type="text/javascript")
        if name == "":
            body = "<!doctype html><html lang=en><title>t</title><main><h1>t</h1><div id=here style=height:600px></div></main>"
            return route.fulfill(body=body, content_type="text/html")
        return route.abort()

    page.route("**/*", serve)
    page.goto(SITE)
    return page


@pytest.fixture(scope="module")
def page(browser):
    return blank(browser)


def run(page, names, body, arg=None):
    """Evaluate the body of a function that may use `arg`, `bytes` and `names` ("module: name, name; module: name")."""
    imports = "".join(
        f"const {{{given}}} = await import('{SITE}{module.strip()}.mjs');"
        for module, given in (part.split(":") for part in names.split(";"))
    )
    bytes_of = "const bytes = (list) => new Uint8Array(list).buffer;"
    return page.evaluate(f"async (arg) => {{ {imports} {bytes_of} {body} }}", arg)


def listed(data):
    return list(data)


# ---------------------------------------------------------------- frames


def test_decode_gives_what_was_packed(page):
    queue = np.zeros(2, frames.QUEUE_DTYPE)
    queue["order_id"], queue["time"], queue["size"] = [2**64 - 1, 7], [1.5e9, 2e9], [4, 5]
    queue["ahead"], queue["flags"] = [0, 4], [frames.ICEBERG, frames.FOLLOWED]
    parts = {"bids": frames.part(BIDS), "trades": frames.part(TRADES), "queue": frames.part(queue)} | columns_at([3, 9])
    found = run(
        page,
        "frame: decode",
        "const f = decode(bytes(arg)); return {h: f.header, bids: [...f.bids.words], queue: f.queue,"
        " time: [...f.trades.time], tick: [...f.trades.tick], size: [...f.trades.size], side: [...f.trades.side],"
        " numbers: [f.columns.words[0], f.columns.words[8]], rows: f.columns.rows, asks: f.asks === undefined};",
        listed(a_frame(parts=parts)),
    )
    assert found["h"]["bbo"] == HEADER["bbo"]
    assert found["bids"] == [int(value) for row in BIDS.tolist() for value in row]
    assert [found[name] for name in ("time", "tick", "size", "side")] == [
        TRADES[name].tolist() for name in ("time", "tick", "size", "side")
    ]
    assert (found["numbers"], found["rows"], found["asks"]) == ([3, 9], 2, True)
    assert found["queue"] == [
        {"id": str(2**64 - 1), "since": 1.5e9, "size": 4, "ahead": 0, "iceberg": True, "followed": False},
        {"id": "7", "since": 2e9, "size": 5, "ahead": 4, "iceberg": False, "followed": True},
    ]


@pytest.mark.parametrize(
    "data",
    [a_frame()[:40], a_frame().replace(b'"v":1', b'"v":2'), b"\xff\xff\xff\x7f" + bytes(12)],
    ids=["cut", "version", "length"],
)
def test_decode_refuses_what_is_no_frame(page, data):
    said = run(
        page, "frame: decode", "try { decode(bytes(arg)); return null; } catch (e) { return String(e); }", listed(data)
    )
    assert said is not None
    assert "Error" in said


# ---------------------------------------------------------------- prices and times


@pytest.mark.parametrize(
    ("price", "decimals", "text"),
    [
        (64_820_000_000, 2, "64.82"), (-310_000_000, 2, "-0.31"), (0, 4, "0.0000"), (5_201_500_000_000, 0, "5201"),
        (9_223_372_036_854_775_806, 9, "9223372036.854775806"), (-9_223_372_036_854_775_807, 9, "-9223372036.854775807"),
        (1, 9, "0.000000001"),
    ],
)  # fmt: skip
def test_price_is_exact(page, price, decimals, text):
    assert run(page, "units: priceText", "return priceText(BigInt(arg[0]), arg[1]);", [str(price), decimals]) == text


def test_price_of_a_tick_is_exact_where_a_double_is_not(page):
    found = run(
        page,
        "units: Ticks; frame: NONE",
        "const t = new Ticks('1', '9007199254740993', 9); return [t.text(0), t.text(2), t.text(NONE)];",
    )
    assert found == ["9007199.254740993", "9007199.254740995", "–"]


def test_time_of_day_is_utc_and_goes_over_midnight(page):
    t0 = "1736207999999999999"  # 2025-01-06 23:59:59.999999999
    found = run(
        page,
        "units: Clock",
        "const c = new Clock(arg); return [c.text(0), c.text(1), c.text(90e9, 0), c.date(0), c.date(1)];",
        t0,
    )
    assert found == ["23:59:59.999", "00:00:00.000", "00:01:29", "2025-01-06", "2025-01-07"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("14:30:00", 0),
        ("14:30:05.25", 5.25),
        ("14:31", 60),
        ("14:29:59", 86_399),
        ("24:00:00", None),
        ("soon", None),
        ("14:30:60", None),
    ],
)
def test_time_is_read_as_the_next_of_that_name(page, text, seconds):
    found = run(page, "units: Clock", "return new Clock(arg[0]).parse(arg[1], 0);", [META["t0_ns"], text])
    assert found == (None if seconds is None else seconds * 1e9)


def test_ages_are_short(page):
    ages = [-1, 0.04, 9.94, 59.9, 61, 3_600 + 120, 90_000]
    found = run(page, "units: ageText", "return arg.map(ageText);", ages)
    assert found == ["0s", "0.0s", "9.9s", "59s", "1m01", "1h02", "1d"]


def test_sizes_keep_their_column(page):
    sizes = [0, 99_999, 100_000, 999_499, 999_500, 2_500_000, 12_345_678, 99_950_000, 4_000_000_000, 10**11]
    found = run(page, "units: sizeText", "return arg.map(sizeText);", sizes)
    assert found == ["0", "99999", "100k", "999k", "1.00M", "2.50M", "12.3M", "100M", "4000M", "100G"]


# ---------------------------------------------------------------- the axis

AXIS = "axis: Axis"
MADE = "const a = new Axis(); a.resize(400); a.rowHeight = 20; a.follow(arg?.middle ?? 6400, 0);"


def test_rows_and_pixels_are_inverse(page):
    body = (
        MADE
        + """
      let wrong = 0;
      for (const group of [1, 2, 5, 100]) for (const scrolled of [0, 0.3, -7.77]) {
        a.regroup(group); a.scroll(scrolled);
        for (let row = a.top; row >= a.bottom; row--) {
          if (a.rowAt(a.y(row)) !== row || a.rowAt(a.y(row) + 19) !== row) wrong++;
          for (let k = 0; k < group; k++) if (a.row(a.tick(row) + k) !== row) wrong++;
        }
      }
      return [wrong, a.top - a.bottom];"""
    )
    wrong, rows = run(page, AXIS, body)
    assert wrong == 0
    assert rows >= 19


def test_grouping_counts_from_price_zero(page):
    body = "const a = new Axis(); a.group = 5; a.shift = arg; return [-6, -5, -1, 0, 4, 5].map((t) => a.row(t));"
    assert run(page, AXIS, body, 0) == [-2, -1, -1, 0, 0, 1]
    assert run(page, AXIS, body, 2) == [-1, -1, 0, 0, 1, 1]


def test_edge_centring_moves_at_the_edge_and_arrives_in_the_middle(page):
    body = (
        MADE
        + """
      const at = a.anchor, seen = [];
      seen.push(a.follow(6405, 16), a.anchor === at);
      seen.push(a.follow(6409, 16), a.anchor !== at);
      for (let i = 0; i < 300 && a.moving; i++) a.follow(6409, 16);
      return [...seen, Math.abs(a.anchor - 6409) <= 0.5, a.moving];"""
    )
    assert run(page, AXIS, body) == [False, True, True, True, True, False]


def test_scrolled_ladder_stays_until_the_middle_is_back(page):
    body = (
        MADE
        + """
      a.scroll(-12); const at = a.anchor, seen = [];
      seen.push(a.follow(6400, 16), a.anchor === at, a.held);
      a.follow(Math.round(at) + 3, 16); seen.push(a.held, a.anchor === at);
      a.scroll(-12); a.recentre(); a.follow(6400, 16, true); seen.push(a.held, Math.abs(a.anchor - 6400) <= 0.5);
      return seen;"""
    )
    assert run(page, AXIS, body) == [False, True, True, False, True, False, True]


@pytest.mark.parametrize(("mode", "moved"), [("off", False), ("smooth", True), ("always", True)])
def test_other_modes_of_centring(page, mode, moved):
    body = MADE + "a.mode = arg.mode; const at = a.anchor; a.follow(6404, 16); return a.anchor !== at;"
    assert run(page, AXIS, body, {"mode": mode}) is moved


def test_reduced_motion_takes_one_step(page):
    body = (
        MADE
        + "a.mode = 'smooth'; const asks = a.follow(6430, 16, true); return [asks, Math.abs(a.anchor - 6430) <= 0.5];"
    )
    assert run(page, AXIS, body) == [False, True]


# ---------------------------------------------------------------- rows

FILLED = (
    "const m = new Model(); m.apply(decode(bytes(arg.frame)));"
    "const a = new Axis(); a.resize(400); a.rowHeight = 20; a.group = arg.group; a.follow(6400, 0);"
    "const r = new Rows(); r.fill(m, a);"
    "const at = (name, row) => r[name][r.top - row];"
)
FILLING = "frame: decode; model: Model; axis: Axis; rows: Rows, Scale"


def test_rows_sum_the_ticks_of_a_group(page):
    body = FILLED + (
        "return {bid: at('bid', 1279), more: at('bid', 1280), ct: at('bidCount', 1279), delta: at('bidDelta', 1279),"
        "ask: at('ask', 1280), sold: at('sold', 1280), bought: at('bought', 1280), now: at('boughtNow', 1280)};"
    )
    found = run(page, FILLING, body, {"frame": listed(whole()), "group": 5})
    assert found == {"bid": 7, "more": 5, "ct": 3, "delta": -4, "ask": 19, "sold": 7, "bought": 9, "now": 2}


def test_rows_sum_depth_from_the_best_outwards(page):
    body = (
        FILLED
        + "return [6400, 6399, 6395].map((row) => at('bidSum', row)).concat([6401, 6403].map((row) => at('askSum', row)));"
    )
    assert run(page, FILLING, body, {"frame": listed(whole()), "group": 1}) == [5, 11, 12, 8, 19]


def test_depth_counts_better_levels_beyond_the_edge(page):
    body = FILLED + "a.scroll(-14); r.fill(m, a); return [r.top < 6400, at('bidSum', 6395)];"
    assert run(page, FILLING, body, {"frame": listed(whole()), "group": 1}) == [True, 12]


def test_rows_beyond_the_levels_sent_are_unknown_where_there_are_more(page):
    body = FILLED + "return [6396, 6395, 6394].map((row) => at('bidUnknown', row)).concat([at('askUnknown', 6404)]);"
    assert run(page, FILLING, body, {"frame": listed(whole()), "group": 1}) == [0, 0, 1, 0]
    whole_rows = FILLED + "return [at('bidUnknown', 3198), at('bidUnknown', 3197)];"  # 6396 and 6397; 6394 and 6395
    assert run(page, FILLING, whole_rows, {"frame": listed(whole()), "group": 2}) == [0, 1]


def test_scale_grows_at_once_and_shrinks_late(page):
    body = (
        "const s = new Scale(), fit = (v) => s.fit(1, [v]);"
        "const big = fit(100); return [big >= 100, fit(60) === big, fit(20) < big, fit(500) >= 500];"
    )
    assert run(page, FILLING, body) == [True, True, True, True]


# ---------------------------------------------------------------- the past

KEEPING = "frame: decode; model: Model"


def test_trades_are_kept_across_a_seek(page):
    frames_ = [
        listed(whole()),
        listed(a_frame(2, meta=None, trades_shown=1)),
        listed(a_frame(3, meta=None, trades_shown=3)),
    ]
    body = "const m = new Model(); return arg.map((f) => { m.apply(decode(bytes(f))); return [m.trades.kept, m.trades.until]; });"
    assert run(page, KEEPING, body, frames_) == [[3, 3], [3, 1], [3, 3]]


def test_trades_that_come_again_are_kept_once_and_a_gap_forgets(page):
    body = """
      const t = new Trades();
      const rows = (n) => ({
        rows: n, time: new Float64Array(n), tick: new Int32Array(n), size: new Uint32Array(n).fill(n), side: new Int8Array(n),
      });
      const seen = [];
      t.put(0, rows(10)); t.put(5, rows(10)); seen.push([t.begin, t.end, t.size[t.slot(14)]]);
      t.put(0, rows(3)); seen.push([t.begin, t.end]);
      t.put(100, rows(2)); seen.push([t.begin, t.end]);
      return seen;"""
    assert run(page, "trades: Trades", body) == [[0, 15, 10], [0, 15], [100, 102]]


def test_trades_are_a_ring(page):
    body = """
      const t = new Trades();
      for (let from = 0; from < 300000; from += 20000) {
        const times = Float64Array.from({length: 20000}, (_, i) => from + i);
        const size = new Uint32Array(20000).fill(1);
        t.put(from, {rows: 20000, time: times, tick: new Int32Array(20000), size, side: new Int8Array(20000)});
      }
      t.shown = 300000;
      let wrong = 0;
      for (let n = t.begin; n < t.end; n++) if (t.time[t.slot(n)] !== n) wrong++;
      return [t.kept, t.end, wrong, t.after(299000), t.after(0) === t.begin];"""
    assert run(page, "trades: Trades", body) == [1 << 18, 300_000, 0, 299_000, True]


def test_another_epoch_forgets_columns_trades_and_the_followed_order(page):
    order = {"order_id": "7", "state": "resting", "life": []}
    frames_ = [
        listed(whole(order=order)),
        listed(a_frame(2, meta=META | {"decimals": 3})),
        listed(a_frame(3, meta=META | {"epoch": 2})),
    ]
    body = """
      const m = new Model();
      const step = (f) => { m.apply(decode(bytes(f))); return [m.columns.kept, m.trades.kept, m.order !== null, m.bids.rows]; };
      return arg.map(step);"""
    assert run(page, KEEPING, body, frames_) == [[6, 3, True, 3], [6, 3, True, 3], [0, 0, False, 3]]


def test_another_symbol_forgets_the_book(page):
    frames_ = [listed(whole()), listed(a_frame(2, meta=META | {"epoch": 2, "symbol": "XYZ"}))]
    body = "const m = new Model(); arg.forEach((f) => m.apply(decode(bytes(f)))); return [m.bids.rows, m.asks.rows, m.volume.rows];"
    assert run(page, KEEPING, body, frames_) == [0, 0, 0]


def test_columns_come_in_any_order_and_the_ring_takes_the_newest(page):
    body = """
      const c = new Columns(4, 2), words = (n) => new Int32Array([n, n, 0, 0, 0, 0, 0, 0]), changed = [];
      for (const n of [5, 3, 4, 1, 7]) c.put(words(n), 1, new Uint8Array([n, n]), (k) => changed.push(k));
      return [changed, [1, 3, 4, 5, 7].map((n) => c.slot(n)), c.first, c.last, c.kept, c.cells[2 * c.slot(7)]];"""
    assert run(page, "columns: Columns", body) == [[5, 3, 4, 7], [-1, -1, 0, 1, 3], 4, 7, 3, 7]


PAINT = """
  const c = new Columns(64, 256), a = new Axis();
  a.resize(200); a.rowHeight = 20; a.group = arg.group ?? 1; a.follow(100, 0);
  const put = (n, base, sizes) => {
    const cells = new Uint8Array(256);
    for (const [tick, size] of sizes) cells[tick - base] = stepOf(size);
    c.put(new Int32Array([n, base, 0, 0, 0, 0, 0, 0]), 1, cells, (k) => b.touch(k, arg.per ?? 1));
  };
  const b = new Bins(), table = Uint32Array.from({length: 256}, (_, q) => 0xff000000 + q);
  const paint = (shown, per = arg.per ?? 1) => {
    b.prepare(20, a.top - a.bottom + 1, a.top, a, per, table, "t");
    b.paint(c, 0, Math.floor(shown / per), shown);
  };
  const at = (bin, tick) => b.pixels[(a.top - a.row(tick)) * b.room + bin] & 0xff;
"""
PAINTING = "columns: Columns; axis: Axis; bins: Bins, stepOf, sizeOf, brightStep"


def test_columns_of_different_bases_lie_on_the_same_rows(page):
    body = PAINT + (
        "put(0, 0, [[100, 8]]); put(1, 50, [[100, 8]]); put(2, -100, [[100, 8]]); paint(2);"
        "return [0, 1, 2].map((n) => at(n, 100));"
    )
    assert run(page, PAINTING, body, {}) == [46, 46, 46]


def test_several_columns_a_bin_show_their_greatest(page):
    body = (
        PAINT
        + "[1, 64, 8, 2].forEach((size, n) => put(n, 0, [[100, size]])); paint(3); return [at(0, 100), at(0, 101)];"
    )
    assert run(page, PAINTING, body, {"per": 4}) == [91, 0]


def test_column_that_has_not_happened_is_not_painted(page):
    body = PAINT + "[1, 64].forEach((size, n) => put(n, 0, [[100, size]])); paint(0); return at(0, 100);"
    assert run(page, PAINTING, body, {"per": 4}) == 1


def test_grouped_ticks_of_a_column_are_summed(page):
    body = PAINT + "put(0, 3, [[100, 3], [104, 5], [105, 64]]); paint(0); return [at(0, 100), at(0, 105)];"
    assert run(page, PAINTING, body, {"group": 5}) == [46, 91]


def test_only_what_is_new_is_painted(page):
    body = (
        PAINT
        + """
      for (let n = 0; n < 10; n++) put(n, 0, [[100, 2]]);
      paint(9); const first = b.painted; paint(9); const again = b.painted - first;
      put(9, 0, [[100, 4]]); put(10, 0, [[100, 2]]); paint(10); const two = b.painted - first;
      a.scroll(1); paint(10);
      return [first, again, two, at(9, 100), b.painted - first - two];"""
    )
    assert run(page, PAINTING, body, {}) == [10, 0, 2, 31, 11]


def test_steps_of_size_are_those_of_the_server(page):
    sizes = [0, 1, 2, 3, 7, 10, 99, 1_000, 54_321, 125_000, 10**6]
    assert run(page, PAINTING, "return arg.map(stepOf);", sizes) == shade(np.array(sizes)).tolist()
    assert run(page, PAINTING, "return arg.map((s) => sizeOf(stepOf(s)));", sizes[:-2]) == pytest.approx(
        sizes[:-2], rel=0.025
    )


def test_zoom_keeps_the_time_under_the_mouse_and_panning_comes_back_to_the_present(page):
    body = """
      const v = new TimeView(); v.width = 600; v.shown = 5000; v.first = 0; v.columnNs = 1e9;
      v.pan(1000); const seen = [v.behind];
      const at = v.timeAt(200); v.zoomBy(1, 200); seen.push(Math.abs(v.timeAt(200) - at) <= 2e9);
      v.pan(-1e6); seen.push(v.behind, v.lastBin === v.bin(5000));
      v.pan(1e7); seen.push(v.timeAt(600) >= 0);
      return seen;"""
    assert run(page, "timeview: TimeView", body) == [True, True, False, True, True]


def test_grid_lines_are_at_round_times_of_the_day(page):
    body = """
      const v = new TimeView(); v.width = 600; v.shown = 2000; v.columnNs = 1e9;
      const c = new Clock(arg); return gridTimes(v, c).times.map((t) => c.text(t));"""
    found = run(page, "timeview: TimeView, gridTimes; units: Clock", body, "1736173807123456789")
    assert len(found) >= 4
    assert all(text.endswith(":00.000") for text in found)


# ---------------------------------------------------------------- what is said

STALE = """
  const base = {nowMs: 10000, frameMs: 9900, meta: {source: "live"}, header: {flags: {stale: false}, playing: true},
    status: {state: "live"}, connected: true, hidden: false, staleMs: null};
  const s = staleness({...base, ...arg});
  return s && staleText(s, 10000);"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"frameMs": 6900}, "STALE 3 s: nothing comes from the server"),
        ({"frameMs": 6900, "hidden": True}, None),
        ({"frameMs": 6900, "meta": {"source": "replay"}, "header": {"flags": {}, "playing": False}}, None),
        ({"frameMs": 6900, "status": {"state": "ended"}}, None),
        ({"frameMs": 6900, "connected": False}, "NO CONNECTION 3 s: connection to the server lost"),
        ({"header": {"flags": {"stale": True}}, "staleMs": 8000, "status": {"reason": "silence"}}, "STALE 2 s: silence"),
        ({"header": {"flags": {"stale": True}}, "status": {"state": "reconnecting"}}, "RECONNECTING 0 s: the feed has stopped"),
    ],
    ids=["fresh", "silent", "hidden", "paused", "ended", "gone", "told", "reconnecting"],
)  # fmt: skip
def test_old_picture_is_called_old(page, given, said):
    assert run(page, "status: staleness, staleText", STALE, given) == said


def test_partial_book_is_named(page):
    flags = HEADER["flags"] | {"synced": False}
    body = (
        "const m = new Model(); m.apply(decode(bytes(arg)));"
        "return partsOf({model: m, stale: null, lagMs: 3, fps: 60, drawMs: 1}).map((part) => part[2]);"
    )
    told = run(page, "status: partsOf; frame: decode; model: Model", body, listed(whole(flags=flags)))
    assert "partial book: began mid-session" in told


def test_feed_that_says_nothing_is_named_before_it_is_stale(page):
    body = (
        "const m = new Model(); m.apply(decode(bytes(arg)));"
        "const texts = (quietS) => partsOf({model: m, stale: null, quietS, lagMs: 3, fps: 60, drawMs: 1}).map((part) => part[2]);"
        "return [1, 7.9].map(texts);"
    )
    live = listed(a_frame(meta=META | {"source": "live", "end": None}, status={"state": "live"}))
    early, late = run(page, "status: partsOf; frame: decode; model: Model", body, live)
    assert "no message for 7 s" in late
    assert not any("no message" in part for part in early)


def test_settings_from_an_address_are_checked(page):
    given = {
        "theme": "pink",
        "group": "5",
        "centre": "always",
        "tape_min": "-1",
        "palette": "grey",
        "other": 1,
        "sums": "true",
        "heat_low": 1.5,
    }
    found = run(page, "settings: settingsOf", "return settingsOf(arg);", given)
    assert {name: value for name, value in found.items() if name != "heat_high"} == {
        "theme": "dark",
        "group": 5,
        "centre": "always",
        "tape_min": 1,
        "palette": "grey",
        "sums": True,
        "heat_low": 1,
    }


def test_every_text_can_be_read_on_its_ground(page):
    body = """
      const bad = [];
      for (const theme of ["dark", "light"]) for (const palette of PALETTES) {
        const c = coloursOf(theme, palette);
        const pairs = [[c.onAccent, c.accent]];
        for (const ink of [c.text, c.dim]) for (const ground of [c.page, c.panel, c.band, c.hover]) pairs.push([ink, ground]);
        for (const side of [c.bid, c.ask]) {
          pairs.push([c.text, side.bar], [c.text, side.best], [c.text, side.area], [c.dim, side.area], [side.text, side.area]);
          for (const ground of [c.page, c.panel, c.band]) pairs.push([side.text, ground]);
        }
        for (const ink of [c.good, c.bad, c.mark, c.text, c.dim]) pairs.push([ink, c.page], [ink, c.band], [ink, c.selected]);
        for (const ink of [c.warn, c.error, c.good]) pairs.push([ink, c.panel]);
        for (const [ink, ground] of pairs) if (contrast(ink, ground) < 4.5) bad.push([theme, palette, ink, ground]);
      }
      return bad;"""
    assert run(page, "palette: PALETTES, coloursOf, contrast", body) == []


def test_heat_colours_rise_with_size(page):
    body = """
      const out = [];
      for (const theme of ["dark", "light"]) for (const palette of PALETTES) {
        const table = heatTable(coloursOf(theme, palette), 10, 200);
        const light = [...table].map((v) => 0.2126 * (v & 255) + 0.7152 * ((v >> 8) & 255) + 0.0722 * ((v >> 16) & 255));
        const steps = light.slice(11, 201).map((l, i) => (l - light[10 + i]) * (theme === "dark" ? 1 : -1));
        out.push(Math.min(...steps) > -0.5 && table[9] === table[0] && table[201] === table[200]);
      }
      return out.every(Boolean);"""
    assert run(page, "palette: PALETTES, coloursOf, heatTable", body) is True


def test_keys_are_left_to_controls_and_to_the_browser(page):
    body = """
      const key = (k, more = {}) => ({key: k, ctrlKey: false, altKey: false, metaKey: false, ...more});
      const of = (tag) => document.createElement(tag);
      const cases = [[key("p"), "canvas"], [key("P"), "canvas"], [key("p"), "input"], [key("p"), "select"], [key(" "), "button"],
        [key("p"), "button"], [key("p", {ctrlKey: true}), "canvas"], [key("q"), "canvas"]];
      return cases.map(([event, tag]) => actionOf(event, of(tag)) !== null);"""
    assert run(page, "keys: actionOf", body) == [True, True, False, False, False, True, False, False]


# ---------------------------------------------------------------- the whole


@pytest.fixture
def shown(browser):
    """Give a page with the component, which was sent one whole frame; `window.sent` is what it said."""
    page = blank(browser)
    page.evaluate(
        """async () => {
          const {render} = await import('http://mbo.test/joined.mjs');
          window.sent = []; window.heard = {}; window.page = {};
          const model = {
            id: "one", theme: "dark", state: {}, send_msg: (m) => window.sent.push(m),
            on: (name, f) => (window.heard[name] = f),
            document: {on_event: (name, f) => (window.page[name] = f)},
          };
          window.model = model;
          render({model, el: document.getElementById("here")});
          window.give = (list) => window.heard["msg:custom"](new Uint8Array(list).buffer);
        }"""
    )
    page.evaluate("(list) => give(list)", listed(whole()))
    page.wait_for_function("window.__mbo.rows.some((row) => row.bid)")
    yield page
    page.context.close()


def give(page, data):
    """Send a frame and wait until it is drawn."""
    page.evaluate("(list) => give(list)", listed(data))
    number = frames.unpack(data)[0]["n"]
    page.wait_for_function(f"window.__mbo.n === {number}")


def said(page, what):
    return [message for message in page.evaluate("sent") if message["do"] == what]


def test_ladder_shows_the_levels(shown):
    rows = {row["tick"]: row for row in shown.evaluate("__mbo.rows")}
    assert {tick: (row["bid"], row["bid_ct"]) for tick, row in rows.items() if row["bid"]} == {
        6400: (5, 2),
        6399: (6, 2),
        6395: (1, 1),
    }
    assert {tick: (row["ask"], row["price"]) for tick, row in rows.items() if row["ask"]} == {
        6401: (8, "64.01"),
        6403: (11, "64.03"),
    }
    assert rows[6394]["hatched"]
    assert not rows[6396]["hatched"]
    assert shown.evaluate("__mbo.tape.map((t) => [t.price, t.size, t.side])") == [
        ["64.01", 2, 1],
        ["64.01", 5, 1],
        ["64.00", 3, -1],
    ]
    assert (
        "bid 64.00, 5 in 2 orders; ask 64.01, 8 in 3 orders; last 2 bought at 64.01"
        in shown.get_by_test_id("book-text").inner_text()
    )


def test_nothing_is_drawn_or_asked_for_when_nothing_changes(shown):
    shown.wait_for_function("__mbo.fps === 0")
    before = shown.evaluate("__mbo.drawn")
    asked = shown.evaluate(
        """() => new Promise((done) => {
          const real = window.requestAnimationFrame.bind(window);
          let [asked, frames] = [0, 0];
          window.requestAnimationFrame = (callback) => { asked++; return real(callback); };
          const on = () => (++frames > 30 ? done(asked) : real(on));
          real(on);
        })"""
    )
    assert (shown.evaluate("__mbo.drawn"), asked) == (before, 0)


def test_ready_is_said_once_and_frames_are_acknowledged_some_at_a_time(shown):
    assert shown.evaluate("sent[0]") == {"do": "ready"}
    for n in range(2, 42):
        give(shown, a_frame(n, meta=None, now=5e9 + n))
    shown.wait_for_function("sent.filter((message) => message.do === 'ack').at(-1)?.n === 41")  # nothing is left open
    numbers = [1, *(message["n"] for message in said(shown, "ack"))]
    assert max(later - before for before, later in pairwise(numbers)) <= 4
    assert len(numbers) <= 42


def test_click_selects_a_price_and_an_order_and_the_queue_tells_ages(shown):
    rows = shown.evaluate("__mbo.rows")
    at = next(i for i, row in enumerate(rows) if row["tick"] == 6400)
    box = shown.get_by_test_id("ladder").bounding_box()
    heading = 20
    shown.mouse.click(box["x"] + 150, box["y"] + heading + (at + 0.5) * 18)
    assert said(shown, "select") == [{"do": "select", "side": "bid", "tick": 6400}]
    queue = np.zeros(2, frames.QUEUE_DTYPE)
    queue["order_id"], queue["time"], queue["size"], queue["ahead"] = [2**63 + 1, 8], [1e9, 4.5e9], [3, 2], [0, 3]
    described = {"side": "bid", "tick": 6400, "size": 5, "count": 2, "shown": 2}
    give(shown, a_frame(2, meta=None, parts={"queue": frames.part(queue)}, queue=described))
    assert shown.evaluate("__mbo.queue") == [
        {"id": str(2**63 + 1), "size": 3, "ahead": 0, "age_s": 4, "iceberg": False},
        {"id": "8", "size": 2, "ahead": 3, "age_s": 0.5, "iceberg": False},
    ]
    assert shown.get_by_test_id("panel-queue").get_by_role("heading").inner_text() == "QUEUE 64.00 BID"
    shown.keyboard.press("j")
    assert said(shown, "follow") == [{"do": "follow", "order_id": str(2**63 + 1)}]


def test_keys_command_what_the_source_can_do(shown):
    shown.get_by_test_id("mbo").focus()
    for key in ("p", ".", "<", "+", "ArrowRight", "End", "c"):
        shown.keyboard.press(key)
    asked = [message for message in shown.evaluate("sent") if message["do"] not in ("ready", "ack", "state")]
    assert asked == [
        {"do": "toggle"}, {"do": "step", "events": 1}, {"do": "step", "events": -10}, {"do": "speed", "x": 10},
        {"do": "seek", "t": 15e9}, {"do": "seek", "t": 60e9}, {"do": "clear"},
    ]  # fmt: skip
    give(shown, a_frame(2, meta=META | {"controls": dict.fromkeys(META["controls"], False)}))
    shown.keyboard.press("p")
    shown.get_by_test_id("play").wait_for(state="hidden")
    assert len(said(shown, "toggle")) == 1


def test_time_field_seeks_and_refuses_what_is_no_time(shown):
    field = shown.get_by_test_id("time")
    field.fill("14:30:42")
    field.press("Enter")
    assert said(shown, "seek") == [{"do": "seek", "t": 42e9}]
    field.fill("p")
    field.press("Enter")
    assert len(said(shown, "seek")) == 1
    assert "is not a time" in shown.get_by_test_id("notices").inner_text()
    assert field.get_attribute("aria-invalid") == "true"


def test_dialog_lists_the_keys_and_gives_the_focus_back(shown):
    shown.get_by_test_id("recentre").focus()
    shown.keyboard.press("?")
    dialog = shown.get_by_test_id("help")
    assert dialog.is_visible()
    assert "recentre" in dialog.inner_text()
    shown.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert shown.evaluate("document.activeElement.dataset.testid") == "recentre"


def test_theme_palette_and_grouping_change_and_are_told(shown):
    shown.get_by_test_id("mbo").focus()
    for key in ("t", "l", "g", "m"):
        shown.keyboard.press(key)
    shown.wait_for_function("sent.some((m) => m.do === 'state')")
    state = said(shown, "state")[-1]["state"]
    assert (state["theme"], state["group"], state["centre"], state["symbol"], state["t"]) == (
        "light",
        2,
        "smooth",
        "ABC",
        5e9,
    )
    assert shown.evaluate("[__mbo.theme, __mbo.group]") == ["light", 2]
    shown.evaluate("model.theme = 'dark'; heard.theme()")
    assert shown.evaluate("__mbo.theme") == "dark"


def test_names_from_files_are_text(shown):
    nasty = '<img src=x onerror="window.hit=1">'
    give(
        shown,
        a_frame(
            2, meta=META | {"symbol": nasty, "symbols": [nasty], "epoch": 2}, notice={"level": "error", "text": nasty}
        ),
    )
    shown.wait_for_function("__mbo.symbol.startsWith('<img')")
    assert nasty in shown.get_by_test_id("notices").inner_text()
    assert shown.evaluate("[document.querySelectorAll('img').length, window.hit ?? null]") == [0, None]


def test_lost_connection_is_said_at_once(shown):
    shown.evaluate("page.connection_lost()")
    assert "connection to the server lost" in shown.get_by_test_id("stale").inner_text()
    assert shown.evaluate("__mbo.stale")
    shown.evaluate("page.client_reconnected()")
    assert len(said(shown, "ready")) == 2


def test_frame_that_cannot_be_read_is_said_and_the_next_is_drawn(shown):
    shown.evaluate("give([1, 2, 3])")
    assert "could not be read" in shown.get_by_test_id("notices").inner_text()
    give(shown, a_frame(2, meta=None, bbo=[6399, 6, 2, 6401, 8, 3]))
    assert shown.evaluate("__mbo.bbo[0]") == 6399


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(shown, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    shown.evaluate("(theme) => { model.theme = theme; heard.theme(); }", theme)
    shown.wait_for_function("(theme) => __mbo.theme === theme", arg=theme)
    found = axe.Axe().run(shown).response["violations"]
    assert [
        (one["id"], one["impact"], json.dumps(one["nodes"][:2]))
        for one in found
        if one["impact"] in ("serious", "critical")
    ] == []


def test_removed_component_leaves_nothing_running(shown):
    shown.evaluate("heard.remove()")
    assert shown.evaluate("document.querySelectorAll('.mbo').length") == 0
    shown.evaluate("(list) => give(list)", listed(a_frame(2, meta=None)))
    drawn = shown.evaluate("__mbo.drawn")
    shown.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown.evaluate("__mbo.drawn") == drawn


def test_no_tick_is_the_same_on_both_sides(page):
    assert run(page, "frame: NONE", "return NONE;") == NONE
