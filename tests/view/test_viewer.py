"""What is drawn is the book: frames of replay and live viewers, against books made another way; and what viewers ask for."""

import random

import numpy as np
import pytest

import mbo
from mbo.errors import DataError
from mbo.records import Action, Side, times_of
from mbo.simulator import Feature, simulate
from mbo.view import Hub, Live, Recorded
from mbo.view import scene as scene_module
from mbo.view.following import Following
from mbo.view.frame import FOLLOWED, ICEBERG, pack, part, unpack
from mbo.view.history import CELLS, shade
from mbo.view.program import Broadcast
from mbo.view.scene import RECENT_S
from tests.builders import write
from tests.conftest import real
from tests.live.wire import day_of, day_of_session, until


class Screen:
    """Keeps what frames say, as the component does."""

    def __init__(self, viewer) -> None:
        self.viewer = viewer
        self.now = 0.0
        viewer._clock = lambda: self.now
        if hasattr(viewer, "player"):
            viewer.player._clock = viewer._clock
        self.header, self.sections, self.columns, self.trades, self.resets = {}, {}, {}, {}, 0
        self.epoch = None
        self.say(do="ready")

    def say(self, **message) -> "Screen":
        self.viewer.handle(message)
        return self.look()

    def look(self, after_s: float = 0.0) -> "Screen":
        self.now += after_s
        frame = self.viewer.turn()
        if frame is None:
            return self
        header, sections = unpack(frame)
        self.header |= header
        self.sections |= sections
        if "meta" in header:
            if header["meta"]["epoch"] != self.epoch:
                self.columns, self.trades = {}, {}
            self.epoch = header["meta"]["epoch"]
        if header.get("trades_reset"):
            self.trades, self.resets = {}, self.resets + 1
        for number, row in enumerate(sections.get("trades", []), header.get("trades_from", 0)):
            self.trades[number] = row
        for row, cells in zip(sections.get("columns", []), sections.get("cells", []), strict=True):
            self.columns[int(row["number"])] = (row, cells)
        self.viewer.handle({"do": "ack", "n": header["n"]})
        return self

    def levels(self, side: str) -> list[tuple[int, int, int]]:
        rows = self.sections[side][["tick", "size", "count"]].tolist()
        ticks = self.viewer.history.ticks
        return [(ticks.price(tick), size, count) for tick, size, count in rows]


@pytest.fixture(scope="module")
def session():
    return simulate(20_000, seed=8, instruments=2, resting=60, features=Feature.ALL)


@pytest.fixture
def day(tmp_path, session):
    return day_of_session(tmp_path, session)


@pytest.fixture
def program(day):
    made = Recorded.of(day)
    for symbol in made.symbols:
        made.index(symbol).wait(60)
    yield made
    made.close()


def shown_is(screen: Screen, book, now_ns: int) -> None:
    for name, side in (("bids", Side.BID), ("asks", Side.ASK)):
        assert screen.levels(name) == [tuple(level) for level in book.levels(side, 200)]
    header = screen.header
    assert header["record"] == book.status.messages
    assert header["event"] == book.status.events
    assert header["now"] == now_ns - screen.viewer.history.begin_ns
    assert header["flags"]["crossed"] == book.crossed
    assert header["flags"]["synced"] == book.synced
    assert header["totals"] == [
        value
        for side in (Side.BID, Side.ASK)
        for value in (sum(one.size for one in book.levels(side)), sum(one.count for one in book.levels(side)))
    ]


def test_hundreds_of_paused_instants_are_the_book(day, program):
    chosen = random.Random(3)
    screens = {symbol: Screen(program.viewer(symbol)) for symbol in program.symbols}
    for number in range(200):
        symbol = program.symbols[number % len(screens)]
        screen = screens[symbol]
        index = screen.viewer.index
        at = chosen.randrange(index.begin_ns, index.end_ns)
        screen.say(do="seek", t=at - index.begin_ns)
        shown_is(screen, day.book(symbol, at=at), at)


def test_real_day_is_drawn_as_it_is():
    day = mbo.read_dbn(real("CLX5_mbo.dbn"))
    program = Recorded.of(day)
    index = program.index().wait(60)
    screen, chosen = Screen(program.viewer()), random.Random(4)
    for _ in range(20):
        at = chosen.randrange(index.begin_ns, index.end_ns)
        screen.say(do="seek", t=at - index.begin_ns)
        shown_is(screen, day.book(at=at), at)
    screen.say(do="seek", t=index.end_ns - index.begin_ns)
    assert screen.header["flags"]["synced"] is False
    shown_is(screen, day.book(), index.end_ns)


def test_no_trade_is_lost_or_repeated_while_playing(program):
    screen = Screen(program.viewer())
    index = screen.viewer.index
    screen.say(do="speed", x=20)
    screen.say(do="play")
    for number in range(200):
        screen.look(1 / 60)
        if number % 7 == 0:  # frames that are not acknowledged in time
            for _ in range(8):
                screen.now += 1 / 60
                screen.viewer.turn()
            screen.viewer.acknowledged = screen.viewer.number
    del screen
    screen = Screen(program.viewer())
    screen.say(do="speed", x=20)
    screen.say(do="play")
    while not screen.viewer.player.ended:
        screen.look(1 / 60)
    screen.look(1)
    records = index.records
    trades = records[records["action"] == Action.TRADE]
    assert [screen.trades[number]["size"] for number in range(len(screen.trades))] == trades["size"].tolist()
    times = times_of(trades).astype(np.int64) - index.begin_ns
    assert [screen.trades[number]["time"] for number in range(len(screen.trades))] == times.tolist()
    assert screen.resets == 1  # the first


def test_trades_stay_across_a_seek(program):
    screen = Screen(program.viewer())
    end = screen.viewer.index.end_ns - screen.viewer.index.begin_ns
    screen.say(do="seek", t=end)
    whole = len(screen.trades)
    assert whole == screen.header["trades_shown"] > 100
    screen.say(do="seek", t=end // 2)
    assert 0 < screen.header["trades_shown"] < whole == len(screen.trades)
    sent = screen.viewer.number
    screen.say(do="seek", t=end)
    assert screen.header["trades_shown"] == whole
    assert screen.viewer.number == sent + 1
    assert screen.resets == 1


def test_volume_is_what_traded_up_to_now(program):
    screen, chosen = Screen(program.viewer()), random.Random(5)
    index = screen.viewer.index
    for _ in range(20):
        at = chosen.randrange(index.begin_ns, index.end_ns)
        screen.say(do="seek", t=at - index.begin_ns)
        records = index.records[: screen.viewer.player.place]
        trades = records[records["action"] == Action.TRADE]
        times = times_of(trades).astype(np.int64)
        for row in screen.sections["volume"].tolist():
            price = index.ticks.price(row[0])
            expected = []
            for since in (0, at - RECENT_S * 10**9):
                for side in (Side.ASK, Side.BID):
                    mine = (trades["price"] == price) & (trades["side"] == side) & (times >= since)
                    expected.append(int(trades["size"][mine].sum()))
            assert list(row[1:]) == expected
        shown = {row[0] for row in screen.sections["volume"].tolist()}
        traded = {int(tick) for tick in index.ticks.of(trades["price"][trades["side"] != Side.NONE])}
        assert shown == traded


def test_recent_trades_can_be_cleared(program):
    screen = Screen(program.viewer())
    screen.say(do="seek", t=screen.viewer.index.end_ns - screen.viewer.index.begin_ns)
    assert screen.sections["volume"]["sold_recently"].sum() > 0
    before = screen.sections["volume"]["sold"].sum()
    screen.say(do="clear")
    assert screen.sections["volume"]["sold_recently"].sum() == 0
    assert screen.sections["volume"]["sold"].sum() == before


def test_stacked_is_growth_without_trades(program, day, monkeypatch):
    monkeypatch.setattr(scene_module, "STACKED_S", 3)
    screen = Screen(program.viewer("SIM1"))
    viewer, chosen = screen.viewer, random.Random(6)
    index, tested = viewer.index, 0
    for _ in range(20):
        at = chosen.randrange(index.begin_ns + 4 * 10**9, index.end_ns)
        screen.say(do="seek", t=at - index.begin_ns)
        window = round(screen.header["window_s"][0] * 1e9)
        assert abs(window - 3 * 10**9) <= index.history.column_ns
        then = day.book("SIM1", at=at - window - 1)
        if then.crossed:  # one price then has two sizes, and a column has place for one
            continue
        records = index.records[then.status.messages : viewer.player.place]
        trades = records[records["action"] == Action.TRADE]
        for name, side, aggressor in (("bids", Side.BID, Side.ASK), ("asks", Side.ASK, Side.BID)):
            before = {level.price: level.size for level in then.levels(side)}
            for tick, size, _, delta in screen.sections[name][:20].tolist():
                if abs(tick - screen.header["bbo"][0]) > 50:  # what a column has no cell for is not known
                    continue
                price = index.ticks.price(tick)
                traded = trades["size"][(trades["price"] == price) & (trades["side"] == aggressor)].sum()
                assert delta == size - before.get(price, 0) + int(traded)
                tested += delta != 0
    assert tested > 20


def test_columns_are_the_books_at_their_ends(program, day):
    screen = Screen(program.viewer("SIM1"))
    index = screen.viewer.index
    at = index.begin_ns + 3 * (index.end_ns - index.begin_ns) // 4
    screen.say(do="seek", t=at - index.begin_ns)
    for _ in range(20):
        screen.look(1)
    now = screen.header["columns_shown"]
    assert sorted(screen.columns) == list(range(now + 1))
    for number in (0, 5, now // 2, now - 1, now):
        row, cells = screen.columns[number]
        book = day.book("SIM1", at=min(at, index.begin_ns + (number + 1) * index.history.column_ns - 1))
        for side, name in ((Side.BID, "bid"), (Side.ASK, "ask")):
            best = book.levels(side, 1)
            assert row[name] == index.ticks.of([best[0].price])[0]
            for level in book.levels(side, 50):
                place = int(index.ticks.of([level.price])[0]) - int(row["base"])
                if 0 <= place < CELLS:
                    assert cells[place] == min(255, round(1 + 15 * np.log2(level.size)))


def test_column_that_was_not_over_comes_whole_later(program):
    screen = Screen(program.viewer("SIM1"))
    index = screen.viewer.index
    width = index.history.column_ns
    screen.say(do="seek", t=20 * width + 10)
    for _ in range(3):
        screen.look(1)
    screen.say(do="seek", t=10 * width + 10)  # into a column that was whole
    screen.say(do="seek", t=20 * width + 10)
    for _ in range(3):
        screen.look(1)
    for number in range(20):
        row, cells = screen.columns[number]
        assert row == index.history.columns[number]
        assert np.array_equal(cells, shade(index.history.cells[number]))


def test_queue_of_a_level_and_a_followed_order(program, day):
    screen = Screen(program.viewer("SIM1"))
    index = screen.viewer.index
    at = (index.begin_ns + index.end_ns) // 2
    screen.say(do="seek", t=at - index.begin_ns)
    book = day.book("SIM1", at=at)
    level = max(range(10), key=lambda k: book.levels("ask")[k].count)
    price = book.levels("ask")[level].price
    screen.say(do="select", side="ask", tick=int(index.ticks.of([price])[0]))
    orders = list(book.orders("ask", level=level))
    rows = screen.sections["queue"]
    assert screen.header["queue"] | {"tick": 0} == {
        "side": "ask", "tick": 0, "shown": len(orders), "size": sum(one.size for one in orders), "count": len(orders),
    }  # fmt: skip
    assert rows[["order_id", "size", "ahead"]].tolist() == [(one.order_id, one.size, one.queue_ahead) for one in orders]
    assert rows["time"].tolist() == [one.ts_event - index.begin_ns for one in orders]
    followed = orders[-1]
    screen.say(do="follow", order_id=str(followed.order_id))
    order = screen.header["order"]
    assert (order["state"], order["ahead"], order["orders_ahead"]) == ("resting", followed.queue_ahead, len(orders) - 1)
    assert screen.sections["queue"]["flags"].tolist()[-1] & FOLLOWED
    screen.say(do="seek", t=index.end_ns - index.begin_ns)
    own = index.records[index.records["order_id"] == followed.order_id]
    gone = not any(one.order_id == followed.order_id for one in day.book("SIM1").orders())
    assert (screen.header["order"]["state"] != "resting") == gone
    words = [entry[1] for entry in screen.header["order"]["life"]]
    assert words[0] == "added"
    assert words.count("filled") == (own["action"] == Action.FILL).sum()
    screen.say(do="follow", order_id=None)
    assert screen.header["order"] is None


def test_icebergs_are_marked_once_they_are_known(tmp_path):
    session = simulate(20_000, seed=8, features=Feature.ICEBERGS)
    program = Recorded.of(day_of_session(tmp_path, session))
    index = program.index().wait(60)
    assert len(index.icebergs) > 10
    screen = Screen(program.viewer())
    for order_id, place in list(index.icebergs.items())[:10]:
        for known, end in ((False, index.event_end(place - 1)), (True, index.event_after(place - 1))):
            screen.viewer.player._go_to(end)
            order = screen.viewer.player.book.order(order_id)
            side = "bid" if order.side == Side.BID else "ask"
            screen.say(do="select", side=side, tick=int(index.ticks.of([order.price])[0]))
            rows = screen.sections["queue"]
            flags = dict(zip(rows["order_id"].tolist(), rows["flags"].tolist(), strict=True))
            assert bool(flags[order_id] & ICEBERG) == known
            marked = {one for one, flag in flags.items() if flag & ICEBERG}
            assert marked == {one for one in flags if index.icebergs.get(one, end + 1) <= end}


def test_few_frames_are_under_way_and_fewer_to_a_slow_page(program):
    viewer = program.viewer()
    viewer.handle({"do": "ready"})
    viewer.handle({"do": "play"})
    now = [0.0]
    viewer._clock = viewer.player._clock = lambda: now[0]

    def sent(turns: int) -> int:
        frames = 0
        for _ in range(turns):
            now[0] += 1 / 60
            frames += viewer.turn() is not None
        return frames

    assert sent(60) == 4
    viewer.handle({"do": "ack", "n": 4})  # nearly a second later: this page is slow
    assert sent(60) == 1
    viewer.handle({"do": "ack", "n": 5})
    assert sent(30) == 1
    viewer.handle({"do": "ack", "n": 10**9})  # of frames that were never sent
    assert viewer.acknowledged == 6
    assert sent(6 * 60) == 2  # one, and after five seconds without a word another


def test_frames_come_as_fast_as_a_page_can_draw_them(program):
    """A page with others beside it takes longer for a frame: it gets fewer, hardly any waits, and all of them again later."""
    viewer = program.viewer()
    viewer.handle({"do": "ready"})
    viewer.handle({"do": "play"})
    now, on_the_way = [0.0], []
    viewer._clock = viewer.player._clock = lambda: now[0]

    def drawing(takes_s: float, seconds: int) -> tuple[int, int]:
        """Draw one frame after another; gives how many came in the last second, and how many were under way at most."""
        frames = most = 0
        free = now[0]
        for turn in range(60 * seconds):
            now[0] += 1 / 60
            while on_the_way and max(free, on_the_way[0][1]) + takes_s <= now[0]:
                number, begun = on_the_way.pop(0)
                free = max(free, begun) + takes_s
                viewer.handle({"do": "ack", "n": number})
            if viewer.turn() is not None:
                on_the_way.append((viewer.number, now[0]))
                frames += turn >= 60 * (seconds - 1)
            most = max(most, len(on_the_way) if turn > 120 else 0)
        return frames, most

    assert drawing(0.005, 4)[0] > 55
    slow, waiting = drawing(0.25, 10)
    assert 1 <= slow <= 4
    assert waiting == 1
    busy, waiting = drawing(0.09, 10)
    assert 6 <= busy <= 11
    assert waiting <= 2
    assert drawing(0.005, 4)[0] > 55


def test_nothing_is_sent_before_the_component_is_ready(program):
    assert program.viewer().turn() is None


def test_what_stands_still_costs_no_frames(program):
    screen = Screen(program.viewer())
    for _ in range(20):
        screen.look(1 / 60)
    number = screen.viewer.number
    for _ in range(30):
        screen.look(1 / 60)
    assert screen.viewer.number - number <= 2  # how it stands, four times a second


@pytest.mark.parametrize(
    "message",
    [
        None, "play", {}, {"do": 7}, {"do": "sell"}, {"do": "seek"}, {"do": "seek", "t": "noon"}, {"do": "seek", "t": True},
        {"do": "seek", "t": float("nan")}, {"do": "step", "events": 10**6}, {"do": "speed", "x": -1},
        {"do": "select", "side": "left", "tick": 1}, {"do": "select", "side": "bid"}, {"do": "follow", "order_id": "-1"},
        {"do": "follow", "order_id": "9" * 30}, {"do": "symbol", "symbol": "NOPE"}, {"do": "symbol", "symbol": "x" * 10_000},
        {"do": "state", "state": {"a": "x" * 10_000}}, {"do": "ack", "n": None},
    ],
)  # fmt: skip
def test_nonsense_is_answered_with_a_sentence(program, message):
    screen = Screen(program.viewer())
    before = screen.viewer.player.place
    screen.viewer.handle(message)
    screen.look(1)
    assert screen.header["notice"]["level"] == "warning"
    assert screen.header["notice"]["text"]
    assert screen.viewer.player.place == before


def test_another_symbol_at_the_same_time(program, day):
    first, second = program.symbols
    screen = Screen(program.viewer(first))
    index = screen.viewer.index
    at = (index.begin_ns + index.end_ns) // 2
    screen.say(do="seek", t=at - index.begin_ns)
    epoch = screen.header["meta"]["epoch"]
    screen.say(do="symbol", symbol=second)
    screen.look(0.1)
    assert screen.header["meta"]["symbol"] == second
    assert screen.header["meta"]["epoch"] != epoch
    shown_is(screen, day.book(second, at=at), at)


def test_store_is_looked_at_like_a_file(tmp_path, day):
    with mbo.Store(f"chdb://{tmp_path / 'store'}") as store:
        store.ingest(day.files[0].path)
        program = Recorded.stored(store, "store")
        assert program.symbols == Recorded.of(day).symbols
        screen = Screen(program.viewer("SIM2"))
        index = screen.viewer.index.wait(60)
        at = (index.begin_ns + index.end_ns) // 2
        screen.say(do="seek", t=at - index.begin_ns)
        shown_is(screen, day.book("SIM2", at=at), at)
        assert screen.header["meta"]["source"] == "store"


# -------------------------------------------------------------------- live


def test_live_books_are_drawn_once_for_all(day, monkeypatch):
    draws = []
    with mbo.serve_gateway(day) as gateway, Live(gateway.url, heartbeat_s=5) as live:
        program = Broadcast(live)
        until(lambda: (program.turn(), len(program.symbols) == 2)[1], "both symbols")
        first, second = (Screen(program.viewer("SIM1")) for _ in range(2))
        original = program._stall.scene(first.viewer.key).draw
        monkeypatch.setattr(
            program._stall.scene(first.viewer.key), "draw", lambda moment: (draws.append(1), original(moment))[1]
        )
        live.feed.wait(30)
        program.turn()
        program._stall._drawn.clear()  # perhaps all had come before
        for screen in (first, second):
            screen.look(1)
        assert len(draws) == 1
        book = day.book("SIM1")
        for screen in (first, second):
            assert screen.levels("bids") == [tuple(level) for level in book.levels("bid", 200)]
            assert screen.levels("asks") == [tuple(level) for level in book.levels("ask", 200)]
            assert screen.header["status"]["state"] == "ended"
            assert screen.header["record"] == book.status.messages
        first.say(do="symbol", symbol="SIM2").look(1)
        book = day.book("SIM2")
        assert first.levels("asks") == [tuple(level) for level in book.levels("ask", 200)]
        first.say(do="play")
        first.look(1)
        assert "cannot be done here" in first.header["notice"]["text"]
        assert live.stage.books[second.viewer.key].digest() == day.book("SIM1").digest()


def test_what_nobody_takes_is_let_go_and_counted(day, monkeypatch):
    monkeypatch.setattr("mbo.view.live._WAITING", 3_000)
    with mbo.serve_gateway(day) as gateway, Live(gateway.url, heartbeat_s=5) as live:
        live.feed.wait(30)
        assert live.skipped >= 3_000
        program = Broadcast(live)
        program.turn()
        for symbol, key in zip(("SIM1", "SIM2"), live.stage.books, strict=True):
            assert live.stage.books[key].digest() == day.book(symbol).digest()


def test_stale_feed_is_said(day):
    with mbo.serve_gateway(day, rate=2_000) as gateway:
        live = Live(gateway.url, heartbeat_s=5, reconnect_s=1).start()
        program = Broadcast(live)
        until(lambda: (program.turn(), program.symbols)[1], "a symbol")
        screen = Screen(program.viewer())
        assert screen.header["flags"]["stale"] is False
    until(lambda: live.feed.stale, "that the feed is stale")
    program.turn()
    screen.look(1)
    assert screen.header["flags"]["stale"] is True
    until(lambda: screen.look(1).header["status"]["state"] == "lost", "that it is given up")
    assert "nothing was heard" in screen.header["status"]["reason"]
    live.close()


def test_finer_price_begins_the_axis_anew(tmp_path):
    records = simulate(4_000, seed=2).records.copy()
    late = np.flatnonzero((records["action"] == Action.ADD) & (np.arange(len(records)) > 3_000))[:1]
    records["price"][late] += 1_000_000
    with mbo.serve_gateway(day_of(tmp_path, records), rate=10_000) as gateway, Live(gateway.url) as live:
        program = Broadcast(live)
        until(lambda: (program.turn(), program.symbols)[1], "a symbol")
        key = live.key_of()
        coarse = live.stage.histories[key].ticks.size
        screen = Screen(program.viewer())
        screen.say(do="select", side="bid", tick=screen.header["bbo"][0])
        until(lambda: (program.turn(), screen.look(1), live.feed.status.ended)[2], "the end")
        program.turn()
        for _ in range(10):
            screen.look(1)
        history = live.stage.histories[key]
        assert sorted(screen.columns) == list(range(screen.header["columns_shown"] + 1))
        assert all(
            row["base"] == history.columns["base"][number] for number, (row, _) in list(screen.columns.items())[:-1]
        )
        assert len(screen.trades) == history.trades_end == screen.header["trades_shown"]
        assert screen.header["queue"] is None
        assert coarse % live.stage.histories[key].ticks.size == 0
        assert live.stage.histories[key].ticks.size <= 1_000_000 < coarse
        assert live.begun == 1


# -------------------------------------------------------------------- hub and frames


def test_hub_lets_go_of_who_cannot_be_drawn(program, caplog):
    hub, sent = Hub(), []
    good, bad = program.viewer(), program.viewer()

    def refuse(frame: bytes) -> None:
        raise ConnectionError

    hub.add(bad, program, refuse)
    hub.add(good, program, sent.append)
    for viewer in (good, bad):
        viewer.handle({"do": "ready"})
    assert hub.turn() == 1
    assert len(sent) == 1
    assert len(hub) == 1
    assert "let go" in caplog.text


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff\xff\xff\xff", pack({}, {"bids": (b"1234", 1)})[:-1], b"\4\0\0\0null"]
)
def test_what_is_no_frame(data):
    with pytest.raises(DataError):
        unpack(data)


def test_hub_says_when_a_stream_is_shown_no_further(program, caplog, monkeypatch):
    def broken() -> None:
        raise mbo.DataError("this is no book to draw")

    monkeypatch.setattr(program, "turn", broken)
    hub, sent = Hub(), []
    viewer = program.viewer()
    hub.add(viewer, program, sent.append)
    viewer.handle({"do": "ready"})
    hub.turn()
    header, _ = unpack(sent[0])
    assert header["notice"] == {"level": "error", "text": "The stream is shown no further: this is no book to draw"}
    assert "shown no further" in caplog.text


def test_frame_keeps_every_section(tmp_path):
    columns = np.zeros(3, np.dtype((np.uint8, CELLS)))
    header, sections = unpack(pack({"n": 1}, {"cells": part(columns), "bids": (b"", 0)}))
    assert header["v"] == 1
    assert sections["cells"].shape == (3, CELLS)
    assert write(tmp_path / "x", b"").exists()


def test_following_needs_something_that_has_come(day):
    with (
        mbo.serve_gateway(day) as gateway,
        Live(gateway.url) as live,
        pytest.raises(mbo.RequestError, match="nothing has come"),
    ):
        Following(Broadcast(live)._stall, symbol="NOPE")
